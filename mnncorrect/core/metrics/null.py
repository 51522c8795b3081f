"""Null scores: a correction of one batch whose cells are split at random.

Scores have no natural scale. Two random halves of one batch differ by chance alone. So their score
before a correction shows perfect mixing in these data. Their score after it shows the effect of the
correction on cells that it should leave alone.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnncorrect.core.neighbors.sample import Codes, Sample
from mnncorrect.core.runtime.compute import DEFAULT_COMPUTE, ComputeOptions

from .evaluation import compare_embeddings, score_embedding

if TYPE_CHECKING:
    from mnncorrect.core.runtime.threads import Progress

Correct = Callable[[Codes], tuple[NDArray[Any], NDArray[Any] | None]]

# Parameters that do not apply to two halves: the plan, because there is one merge; the search,
# which is exact among so few cells; and all steps before the correction.
DECIDED = frozenset(
    {"auto_merge", "batch_weights", "correct_all", "cosine_norm", "mask", "merge_order", "n_comps",
     "n_jobs", "neighbors", "progress", "random_state", "recall", "reference", "restrict",
     "compute", "x", "batch", "clusters", "names", "cells", "norms"}
)  # fmt: skip


def random_halves(n_cells: int, seed: int) -> NDArray[np.int64]:
    """Assign cells at random to two halves, 0 and 1."""
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
    """Correct random halves of one batch, and score them before and after, for each seed.

    ``correct`` takes halves to the embedding before and after a correction (``None``: not
    corrected, and the second scores are empty). Preserved neighbors and lost variance refer to the
    whole batch.
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
    """Two random halves of a batch, and the settings of the correction."""

    # The embedding before the correction, cells x dimensions; for methods that correct expression,
    # expression of the genes that distances are measured on, before it was scaled.
    x: NDArray[Any]
    codes: Codes  # Half of each cell, 0 or 1.
    parameters: Mapping[str, Any]  # Parameters of the correction, by name.
    clusters: Codes | None = None  # Cluster of each cell, for methods that match clusters.
    restrict: NDArray[np.bool_] | None = None  # Cells that may form pairs.
    n_comps: int = 50  # Components in which corrected expression is scored.
    # Seed of the correction and threads; the search is exact among so few cells.
    compute: ComputeOptions = DEFAULT_COMPUTE

    def known_to(self, function: Callable[..., Any]) -> dict[str, Any]:
        """Choose the parameters that a function has and that halves do not decide themselves."""
        has = set(inspect.signature(function).parameters) - DECIDED
        return {name: value for name, value in self.parameters.items() if name in has}
