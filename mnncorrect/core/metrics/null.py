"""What a correction does where nothing should happen: one batch, its cells dealt out at random.

Scores have no scale of their own. Two random halves of one batch differ by chance alone, so what a
score says of them before a correction is what perfect mixing looks like in these data, and what it
says after it is what the correction does to cells that it should leave alone.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mnncorrect.core.neighbors.sample import Sample
from mnncorrect.core.runtime.compute import DEFAULT_COMPUTE, ComputeOptions

from .embedding import compare_embeddings, score_embedding

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from mnncorrect.core.runtime.threads import Progress

    Codes = NDArray[np.integer[Any]]
    Correct = Callable[[Codes], tuple[NDArray[Any], NDArray[Any] | None]]

# What a rerun on two halves decides itself: the plan, since there are two; the search, which is
# exact among so few cells; and what comes before the values that it is given.
DECIDED = frozenset(
    {"auto_merge", "batch_weights", "correct_all", "cosine_norm", "mask", "merge_order", "n_comps",
     "n_jobs", "neighbors", "progress", "random_state", "recall", "reference", "restrict",
     "compute", "x", "batch", "clusters", "names", "cells", "norms"}
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
    Scores before and after of every seed, these empty without a correction. Neighbors count as
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


@dataclass(frozen=True)
class Halves:
    """Two random halves of a batch, and how the whole data were corrected."""

    # The embedding before the correction, cells x dimensions; for methods that correct expression,
    # expression of the genes that distances are measured on, before it was scaled.
    x: NDArray[Any]
    codes: Codes  # Half of each cell, 0 or 1.
    parameters: Mapping[str, Any]  # Those of the correction, by name.
    clusters: Codes | None = None  # Cluster of each cell, for methods that match clusters.
    restrict: NDArray[np.bool_] | None = None  # Cells that pairs may be taken from.
    n_comps: int = 50  # Components that corrected expression is judged in.
    # Seed of the correction and threads; the search is exact among so few cells.
    compute: ComputeOptions = DEFAULT_COMPUTE

    def known_to(self, function: Callable[..., Any]) -> dict[str, Any]:
        """Choose the parameters that a function has and that halves do not decide themselves."""
        has = set(inspect.signature(function).parameters) - DECIDED
        return {name: value for name, value in self.parameters.items() if name in has}
