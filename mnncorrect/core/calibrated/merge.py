r"""What the calibrated method does in one merge: estimate a displacement, and doubt it.

**Estimate.** The difference of two cells of a pair is a draw from the batch effect plus the noise
of both cells. Both ends are replaced by the mean of their neighbours in their own batch, which
takes out most of the noise, and with it most of the bias by which pairs, being nearest, look
nearer than their populations are. A left cell has one vote, which its pairs share, so that a cell
with many partners counts no more than others; the dual softmax of distances over both lists of
neighbours instead (:func:`mnncorrect.core.merging.pairs.dual_softmax`) is there for comparison. The
right end is averaged as widely as the left one, or cells would be drawn to the middle of their
population (:func:`mnncorrect.core.calibrated.displacement.displace`). Differences are smoothed over
the nearest paired cells. All of this is a linear map of the cells, so that its variance is known:
each cell's own variance, from residuals about its neighbours, times its squared total weight
(:mod:`mnncorrect.core.calibrated.displacement`). No constant stands for the sharing of cells
between pairs. What is left out is that the choice of pairs depends on the cells too: without any
effect the ratio of signal to noise is not 1, but was seen from 0.5 to above 10, the more so the
more cells there are and the fewer dimensions.

**Evidence.** The ratio of the squared displacements to their variances is compared with what it is
when the cells of both batches are dealt out at random (:mod:`mnncorrect.core.calibrated.evidence`),
at up to 1,000 cells a side. A merge that does not exceed 1 and the largest of five such draws
:data:`ENOUGH_EVIDENCE` times is left alone: not one cell moves. In 35 random splits and nine merges
of replicates without an effect it was 1.3 times at most, in all other merges of seven data sets 4.9
at least. A true effect that is weaker than that is left in; so is one on a batch with hardly more
cells than the 30 neighbours that noise is read off, as they are of several populations then and
look noisy.

**Shrinkage.** Each displacement is multiplied by :math:`\max(0, 1 - \mathrm{noise} / \Delta^2)`,
the positive-part rule of James and Stein with the number of dimensions in place of two less: at
zero signal it removes about all, at a strong one nothing. The noise is that of the linear map times
the mean ratio among cells dealt out at random, where this exceeds 1. That ratio is taken at up to
1,000 cells a side and grows with their number (in random halves of one batch from 2.1 there to 3.1
at 5,900), so that in large batches less is removed. It matters for weak local effects; on the
whole, evidence has decided by then. Without the rule of evidence, shrinkage and confidence keep
0.9990 of neighbours in random splits.

**Agreement.** The displacement of a population that has a counterpart is a draw from the effect of
the batch; that of a population matched to another one is a difference between populations.
Displacements far from the geometric median, which up to half of the cells cannot carry off, are
taken back (:func:`mnncorrect.core.calibrated.displacement.agreement`). This assumes that an effect
has a common part: one that strikes less than half of the cells, and not the others, is refused.

**Folding.** An effect does not undo what sets two populations of a batch apart. Where cells come
to lie among such of their own batch as they lay apart from, two populations were matched to one,
and the displacement of those that answer for it is taken back
(:func:`mnncorrect.core.calibrated.displacement.unfolded`). That finds out a population without a
counterpart whose displacement is no further from the common one than others, but only where it
lands on its own batch: not where the other population is missing from that as well, nor where the
two are all but alike, or where it comes to lie beside the other one. With one type taken out of one
batch of ifnb_2800, each in turn, the share of its neighbours that are of the type falls by 0.143 on
average and 0.282 at most; without folding by 0.163 and 0.340. In 62 such cases of five other data
sets it changes little: by 0.018 less at most, in one case by 0.015 more. In populations that both
batches have, cells answer for about 0.02 (the largest median in six data sets), where a tenth is
allowed.

**Rounds.** A strong effect hides part of itself, because neighbors are searched across it. So pairs
are found again from where the first round has brought the cells. The whole displacement is shrunk
and compared with noise, not what the round adds: a small rest of a large effect is as certain as
the effect, and to shrink it by its own size would draw it to the first round's estimate, which
falls short. As cells start from that estimate, its noise is counted as well.

**Counterparts.** The last round uses only pairs whose two ends are likely to have a counterpart
(:mod:`mnncorrect.core.calibrated.counterparts`), judged by where the cells lie after the round
before. A population without one has no pairs of its own then. Its cells take the displacements of
the nearest paired cells of their batch: they follow the effect of their batch, and are not pulled
into another population.

If fewer than :data:`ENOUGH_SHARED` of the pairs have two ends with a score above
:data:`mnncorrect.core.calibrated.counterparts.UNDOUBTED`, pairs are found once more without
choice, because a very strong effect needs two rounds to come near. If there are still too few, the
two sides have nothing in common that the method can see, and the merge is skipped. So is one whose
common displacement is more than :data:`FARTHEST` times the scatter of the moved batch (or
:data:`FAR` times, if the first round does not match populations): there, another population
would look like a batch effect.

**Evidence within what is shared.** Batches that differ in composition differ from random parts of
both, without any batch effect. Where at least :data:`OVERLAP` of the pairs are likely before any
displacement, only cells that are likely to have a counterpart are compared.

**Confidence** of a cell is its chance of a counterpart after the merge, the largest over all
merges. Merges that are left alone count as well, with the chance before any displacement. So cells
of batches without an effect are sure, and cells of batches that have nothing in common are not.
Confidence no longer decides how far a cell moves; residuals are contracted in full from 0.4 on.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mnncorrect.core.merging.loop import Outcome

from .counterparts import CAUTION, LIKELY, Facing, likely_pairs, look_at
from .displacement import (
    MOST_ANCHORS,
    MergeSide,
    agreement,
    displace,
    geometric_median,
    unfolded,
)
from .effort import effort_for
from .evidence import N_END, weigh_evidence
from .expression import Move, Round
from .neighborhoods import evenly, join_points, list_several, mix

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mnncorrect.core.merging.loop import FindPairs, Node
    from mnncorrect.core.merging.pairs import Pairs

    from .counterparts import Aspect, Chances
    from .effort import Effort
    from .evidence import Evidence
    from .neighborhoods import BatchNeighborhoods, Points, Search

# How often pairs are found. A third time mixes a little more, and preserves less.
ROUNDS = 2
# A last round is made of pairs whose two ends are likely to have a counterpart, if these are at
# least such a share of all pairs. Otherwise pairs are found once more, and then it is decided.
ENOUGH_SHARED = 0.1
# With fewer cells on a side, populations are too small to be recognized: all pairs are used then.
LEAST_TOLD = 50
# The common displacement over the scatter of the batch. Beyond the first, populations are as far
# apart as the batches are, and matching them a second time says nothing; beyond the second nothing
# tells an effect from another population. In merges of seven data sets it was 0.92 at most; where
# batches had no type in common, from 0.3 to 2.6.
FAR, FARTHEST = 1.2, 2.0
# Share of pairs with two likely ends, before any displacement, from which both sides overlap.
OVERLAP = 0.6
# Share of the cells with pairs that have them in the rounds before the last, at least so many, and
# anchors that are used of them: these rounds only bring cells near enough for the last.
EARLY_PAIRED, LEAST_PAIRED, FEW_ANCHORS = 0.5, 400, 2_000
# Evidence below which a merge is not told apart from a random split. Anything between 1.3 and 4.8
# decides the same in seven data sets. Small batches exceed it by chance at times: some 3 in 100
# random halves of simulated batches of 40 to 80 cells, with 6.9 as the largest.
ENOUGH_EVIDENCE = 2.0
TINY = np.finfo(np.float64).tiny


@dataclass(frozen=True)
class Parts:
    """The parts of the method that can be left out, to see what each of them does.

    Attributes
    ----------
    evidence
        Whether merges that are not told apart from a random split are left alone.
    counterparts
        Whether pairs are dropped whose ends are not likely to have a counterpart, and merges left
        alone where hardly any is.
    averaging
        Whether the ends of pairs are replaced by the mean of their neighbours.
    shrinkage
        Whether displacements are shrunk by their noise.
    agreement
        Whether displacements far from the common one are taken back.
    folding
        Whether displacements are taken back that bring cells among such of their own side as they
        lay apart from.
    rounds
        How often pairs are found; once more where the last of these does not match populations.
    noise_scale
        Whether residuals are contracted to the noise of the calmest batch.
    pair_weight
        ``"vote"``: a left cell has one vote, which its pairs share. ``"softmax"``: a pair counts as
        much as both ends prefer each other, :func:`mnncorrect.core.merging.pairs.dual_softmax`.
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
    """What :func:`mnn_calibrated` does in one merge.

    Attributes
    ----------
    local
        The neighbourhoods within each batch.
    search
        Finds neighbours.
    random_state
        Seed of random splits.
    n_jobs
        Threads.
    confidence
        Of the cells of each batch; grows with every merge that finds them a counterpart.
    parts
        What of the method is done.
    moves
        What every merge did, if that is to be kept.
    effort
        How much is looked at.
    """

    local: dict[int, BatchNeighborhoods]
    search: Search
    random_state: int
    n_jobs: int
    confidence: dict[int, NDArray[np.float64]]
    parts: Parts = WHOLE_METHOD
    moves: list[Move] | None = field(default=None)
    effort: Effort = field(default_factory=lambda: effort_for(2))

    def align(self, left: Node, right: Node) -> tuple[Node, Node]:
        """Leave nodes as they are."""
        return left, right

    def merge(self, left: Node, right: Node, find_pairs: FindPairs) -> Outcome:
        """Move the right node towards the left one as far as the evidence goes."""
        points = self._points(right)
        at = np.arange(len(right.rows)) if points is None else points.rows
        facing = Facing(self._look_at(left), self._look_at(right), self.n_jobs)
        first = max(LEAST_PAIRED, round(EARLY_PAIRED * self.effort.paired))
        some = [_thin(node, first) for node in (left, right)]
        pairs = find_pairs(*some)
        before = facing.compare(left.data, right.data)
        chance = before.chance()
        test = self._weigh_evidence(left, right, pairs, before.chance(CAUTION))
        shared = before.recognized(pairs)
        alone = Outcome(left, right, pairs, skipped=True, evidence=test.ratio, shared=shared)
        if self.parts.evidence and test.ratio < ENOUGH_EVIDENCE:
            self._note(left, right, chance)
            return alone
        moved, out = right.data, right.out
        total, noise = np.zeros((len(at), moved.shape[1])), np.zeros(len(at))
        rounds: list[Round] = []
        few = min(len(left.rows), len(right.rows)) < LEAST_TOLD
        for number in range(self.parts.rounds + 1):
            last = number == self.parts.rounds - 1
            own = None
            if number:
                some = [
                    _thin(node, self.effort.paired)
                    for node in (left, replace(right, data=moved, out=out))
                ]
                pairs = find_pairs(*some)
                if self.parts.counterparts:
                    now = facing.compare(left.data, moved)
                    shared, shift = now.recognized(pairs), relative_shift(right.data, total)
                    enough = shared >= ENOUGH_SHARED
                    last = (enough or few) and shift < FARTHEST
                    if last and not few:
                        after = now.chance(CAUTION)
                        likely = likely_pairs(pairs, after)
                        own = np.minimum(1, after[1][at] / LIKELY)
                        pairs = replace(pairs, left=pairs.left[likely], right=pairs.right[likely])
                    elif not last and (number == self.parts.rounds or shift > FAR):
                        self._note(left, right, chance)
                        return replace(alone, shared=shared)
            found = displace(
                self._side(some[0]),
                self._side(some[1]),
                pairs,
                self.search,
                most_anchors=MOST_ANCHORS if last else FEW_ANCHORS,
                at=at,
                share=self.effort.share,
                n_jobs=self.n_jobs,
            )
            if found is None:
                self._note(left, right, chance)
                return replace(alone, shared=shared)
            # As far as the cells have been brought, and what is still missing.
            brought = moved - right.data.astype(np.float64)
            total = found.weights.carry(brought, at, own, n_jobs=self.n_jobs) + found.vectors
            noise += found.noise
            doubt = noise / np.maximum((total**2).sum(1), TINY)
            shrunk = np.maximum(0, 1 - doubt) if self.parts.shrinkage else np.ones(len(doubt))
            total *= shrunk[:, None]
            weights = agreement(total) if self.parts.agreement else np.ones(len(total))
            if self.parts.folding and last:
                weights *= unfolded(
                    right.data[at],
                    total,
                    weights,
                    self.search,
                    share=self.effort.share,
                    n_jobs=self.n_jobs,
                )
            total *= weights[:, None]
            moved, out = _moved(right, self._spread_out(total, points))
            rounds.append(Round(found.weights, weights * shrunk, points, own))
            if last:
                break
        self._note(left, right, facing.compare(left.data, moved).chance())
        if self.moves is not None:
            self.moves.append(Move(left.rows, right.rows, tuple(rounds)))
        right = replace(right, data=moved, out=out)
        return Outcome(left, right, pairs, evidence=test.ratio, shared=shared)

    def _look_at(self, node: Node) -> Aspect:
        """Look at some cells of a node, for their chance of a counterpart."""
        return look_at(node.data, self.effort.asked, n_jobs=self.n_jobs)

    def _weigh_evidence(self, left: Node, right: Node, pairs: Pairs, chance: Chances) -> Evidence:
        """Compare both sides with random parts; where they overlap, what they share of them."""
        cells = (left.data, right.data)
        likely = likely_pairs(pairs, chance)
        if self.parts.counterparts and likely.sum() > OVERLAP * len(likely):
            cells = (left.data[chance[0] > LIKELY], right.data[chance[1] > LIKELY])
        return weigh_evidence(
            cells[0],
            cells[1],
            self.search,
            tested=self.effort.tested,
            looked=self.effort.looked,
            times=self.effort.times,
            random_state=self.random_state,
            n_jobs=self.n_jobs,
        )

    def _points(self, node: Node) -> Points | None:
        """Choose points of a node that what varies smoothly is worked out at."""
        return join_points([self.local[batch] for batch in node.batches], share=self.effort.share)

    def _spread_out(
        self, values: NDArray[np.float64], points: Points | None
    ) -> NDArray[np.float64]:
        """Turn values at points into those of cells."""
        if points is None:
            return values
        return mix(points.near, points.weights, values, n_jobs=self.n_jobs)

    def _side(self, node: Node) -> MergeSide:
        some = [self.local[batch] for batch in node.batches]
        k = N_END if self.parts.averaging else 1
        around = list_several(some, k)
        return MergeSide(
            node.data,
            around if node.out is None else list_several(some, k, ends=True),
            np.concatenate([one.variance for one in some]),
            node.out,
            around,
        )

    def _note(self, left: Node, right: Node, chance: Chances) -> None:
        """Keep the chance of a counterpart of each cell where it is above what is known."""
        for node, found in zip((left, right), chance, strict=True):
            for batch, rows in zip(node.batches, rows_by_batch(node, self.local), strict=True):
                self.confidence[batch] = np.maximum(self.confidence[batch], found[rows])


def relative_shift(cells: NDArray[Any], displacements: NDArray[np.float64]) -> float:
    """Divide the common displacement by how far the cells scatter about their mean."""
    scatter = float(((cells - cells.mean(0, dtype=np.float64)) ** 2).sum(1).mean())
    return float(np.sqrt((geometric_median(displacements) ** 2).sum() / max(scatter, TINY)))


def _moved(node: Node, by: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Move the cells of a node, and the means about them alike."""
    data = (node.data + by).astype(node.data.dtype)
    return data, None if node.out is None else (node.out + by).astype(node.out.dtype)


def _thin(node: Node, most: int) -> Node:
    """Let only some cells of a large node have pairs, evenly spaced."""
    if len(node.rows) <= most:
        return node
    return replace(node, restrict=evenly(len(node.rows), most))


def rows_by_batch(node: Node, local: dict[int, BatchNeighborhoods]) -> list[slice]:
    """Rows of a node by batch."""
    ends = np.cumsum([len(local[batch]) for batch in node.batches])
    return [
        slice(end - len(local[batch]), end)
        for batch, end in zip(node.batches, ends.tolist(), strict=True)
    ]
