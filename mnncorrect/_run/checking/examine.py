"""Look at inputs, and make the plan of the run that would come next."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mnncorrect import _adata
from mnncorrect._adata.lookup import require
from mnncorrect._adata.matrix import describe_source
from mnncorrect._io.joined_tables import better_match
from mnncorrect._log import in_words, noted
from mnncorrect._prepare import fitness
from mnncorrect._prepare.cell_filters import refuse_unfit
from mnncorrect._prepare.decide import UnclearValues
from mnncorrect._prepare.inputs import SHEET_KEY, JoinedInputs, opened_inputs
from mnncorrect._prepare.limits import MemoryLimits, limits
from mnncorrect._prepare.steps import Judge, Treatment, treatment_of, warn_of_few_genes
from mnncorrect._run.checking.alternatives import Asked, fit_alternative, usual_values
from mnncorrect._run.checking.findings import (
    Findings,
    tell_arguments,
    tell_batches,
    tell_covariate,
    tell_embedding,
    tell_genes,
    tell_names,
    tell_places,
    tell_shared,
    tell_values,
)
from mnncorrect._run.checking.proposals import (
    next_command,
    propose_batches,
    tell_replaced,
    what_to_do,
)
from mnncorrect._run.planning import (
    SeenValues,
    fitting_arguments,
    joined_of,
    judge_of,
    make_plan,
    named_genes,
    refuse_non_finite_inputs,
)
from mnncorrect._run.public import all_arguments
from mnncorrect._run.request import Request, request_of

if TYPE_CHECKING:
    from anndata import AnnData

    from mnncorrect._adata import Batches
    from mnncorrect._io.input_parts import Part
    from mnncorrect._run.plan import RunPlan
    from mnncorrect.pp._arguments import Arguments

# What is found out of a block takes so many times its memory.
MEMORY_FACTOR = 4


def examine(asked: Asked) -> Findings:
    """Find out what inputs hold, and whether they are fit to be corrected.

    ``asked``: arguments of the :func:`mnncorrect.run` that would come next, as far as they are
    given; the batches of one input may be left open. ``covariate``: columns of obs besides: whether
    they can be distinguished from the batches.
    Raises ``UsageError`` if arguments exclude one another.
    """
    request = _request(asked)
    listed = {} if request.about is None else request.about[0]
    own = [name for name in listed if name != SHEET_KEY]
    found = Findings()
    with (
        noted() as texts,
        limits(request.memory) as limit,
        opened_inputs(request.data, limit.scratch, request.about) as parts,
    ):
        _find(found, request, parts, dict.fromkeys([*asked.get("covariate", ()), *own]), limit)
        found.warnings += texts

        def again(other: Asked) -> Findings:
            tried = Findings()
            wanted = tried.try_to("arguments", lambda: _request(other))
            if wanted is not None:
                _find(tried, wanted, parts, other.get("covariate", ()), limit)
            return tried

        instead = _instead(found, asked, parts, again)
    _conclude(found, request, asked, instead)
    return found


def _request(asked: Asked) -> Request:
    """Make the request of the run that would come next."""
    given, params = all_arguments(
        **{name: value for name, value in asked.items() if name != "covariate"}
    )
    return request_of(given, params, open_batches=True)


def _instead(
    found: Findings, asked: Asked, parts: Mapping[str, Part], again: Callable[[Asked], Findings]
) -> tuple[Asked, Findings] | None:
    """Return what to ask for instead, where that is better, and note what has to be decided."""
    if found.problems:
        return fit_alternative(found, asked, parts, again)
    if found.facts.get("values", {}).get("kind") != "scaled values" or "counts" in asked:
        return None
    instead = usual_values(asked, parts, again)
    if instead is None:
        found.needed["counts"] = False
        found.decisions.append("whether to correct scaled values, for which methods are not made")
    else:
        other, seen = instead
        where = describe_source(other.get("layer"), use_raw=bool(other.get("use_raw")))
        kind = seen.facts["values"]["kind"]
        found.decisions.append(f"whether to correct {where} instead, which holds {kind}")
    return instead


def _find(
    found: Findings,
    request: Request,
    parts: Mapping[str, Part],
    covariates: Iterable[str],
    limit: MemoryLimits,
) -> None:
    facts, lines = found.facts, found.lines
    selection = request.selection
    if len(parts) > 1 and selection.gene_key is None and not selection.strip_versions:
        found.matching = better_match(parts, use_raw=selection.use_raw)
        if found.matching:
            told = " and ".join(f"`{name}={value!r}`" for name, value in found.matching.items())
            found.decisions.append(in_words(f"whether genes are matched by {told}"))
    joined = found.try_to("inputs", lambda: joined_of(request, parts, limit))
    if joined is None:
        return
    if joined.removed is not None:
        facts["removed"] = joined.removed.facts
        lines.append(("filters", joined.removed.text))
    tables = found.tables = joined.tables
    facts["n_cells"], facts["n_genes"] = tables.shape
    lines += [("cells", str(tables.n_obs)), ("genes", str(tables.n_vars))]
    if joined.key:
        batches = found.try_to("batches", lambda: _adata.take_batches(tables, joined.key))
    else:
        # What is proposed is judged as if it had been given.
        batches = propose_batches(found, tables)
    codes = np.zeros(tables.n_obs, np.int64) if batches is None else batches.codes
    request = tell_replaced(found, joined, request)
    tell_names(found, tables)
    if batches is not None and joined.key:
        tell_batches(found, batches, joined.key)
    arguments = None
    if batches is not None:
        arguments = found.try_to("arguments", lambda: fitting_arguments(request, joined, batches))
        if arguments is not None:
            tell_arguments(found, arguments)
    use_rep = request.use_rep
    if use_rep is None:
        _find_values(found, request, joined, batches, arguments, limit)
    else:
        found.try_to("values", lambda: tell_embedding(found, use_rep, parts))
        if arguments is not None:
            found.try_to("values", lambda: _trial_plan(request, joined, batches))
    facts["covariates"] = {}
    for name in covariates:
        ties = found.try_to("covariate", lambda name=name: _relation(tables, codes, name))  # type: ignore[misc]
        if ties is not None and batches is not None:
            tell_covariate(found, name, ties, tables.obs[name], codes)
    tell_places(found, joined, single=len(parts) == 1)


def _find_values(
    found: Findings,
    request: Request,
    joined: JoinedInputs,
    batches: Batches | None,
    arguments: Arguments | None,
    limit: MemoryLimits,
) -> None:
    """Find out what values of genes are like, and what the run does with them."""
    tables = joined.tables
    codes = np.zeros(tables.n_obs, np.int64) if batches is None else batches.codes
    seen = found.try_to(
        "values",
        lambda: fitness.scan_values(
            joined.pieces,
            codes,
            limit.scratch,
            taken=joined.taken,
            named=named_genes(request, tables),
            block_bytes=limit.block // MEMORY_FACTOR,
        ),
    )
    treatment = None
    if seen is not None:
        tell_values(found, seen, joined)
        if batches is None or arguments is not None:
            treatment = found.try_to(
                "values", lambda: _treatment(found, request, joined, seen, batches)
            )
    if batches is not None and seen is not None:
        tell_shared(found, seen, batches)
        if treatment is not None and arguments is not None:
            # Imported when there is something to foresee.
            from mnncorrect._run.checking.foreseeing import foresee

            found.try_to(
                "overlap", lambda: foresee(found, request, joined, arguments, treatment, limit)
            )
    found.try_to("genes used", lambda: tell_genes(found, tables, treatment, request.preparation))


def _treatment(
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
        found.needed["counts"] = True
        found.decisions.append("whether the values are counts (--counts)")
        request = replace(request, preparation=replace(request.preparation, counts=True))
        verdict = replace(judge, counts=True)(seen.looks)
    else:
        found.warnings += verdict.warnings
    if batches is None:
        if joined.removed is not None:
            refuse_unfit(joined.removed.filters, verdict, joined.where)
        return treatment_of(verdict, joined.tables, request.preparation, joined.where)
    plan = _trial_plan(request, joined, batches, seen)
    found.warnings += plan.doubts
    if plan.treatment is not None:
        warn_of_few_genes(plan.treatment.n_used)
    return plan.treatment


def _trial_plan(
    request: Request,
    joined: JoinedInputs,
    batches: Batches | None,
    seen: fitness.Fitness | None = None,
) -> RunPlan:
    """Make the plan of the run, of values that have been looked at."""

    def look(judge: Judge, batches: Batches) -> SeenValues:  # noqa: ARG001
        assert seen is not None
        return SeenValues(judge(seen.looks), seen.filled, seen.filled_named, seen.seen)

    return make_plan(request, joined, look, batches)


def _conclude(
    found: Findings, request: Request, asked: Asked, instead: tuple[Asked, Findings] | None
) -> None:
    """Say whether the input is fit, what is to be decided, and what to run next."""
    facts, lines = found.facts, found.lines
    facts["inputs"] = [str(path) for path in request.data]
    found.warnings = list(dict.fromkeys(map(in_words, found.warnings)))
    facts["warnings"], facts["problems"] = found.warnings, found.problems
    facts["decisions"] = found.decisions
    facts["fit"] = not found.problems
    facts["next"] = next_command(found, asked, instead)
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
