"""Values that stay in a file, as an object holds them in the place of arrays.

Such a value is a dataset of h5py or an array of zarr, or a sparse matrix as
``anndata.io.sparse_dataset`` gives it. Nothing here opens a file.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mnncorrect._adata.numbers import refuse_inconsistent

# Bytes that a block of rows takes at most, and that are transposed at a time, by default.
BLOCK_BYTES = 1 << 25
# An array that says it is larger than this, in bytes, must take some of that in its file: so many
# times less at least (gzip packs to a thousandth at most).
HOLLOW, PACKED_TIMES = 1 << 28, 5000
# Packages whose arrays are in a file.
LIBRARIES = frozenset({"h5py", "zarr"})


def is_stored_sparse(value: Any) -> bool:
    """Return whether a value is a sparse matrix in a file."""
    from anndata.abc import CSCDataset, CSRDataset

    return isinstance(value, CSRDataset | CSCDataset)


def is_stored(value: Any) -> bool:
    """Return whether a value is in a file rather than in memory."""
    return is_stored_sparse(value) or type(value).__module__.partition(".")[0] in LIBRARIES


def element(value: Any) -> Any:
    """Return what a stored value is in its file."""
    return value.group if is_stored_sparse(value) else value


def dtype_of(value: Any) -> np.dtype[Any]:
    """Return the type of the numbers of a stored matrix."""
    return element(value)["data"].dtype if is_stored_sparse(value) else value.dtype


def readable(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type that numbers of a sparse matrix are read as.

    scipy has no float16, and knows the order of bytes of this machine only.
    """
    native = dtype.newbyteorder("=")
    return np.dtype(np.float32) if native == np.float16 else native


def n_stored(value: Any) -> int:
    """Return how many numbers of a matrix are stored, in a file or in memory."""
    if is_stored_sparse(value):
        return int(element(value)["data"].shape[0])
    return int(value.nnz if hasattr(value, "nnz") else np.prod(value.shape))


def refuse_hollow(value: Any) -> None:
    """Refuse an element of a file that would fill memory with what the file does not hold."""
    if not hasattr(value, "dtype"):
        for name in value:
            refuse_hollow(value[name])
        return
    size = int(value.nbytes)
    if size <= HOLLOW:
        return
    stored = value.id.get_storage_size() if hasattr(value, "id") else value.nbytes_stored()
    if size > PACKED_TIMES * stored:
        raise ValueError(
            f"{value.name} says that it holds {size:,} bytes, and takes {stored:,} in its file; is "
            "it damaged?"
        )


def load(value: Any) -> Any:
    """Read a stored value into memory."""
    refuse_hollow(element(value))
    if not is_stored_sparse(value):
        return value[...]
    matrix = value.to_memory()
    refuse_inconsistent(matrix, element(value).name)
    return matrix
