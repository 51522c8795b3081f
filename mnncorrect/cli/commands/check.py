"""``mnncorrect check``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument

from mnncorrect.cli import streams
from mnncorrect.cli.options.correction import RunOptions
from mnncorrect.cli.options.given import arguments
from mnncorrect.cli.options.help import HelpAll
from mnncorrect.cli.options.shared import ComputingOptions, Json, PlannedFiles, UsedResources
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
    files: PlannedFiles,
    covariate: list[str] | None = None,
    options: RunOptions,
    computing: ComputingOptions,
    resources: UsedResources,
    as_json: Json = False,
    help_all: HelpAll = False,  # noqa: ARG001
) -> None:
    """Check what the input holds, and whether it can be corrected.

    Prints the kind of values, the sizes of batches, shared genes, empty cells, duplicate names and
    covariates confounded with the batch. The last line is the command to run next. Without
    --batch-key, check lists columns that could name batches. The exit code is 1 if the input cannot
    be corrected.

    check takes the options of run, and checks whether they fit the input. It writes no file. The
    command to run next has all of them.

    Example: mnncorrect check pbmc.h5ad --batch-key donor

    Example: mnncorrect check pbmc.h5ad -b donor --covariate sex --covariate condition --json

    Example: mnncorrect check pbmc.h5ad -b donor --method fast --reference healthy1

    Parameters
    ----------
    covariate : COLUMN
        Column of obs, such as a condition, to test for confounding with the batches. May be
        repeated.
    """
    from mnncorrect._run.checking.examine import examine
    from mnncorrect.cli.runtime import logs

    asked: dict[str, Any] = {"data": inputs} if inputs else {}
    asked |= arguments(context, files, options, computing, resources)
    if covariate:
        asked["covariate"] = covariate
    labels_are_used = {"guide", "report", "save_model"}.intersection(asked)
    if options.label_key is not None and not labels_are_used:
        asked["guide"] = True
    with logs.without_warnings():
        found = examine(asked)
    if as_json:
        streams.tell_json(found.facts)
    else:
        streams.tell(f"{name:<{WIDTH}} {text}" for name, text in found.lines)
    if found.problems:
        more = f" (and {len(found.problems) - 1} more)" if len(found.problems) > 1 else ""
        raise ValueError(f"not fit to be corrected: {found.problems[0]}{more}")
