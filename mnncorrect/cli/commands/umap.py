"""``mnncorrect umap``."""

from __future__ import annotations

import contextlib
from pathlib import Path

from mnncorrect.cli.options.given import arguments_of
from mnncorrect.cli.options.shared import ComputingOptions, Engine, Force, Input, KeyAdded, Output
from mnncorrect.cli.runtime.command import command


@command
def umap(
    *,
    input: Input,  # noqa: A002
    output: Output,
    force: Force = False,
    use_rep: str | None = None,
    reference: Path | None = None,
    n_neighbors: int = 15,
    min_dist: float = 0.5,
    spread: float = 1.0,
    maxiter: int | None = None,
    neighbors: Engine = "auto",
    recall: float = 0.995,
    key_added: KeyAdded = "mnn",
    computing: ComputingOptions,
) -> None:
    """Compute a UMAP of a corrected embedding.

    Results: map in obsm["X_mnn_umap"]; neighbor graph in obsp["mnn_neighbors_distances"],
    obsp["mnn_neighbors_connectivities"] and uns["mnn_neighbors"], for scanpy's
    neighbors_key="mnn_neighbors". The matrices of the input are copied, not loaded.

    With --reference, new cells are placed on the map of the reference, which does not change.

    Example: mnncorrect umap corrected.h5ad -o mapped.h5ad

    Example: mnncorrect umap placed.h5ad --reference mapped.h5ad -o placed_mapped.h5ad

    Parameters
    ----------
    use_rep : NAME
        Embedding in obsm. Default: that of the correction --key-added, X_mnn, or else its
        components, X_mnn_pca.
    reference : CORRECTED.h5ad
        Corrected file with a map; project placed the cells in its model. Each cell is placed on
        this map, at the weighted mean of its nearest reference cells.
    n_neighbors
        Number of neighbors of each cell in the graph, including itself. Larger shows broader
        structure.
    min_dist
        Least distance between cells on the map. Smaller makes clusters denser.
    spread
        Scale of the map.
    maxiter
        Number of iterations of the layout. Default: 500, or 200 for more than 10000 cells.
    """
    asked = locals()
    from mnncorrect import tl
    from mnncorrect._adata import Keys
    from mnncorrect._adata.result_places import places_of_map
    from mnncorrect._io.result_file import opened_result
    from mnncorrect._run.changed_files import changed_file

    options = arguments_of(tl.umap, asked)
    places, also_read = places_of_map(Keys(key_added)), [] if reference is None else [reference]
    with (
        contextlib.ExitStack() as stack,
        changed_file(input, output, places, force=force, also_read=also_read) as adata,
    ):
        if reference is not None:
            _refuse_model(reference)
            options["reference"] = stack.enter_context(opened_result(reference))
        tl.umap(adata, **options)


def _refuse_model(reference: Path) -> None:
    """Refuse a model, which has no map."""
    from mnncorrect._io.model_file import is_model

    if is_model(reference):
        raise ValueError(
            f"{reference} is a model, which has no map; name the corrected file that it was made "
            "of, after mnncorrect umap: --reference CORRECTED.h5ad"
        )
