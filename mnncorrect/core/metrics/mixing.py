"""How batches mix around single cells and within groups, beside what random mixing would give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mnncorrect.core.neighbors.sample import Codes, Sample, draw, nearest_others

from .scores import N_NEAR, effective_number, mixing_within

GroupState = Literal["one batch", "no counterpart", "unknown", "apart", "partly", "mixed"]

# Shares of the attainable mixing: below the first, batches are apart; below the second, they mix
# in part.
APART, PARTLY = 0.7, 0.85
# A group with this share of one batch has nothing to mix with.
OF_ONE_BATCH = 0.95
# More cells than this share without a counterpart: the group exists in one batch only.
MANY_ALONE = 0.5
# Groups of fewer cells are measured, and never called apart.
FEWEST_JUDGED = 30
# More cells than these are sampled.
MOST_MIXING_CELLS = 10_000
# Times that batches are shuffled within a group; the mean over these counts.
N_SHUFFLES = 5


@dataclass(frozen=True)
class GroupMixing:
    """Mixing within one group of cells."""

    found: float  # CiLISI of the group: 1 is mixing at random, 0 none.
    # The same after the batches of its cells were shuffled: what perfect mixing scores there.
    attainable: float
    weight: float  # Number of cells that the sampled cells stand for.


def judge_group(
    mixing: GroupMixing | None, sizes: NDArray[np.integer[Any]], alone: float | None
) -> GroupState:
    """Judge how the batches of a group mix, or why that is unknown.

    ``sizes``: cells in each batch. ``alone``: share of cells without a counterpart, if it is known.
    """
    n_cells = int(sizes.sum())
    if n_cells and sizes.max() / n_cells >= OF_ONE_BATCH:
        return "one batch"
    if alone is not None and alone > MANY_ALONE:
        return "no counterpart"
    if mixing is None or not mixing.attainable:
        return "unknown"
    share = mixing.found / mixing.attainable
    if n_cells < FEWEST_JUDGED:
        return "mixed" if share >= PARTLY else "unknown"
    return "apart" if share < APART else "partly" if share < PARTLY else "mixed"


def draw_by_group(batch: Codes, groups: Codes | None, *, random_state: int = 0) -> Sample:
    """Sample the cells whose mixing is measured, from each group of each batch."""
    strata = batch
    if groups is not None:
        strata = batch * (int(groups.max()) + 2) + groups + 1
    return draw(strata, MOST_MIXING_CELLS, random_state=random_state)


def mixing_by_group(
    x: NDArray[Any],
    batch: Codes,
    groups: Codes,
    sample: Sample,
    *,
    random_state: int = 0,
    n_jobs: int = 1,
) -> dict[int, GroupMixing]:
    """Measure CiLISI in each group, and what it would be if batches mixed at random there.

    Groups below 0, of one batch, or of fewer than 20 cells are left out. ``random_state`` is the
    seed of the shuffle.
    """
    rng = np.random.default_rng(random_state)
    by_group = {}
    for found in mixing_within(x, batch, groups, sample, n_jobs=n_jobs):
        weights = sample.weights[found.chosen]
        shuffled = [rng.permutation(found.codes) for _ in range(N_SHUFFLES)]
        values, *null = (
            float(np.average(found.scaled(codes), weights=weights))
            for codes in (found.codes, *shuffled)
        )
        by_group[found.label] = GroupMixing(values, float(np.mean(null)), float(weights.sum()))
    return by_group


def mixing_by_cell(
    x: NDArray[Any], batch: Codes, sample: Sample, *, n_jobs: int = 1
) -> NDArray[np.float64]:
    """Count the batches among the 30 nearest cells of each sampled cell, as an effective number.

    It is scaled so that 1 is the composition of all cells and 0 a single batch; cut to 0..1. NaN
    where there is one batch.
    """
    codes = np.unique(batch, return_inverse=True)[1]
    shares = np.bincount(codes) / len(codes)
    k = min(N_NEAR, len(codes) - 1)
    if len(shares) < 2 or k < 1:
        return np.full(len(sample.rows), np.nan)
    near, _ = nearest_others(x, sample.rows, np.arange(len(codes)), k, n_jobs)
    found = effective_number(codes[near], len(shares))
    best = 1 / (shares**2).sum()
    return np.clip((found - 1) / (best - 1), 0, 1)
