"""``mnncorrect model``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mnncorrect._log import logger
from mnncorrect.cli.options.shared import ComputingOptions, Force, Input, KeyAdded
from mnncorrect.cli.runtime.command import command


@command
def model(
    *,
    input: Input,  # noqa: A002
    output: Annotated[Path, typer.Option("--output", "-o")],
    force: Force = False,
    gene_key: str | None = None,
    label_key: str | None = None,
    max_cells: Annotated[int, typer.Option(min=2)] = 200_000,
    key_added: KeyAdded = "mnn",
    computing: ComputingOptions,
) -> None:
    """Write a model of a corrected file, for the command project.

    A model places new cells in the correction. It contains the loadings of the genes, and the
    places of the training cells before and after the correction. It contains no expression and no
    cell names. run and correct write one with --save-model.

    Example: mnncorrect model corrected.h5ad -o atlas.mnn

    Parameters
    ----------
    output : MODEL.mnn
        Model file to write.
    gene_key : COLUMN
        Column of var with the gene names of the model. Default: var_names.
    label_key : COLUMN
        Column of obs with labels, such as cell types, that the model keeps. `project --label-key`
        gives them to new cells.
    max_cells
        Number of cells above which the model keeps a sample, with equal shares of the batches.
    """
    from mnncorrect import tl
    from mnncorrect._io import atomic, model_file
    from mnncorrect._io.outputs import refuse_other_format
    from mnncorrect._io.result_file import opened_result

    refuse_other_format(model=output)
    with (
        atomic.whole_file(output, force=force, inputs=[input]) as temporary,
        opened_result(input) as adata,
    ):
        fitted = tl.fit_model(
            adata,
            gene_key=gene_key,
            label_key=label_key,
            max_cells=max_cells,
            key_added=key_added,
            n_jobs=computing.n_jobs,
        )
        model_file.write(fitted, temporary)
    logger.info("wrote %s (%r)", output, fitted)
