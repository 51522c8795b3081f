"""Checks that the functions share, of what the core does not check itself."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from mnncorrect.core.linalg import Matrix

# Cells looked at to see whether values are counts.
LOOKED_AT = 256


def check_count(name: str, value: float, least: int) -> None:
    """Refuse what is not a whole number from ``least`` up."""
    if value != int(value) or value < least:
        msg = f"{name} is {value}; it must be a whole number from {least} up"
        raise ValueError(msg)


def check_order(merge_order: Any, *, auto_merge: bool) -> None:
    """Refuse an order of merges that is both given and to be found."""
    if auto_merge and merge_order is not None:
        msg = "auto_merge=True and a merge_order exclude one another; give one of them"
        raise ValueError(msg)


def name_of(given: Any) -> str | None:
    """Name what was given by a column's name; say so where it was given as an array."""
    return given if given is None or isinstance(given, str) else "an array"


def warn_of_counts(matrix: Matrix, where: str, *, stacklevel: int = 3) -> None:
    """Warn if values look like counts, for which the method is not made."""
    head: Any = matrix[:LOOKED_AT]
    values = head if isinstance(head, np.ndarray) else head.data
    if values.size and (values == np.floor(values)).all() and values.max() > 1:
        warnings.warn(
            f"{where} holds whole numbers, as counts are; the method expects log-normalised "
            "values: scanpy.pp.normalize_total, then scanpy.pp.log1p",
            stacklevel=stacklevel,
        )
