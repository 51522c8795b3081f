"""``mnncorrect concat``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument

from mnncorrect.cli.options.shared import BatchFromBarcode, Force, Output, StripVersions, UseRaw
from mnncorrect.cli.runtime.command import command


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
    sheet: Path | None = None,
    force: Force = False,
    gene_key: str | None = None,
    strip_versions: StripVersions = False,
    use_raw: UseRaw = False,
    layer: str | None = None,
    subset: list[str] | None = None,
    batch_from_barcode: BatchFromBarcode = False,
    memory_limit: str = "2G",
) -> None:
    """Join several files into one; each file is a batch.

    Genes are matched by name. Genes and layers that all inputs share are kept, and so are all
    columns of obs. Each cell name gets the name of its input as a suffix. Corrected embeddings are
    kept if the inputs are a correction and cells that project placed in its model.

    obs["mnn_file"] has the input of each cell. With --sheet, obs["batch"] has the batch, and
    covariates are columns of obs. uns["mnn_concat"] has the warnings. Files are read and written in
    blocks; matrix folders are read whole, one at a time.

    Example: mnncorrect concat donor1.h5 donor2.h5 donor3/filtered_feature_bc_matrix -o all.h5ad

    Example: mnncorrect concat --sheet samples.tsv --gene-key gene_ids -o all.h5ad
    """
    from mnncorrect._io.input_parts import Selection
    from mnncorrect._run.joining import join_files

    selection = Selection(
        None, layer, use_raw, gene_key, strip_versions, subset or (), batch_from_barcode
    )
    join_files(inputs, output, selection, sheet=sheet, force=force, memory_limit=memory_limit)
