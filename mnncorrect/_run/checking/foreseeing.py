"""Foresee, from a sample of the cells, which cells and batches the correction would leave alone.

Some cells of each batch are corrected as the run would: by the same judge, with genes chosen in the
same way, in the same order and with what is known of them. A merge that is skipped although its
batches differ has no population that the method recognizes on both sides.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from mnncorrect._adata.lookup import side
from mnncorrect._adata.numbers import as_floats
from mnncorrect._io.pieces import blocks_of
from mnncorrect._prepare.count_survey import choose_genes, survey_as_decided
from mnncorrect._prepare.decide import JudgedGroups
from mnncorrect._prepare.expression_values import ExpressionValues
from mnncorrect._prepare.method_registry import DEFAULT
from mnncorrect._prepare.steps import Treatment, judged_groups
from mnncorrect._run.planning import named_genes
from mnncorrect.core.calibrated.evidence import ENOUGH_EVIDENCE
from mnncorrect.core.calibrated.method import calibrate
from mnncorrect.core.calibrated.neighborhoods import evenly
from mnncorrect.core.calibrated.small_sides import can_be_told
from mnncorrect.core.matrix.elbow import LEAST_COMPONENTS
from mnncorrect.core.matrix.pca import multibatch_pca
from mnncorrect.core.matrix.rows import MIN_NORM, RowSource, row_norms

if TYPE_CHECKING:
    from mnncorrect._adata import Batches
    from mnncorrect._prepare.inputs import JoinedInputs
    from mnncorrect._prepare.limits import MemoryLimits
    from mnncorrect._run.checking.findings import Findings
    from mnncorrect._run.request import Request
    from mnncorrect.pp._arguments import Arguments

# Batches up to which this is done, and cells of each that are looked at.
MOST_COMPARED_BATCHES, CELLS_OF_BATCH = 20, 300


def foresee(
    found: Findings,
    request: Request,
    joined: JoinedInputs,
    arguments: Arguments,
    treatment: Treatment,
    limit: MemoryLimits,
) -> None:
    """Warn of what the run would do with cells of a sample, if there are not too many batches."""
    batches = arguments.task.batches
    if not 2 <= len(batches.names) <= MOST_COMPARED_BATCHES:
        return
    rows = _some_cells(batches)
    values = _values_of(joined, rows, limit)
    groups = judged_groups(joined.tables, batches)
    survey = survey_as_decided(
        values,
        replace(batches, codes=batches.codes[rows]),
        treatment,
        None if groups is None else JudgedGroups(groups.codes[rows], groups.names),
    )
    normalized = survey.normalize(values[:], slice(None))
    if treatment.choose is not None:
        genes: Any = choose_genes(values, survey, treatment.choose)
        _tell_left_out(found, normalized, genes, treatment.choose)
    else:
        genes = None if treatment.genes is None else named_genes(request, joined.tables)
    if can_be_told(*batches.sizes):
        used = normalized if genes is None else normalized[:, np.flatnonzero(genes)]
        _tell_overlap(found, request, arguments, used, rows)


def _tell_left_out(
    found: Findings, values: Any, chosen: NDArray[np.bool_], n_top_genes: int
) -> None:
    """Warn of cells that have no value in the genes that would be chosen."""
    filled = np.diff(values.indptr) > 0
    left_out = filled & (np.diff(values[:, np.flatnonzero(chosen)].indptr) == 0)
    if left_out.any():
        found.warnings.append(
            f"{left_out.sum()} of {len(filled)} cells that were looked at have no value above zero "
            f"in {n_top_genes} highly variable genes; the run leaves such cells out and does "
            "not move them. More genes (`n_top_genes`) leave out fewer"
        )


def _tell_overlap(
    found: Findings, request: Request, arguments: Arguments, values: Any, rows: NDArray[np.int64]
) -> None:
    """Warn of batches without a population in common, where enough cells can tell."""
    batches = arguments.task.batches
    norms = row_norms(values)
    filled = norms > 0
    rows, values, norms = rows[filled], values[filled], norms[filled]
    codes = batches.codes[rows]
    if not can_be_told(*np.bincount(codes, minlength=len(batches.names))):
        return
    n_comps = min(LEAST_COMPONENTS, *values.shape)
    scale = np.maximum(norms, MIN_NORM)
    scores = multibatch_pca(values, codes, n_comps, scale=scale).scores
    reference, guides = request.params.get("reference"), arguments.known.guides
    merges = calibrate(
        scores,
        codes,
        names=batches.names,
        merge_order=arguments.task.order,
        reference=None if reference is None else batches.names.index(str(reference)),
        guides=None if guides is None else guides.of_cells(rows),
    ).correction.merges
    apart = [
        [[batches.names[number] for number in one] for one in (merge.left, merge.right)]
        for merge in merges
        if merge.skipped and merge.evidence >= ENOUGH_EVIDENCE
    ]
    found.facts["overlap"] = {"n_cells": len(codes), "apart": apart}
    would = "the correction would leave them apart"
    if request.method != DEFAULT:
        would = f"method {request.method} would merge them all the same, {DEFAULT} would not"
    for left, right in apart:
        found.warnings.append(
            f"no population of {side(right)} is recognized in {side(left)}, by {len(codes)} cells: "
            f"{would}. Do they have cell types in common, and are genes named and values scaled "
            "alike?"
        )
    if not apart:
        found.lines.append(
            ("overlap", f"populations match across batches (looked for in {len(codes)} cells)")
        )


def _some_cells(batches: Batches) -> NDArray[np.int64]:
    """Choose cells of each batch, from all over it."""
    chosen = []
    for number in range(len(batches.names)):
        rows = np.flatnonzero(batches.codes == number)
        chosen.append(rows[evenly(len(rows), CELLS_OF_BATCH)])
    return np.sort(np.concatenate(chosen))


def _values_of(
    joined: JoinedInputs, cells: NDArray[np.int64], limit: MemoryLimits
) -> ExpressionValues:
    """Read the values of some cells."""
    chosen = np.zeros(joined.tables.n_obs, np.bool_)
    chosen[cells] = True
    blocks, start = [], 0
    for piece in joined.pieces:
        n = piece.shape[0]
        rows = np.zeros(piece.value.shape[0], np.bool_)
        there = np.arange(len(rows)) if piece.rows is None else np.flatnonzero(piece.rows)
        rows[there[chosen[start : start + n]]] = True
        start += n
        some = replace(piece, rows=rows)
        blocks += [
            sp.csr_matrix(as_floats(block, piece.where))
            for block in blocks_of(some, limit.scratch, block_bytes=limit.block)
        ]
    values = sp.vstack(blocks, format="csr")
    values.eliminate_zeros()
    return ExpressionValues(
        RowSource(lambda block: values[block], values.shape, values.dtype),
        joined.where,
        joined.tables.obs_names[cells],
        joined.tables.var_names,
        joined.features,
        len(cells),
        None if joined.taken is None else np.flatnonzero(joined.taken),
    )
