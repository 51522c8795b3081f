"""Layers that are written into an h5ad file block by block, without ever being held whole."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from mnncorrect._adata.draft import refuse_non_finite_result
from mnncorrect._io.atomic import unwritten
from mnncorrect._io.h5ad import COMPRESSION
from mnncorrect._io.hdf5 import hdf5_file
from mnncorrect._io.pieces import dense_chunk, new_dense
from mnncorrect._io.zarr_rows import new_array

if TYPE_CHECKING:
    import numpy as np

    from mnncorrect._io.zarr_scratch import ZarrScratch


def in_zarr(
    shared: ZarrScratch,
    name: str,
    shape: tuple[int, int],
    dtype: np.dtype[Any],
    blocks: Iterable[tuple[slice, NDArray[Any]]],
) -> dict[str, Any]:
    """Write a dense layer into a scratch folder of zarr; return it by its place in an output."""
    layer = new_array(shared.group(), f"layer_{name}", shape, dtype, dense_chunk(shape))
    _fill(layer, name, blocks)
    return {f"layers/{name}": layer}


def add_layer(
    path: Path,
    name: str,
    shape: tuple[int, int],
    dtype: np.dtype[Any],
    blocks: Iterable[tuple[slice, NDArray[Any]]],
) -> None:
    """Add a dense layer to an h5ad file, as anndata would write it; every row is in one block."""
    try:
        with hdf5_file(path, "r+") as file:
            _fill(new_dense(file["layers"], name, shape, dtype, **COMPRESSION), name, blocks)
    except (OSError, RuntimeError) as error:
        raise unwritten(path, error) from error


def _fill(layer: Any, name: str, blocks: Iterable[tuple[slice, NDArray[Any]]]) -> None:
    for rows, values in blocks:
        refuse_non_finite_result(values, f"layers[{name!r}]")
        layer[rows] = values
