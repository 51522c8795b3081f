"""How a plan is made of a request and its inputs: the only place that decides what a run does.

A plan for people is made of some cells of large inputs. :mod:`mnncorrect._run.execute` makes the
same plan by the same function, of all values, before it goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnncorrect import _adata
from mnncorrect._adata.stored import is_stored, is_stored_sparse
from mnncorrect._io.atomic import check_target
from mnncorrect._io.input_parts import ZARR
from mnncorrect._io.outputs import refuse_other_format, refuse_other_shape
from mnncorrect._io.read_places import parted
from mnncorrect._log import logger
from mnncorrect._prepare import fitness
from mnncorrect._prepare.before_and_after import take_label_groups
from mnncorrect._prepare.cell_filters import join_filtered, refuse_unfit
from mnncorrect._prepare.first_look import MOST_SEEN, some_cells
from mnncorrect._prepare.inputs import OBJECT, JoinedInputs, opened_inputs
from mnncorrect._prepare.limits import MemoryLimits, limits
from mnncorrect._prepare.method_registry import method_named, with_defaults
from mnncorrect._prepare.steps import (
    Judge,
    Treatment,
    genes_named,
    judged_groups,
    treatment_of,
    warn_of_few_genes,
)
from mnncorrect._run.afterwards import steps_after
from mnncorrect._run.costs import Size
from mnncorrect._run.plan import RunPlan
from mnncorrect._run.replacing import places_of_request, refuse
from mnncorrect.pp._arguments import Arguments, take_arguments
from mnncorrect.pp._taking_part import refuse_too_few

if TYPE_CHECKING:
    from anndata import AnnData

    from mnncorrect._adata import Batches
    from mnncorrect._prepare.decide import ValuesVerdict
    from mnncorrect._run.request import Request


@dataclass(frozen=True)
class SeenValues:
    """What the values of the inputs are, and which cells and genes have any."""

    verdict: ValuesVerdict  # What the values are.
    # Which cells have a value other than zero; ``None``: only some cells were looked at.
    filled: NDArray[np.bool_] | None = None
    # Which have one in the genes that are named; ``None``: likewise, or it is found out later.
    filled_named: NDArray[np.bool_] | None = None
    # Batches x genes: where a gene is above zero in some cell; ``None``: likewise.
    genes: NDArray[np.bool_] | None = None


def resolve(request: Request) -> RunPlan:
    """Look at the inputs, of large ones at some cells from all over them, and decide what to do."""
    for path in (request.output, request.report, request.save_model):
        if path is not None:
            check_target(parted(path)[0], force=request.force)
    refuse_other_format(report=request.report, model=request.save_model)
    with (
        limits(request.memory) as limit,
        opened_inputs(request.data, limit.scratch, request.about, quiet=True) as parts,
    ):
        joined = joined_of(request, parts, limit)
        plan = make_plan(
            request, joined, lambda *judge: look_at_inputs(request, joined, limit, *judge)
        )
    for text in plan.doubts:
        logger.warning("%s", text)
    if plan.treatment is not None:
        for text in plan.treatment.verdict.warnings:
            logger.warning("%s", text)
        warn_of_few_genes(plan.treatment.n_used)
    return plan


def joined_of(request: Request, parts: Mapping[str, Any], limit: MemoryLimits) -> JoinedInputs:
    """Put the inputs of a request together, without the cells that filters remove."""
    joined = join_filtered(
        parts,
        request.selection,
        limit,
        as_concat=request.about is not None,
        values=request.use_rep is None,
    )
    return replace(joined, copied=(*joined.copied, ZARR)) if request.writes_zarr else joined


def make_plan(
    request: Request,
    joined: JoinedInputs,
    look: Callable[[Judge, Batches], SeenValues],
    batches: Batches | None = None,
) -> RunPlan:
    """Decide what will be done with inputs; ``look`` looks at the values and has them judged."""
    afterwards = steps_after(request)
    places = [*places_of_request(request), *(place for step in afterwards for place in step.places)]
    in_place = request.output is None and OBJECT in joined.parts
    if not request.writes_zarr:
        refuse_other_shape(request.output, request.paths, joined.tables)
    refuse(joined.like, places, force=request.force, written=not in_place)
    if request.label_key is not None:
        # Refused before any work.
        if request.save_model is None:
            take_label_groups(joined.tables, request.label_key)
        else:
            from mnncorrect.tl._model import take_known_labels

            take_known_labels(joined.tables, request.label_key)
    if batches is None:
        assert joined.key is not None
        batches = _adata.take_batches(joined.tables, joined.key)
    arguments = fitting_arguments(request, joined, batches)
    treatment = left_out = None
    if request.use_rep is None:
        seen = look(judge_of(joined, batches, counts=request.preparation.counts), batches)
        if joined.removed is not None:
            refuse_unfit(joined.removed.filters, seen.verdict, joined.where)
        treatment = treatment_of(seen.verdict, joined.tables, request.preparation, joined.where)
        if request.expression is not None and request.expression.counts and not treatment.log1p:
            raise ValueError(
                "`expression_counts` scales back what was made of counts, and "
                f"{joined.where} holds {treatment.verdict.judged.kind}, used without a logarithm; "
                "read counts (`layer`), or give `expression_clip` instead"
            )
        left_out = _refuse_unshared(seen, treatment, batches, joined.where)
        if treatment.choose is None:
            refuse_doubled(request, joined.tables, treatment.genes)
    return RunPlan(
        request,
        _input_texts(request, joined, batches),
        _input_size(request, joined, batches),
        tuple(batches.names),
        tuple(batches.sizes.tolist()),
        treatment,
        afterwards,
        arguments.known.told,
        (*arguments.warnings, *arguments.doubts, *([left_out] if left_out else [])),
        joined.removed,
        tuple(map(str, joined.tables.obs.columns)),
        None if arguments.covariates is None else arguments.covariates.told,
    )


def fitting_arguments(request: Request, joined: JoinedInputs, batches: Batches) -> Arguments:
    """Read the arguments of a correction, and refuse those that do not fit the inputs."""
    method = method_named(request.method)
    # Batches that are only proposed have no key.
    given = {"adata": joined.tables, "key": joined.key or ""}
    given |= {name: value for name, value in request.params.items() if name in method.parameters}
    if request.use_rep is not None:
        _adata.require_embedding(request.use_rep, joined.like.obsm)
    mask = None if request.expression is None else request.expression.mask_var
    if not (isinstance(mask, str) and ("var", mask) in places_of_request(request)):
        _adata.take_gene_mask(joined.tables, mask)
    return take_arguments(method, with_defaults(method.function, given), batches)


def judge_of(joined: JoinedInputs, batches: Batches | None, *, counts: bool | None = None) -> Judge:
    """Return how the values of inputs are judged."""
    layers = [name for name in joined.layers if name != joined.selection.layer]
    return Judge(joined.where, judged_groups(joined.tables, batches), counts, layers)


def look_at_inputs(
    request: Request, joined: JoinedInputs, limit: MemoryLimits, judge: Judge, batches: Batches
) -> SeenValues:
    """Look at the values of inputs, or of some of their cells."""
    pieces, cells = joined.pieces, np.ones(joined.tables.n_obs, dtype=bool)
    stored = sum(joined.n_stored)
    if stored > MOST_SEEN:
        pieces, cells = some_cells(pieces, MOST_SEEN / stored)
        logger.info("values are judged by %d of %d cells", cells.sum(), len(cells))
    seen = fitness.scan_values(
        pieces,
        batches.codes[cells],
        limit.scratch,
        taken=joined.taken,
        named=named_genes(request, joined.tables),
        block_bytes=limit.block,
    )
    refuse_non_finite_inputs(seen, joined)
    verdict = judge(seen.looks, cells)
    if not cells.all():
        return SeenValues(verdict)
    return SeenValues(verdict, seen.filled, seen.filled_named, seen.seen)


def refuse_non_finite_inputs(seen: fitness.Fitness, joined: JoinedInputs) -> None:
    """Refuse values that are not finite, with how many there are and where the first is."""
    n_bad = seen.n_nan + seen.n_infinite
    if not n_bad or seen.first_bad is None:
        return
    cell, gene = (
        str(names[at])
        for names, at in zip(
            (joined.tables.obs_names, joined.features), seen.first_bad, strict=True
        )
    )
    raise ValueError(
        f"{joined.where} has {n_bad} values that are not finite ({seen.n_nan} NaN, "
        f"{seen.n_infinite} infinite); the first is cell {cell!r}, {gene!r}; leave out "
        "these cells, or fill in the values"
    )


def named_genes(request: Request, tables: AnnData) -> NDArray[np.bool_] | None:
    """Return the genes that distances are measured in, as far as they are known; ``None``: all."""
    try:
        return _adata.take_gene_mask(tables, genes_named(request.preparation.genes, tables)).mask
    except (KeyError, TypeError, ValueError):
        return None  # refused by those who judge all arguments


def _refuse_unshared(
    seen: SeenValues, treatment: Treatment, batches: Batches, where: str
) -> str | None:
    """Refuse inputs of which fewer than two batches have values, or no gene is shared by all.

    Returns what to warn of: cells that have no value in the genes that are used.
    """
    if seen.filled is None or seen.genes is None:
        return None
    filled = seen.filled
    if treatment.choose is None and treatment.genes is not None and seen.filled_named is not None:
        filled = seen.filled_named
    _, left_out = refuse_too_few(batches, filled)
    live = seen.genes.any(1)
    if not seen.genes[live].all(0).any():
        raise ValueError(
            f"{where}: no gene is above zero in every batch; are genes named alike? Match them by "
            "another column (`gene_key`), or leave out batches (`subset`)"
        )
    return None if filled.all() else left_out


def refuse_doubled(request: Request, tables: AnnData, genes: Any) -> None:
    """Refuse two genes of one name where a model is to be saved."""
    if request.save_model is None:
        return
    from mnncorrect.tl._model import object_gene_names, refuse_doubled_genes

    mask = _adata.take_gene_mask(tables, genes).mask
    names = np.array(object_gene_names(tables, request.named_by), dtype=object)
    refuse_doubled_genes(names if mask is None else names[mask])


def _input_texts(request: Request, joined: JoinedInputs, batches: Batches) -> dict[str, str]:
    """Return what each input holds, in words, by its path."""
    data = request.data
    paths: list[Path | str] = list(data) if isinstance(data, tuple) else [OBJECT]
    stored: list[int | None] = [*joined.n_stored] or [None] * len(paths)
    told = {}
    for path, part, n in zip(paths, joined.parts.values(), stored, strict=True):
        text = f"{part.adata.n_obs} cells x {part.adata.n_vars} genes"
        if n is not None:
            text += f", {n} numbers stored in {joined.where}"
        if not request.several:
            text += f"; {len(batches.names)} batches"
        told[str(path)] = text
    return told


def _input_size(request: Request, joined: JoinedInputs, batches: Batches) -> Size:
    n_cells = sum(part.adata.n_obs for part in joined.parts.values())
    stored = round(sum(joined.n_stored) * joined.tables.n_obs / n_cells)
    n_obs, n_vars = joined.tables.shape
    dims = in_file = 0
    if request.use_rep is not None:
        given = joined.like.obsm[request.use_rep]
        dims = given.shape[1]
        if is_stored(given) and not is_stored_sparse(given):
            in_file = given.nbytes
    largest = int(batches.sizes.max(initial=0))
    names = len(batches.names)
    return Size(n_obs, n_vars, stored, names, joined.anew, largest, dims, in_file)
