"""Arguments of a correction beside the values: read and judged before any work.

Corrections and the plan of a run ask here, so that both refuse the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mnncorrect._adata import Batches, take_labels
from mnncorrect._log import logger
from mnncorrect._prepare.covariates import Covariates, take_covariates, tell_covariates
from mnncorrect._prepare.guides import GUIDING, Known, take_guides, tell_guides
from mnncorrect._prepare.method_registry import ABOUT_GENES, RegisteredMethod
from mnncorrect.core.runtime.checks import RANGES, check_ranges
from mnncorrect.pp._corrections import Task, few_cells, log_task, take_task

if TYPE_CHECKING:
    from numpy.typing import NDArray


# What cannot be given with an embedding.
OF_EXPRESSION = ("layer", "use_raw", *ABOUT_GENES, "write_expression")
# What is worked on for all methods; the other parameters are the method's own.
SHARED = frozenset(
    {*OF_EXPRESSION, "adata", "key", "use_rep", "use", "clusters", "merge_order", "auto_merge",
     "restrict", "label_key", "keep", "neighbors", "recall", "key_added", "adjusted_basis",
     "random_state", "rng", "n_jobs", "progress", "copy"}
)  # fmt: skip
# What a correction reads of the columns of obs to find the order of merges.
ORDERING = ("auto_merge", "restrict", "reference")
# Cells of each side that pairs are sought among in balanced merges: 200,000 cells in 20 batches
# are then corrected in a third of the time, to within 0.07 of their moves (root mean square) of
# what all pairs make of them, and mixed as well.
PAIR_SKETCH = 10_000
# The same for more than the first number of batches, in any order: the second number by the number
# of batches, but at least the third. Otherwise each merge would search all that is merged already,
# and time would grow with the number of batches. In 96 real batches, mixing and purity were equal.
FEW_SKETCHED, ALL_SKETCHED, LEAST_PAIR_SKETCH = 10, 100_000, 2_000
# The same for fewer batches: all cells of a side would take time that grows faster than their
# number. Two real batches of 50,000 cells mixed as well with a fifth of their cells, and kept more
# of their neighbors.
LARGE_SKETCH = 50_000
# What batch_weights says as text where batches weigh as their cells do.
CELLS = "cells"


@dataclass(frozen=True)
class Arguments:
    """Arguments of a correction, as they fit the cells."""

    task: Task  # Batches of all cells, the order of merges, and cells that pairs may be taken from.
    known: Known  # What is known of cells.
    own: Mapping[str, Any]  # The method's own parameters.
    # The cluster of each cell, and the names of the clusters, where the method has them.
    labels: tuple[NDArray[np.int64], Sequence[Any]] | None
    weights: NDArray[np.float64] | None  # Of batches; ``None``: all are the same.
    recorded_weights: Any  # What is recorded of them.
    doubts: tuple[str, ...] = ()  # What to warn of.
    covariates: Covariates | None = None  # What is taken out of expression first.

    @property
    def warnings(self) -> tuple[str, ...]:
        """What cannot be promised of it."""
        warned = () if self.covariates is None else self.covariates.warnings
        return (*self.known.warnings, *warned)


def take_arguments(
    method: RegisteredMethod, given: Mapping[str, Any], batches: Batches | None = None
) -> Arguments:
    """Read arguments of a correction, and refuse those that do not fit the cells.

    ``given``: all parameters of the method; of ``adata``, only ``obs`` is read.
    """
    from mnncorrect.core.neighbors.engines import refuse_engine

    adata = given["adata"]
    if "neighbors" in given:
        refuse_engine(given["neighbors"])
    task = take_task(
        adata,
        given["key"],
        merge_order=given["merge_order"],
        chooses=method.orders_merges,
        batches=batches,
        **{each: given[each] for each in ORDERING if each in given},
    )
    known = take_guides(
        adata, task.batches, **{each: given[each] for each in GUIDING if each in given}
    )
    own = {each: given[each] for each in method.parameters if each not in SHARED}
    if "sketch" in own:
        own["sketch"] = resolve_sketch(own["sketch"], task, given["neighbors"])
    # Words that stand for a number are read elsewhere.
    numbers = {each: value for each, value in {**given, **own}.items() if each in RANGES}
    numbers |= {"n_comps": None} if isinstance(numbers.get("n_comps"), str) else {}
    check_ranges(numbers)
    labels = take_labels(adata, given["clusters"]) if "clusters" in given else None
    weights = recorded = None
    if given.get("use_rep") is None and "batch_weights" in given:
        weights, recorded = take_weights(given["batch_weights"], task.batches)
    covariates = take_covariates(
        adata,
        given.get("regress_out"),
        task.batches,
        {each: given[each] for each in GUIDING if each in given},
    )
    few = few_cells(task, own["n_neighbors"]) if "n_neighbors" in own else None
    doubts = () if few is None else (few,)
    return Arguments(task, known, own, labels, weights, recorded, doubts, covariates)


def log_arguments(arguments: Arguments) -> None:
    """Say in the log what is corrected, and what is known of cells."""
    task, sketch = arguments.task, arguments.own.get("sketch")
    log_task(task)
    tell_guides(arguments.known)
    tell_covariates(arguments.covariates)
    if sketch is not None and len(task.batches.codes) > 2 * sketch:
        logger.info(
            "pairs are searched among %d cells of each side of a merge at most; "
            'sketch="all" searches all cells, as the reference method does',
            sketch,
        )


def take_weights(batch_weights: Any, batches: Batches) -> tuple[NDArray[np.float64] | None, Any]:
    """Work out the weight of each batch (``None``: all are the same), and what is recorded.

    Given as :func:`mnncorrect.core.matrix.pca.batch_weights` takes it, or as text: ``cells``,
    ``A=2,B=1``, or nested names ``((A,B),C)``.
    """
    from mnncorrect.core.matrix.pca import batch_weights as weigh

    if isinstance(batch_weights, str):
        batch_weights = _weights_of_text(batch_weights, batches.names)
    if batch_weights is None or batch_weights is True:
        return None, None
    if isinstance(batch_weights, Mapping):
        batch_weights = {str(name): weight for name, weight in batch_weights.items()}
    weights = weigh(batch_weights, batches.names, batches.sizes)
    recorded = batch_weights
    if not isinstance(batch_weights, bool):
        recorded = json.dumps(batch_weights, default=lambda value: np.asarray(value).tolist())
    return weights, recorded


def _weights_of_text(text: str, names: Sequence[str]) -> Any:
    from mnncorrect.core.merging.plans import parse_nested

    if text == CELLS and CELLS not in names:
        return False
    nested = parse_nested(text, "batch_weights")
    flat = [entry for entry in nested if isinstance(entry, str)]
    if len(flat) < len(nested) or set(flat) <= set(names):
        # One pair of brackets around everything is no level of its own.
        return nested[0] if len(nested) == 1 and isinstance(nested[0], list) else nested
    weights = {}
    for entry in flat:
        name, sign, number = entry.rpartition("=")
        try:
            weights[name] = float(number)
        except ValueError:
            sign = ""
        if not sign:
            raise ValueError(
                f"batch_weights {text!r} cannot be read at {entry!r}; write {CELLS}, A=2,B=1 or "
                "((A,B),C)"
            )
    return weights


def resolve_sketch(sketch: int | str, task: Task, neighbors: str = "auto") -> int | None:
    """Choose how many cells of each side pairs are sought among; ``None``: all."""
    if sketch == "auto":
        n_batches = len(task.batches.names)
        if n_batches > FEW_SKETCHED and (neighbors == "auto" or task.order == "balanced"):
            return max(LEAST_PAIR_SKETCH, min(PAIR_SKETCH, ALL_SKETCHED // n_batches))
        if task.order == "balanced":
            return PAIR_SKETCH
        many = np.count_nonzero(task.batches.codes >= 0) > 2 * LARGE_SKETCH
        return LARGE_SKETCH if many and neighbors == "auto" else None
    if sketch == "all":
        return None
    try:
        most = float(sketch)
    except ValueError:
        most = 0.0
    if not (most >= 1 and most % 1 == 0):
        raise ValueError(f"sketch is {sketch!r}; give a number of cells from 1 up, 'auto' or 'all'")
    return int(most)
