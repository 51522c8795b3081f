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
as their likeness decides (:mod:`mnncorrect.core.calibrated.merge_order`): one after the other, or,
where there are more than :data:`FEW_BATCHES`, in rounds that halve the number of nodes. So neither
order of the input matters, and no sum depends on the number of threads.

**Many cells.** Displacements and noise are smooth fields. A batch of more than 8,000 cells is
represented by 4,000 of them (:mod:`mnncorrect.core.calibrated.representatives`), whose neighbours
are sought among all cells; all cells take displacement, confidence and noise from the
representatives nearest to them, once, after all merges. In nodes of more than 1,500 cells
displacements are worked out, shrunk and compared at 1,000 of them, or at one in 20 if these are
more, and their noise and folding at 1,000 of those; others take the mean of those near them. Rounds
before the last look at some thousand cells, the last one at 8,000 of a node. Pairs are those of the
cells that are looked at.

**Many batches.** Of more than 10 batches, each merge looks at less (:func:`effort_for`), so that
the price of all merges does not grow with their number, down to some hundred cells a merge; and the
noise of a batch is compared with that of the calmest others only.

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

from mnncorrect.core.merging.loop import Correction, Node, Outcome, carry_out, pair_finder
from mnncorrect.core.neighbors.engines import RECALL, grouped, nearest, resolve_engine
from mnncorrect.core.runtime.threads import one_pool, resolve_n_jobs, take_rows

from .confidence import (
    SURE_TO_CONTRACT,
    Neighborhoods,
    Restricted,
    confidence_of_moved,
    confidence_of_partners,
    readiness,
)
from .displacement import MOST_ANCHORS, Side, agreement, displace, unfolded
from .evidence import MOST_TESTED, N_DEALT, N_END, N_NEIGHBORS, weigh_evidence
from .expression import Contraction, Move, Round, Transfer, Weights
from .merge_order import chain, halving
from .neighborhoods import averaging_of, canonical_order, evenly, join_points, look_around, mix
from .noise_scale import N_MEAN, N_NOISE, contract, noise_factors, noise_neighbors
from .representatives import Field, apply, represent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mnncorrect.core.merging.loop import FindPairs, Merge
    from mnncorrect.core.merging.plans import Order, Tree
    from mnncorrect.core.neighbors.engines import Neighbors
    from mnncorrect.core.runtime.threads import Progress

    from .confidence import About
    from .neighborhoods import Local, Points, Search
    from .representatives import Representatives

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
# Cells x cells from which a search in the groups of a batch is quicker than in all cells.
MANY_IN_GROUPS = 2e7
# Evidence below which a merge is not told apart from a random split. Anything between 1.3 and 4.8
# decides the same in seven data sets. Small batches exceed it by chance at times: some 3 in 100
# random halves of simulated batches of 40 to 80 cells, with 6.9 as the largest.
ENOUGH_EVIDENCE = 2.0
# Batches up to which merges look at the most; of more batches each looks at less, as there are more
# merges: representatives of a batch, and what is paired, compared and worked out in a merge.
FEW_BATCHES = 10
MOST_REPRESENTATIVES, LEAST_REPRESENTATIVES, LEAST_TESTED = 4_000, 400, 150
LEAST_SHARE = 0.3
# How often cells are dealt out at random, in all merges and in each.
MOST_DEALINGS, LEAST_DEALT = 100, 2
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
        Batch number of each cell, 0 to B - 1; each occurs. -1: a cell that takes no part.
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
    if n_batches == 1:
        return Calibration(Correction(x.copy(), ()), np.zeros(len(x)), Weights() if keep else None)
    search = partial(nearest, **options | {"recall": min(recall, ENOUGH_RECALL)})
    with one_pool(n_jobs):
        stands = _look_at_batches(x, batch, names, cells, search, options, progress)
        fit = fit_batches(
            stands,
            names,
            merge_order=merge_order,
            reference=reference,
            parts=parts,
            keep=keep,
            search=search,
            options=options,
            progress=progress,
        )
        return _apply(x, stands, fit, _by_groups(search, options), n_jobs=n_jobs)


@dataclass(frozen=True)
class Stand:
    """A batch as the method looks at it: its cells, or representatives of many.

    Attributes
    ----------
    rows
        Rows of its cells in the input.
    starts
        Where groups of the cells that lie together begin, and their end, if they stand so.
    node
        What is merged: the cells, or the representatives, whose ``out`` are the means about them.
    local
        Neighbourhoods of the same.
    found
        The representatives; ``None`` where all cells stand for themselves.
    """

    rows: NDArray[np.int64]
    starts: NDArray[np.int64] | None
    node: Node
    local: Local
    found: Representatives | None = None


