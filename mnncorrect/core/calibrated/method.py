r"""Correct an embedding as far as batch effects are told apart from noise, and say how far.

Methods that match mutual nearest neighbours mix well, but they move cells whether or not there is
a batch effect, and pull together what has no counterpart. Here every displacement is an estimate
with a standard error, and what is done follows from the two.

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

**Rounds.** A strong effect hides part of itself, because neighbours are sought across it. Pairs
are found a second time from where the first round has brought the cells. What is shrunk, and told
from noise, is the whole displacement as the round estimates it, not what the round adds: a small
rest of a large effect is not less certain than the effect, and to shrink it by its own size would
draw it to the first round's estimate, which is known to fall short. As cells start from that
estimate, its noise is counted as well.

**Noise scale.** Batches that agree in their means and not in their noise do not mix; residuals are
contracted to the noise of the calmest batch nearby; where there is a reference, which stays as it
is, they are brought to its noise (:mod:`mnncorrect.core.calibrated.noise_scale`). Contraction alone
left it apart where it was noisier: the mean total of seven data sets was lower by 0.002 with the
largest batch as the reference, and by 0.012 with the smallest.

**Confidence** (:mod:`mnncorrect.core.calibrated.confidence`). Of a cell that moves: the largest
shrinkage of its rounds times agreement and what folding leaves, times the number of paired cells
among its neighbours over half of what is typical, where that is below 1. Of a cell that others are
moved to: the mean confidence of its neighbours' partners, where missing ones count as partners
without any up to half of the typical number. The largest over all merges; 0 where these were left
alone. Populations of fewer cells than the 30 neighbours share the confidence of those beside them.
Below 0.1 a cell is not moved at all, and up to 0.2 in part: such a cell has no counterpart in
another batch, or its displacement is not told apart from none. Residuals are contracted in full
from 0.4 on.

**Order.** All is computed with cells in an order that their values decide, and batches are merged
as their likeness says (:mod:`mnncorrect.core.calibrated.merge_order`), one after the other or, for
many, in rounds that halve the number of nodes. So neither order of the input matters, and no sum
depends on the number of threads.

**Many cells.** Displacements and noise are smooth fields. In nodes of more than 1,500 cells
displacements are worked out, shrunk and compared at 1,000 of them, or at one in 20 if these are
more, and their noise and folding at 1,000 of those; others take the mean of those near them. Rounds
before the last look at some thousand cells. Pairs, and what is recorded of them, are those of all
cells.

**Other values.** All of it is linear in the cells once the weights are known, so that expression
is corrected by the same weights (:mod:`mnncorrect.core.calibrated.expression`).

Each part can be left out (:class:`Parts`); workflows/benchmark scores the method without it. On
seven data sets the mean total is 0.771; without the noise scale 0.752, agreement 0.764, averaging
0.768, the second round 0.766, evidence 0.771, folding 0.771, shrinkage 0.773, where evidence and
shrinkage are there for what is preserved, in data without an effect above all, and folding for
populations that these sets do not have.

The constants were chosen on seven data sets with known cell types; what depends on them little is
said at each. The agreement rule rests on two of these sets.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy import sparse

from mnncorrect.core.merging.loop import Correction, Node, Outcome, carry_out, pair_finder
from mnncorrect.core.neighbors.engines import RECALL, grouped, nearest, resolve_engine
from mnncorrect.core.runtime.threads import resolve_n_jobs

from .confidence import SURE_TO_CONTRACT, confidence_of_moved, confidence_of_partners, readiness
from .displacement import MOST_ANCHORS, Side, agreement, displace, unfolded
from .evidence import N_END, N_NEIGHBORS, weigh_evidence
from .expression import Contraction, Move, Round, Weights
from .merge_order import chain, halving
from .neighborhoods import canonical_order, evenly, join_points, look_around, mix
from .noise_scale import N_MEAN, N_NOISE, contract, noise_factors, noise_neighbors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mnncorrect.core.merging.loop import FindPairs, Merge
    from mnncorrect.core.merging.plans import Order, Tree
    from mnncorrect.core.runtime.threads import Progress

    from .neighborhoods import Local, Points, Search

# How often pairs are found. A third time mixes a little more, and preserves less.
ROUNDS = 2
# Cells of a node that have pairs in the rounds before the last, and anchors that are used of them:
# these rounds only bring cells near enough for the last.
MOST_PAIRED, FEW_ANCHORS = 4_000, 2_000
# Cells of a batch beyond which the neighbours that noise is read off are near enough for the rest.
MANY = 10_000
# Share of the true neighbours that are sought where means are taken over them: a mean over cells
# nearly as near is as good. Pairs are sought at the recall that is asked for.
ENOUGH_RECALL = 0.9
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
        How often pairs are found.
    noise_scale
        Whether residuals are contracted to the noise of the calmest batch.
    pair_weight
        ``"vote"``: a left cell has one vote, which its pairs share. ``"softmax"``: a pair counts as
        much as both ends prefer each other, :func:`mnncorrect.core.merging.pairs.dual_softmax`.
    """

    evidence: bool = True
    averaging: bool = True
    shrinkage: bool = True
    agreement: bool = True
    folding: bool = True
    rounds: int = ROUNDS
    noise_scale: bool = True
    pair_weight: Literal["vote", "softmax"] = "vote"


