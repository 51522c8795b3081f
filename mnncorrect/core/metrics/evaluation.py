"""Scores of an embedding: mixing of batches, preserved biology, and displacement.

:mod:`mnncorrect.core.metrics.scores` has the formulas.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnncorrect.core.merging.diagnostics import variance_by_batch

from .scores import bras, cilisi, ilisi, moved, neighborhoods, preserved, purity, silhouette

if TYPE_CHECKING:
    from mnncorrect.core.neighbors.sample import Codes, Sample


@dataclass(frozen=True)
class Score:
    """Meaning of a score."""

    meaning: str  # One line.
    ideal: float  # Best value.


SCORES = {
    "ilisi": Score("evenness of the batches around a cell; 0: only one batch", 1),
    "cilisi": Score("mixing of batches within labels; 1: as if at random, 0: none", 1),
    "bras": Score("nearness to other batches of the label, relative to the own batch", 1),
    "purity": Score("share of a cell's neighbors with its label, mean over labels", 1),
    "silhouette": Score("separation of labels; 0.5: they overlap", 1),
    "silhouette_clusters": Score("separation of clusters; 0.5: they overlap", 1),
    "preserved": Score("share of neighbors within the batch that are kept", 1),
    "moved": Score("displacement of a cell, relative to the spread of all cells", 0),
    "lost_variance": Score("share of the variance within batches that was removed", 0),
}
"""All scores by name, in the order of the tables."""


def score_embedding(
    x: NDArray[Any],
    batch: Codes,
    sample: Sample,
    *,
    label: Codes | None = None,
    clusters: Codes | None = None,
    n_jobs: int = 1,
) -> dict[str, float]:
    """Score the mixing of batches and the separation of labels in an embedding.

    Cells with a label below 0 are excluded from scores of labels. ``clusters`` are for a silhouette
    where there are no labels. A score is NaN if it is undefined, as for a single batch.
    """
    near = neighborhoods(x, sample, n_jobs)
    found = {"ilisi": ilisi(x, batch, sample, near=near, n_jobs=n_jobs)}
    if label is not None:
        found["cilisi"] = cilisi(x, batch, label, sample, n_jobs=n_jobs)
        found["bras"] = bras(x, batch, label)
        # If all cells have a label, their neighborhoods are known already.
        whole = near if (label >= 0).all() else None
        found["purity"] = purity(x, label, sample, near=whole, n_jobs=n_jobs)
        found["silhouette"] = silhouette(x, label, sample, n_jobs=n_jobs)
    elif clusters is not None:
        found["silhouette_clusters"] = silhouette(x, clusters, sample, n_jobs=n_jobs)
    return found


def compare_embeddings(
    before: NDArray[Any],
    after: NDArray[Any],
    batch: Codes,
    sample: Sample,
    *,
    same_axes: bool = True,
    same_scale: bool = True,
    n_jobs: int = 1,
) -> dict[str, float]:
    """Score the changes by a correction, by name of the score; NaN if a score is undefined.

    ``moved`` needs ``same_axes``, and ``lost_variance`` needs ``same_scale``.
    """
    alike = before.shape == after.shape
    lost = np.nan
    if alike and same_scale:
        pooled = [_within(x, batch) for x in (before, after)]
        lost = 1 - pooled[1] / pooled[0] if pooled[0] > 0 else np.nan
    return {
        "preserved": preserved(before, after, batch, sample, n_jobs=n_jobs),
        "moved": moved(before, after) if alike and same_axes else np.nan,
        "lost_variance": float(lost),
    }


def _within(x: NDArray[Any], batch: Codes) -> float:
    """Pool the variance within batches."""
    by_batch = variance_by_batch(x, batch)
    spare = np.unique(batch, return_counts=True)[1] - 1
    return float(np.nansum(np.array(list(by_batch.values())) * spare))
