"""Integration of an embedding, called as scanpy's integrations are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from mnncorrect.pp._fast import mnn_fast

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from anndata import AnnData
    from numpy.typing import NDArray

    from mnncorrect.core.threads import Progress


def mnn_integrate(
    adata: AnnData,
    key: str | Sequence[str],
    *,
    basis: str = "X_pca",
    adjusted_basis: str = "X_mnn",
    n_neighbors: int = 20,
    prop_neighbors: float | None = None,
    ndist: float = 3.0,
    min_batch_size: float | None = 0.0,
    merge_order: str | Sequence[Any] | None = None,
    auto_merge: bool = False,
    restrict: str | Sequence[bool] | NDArray[np.bool_] | None = None,
    neighbors: Literal["auto", "exact", "partition", "pynndescent"] = "auto",
    recall: float = 0.995,
    key_added: str = "mnn",
    random_state: int = 0,
    n_jobs: int | None = None,
    progress: Progress | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Correct an embedding by mutual nearest neighbours [1]_.

    Called as scanpy's ``harmony_integrate`` and ``scanorama_integrate`` are, and takes their
    place: run PCA first, then this, then find neighbours in the result.

    Parameters
    ----------
    adata
        Has the embedding.
    key
        Column of ``obs`` that names the batches: integer, boolean, string or categorical. The
        order of categories, or else of the sorted values, is the order of the batches. Or several
        columns, from the outermost to the innermost: batches are the combinations that occur, and
        those that differ in the innermost only are merged first.
    basis
        Embedding in ``obsm`` to correct, as it is.
    adjusted_basis
        Key in ``obsm`` for the result.
    n_neighbors
        Neighbours in each direction. More gives more pairs and smoother corrections, and ties
        looser matches together.
    prop_neighbors
        Neighbours as a share of the batch, 0 to 1, where that is more than ``n_neighbors``.
    ndist
        Bandwidth of the smoothing, in distances to the middle one of a cell's nearest paired
        cells. Larger is smoother; above 1, that no cell is left without any.
    min_batch_size
        Merges whose relative batch size is below this are left uncorrected: 0 corrects all, above
        1 none. ``None``: the size is not measured.
    merge_order
        Batch names in the order of merging, the reference first; or nested lists for a tree; or
        the same as text, ``"A,B,C"`` or ``"((A,B),(C,D))"``. ``"balanced"``: similar batches
        first, in rounds that halve their number, which is quicker for many batches. ``None``: the
        order of the batches. What was done is recorded.
    auto_merge
        Whether to merge always the two with most pairs between them instead.
    restrict
        Cells that pairs may be taken from: a boolean column of ``obs``, or a mask; ``None``: all.
        All cells are corrected.
    neighbors
        Search: ``"exact"``; ``"partition"`` or ``"pynndescent"``, which are approximate;
        ``"auto"`` takes one by the number of cells, and records which.
    recall
        Share of the true neighbours that ``"partition"`` is to find, above 0, at most 1. Higher
        takes longer. The other searches do not heed it.
    key_added
        What the names of all other results begin with.
    random_state
        Seed of an approximate search.
    n_jobs
        Threads; ``None``: all CPUs that the process may use. Results do not depend on it with
        exact neighbours.
    progress
        Called with the name of a stage and the share of it that is done.
    copy
        Whether to return a changed copy instead of changing ``adata``.

    Returns
    -------
    ``None``, or the copy, with these fields:

    ``obsm["X_mnn"]``
        The corrected embedding, in the float type of the given one.
    ``obsp["mnn_pairs"]``, ``uns["mnn"]``
        Pairs, merges, lost variance, parameters and provenance, as :func:`mnn_fast` leaves them.

    Warns
    -----
    UserWarning
        If a batch has fewer cells than ``n_neighbors``; if an approximate search finds few of the
        pairs.

    Raises
    ------
    KeyError
        If the embedding or a column is not there.
    TypeError
        If values or masks are of the wrong kind.
    ValueError
        As :func:`mnn_fast`.

    Notes
    -----
    This is :func:`mnn_fast` with ``use_rep=basis``.

    References
    ----------
    .. [1] Haghverdi, Lun, Morgan & Marioni (2018), *Batch effects in single-cell RNA-sequencing
       data are corrected by matching mutual nearest neighbors*, Nature Biotechnology 36,
       421-427, doi:10.1038/nbt.4091.

    Examples
    --------
    >>> import anndata
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> cells = np.repeat(rng.normal(size=(2, 5)) * 4, 30, axis=0) + rng.normal(size=(60, 5))
    >>> cells[1::2] += 2.0
    >>> adata = anndata.AnnData(np.ones((60, 1)), obsm={"X_pca": cells})
    >>> adata.obs["batch"] = ["first", "second"] * 30
    >>> mnn_integrate(adata, "batch", n_neighbors=5)
    >>> adata.obsm["X_mnn"].shape
    (60, 5)
    """
    return mnn_fast(
        adata,
        key,
        use_rep=basis,
        n_neighbors=n_neighbors,
        prop_neighbors=prop_neighbors,
        ndist=ndist,
        min_batch_size=min_batch_size,
        merge_order=merge_order,
        auto_merge=auto_merge,
        restrict=restrict,
        neighbors=neighbors,
        recall=recall,
        key_added=key_added,
        adjusted_basis=adjusted_basis,
        random_state=random_state,
        n_jobs=n_jobs,
        progress=progress,
        copy=copy,
    )
