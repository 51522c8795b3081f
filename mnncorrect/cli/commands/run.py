"""``mnncorrect run``."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mnncorrect._prepare.methods import all_methods, method_named, names_where
from mnncorrect.cli.inputs import need_batch_key, opened, refuse_idle_names
from mnncorrect.cli.options.correction import Correction, Expression, Preparing
from mnncorrect.cli.options.shared import (
    Computing,
    Force,
    Inputs,
    NComponents,
    NDims,
    Output,
    Reading,
    Reporting,
    Resources,
    SaveModel,
    number_or_auto,
    whole_numbers,
)
from mnncorrect.cli.runtime.command import command

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

logger = logging.getLogger("mnncorrect")


@command
def run(
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
    pca: Annotated[
        bool,
        typer.Option(
            "--pca/--no-pca", help="Compute principal components of corrected expression."
        ),
    ] = True,
    gmm: Annotated[
        bool, typer.Option("--gmm/--no-gmm", help="Cluster the cells by a Gaussian mixture.")
    ] = True,
    umap: Annotated[bool, typer.Option("--umap/--no-umap", help="Compute a UMAP.")] = False,
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="REPORT.html", help="Also write a report of the result."),
    ] = None,
    n_dims: NDims = "auto",
    n_components: NComponents = "1-10,12,15,20,25,30",
    computing: Computing,
    resources: Resources,
    reporting: Reporting,
) -> None:
    """Normalize, choose genes, correct, and cluster.

    Counts are scaled to the median total and log1p is taken (layers["mnn_log1p"]). Genes that vary
    within batches are chosen (var["mnn_genes"]). Their principal components are corrected
    (obsm["X_mnn"], obs["mnn_confidence"]), and the cells are clustered (obs["gmm"]).

    Method classic corrects expression instead: layers["mnn"], with components in
    obsm["X_mnn_pca"]. X, raw and other layers are not changed. Each step can be left out. Similar
    batches are merged first, unless --merge-order or --auto-merge is given.

    Example: mnncorrect run pbmc.h5ad --batch-key donor -o corrected.h5ad

    Example: mnncorrect run pbmc.h5ad -b donor -o corrected.h5ad --umap --report report.html

    Example: mnncorrect run donor1.h5ad donor2.h5ad donor3.h5ad -o corrected.h5ad
    """
    from mnncorrect.cli import dry, methods, prepare, replacing, steps
    from mnncorrect.cli.commands import model as models

    need_batch_key(inputs, reading)
    numbers = whole_numbers("--n-components", n_components)
    dims = number_or_auto("--n-dims", n_dims)
    embeds = method_named(correction.method).embeds
    methods.refuse_foreign(context, correction, also_known=() if embeds else ("n_comps",))
    methods.refuse_expression(context, correction, expression)
    models.refuse_model(correction, save_model)
    names_model = save_model is not None and correction.use_rep is None
    refuse_idle_names(inputs, reading, model=names_model)
    named_by = reading.gene_key if len(inputs) == 1 else None
    if embeds and pca and methods.given(context, "pca"):
        owners = names_where(method for method in all_methods() if not method.embeds)
        msg = f"--pca belongs to method {owners}; {correction.method} corrects components"
        raise typer.BadParameter(msg)
    correction = _in_good_order(correction, reading)
    if gmm and not pca and not embeds:
        msg = "clusters are found in principal components: with --no-pca, say --no-gmm too"
        raise typer.BadParameter(msg)
    if (umap or report is not None) and not pca and not embeds:
        msg = "--umap and --report need principal components: leave out --no-pca"
        raise typer.BadParameter(msg)
    preparing = steps.resolved(context, preparing, correction)
    dry.refuse_json_alone(resources)
    places = replacing.of_correction(
        correction,
        expression,
        {"layer": reading.layer},
        keep=preparing.keep_normalised is not False,
    )
    places += replacing.of_steps(correction, pca=pca and not embeds, gmm=gmm, umap=umap)
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
            afterwards=[
                *models.planned(save_model),
                *(
                    [dry.Step(f"find {correction.n_comps} principal components")]
                    if pca and not embeds
                    else []
                ),
                *([dry.clusters()] if gmm else []),
                *([dry.umap()] if umap else []),
                *([] if report is None else [dry.report(report)]),
            ],
            replaced=places,
            force=force,
            always=True,
        )
        return
    from mnncorrect import _adata, pp, tl
    from mnncorrect._io import atomic
    from mnncorrect.cli.runtime.progress import bars

    keys = _adata.Keys(correction.key_added)
    with (
        atomic.whole_file(output, force=force, inputs=inputs) as temporary,
        _page(report, force=force, inputs=inputs) as page,
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
        adata = loaded.adata
        replacing.refuse(adata, places, force=force)
        with prepare.prepared(
            loaded, preparing, correction, computing, limits, context, always=True
        ) as ready:
            if save_model is not None:
                models.check_genes(adata, correction, ready.mask_var, named_by)
            made = methods.correct(
                adata,
                loaded.batch_key,
                correction,
                mask_var=ready.mask_var,
                progress=progress,
                scratch=limits.scratch if expression.write_expression else None,
                **ready.source,
                **asdict(computing),
            )
        methods.note_prepared(adata, correction, ready.done)
        methods.note_warnings(adata, correction.key_added)
        if save_model is not None and model_path is not None:
            models.write_model(
                adata, model_path, save_model, correction, computing.n_jobs, named_by
            )
        embedding = methods.embedding_of(correction)
        if pca and not embeds:
            components = f"{correction.key_added}_pca"
            embedding = f"X_{components}"
            pp.pca(
                adata,
                layer=keys.layer,
                n_comps=correction.n_comps,
                key_added=components,
                **asdict(computing),
            )
        if gmm:
            tl.gmm(
                adata,
                use_rep=embedding,
                n_dims=dims,
                n_components=numbers,
                progress=progress,
                **asdict(computing),
            )
        if umap:
            tl.umap(adata, use_rep=embedding, key_added=correction.key_added, **asdict(computing))
        if page is not None:
            from mnncorrect.report import report_of

            told = report_of(
                adata,
                output.name,
                key_added=correction.key_added,
                progress=progress,
                **asdict(computing),
            )
            atomic.write_text(page, told)
        methods.write(adata, temporary, correction, expression, computing.n_jobs, made)
    logger.info("wrote %s", output if report is None else f"{output} and {report}")


@contextlib.contextmanager
def _page(path: Path | None, *, force: bool, inputs: Sequence[Path]) -> Iterator[Path | None]:
    """Give a temporary path for the report, if one is wanted, as for the output."""
    from mnncorrect._io import atomic

    if path is None:
        yield None
        return
    with atomic.whole_file(path, force=force, inputs=inputs) as temporary:
        yield temporary


def _in_good_order(correction: Correction, reading: Reading) -> Correction:
    """Merge similar batches first where nothing is said of the order.

    The order of names means nothing, and a first batch that lacks a population spoils the rest.
    Some methods find an order themselves.
    """
    if method_named(correction.method).orders_merges:
        return correction
    several_factors = len(reading.batch_key or ()) > 1
    asked = correction.merge_order is not None or correction.auto_merge or several_factors
    return correction if asked else replace(correction, merge_order="balanced")
