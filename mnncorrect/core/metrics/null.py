"""What a correction does where nothing should happen: one batch, its cells dealt out at random.

Scores have no scale of their own. Two random halves of one batch differ by chance alone, so what a
score says of them before a correction is what perfect mixing looks like in these data, and what it
says after it is what the correction does to cells that it should leave alone.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import numpy as np

from mnncorrect.core.calibrated.method import mnn_calibrated
from mnncorrect.core.matrix.pca import pca
from mnncorrect.core.matrix.rows import MIN_NORM, row_norms
from mnncorrect.core.methods.classic import mnn_classic
from mnncorrect.core.methods.cluster import mnn_cluster
from mnncorrect.core.methods.fast import mnn_reduced
from mnncorrect.core.neighbors.sample import Sample

from .embedding import compare_embeddings, score_embedding

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from mnncorrect.core.runtime.threads import Progress

    Codes = NDArray[np.integer[Any]]
    Correct = Callable[[Codes], tuple[NDArray[Any], NDArray[Any] | None]]

METHODS = ("calibrated", "classic", "cluster", "fast")
# What a rerun on two halves decides itself: the plan, since there are two; the search, which is
# exact among so few cells; and what comes before the values that it is given.
DECIDED = frozenset(
    {"auto_merge", "batch_weights", "correct_all", "cosine_norm", "mask", "merge_order", "n_comps",
     "n_jobs", "neighbors", "progress", "random_state", "recall", "reference", "restrict"}
)  # fmt: skip


def random_halves(n_cells: int, seed: int) -> NDArray[np.int64]:
    """Deal cells out to two halves, 0 and 1."""
    return (np.random.default_rng(seed).random(n_cells) >= 0.5).astype(np.int64)


def null_scores(
    correct: Correct,
    n_cells: int,
    seeds: Sequence[int],
    *,
    label: Codes | None = None,
    clusters: Codes | None = None,
    same_axes: bool = True,
    n_jobs: int = 1,
    progress: Progress | None = None,
) -> list[tuple[dict[str, float], dict[str, float]]]:
    """Correct random halves of one batch, and score them before and after.

    Parameters
    ----------
    correct
        Gives the embedding of the cells before and after a correction of two halves; ``None``
        after it: they were not corrected.
    n_cells
        Cells of the batch.
    seeds
        One for each time that cells are dealt out.
    label, clusters
        As :func:`mnncorrect.core.metrics.embedding.score_embedding` takes them, of these cells.
    same_axes
        As :func:`mnncorrect.core.metrics.embedding.compare_embeddings` takes it.
    n_jobs, progress
        Threads; told how far it is.

    Returns
    -------
    Scores before and after of every seed, these empty without a correction. Neighbours count as
    preserved, and variance as lost, within the whole batch, as it is one.
    """
    everyone, one = Sample(np.arange(n_cells), np.ones(n_cells)), np.zeros(n_cells, np.int64)
    found = []
    for number, seed in enumerate(seeds, 1):
        halves = random_halves(n_cells, seed)
        before, after = correct(halves)
        groups: dict[str, Any] = {"label": label, "clusters": clusters, "n_jobs": n_jobs}
        first = score_embedding(before, halves, everyone, **groups)
        second = {}
        if after is not None:
            second = score_embedding(after, halves, everyone, **groups) | compare_embeddings(
                before, after, one, everyone, same_axes=same_axes, n_jobs=n_jobs
            )
        found.append((first, second))
        if progress is not None:
            progress("random splits", number / len(seeds))
    return found


def rerun(
    method: str,
    x: NDArray[Any],
    halves: Codes,
    parameters: Mapping[str, Any],
    *,
    clusters: Codes | None = None,
    restrict: NDArray[np.bool_] | None = None,
    n_comps: int = 50,
    random_state: int = 0,
    n_jobs: int = 1,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Correct two halves of a batch as the whole data were corrected.

    Parameters
    ----------
    method
        One of :data:`METHODS`.
    x
        The embedding before correction, cells x dimensions; for ``classic``, expression of the
        genes that distances are measured on, as it was before it was scaled.
    halves
        Half of each cell, 0 or 1.
    parameters
        Those of the correction, by name; others are ignored, and what has no meaning for two
        halves is. The search is exact, whatever they say.
    clusters
        Cluster of each cell, for ``cluster``.
    restrict
        Cells that pairs may be taken from.
    n_comps
        Components that ``classic`` is judged in.
    random_state, n_jobs
        Seed of the correction; threads.

    Returns
    -------
    The embedding before and after. That of ``cluster`` spans the centroids of the halves' clusters;
    that of ``classic`` is by principal components of expression, each with axes of its own.
    """
    options: dict[str, Any] = {"random_state": random_state, "n_jobs": n_jobs}
    if method == "calibrated":
        reference = 0 if "reference" in parameters else None
        known = _known(mnn_calibrated, parameters)
        correction, _ = mnn_calibrated(
            x, halves, reference=reference, neighbors="exact", **known, **options
        )
        return x, correction.corrected
    options |= {"restrict": restrict}
    if method == "classic":
        known = _known(mnn_classic, parameters)
        correction = mnn_classic(x, halves, neighbors="exact", **known, **options)
        n_comps = min(n_comps, min(x.shape) - 1)
        if parameters.get("cosine_norm_out", True):
            x = x / np.maximum(row_norms(x), MIN_NORM)[:, None].astype(x.dtype)
        before, after = (
            pca(values, n_comps, random_state=random_state, n_jobs=n_jobs).scores
            for values in (x, correction.corrected)
        )
        return before, after
    # What is not recorded was None: the size of batches is not measured.
    options |= {"min_batch_size": parameters.get("min_batch_size")}
    if method == "cluster":
        assert clusters is not None
        correction, components, _ = mnn_cluster(x, halves, clusters, cosine_norm=False, **options)
        return components.scores, correction.corrected
    known = _known(mnn_reduced, parameters) | options
    return x, mnn_reduced(x, halves, neighbors="exact", **known).corrected


def _known(function: Callable[..., Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Choose the parameters that a function has and that are left as they were."""
    has = set(inspect.signature(function).parameters) - DECIDED - {"x", "batch", "names", "cells"}
    return {name: value for name, value in parameters.items() if name in has}
