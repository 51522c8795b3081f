"""Leiden clusters of a corrected embedding, by scanpy and igraph."""

from __future__ import annotations

import importlib.util
import math
from numbers import Real
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from mnncorrect._adata import Draft, Keys, origin_of
from mnncorrect._adata.arguments import Seed, take_rep, take_seed
from mnncorrect._log import logger
from mnncorrect._prepare.parameter_texts import shared_parameters
from mnncorrect._wording import UsageError
from mnncorrect.core.runtime.unset import SEED, UNSET, Unset
from mnncorrect.tl._graph import neighbor_graph, quiet_scanpy

if TYPE_CHECKING:
    from anndata import AnnData


@shared_parameters
def leiden(
    adata: AnnData,
    *,
    resolution: float = 1.0,
    use_rep: str | None = None,
    use: str | None = None,
    n_neighbors: int = 15,
    neighbors: Literal["auto", "exact", "partition", "pynndescent", "cuvs"] = "auto",
    recall: float = 0.995,
    key_added: str = "mnn",
    random_state: Seed = SEED,
    rng: Seed | Unset = UNSET,
    n_jobs: int | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Cluster the cells by the Leiden algorithm on a neighbor graph.

    This package searches the neighbors and passes them to scanpy (:class:`NeighborsTransformer`).
    scanpy computes the graph, and its igraph flavor the clusters [1]_. The package igraph must be
    installed.

    Parameters
    ----------
    resolution
        Resolution of the clustering, above 0. Larger gives more clusters.
    use_rep
        Embedding in ``obsm``. ``None``: that of the correction ``key_added``, ``X_mnn``, or else
        its components, ``X_mnn_pca``.
    n_neighbors
        Number of neighbors of each cell in the graph, including itself. Larger gives fewer
        clusters.
    random_state
        Random seed of the clustering and of an approximate search.

    Returns
    -------
    ``None``, or the copy, with these fields:

    ``obs["mnn_leiden"]``
        Clusters: categorical strings, ``"0"`` is the largest.
    ``uns["mnn_leiden"]``
        ``params`` and ``provenance``.

    Raises
    ------
    ImportError
        If igraph is not installed.
    {errors of embeddings}; if there are fewer than 5 cells.

    See Also
    --------
    gmm : Clusters by a Gaussian mixture, without a graph.

    References
    ----------
    .. [1] Traag, Waltman & van Eck (2019), *From Louvain to Leiden: guaranteeing well-connected
       communities*, Scientific Reports 9, doi:10.1038/s41598-019-41695-z.

    Examples
    --------
    >>> import anndata
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> adata = anndata.AnnData(np.zeros((90, 1)))
    >>> adata.obsm["X_mnn"] = rng.normal(size=(90, 2))
    >>> adata.obsm["X_mnn"][:30] += 20
    >>> leiden(adata, resolution=0.01)
    >>> adata.obs["mnn_leiden"].value_counts().to_dict()
    {'0': 60, '1': 30}
    """
    refuse_no_leiden(resolution)
    use_rep = take_rep(use_rep, use)
    random_state = take_seed(random_state, rng)
    keys = Keys(key_added)
    use_rep, search, scratch = neighbor_graph(
        adata, use_rep, key_added, n_neighbors, neighbors,
        recall=recall, random_state=random_state, n_jobs=n_jobs,
    )  # fmt: skip
    with quiet_scanpy() as sc:
        sc.tl.leiden(
            scratch,
            resolution=resolution,
            flavor="igraph",
            directed=False,
            n_iterations=2,
            neighbors_key=keys.neighbors,
            random_state=random_state,
        )
    clusters = _largest_first(scratch.obs["leiden"])
    logger.info(
        "%d Leiden clusters of %d cells (resolution %g) by obsm[%r], with %d neighbors each (%s)",
        len(clusters.categories), scratch.n_obs, resolution, use_rep, search.n_neighbors,
        search.engine_,
    )  # fmt: skip
    draft = Draft(adata, keys.leiden, origin=origin_of(adata, "obsm", use_rep))
    draft.put("obs", keys.leiden, pd.Series(clusters, index=adata.obs_names))
    params = {
        "use_rep": use_rep,
        "resolution": resolution,
        "flavor": "igraph",
        "n_iterations": 2,
        "n_neighbors": search.n_neighbors,
        "neighbors": search.engine_,
        "recall": recall,
    }
    draft.record(params, random_state)
    return draft.commit(copy=copy)


def refuse_no_leiden(resolution: Any) -> None:
    """Refuse a resolution that is none, and clusters that igraph cannot find as it is missing."""
    is_number = isinstance(resolution, Real) and not isinstance(resolution, bool)
    if not is_number or not 0 < float(resolution) < math.inf:
        raise UsageError(f"the resolution of `leiden` is {resolution!r}; give a number above 0")
    if importlib.util.find_spec("igraph") is None:
        raise ImportError(
            "`leiden` needs the package igraph, which is not installed here; install it (pip "
            "install igraph), or leave out `leiden`"
        )


def _largest_first(groups: pd.Series[Any]) -> pd.Categorical:
    """Name clusters by number, the largest first."""
    codes, _ = pd.factorize(groups)
    rank = np.empty(codes.max() + 1, dtype=np.int64)
    rank[np.argsort(-np.bincount(codes), kind="stable")] = np.arange(len(rank))
    names = np.array([str(number) for number in range(len(rank))], dtype=object)
    return pd.Categorical(names[rank[codes]], categories=names)
