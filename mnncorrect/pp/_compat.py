"""The call of ``scanpy.external.pp.mnn_correct``, carried out by the classic method."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import scipy.sparse as sp
from anndata import AnnData
from numpy.typing import NDArray

from mnncorrect._adata import as_floats, check_object, refuse_non_finite, take_batches, take_matrix
from mnncorrect._adata.lookup import listed
from mnncorrect._log import logger, warn_caller
from mnncorrect.core.merging.plans import parse_merge_order
from mnncorrect.core.methods.classic import mnn_classic
from mnncorrect.core.runtime.checks import check_count
from mnncorrect.core.runtime.compute import compute_options
from mnncorrect.pp._compat_results import angles_of, pair_tables, together, with_values
from mnncorrect.pp._corrections import few_cells_text

if TYPE_CHECKING:
    import pandas as pd


def mnn_correct(
    *datas: AnnData | NDArray[Any] | sp.spmatrix,
    var_index: Collection[str] | None = None,
    var_subset: Collection[str] | None = None,
    batch_key: str = "batch",
    index_unique: str | None = "-",
    batch_categories: Collection[Any] | None = None,
    k: int = 20,
    sigma: float = 1.0,
    cos_norm_in: bool = True,
    cos_norm_out: bool = True,
    svd_dim: int | None = None,
    var_adj: bool = True,
    compute_angle: bool = False,
    mnn_order: Sequence[int] | None = None,
    svd_mode: Literal["svd", "rsvd", "irlb"] = "rsvd",
    do_concatenate: bool = True,
    save_raw: bool = False,
    n_jobs: int | None = None,
    **kwargs: Any,
) -> tuple[Any, list[pd.DataFrame], list[NDArray[np.float64]] | None]:
    """Correct separate batches, with the arguments of ``scanpy.external.pp.mnn_correct``.

    It has the parameters and defaults of that function and returns the same three values. It needs
    no other package. Use :func:`mnncorrect.pp.mnn_classic` in new code.

    Parameters
    ----------
    datas
        The batches: log-normalized expression as matrices (dense or sparse), cells x genes, or as
        AnnData objects, whose ``X`` is used. All have the same genes in the same order. Or one
        AnnData object of several batches, which ``batch_key`` names.
    var_index
        Names of the genes; required for ``var_subset`` with matrices. AnnData objects have them.
    var_subset
        Names of the genes for pairs and distances; ``None``: all. All genes are corrected.
    batch_key
        Column of ``obs`` with the batches: in the concatenated object, or in a single input object.
    index_unique
        Text between the name of a cell and of its batch in the concatenated object; ``None``: names
        do not change.
    batch_categories
        Names of the batches in the concatenated object; ``None``: ``"0"``, ``"1"``, ...
    k
        Neighbors in each direction.
    sigma
        Bandwidth of the Gaussian kernel; it divides the squared distance. The default, 1, is
        wide for cosine-normalized values; :func:`mnncorrect.pp.mnn_classic` has 0.1.
    cos_norm_in, cos_norm_out
        Whether cells are scaled to unit length for distances, and in the values corrected.
    svd_dim
        Number of leading directions of variation that are removed from the corrections; ``None``:
        none.
    var_adj
        Whether to scale corrections so that a batch keeps its spread along them.
    compute_angle
        Whether to return angles, see below.
    mnn_order
        Positions of the batches in the order of merging, the reference first; ``None``: as given.
    svd_mode
        Ignored, because the decomposition is exact.
    do_concatenate
        Whether to return one matrix or object instead of several.
    save_raw
        Whether returned AnnData objects keep the values before correction in ``raw``.
    n_jobs
        Number of threads; ``None``: all available CPUs.
    kwargs
        Ignored; scanpy passes them to an iterative solver.

    Returns
    -------
    datas
        Corrected values, float32 or float64 as the input, in the order the batches were given:
        one matrix or object, or with ``do_concatenate=False`` a list. The input is not changed.
    mnn_list
        One table for each batch, in the same order: the pairs by which it was merged. ``new cell``:
        row in the batch; ``ref cell``: row in the reference, which is the batches merged before, in
        ``mnn_order``; ``original batch``: position of the batch of this cell. The table of the
        first reference is empty.
    angle_list
        One array for each batch, in the same order: for each cell the angle in degrees, 0 to 90,
        between its correction and the plane of the first two left singular vectors of the centered
        reference, computed with the values and genes used for distances. Near 90 the batch effect
        is orthogonal to the biology of the reference, as the method assumes; it is NaN for a cell
        that did not move, and the array of the first reference is empty. ``None`` without
        ``compute_angle``.

    For a single object
        A corrected copy with the same order of cells, or with ``do_concatenate=False`` a list with
        one object for each batch.
    For a single matrix
        ``datas`` unchanged and two empty lists.

    Warns
    -----
    UserWarning
        If a given parameter is ignored; if there is only one matrix.

    Raises
    ------
    KeyError
        If one object is given, and ``batch_key`` is not a column of its ``obs``.
    TypeError
        If a list is given in place of several batches; if matrices and objects are mixed, or
        values are not numbers in memory.
    ValueError
        If genes differ between batches, a batch has fewer than two cells, ``var_subset`` names
        genes that do not exist, ``mnn_order`` is not an order of all batches, values are not
        finite, or a parameter is out of range.

    Notes
    -----
    Numbers differ from those of mnnpy. In mnnpy, smoothing weights come from the inner product of
    two cells instead of their distance, so the weight of a cell *falls* with its similarity. Here
    they are Gaussian in the distance, as in the paper [1]_ and in batchelor. mnnpy also uses
    float32 and approximate singular vectors. Angles are computed after ``svd_dim``; those of mnnpy
    before it.

    References
    ----------
    .. [1] Haghverdi, Lun, Morgan & Marioni (2018), Nature Biotechnology 36, 421-427,
       doi:10.1038/nbt.4091.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> first = rng.gamma(2.0, size=(30, 5))
    >>> corrected, pairs, angles = mnn_correct(first, first + 1.0, k=5)
    >>> corrected.shape, list(pairs[1].columns), angles
    ((60, 5), ['new cell', 'ref cell', 'original batch'], None)
    """
    given = locals()

    whole = batches = None
    if len(datas) == 1:
        if isinstance(datas[0], list | tuple):
            raise TypeError(
                f"a {type(datas[0]).__name__} of {len(datas[0])} batches was given; give each "
                "batch as an argument of its own: mnn_correct(*batches)"
            )
        if _are_objects(datas):
            whole = cast("AnnData", datas[0])
            check_object(whole)
            batches = take_batches(whole, batch_key)
            datas = tuple(whole[batches.codes == b] for b in range(len(batches.names)))
    if len(datas) < 2:
        if datas:
            warnings.warn(
                "one matrix was given, so nothing is corrected; give two batches or more",
                stacklevel=2,
            )
        return datas, [], []
    as_objects = _are_objects(datas)
    _warn_of_idle(given, as_objects=as_objects, several=whole is None)
    check_count("k", k, 1)
    check_count("svd_dim", svd_dim or 0, 0)
    order = _checked_order(mnn_order, len(datas))
    if batch_categories is not None and len(set(batch_categories)) != len(datas):
        raise ValueError(f"batch_categories must be {len(datas)} different names, one a batch")
    matrices = _matrices(datas, as_objects=as_objects)
    mask = _subset_mask(datas, matrices, var_index, var_subset, as_objects=as_objects)
    sizes = np.array([matrix.shape[0] for matrix in matrices])
    names = [str(b) for b in range(len(datas))] if batches is None else batches.names
    few = few_cells_text(names, sizes, k)
    if few is not None:
        warn_caller(few)

    codes = np.repeat(np.arange(len(datas)), sizes)
    sparse = any(sp.issparse(matrix) for matrix in matrices)
    positions = [str(b) for b in range(len(datas))]
    correction = mnn_classic(
        sp.vstack([sp.csr_matrix(m) for m in matrices], format="csr")
        if sparse
        else np.vstack(matrices),
        codes,
        mask=mask,
        correct_all=True,
        n_neighbors=k,
        sigma=sigma,
        cosine_norm_in=cos_norm_in,
        cosine_norm_out=cos_norm_out,
        n_svd=svd_dim or 0,
        adjust_variance=var_adj,
        merge_order=parse_merge_order([str(b) for b in order], positions),
        compute=compute_options(n_jobs=n_jobs),
    )
    logger.info(
        "merged %d batches: %s pairs", len(matrices), [len(m.pairs) for m in correction.merges]
    )
    starts = np.cumsum([0, *sizes])
    corrected = [correction.corrected[codes == b] for b in range(len(datas))]
    angles = None
    if compute_angle:
        angles = angles_of(matrices, corrected, order, mask, cos_norm_out=cos_norm_out)
    tables = pair_tables(correction, codes, starts, order)
    packed: Any = correction.corrected if do_concatenate else corrected
    if as_objects and not do_concatenate:
        packed = with_values(datas, corrected, save_raw=save_raw)
    elif whole is not None and batches is not None:
        in_order = np.empty_like(correction.corrected)
        in_order[np.argsort(batches.codes, kind="stable")] = correction.corrected
        (packed,) = with_values([whole], [in_order], save_raw=save_raw)
    elif as_objects:
        packed = together(
            datas, correction.corrected, batch_key=batch_key, index_unique=index_unique,
            names=batch_categories, save_raw=save_raw,
        )  # fmt: skip
    return packed, tables, angles


def _are_objects(datas: Sequence[Any]) -> bool:
    objects = [isinstance(data, AnnData) for data in datas]
    if any(objects) and not all(objects):
        raise TypeError("AnnData objects and matrices are mixed; give batches of one kind")
    return objects[0]


def _warn_of_idle(given: Mapping[str, Any], *, as_objects: bool, several: bool) -> None:
    """Warn of what was given and has no effect."""
    idle = [f"{name} (the decomposition is exact)" for name in given["kwargs"]]
    if given["svd_mode"] != "rsvd":
        idle.append("svd_mode (the decomposition is exact)")
    if as_objects and given["var_index"] is not None:
        idle.append("var_index (AnnData objects name their genes)")
    if given["save_raw"] and not as_objects:
        idle.append("save_raw (matrices have no raw)")
    if not (as_objects and several and given["do_concatenate"]):
        usual: dict[str, Any] = {"index_unique": "-", "batch_categories": None}
        usual |= {"batch_key": "batch"} if several else {}
        idle += [
            f"{name} (for AnnData objects that are concatenated only)"
            for name, default in usual.items()
            if given[name] is not default and given[name] != default
        ]
    if idle:
        warnings.warn(f"without effect here: {', '.join(idle)}", stacklevel=3)


def _checked_order(mnn_order: Sequence[int] | None, n_batches: int) -> list[int]:
    order = list(range(n_batches)) if mnn_order is None else [int(b) for b in mnn_order]
    if sorted(order) != list(range(n_batches)):
        raise ValueError(
            f"mnn_order is {list(mnn_order or [])}; it must hold every position from 0 to "
            f"{n_batches - 1} once"
        )
    return order


def _matrices(datas: Sequence[Any], *, as_objects: bool) -> list[Any]:
    """Take a checked matrix out of every batch, all of one float type."""
    matrices = []
    for at, data in enumerate(datas):
        if as_objects:
            check_object(data)
            if not data.var_names.equals(datas[0].var_names):
                raise ValueError(
                    f"batch {at} has other genes than batch 0, or in another order; bring them "
                    "together first, as anndata.concat does with join='inner'"
                )
            matrix = take_matrix(data)
        else:
            where = f"batch {at}"
            matrix = as_floats(data, where)
            if matrix.ndim != 2 or matrix.shape[1] != datas[0].shape[1]:
                raise ValueError(
                    f"{where} has shape {matrix.shape}; every batch must be cells x genes with "
                    f"the {datas[0].shape[-1]} genes of batch 0"
                )
            refuse_non_finite(
                matrix,
                [f"row {row}" for row in range(matrix.shape[0])],
                [f"column {column}" for column in range(matrix.shape[1])],
                where,
            )
        if matrix.shape[0] < 2:
            raise ValueError(
                f"batch {at} has {matrix.shape[0]} cells; a batch needs at least two: leave it out"
            )
        matrices.append(matrix)
    dtype = np.result_type(*(matrix.dtype for matrix in matrices))
    return [matrix if matrix.dtype == dtype else matrix.astype(dtype) for matrix in matrices]


def _subset_mask(
    datas: Sequence[Any],
    matrices: Sequence[Any],
    var_index: Collection[str] | None,
    var_subset: Collection[str] | None,
    *,
    as_objects: bool,
) -> NDArray[np.bool_] | None:
    if var_subset is None:
        return None
    if not as_objects and var_index is None:
        raise ValueError(
            "var_subset names genes, so matrices need var_index, the names of their columns"
        )
    names = list(datas[0].var_names) if as_objects else list(var_index or [])
    if len(names) != matrices[0].shape[1]:
        raise ValueError(
            f"var_index names {len(names)} genes; the batches have {matrices[0].shape[1]}"
        )
    wanted = set(var_subset)
    unknown = sorted(wanted.difference(names), key=str)
    if unknown or not wanted:
        what = f"names genes that there are not: {listed(unknown, 5)}" if unknown else "is empty"
        raise ValueError(f"var_subset {what}; give names of genes, or None for all")
    return np.array([name in wanted for name in names])
