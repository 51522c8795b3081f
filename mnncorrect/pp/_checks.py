"""Checks of parameters that the corrections share."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

if TYPE_CHECKING:
    from mnncorrect.core.linalg import Matrix

# Cells looked at to see whether values are counts.
LOOKED_AT = 256


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Refuse a value that is not one of the choices."""
    if value not in choices:
        msg = f"{name} is {value!r}; choose one of {', '.join(choices)}"
        raise ValueError(msg)


def check_merging(
    *,
    n_neighbors: int,
    prop_neighbors: float | None,
    merge_order: Any,
    auto_merge: bool,
) -> None:
    """Refuse values out of range among the parameters of finding pairs and ordering merges."""
    if n_neighbors != int(n_neighbors) or n_neighbors < 1:
        msg = f"n_neighbors is {n_neighbors}; it must be a whole number from 1 up"
        raise ValueError(msg)
    if prop_neighbors is not None and not 0 < prop_neighbors <= 1:
        msg = f"prop_neighbors is {prop_neighbors}; it is a share, above 0 and at most 1"
        raise ValueError(msg)
    if auto_merge and merge_order is not None:
        msg = "auto_merge=True and a merge_order exclude one another; give one of them"
        raise ValueError(msg)


def warn_of_counts(matrix: Matrix, where: str) -> None:
    """Warn if values look like counts, for which the method is not made."""
    head: Any = matrix[:LOOKED_AT]
    values = head.data if sp.issparse(matrix) else np.asarray(head)
    if values.size and (values == np.floor(values)).all() and values.max() > 1:
        warnings.warn(
            f"{where} holds whole numbers, as counts are; the method expects log-normalised "
            "values: scanpy.pp.normalize_total, then scanpy.pp.log1p",
            stacklevel=3,
        )
