"""``mnncorrect check``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from mnncorrect._wording import for_shell
from mnncorrect.cli import streams
from mnncorrect.cli.findings import (
    Findings,
    tell_batches,
    tell_covariate,
    tell_genes,
    tell_names,
    tell_places,
    tell_shared,
    tell_values,
)
from mnncorrect.cli.following import next_command
from mnncorrect.cli.options.shared import Json, MemoryLimit, Reading, Resources
from mnncorrect.cli.proposals import (
    ELSEWHERE,
    LOOKED_AT,
    look_elsewhere,
    propose,
    tell_replaced,
)
from mnncorrect.cli.runtime.command import command
from mnncorrect.cli.wording import on_shell

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData

    from mnncorrect._io.input_parts import Part
    from mnncorrect._prepare.decide import Groups
    from mnncorrect._prepare.fitness import Fitness, Relation
    from mnncorrect.cli.prepare import Limits
    from mnncorrect.cli.together import Opened

WIDTH = 11


@command
def check(
    *,
    context: typer.Context,
    inputs: Annotated[
        list[Path] | None,
        Argument(
            metavar="INPUT",
            help="h5ad file to check, or another format that concat reads. Several files are"
            " checked as if they were joined; each is a batch unless --batch-key names a"
            " column.",
        ),
    ] = None,
    sheet: Annotated[
        Path | None,
        Option(
            "--sheet",
            metavar="SAMPLES.tsv",
            help="Table of the inputs, as for concat. Its covariates are checked too.",
        ),
    ] = None,
    reading: Reading,
    covariate: Annotated[
        list[str] | None,
        Option(
            "--covariate",
            metavar="COLUMN",
            help="Column of obs, such as a condition: report whether it is distinguishable from"
            " the batches. May be repeated.",
        ),
    ] = None,
    as_json: Json = False,
    memory_limit: MemoryLimit = "2G",
) -> None:
    """Check what the input holds, and whether it can be corrected.

    Prints the kind of values, the sizes of batches, shared genes, empty cells, duplicate names and
    covariates that go with the batch. The last line is the command to run next. Without
    --batch-key, check lists columns that could name batches. The exit code is 1 if the input cannot
    be corrected.

    Example: mnncorrect check pbmc.h5ad --batch-key donor

    Example: mnncorrect check pbmc.h5ad -b donor --covariate sex --covariate condition --json
    """
    from mnncorrect.cli.inputs import parts, refuse_idle_names, refuse_two_keys
    from mnncorrect.cli.methods import given
    from mnncorrect.cli.prepare import limits
    from mnncorrect.cli.runtime import logs
    from mnncorrect.cli.sheet import read_sheet

    refuse_two_keys(reading)
    if bool(inputs) == (sheet is not None):
        msg = "give either the inputs, or a table of them with --sheet"
        raise typer.BadParameter(msg)
    table = None if sheet is None else read_sheet(sheet)
    paths = (inputs or []) if table is None else table.paths
    if table is None:
        refuse_idle_names(paths, reading)
    found = Findings()
    with (
        logs.gathered(found.warnings),
        limits(Resources(memory_limit=memory_limit), None) as limit,
        parts(paths, limit.scratch, None if table is None else table.about) as several,
    ):
        covariates = list(covariate or [])
        if table is not None:
            covariates += [name for name in table.about[0] if name not in {"batch", *covariates}]
        _find(found, paths, several, reading, covariates, limit, sheet)
    limited = memory_limit if given(context, "memory_limit") else None
    _conclude(found, paths, reading, sheet, limited)
    if as_json:
        streams.tell_json(found.facts)
    else:
        streams.tell(f"{name:<{WIDTH}} {text}" for name, text in found.lines)
    if found.problems:
        more = f" (and {len(found.problems) - 1} more)" if len(found.problems) > 1 else ""
        msg = f"not fit to be corrected: {found.problems[0]}{more}"
        raise ValueError(msg)


def _find(
    found: Findings,
    paths: Sequence[Path],
    several: Mapping[str, Part],
    reading: Reading,
    covariates: Sequence[str],
    limit: Limits,
    sheet: Path | None,
) -> None:
    import numpy as np

    from mnncorrect import _adata
    from mnncorrect._io import input_parts
    from mnncorrect._prepare import fitness
    from mnncorrect.cli.inputs import key_of
    from mnncorrect.cli.prepare import groups_of
    from mnncorrect.cli.together import together
    from mnncorrect.pp._taking_part import taking_part

    facts, lines = found.facts, found.lines
    joined = len(paths) > 1 or sheet is not None
    opened = found.try_to("inputs", lambda: together(several, reading, joined=joined))
    if opened is None:
        return
    tables = opened.tables
    facts["inputs"] = [str(path) for path in paths]
    facts["n_cells"], facts["n_genes"] = tables.shape
    lines += [("cells", str(tables.n_obs)), ("genes", str(tables.n_vars))]
    key = key_of(reading)
    if key is None and joined:
        key = "batch" if sheet is not None else input_parts.FILE_KEY
    if key:
        batches = found.try_to("batches", lambda: _adata.take_batches(tables, key))
    else:
        # What is proposed is judged as if it had been given.
        batches = propose(found, tables)
    codes = np.zeros(tables.n_obs, np.int64) if batches is None else batches.codes
    seen = found.try_to(
        "values",
        lambda: fitness.look(
            opened.pieces,
            codes,
            limit.scratch,
            taken=opened.taken,
            block_bytes=limit.block // LOOKED_AT,
        ),
    )
    if seen is not None:
        tell_values(found, seen, opened)
        _decide(found, seen, opened, groups_of(tables, batches))
    tell_names(found, tables)
    if batches is not None and key:
        tell_batches(found, batches, key)
    if batches is not None and seen is not None:
        tell_shared(found, seen, batches)
        if (seen.n_genes == 0).any() and not found.problems:
            # Warned of here, or refused, as a correction does.
            found.try_to("depth", lambda: taking_part(batches, seen.n_genes > 0))
    facts["covariates"] = {}
    for name in covariates:
        ties = found.try_to("covariate", lambda name=name: _relation(tables, codes, name))  # type: ignore[misc]
        if ties is not None and batches is not None:
            tell_covariate(found, name, ties, tables.obs[name], codes)
    found.try_to("genes used", lambda: tell_genes(found, tables))
    tell_places(found, opened, single=len(several) == 1)
    if seen is not None and seen.kind in ELSEWHERE and len(several) == 1:
        look_elsewhere(found, opened, reading, limit, scaled=seen.kind == ELSEWHERE[0])
    tell_replaced(found, opened, reading)


def _decide(found: Findings, seen: Fitness, opened: Opened, groups: Groups | None) -> None:
    """Say whether a correction can use the values, and what has to be decided about them."""
    from mnncorrect._prepare.decide import UnclearValues, decide

    def decided() -> None:
        try:
            verdict = decide(seen.looks, opened.where, groups=groups, layers=opened.layers)
        except UnclearValues as error:
            found.warnings.append(on_shell(for_shell(error)))
            found.flags.append("--counts")
            found.decisions.append("whether the values are to be taken for counts (--counts)")
        else:
            found.warnings += verdict.warnings

    found.try_to("values", decided)


def _conclude(
    found: Findings,
    paths: Sequence[Path],
    reading: Reading,
    sheet: Path | None,
    memory_limit: str | None,
) -> None:
    """Say whether the input is fit, what is to be decided, and what to run next."""
    facts, lines = found.facts, found.lines
    facts["inputs"] = [str(path) for path in paths]
    found.warnings = list(dict.fromkeys(map(on_shell, found.warnings)))
    facts["warnings"], facts["problems"] = found.warnings, found.problems
    facts["decisions"] = found.decisions
    facts["fit"] = not found.problems
    facts["next"] = next_command(found, paths, reading, sheet, memory_limit)
    lines += [("warning", text) for text in found.warnings]
    if found.problems:
        verdict = "no"
    elif found.decisions:
        verdict = f"after a decision: {'; '.join(found.decisions)}"
    else:
        verdict = "yes"
    lines += [("fit", verdict), ("next", facts["next"])]


def _relation(tables: AnnData, codes: Any, name: str) -> Relation:
    from mnncorrect._adata.lookup import require
    from mnncorrect._prepare.fitness import relation

    require(name, tables.obs.columns, "--covariate: obs")
    return relation(codes, tables.obs[name])
