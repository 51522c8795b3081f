"""The chance that cells have a counterpart on the other side of a merge.

Displacements do not show whether a population exists on the other side. A population without a
counterpart is matched to another one, and that displacement is as precise as any. Two measurements
of the positions *after* a displacement answer the question. Both compare the other side with the
side of the cell, so they need no unit.

**Distance.** Each cell is replaced by the mean of its 10 nearest cells on its own side. The
distance from this mean to the nearest means of the other side is divided by the same distance
between two halves of its own side, and of the other side there. If a population is on both sides,
the other side is another sample of the same population, and the log of the ratio is about 0.

**Competition.** Cells of a population without a counterpart come to lie beside cells with one. The
other side prefers the latter. So the number of mutual pairs of a cell, relative to that within its
own side, is compared with the usual number among cells with a small distance.

Both are averaged over 30 neighbors on the same side. A logistic curve turns the first into a score.
The second becomes a factor of at most 1.

**Probability.** A line turns the logit of their product into the logit of a probability. It was
fitted on seven data sets, with each type taken out of all batches but one in turn. There, 87 % of
the cells had a counterpart. In other merges, nearly all cells or none may have one, and the same
score then means more or less. So each merge estimates this share from the scores of both sides and
adjusts the odds (Saerens, Latinne and Decaestecker 2002: classifiers for data in which classes have
other frequencies). For batches without a common population this lowers the probability of middling
scores. For sides that match it raises the probability.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnncorrect.core.merging import pair_kernels
from mnncorrect.core.neighbors.engines import nearest, nearest_both
from mnncorrect.core.neighbors.exact import found_rows
from mnncorrect.core.runtime.compute import ComputeOptions

from . import displacement_kernels
from .evidence import N_END, N_NEIGHBORS, N_NOISE
from .neighborhoods import (
    ENOUGH,
    average_over,
    evenly,
    mean_of,
    median,
    mix_values,
    spread_of,
)

if TYPE_CHECKING:
    from mnncorrect.core.merging.pairs import Pairs
    from mnncorrect.core.neighbors.engines import Neighbors

    from .neighborhoods import Points

    Chances = tuple[NDArray[np.float64], NDArray[np.float64]]

# Number of sampled cells whose mean other cells take.
N_SPREAD = 5
# Number of nearest means for a distance.
N_NEAREST = 3
# Logistic curve of the log ratio of distances: midpoint and slope.
AT_ZERO, SLOPE = 1.4, 7.5
# Allowed remainder of the effect, relative to the scatter of a side. Without it, populations with
# almost no noise would seem far from their counterparts. Spacings of real batches are mostly a
# fifth to a third of the scatter.
ALLOWED = 0.1
# Sufficient share of the usual number of mutual pairs, and the power applied below it.
ENOUGH_PAIRS, COMPETITION = 0.9, 3.0
# Smallest score by distance of the cells that set the usual number of pairs.
UNDOUBTED = 0.5
# Slope and offset of the line from the logit of scores to that of probabilities, fitted on seven
# data sets with every type taken out in turn; and the share of cells with a counterpart there.
LOGIT_SLOPE, LOGIT_OFFSET, FITTED_SHARE = 0.87, 2.17, 0.87
# Smallest allowed share of cells with a counterpart, or without one; steps to estimate the share.
LEAST_COMMON, SHARE_STEPS = 0.05, 20
# To decide which cells are matched, the share is the mean of the share in the merge and that in the
# data sets above. Early in a merge all scores are still low.
CAUTION = 0.5
# Chance above which a cell is likely to have a counterpart.
LIKELY = 0.5
# Variance of the vector of a pair between two populations, relative to that of a pair within one.
# The second number: smallest chance that distinguishes populations. Below it, cells of the same
# population differ by how well the earlier rounds aligned them; with weights that fall further,
# CiLISI of pancreas falls by 0.018. Together, the two numbers raise purity of populations without a
# counterpart by 0.005 on average and lower the mean total of seven data sets by 0.0015.
MISMATCH, PLAUSIBLE = 300.0, 0.95
# Smallest number of cells for the usual number of mutual pairs.
FEW_LIKELY = 10
TINY = np.finfo(np.float64).tiny


@dataclass(frozen=True)
class Aspect:
    """A sample of one side of a merge, with its properties within this side."""

    rows: NDArray[np.int64]  # Rows of the sampled cells.
    # Nearest sampled cells of all cells of the side, or of its points; ``None`` if all cells are
    # sampled.
    near: NDArray[np.int32] | None
    points: Points | None  # Those points, if other cells take their values.
    # Nearest sampled cells of each sampled cell, including itself; values are averaged over them.
    about: NDArray[np.int32]
    nearest: NDArray[np.int32]  # The nearest of these, whose mean replaces the cell.
    # Distance between means of one half of these and the nearest means of the other half.
    spacing: NDArray[np.float64]
    # Mutual pairs of each within the side, averaged over its neighbors.
    mutual: NDArray[np.float64]

    def smooth(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Average values of the cells over their neighbors."""
        return average_over(values, self.about)

    def ends(self, cells: NDArray[Any]) -> NDArray[np.float32]:
        """Replace each cell by the mean of its neighbors."""
        return _means(cells, self.nearest)

    def spread_out(
        self, values: NDArray[np.float64], rows: NDArray[np.int64] | None = None
    ) -> NDArray[np.float64]:
        """Extend values of sampled cells to all cells of the side, or to some rows of them."""
        values = values if self.near is None else average_over(values, self.near)
        if self.points is None:
            return values if rows is None else values[rows]
        near, weights = self.points.near, self.points.weights
        if rows is None:
            return mix_values(near, weights, values)
        # A cell is in many pairs: each is computed once.
        some = found_rows(rows, len(near))
        place = np.empty(len(near), np.int64)
        place[some] = np.arange(len(some))
        return mix_values(near, weights, values, some)[place[rows]]


