"""Integration of an embedding, called as scanpy's integrations are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mnncorrect._adata import check_object
from mnncorrect._adata.arguments import Seed, take_rep, take_seed
from mnncorrect._adata.other_arrays import as_given, in_memory, is_dask, is_on_card
from mnncorrect._adata.presets import PCA_KEYS, pca_key
from mnncorrect._prepare.method_registry import all_methods, method_named
from mnncorrect._prepare.parameter_texts import shared_parameters
from mnncorrect.core.runtime.unset import SEED, UNSET, Unset
from mnncorrect.pp._checks import changed_of

if TYPE_CHECKING:
    from anndata import AnnData

    from mnncorrect.core.runtime.threads import Progress

# Parameters that are no options of a method; and those that say where an object has its embeddings.
OF_THE_CALL = ("adata", "key", "basis", "method", "rng")
PLACES = ("basis", "adjusted_basis", "key_added", "copy")


@shared_parameters
def mnn_integrate(
    adata: AnnData | NDArray[np.floating[Any]] | pd.DataFrame,
    key: str | Sequence[Any] | NDArray[Any] | pd.Series[Any] | pd.DataFrame,
    *,
    basis: str = "X_pca",
    adjusted_basis: str = "X_mnn",
    method: str = "calibrated",
    reference: str | None = None,
    n_neighbors: int = 20,
    prop_neighbors: float | None = None,
    ndist: float = 3.0,
    min_batch_size: float | None = 0.0,
    merge_order: str | Sequence[Any] | None = None,
    auto_merge: bool = False,
    restrict: str | Sequence[bool] | NDArray[np.bool_] | None = None,
    label_key: str | Sequence[Any] | NDArray[Any] | None = None,
    keep: str | Sequence[Any] | NDArray[Any] = (),
    neighbors: Literal["auto", "exact", "partition", "pynndescent", "cuvs"] = "auto",
    recall: float = 0.995,
    sketch: int | str = "auto",
    key_added: str = "mnn",
    random_state: Seed = SEED,
    rng: Seed | Unset = UNSET,
    n_jobs: int | None = None,
    progress: Progress | None = None,
    copy: bool = False,
) -> AnnData | NDArray[Any] | pd.DataFrame | None:
    """Correct an embedding by mutual nearest neighbors.

    A replacement for scanpy's ``harmony_integrate`` and ``scanorama_integrate`` with the same call
    [1]_. Run PCA first, then this function, then ``sc.pp.neighbors`` on the result.

    Parameters
    ----------
    adata
        Object with the embedding. Or the embedding itself, an array or ``DataFrame`` of cells x
        dimensions. Then the corrected embedding is returned, and ``basis``, ``adjusted_basis``,
        ``key_added`` and ``copy`` are not allowed.
    key
        Column of ``obs`` that names the batches: integer, boolean, string or categorical. The
        order of categories, or else of the sorted values, is the order of the batches. Or several
        columns, from the outermost to the innermost: batches are the combinations that occur, and
        with ``method="fast"`` those that differ in the innermost only are merged first. With an
        array: the batch of each row, as an array, list or ``Series``; or the columns of a
        ``DataFrame``.
    basis
        Embedding in ``obsm`` to correct, unchanged. If ``"X_pca"`` is missing, ``"pca"`` of scanpy
        2 is used and this is logged.
    adjusted_basis
        Key in ``obsm`` for the result.
    method
        ``"calibrated"``: :func:`mnn_calibrated`, which moves cells only where the batch effect is
        distinguishable from noise, and by default merges the most similar batches first.
        ``"fast"``: :func:`mnn_fast`. ``reference`` applies to ``"calibrated"`` only;
        ``n_neighbors``, ``prop_neighbors``, ``ndist``, ``min_batch_size``, ``auto_merge``,
        ``restrict`` and ``sketch`` apply to ``"fast"`` only.
    merge_order
        Batch names in the order of merging, the reference first; or nested lists for a tree; or the
        same as text, ``"A,B,C"`` or ``"((A,B),(C,D))"``. ``"balanced"``: similar batches first, in
        rounds that halve their number, which is faster for many batches. ``None``: most similar
        batch next, starting from the reference or the largest batch (``"calibrated"``); order of
        the batches (``"fast"``). The order is recorded.
    key_added
        Prefix of all other keys.
    random_state
        Random seed of an approximate search and of a sketch.

    Returns
    -------
    ``None``, or the copy, with these fields:

    ``obsm["X_mnn"]``
        The corrected embedding, in the float type of the given one. For an array, this is returned
        as a new array.
    ``obs["mnn_confidence"]``
        Probability that a cell has a counterpart in another batch, 0 to 1; see
        :func:`mnn_calibrated`. Not with ``method="fast"``.
    ``obsp["mnn_pairs"]``, ``uns["mnn"]``
        Pairs, merges, parameters and provenance, as in the method.

    Warns
    -----
    UserWarning
        If an approximate search finds few of the pairs; with ``method="fast"``, if a batch has
        fewer cells than ``n_neighbors``.

    Raises
    ------
    KeyError
        If the embedding or a column does not exist.
    TypeError
        If values or masks are of the wrong kind.
    ValueError
        As in the method; if ``method`` is not one of these two, or does not have a parameter.

    Notes
    -----
    This is :func:`mnn_calibrated`, or :func:`mnn_fast`, with ``use_rep=basis``.

    References
    ----------
    .. [1] {Haghverdi}.

    Examples
    --------
    >>> import anndata
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> cells = np.repeat(rng.normal(size=(2, 10)) * 4, 60, axis=0) + rng.normal(size=(120, 10))
    >>> cells[1::2] += 1.0  # every other cell is in a second batch
    >>> adata = anndata.AnnData(np.ones((120, 1)), obsm={"X_pca": cells})
    >>> adata.obs["batch"] = ["first", "second"] * 60
    >>> mnn_integrate(adata, "batch")
    >>> adata.obsm["X_mnn"].shape
    (120, 10)
    >>> adata.uns["mnn"]["params"]["method"]
    'calibrated'
    >>> corrected = mnn_integrate(cells, ["first", "second"] * 60)
    >>> bool((corrected == adata.obsm["X_mnn"]).all())
    True
    """
    given = locals()
    given |= {"random_state": take_seed(random_state, rng), "basis": take_rep(basis) or PCA_KEYS[0]}
    own = _own_options(method, {n: value for n, value in given.items() if n not in OF_THE_CALL})
    integrate = method_named(method).function
    if isinstance(adata, np.ndarray | pd.DataFrame) or is_dask(adata) or is_on_card(adata):
        for name, values in (("label_key", label_key), ("keep", keep)):
            if isinstance(values, str):
                raise TypeError(
                    f"{name} is {values!r}; with an array, give the value of each of its rows"
                )
        idle = changed_of(mnn_integrate, {name: given[name] for name in PLACES})
        if idle:
            raise ValueError(
                f"an array has no use for {', '.join(idle)}; leave it out: a new array is returned"
            )
        holder = _as_object(adata, key)
        columns = list(holder.obs)
        batch_key = columns[0] if len(columns) == 1 else columns
        integrate(holder, batch_key, use_rep=PCA_KEYS[0], **own)
        corrected = holder.obsm[adjusted_basis]
        if isinstance(adata, pd.DataFrame):
            return pd.DataFrame(corrected, index=adata.index, columns=adata.columns)
        return as_given(corrected, adata)
    check_object(adata)
    return integrate(adata, key, use_rep=pca_key(adata, given["basis"]), **own)


def _own_options(method: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Choose the options that the method has, and refuse others that were given."""
    able = {one.name: one for one in all_methods() if "use_rep" in one.parameters}
    if method not in able:
        raise ValueError(f"method is {method!r}; choose one of {', '.join(able)}")
    has = able[method].parameters
    foreign = changed_of(mnn_integrate, {n: value for n, value in given.items() if n not in has})
    if foreign:
        owners = [name for name, one in able.items() if set(foreign) <= set(one.parameters)]
        instead = f", or set method={owners[0]!r}" if owners else ""
        raise ValueError(
            f"method={method!r} has no use for {', '.join(foreign)}: leave it out{instead}"
        )
    return {name: value for name, value in given.items() if name in has}


def _as_object(embedding: Any, labels: Any) -> AnnData:
    """Hold an embedding and the labels of its rows in an object, to be corrected in it."""
    import anndata

    values = np.asarray(in_memory(embedding))
    if values.ndim != 2:
        raise ValueError(f"the array has {values.ndim} dimensions; give cells x dimensions")
    several = isinstance(labels, pd.DataFrame) or (np.ndim(labels) == 2 and len(labels))
    table = pd.DataFrame(labels if several else {"labels": _one_dimension(labels)})
    if len(table) != len(values):
        raise ValueError(
            f"there are {len(table)} labels for {len(values)} cells; give the batch of each row of "
            "the array"
        )
    cells = pd.RangeIndex(len(table)).astype(str)
    table = table.set_axis(cells).rename(columns=str)
    return anndata.AnnData(obs=table, obsm={PCA_KEYS[0]: values})


def _one_dimension(labels: Any) -> Any:
    if isinstance(labels, str) or np.ndim(labels) != 1:
        raise TypeError(
            f"key is {labels!r}; with an array, give the batch of each of its rows, as an array or "
            "list of labels"
        )
    # The labels belong to rows by their order, whatever index they have.
    return labels.array if isinstance(labels, pd.Series) else labels
