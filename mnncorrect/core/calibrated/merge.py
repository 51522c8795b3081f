r"""One merge of the calibrated method: estimate displacements, and test them.

**Estimate.** The difference of the two cells of a pair is a draw from the batch effect plus the
noise of both cells. Each end is replaced by the mean of its neighbors in its own batch. This
removes most of the noise. It also removes most of the bias of pairs, which are nearer than their
populations because they were chosen as nearest. A left cell has one vote, which its pairs share, so
a cell with many partners counts no more than others. The dual softmax of distances
(:func:`mnncorrect.core.merging.pairs.dual_softmax`) exists for comparison. The right end is
averaged as widely as the left one; otherwise cells would move to the center of their population
(:func:`mnncorrect.core.calibrated.displacement.displace`). Differences are smoothed over the
nearest paired cells.

All of this is a linear map of the cells, so its variance is known. It is the variance of each cell,
from residuals around its neighbors, times its squared total weight
(:mod:`mnncorrect.core.calibrated.displacement`). So cells in many pairs need no extra constant. The
variance ignores that the choice of pairs depends on the cells too. Without an effect, the ratio of
signal to noise is therefore not 1. It was between 0.5 and more than 10, and is larger for more
cells and fewer dimensions.

**Evidence.** The ratio of squared displacements to their variances is compared with the same ratio
after the cells of both batches are assigned to two sides at random
(:mod:`mnncorrect.core.calibrated.evidence`), for up to 1,000 cells a side. A merge is skipped
unless the ratio exceeds 1 and the largest of five random ratios
:data:`~mnncorrect.core.calibrated.evidence.ENOUGH_EVIDENCE` times. Then no cell moves. The factor
was at most 1.3 in 35 random splits and nine merges of replicates without an effect, and at least
3.1 in all other merges of seven data sets (50 components). A weaker true effect remains. With fewer
than 150 cells on a side, the size of the common displacement is compared with that of 40 splits.

**Shrinkage.** Each displacement is multiplied by :math:`\max(0, 1 - \mathrm{noise} / \Delta^2)`.
This is the positive-part rule of James and Stein, with the number of dimensions instead of that
number minus two. It removes almost all of a zero signal and nothing of a strong one. The noise is
that of the linear map, times the mean ratio of random splits if this exceeds 1. The ratio is taken
at up to 1,000 cells a side and grows with their number. So less is removed in large batches.
Shrinkage matters for weak local effects only, because evidence decides first.

**Agreement.** The displacement of a population with a counterpart is a draw from the batch effect.
If a population was matched to another one, its displacement is a difference between populations.
Displacements far from the geometric median, which up to half of the cells cannot shift, are undone
(:func:`mnncorrect.core.calibrated.agreement.agreement`). This assumes that an effect has a common
part. An effect on fewer than half of the cells only is undone.

**Folding.** An effect does not remove the differences between two populations of a batch. If cells
come to lie among distant cells of their own batch, two populations were matched to one. Then the
displacement of the responsible cells is undone
(:func:`mnncorrect.core.calibrated.agreement.unfolded`). This detects a population without a
counterpart whose displacement is as near to the common one as others, if the population lands on
its own batch. It fails if the two populations are almost alike.

In populations of both batches, the share of cells that it computes is about 0.02 (largest median in
six data sets); a tenth is allowed. For ifnb_2800, with each type taken out of one batch in turn,
the share of its neighbors of the same type fell by 0.143, and by 0.163 without folding.

**Rounds.** A strong effect hides part of itself, because neighbors are searched across it. So pairs
are found again from the positions after the first round. Shrinkage and evidence apply to the whole
displacement, not to the part that the round adds. A small remainder of a large effect is as certain
as the effect. Shrinking it by its own size would pull it to the estimate of the first round, which
is too small. Cells start from that estimate, so its noise counts too.

**Counterparts.** The last round uses only pairs whose two ends are likely to have a counterpart
(:mod:`mnncorrect.core.calibrated.counterparts`), by the positions after the previous round. So a
population without one has no pairs of its own, and does not count in the means around the ends of
pairs. Its cells take the displacements of the nearest paired cells of their batch. They follow the
effect of their batch, and are not pulled into another population.

A vector of a pair is wrong by the difference of two populations if an end has no counterpart. So
vectors are weighted by the chances of their ends
(:func:`mnncorrect.core.calibrated.counterparts.trust_in`). These weights are relative: a doubtful
population beside a certain one follows the certain one. Sides of fewer than 150 cells have equal
weights, because their chances are averages over few cells.

If fewer than :data:`ENOUGH_SHARED` of the pairs have two ends with a score above
:data:`mnncorrect.core.calibrated.counterparts.UNDOUBTED`, all pairs are found once more, because a
very strong effect needs two rounds. If there are still too few, the two sides share no population
that the method can see, and the merge is skipped. A merge is also skipped if the common
displacement is large beside the scatter of the cells (:mod:`mnncorrect.core.calibrated.shift`): at
such distances another population would look like a batch effect. The limit is lower if the first
round does not match populations, and if a side is small.

**Small batches** beside large ones are moved towards the cells around them at last. With fewer than
50 cells, all take one displacement before (:mod:`mnncorrect.core.calibrated.small_sides`).

**Evidence within shared populations.** Batches of different composition differ from random splits
even without a batch effect. If at least :data:`OVERLAP` of the pairs are likely before any
displacement, only cells that are likely to have a counterpart are compared.

**Confidence** of a cell is its chance of a counterpart after the merge, the largest over all
merges. Skipped merges count too, with the chance before any displacement. So cells of batches
without an effect have a high confidence, and cells of batches without a shared population a low
one. Confidence decides whose noise the residual of a cell is scaled by
(:mod:`mnncorrect.core.calibrated.noise_scale`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from mnncorrect.core.merging.loop import Outcome

from .agreement import agreement, geometric_median, unfolded
from .counterparts import CAUTION, LIKELY, Facing, likely_pairs, trust_in
from .displacement import MOST_ANCHORS, MergeSide, displace
from .effort import effort_for
from .evidence import ENOUGH_EVIDENCE, N_END, weigh_evidence
from .expression import Move, Round
from .neighborhoods import ENOUGH, evenly, join_points, list_several, mix
from .shift import FAR, limit_of_shift, relative_shift
from .small_sides import LEAST_TOLD_LARGER, can_be_told, displace_alike, draw_in

if TYPE_CHECKING:
    from mnncorrect.core.merging.loop import FindPairs, Node
    from mnncorrect.core.merging.pairs import Pairs

    from .counterparts import Chances
    from .effort import Effort
    from .evidence import Evidence
    from .neighborhoods import BatchNeighborhoods, Points, Search

    # Which cells of each side are averaged; ``None``: all.
    Alike = tuple[NDArray[np.bool_] | None, NDArray[np.bool_] | None]

# Number of rounds. A third round mixes a little more and preserves less.
ROUNDS = 2
# The last round begins once this share of the pairs is recognized. Otherwise there is one more
# round before the decision. In seven data sets and random parts of them, the share was at least
# 0.41 where batches have types in common, even with 58 % of one side without a counterpart. Where
# they have none, it was from 0 to 0.94, and below 0.33 in 14 of 26 cases.
ENOUGH_SHARED = 0.33
# Share of pairs with two likely ends, before any displacement, above which both sides overlap.
OVERLAP = 0.6
# Share and smallest number of cells with pairs, and number of anchors, in rounds before the last.
# These rounds only bring cells near enough for the last one.
EARLY_PAIRED, LEAST_PAIRED, FEW_ANCHORS = 0.5, 400, 2_000
TINY = np.finfo(np.float64).tiny


@dataclass(frozen=True)
class Parts:
    """Parts of the method that can be left out, to measure the effect of each.

    The switches stand in the method and are not set from outside, so a change of the method cannot
    leave the ablation (``workflows/benchmark``) without effect, and tests run it without a part.

    Attributes
    ----------
    evidence
        Whether merges that are not distinguishable from a random split are skipped.
    counterparts
        Whether pairs with an end that is unlikely to have a counterpart are dropped, and merges
        with almost no likely pair are skipped.
    averaging
        Whether the ends of pairs are replaced by the mean of their neighbors.
    shrinkage
        Whether displacements are shrunk by their noise.
    agreement
        Whether displacements far from the common one are undone.
    folding
        Whether displacements that bring cells among distant cells of their own side are undone.
    rounds
        Number of rounds; one more if the last does not match populations.
    noise_scale
        Whether residuals are contracted to the noise of the calmest batch.
    pair_weight
        ``"vote"``: a left cell has one vote, which its pairs share. ``"softmax"``: pairs are
        weighted by mutual preference, :func:`mnncorrect.core.merging.pairs.dual_softmax`.
    """

    evidence: bool = True
    counterparts: bool = True
    averaging: bool = True
    shrinkage: bool = True
    agreement: bool = True
    folding: bool = True
    rounds: int = ROUNDS
    noise_scale: bool = True
    pair_weight: Literal["vote", "softmax"] = "vote"


WHOLE_METHOD = Parts()


@dataclass(frozen=True)
class Calibrated:
    """One merge of :func:`mnncorrect.core.calibrated.method.calibrate`."""

    neighborhoods: dict[int, BatchNeighborhoods]  # Neighborhoods within each batch.
    search: Search  # Finds neighbors.
    random_state: int  # Random seed of the splits.
    n_jobs: int  # Threads.
    # Confidence of the cells of each batch: the largest over all merges so far.
    confidence: dict[int, NDArray[np.float64]]
    parts: Parts = WHOLE_METHOD  # Parts of the method to run.
    moves: list[Move] | None = field(default=None)  # Record of each merge, if it is to be kept.
    effort: Effort = field(default_factory=lambda: effort_for(2))  # Numbers of cells to use.
    small: frozenset[int] = frozenset()  # Batches of few cells, if others have many.
    drawn_in: set[int] = field(default_factory=set)  # Those moved towards the cells around them.

    def align(self, left: Node, right: Node) -> tuple[Node, Node]:
        """Return the nodes unchanged."""
        return left, right

    def merge(self, left: Node, right: Node, find_pairs: FindPairs) -> Outcome:
        """Move the right node towards the left one, if there is evidence of an effect."""
        points = self._points(right)
        at = np.arange(len(right.rows)) if points is None else points.rows
        facing = Facing.of(
            left.data,
            right.data,
            self.effort.asked,
            # Of few batches, all cells are asked.
            (self._points(left), points) if self.effort.share < 1 else (None, None),
            n_jobs=self.n_jobs,
        )
        first = max(LEAST_PAIRED, round(EARLY_PAIRED * self.effort.paired))
        some = [_thin(node, first) for node in (left, right)]
        pairs = find_pairs(*some)
        before = facing.compare(right.data)
        test = self._weigh_evidence(left, right, pairs, before.chance(CAUTION))
        shared = before.recognized(pairs)
        alone = Outcome(left, right, pairs, skipped=True, evidence=test.ratio, shared=shared)
        if self.parts.evidence and test.ratio < ENOUGH_EVIDENCE:
            self._note(left, right, before.chance())
            return alone
        moved, out = right.data, right.out
        total, noise = np.zeros((len(at), moved.shape[1])), np.zeros(len(at))
        rounds: list[Round] = []
        few = not can_be_told(len(left.rows), len(right.rows))
        small = right.batches[0] in self.small and len(right.batches) == 1
        small = small and len(left.rows) >= ENOUGH and not pairs.guided
        for number in range(self.parts.rounds + 1):
            last = number == self.parts.rounds - 1
            own = trust = None
            alike: Alike = (None, None)
            if number:
                some = [
                    _thin(node, self.effort.paired)
                    for node in (left, replace(right, data=moved, out=out))
                ]
                pairs = find_pairs(*some)
                if self.parts.counterparts:
                    now = facing.compare(moved)
                    shared, shift = now.recognized(pairs), relative_shift(right.data, total)
                    enough = shared >= ENOUGH_SHARED
                    last = enough and shift < limit_of_shift(left.data, right.data)
                    if last and not few:
                        after = now.chance(CAUTION)
                        own = np.minimum(1, after[1][at] / LIKELY)
                        if min(len(left.rows), len(right.rows)) >= ENOUGH:
                            trust = trust_in(now.chance())
                        alike = (after[0] > LIKELY, after[1] > LIKELY)
                        pairs = pairs.only(likely_pairs(pairs, after))
                    elif not last and (number == self.parts.rounds or shift > FAR):
                        self._note(left, right, before.chance())
                        return replace(alone, shared=shared)
            sides = [self._side(node, which) for node, which in zip(some, alike, strict=True)]
            if small and len(right.rows) < LEAST_TOLD_LARGER:
                found = displace_alike(sides[0], sides[1], pairs, self.search, n_jobs=self.n_jobs)
            else:
                found = displace(
                    sides[0],
                    sides[1],
                    pairs,
                    self.search,
                    most_anchors=MOST_ANCHORS if last else FEW_ANCHORS,
                    at=at,
                    share=self.effort.share,
                    trust=trust,
                    n_jobs=self.n_jobs,
                )
            if found is None:
                self._note(left, right, before.chance())
                return replace(alone, shared=shared)
            # Displacement so far, and the estimate of what is still missing.
            brought = moved - right.data.astype(np.float64)
            total = found.weights.carry(brought, at, own, n_jobs=self.n_jobs) + found.vectors
            noise += found.noise
            doubt = noise / np.maximum((total**2).sum(1), TINY)
            shrunk = np.maximum(0, 1 - doubt) if self.parts.shrinkage else np.ones(len(doubt))
            total *= shrunk[:, None]
            common = geometric_median(total)
            weights = agreement(total, common) if self.parts.agreement else np.ones(len(total))
            if self.parts.folding and last:
                weights *= unfolded(
                    right.data[at],
                    total,
                    weights,
                    self.search,
                    common=common,
                    share=self.effort.share,
                    n_jobs=self.n_jobs,
                )
            total *= weights[:, None]
            moved, out = _moved(right, self._spread_out(total, points))
            rounds.append(Round(found.weights, weights * shrunk, points, own))
            if last:
                break
        chance = facing.compare(moved).chance()
        self._note(left, right, chance)
        if small and self.parts.noise_scale:
            self.drawn_in.update(right.batches)
            node = replace(right, data=moved, out=out)
            into, by = draw_in(left, node, chance[1], self.search, n_jobs=self.n_jobs)
            moved, out = _moved(right, moved - right.data.astype(np.float64) + by)
            rounds.append(Round(into, np.ones(len(by))))
        if self.moves is not None:
            self.moves.append(Move(left.rows, right.rows, tuple(rounds)))
        right = replace(right, data=moved, out=out)
        return Outcome(left, right, pairs, evidence=test.ratio, shared=shared)

    def _weigh_evidence(self, left: Node, right: Node, pairs: Pairs, chance: Chances) -> Evidence:
        """Compare both sides with random splits; if they overlap, only the shared cells."""
        cells = (left.data, right.data)
        likely = likely_pairs(pairs, chance)
        if self.parts.counterparts and likely.sum() > OVERLAP * len(likely):
            cells = (left.data[chance[0] > LIKELY], right.data[chance[1] > LIKELY])
        return weigh_evidence(
            cells[0],
            cells[1],
            tested=self.effort.tested,
            looked=self.effort.looked,
            times=self.effort.times,
            times_few=self.effort.times_few,
            random_state=self.random_state,
            n_jobs=self.n_jobs,
        )

    def _points(self, node: Node) -> Points | None:
        """Choose points of a node at which smooth quantities are computed."""
        return join_points(
            [self.neighborhoods[batch] for batch in node.batches], share=self.effort.share
        )

    def _spread_out(
        self, values: NDArray[np.float64], points: Points | None
    ) -> NDArray[np.float64]:
        """Extend values at points to all cells."""
        if points is None:
            return values
        return mix(points.near, points.weights, values, n_jobs=self.n_jobs)

    def _side(self, node: Node, counted: NDArray[np.bool_] | None) -> MergeSide:
        """Describe a node; only the cells that are counted are averaged, by default all."""
        some = [self.neighborhoods[batch] for batch in node.batches]
        k = N_END if self.parts.averaging else 1
        around = list_several(some, k)
        ends = around if node.out is None else list_several(some, k, ends=True)
        if counted is not None:
            around, ends = around.only(counted), ends.only(counted)
        return MergeSide(
            node.data,
            ends,
            np.concatenate([one.variance for one in some]),
            node.out,
            around,
        )

    def _note(self, left: Node, right: Node, chance: Chances) -> None:
        """Keep the chance of a counterpart of each cell if it exceeds the largest so far."""
        for node, found in zip((left, right), chance, strict=True):
            for batch, rows in zip(
                node.batches, rows_by_batch(node, self.neighborhoods), strict=True
            ):
                self.confidence[batch] = np.maximum(self.confidence[batch], found[rows])


def _moved(node: Node, by: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Move the cells of a node, and the means around them."""

    def added(cells: NDArray[Any]) -> NDArray[Any]:
        # Added in float64, and rounded as it is written.
        return np.add(cells, by, out=np.empty_like(cells), casting="same_kind")

    return added(node.data), None if node.out is None else added(node.out)


def _thin(node: Node, most: int) -> Node:
    """Restrict pairs to evenly spaced cells of a large node."""
    if len(node.rows) <= most:
        return node
    return replace(node, restrict=evenly(len(node.rows), most))


def rows_by_batch(node: Node, local: dict[int, BatchNeighborhoods]) -> list[slice]:
    """Rows of a node by batch."""
    sizes = [len(local[batch]) for batch in node.batches]
    ends = np.cumsum(sizes).tolist()
    return [slice(end - size, end) for size, end in zip(sizes, ends, strict=True)]
