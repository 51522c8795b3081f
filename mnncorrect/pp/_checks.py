"""Checks that the functions share, of what the core does not check itself."""

from __future__ import annotations

import inspect
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mnncorrect.core.matrix.rows import Matrix

# Cells looked at to see whether values are counts.
LOOKED_AT = 256


def check_order(merge_order: Any, *, auto_merge: bool) -> None:
    """Refuse an order of merges that is both given and to be found."""
    if auto_merge and merge_order is not None:
        msg = "auto_merge=True and a merge_order exclude one another; give one of them"
        raise ValueError(msg)


def name_of(given: Any) -> str | None:
    """Name what was given by a column's name; say so where it was given as an array."""
    return given if given is None or isinstance(given, str) else "an array"


def changed_of(function: Callable[..., Any], given: Mapping[str, Any]) -> list[str]:
    """Name the parameters of a function that were given as something else than their default."""
    parameters = inspect.signature(function).parameters
    return [
        name
        for name, value in given.items()
        if value is not parameters[name].default
        and not (isinstance(value, int | float | str) and value == parameters[name].default)
    ]


def refuse_about_genes(
    function: Callable[..., Any], use_rep: str, given: Mapping[str, Any]
) -> None:
    """Refuse parameters that have no meaning for an embedding, where they were given."""
    changed = changed_of(function, given)
    if changed:
        msg = (
            f"use_rep={use_rep!r} corrects an embedding as it is, so there is no use for what "
            f"concerns genes: {', '.join(changed)}; leave it out, or leave out use_rep"
        )
        raise ValueError(msg)


def possible_comps(n_comps: int | None, n_cells: int, n_genes: int) -> int | None:
    """Cap the number of components at what there are, with a warning."""
    most = min(n_cells, n_genes)
    if n_comps is None or n_comps <= most:
        return n_comps
    warnings.warn(
        f"n_comps is {n_comps}, but {n_cells} cells of {n_genes} genes have no more than {most} "
        "components; these are computed",
        stacklevel=3,
    )
    return most


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
