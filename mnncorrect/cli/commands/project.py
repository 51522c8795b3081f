"""``mnncorrect project``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mnncorrect.cli.options.given import arguments_of, columns
from mnncorrect.cli.options.shared import (
    BatchFromBarcode,
    BatchKey,
    ComputingOptions,
    Engine,
    Force,
    Input,
    KeyAdded,
    Output,
    Reporting,
    StripVersions,
    UseRaw,
)
from mnncorrect.cli.runtime.command import command


@command
def project(
    *,
    input: Input,  # noqa: A002
    model: Annotated[Path, typer.Option("--model", "-m")],
    output: Output,
    force: Force = False,
    batch_key: BatchKey = None,
    batch_from_barcode: BatchFromBarcode = False,
    as_new: Annotated[bool, typer.Option("--as-new")] = False,
    label_key: str | None = None,
    layer: str | None = None,
    use_raw: UseRaw = False,
    gene_key: str | None = None,
    strip_versions: StripVersions = False,
    subset: list[str] | None = None,
    counts: bool | None = None,
    max_missing: float = 0.2,
    neighbors: Engine = "auto",
    recall: float = 0.995,
    key_added: KeyAdded = "mnn",
    adjusted_basis: str | None = None,
    memory_limit: str = "2G",
    computing: ComputingOptions,
    reporting: Reporting,
) -> None:
    """Place new cells in an existing correction.

    The training cells do not move. Counts are normalized as the training data were, and cells are
    projected on the components of the model. If the model contains their batch, cells move as the
    cells of this batch around them did. A new batch is merged onto the training cells by the
    calibrated method. Batches are placed independently of each other.

    Results: places in obsm["X_mnn"], places before the correction in obsm["X_mnn_uncorrected"],
    confidence in obs["mnn_confidence"], details in uns["mnn"]. With --label-key, labels in
    obs["mnn_label"] and the probability that they are right in obs["mnn_label_probability"].

    Example: mnncorrect project query.h5ad --model atlas.mnn -o projected.h5ad

    Example: mnncorrect project query.h5ad --model atlas.mnn -b sample --as-new -o projected.h5ad

    Example: mnncorrect project query.h5ad --model atlas.mnn --label-key cell_type -o labeled.h5ad

    Parameters
    ----------
    model : MODEL.mnn
        Model file, as written by --save-model or `mnncorrect model`.
    batch_key : COLUMN
        Column of obs that names the batch. Default: the column of the training data, or all cells
        as one new batch. May be repeated, as for correct.
    as_new
        Treat all batches as new, even those that the model contains.
    label_key : COLUMN
        Column of labels in the model, such as cell types. New cells get the label of the training
        cells around them, or 'unassigned'.
    gene_key : COLUMN
        Column of var with the gene names that are matched with the model. Default: var_names.
    counts
        Treat the values as counts, or not. Counts are normalized as the training data were.
        Default: detected.
    max_missing
        Largest share of the components (0 to 1) that missing genes may account for. Missing genes
        are predicted from the others.
    adjusted_basis : NAME
        Key in obsm of the result. Default: X_ and --key-added.
    """
    asked = locals()
    from mnncorrect import tl
    from mnncorrect._io.input_parts import Selection
    from mnncorrect._run import changed_files
    from mnncorrect.cli.runtime.progress import bars

    selection = Selection(
        columns(batch_key),
        layer,
        use_raw,
        subset=subset or (),
        batch_from_barcode=batch_from_barcode,
    )
    options = arguments_of(tl.project, asked)
    del options["model"]
    how: dict[str, Any] = {"force": force, "memory_limit": memory_limit}
    with bars(reporting) as progress:
        changed_files.project_file(
            input, model, output, selection, **how, **options, progress=progress
        )
