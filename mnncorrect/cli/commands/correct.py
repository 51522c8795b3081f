"""``mnncorrect correct``."""

from __future__ import annotations

import typer

from mnncorrect.cli.options.correction import CorrectOptions
from mnncorrect.cli.options.given import arguments
from mnncorrect.cli.options.help import HelpAll
from mnncorrect.cli.options.shared import ComputingOptions, CorrectedFiles, Reporting, Resources
from mnncorrect.cli.runtime.command import command
from mnncorrect.cli.runtime.planned import run_or_describe


@command
def correct(
    *,
    context: typer.Context,
    files: CorrectedFiles,
    options: CorrectOptions,
    computing: ComputingOptions,
    resources: Resources,
    reporting: Reporting,
    help_all: HelpAll = False,  # noqa: ARG001
) -> None:
    """Correct batch effects, without clusters, maps or reports.

    Log values are used unchanged. Counts are normalized first and highly variable genes are
    chosen, as in run; normalized values are not kept.

    Results: corrected components in obsm["X_mnn"] (method classic: corrected values in
    layers["mnn"]), confidence in obs["mnn_confidence"] (method calibrated), pairs in
    obsp["mnn_pairs"], merges and parameters in uns["mnn"]. X, raw and other layers are not changed.

    Example: mnncorrect correct logged.h5ad --batch-key donor -o corrected.h5ad

    Example: mnncorrect correct logged.h5ad -b donor --use-rep X_pca -o out.h5ad

    Example: mnncorrect correct counts.h5ad -b donor -o out.h5ad --save-model atlas.mnn

    Example: mnncorrect correct logged.h5ad -b protocol -b donor --method fast -o out.h5ad
    """
    from mnncorrect._prepare.steps import asked_by_correct

    asked = asked_by_correct(options.use_rep) | arguments(context, options)
    if options.label_key is not None:
        asked["guide"] = True
    run_or_describe(files, asked, computing, resources, reporting)
