"""Numbers in the form that ``core`` takes, and the refusal of those that are none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from mnncorrect.core.runtime.mapped import empty_like, fill, let_go, mapping_of
from mnncorrect.core.runtime.threads import row_blocks, rows_per_block

if TYPE_CHECKING:
    import pandas as pd

    from mnncorrect.core.matrix.rows import Matrix


class ValuesWarning(UserWarning):
    """Values are not such as a method is made for."""


# Values looked at together for such that are not finite; keeps the memory of it small.
CHECKED_CELLS = 1 << 20


def as_floats(values: Any, where: str) -> Matrix:
    """Bring an array or sparse matrix of numbers into a form that ``core`` takes.

    Dense, CSR or CSC (other sparse formats become CSR) without duplicate entries, in float32 or
    float64 of this machine's byte order. ``values`` itself where it has that form. ``where`` names
    it in errors; a sparse matrix with places outside of it is refused.
    """
    floats: Any = values
    if sp.issparse(values):
        if floats.format not in ("csr", "csc"):
            floats = floats.tocsr()
        refuse_inconsistent(floats, where)
        if not floats.has_canonical_format:
            floats = floats.copy()
            floats.sum_duplicates()
    elif isinstance(values, np.ndarray):
        floats = np.asarray(values)
    else:
        raise TypeError(
            f"{where} is a {type(values).__name__}; a numpy array or scipy sparse matrix is needed"
        )
    dtype = floats.dtype
    if dtype.kind not in "fiub":
        raise TypeError(f"{where} holds {dtype}; real numbers are needed")
    wanted = np.float64 if dtype.kind == "f" and dtype.itemsize >= 8 else np.float32
    if dtype != wanted and mapping_of(floats) is not None:
        source, floats = floats, empty_like(floats, wanted)
        fill(floats, source.__getitem__, source=source)
        return cast("Matrix", floats)
    return cast("Matrix", floats if dtype == wanted else floats.astype(wanted))


def refuse_inconsistent(matrix: Any, where: str) -> None:
    """Refuse a sparse matrix whose arrays lead out of it: compiled loops would follow them."""
    problem = "" if _pointers_fit(matrix) else "its pointers lead out of it"
    if not problem:
        try:
            matrix.check_format(full_check=True)
        except (ValueError, TypeError) as error:
            problem = str(error)
    if problem:
        raise ValueError(f"{where} is no valid sparse matrix ({problem}); is it damaged?")


def _pointers_fit(matrix: Any) -> bool:
    """Return whether pointers rise from 0 to the number of values at most.

    scipy looks at nothing where the last one is below zero.
    """
    pointers = matrix.indptr
    rising = pointers[0] == 0 and (pointers[1:] >= pointers[:-1]).all()
    return bool(rising and pointers[-1] <= min(len(matrix.indices), len(matrix.data)))


def refuse_non_finite(
    matrix: Matrix,
    cells: pd.Index[Any] | Sequence[str],
    columns: pd.Index[Any] | Sequence[str],
    where: str,
) -> None:
    """Raise if a value is NaN or infinite; say how many there are and where the first is."""
    rows, positions, values = non_finite(matrix)
    if not len(rows):
        return
    first = np.lexsort((positions, rows))[0]
    n_nan = int(np.isnan(values).sum())
    raise ValueError(
        f"{where} has {len(rows)} values that are not finite ({n_nan} NaN, "
        f"{len(rows) - n_nan} infinite) in {len(np.unique(rows))} cells; the first is cell "
        f"{str(cells[rows[first]])!r}, {str(columns[positions[first]])!r}; "
        "leave out these cells, or fill in the values"
    )


def non_finite(matrix: Matrix) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return rows, columns and values of the entries that are not finite."""
    if not sp.issparse(matrix):
        n_columns = matrix.shape[1]

        def look(block: slice) -> NDArray[Any]:
            found = np.flatnonzero(~np.isfinite(matrix[block]))
            let_go(matrix)
            return np.asarray(found + block.start * n_columns)

        blocks = row_blocks(len(matrix), rows_per_block(n_columns, cells=CHECKED_CELLS))
        at = np.concatenate([look(block) for block in blocks])
        rows, columns = np.divmod(at, n_columns)
        return rows, columns, matrix[rows, columns]
    at = np.flatnonzero(~np.isfinite(matrix.data))
    outer = np.searchsorted(matrix.indptr, at, side="right") - 1
    inner = matrix.indices[at]
    rows, columns = (outer, inner) if matrix.format == "csr" else (inner, outer)
    return rows, columns, matrix.data[at]
