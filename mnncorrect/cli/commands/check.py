"""``mnncorrect check``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from mnncorrect.cli import streams
from mnncorrect.cli.options.given import arguments, given
from mnncorrect.cli.options.shared import Json, MemoryLimit, Reading, SheetPath
from mnncorrect.cli.runtime.command import command

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
    sheet: SheetPath = None,
    reading: Reading,
    covariate: Annotated[
        list[str] | None,
        Option(
            metavar="COLUMN",
            help="Column of obs, such as a condition: report whether it is distinguishable from"
            " the batches. May be repeated.",
        ),
    ] = None,
    label_key: Annotated[
        str | None,
        Option(
            metavar="COLUMN",
            help="Column of obs with labels that are to guide the correction: report what they"
            " allow.",
        ),
    ] = None,
    keep: Annotated[
        list[str] | None,
        Option(
            metavar="COLUMN",
            help="Column of obs that must not be removed, such as a condition: report what can be"
            " promised. May be repeated.",
        ),
    ] = None,
    as_json: Json = False,
    memory_limit: MemoryLimit = "2G",
) -> None:
    """Check what the input holds, and whether it can be corrected.

    Prints the kind of values, the sizes of batches, shared genes, empty cells, duplicate names and
    covariates confounded with the batch. The last line is the command to run next. Without
    --batch-key, check lists columns that could name batches. The exit code is 1 if the input cannot
    be corrected.

    Example: mnncorrect check pbmc.h5ad --batch-key donor

    Example: mnncorrect check pbmc.h5ad -b donor --covariate sex --covariate condition --json
    """
    from mnncorrect._io.input_parts import Selection
    from mnncorrect._run.checking.examine import examine
    from mnncorrect.cli.runtime import logs

    selection = Selection(**arguments(context, reading))
    if bool(inputs) == (sheet is not None):
        msg = "give either the inputs, or a table of them with --sheet"
        raise typer.BadParameter(msg)
    with logs.without_warnings():
        found = examine(
            inputs or [],
            selection,
            sheet=sheet,
            covariates=covariate or (),
            guiding={"label_key": label_key, "keep": keep},
            memory_limit=memory_limit if given(context, "memory_limit") else None,
        )
    if as_json:
        streams.tell_json(found.facts)
    else:
        streams.tell(f"{name:<{WIDTH}} {text}" for name, text in found.lines)
    if found.problems:
        more = f" (and {len(found.problems) - 1} more)" if len(found.problems) > 1 else ""
        msg = f"not fit to be corrected: {found.problems[0]}{more}"
        raise ValueError(msg)
