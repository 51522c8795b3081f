"""``mnncorrect report``."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from mnncorrect.cli.inputs import batch_key as named_columns
from mnncorrect.cli.options.shared import BatchKey, Computing, Force, KeyAdded, Reporting
from mnncorrect.cli.runtime.command import command

logger = logging.getLogger("mnncorrect")


@command
def report(
    *,
    inputs: Annotated[
        list[Path],
        Argument(
            metavar="INPUT.h5ad",
            help="Corrected file, or file of projected cells. Several corrections of the same"
            " cells are compared side by side.",
        ),
    ],
    output: Annotated[
        Path,
        Option(
            "--output",
            "-o",
            metavar="REPORT.html",
            help="Page to write. It appears only when it is complete.",
        ),
    ],
    force: Force = False,
    batch_key: BatchKey = None,
    label_key: Annotated[
        str | None,
        Option(
            "--label-key",
            metavar="COLUMN",
            help="Column of obs with groups that should stay apart, such as cell types.",
        ),
    ] = None,
    clusters: Annotated[
        str, Option("--clusters", metavar="COLUMN", help="Column of obs with the clusters.")
    ] = "gmm",
    evaluate: Annotated[
        bool,
        Option("--evaluate/--no-evaluate", help="Compute scores if the file has none."),
    ] = True,
    key_added: KeyAdded = "mnn",
    computing: Computing,
    reporting: Reporting,
) -> None:
    """Write an HTML report of a correction.

    The report is one file that needs no network. It has warnings with advice, maps before and
    after, scores, merges, confidence, clusters by batch, genes that changed most, and covariates.
    It also contains all numbers as JSON. Stored scores are used; missing ones are computed. For
    projected cells, the report shows their places, the model and the confidence. The matrices of
    the input are not loaded.

    Example: mnncorrect report corrected.h5ad -o report.html

    Example: mnncorrect report placed.h5ad --label-key cell_type -o placed.html

    Example: mnncorrect report fast.h5ad calibrated.h5ad --label-key cell_type -o compared.html
    """
    from mnncorrect._io import atomic
    from mnncorrect.cli.runtime.progress import bars
    from mnncorrect.report import make_report

    with (
        atomic.whole_file(output, force=force, inputs=inputs) as temporary,
        bars(reporting) as progress,
    ):
        page = make_report(
            inputs,
            key=named_columns(batch_key),
            label_key=label_key,
            clusters=clusters,
            evaluate=evaluate,
            key_added=key_added,
            progress=progress,
            **asdict(computing),
        )
        atomic.write_text(temporary, page)
    logger.info("wrote %s (%.1f MB)", output, len(page.encode()) / 1e6)
