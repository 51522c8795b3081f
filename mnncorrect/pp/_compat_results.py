"""What ``mnn_correct`` returns: tables of pairs, angles, and objects with the corrected values."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray

from mnncorrect.core.matrix.rows import cosine_normalize, row_norms
from mnncorrect.core.merging.diagnostics import angles_to_plane

if TYPE_CHECKING:
    from anndata import AnnData

    from mnncorrect.core.merging.loop import Correction


def pair_tables(
    correction: Correction,
    codes: NDArray[np.int64],
    starts: NDArray[np.int64],
    order: Sequence[int],
) -> list[pd.DataFrame]:
    """Make one table a batch of the pairs by which it was merged."""
    # Row of each cell in a reference that is made of the batches in the order of merging.
    in_reference = np.empty(len(codes), np.int64)
    in_reference[np.concatenate([np.flatnonzero(codes == b) for b in order])] = np.arange(
        len(codes)
    )
    nothing = np.empty(0, np.int64)
    pairs = {order[0]: (nothing, nothing)}
    for merge in correction.merges:
        (target,) = merge.right
        pairs[target] = merge.pairs.right, merge.pairs.left
    return [
        pd.DataFrame(
            {
                "new cell": pairs[b][0] - starts[b],
                "ref cell": in_reference[pairs[b][1]],
                "original batch": codes[pairs[b][1]],
            }
        )
        for b in range(len(order))
    ]


def angles_of(
    matrices: Sequence[Any],
    corrected: Sequence[NDArray[Any]],
    order: Sequence[int],
    mask: NDArray[np.bool_] | None,
    *,
    cos_norm_out: bool,
) -> list[NDArray[np.float64]]:
    """Measure each correction's angle to the plane of the reference's first singular vectors."""
    genes = slice(None) if mask is None else mask
    angles = [np.empty(0) for _ in order]
    reference = corrected[order[0]][:, genes].astype(np.float64)
    for target in order[1:]:
        before: Any = matrices[target]
        if cos_norm_out:
            before = cosine_normalize(before, row_norms(before, mask))
        if sp.issparse(matrices[target]):
            before = before.toarray()
        vectors = (corrected[target] - before)[:, genes].astype(np.float64)
        angles[target] = angles_to_plane(vectors, reference)
        reference = np.vstack([reference, corrected[target][:, genes]])
    return angles


def with_values(
    datas: Sequence[AnnData], corrected: Sequence[NDArray[Any]], *, save_raw: bool
) -> list[AnnData]:
    """Put corrected values into copies of the objects."""
    objects = []
    for data, values in zip(datas, corrected, strict=True):
        copy = data.copy()
        if save_raw:
            copy.raw = data.copy()
        copy.X = values
        objects.append(copy)
    return objects


def together(
    datas: Sequence[AnnData],
    corrected: NDArray[Any],
    *,
    batch_key: str,
    index_unique: str | None,
    names: Collection[Any] | None,
    save_raw: bool,
) -> AnnData:
    """Put corrected values into one object of all batches."""
    joined = anndata.concat(
        list(datas),
        label=batch_key,
        keys=[str(b) for b in range(len(datas))] if names is None else list(names),
        index_unique=index_unique,
        merge="same",
    )
    return with_values([joined], [corrected], save_raw=save_raw)[0]
