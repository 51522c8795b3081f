"""Merge what batches stand for themselves by, in the order that their likeness decides.

**Order.** All is computed with cells in an order that their values decide, and batches are merged
as their likeness decides (:mod:`mnncorrect.core.calibrated.merge_order`): one after the other, or,
where there are more than :data:`FEW_BATCHES`, in rounds that halve the number of nodes. So neither
order of the input matters, and no sum depends on the number of threads.

**Noise scale.** Batches that agree in their means and not in their noise do not mix; residuals are
contracted to the noise of the calmest batch nearby; where there is a reference, which stays as it
is, they are brought to its noise (:mod:`mnncorrect.core.calibrated.noise_scale`). Contraction alone
left it apart where it was noisier: the mean total of seven data sets was lower by 0.002 with the
largest batch as the reference, and by 0.012 with the smallest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnncorrect.core.merging.loop import carry_out, pair_finder
from mnncorrect.core.runtime.compute import FEW_BATCHES

from .effort import LEAST_SHARE, effort_for
from .evidence import N_NEIGHBORS
from .merge import Calibrated, rows_by_batch
from .merge_order import chain, halving
from .noise_scale import noise_factors
from .signal_columns import by_signal
from .small_sides import least_compared, small_batches
from .stands import search_for_means

if TYPE_CHECKING:
    from mnncorrect.core.merging.guides import Guides
    from mnncorrect.core.merging.loop import Merge
    from mnncorrect.core.merging.plans import Order, Tree
    from mnncorrect.core.runtime.compute import ComputeOptions

    from .expression import Move
    from .merge import Parts
    from .neighborhoods import Search
    from .stands import Stand


@dataclass(frozen=True)
class Fit:
    """A correction as it is known at what batches stand for themselves by."""

    merges: tuple[Merge, ...]  # What is remembered of the merges.
    moved: dict[int, NDArray[Any]]  # Where the cells or representatives of each batch came to lie.
    confidence: dict[int, NDArray[np.float64]]  # Of each of them.
    # What the residuals of each are multiplied by; none of batches that are not changed.
    factors: dict[int, NDArray[np.float64]]
    # Neighbors of each cell, whose local mean its residual is measured from.
    around: dict[int, NDArray[np.int32]]
    moves: list[Move] | None  # What every merge did, if that was to be kept.


def fit_batches(
    stands: Sequence[Stand],
    names: Sequence[str],
    *,
    merge_order: Order,
    reference: int | None,
    parts: Parts,
    keep: bool,
    search: Search,
    guides: Guides | None = None,
    compute: ComputeOptions,
) -> Fit:
    """Find out how far what batches stand for themselves by is moved, and how sure that is."""
    local = {number: stand.neighborhoods for number, stand in enumerate(stands)}
    sizes = [len(stand.rows) for stand in stands]
    method = Calibrated(
        local,
        search,
        compute.random_state,
        compute.n_jobs,
        {number: np.zeros(len(local[number])) for number in local},
        parts,
        [] if keep else None,
        effort_for(len(stands)),
        small_batches(sizes),
    )
    pairs: dict[str, Any] = {
        "n_neighbors": N_NEIGHBORS,
        "weighted": parts.pair_weight == "softmax",
        "guides": guides,
    }
    strange = None
    if guides is not None:
        n_standing = [len(stand.node.rows) for stand in stands]
        rows = np.concatenate([stand.node.rows for stand in stands])
        of_batch = np.full(int(rows.max()) + 1, -1)
        of_batch[rows] = np.repeat(np.arange(len(stands)), n_standing)
        strange = guides.strangers(of_batch)
    # Merges of one round are made at once, each in a thread.
    in_a_thread, at_the_end = None, (method, pair_finder(compute, **pairs))
    if len(stands) > FEW_BATCHES:
        alone = replace(compute, n_jobs=1, progress=None)
        in_a_thread = (
            replace(method, search=search_for_means(alone), n_jobs=1),
            pair_finder(alone, **pairs),
        )
        if method.effort.share == LEAST_SHARE:
            # Of so few points, the last merges too take longer in several threads than in one.
            at_the_end = in_a_thread
    merged, merges = carry_out(
        [stand.node for stand in stands],
        _plan(
            merge_order,
            [stand.node.data for stand in stands],
            names,
            reference,
            strange,
            method.small,
            compute.n_jobs,
        ),
        *at_the_end,
        in_a_thread=in_a_thread,
        compute=compute,
    )
    at = dict(zip(merged.batches, rows_by_batch(merged, local), strict=True))
    data = {number: merged.data[at[number]] for number in merged.batches}
    # In the order of the merges, which follows the data.
    some = merged_batches(merges) if parts.noise_scale else set()
    live = [number for number in merged.batches if number in some - method.drawn_in]
    factors = {}
    if len(live) > 1:
        changed = {number: data[number] for number in live}
        seen: Mapping[int, NDArray[Any]] = changed
        if all(stands[number].found is None for number in live):
            seen, nearby = by_signal(changed, local, search)
            local = {**local, **nearby}
        factors = noise_factors(
            changed,
            local,
            {number: method.confidence[number] for number in live},
            search,
            sizes={number: sizes[number] for number in live},
            least=least_compared(sizes),
            squares={
                number: found.squares
                for number in live
                if (found := stands[number].found) is not None
            },
            targets=(reference,) if reference in live else (),
            seen=seen,
            n_jobs=compute.n_jobs,
        )
    around = {number: local[number].neighbors for number in factors}
    return Fit(merges, data, method.confidence, factors, around, method.moves)


def _plan(
    merge_order: Order,
    batches: Sequence[NDArray[Any]],
    names: Sequence[str],
    reference: int | None,
    strange: NDArray[np.bool_] | None,
    small: frozenset[int],
    n_jobs: int,
) -> Tree:
    if merge_order is None and len(batches) <= FEW_BATCHES:
        return chain(batches, names, reference, small)
    if merge_order is None or isinstance(merge_order, str):
        return halving(batches, names, reference, strange, n_jobs=n_jobs)
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


def merged_batches(merges: Sequence[Merge]) -> set[int]:
    """Find the batches that take part in a merge that was not left alone.

    Those that were left alone when they came to its left side do not.
    """
    return {
        number for merge in merges if not merge.skipped for number in (merge.left[0], *merge.right)
    }
