"""What is scored of an embedding: how batches mix, what is left of the biology, what was moved.

:mod:`mnncorrect.core.metrics.scores` has the formulas.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mnncorrect.core.merging.diagnostics import variance_by_batch

from .scores import bras, cilisi, ilisi, moved, neighborhoods, preserved, purity, silhouette

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mnncorrect.core.neighbors.sample import Codes, Sample


@dataclass(frozen=True)
class Score:
    """What a score means."""

    meaning: str  # In one line.
    ideal: float  # Its best value.


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
"""Every score by its name, in the order in which they are shown."""


def score_embedding(
    x: NDArray[Any],
    batch: Codes,
    sample: Sample,
    *,
    label: Codes | None = None,
    clusters: Codes | None = None,
    n_jobs: int = 1,
) -> dict[str, float]:
    """Score how batches mix in an embedding, and how far labels lie apart.

    Parameters
    ----------
    x
        Cells x dimensions.
    batch
        Batch number of each cell.
    sample
        Cells that are looked at.
    label
        Label number of each cell; below 0 where it is not known: such cells are left out of what
        concerns labels. Not given: such scores are left out.
    clusters
        Number of each cell's cluster, for a silhouette if there are no labels.
    n_jobs
        Threads.

    Returns
    -------
    Scores by name; NaN where one has no meaning, as with a single batch or label.
    """
    near = neighborhoods(x, sample, n_jobs)
    found = {"ilisi": ilisi(x, batch, sample, near=near, n_jobs=n_jobs)}
    if label is not None:
        found["cilisi"] = cilisi(x, batch, label, sample, n_jobs=n_jobs)
        found["bras"] = bras(x, batch, label)
        # Those of all cells are those of the cells with labels where all have one.
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
    """Score what a correction changed.

    Parameters
    ----------
    before, after
        Cells x dimensions.
    batch
        Batch number of each cell.
    sample
        Cells whose neighbors are looked at.
    same_axes
        Whether the dimensions of both mean the same, so that cells can be said to have moved.
    same_scale
        Whether lengths of both mean the same, so that variance can be said to be lost.
    n_jobs
        Threads.

    Returns
    -------
    Scores by name; NaN where one has no meaning.
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
