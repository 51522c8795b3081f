"""Neighbors and a map in two dimensions, by scanpy, on a corrected embedding."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mnncorrect._adata import Draft, Keys, origin_of
from mnncorrect._adata.arguments import Seed, take_rep, take_seed
from mnncorrect._log import logger
from mnncorrect._prepare.parameter_texts import shared_parameters
from mnncorrect.core.runtime.unset import SEED, UNSET, Unset
from mnncorrect.tl._graph import embedding_of, graph_of, quiet_scanpy, search_of

if TYPE_CHECKING:
    from anndata import AnnData


@shared_parameters
def umap(
    adata: AnnData,
    *,
    use_rep: str | None = None,
    use: str | None = None,
    reference: AnnData | None = None,
    n_neighbors: int = 15,
    min_dist: float = 0.5,
    spread: float = 1.0,
    maxiter: int | None = None,
    neighbors: Literal["auto", "exact", "partition", "pynndescent", "cuvs"] = "auto",
    recall: float = 0.995,
    key_added: str = "mnn",
    random_state: Seed = SEED,
    rng: Seed | Unset = UNSET,
    n_jobs: int | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Compute a UMAP of the cells.

    This package searches the neighbors and passes them to scanpy (:class:`NeighborsTransformer`).
    scanpy computes the graph and the UMAP [1]_.

    Parameters
    ----------
    use_rep
        Embedding in ``obsm``. ``None``: that of the correction ``key_added``, ``X_mnn``, or else
        its components, ``X_mnn_pca``.
    reference
        Corrected object with a map, in whose model the cells of ``adata`` were placed
        (:func:`project`). Then its map does not change: each new cell is placed at the weighted
        mean of its ``n_neighbors`` nearest reference cells on the map.
    n_neighbors
        Number of neighbors of each cell in the graph, including itself. Larger shows broader
        structure.
    min_dist
        Least distance of cells on the map, in units of ``spread``. Smaller makes clusters denser.
    spread
        Scale of the map, above 0.
    maxiter
        Number of iterations of the layout; ``None``: 500, or 200 for more than 10,000 cells.
    random_state
        Random seed of the layout and of an approximate search.
    n_jobs
        Number of threads of the search; ``None``: all available CPUs. Results do not depend on it,
        except for ``"pynndescent"``. The layout always uses one thread, because results would
        differ otherwise.

    Returns
    -------
    ``None``, or the copy, with these fields:

    ``obsm["X_mnn_umap"]``
        The map, cells x 2, float32.
    ``obsp["mnn_neighbors_distances"]``, ``obsp["mnn_neighbors_connectivities"]``
        Neighbor graph, sparse cells x cells, as written by ``sc.pp.neighbors``.
    ``uns["mnn_neighbors"]``
        Record of the graph, for ``neighbors_key="mnn_neighbors"`` of scanpy.
    ``uns["mnn_umap"]``
        ``params`` and ``provenance``.

    With ``reference``, only the map and ``uns["mnn_umap"]``.

    Raises
    ------
    {errors of embeddings}; if there are fewer than 5 cells; if ``reference`` is not the correction
        that the cells were placed in.

    Notes
    -----
    scanpy computes graph and layout with umap-learn. It imports pynndescent, which compiles at its
    first import on a machine (about 20 seconds of CPU time). umap-learn also compiles loops in each
    process (about 10 seconds). The search of pynndescent, which compiles for more than a minute, is
    not used.

    References
    ----------
    .. [1] McInnes, Healy & Melville (2018), *UMAP: Uniform Manifold Approximation and Projection
       for Dimension Reduction*, arXiv:1802.03426.

    Examples
    --------
    >>> import anndata
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> adata = anndata.AnnData(np.zeros((60, 1)))
    >>> adata.obsm["X_mnn"] = rng.normal(size=(60, 5))
    >>> umap(adata, n_neighbors=10, maxiter=20)
    >>> adata.obsm["X_mnn_umap"].shape
    (60, 2)
    """
    use_rep = take_rep(use_rep, use)
    random_state = take_seed(random_state, rng)
    if reference is not None:
        _refuse_with_reference(use_rep=use_rep, min_dist=min_dist, spread=spread, maxiter=maxiter)
        from mnncorrect.tl._map_of_new import put_on_map  # it brings numba

        return put_on_map(
            adata,
            reference,
            n_neighbors=n_neighbors,
            neighbors=neighbors,
            recall=recall,
            key_added=key_added,
            random_state=random_state,
            n_jobs=n_jobs,
            copy=copy,
        )
    use_rep, x = embedding_of(adata, use_rep, key_added, n_neighbors)
    _check(min_dist, spread, maxiter)
    search = search_of(
        x, n_neighbors, neighbors, recall=recall, random_state=random_state, n_jobs=n_jobs
    )
    keys = Keys(key_added)
    graph = keys.neighbors
    logger.info("computing a UMAP; it first compiles its loops (10 s or more)")
    scratch = graph_of(x, use_rep, search, graph, random_state)
    with quiet_scanpy() as sc:
        sc.tl.umap(
            scratch,
            min_dist=min_dist,
            spread=spread,
            maxiter=maxiter,
            neighbors_key=graph,
            random_state=random_state,
        )
    logger.info(
        "map of %d cells in %d dimensions of obsm[%r], with %d neighbors each (%s)",
        len(x), x.shape[1], use_rep, search.n_neighbors, search.engine_,
    )  # fmt: skip

    draft = Draft(adata, keys.map, origin=origin_of(adata, "obsm", use_rep))
    found = {
        name: dict(value) if name == "params" else value
        for name, value in scratch.uns[graph].items()
    }
    draft.put("uns", graph, found)
    for name in ("distances", "connectivities"):
        draft.put("obsp", f"{graph}_{name}", scratch.obsp[f"{graph}_{name}"])
    draft.put("obsm", keys.drawn, scratch.obsm["X_umap"].astype(np.float32))
    params = {
        "use_rep": use_rep,
        "n_neighbors": search.n_neighbors,
        "min_dist": min_dist,
        "spread": spread,
        "maxiter": maxiter,
        "neighbors": search.engine_,
        "recall": recall,
    }
    draft.record(params, random_state)
    return draft.commit(copy=copy)


def _refuse_with_reference(**given: Any) -> None:
    """Refuse what has no meaning where no map is drawn."""
    usual = inspect.signature(umap).parameters
    for name, value in given.items():
        if value != usual[name].default:
            raise ValueError(
                f"`{name}` has no effect with `reference`, whose map does not change; leave one of "
                "them out"
            )


def _check(min_dist: float, spread: float, maxiter: int | None) -> None:
    problems = {
        f"spread is {spread}; it must be above 0": not spread > 0,
        f"min_dist is {min_dist}; it must be from 0 up to spread, {spread}": (
            not 0 <= min_dist <= spread
        ),
        f"maxiter is {maxiter}; it must be from 1 up, or None": maxiter is not None and maxiter < 1,
    }
    for msg, is_so in problems.items():
        if is_so:
            raise ValueError(msg)
