"""Neighbors and a map in two dimensions, by scanpy, on a corrected embedding."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mnncorrect._adata import Draft, Keys, origin_of, take_embedding
from mnncorrect._adata.arguments import Seed, take_rep, take_seed
from mnncorrect._log import logger
from mnncorrect._prepare.parameter_texts import shared_parameters
from mnncorrect.core.runtime.compute import compute_options
from mnncorrect.core.runtime.unset import SEED, UNSET, Unset
from mnncorrect.tl._graph import neighbor_graph, quiet_scanpy

if TYPE_CHECKING:
    from anndata import AnnData

    from mnncorrect.core.runtime.compute import ComputeOptions


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
        compute = compute_options(
            neighbors=neighbors, recall=recall, random_state=random_state, n_jobs=n_jobs
        )
        return _place_on_map(adata, reference, n_neighbors, key_added, compute, copy=copy)
    _check(min_dist, spread, maxiter)
    keys = Keys(key_added)
    graph = keys.neighbors
    use_rep, search, scratch = neighbor_graph(
        adata, use_rep, key_added, n_neighbors, neighbors,
        recall=recall, random_state=random_state, n_jobs=n_jobs,
        told="computing a UMAP; it first compiles its loops (10 s or more)",
    )  # fmt: skip
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
        *scratch.obsm[use_rep].shape, use_rep, search.n_neighbors, search.engine_,
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


def _place_on_map(
    adata: AnnData,
    reference: AnnData,
    n_neighbors: int,
    key_added: str,
    compute: ComputeOptions,
    *,
    copy: bool,
) -> AnnData | None:
    """Place new cells on the UMAP of the correction that they were placed in."""
    # These bring numba.
    from mnncorrect._prepare.reference import placed_basis, same_reference
    from mnncorrect.core.model.maps import place_on_map
    from mnncorrect.tl._model import fit_model

    keys = Keys(key_added)
    if n_neighbors < 1:
        raise ValueError(f"n_neighbors is {n_neighbors}; it must be from 1 up")
    found = same_reference(fit_model, adata, reference, key_added)
    if found.drawn is None:
        raise KeyError(
            f"the reference has no map: its obsm has no {keys.drawn!r}; draw it first with "
            "mnncorrect umap (tl.umap)"
        )
    basis = placed_basis(adata, key_added)
    cells = take_embedding(adata, basis)
    places = place_on_map(
        found.corrected, found.drawn, cells, n_neighbors=n_neighbors, compute=compute
    )
    logger.info(
        "placed %d cells on the map of %d cells of the reference, each among its %d nearest",
        len(places), len(found.drawn), min(n_neighbors, len(found.drawn)),
    )  # fmt: skip
    draft = Draft(adata, keys.map, origin=origin_of(adata, "obsm", basis))
    draft.put("obsm", keys.drawn, places)
    params = {"use_rep": basis, "n_neighbors": n_neighbors, "neighbors": compute.engine}
    draft.record(params | {"recall": compute.recall, "on_reference": True}, compute.random_state)
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
    if not spread > 0:
        raise ValueError(f"spread is {spread}; it must be above 0")
    if not 0 <= min_dist <= spread:
        raise ValueError(f"min_dist is {min_dist}; it must be from 0 up to spread, {spread}")
    if maxiter is not None and maxiter < 1:
        raise ValueError(f"maxiter is {maxiter}; it must be from 1 up, or None")