def look_at(cells: NDArray[Any], most: int, points: Points | None, *, n_jobs: int) -> Aspect:
    """Sample at most ``most`` cells of a side, evenly spaced, and measure them.

    ``points``: those that other cells take their values from; ``None``: from sampled cells.
    """
    rows = evenly(len(cells), most)
    some = cells[rows]
    about = _listed(some, some, max(N_NOISE, N_NEIGHBORS) + 1, n_jobs)
    # A small side averages over proportionally fewer.
    n_end, n_about = (max(2, min(k, k * len(some) // ENOUGH)) for k in (N_END, N_NOISE))
    spacing = np.ones(len(some))
    if len(some) >= 2 * N_NEAREST:
        halves = [np.arange(start, len(some), 2) for start in (0, 1)]
        means = []
        for half in halves:
            own = some[half]
            means.append(_means(own, _listed(own, own, n_end, n_jobs)))
        for half, own, other in zip(halves, means, means[::-1], strict=True):
            spacing[half] = _nearest(own, other, N_NEAREST, n_jobs).distances.mean(1)
    own = about[:, 1 : N_NEIGHBORS + 1]
    about = about[:, :n_about]
    mutual = average_over(_mutual(own, own), about)
    spacing = np.sqrt(spacing**2 + (ALLOWED * np.sqrt(spread_of(some))) ** 2)
    near = None
    if len(some) == len(cells):
        points = None
    else:
        asked = cells if points is None else cells[points.rows]
        near = _listed(asked, some, N_SPREAD, n_jobs)
    return Aspect(rows, near, points, about, about[:, :n_end], np.maximum(spacing, TINY), mutual)


@dataclass(frozen=True)
class Facing:
    """Two sides of a merge, of which the left one stays where it is."""

    # Samples of the two sides.
    left: Aspect
    right: Aspect
    # The sampled left cells, and the means that replace them.
    cells: NDArray[Any]
    ends: NDArray[np.float32]
    n_jobs: int  # Threads.

    @classmethod
    def of(
        cls,
        left: NDArray[Any],
        right: NDArray[Any],
        most: int,
        points: tuple[Points | None, Points | None] = (None, None),
        *,
        n_jobs: int,
    ) -> Facing:
        """Sample at most ``most`` of all cells of each side; ``points`` as in :func:`look_at`."""
        sides = [
            look_at(cells, most, some, n_jobs=n_jobs)
            for cells, some in zip((left, right), points, strict=True)
        ]
        cells = left[sides[0].rows]
        return cls(sides[0], sides[1], cells, sides[0].ends(cells), n_jobs)

    def compare(self, right: NDArray[Any]) -> Comparison:
        """Score cells by their counterparts, from the current positions of all right cells."""
        sides = (self.left, self.right)
        if min(len(side.rows) for side in sides) < 2 * N_NEAREST:
            # Too few for two halves: without a spacing, no counterpart is seen.
            return Comparison(sides, [np.zeros(len(side.rows)) for side in sides])
        cells = right[self.right.rows]
        lists = self._both(self.cells, cells, N_NEIGHBORS, measured=False)
        nearest_ends = self._both(self.ends, self.right.ends(cells), N_NEAREST)
        found = []
        for one, side in enumerate(sides):
            other = 1 - one
            found_there = nearest_ends[one]
            theirs = sides[other].spacing[found_there.indices].mean(1)
            expected = np.maximum(np.sqrt((side.spacing**2 + theirs**2) / 2), TINY)
            away = side.smooth(np.log(np.maximum(found_there.distances.mean(1), TINY) / expected))
            score = 1 / (1 + np.exp(np.clip(SLOPE * away - AT_ZERO, -50, 50)))
            pairs = side.smooth(_mutual(lists[one].indices, lists[other].indices)) / np.maximum(
                side.mutual, 0.5
            )
            near = score > UNDOUBTED
            if near.sum() >= FEW_LIKELY:
                usual = median(pairs[near])
                score *= np.minimum(1, pairs / max(ENOUGH_PAIRS * usual, TINY)) ** COMPETITION
            found.append(score)
        return Comparison(sides, found)

    def _both(
        self, left: NDArray[Any], right: NDArray[Any], k: int, *, measured: bool = True
    ) -> tuple[Neighbors, Neighbors]:
        """Find the nearest right ones of left cells, and the nearest left ones of right cells."""
        exactly = ComputeOptions("exact", n_jobs=self.n_jobs)
        in_left, in_right = nearest_both(
            left, right, k, k, compute=exactly, measured=measured, every=True
        )
        return in_right, in_left


@dataclass(frozen=True)
class Comparison:
    """Scores of two sides of a merge at their current positions."""

    sides: tuple[Aspect, Aspect]  # Samples of the two sides.
    scores: list[NDArray[np.float64]]  # Scores of the sampled cells, 0..1.

    def chance(self, caution: float = 0.0) -> Chances:
        """Return the probability of a counterpart, 0..1, for all left and all right cells."""
        return self._spread_out(to_probabilities(self.scores, caution))

    def recognized(self, pairs: Pairs) -> float:
        """Return the share of pairs whose two ends have a clear counterpart."""
        if not len(pairs):
            return 0.0
        clear = [
            side.spread_out(score, ends) > UNDOUBTED
            for side, score, ends in zip(
                self.sides, self.scores, (pairs.left, pairs.right), strict=True
            )
        ]
        return float((clear[0] & clear[1]).mean())

    def _spread_out(self, values: Sequence[NDArray[np.float64]]) -> Chances:
        left, right = (side.spread_out(some) for side, some in zip(self.sides, values, strict=True))
        return left, right


def to_probabilities(
    scores: Sequence[NDArray[np.float64]], caution: float = 0.0
) -> list[NDArray[np.float64]]:
    """Turn scores into the probability of a counterpart, given how common it is in this merge.

    Parameters
    ----------
    scores
        Scores of cells of each side, 0..1. Both sides have equal weight.
    caution
        Weight of the usual share relative to that of this merge, 0..1.
    """
    ends = np.cumsum([len(score) for score in scores])
    # Of both sides at once, each of which counts alike.
    counted = np.concatenate([np.full(len(some), 1 / (len(scores) * len(some))) for some in scores])
    clipped = np.clip(np.concatenate(scores), TINY, 1 - 1e-9)
    odds = np.exp(LOGIT_OFFSET) * (clipped / (1 - clipped)) ** LOGIT_SLOPE
    found = np.empty_like(odds)
    displacement_kernels.share_odds(
        odds, counted, caution, FITTED_SHARE, LEAST_COMMON, SHARE_STEPS, found
    )
    return np.split(found, ends[:-1])


def _listed(query: NDArray[Any], cells: NDArray[Any], k: int, n_jobs: int) -> NDArray[np.int32]:
    """List the nearest cells, found exactly because there are few."""
    return _nearest(query, cells, k, n_jobs, ranked=False).indices


def _nearest(
    query: NDArray[Any], cells: NDArray[Any], k: int, n_jobs: int, *, ranked: bool = True
) -> Neighbors:
    compute = ComputeOptions(engine="exact", n_jobs=n_jobs)
    return nearest(query, cells, min(k, len(cells)), compute=compute, ranked=ranked)


def _means(cells: NDArray[Any], near: NDArray[np.int32]) -> NDArray[np.float32]:
    return mean_of(near, cells.astype(float), n_jobs=1).astype(np.float32)


def _mutual(to: NDArray[np.int32], back: NDArray[np.int32]) -> NDArray[np.float64]:
    """Count the mutual pairs of each row of ``to``, given the lists of its neighbors."""
    mutual = np.zeros(to.shape, np.bool_)
    pair_kernels.mark_mutual(
        np.ascontiguousarray(to), np.arange(len(to)), np.ascontiguousarray(back), mutual
    )
    count: NDArray[np.float64] = mutual.sum(1, dtype=np.float64)
    return count


def trust_in(chance: Chances) -> Chances:
    """Weight cells as ends of pairs, by the inverse of the variance that their chance implies.

    A pair of a cell without a counterpart connects two populations, so its vector has an error of
    the size of their difference.
    """
    left, right = (1 / (1 + MISMATCH * (1 - np.maximum(some, PLAUSIBLE))) for some in chance)
    return left, right


def likely_pairs(pairs: Pairs, chance: Chances) -> NDArray[np.bool_]:
    """Return which pairs have two ends that are likely to have a counterpart."""
    return (chance[0][pairs.left] > LIKELY) & (chance[1][pairs.right] > LIKELY)
