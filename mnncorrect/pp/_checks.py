"""Checks that the functions share, of what the core does not check itself."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from mnncorrect._adata.lookup import listed
from mnncorrect._adata.numbers import ValuesWarning
from mnncorrect._adata.record import ARRAY
from mnncorrect._log import logger, warn_caller
from mnncorrect._prepare.decide import JudgedGroups, MixedValues, UnclearValues, decide, described
from mnncorrect._wording import Worded
from mnncorrect.core.matrix.value_kinds import Statistics, look

if TYPE_CHECKING:
    from mnncorrect._adata import Batches
    from mnncorrect.core.matrix.value_kinds import Judged

# Cells looked at to see what values are, in all batches and in each at least.
CELLS_LOOKED_AT, LEAST_LOOKED_AT = 1000, 25


def name_of(given: Any) -> str | None:
    """Name what was given by a column's name; say so where it was given as an array."""
    return given if given is None or isinstance(given, str) else ARRAY


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
        raise ValueError(
            f"use_rep={use_rep!r} corrects an embedding as it is, so there is no use for what "
            f"concerns genes: {', '.join(changed)}; leave it out, or leave out use_rep"
        )


def possible_comps(n_comps: int | None, n_cells: int, n_genes: int) -> int | None:
    """Cap the number of components at what there are, with a warning."""
    most = min(n_cells, n_genes)
    if n_comps is None or n_comps <= most:
        return n_comps
    warn_caller(
        f"n_comps is {n_comps}, but {n_cells} cells of {n_genes} genes have no more than {most} "
        "components; these are computed"
    )
    return most


def judge_and_warn(
    matrix: Any, where: str, batches: Batches, *, warns: bool = True
) -> Judged | None:
    """Judge the values of a correction by some cells of each batch, and warn of unfit ones.

    A matrix in a file is not checked. ``warns``: whether unfit values are warned of.
    Returns what the values are; ``None``: they are of several kinds, or do not tell.
    """
    if not (isinstance(matrix, np.ndarray) or sp.issparse(matrix)):
        return None

    each = max(LEAST_LOOKED_AT, CELLS_LOOKED_AT // len(batches.names))
    order = np.argsort(batches.codes, kind="stable")
    ends = np.cumsum(batches.sizes)
    rows = np.concatenate(
        [
            order[end - size + np.arange(min(size, each)) * size // min(size, each)]
            for end, size in zip(ends.tolist(), batches.sizes.tolist(), strict=True)
        ]
    )
    values: Any = matrix
    some = values[np.sort(rows)]
    looks = Statistics()
    looks.add(0, look(some if isinstance(some, np.ndarray) else some.tocsr()))
    groups = JudgedGroups(batches.codes[np.sort(rows)], batches.names)

    def tell(text: str, *, proven: bool) -> None:
        if not warns:
            return
        if proven:
            warn_caller(text, ValuesWarning)
        else:
            logger.warning("%s", text)

    try:
        found = decide(looks, where, groups=groups, can_tell=False)
    except UnclearValues:
        return None
    except MixedValues as error:
        tell(str(error), proven=error.proven)
        return None
    except ValueError as error:
        tell(str(error), proven=True)
        return None
    what = described(found.judged)
    if found.judged.kind == "counts":
        what = "whole numbers, which look like counts"
    if found.counts:
        start = f"{where} holds {what}; the method expects log-normalized values: "
        text = Worded(
            f"{start}scanpy.pp.normalize_total, then scanpy.pp.log1p",
            command_line=f"{start}leave out --no-counts, and run normalizes them",
        )
        tell(text, proven=found.judged.proven)
    elif found.factors:
        totals = listed(found.totals)
        tell(
            f"{where} holds log values that were scaled to different totals: {totals}", proven=True
        )
    elif found.warnings:
        tell(found.warnings[0], proven=True)
    return found.judged
