"""``mnncorrect pca``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from typer import Option

from mnncorrect.cli.options.shared import ComputingOptions, Force, Input, Output, key_name
from mnncorrect.cli.runtime.command import command


@command
def pca(
    *,
    input: Input,  # noqa: A002
    output: Output,
    force: Force = False,
    layer: str = "mnn",
    n_comps: Annotated[int, Option(min=1)] = 50,
    key_added: Annotated[str, Option(callback=key_name)] = "mnn_pca",
    computing: ComputingOptions,
    memory_limit: str = "2G",
) -> None:
    """Compute principal components of corrected expression.

    Values are read in blocks; the rest of the file is copied. Results have scanpy's layout:
    obsm["X_mnn_pca"], varm["mnn_pca"] and uns["mnn_pca"].

    Example: mnncorrect pca corrected.h5ad -o with_pca.h5ad

    Parameters
    ----------
    layer : NAME
        Layer to read, or X.
    n_comps
        Number of principal components.
    key_added : NAME
        Scores are written to obsm['X_NAME'].
    """
    from mnncorrect import pp
    from mnncorrect._adata.result_places import places_of_components
    from mnncorrect._prepare.limits import limits, size_in_bytes
    from mnncorrect._prepare.prepared import by_rows
    from mnncorrect._run.changed_files import changed_file

    with (
        limits(size_in_bytes(memory_limit), output) as limit,
        changed_file(input, output, places_of_components(key_added), force=force) as adata,
    ):
        values = None if layer == "X" and "X" not in adata.layers else layer
        with by_rows(adata, {"layer": values, "use_raw": False}, limit):
            pp.pca(adata, layer=values, n_comps=n_comps, key_added=key_added, **asdict(computing))