WHOLE = Parts()


@dataclass(frozen=True)
class Calibration:
    """A calibrated correction.

    Attributes
    ----------
    correction
        The corrected embedding and the merges.
    confidence
        Of each cell, 0..1.
    weights
        What was done to the cells, for other values of them; ``None`` if it was not to be kept.
    """

    correction: Correction
    confidence: NDArray[np.float64]
    weights: Weights | None


def mnn_calibrated(
    x: NDArray[Any],
    batch: NDArray[np.integer[Any]],
    *,
    names: Sequence[str] | None = None,
    cells: NDArray[Any] | None = None,
    merge_order: Order = None,
    reference: int | None = None,
    neighbors: str = "auto",
    recall: float = RECALL,
    random_state: int = 0,
    n_jobs: int | None = None,
    progress: Progress | None = None,
) -> tuple[Correction, NDArray[np.float64]]:
    """Correct an embedding as far as batch effects are told apart from noise.

    Parameters
    ----------
    x
        Cells x dimensions.
    batch
        Batch number of each cell, 0 to B - 1; each occurs.
    names
        Names of the batches; their numbers if not given. They decide between batches of equal size
        and scatter.
    cells
        Names of the cells, likewise.
    merge_order
        A plan; ``"balanced"``: one that halves the number of nodes in rounds; ``None``: to add to
        the reference, or to the largest batch, always the one most like what is merged.
    reference
        Batch that does not move.
    neighbors, recall, random_state, n_jobs
        Engine of the neighbour searches, and their recall, seed and threads.
    progress
        Told how far the correction is.

    Returns
    -------
    The corrected embedding and the merges; and the confidence of each cell, 0..1.
    """
    found = calibrate(
        x,
        batch,
        names=names,
        cells=cells,
        merge_order=merge_order,
        reference=reference,
        neighbors=neighbors,
        recall=recall,
        random_state=random_state,
        n_jobs=n_jobs,
        progress=progress,
    )
    return found.correction, found.confidence


