"""``mnncorrect report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from mnncorrect._log import logger
from mnncorrect.cli.options.given import arguments_of, columns
from mnncorrect.cli.options.shared import BatchKey, ComputingOptions, Force, KeyAdded, Reporting
from mnncorrect.cli.runtime.command import command


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
    output: Annotated[Path, Option("--output", "-o")],
    force: Force = False,
    batch_key: BatchKey = None,
    label_key: str | None = None,
    clusters: str = "gmm",
    gene_key: str | None = None,
    compare_rep: list[str] | None = None,
    reference: Path | None = None,
    umap: bool | None = None,
    markers: bool = True,
    evaluate: bool = True,
    key_added: KeyAdded = "mnn",
    computing: ComputingOptions,
    reporting: Reporting,
) -> None:
    """Write an HTML report of a correction.

    The report is one file that needs no network. It begins with a verdict: did the batches mix,
    what was left alone, what not to trust. Then come maps before and after, clusters with their
    batches and markers, scores, merges, changed genes, covariates and a methods paragraph. It also
    contains all numbers as JSON. Stored scores are used; missing ones are computed. Markers are
    found on a sample of cells, on uncorrected values. For projected cells, the report shows their
    places, the model and the confidence.

    Example: mnncorrect report corrected.h5ad -o report.html

    Example: mnncorrect report placed.h5ad --label-key cell_type -o placed.html

    Example: mnncorrect report placed.h5ad --reference atlas.h5ad -o placed.html

    Example: mnncorrect report fast.h5ad calibrated.h5ad --label-key cell_type -o compared.html

    Example: mnncorrect report corrected.h5ad --compare-rep X_harmony -o compared.html

    Parameters
    ----------
    output : REPORT.html
        Page to write. It appears only when it is complete.
    label_key : COLUMN
        Column of obs with groups that should stay apart, such as cell types.
    clusters : COLUMN
        Column of obs with the clusters.
    gene_key : COLUMN
        The column of var with the gene names to show. Default: symbols, where var_names are Ensembl
        ids and var has symbols.
    compare_rep : NAME
        Compare the correction with this embedding in obsm, of another tool, such as X_harmony. May
        be repeated.
    reference : FILE
        Corrected file, or model, that projected cells were placed in. Its cells are shown in gray
        beneath the new ones, on its map if it has one.
    umap
        Draw UMAPs that the file lacks. Default: the one before the correction, where the file has
        one after it.
    markers
        Find marker genes of clusters.
    evaluate
        Compute scores if the file has none.
    """
    asked = locals()
    from mnncorrect._io import atomic
    from mnncorrect._io.outputs import refuse_other_format
    from mnncorrect.cli.runtime.progress import bars
    from mnncorrect.report import make_report
    from mnncorrect.report.collect.report_options import ReportOptions

    refuse_other_format(report=output)
    read = inputs if reference is None else [*inputs, reference]
    with (
        atomic.whole_file(output, force=force, inputs=read) as temporary,
        bars(reporting) as progress,
    ):
        options = arguments_of(ReportOptions, asked)
        options |= {"key": columns(batch_key), "compare_rep": tuple(compare_rep or ())}
        page = make_report(inputs, **options, progress=progress)
        atomic.write_text(temporary, page)
    logger.info("wrote %s (%.1f MB)", output, len(page.encode()) / 1e6)
