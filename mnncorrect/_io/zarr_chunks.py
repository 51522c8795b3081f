"""Chunks of zarr arrays that are not stored: left out because they hold zeros only, or lost.

Zarr reads a chunk that is not stored as the array's fill value, zero. Zarr 3 leaves out chunks of
zeros when it writes, and nothing in the metadata says whether it did. So a missing chunk is taken
as one of zeros only where nothing else is likely or nothing depends on it:

- a single number, such as ``uns["n"] = 0``;
- an inner chunk of a shard: the shard's own index says that it was left out;
- the mask of a nullable column of which no chunk is stored: nothing is masked;
- the codes of a categorical column with one category, of which no chunk is stored;
- the pointers of a sparse matrix without entries;
- a one-dimensional array of numbers of which no chunk is stored, such as a column of zeros; of
  columns, it is warned.

In all other places a missing chunk is refused: names, text, codes, sparse and dense matrices, and
arrays of which some chunks are stored. It is refused everywhere in a tree that stores the zeros of
any other array.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from mnncorrect._adata.lookup import listed
from mnncorrect._io.foreign import python_command
from mnncorrect._log import logger

if TYPE_CHECKING:
    from mnncorrect._io.zarr_tree import Array, ZarrTree

SPARSE_ENCODINGS = frozenset({"csr_matrix", "csc_matrix"})
# Arrays up to this size, in bytes, are read to learn whether zeros are stored.
SMALL_ARRAY = 1 << 22


def refuse_lost_chunks(tree: ZarrTree, group: Any) -> None:
    """Refuse a tree of which chunks are missing that do not stand for zeros."""
    left_out = []
    for array in tree.arrays.values():
        there, all_of_it = tree.stored.get(array.name, [0, 0])[0], math.prod(array.grid)
        encoding = tree.attributes.get(array.name, {}).get("encoding-type")
        if there >= all_of_it or encoding == "null":  # which is how anndata says: nothing
            continue
        if there or not _may_be_left_out(tree, array):
            _refuse(tree, array, f"{all_of_it - there:,} of {all_of_it:,} chunks")
        left_out.append(array)
    if not left_out:
        return
    keeps = _keeps_zeros(tree, group)
    if keeps is not None:
        _refuse(tree, left_out[0], "all chunks", f", while the zeros of /{keeps} are stored")
    columns = [
        f"/{array.name}"
        for array in left_out
        if array.name.startswith(("obs/", "var/")) and not _part_of_column(tree, array)
    ]
    if columns:
        logger.warning(
            "%s: no chunk is stored of %s: read as zeros, which zarr leaves out when it writes; if "
            "they were not zeros, copy the data again",
            tree.path,
            listed(columns, 8),
        )


def _refuse(tree: ZarrTree, array: Array, missing: str, more: str = "") -> None:
    load = f"import anndata; anndata.read_zarr({str(tree.path)!r}).write_h5ad('OUT.h5ad')"
    command = python_command(load)
    raise ValueError(
        f"{missing} of /{array.name} of {tree.path} are missing{more}; copy it again; if chunks of "
        f"zeros were left out on purpose, make an h5ad file: {command}"
    )


def _may_be_left_out(tree: ZarrTree, array: Array) -> bool:
    """Return whether an array of which nothing is stored may be one of zeros."""
    if not array.shape:
        return True
    if array.fill is None or not array.numeric or len(array.shape) > 1:
        return False
    place, _, name = array.name.rpartition("/")
    encoding = tree.attributes.get(place, {}).get("encoding-type")
    if encoding in SPARSE_ENCODINGS:
        return name == "indptr" and tree.arrays[f"{place}/data"].shape == (0,)
    categories = _categories(tree, array)
    return categories is None or categories.shape == (1,)


def _categories(tree: ZarrTree, array: Array) -> Array | None:
    """Return the categories that an array has codes of; ``None``: it has no codes."""
    place, _, name = array.name.rpartition("/")
    if name == "codes":
        return tree.arrays.get(f"{place}/categories")
    # As anndata wrote them before 0.8.
    older = tree.attributes.get(array.name, {}).get("categories")
    return tree.arrays.get(f"{place}/{older}") if isinstance(older, str) else None


def _part_of_column(tree: ZarrTree, array: Array) -> bool:
    """Return whether an array is one of several that a column consists of."""
    place = array.name.rpartition("/")[0]
    kind = str(tree.attributes.get(place, {}).get("encoding-type"))
    return kind.startswith(("categorical", "nullable"))


def _keeps_zeros(tree: ZarrTree, group: Any) -> str | None:
    """Name an array that holds nothing but zeros and is stored; ``None``: there is none."""
    for array in tree.arrays.values():
        there = tree.stored.get(array.name, [0, 0])[0]
        if there < math.prod(array.grid) or not array.numeric or not math.prod(array.shape):
            continue
        if 8 * math.prod(array.shape) <= SMALL_ARRAY:
            values = np.asarray(group[array.name][...])
            if array.fill == 0 and not values.any():
                return array.name
    return None