def calibrate(
    x: NDArray[Any],
    batch: NDArray[np.integer[Any]],
    *,
    names: Sequence[str] | None = None,
    cells: NDArray[Any] | None = None,
    merge_order: Order = None,
    reference: int | None = None,
    neighbors: str = "auto",
    recall: float = RECALL,
    random_state: int = 0,
    n_jobs: int | None = None,
    progress: Progress | None = None,
    parts: Parts = WHOLE,
    keep: bool = False,
) -> Calibration:
    """Correct an embedding as :func:`mnn_calibrated` does, and keep what it was done by.

    Parameters
    ----------
    x, batch, names, cells, merge_order, reference
        As there.
    neighbors, recall, random_state, n_jobs, progress
        As there.
    parts
        What of the method is done.
    keep
        Whether the weights are kept, by which other values of the cells can be corrected.
    """
    n_jobs = resolve_n_jobs(n_jobs)
    batch = np.asarray(batch)
    n_batches = int(batch.max()) + 1
    names = [str(number) for number in range(n_batches)] if names is None else list(names)
    options: dict[str, Any] = {
        "engine": neighbors,
        "recall": recall,
        "random_state": random_state,
        "n_jobs": n_jobs,
    }
    search = partial(nearest, **options | {"recall": min(recall, ENOUGH_RECALL)})
    order = canonical_order(x, batch, names, cells)
    nodes = []
    for number in range(n_batches):
        own, starts = order[batch[order] == number], None
        if resolve_engine(neighbors, len(own), len(own), x.shape[1]) == "partition":
            # By regions then, which serve all searches, and within a region in canonical order.
            groups, starts = grouped(x[own], random_state=random_state, n_jobs=n_jobs)
            own = own[groups]
        nodes.append(Node((number,), own, np.ascontiguousarray(x[own]), starts=starts))
    rows = [node.rows for node in nodes]
    if n_batches == 1:
        return Calibration(Correction(x.copy(), ()), np.zeros(len(x)), Weights() if keep else None)
    least = min(map(len, rows))
    local = {}
    for number, node in enumerate(nodes):
        k_noise = noise_neighbors(len(node.rows), least)
        # Of many cells, those nearest enough for the noise do for the local mean as well.
        k = k_noise + 1 if len(node.rows) > MANY else max(N_MEAN, k_noise + 1)
        local[number] = look_around(
            node.data, k, N_NOISE, search, starts=node.starts, n_jobs=n_jobs
        )
        if progress is not None:
            progress("neighbourhoods", (number + 1) / n_batches)
    method = Calibrated(
        local,
        search,
        random_state,
        n_jobs,
        {number: np.zeros(len(local[number])) for number in local},
        parts,
        [] if keep else None,
    )
    merged, merges = carry_out(
        nodes,
        _plan(merge_order, [node.data for node in nodes], names, reference),
        method,
        pair_finder(
            n_neighbors=N_NEIGHBORS,
            weighted=parts.pair_weight == "softmax",
            progress=progress,
            **options,
        ),
        progress=progress,
    )
    at = dict(zip(merged.batches, _parts(merged, local), strict=True))
    data = {number: merged.data[at[number]] for number in merged.batches}
    # In the order of the merges, which follows the data.
    some = taking_part(merges) if parts.noise_scale else set()
    live = [number for number in merged.batches if number in some]
    contractions = []
    if live:
        ready = {number: readiness(method.confidence[number], SURE_TO_CONTRACT) for number in live}
        factors = noise_factors(
            {number: data[number] for number in live},
            local,
            ready,
            search,
            targets=(reference,) if reference in live else (),
            n_jobs=n_jobs,
        )
        for number, factor in factors.items():
            points, listed, counts = data[number], local[number].neighbors, ready[number] > 0
            data[number] = contract(points, listed, factor, counts, n_jobs=n_jobs)
            if keep:
                contractions.append(Contraction(rows[number], points, listed, factor, counts))
    corrected, confidence = np.empty_like(x), np.empty(len(x))
    for number in range(n_batches):
        corrected[rows[number]] = data[number]
        confidence[rows[number]] = method.confidence[number]
    weights = None if method.moves is None else Weights(tuple(method.moves), tuple(contractions))
    return Calibration(Correction(corrected, merges), confidence, weights)


def _plan(
    merge_order: Order,
    batches: Sequence[NDArray[Any]],
    names: Sequence[str],
    reference: int | None,
) -> Tree:
    if merge_order is None:
        return chain(batches, names, reference)
    if isinstance(merge_order, str):
        return halving(batches, names, reference)
    first: Tree = merge_order
    while not isinstance(first, int):
        first = first[0]
    if reference is not None and first != reference:
        msg = (
            f"merge_order starts with {names[first]!r}, and reference is {names[reference]!r}; "
            "start with that batch, or leave one of the two out"
        )
        raise ValueError(msg)
    return merge_order