def _look_at_batches(
    x: NDArray[Any],
    batch: NDArray[np.integer[Any]],
    names: Sequence[str],
    cells: NDArray[Any] | None,
    search: Search,
    options: dict[str, Any],
    progress: Progress | None,
) -> list[Stand]:
    """Order the cells of each batch, choose representatives of many, and find their noise."""
    n_jobs, random_state = options["n_jobs"], options["random_state"]
    order = canonical_order(x, batch, names, cells)
    order = order[batch[order] >= 0]
    by_batch = np.split(
        order[np.argsort(batch[order], kind="stable")], np.cumsum(np.bincount(batch[order]))[:-1]
    )
    effort = effort_for(len(by_batch))
    by_groups = _by_groups(search, options)
    least = min(map(len, by_batch))
    stands = []
    for number, own in enumerate(by_batch):
        starts = None
        many = len(own) > 2 * effort.representatives
        engine = resolve_engine(options["engine"], len(own), len(own), x.shape[1])
        if many or engine == "partition":
            # By regions then, which serve all searches, and within a region in canonical order.
            groups, starts = grouped(x[own], random_state=random_state, n_jobs=n_jobs)
            own = own[groups]
        data = take_rows(x, own, n_jobs=n_jobs)
        k_noise = noise_neighbors(len(own), least)
        if many and starts is not None:
            found = represent(
                data, starts, effort.representatives, N_NOISE, k_noise, search, by_groups,
                n_jobs=n_jobs,
            )  # fmt: skip
            ends = found.ends.astype(x.dtype)
            node = Node((number,), own[found.cells], data[found.cells], out=ends)
            stands.append(Stand(own, starts, node, found.local, found))
        else:
            # Of many cells, those nearest enough for the noise do for the local mean as well.
            k = k_noise + 1 if len(own) > MANY else max(N_MEAN, k_noise + 1)
            local = look_around(data, k, N_NOISE, search, starts=starts, n_jobs=n_jobs)
            stands.append(Stand(own, starts, Node((number,), own, data, starts=starts), local))
        if progress is not None:
            progress("neighbourhoods", (number + 1) / len(by_batch))
    if any(stand.found is not None for stand in stands):
        return [
            stand if stand.found else replace(stand, node=replace(stand.node, out=stand.node.data))
            for stand in stands
        ]
    return stands


def _by_groups(search: Search, options: dict[str, Any]) -> Search:
    """Search what stands in groups in a few of these, where there is a choice and it is quicker."""

    def find(query: NDArray[Any], reference: NDArray[Any], k: int, **known: Any) -> Neighbors:
        if options["engine"] == "auto" and len(query) * len(reference) > MANY_IN_GROUPS:
            return search(query, reference, k, engine="partition", **known)
        return search(query, reference, k, **known)

    return find


@dataclass(frozen=True)
class Fit:
    """A correction as it is known at what batches stand for themselves by.

    Attributes
    ----------
    merges
        What is remembered of the merges.
    moved
        Where the cells or representatives of each batch came to lie.
    confidence
        Of each of them.
    factors
        What the residuals of each are multiplied by; none of batches that are not changed.
    moves
        What every merge did, if that was to be kept.
    """

    merges: tuple[Merge, ...]
    moved: dict[int, NDArray[Any]]
    confidence: dict[int, NDArray[np.float64]]
    factors: dict[int, NDArray[np.float64]]
    moves: list[Move] | None


def fit_batches(
    stands: Sequence[Stand],
    names: Sequence[str],
    *,
    merge_order: Order,
    reference: int | None,
    parts: Parts,
    keep: bool,
    search: Search,
    options: dict[str, Any],
    progress: Progress | None,
) -> Fit:
    """Find out how far what batches stand for themselves by is moved, and how sure that is."""
    local = {number: stand.local for number, stand in enumerate(stands)}
    method = Calibrated(
        local,
        search,
        options["random_state"],
        options["n_jobs"],
        {number: np.zeros(len(local[number])) for number in local},
        parts,
        [] if keep else None,
        effort_for(len(stands)),
    )
    pairs = {"n_neighbors": N_NEIGHBORS, "weighted": parts.pair_weight == "softmax"}
    # Merges of one round are made at once, each in a thread.
    in_a_thread = None
    if len(stands) > FEW_BATCHES:
        in_a_thread = (
            replace(method, search=partial(search, n_jobs=1), n_jobs=1),
            pair_finder(**pairs, **options | {"n_jobs": 1}),
        )
    merged, merges = carry_out(
        [stand.node for stand in stands],
        _plan(merge_order, [stand.node.data for stand in stands], names, reference),
        method,
        pair_finder(progress=progress, **pairs, **options),
        in_a_thread=in_a_thread,
        n_jobs=options["n_jobs"],
        progress=progress,
    )
    at = dict(zip(merged.batches, _parts(merged, local), strict=True))
    data = {number: merged.data[at[number]] for number in merged.batches}
    # In the order of the merges, which follows the data.
    some = taking_part(merges) if parts.noise_scale else set()
    live = [number for number in merged.batches if number in some]
    factors = {}
    if live:
        factors = noise_factors(
            {number: data[number] for number in live},
            local,
            {number: readiness(method.confidence[number], SURE_TO_CONTRACT) for number in live},
            search,
            sizes={number: len(stands[number].rows) for number in live},
            squares={
                number: found.squares
                for number in live
                if (found := stands[number].found) is not None
            },
            targets=(reference,) if reference in live else (),
            n_jobs=options["n_jobs"],
        )
    return Fit(merges, data, method.confidence, factors, method.moves)


