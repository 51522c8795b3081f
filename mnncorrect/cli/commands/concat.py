"""``mnncorrect concat``."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from mnncorrect.cli.options.shared import (
    BatchFromBarcode,
    Force,
    GeneKey,
    Layer,
    MemoryLimit,
    Output,
    StripVersions,
    Subset,
    UseRaw,
)
from mnncorrect.cli.runtime.command import command

if TYPE_CHECKING:
    from mnncorrect._io.sheet import Sheet

logger = logging.getLogger("mnncorrect")


@command
def concat(
    *,
    inputs: Annotated[
        list[Path] | None,
        Argument(
            metavar="INPUT",
            help="Files and folders; each is a batch. Formats: h5ad, 10x .h5, h5mu"
            " (FILE::MODALITY), loom, zarr (folder or zip), and folders with matrix.mtx.",
        ),
    ] = None,
    output: Output,
    sheet: Annotated[
        Path | None,
        Option(
            "--sheet",
            metavar="SAMPLES.tsv",
            help="Table of the inputs (.tsv or .csv). Column path: input, relative to the table;"
            " column batch: name of its batch. Other columns are covariates and become"
            " columns of obs.",
        ),
    ] = None,
    force: Force = False,
    gene_key: GeneKey = None,
    strip_versions: StripVersions = False,
    use_raw: UseRaw = False,
    layer: Layer = None,
    subset: Subset = None,
    batch_from_barcode: BatchFromBarcode = False,
    memory_limit: MemoryLimit = "2G",
) -> None:
    """Join several files into one; each file is a batch.

    Genes are matched by name, and genes that all inputs have are kept. Cell names get the name of
    their input as a suffix. Columns of obs are united; layers that all inputs have are kept.
    obs["mnn_file"] names the input of each cell. With --sheet, obs["batch"] has the batch, and
    covariates are columns of obs. uns["mnn_concat"] has the warnings. Files are read and written in
    blocks; matrix folders are read whole, one at a time.

    Example: mnncorrect concat donor1.h5 donor2.h5 donor3/filtered_feature_bc_matrix -o all.h5ad

    Example: mnncorrect concat --sheet samples.tsv --gene-key gene_ids -o all.h5ad
    """
    import numpy as np

    from mnncorrect._adata import provenance, record
    from mnncorrect._adata.barcodes import LIBRARY_KEY
    from mnncorrect._adata.batches import warn_of_missing
    from mnncorrect._adata.lookup import told_sizes
    from mnncorrect._adata.warned import note_warnings
    from mnncorrect._io import atomic, concat, h5ad, input_parts
    from mnncorrect._io.sheet import read_sheet
    from mnncorrect._log import noted
    from mnncorrect._prepare.first_look import judge_inputs
    from mnncorrect._prepare.inputs import SHEET_KEY, opened_inputs
    from mnncorrect._prepare.limits import limits, size_in_bytes

    if bool(inputs) == (sheet is not None):
        msg = "give either the inputs, or a table of them with --sheet"
        raise typer.BadParameter(msg)
    if use_raw and layer is not None:
        msg = "--use-raw and --layer exclude each other; give one of them"
        raise typer.BadParameter(msg)
    listed: Sheet | None = None if sheet is None else read_sheet(sheet)
    paths = inputs or [] if listed is None else listed.paths
    read = [*paths, *([] if sheet is None else [sheet])]
    with (
        noted(),
        atomic.whole_file(output, force=force, inputs=read) as temporary,
        limits(size_in_bytes(memory_limit), output) as limit,
        opened_inputs(paths, limit.scratch, None if listed is None else listed.about) as several,
    ):
        judge_inputs(several, limit, layer=layer, use_raw=use_raw, can_tell=False)
        adata = concat.concatenate(
            several,
            input_parts.Store(limit.scratch, limit.block),
            gene_key=gene_key,
            strip_versions=strip_versions,
            use_raw=use_raw,
            layer=layer,
            subset=subset or (),
            from_barcode=batch_from_barcode,
        )
        key = input_parts.FILE_KEY if listed is None else SHEET_KEY
        if batch_from_barcode:
            key = LIBRARY_KEY
        sizes = {str(name): int(n) for name, n in adata.obs[key].value_counts(sort=False).items()}
        warn_of_missing(key, sizes, np.array(list(sizes.values())))
        made = {"params": {}, "provenance": provenance(0)}
        note_warnings(adata, record.JOINED, made)
        h5ad.write(adata, temporary)
        told = told_sizes(sizes)
        logger.info("%d cells x %d genes; obs[%r]: %s", *adata.shape, key, told)
    logger.info("wrote %s", output)
