"""``mnncorrect pca``."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import Annotated

from typer import Option

from mnncorrect.cli.options.shared import (
    Computing,
    Force,
    Input,
    MemoryLimit,
    NComps,
    Output,
    Resources,
    key_name,
)
from mnncorrect.cli.runtime.command import command

logger = logging.getLogger("mnncorrect")


@command
def pca(
    *,
    input: Input,  # noqa: A002
    output: Output,
    force: Force = False,
    layer: Annotated[str, Option("--layer", metavar="NAME", help="Layer to read, or X.")] = "mnn",
    n_comps: NComps = 50,
    key_added: Annotated[
        str,
        Option(
            "--key-added",
            metavar="NAME",
            callback=key_name,
            help="Scores are written to obsm['X_NAME'].",
        ),
    ] = "mnn_pca",
    computing: Computing,
    memory_limit: MemoryLimit = "2G",
) -> None:
    """Compute principal components of corrected expression.

    Values are read in blocks; the rest of the file is copied. Results have scanpy's layout:
    obsm["X_mnn_pca"], varm["mnn_pca"] and uns["mnn_pca"].

    Example: mnncorrect pca corrected.h5ad -o with_pca.h5ad
    """
    from mnncorrect import pp
    from mnncorrect._adata import record
    from mnncorrect._io import atomic, h5ad
    from mnncorrect.cli import replacing
    from mnncorrect.cli.prepare import by_rows, limits

    with (
        atomic.whole_file(output, force=force, inputs=[input]) as temporary,
        limits(Resources(memory_limit=memory_limit), output) as limit,
        h5ad.opened(input) as adata,
    ):
        replacing.refuse(adata, record.places_of_components(key_added), force=force)
        values = None if layer == "X" and "X" not in adata.layers else layer
        with by_rows(adata, {"layer": values, "use_raw": False}, limit):
            pp.pca(adata, layer=values, n_comps=n_comps, key_added=key_added, **asdict(computing))
        h5ad.write(adata, temporary)
    logger.info("wrote %s", output)
