"""``mnncorrect correct``."""

from __future__ import annotations

import logging
from dataclasses import asdict

import typer

from mnncorrect.cli.inputs import need_batch_key, opened, refuse_idle_names
from mnncorrect.cli.options.correction import Correction, Expression, Preparing
from mnncorrect.cli.options.shared import (
    Computing,
    Force,
    Inputs,
    Output,
    Reading,
    Reporting,
    Resources,
    SaveModel,
)
from mnncorrect.cli.runtime.command import command

logger = logging.getLogger("mnncorrect")


@command
def correct(
    *,
    context: typer.Context,
    inputs: Inputs,
    output: Output,
    force: Force = False,
    save_model: SaveModel = None,
    reading: Reading,
    preparing: Preparing,
    correction: Correction,
    expression: Expression,
    computing: Computing,
    resources: Resources,
    reporting: Reporting,
) -> None:
    """Correct batch effects, and do nothing else.

    Logarithms are corrected unchanged. Counts are normalized first and highly variable genes are
    chosen, as in run; normalized values are not kept.

    Results: corrected components in obsm["X_mnn"] (method classic: corrected values in
    layers["mnn"]), confidence in obs["mnn_confidence"] (method calibrated), pairs in
    obsp["mnn_pairs"], merges and parameters in uns["mnn"]. X, raw and other layers are not changed.

    Example: mnncorrect correct logged.h5ad --batch-key donor -o corrected.h5ad

    Example: mnncorrect correct logged.h5ad -b donor --use-rep X_pca -o out.h5ad

    Example: mnncorrect correct counts.h5ad -b donor -o out.h5ad --save-model atlas.mnn

    Example: mnncorrect correct logged.h5ad -b protocol -b donor --method fast -o out.h5ad
    """
    from mnncorrect.cli import dry, methods, prepare, replacing, steps
    from mnncorrect.cli.commands import model as models

    need_batch_key(inputs, reading)
    methods.refuse_foreign(context, correction)
    methods.refuse_expression(context, correction, expression)
    models.refuse_model(correction, save_model)
    names_model = save_model is not None and correction.use_rep is None
    refuse_idle_names(inputs, reading, model=names_model)
    named_by = reading.gene_key if len(inputs) == 1 else None
    preparing = steps.resolved(context, preparing, correction)
    dry.refuse_json_alone(resources)
    places = replacing.of_correction(
        # What is normalised is a layer for a while, also where it is not kept.
        correction,
        expression,
        {"layer": reading.layer},
        keep=True,
    )
    if resources.dry_run:
        dry.tell(
            inputs,
            output,
            reading,
            preparing,
            correction,
            computing,
            resources,
            context,
            afterwards=models.planned(save_model),
            replaced=places,
            force=force,
            always=False,
        )
        return
    from mnncorrect._io import atomic
    from mnncorrect.cli.runtime.progress import bars

    with (
        atomic.whole_file(output, force=force, inputs=inputs) as temporary,
        models.model_file(save_model, force=force, inputs=inputs) as model_path,
        prepare.limits(resources, output) as limits,
        opened(
            inputs,
            reading,
            limits,
            counts=preparing.counts,
            judging=correction.use_rep is None,
        ) as loaded,
        bars(reporting) as progress,
    ):
        replacing.refuse(loaded.adata, places, force=force)
        with prepare.prepared(
            loaded, preparing, correction, computing, limits, context, always=False
        ) as ready:
            if save_model is not None:
                models.check_genes(loaded.adata, correction, ready.mask_var, named_by)
            made = methods.correct(
                loaded.adata,
                loaded.batch_key,
                correction,
                mask_var=ready.mask_var,
                progress=progress,
                scratch=limits.scratch if expression.write_expression else None,
                **ready.source,
                **asdict(computing),
            )
        methods.note_prepared(loaded.adata, correction, ready.done)
        methods.note_warnings(loaded.adata, correction.key_added)
        if save_model is not None and model_path is not None:
            models.write_model(
                loaded.adata, model_path, save_model, correction, computing.n_jobs, named_by
            )
        methods.write(loaded.adata, temporary, correction, expression, computing.n_jobs, made)
    logger.info("wrote %s", output)