def _apply(
    x: NDArray[Any], stands: Sequence[Stand], fit: Fit, search: Search, *, n_jobs: int
) -> Calibration:
    """Correct all cells by what is known at what their batches stand for themselves by."""
    # Cells that take no part stay where they are.
    corrected, confidence = x.copy(), np.zeros(len(x))
    contractions, transfers = [], []
    for number, stand in enumerate(stands):
        data, sure = fit.moved[number], fit.confidence[number]
        factor = fit.factors.get(number)
        if stand.found is not None:
            field = Field(
                stand.found.ends.astype(x.dtype),
                data.astype(np.float64) - stand.node.data,
                sure,
                np.zeros(len(data)) if factor is None else np.log(factor),
                stand.found.starts,
            )
            cells = take_rows(x, stand.rows, n_jobs=n_jobs)
            data, sure, taken = apply(field, cells, search, starts=stand.starts, n_jobs=n_jobs)
            if fit.moves is not None:
                transfers.append(Transfer(stand.rows, stand.found, taken))
        elif factor is not None:
            points, listed = data, stand.local.neighbors
            counts = readiness(sure, SURE_TO_CONTRACT) > 0
            data = contract(points, listed, factor, counts, n_jobs=n_jobs)
            if fit.moves is not None:
                contractions.append(Contraction(stand.rows, points, listed, factor, counts))
        corrected[stand.rows] = data
        confidence[stand.rows] = sure
    weights = None
    if fit.moves is not None:
        weights = Weights(tuple(fit.moves), tuple(contractions), tuple(transfers))
    return Calibration(Correction(corrected, fit.merges), confidence, weights)


@dataclass(frozen=True)
class Effort:
    """How much is looked at, so that a price does not grow with the number of batches.

    Attributes
    ----------
    representatives
        Of a batch, where it has more than twice as many cells.
    paired
        Cells or representatives of a node that pairs are made of.
    tested, looked
        Of each side of a merge, how many are compared with random parts, and of how many of these
        the displacement is looked at.
    times
        How often cells are dealt out at random.
    share
        Of the points where displacements and their noise are worked out in few batches.
    """

    representatives: int
    paired: int
    tested: int
    looked: int
    times: int
    share: float


