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
            help="The corrected file, or one of projected cells. Several corrections of the same"
            " cells are compared side by side.",
        ),
    ],
    output: Annotated[
        Path,
        Option(
            "--output",
            "-o",
            metavar="REPORT.html",
            help="The page to write; it appears when complete.",
        ),
    ],
    force: Force = False,
    batch_key: BatchKey = None,
    label_key: Annotated[
        str | None,
        Option(
            "--label-key",
            metavar="COLUMN",
            help="The column of obs with what should stay apart, such as cell types.",
        ),
    ] = None,
    clusters: Annotated[
        str, Option("--clusters", metavar="COLUMN", help="The clusters, as gmm made them.")
    ] = "gmm",
    evaluate: Annotated[
        bool,
        Option("--evaluate/--no-evaluate", help="Compute scores where the file has none."),
    ] = True,
    key_added: KeyAdded = "mnn",
    computing: Computing,
    reporting: Reporting,
) -> None:
    """Write a page about a correction, for people to read.

    It is one HTML file that needs no network: what went in and what was done, maps before and
    after, scores, merges and the variance they took away, confidence, clusters by batch, the genes
    that changed most, covariates, and warnings with what to do about them. The numbers are in it as
    JSON as well. Scores are those that evaluate has stored, or are computed. The batch is what the
    file was corrected by, if not said. The matrices of the input are not loaded. Of cells that
    project has placed, the page tells where, by which model, and how sure that is.

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
