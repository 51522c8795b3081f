"""Arguments of a correction beside the values: read and judged before any work.

Corrections and the plan of a run ask here, so that both refuse the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mnncorrect._adata import Batches, take_labels
from mnncorrect._log import logger
from mnncorrect._prepare.covariates import Covariates, take_covariates, tell_covariates
from mnncorrect._prepare.guides import GUIDING, Known, take_guides, tell_guides
from mnncorrect._prepare.methods import ABOUT_GENES, RegisteredMethod
from mnncorrect.core.runtime.checks import RANGES, check_ranges
from mnncorrect.pp._corrections import (
    Task,
    few_cells,
    log_task,
    resolve_sketch,
    take_task,
    take_weights,
)

if TYPE_CHECKING:
    import numpy as np
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
