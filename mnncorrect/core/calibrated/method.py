"""Correct an embedding as far as batch effects are told apart from noise, and say how far.

Methods that match mutual nearest neighbors mix well, but they move cells whether or not there is
a batch effect, and pull together what has no counterpart. Here every displacement is an estimate
with a standard error, and what is done follows from the two.

What one merge does is argued in :mod:`mnncorrect.core.calibrated.merge`; the order of merges and
the noise scale in :mod:`mnncorrect.core.calibrated.fit`; what large batches are seen by in
:mod:`mnncorrect.core.calibrated.stands`; and how much is looked at in many batches in
:mod:`mnncorrect.core.calibrated.effort`.

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

from typing import TYPE_CHECKING, Any

import numpy as np

from mnncorrect.core.merging.loop import Correction
from mnncorrect.core.runtime.compute import DEFAULT_COMPUTE
from mnncorrect.core.runtime.threads import one_pool

from .application import Calibration, correct_cells
from .expression import Weights
from .fit import fit_batches
from .merge import WHOLE_METHOD
from .stands import look_at_batches, search_by_groups, search_for_means

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mnncorrect.core.merging.guides import Guides
    from mnncorrect.core.merging.plans import Order
    from mnncorrect.core.runtime.compute import ComputeOptions

    from .merge import Parts


def calibrate(
    x: NDArray[Any],
    batch: NDArray[np.integer[Any]],
    *,
    names: Sequence[str] | None = None,
    cells: NDArray[Any] | None = None,
    merge_order: Order = None,
    reference: int | None = None,
    guides: Guides | None = None,
    compute: ComputeOptions = DEFAULT_COMPUTE,
    parts: Parts = WHOLE_METHOD,
    keep_weights: bool = False,
) -> Calibration:
    """Correct an embedding as far as batch effects are distinguishable from noise.

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
    guides
        What is known of the cells, and decides which of them may be a pair.
    compute
        How neighbors are searched; the seed also deals out cells at random.
    parts
        What of the method is done.
    keep_weights
        Whether the weights are kept, by which other values of the cells can be corrected.

    Returns
    -------
    The corrected embedding and the merges; the confidence of each cell, 0..1; and the weights.
    """
    batch = np.asarray(batch)
    n_batches = int(batch.max()) + 1
    names = [str(number) for number in range(n_batches)] if names is None else list(names)
    if n_batches == 1:
        return Calibration(
            Correction(x.copy(), ()), np.zeros(len(x)), Weights() if keep_weights else None
        )
    search, by_groups = search_for_means(compute), search_by_groups(compute)
    with one_pool(compute.n_jobs):
        stands = look_at_batches(x, batch, names, cells, search, by_groups, compute)
        if guides is not None:
            guides = guides.completed(
                [(stand.node.rows, stand.node.data) for stand in stands], compute
            )
        fit = fit_batches(
            stands,
            names,
            merge_order=merge_order,
            reference=reference,
            parts=parts,
            keep=keep_weights,
            search=search,
            guides=guides,
            compute=compute,
        )
        return correct_cells(x, stands, fit, by_groups, n_jobs=compute.n_jobs)
