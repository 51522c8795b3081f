"""Look at inputs, and make the plan of the run that would come next."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mnncorrect import _adata
from mnncorrect._adata.lookup import require
from mnncorrect._io.sheet import read_sheet
from mnncorrect._io.tables import better_match
from mnncorrect._log import in_words, noted
from mnncorrect._prepare import fitness
from mnncorrect._prepare.decide import UnclearValues
from mnncorrect._prepare.inputs import (
    SHEET_KEY,
    JoinedInputs,
    join,
    opened_inputs,
    refuse_idle_names,
)
from mnncorrect._prepare.limits import limits, size_in_bytes
from mnncorrect._prepare.methods import DEFAULT
from mnncorrect._prepare.steps import Preparation, treatment_of
from mnncorrect._run.checking.alternatives import fit_alternative, usual_values
from mnncorrect._run.checking.findings import (
    Findings,
    tell_batches,
    tell_covariate,
    tell_genes,
    tell_guidance,
    tell_names,
    tell_places,
    tell_shared,
    tell_values,
)
from mnncorrect._run.checking.following import next_command, what_to_do
from mnncorrect._run.checking.proposals import propose_batches, tell_replaced
from mnncorrect._run.plan import SeenValues, judge_of, make_plan, refuse_non_finite_inputs
from mnncorrect._run.request import Request
from mnncorrect.pp._taking_part import taking_part

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from anndata import AnnData

    from mnncorrect._adata import Batches
    from mnncorrect._io.input_parts import Part, Selection
    from mnncorrect._prepare.limits import MemoryLimits
    from mnncorrect._prepare.steps import Treatment

# What is found out of a block takes so many times its memory.
MEMORY_FACTOR = 4


def examine(
    paths: Sequence[Path],
    selection: Selection,
    *,
    sheet: Path | None = None,
    covariates: Sequence[str] = (),
    guiding: Mapping[str, Any] | None = None,
    memory_limit: str | None = None,
) -> Findings:
    """Find out what inputs hold, and whether they are fit to be corrected.

    ``sheet``: the table that names them instead. ``covariates``: columns of obs: whether they can
    be distinguished from the batches. ``guiding``: labels and what is to be kept, as arguments of
    the run that would come next.
    """
    about = None
    if sheet is not None:
        listed = read_sheet(sheet)
        paths, about = listed.paths, listed.about
        own = [name for name in about[0] if name != SHEET_KEY]
        covariates = list(dict.fromkeys([*covariates, *own]))
    elif len(paths) == 1:
        refuse_idle_names(selection)
    found = Findings()
    with (
        noted() as texts,
        limits(size_in_bytes(memory_limit or "2G")) as limit,
        opened_inputs(paths, limit.scratch, about) as parts,
    ):
        request = Request(tuple(paths), about, selection, Preparation(), DEFAULT, {})
        _find(found, request, parts, covariates, guiding or {}, limit)
        found.warnings += texts

        def again(other: Request) -> Findings:
            tried = Findings()
            _find(tried, other, parts, (), {}, limit)
            return tried

        instead = _instead(found, request, parts, again)
    _conclude(found, request, instead, sheet, memory_limit, guiding or {})
    return found


def _instead(
    found: Findings,
    request: Request,
    parts: Mapping[str, Part],
    again: Callable[[Request], Findings],
) -> tuple[Request, Findings] | None:
    """Return what to ask for instead, where that is better, and note what has to be decided."""
    if found.problems:
        return fit_alternative(found, request, parts, again)
    if found.facts["values"]["kind"] != "scaled values":
        return None
    instead = usual_values(request, parts, again)
    if instead is None:
        found.flags.append("--no-counts")
        found.decisions.append("whether to correct scaled values, for which methods are not made")
    else:
        other, seen = instead
        where, kind = other.selection.where, seen.facts["values"]["kind"]
        found.decisions.append(f"whether to correct {where} instead, which holds {kind}")
    return instead


def _find(
    found: Findings,
    request: Request,
    parts: Mapping[str, Part],
    covariates: Sequence[str],
    guiding: Mapping[str, Any],
    limit: MemoryLimits,
) -> None:
    facts, lines = found.facts, found.lines
    selection = request.selection
    if len(parts) > 1 and selection.gene_key is None and not selection.strip_versions:
        found.matching = better_match(parts, use_raw=selection.use_raw)
        if found.matching:
            told = " and ".join(f"`{name}={value!r}`" for name, value in found.matching.items())
            found.decisions.append(in_words(f"whether genes are matched by {told}"))
    joined = found.try_to(
        "inputs", lambda: join(parts, request.selection, as_concat=request.about is not None)
    )
    if joined is None:
        return
    tables = found.tables = joined.tables
    facts["n_cells"], facts["n_genes"] = tables.shape
    lines += [("cells", str(tables.n_obs)), ("genes", str(tables.n_vars))]
    if joined.key:
        batches = found.try_to("batches", lambda: _adata.take_batches(tables, joined.key))
    else:
        # What is proposed is judged as if it had been given.
        batches = propose_batches(found, tables)
    codes = np.zeros(tables.n_obs, np.int64) if batches is None else batches.codes
    seen = found.try_to(
        "values",
        lambda: fitness.scan_values(
            joined.pieces,
            codes,
            limit.scratch,
            taken=joined.taken,
            block_bytes=limit.block // MEMORY_FACTOR,
        ),
    )
    request = tell_replaced(found, joined, request)
    treatment = None
    if seen is not None:
        tell_values(found, seen, joined)
        treatment = found.try_to("values", lambda: _planned(found, request, joined, seen, batches))
    tell_names(found, tables)
    if batches is not None and joined.key:
        tell_batches(found, batches, joined.key)
    if batches is not None:
        tell_guidance(found, tables, batches, guiding)
    if batches is not None and seen is not None:
        tell_shared(found, seen, batches)
        if treatment is not None:
            taking_part(batches, seen.n_genes > 0)  # warns of cells that take no part
            found.try_to("overlap", lambda: _overlap(found, joined, batches, treatment, limit))
    facts["covariates"] = {}
    for name in covariates:
        ties = found.try_to("covariate", lambda name=name: _relation(tables, codes, name))  # type: ignore[misc]
        if ties is not None and batches is not None:
            tell_covariate(found, name, ties, tables.obs[name], codes)
    found.try_to("genes used", lambda: tell_genes(found, tables, treatment, request.preparation))
    tell_places(found, joined, single=len(parts) == 1)


def _overlap(found: Findings, *told: Any) -> None:
    """Foresee batches without anything in common; imported when there is something to foresee."""
    from mnncorrect._run.checking.foreseeing import tell_overlap

    tell_overlap(found, *told)


def _planned(
    found: Findings,
    request: Request,
    joined: JoinedInputs,
    seen: fitness.Fitness,
    batches: Batches | None,
) -> Treatment | None:
    """Decide what the run that would come next does with values; note what is to be decided."""
    refuse_non_finite_inputs(seen, joined)
    judge = judge_of(joined, batches, counts=request.preparation.counts)
    try:
        verdict = judge(seen.looks)
    except UnclearValues as error:
        found.warnings.append(in_words(error))
        found.flags.append("--counts")
        found.decisions.append("whether the values are counts (--counts)")
        request = replace(request, preparation=replace(request.preparation, counts=True))
        verdict = replace(judge, counts=True)(seen.looks)
    else:
        found.warnings += verdict.warnings
    if batches is None:
        return treatment_of(verdict, joined.tables, request.preparation, joined.where)

    def again(judge: Any, batches: Batches) -> SeenValues:  # noqa: ARG001
        return SeenValues(judge(seen.looks), seen.n_genes > 0, seen.seen)

    return make_plan(request, joined, again, batches).treatment


def _conclude(
    found: Findings,
    request: Request,
    instead: tuple[Request, Findings] | None,
    sheet: Path | None,
    memory_limit: str | None,
    guiding: Mapping[str, Any],
) -> None:
    """Say whether the input is fit, what is to be decided, and what to run next."""
    facts, lines = found.facts, found.lines
    facts["inputs"] = [str(path) for path in request.paths]
    found.warnings = list(dict.fromkeys(map(in_words, found.warnings)))
    facts["warnings"], facts["problems"] = found.warnings, found.problems
    facts["decisions"] = found.decisions
    facts["fit"] = not found.problems
    facts["next"] = next_command(found, request, instead, sheet, memory_limit, guiding)
    lines += [("warning", text) for text in found.warnings]
    if found.problems:
        verdict = "no"
    elif found.decisions:
        verdict = f"after a decision: {'; '.join(found.decisions)}"
    else:
        verdict = "yes"
    lines += [("fit", verdict), ("next", facts["next"] or what_to_do(found))]


def _relation(tables: AnnData, codes: Any, name: str) -> fitness.Relation:
    require(name, tables.obs.columns, "`covariate`: obs")
    return fitness.relation(codes, tables.obs[name])
