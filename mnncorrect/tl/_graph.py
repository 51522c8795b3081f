"""The neighbor graph of a corrected embedding, made by scanpy of neighbors that are found here."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mnncorrect._adata import Keys, check_object, take_embedding
from mnncorrect._adata.presets import usual_preset
from mnncorrect._log import logger
from mnncorrect.tl._gmm import representation

if TYPE_CHECKING:
    from anndata import AnnData

    from mnncorrect.tl._neighbors import NeighborsTransformer

# Fewer cells than this make no graph: its layout starts from eigenvectors.
FEWEST_IN_GRAPH = 5


@contextlib.contextmanager
def quiet_scanpy() -> Iterator[Any]:
    """Give scanpy with its usual defaults and one thread of BLAS, and hide its warnings.

    Such as that a graph in several pieces is laid out piece by piece, or that a seed makes the
    layout take one thread. What it raises is raised.
    """
    from mnncorrect.core.runtime.threads import single_blas

    with warnings.catch_warnings(action="ignore"):
        import scanpy

        # What scanpy and umap-learn import brings a BLAS of its own, to be held as well.
        import umap  # noqa: F401

        with usual_preset(), single_blas():
            yield scanpy


def neighbor_graph(
    adata: AnnData,
    use_rep: str | None,
    key_added: str,
    n_neighbors: int,
    neighbors: str,
    *,
    told: str = "",
    **options: Any,
) -> tuple[str, NeighborsTransformer, AnnData]:
    """Let scanpy make the graph of an embedding in an object that has nothing else.

    ``told`` is logged when nothing is refused. ``options``: those of the search. Returns the name
    of the embedding, the search, and the object, which has the graph under its final key.
    """
    import anndata
    import pandas as pd

    from mnncorrect.core.neighbors.engines import resolve_engine

    check_object(adata)
    use_rep = representation(adata, key_added) if use_rep is None else use_rep
    x = take_embedding(adata, use_rep)
    if len(x) < FEWEST_IN_GRAPH:
        raise ValueError(
            f"there are {len(x)} cells; a neighbor graph needs {FEWEST_IN_GRAPH} or more"
        )
    if n_neighbors < 2:
        raise ValueError(f"n_neighbors is {n_neighbors}; it must be from 2 up")
    # Refused before scanpy is loaded.
    resolve_engine(neighbors, len(x), len(x), x.shape[1])
    from mnncorrect.tl._neighbors import NeighborsTransformer

    engine: Any = neighbors
    search = NeighborsTransformer(min(n_neighbors, len(x)), neighbors=engine, **options)
    if told:
        logger.info("%s", told)
    cells = pd.DataFrame(index=pd.RangeIndex(len(x)).astype(str))
    scratch = anndata.AnnData(obs=cells, obsm={use_rep: x})
    with quiet_scanpy() as sc:
        sc.pp.neighbors(
            scratch, use_rep=use_rep, transformer=search, random_state=options["random_state"],
            key_added=Keys(key_added).neighbors,
        )  # fmt: skip
    return use_rep, search, scratch
