"""Arrays of Dask and of graphics cards (CuPy): taken as numpy's, and given back as they came."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray


def is_dask(value: Any) -> bool:
    """Return whether a value is a Dask array; Dask is not imported for that."""
    arrays = sys.modules.get("dask.array")
    return arrays is not None and isinstance(value, arrays.Array)


def is_on_card(value: Any) -> bool:
    """Return whether a value is an array in the memory of a graphics card, as CuPy has them."""
    return hasattr(value, "__cuda_array_interface__") and callable(getattr(value, "get", None))


def in_memory(value: Any) -> Any:
    """Return an array of Dask, or of a graphics card, as one of numpy; others unchanged."""
    if is_dask(value):
        value = value.compute()
    return value.get() if is_on_card(value) else value


def as_given(made: NDArray[Any], given: Any) -> Any:
    """Return a result of cells as the kind of array that ``given`` is.

    A Dask array has the same blocks of cells.
    """
    if is_dask(given):
        from dask.array import from_array

        return from_array(made, chunks=(given.chunks[0], made.shape[1:]))
    if is_on_card(given):
        return sys.modules[type(given).__module__.partition(".")[0]].asarray(made)
    return made


def lazy_reader(value: Any) -> Callable[[slice], Any]:
    """Give what computes rows of a Dask array, by the scheduler that is set; dense or CSR."""

    def read(block: slice) -> Any:
        some = value[block].compute()
        return some if isinstance(some, np.ndarray) else some.tocsr()

    return read
