"""``mnncorrect check``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

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
from mnncorrect.cli.options.shared import Json, MemoryLimit, Reading, Resources
from mnncorrect.cli.runtime.command import command

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pandas as pd
    from anndata import AnnData

    from mnncorrect._io.input_parts import Part
    from mnncorrect._prepare.fitness import Fitness, Relation
    from mnncorrect.cli.prepare import Limits

# A column with more values than this is not offered as one that names batches.
MOST_BATCHES = 100
# Columns that are named so are offered first.
USUAL = ("batch", "sample", "donor", "lane", "dataset")
WIDTH = 11
# What is found out of a block takes so many times its memory.
LOOKED_AT = 4


@command
def check(
    *,
    inputs: Annotated[
        list[Path] | None,
        Argument(
            metavar="INPUT",
            help="The h5ad file to look at, or what else concat reads. Several are looked at as if"
            " they were put together, each a batch unless --batch-key names a column.",
        ),
    ] = None,
    sheet: Annotated[
        Path | None,
        Option(
            "--sheet",
            metavar="SAMPLES.tsv",
            help="A table of the inputs instead, as concat takes it; its covariates are looked at.",
        ),
    ] = None,
    reading: Reading,
    covariate: Annotated[
        list[str] | None,
        Option(
            "--covariate",
            metavar="COLUMN",
            help="A column of obs: say whether it can be told apart from the batches. May be"
            " repeated.",
        ),
    ] = None,
    as_json: Json = False,
    memory_limit: MemoryLimit = "2G",
) -> None:
    """Say what the input holds, and whether it is fit to be corrected.

    What the values are, batches and their sizes, genes that all of them have, cells without counts,
    doubled names, covariates that go with the batch, what else can be corrected, and the command to
    run next. Exit code 1 if it is not fit. Without --batch-key, the columns that could name batches
    are listed. Values are read in blocks.

    Example: mnncorrect check pbmc.h5ad --batch-key donor

    Example: mnncorrect check pbmc.h5ad -b donor --covariate sex --covariate condition --json
    """
    from mnncorrect.cli.inputs import parts
    from mnncorrect.cli.prepare import limits
    from mnncorrect.cli.sheet import read_sheet

    if bool(inputs) == (sheet is not None):
        msg = "give either the inputs, or a table of them with --sheet"
        raise typer.BadParameter(msg)
    table = None if sheet is None else read_sheet(sheet)
    paths = (inputs or []) if table is None else table.paths
    with (
        limits(Resources(memory_limit=memory_limit), None) as limit,
        parts(paths, limit.scratch, None if table is None else table.about) as several,
    ):
        covariates = list(covariate or [])
        if table is not None:
            covariates += [name for name in table.about[0] if name not in {"batch", *covariates}]
        found = _find(paths, several, reading, covariates, limit, sheet)
    if as_json:
        streams.tell_json(found.facts)
    else:
        streams.tell(f"{name:<{WIDTH}} {text}" for name, text in found.lines)
    if found.problems:
        more = f" (and {len(found.problems) - 1} more)" if len(found.problems) > 1 else ""
        msg = f"not fit to be corrected: {found.problems[0]}{more}"
        raise ValueError(msg)


def _find(
    paths: Sequence[Path],
    several: Mapping[str, Part],
    reading: Reading,
    covariates: Sequence[str],
    limit: Limits,
    sheet: Path | None,
) -> Findings:
    import numpy as np

    from mnncorrect import _adata
    from mnncorrect._io import input_parts
    from mnncorrect._prepare import fitness
    from mnncorrect._prepare.decide import decide
    from mnncorrect.cli.prepare import groups_of
    from mnncorrect.cli.together import together

    found = Findings()
    facts, lines = found.facts, found.lines
    opened = together(several, reading, joined=len(paths) > 1 or sheet is not None)
    tables = opened.tables
    facts["inputs"] = [str(path) for path in paths]
    facts["n_cells"], facts["n_genes"] = tables.shape
    lines += [("cells", str(tables.n_obs)), ("genes", str(tables.n_vars))]
    key: Any = reading.batch_key or ([] if len(paths) == 1 and sheet is None else None)
    if key is None:
        key = ["batch" if sheet is not None else input_parts.FILE_KEY]
    key = key[0] if len(key) == 1 else key
    batches = found.try_to("batches", lambda: _adata.take_batches(tables, key)) if key else None
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
        verdict = found.try_to(
            "values",
            lambda: decide(
                seen.looks, opened.where, groups=groups_of(tables, batches), layers=opened.layers
            ),
        )
        if verdict is not None:
            found.warnings += verdict.warnings
    tell_names(found, tables)
    if batches is not None:
        tell_batches(found, batches, key)
        if seen is not None:
            tell_shared(found, seen, batches)
    elif not key:
        facts["batches"] = None
        facts["candidates"] = _candidates(tables.obs)
        offered = ", ".join(f"{name} ({n})" for name, n in facts["candidates"].items()) or "none"
        lines.append(("batches", f"no --batch-key given; columns that could be: {offered}"))
    facts["covariates"] = {}
    for name in covariates:
        ties = found.try_to("covariate", lambda name=name: _relation(tables, codes, name))  # type: ignore[misc]
        if ties is not None and batches is not None:
            tell_covariate(found, name, ties, tables.obs[name], codes)
    found.try_to("genes used", lambda: tell_genes(found, tables))
    tell_places(found, opened, single=len(several) == 1)
    facts["warnings"], facts["problems"] = found.warnings, found.problems
    facts["fit"] = not found.problems
    lines += [("warning", text) for text in found.warnings]
    facts["next"] = _next(found, paths, key, seen, sheet)
    verdict = "yes" if facts["fit"] else "no"
    if not key:
        verdict = f"{verdict}, as far as can be told without batches"
    lines += [("fit", verdict), ("next", facts["next"])]
    return found


def _relation(tables: AnnData, codes: Any, name: str) -> Relation:
    from mnncorrect._adata.lookup import require
    from mnncorrect._prepare.fitness import relation

    require(name, tables.obs.columns, "--covariate: obs")
    return relation(codes, tables.obs[name])


def _next(
    found: Findings, paths: Sequence[Path], key: Any, seen: Fitness | None, sheet: Path | None
) -> str:
    """Return the command to run next."""
    given = " ".join(shlex.quote(str(path)) for path in paths)
    if sheet is not None:
        return f"mnncorrect concat --sheet {shlex.quote(str(sheet))} -o joined.h5ad"
    if not key:
        columns = list(found.facts["candidates"])
        usual = [name for name in USUAL if name in columns]
        name = shlex.quote((usual or columns or ["COLUMN"])[0])
        return f"mnncorrect check {given} -b {name}"
    if found.problems:
        return "mend what is said to be not fit, and check again"
    keys = [key] if isinstance(key, str) else key
    words = [f"-b {shlex.quote(name)}" for name in keys] if len(paths) == 1 else []
    raws = found.facts.get("raw") or "counts" in found.facts.get("layers", [])
    if seen is not None and seen.kind == "scaled values" and raws:
        words.append("--layer counts" if "counts" in found.facts["layers"] else "--use-raw")
    stem = paths[0].name.removesuffix(paths[0].suffix) if len(paths) == 1 else "joined"
    output = shlex.quote(f"{stem}.corrected.h5ad")
    return " ".join(["mnncorrect run", given, *words, "-o", output])


def _candidates(obs: pd.DataFrame) -> dict[str, int]:
    """Return the columns of obs with more than one value and not too many."""
    import pandas as pd

    is_number: Callable[[Any], bool] = pd.api.types.is_float_dtype
    counted = {
        str(column): int(obs[column].nunique())
        for column in obs
        if not is_number(obs[column].dtype)
    }
    most = min(MOST_BATCHES, len(obs) // 2)
    return {column: n for column, n in counted.items() if 2 <= n <= most}
