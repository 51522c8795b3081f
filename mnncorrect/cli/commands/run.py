"""``mnncorrect run``."""

from __future__ import annotations

import typer

from mnncorrect.cli.options.correction import RunOptions
from mnncorrect.cli.options.given import arguments
from mnncorrect.cli.options.help import HelpAll
from mnncorrect.cli.options.shared import ComputingOptions, CorrectedFiles, Reporting, Resources
from mnncorrect.cli.runtime.command import command
from mnncorrect.cli.runtime.planned import run_or_describe


@command
def run(
    *,
    context: typer.Context,
    files: CorrectedFiles,
    options: RunOptions,
    computing: ComputingOptions,
    resources: Resources,
    reporting: Reporting,
    help_all: HelpAll = False,  # noqa: ARG001
) -> None:
    """Normalize, choose genes, correct, and cluster.

    Counts are scaled to the median total and log-transformed (layers["mnn_log1p"]). Genes that vary
    within batches are chosen (var["mnn_genes"]). Their principal components are corrected
    (obsm["X_mnn"], obs["mnn_confidence"]), and the cells are clustered (obs["gmm"]).

    Method classic corrects expression instead: layers["mnn"], with components in
    obsm["X_mnn_pca"]. X, raw and other layers are not changed. Each step can be left out. Similar
    batches are merged first, unless --merge-order or --auto-merge is given.

    Example: mnncorrect run pbmc.h5ad --batch-key donor -o corrected.h5ad

    Example: mnncorrect run pbmc.h5ad -b donor -o corrected.h5ad --umap --report report.html

    Example: mnncorrect run donor1.h5ad donor2.h5ad donor3.h5ad -o corrected.h5ad

    Example: mnncorrect run --sheet samples.tsv -o corrected.h5ad
    """
    run_or_describe(files, arguments(context, options), computing, resources, reporting)