def taking_part(merges: Sequence[Merge]) -> set[int]:
    """Find the batches that take part in a merge that was not left alone.

    Those that were left alone when they came to its left side do not.
    """
    return {
        number for merge in merges if not merge.skipped for number in (merge.left[0], *merge.right)
    }


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
    """

    local: dict[int, Local]
    search: Search
    random_state: int
    n_jobs: int
    confidence: dict[int, NDArray[np.float64]]
    parts: Parts = WHOLE
    moves: list[Move] | None = field(default=None)

    def align(self, left: Node, right: Node) -> tuple[Node, Node]:
        """Leave nodes as they are."""
        return left, right

    def merge(self, left: Node, right: Node, find_pairs: FindPairs) -> Outcome:
        """Move the right node towards the left one as far as the evidence goes."""
        left_side = self._side(left)
        right_side = self._side(right)
        points = join_points([self.local[batch] for batch in right.batches])
        at = np.arange(len(right.rows)) if points is None else points.rows
        test = weigh_evidence(
            left.data, right.data, self.search, random_state=self.random_state, n_jobs=self.n_jobs
        )
        if self.parts.evidence and test.ratio < ENOUGH_EVIDENCE:
            pairs = find_pairs(left, right)
            return Outcome(left, right, pairs, skipped=True, evidence=test.ratio)
        before = moved = right.data
        certain, noise = np.zeros(len(at)), np.zeros(len(at))
        rounds = []
        for number in range(self.parts.rounds):
            nodes, most = (left, replace(right, data=moved)), MOST_ANCHORS
            if number < self.parts.rounds - 1:
                nodes, most = (_thin(nodes[0]), _thin(nodes[1])), FEW_ANCHORS
            pairs = find_pairs(*nodes)
            now = right_side._replace(data=moved)
            found = displace(
                left_side, now, pairs, self.search, most_anchors=most, at=at, n_jobs=self.n_jobs
            )
            if found is None:
                return Outcome(left, right, pairs, skipped=True, evidence=test.ratio)
            # As far as the cells have been brought, and what is still missing.
            total = moved[at] - before[at] + found.vectors
            noise += found.noise
            doubt = test.dispersion * noise / np.maximum((total**2).sum(1), TINY)
            shrunk = np.maximum(0, 1 - doubt) if self.parts.shrinkage else np.ones(len(doubt))
            certain = np.maximum(certain, shrunk)
            total *= shrunk[:, None]
            weights = agreement(total) if self.parts.agreement else np.ones(len(total))
            if self.parts.folding and number == self.parts.rounds - 1:
                weights *= unfolded(before[at], total, weights, self.search, n_jobs=self.n_jobs)
            total = self._spread_out(weights[:, None] * total, points)
            moved = (before + total).astype(before.dtype)
            if self.moves is not None:
                rounds.append(Round(found.weights, weights * shrunk, points))
        sure = self._spread_out((certain * weights)[:, None], points)[:, 0]
        sure = confidence_of_moved(sure, pairs, [self.local[b] for b in right.batches])
        self._note(right, sure)
        self._note(left, confidence_of_partners(sure, pairs, [self.local[b] for b in left.batches]))
        ready = readiness(sure)
        moved = (before + ready[:, None] * total).astype(before.dtype)
        if self.moves is not None:
            self.moves.append(Move(left.rows, right.rows, tuple(rounds), ready))
        return Outcome(left, replace(right, data=moved), pairs, evidence=test.ratio)

    def _spread_out(
        self, values: NDArray[np.float64], points: Points | None
    ) -> NDArray[np.float64]:
        """Turn values at points into those of cells."""
        if points is None:
            return values
        return mix(points.near, points.weights, values, n_jobs=self.n_jobs)

    def _side(self, node: Node) -> Side:
        some = [self.local[batch] for batch in node.batches]
        k = N_END if self.parts.averaging else 1
        averaging = sparse.block_diag([one.averaging(k) for one in some], format="csr")
        return Side(
            node.data,
            sparse.csr_matrix(averaging),
            np.concatenate([one.variance for one in some]),
        )

    def _note(self, node: Node, confidence: NDArray[np.float64]) -> None:
        """Keep the confidence of a node's cells where it is above what is known."""
        for batch, rows in zip(node.batches, _parts(node, self.local), strict=True):
            self.confidence[batch] = np.maximum(self.confidence[batch], confidence[rows])


def _thin(node: Node) -> Node:
    """Let only some cells of a large node have pairs, evenly spaced."""
    if len(node.rows) <= MOST_PAIRED:
        return node
    return replace(node, restrict=evenly(len(node.rows), MOST_PAIRED))


def _parts(node: Node, local: dict[int, Local]) -> list[slice]:
    """Rows of a node by batch."""
    ends = np.cumsum([len(local[batch]) for batch in node.batches])
    return [
        slice(end - len(local[batch]), end)
        for batch, end in zip(node.batches, ends.tolist(), strict=True)
    ]