def effort_for(n_batches: int) -> Effort:
    """Choose how much is looked at in each of the merges of so many batches."""
    few = FEW_BATCHES / max(n_batches, FEW_BATCHES)
    tested = max(LEAST_TESTED, round(MOST_TESTED * few))
    return Effort(
        max(LEAST_REPRESENTATIVES, round(MOST_REPRESENTATIVES * few)),
        max(LEAST_REPRESENTATIVES, round(2 * MOST_REPRESENTATIVES * few**2)),
        tested,
        max(LEAST_TESTED // 2, tested // 4),
        int(np.clip(MOST_DEALINGS // n_batches, LEAST_DEALT, N_DEALT)),
        max(LEAST_SHARE, few),
    )


def _plan(
    merge_order: Order,
    batches: Sequence[NDArray[Any]],
    names: Sequence[str],
    reference: int | None,
) -> Tree:
    if merge_order is None and len(batches) <= FEW_BATCHES:
        return chain(batches, names, reference)
    if merge_order is None or isinstance(merge_order, str):
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
    effort
        How much is looked at.
    """

    local: dict[int, Local]
    search: Search
    random_state: int
    n_jobs: int
    confidence: dict[int, NDArray[np.float64]]
    parts: Parts = WHOLE
    moves: list[Move] | None = field(default=None)
    effort: Effort = field(default_factory=lambda: effort_for(2))

    def align(self, left: Node, right: Node) -> tuple[Node, Node]:
        """Leave nodes as they are."""
        return left, right

    def merge(self, left: Node, right: Node, find_pairs: FindPairs) -> Outcome:
        """Move the right node towards the left one as far as the evidence goes."""
        points = self._points(right)
        at = np.arange(len(right.rows)) if points is None else points.rows
        test = weigh_evidence(
            left.data,
            right.data,
            self.search,
            tested=self.effort.tested,
            looked=self.effort.looked,
            times=self.effort.times,
            random_state=self.random_state,
            n_jobs=self.n_jobs,
        )
        some = [_thin(node, self.effort.paired) for node in (left, right)]
        if self.parts.evidence and test.ratio < ENOUGH_EVIDENCE:
            pairs = find_pairs(*some)
            return Outcome(left, right, pairs, skipped=True, evidence=test.ratio)
        before = moved = right.data
        out = right.out
        certain, noise = np.zeros(len(at)), np.zeros(len(at))
        rounds = []
        for number in range(self.parts.rounds):
            last = number == self.parts.rounds - 1
            most = self.effort.paired if last else min(MOST_PAIRED, self.effort.paired)
            some = [_thin(node, most) for node in (left, replace(right, data=moved, out=out))]
            pairs = find_pairs(*some)
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
                return Outcome(left, right, pairs, skipped=True, evidence=test.ratio)
            # As far as the cells have been brought, and what is still missing.
            total = moved[at] - before[at] + found.vectors
            noise += found.noise
            doubt = test.dispersion * noise / np.maximum((total**2).sum(1), TINY)
            shrunk = np.maximum(0, 1 - doubt) if self.parts.shrinkage else np.ones(len(doubt))
            certain = np.maximum(certain, shrunk)
            total *= shrunk[:, None]
            weights = agreement(total) if self.parts.agreement else np.ones(len(total))
            if self.parts.folding and last:
                weights *= unfolded(
                    before[at],
                    total,
                    weights,
                    self.search,
                    share=self.effort.share,
                    n_jobs=self.n_jobs,
                )
            total = self._spread_out(weights[:, None] * total, points)
            moved, out = _moved(right, total)
            if self.moves is not None:
                rounds.append(Round(found.weights, weights * shrunk, points))
        sure = self._spread_out((certain * weights)[:, None], points)[:, 0]
        sure = confidence_of_moved(sure, pairs, self._about(replace(some[1], data=before), points))
        self._note(right, sure)
        self._note(left, confidence_of_partners(sure, pairs, self._about(some[0]), len(left.rows)))
        ready = readiness(sure)
        total *= ready[:, None]
        moved, out = _moved(right, total)
        if self.moves is not None:
            self.moves.append(Move(left.rows, right.rows, tuple(rounds), ready))
        return Outcome(left, replace(right, data=moved, out=out), pairs, evidence=test.ratio)

    def _points(self, node: Node) -> Points | None:
        """Choose points of a node that what varies smoothly is worked out at."""
        return join_points([self.local[batch] for batch in node.batches], share=self.effort.share)

    def _about(self, node: Node, points: Points | None = None) -> About:
        """Tell what paired cells are counted among: those of the own batch, or all that may be."""
        batches = [self.local[batch] for batch in node.batches]
        if node.restrict is None:
            return Neighborhoods(batches)
        points = self._points(node) if points is None else points
        cells = node.data if points is None else node.data[points.rows]
        near = self.search(cells, node.data[node.restrict], N_NOISE).indices
        return Restricted(
            node.restrict,
            near,
            lambda values: self._spread_out(values[:, None], points)[:, 0],
        )

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
        around = averaging_of(some, k, node.restrict)
        return Side(
            node.data,
            around if node.out is None else averaging_of(some, k, node.restrict, ends=True),
            np.concatenate([one.variance for one in some]),
            node.out,
            around,
        )

    def _note(self, node: Node, confidence: NDArray[np.float64]) -> None:
        """Keep the confidence of a node's cells where it is above what is known."""
        for batch, rows in zip(node.batches, _parts(node, self.local), strict=True):
            self.confidence[batch] = np.maximum(self.confidence[batch], confidence[rows])


def _moved(node: Node, by: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Move the cells of a node, and the means about them alike."""
    data = (node.data + by).astype(node.data.dtype)
    return data, None if node.out is None else (node.out + by).astype(node.out.dtype)


def _thin(node: Node, most: int) -> Node:
    """Let only some cells of a large node have pairs, evenly spaced."""
    if len(node.rows) <= most:
        return node
    return replace(node, restrict=evenly(len(node.rows), most))


def _parts(node: Node, local: dict[int, Local]) -> list[slice]:
    """Rows of a node by batch."""
    ends = np.cumsum([len(local[batch]) for batch in node.batches])
    return [
        slice(end - len(local[batch]), end)
        for batch, end in zip(node.batches, ends.tolist(), strict=True)
    ]
