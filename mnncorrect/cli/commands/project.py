"""``mnncorrect project``."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from mnncorrect.cli.inputs import opened, refuse_two_keys
from mnncorrect.cli.options.shared import (
    BatchFromBarcode,
    Computing,
    Engine,
    Force,
    Input,
    KeyAdded,
    Layer,
    MemoryLimit,
    Output,
    Reading,
    Recall,
    Reporting,
    Resources,
    StripVersions,
    Subset,
    UseRaw,
)
from mnncorrect.cli.runtime.command import command

logger = logging.getLogger("mnncorrect")


@command
def project(
    *,
    input: Input,  # noqa: A002
    model: Annotated[
        Path,
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL.mnn",
            help="The model, as run and correct write it by --save-model.",
        ),
    ],
    output: Output,
    force: Force = False,
    batch_key: Annotated[
        list[str] | None,
        typer.Option(
            "--batch-key",
            "-b",
            metavar="COLUMN",
            help="The column of obs that names the batch; that of the training data if unset, or"
            " all cells are one new batch where there is none. May be repeated, as for correct.",
        ),
    ] = None,
    batch_from_barcode: BatchFromBarcode = False,
    as_new: Annotated[
        bool,
        typer.Option(
            "--as-new",
            help="Take all batches for new ones, even those whose names the model knows.",
        ),
    ] = False,
    layer: Layer = None,
    use_raw: UseRaw = False,
    gene_key: Annotated[
        str | None,
        typer.Option(
            "--gene-key",
            metavar="COLUMN",
            help="The column of var by which genes are matched with those of the model; var_names"
            " if unset.",
        ),
    ] = None,
    strip_versions: StripVersions = False,
    subset: Subset = None,
    counts: Annotated[
        bool | None,
        typer.Option(
            "--counts/--no-counts",
            help="Take the values for counts, which are normalised as the training data were, or"
            " not; told by looking at them if unset.",
        ),
    ] = None,
    max_missing: Annotated[
        float,
        typer.Option(
            "--max-missing",
            help="The share of the components (0 to 1) that missing genes may carry; they take the"
            " values that the others lead to expect.",
        ),
    ] = 0.2,
    neighbors: Engine = "auto",
    recall: Recall = 0.995,
    key_added: KeyAdded = "mnn",
    adjusted_basis: Annotated[
        str | None,
        typer.Option(
            "--adjusted-basis",
            metavar="NAME",
            help="The name in obsm of the result, if not X_ and --key-added.",
        ),
    ] = None,
    memory_limit: MemoryLimit = "2G",
    computing: Computing,
    reporting: Reporting,
) -> None:
    """Place new cells in a correction that stays as it is.

    Counts are normalised as the training data were, cells are projected on the components of the
    model, and corrected to its cells. Cells of a batch that the model has move as its cells about
    them did; a new batch is merged onto the model's cells by the calibrated method, as far as its
    effect is told apart from noise. Each batch is placed for itself.

    Places are written to obsm["X_mnn"], where they were before the correction to
    obsm["X_mnn_uncorrected"], how sure they are to obs["mnn_confidence"], what was done to
    uns["mnn"].

    Example: mnncorrect project query.h5ad --model atlas.mnn -o projected.h5ad

    Example: mnncorrect project query.h5ad --model atlas.mnn -b sample --as-new -o projected.h5ad
    """
    from mnncorrect._adata import Keys, record
    from mnncorrect._io import atomic, h5ad
    from mnncorrect.cli import methods, prepare, replacing
    from mnncorrect.cli.runtime.progress import bars
    from mnncorrect.tl import read_model
    from mnncorrect.tl._project import project_stored

    reading = Reading(
        batch_key, layer, use_raw, None, subset, batch_from_barcode=batch_from_barcode
    )
    refuse_two_keys(reading)
    resources = Resources(memory_limit)
    with (
        atomic.whole_file(output, force=force, inputs=[input, model]) as temporary,
        prepare.limits(resources, output) as limits,
        opened([input], reading, limits) as loaded,
        bars(reporting) as progress,
    ):
        keys = Keys(key_added)
        places = record.places_of_correction(keys, adjusted_basis or keys.embedding)
        replacing.refuse(loaded.adata, places, force=force)
        project_stored(
            loaded.adata,
            read_model(model),
            key=loaded.key,
            as_new=as_new,
            gene_key=gene_key,
            strip_versions=strip_versions,
            counts=counts,
            max_missing=max_missing,
            neighbors=neighbors,
            recall=recall,
            key_added=key_added,
            adjusted_basis=adjusted_basis,
            progress=progress,
            scratch=limits.scratch,
            block_bytes=limits.block,
            **loaded.source,
            **asdict(computing),
        )
        methods.note_warnings(loaded.adata, key_added)
        h5ad.write(loaded.adata, temporary)
    logger.info("wrote %s", output)
