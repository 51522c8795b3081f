"""The neighbor graph of a corrected embedding, made by scanpy of neighbors that are found here."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mnncorrect._adata import check_object, take_embedding
from mnncorrect._adata.presets import usual_preset
from mnncorrect.tl._gmm import representation

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from mnncorrect.tl._neighbors import NeighborsTransformer

# Fewer cells than this make no graph: its layout starts from eigenvectors.
FEWEST_IN_GRAPH = 5


def embedding_of(
    adata: AnnData, use_rep: str | None, key_added: str, n_neighbors: int
) -> tuple[str, NDArray[Any]]:
    """Read the embedding that a graph is made of; refuse too few cells or neighbors."""
    check_object(adata)
    use_rep = representation(adata, key_added) if use_rep is None else use_rep
    x = take_embedding(adata, use_rep)
    _refuse_no_graph(len(x), n_neighbors)
    return use_rep, x


def search_of(
    x: NDArray[Any], n_neighbors: int, neighbors: str, **options: Any
) -> NeighborsTransformer:
    """Return the search that scanpy is given; ``neighbors`` is refused before scanpy is loaded."""
    from mnncorrect.core.neighbors.engines import resolve_engine

    resolve_engine(neighbors, len(x), len(x), x.shape[1])
    from mnncorrect.tl._neighbors import NeighborsTransformer

    found: Any = neighbors
    return NeighborsTransformer(min(n_neighbors, len(x)), neighbors=found, **options)


def _refuse_no_graph(n_cells: int, n_neighbors: int) -> None:
    if n_cells < FEWEST_IN_GRAPH:
        raise ValueError(
            f"there are {n_cells} cells; a neighbor graph needs {FEWEST_IN_GRAPH} or more"
        )
    if n_neighbors < 2:
        raise ValueError(f"n_neighbors is {n_neighbors}; it must be from 2 up")


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


def graph_of(
    x: NDArray[Any], use_rep: str, search: NeighborsTransformer, graph: str, random_state: int
) -> AnnData:
    """Let scanpy make the graph in an object that has the embedding and nothing else."""
    import anndata
    import pandas as pd

    cells = pd.DataFrame(index=pd.RangeIndex(len(x)).astype(str))
    scratch = anndata.AnnData(obs=cells, obsm={use_rep: x})
    with quiet_scanpy() as sc:
        sc.pp.neighbors(
            scratch, use_rep=use_rep, transformer=search, key_added=graph, random_state=random_state
        )
    return scratch
