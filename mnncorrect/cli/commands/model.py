"""``mnncorrect model``, and the option by which a correction saves its model itself."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnncorrect.cli.options.shared import Computing, Force, Input, KeyAdded
from mnncorrect.cli.runtime.command import command

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from anndata import AnnData

    from mnncorrect.cli.dry import Step
    from mnncorrect.cli.options.correction import Correction

logger = logging.getLogger("mnncorrect")


@command
def model(
    *,
    input: Input,  # noqa: A002
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="MODEL.mnn", help="Model file to write."),
    ],
    force: Force = False,
    gene_key: Annotated[
        str | None,
        typer.Option(
            "--gene-key",
            metavar="COLUMN",
            help="Column of var with the gene names of the model. Default: var_names.",
        ),
    ] = None,
    max_cells: Annotated[
        int,
        typer.Option(
            "--max-cells",
            min=2,
            help="Number of cells above which the model keeps a sample, with equal shares of the"
            " batches.",
        ),
    ] = 200_000,
    key_added: KeyAdded = "mnn",
    computing: Computing,
) -> None:
    """Write a model of a corrected file, for the command project.

    A model places new cells in the correction. It contains the loadings of the genes, and the
    places of the training cells before and after the correction. It contains no expression and no
    cell names. run and correct write one with --save-model.

    Example: mnncorrect model corrected.h5ad -o atlas.mnn
    """
    from mnncorrect import tl
    from mnncorrect._io import atomic, h5ad, model_file

    with (
        atomic.whole_file(output, force=force, inputs=[input]) as temporary,
        h5ad.opened(input) as adata,
    ):
        fitted = tl.fit_model(
            adata,
            gene_key=gene_key,
            max_cells=max_cells,
            key_added=key_added,
            n_jobs=computing.n_jobs,
        )
        model_file.write(fitted, temporary)
    logger.info("wrote %s (%r)", output, fitted)


def refuse_model(correction: Correction, save_model: Path | None) -> None:
    """Refuse, as wrong usage, to save the model of a method without one."""
    from mnncorrect._prepare.methods import all_methods, method_named, names_where

    if save_model is None:
        return
    if not method_named(correction.method).embeds:
        owners = names_where(method for method in all_methods() if method.embeds)
        msg = f"--save-model belongs to method {owners}, not to {correction.method}"
        raise typer.BadParameter(msg)


def planned(path: Path | None) -> list[Step]:
    """Return what a dry run says of the model."""
    from mnncorrect.cli.dry import Step

    return [] if path is None else [Step(f"write a model of the correction to {path}")]


@contextlib.contextmanager
def model_file(path: Path | None, *, force: bool, inputs: Sequence[Path]) -> Iterator[Path | None]:
    """Give a temporary path for the model, as ``_atomic.whole_file`` does; ``None`` for none."""
    from mnncorrect._io import atomic

    if path is None:
        yield None
        return
    with atomic.whole_file(path, force=force, inputs=inputs) as temporary:
        yield temporary


def check_genes(
    adata: AnnData, correction: Correction, mask_var: Any, gene_key: str | None
) -> None:
    """Refuse genes that no model could distinguish, before any work is done."""
    import numpy as np

    from mnncorrect import _adata
    from mnncorrect.tl._model import gene_names, refuse_doubled_genes

    if correction.use_rep is None:
        mask = _adata.take_gene_mask(adata, mask_var).mask
        names = np.array(gene_names(adata, gene_key), dtype=object)
        refuse_doubled_genes(names if mask is None else names[mask])


def write_model(
    adata: AnnData,
    path: Path,
    target: Path,
    correction: Correction,
    n_jobs: int | None,
    gene_key: str | None,
) -> None:
    """Write the model of an object that was corrected to a temporary path.

    ``gene_key``: the column of var that names its genes; ``None``: their var_names.
    """
    from mnncorrect import tl
    from mnncorrect._io import model_file

    fitted = tl.fit_model(adata, gene_key=gene_key, key_added=correction.key_added, n_jobs=n_jobs)
    model_file.write(fitted, path)
    logger.info("model %s (%r)", target, fitted)
