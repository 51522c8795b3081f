"""The method of Haghverdi et al. 2018, in gene space.

Each batch is cosine-normalized. Batches are merged two at a time. In a merge, mutual nearest
pairs between the reference and the target are found; each paired target cell carries the mean of
its pair vectors; these are smoothed over all target cells by a Gaussian kernel; optionally
biological directions are taken out of the corrections; optionally each correction is lengthened
so that the target keeps its spread along it; and the corrections are added.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnncorrect.core.matrix.rows import MIN_NORM, Matrix, row_norms, take_dense
from mnncorrect.core.merging.loop import (
    Correction,
    FindPairs,
    Node,
    Outcome,
    carry_out,
    pair_finder,
)
from mnncorrect.core.merging.pairs import average_vectors
from mnncorrect.core.merging.smoothing import gaussian, global_mean
from mnncorrect.core.merging.variance import biological_span, quantile_scaling, remove_span
from mnncorrect.core.runtime.checks import check_ranges
from mnncorrect.core.runtime.compute import DEFAULT_COMPUTE, ComputeOptions

if TYPE_CHECKING:
    from mnncorrect.core.merging.guides import Guides
    from mnncorrect.core.merging.plans import Order


def mnn_classic(
    x: Matrix,
    batch: NDArray[np.integer[Any]],
    *,
    mask: NDArray[np.bool_] | None = None,
    correct_all: bool = False,
    n_neighbors: int = 20,
    prop_neighbors: float | None = None,
    sigma: float = 0.1,
    cosine_norm_in: bool = True,
    cosine_norm_out: bool = True,
    n_svd: int = 0,
    adjust_variance: bool = True,
    merge_order: Order = None,
    auto_merge: bool = False,
    restrict: NDArray[np.bool_] | None = None,
    guides: Guides | None = None,
    smoothing: str = "local",
    compute: ComputeOptions = DEFAULT_COMPUTE,
) -> Correction:
    """Correct expression by mutual nearest neighbors (Haghverdi et al. 2018, doi:10.1038/nbt.4091).

    Parameters are explained at :func:`mnncorrect.pp.mnn_classic`. ``merge_order`` is a plan of
    :mod:`mnncorrect.core.merging.plans`, ``mask`` the genes for distances. Returns values of the
    genes of ``mask`` (of all with ``correct_all``) in the float type of ``x``, and the merges.

    Follows batchelor 1.14.1's ``mnnCorrect`` to rounding, except its defects: a zero correction
    keeps scaling 1 instead of becoming NaN; differing cosine flags with a gene subset act as on
    data cut to the subset; directions without variance are not subtracted; a merge order must name
    every batch.
    """
    check_ranges(locals())
    n_jobs = compute.n_jobs
    n_batches = int(batch.max()) + 1
    if mask is not None and mask.all():
        mask = None
    norms = np.maximum(row_norms(x, mask, n_jobs=n_jobs), MIN_NORM)
    every_gene = mask is not None and correct_all
    separate = every_gene or cosine_norm_in != cosine_norm_out

    def node(number: int) -> Node:
        rows = np.flatnonzero(batch == number)
        scale = norms[rows]
        data = take_dense(x, rows, mask, scale if cosine_norm_in else None, n_jobs=n_jobs)
        out = None
        if separate:
            out = take_dense(
                x, rows, None if every_gene else mask, scale if cosine_norm_out else None,
                n_jobs=n_jobs,
            )  # fmt: skip
        kept = None if restrict is None else np.flatnonzero(restrict[rows])
        return Node((number,), rows, data, out, kept)

    nodes = [node(number) for number in range(n_batches)]
    if guides is not None:
        guides = guides.completed([(each.rows, each.data) for each in nodes], compute)
    find_pairs = pair_finder(
        compute, guides=guides, n_neighbors=n_neighbors, prop_neighbors=prop_neighbors
    )
    method = Classic(
        sigma, n_svd, adjust_variance, smoothing, mask if every_gene else None, compute
    )
    merged, merges = carry_out(
        nodes, merge_order, method, find_pairs, auto_merge=auto_merge, compute=compute
    )
    values = merged.data if merged.out is None else merged.out
    # Cells that take no part have no values.
    corrected = np.zeros((len(batch), values.shape[1]), values.dtype)
    corrected[merged.rows] = values
    return Correction(corrected, merges)


@dataclass(frozen=True)
class Classic:
    """What :func:`mnn_classic` does in one merge; ``genes``: the mask, where ``out`` has more."""

    sigma: float
    n_svd: int
    adjust_variance: bool
    smoothing: str
    genes: NDArray[np.bool_] | None
    compute: ComputeOptions

    def align(self, left: Node, right: Node) -> tuple[Node, Node]:
        """Search in the coordinates as they are."""
        return left, right

    def merge(self, left: Node, right: Node, find_pairs: FindPairs) -> Outcome:
        """Move the right node towards the left one; the left one does not move."""
        pairs = find_pairs(left, right)
        if not len(pairs):
            return Outcome(left, right, pairs, skipped=True)
        spaces = [(left.data, right.data)]
        if left.out is not None and right.out is not None:
            spaces.append((left.out, right.out))
        averaged = [average_vectors(*space, pairs, n_jobs=self.compute.n_jobs) for space in spaces]
        anchors = averaged[0][0]
        vectors = [vector for _, vector in averaged]
        smooth = global_mean
        if self.smoothing == "local":
            smooth = partial(gaussian, progress=self.compute.progress)
        corrections = smooth(right.data, anchors, vectors, self.sigma, n_jobs=self.compute.n_jobs)
        if self.smoothing == "global":
            corrections = [np.repeat(c, len(right.rows), axis=0) for c in corrections]
        paired = (np.unique(pairs.left), anchors)
        for at, (space, change) in enumerate(zip(spaces, corrections, strict=True)):
            # Only the second set has more genes than distances are measured on.
            self._adjust(space, change, paired, (left, right), self.genes if at else None)
            change += space[1]
        corrected = replace(
            right, data=corrections[0], out=corrections[1] if len(corrections) > 1 else None
        )
        return Outcome(left, corrected, pairs)

    def _adjust(
        self,
        space: tuple[NDArray[Any], NDArray[Any]],
        change: NDArray[Any],
        paired: tuple[NDArray[np.int64], NDArray[np.int64]],
        nodes: tuple[Node, Node],
        genes: NDArray[np.bool_] | None,
    ) -> None:
        """Take biology out of the corrections and lengthen them, in place."""
        if self.n_svd > 0:
            for values, cells in zip(space, paired, strict=True):
                span = biological_span(values[cells], self.n_svd, genes)
                remove_span(change, span, genes, n_jobs=self.compute.n_jobs)
        if self.adjust_variance:
            part = slice(None) if genes is None else genes
            scaling = quantile_scaling(
                space[0][:, part],
                space[1][:, part],
                change[:, part],
                self.sigma,
                restrict_left=nodes[0].restrict,
                restrict_right=nodes[1].restrict,
                n_jobs=self.compute.n_jobs,
                progress=self.compute.progress,
            )
            change *= scaling[:, None].astype(change.dtype)
