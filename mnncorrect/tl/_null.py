"""The null of an evaluation: random splits of one batch, corrected as the whole data were."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnncorrect._adata import Batches, take_labels
from mnncorrect._log import logger
from mnncorrect._prepare.method_registry import recorded_method

if TYPE_CHECKING:
    from anndata import AnnData

    from mnncorrect._prepare.before_and_after import Compared, CorrectionValues
    from mnncorrect.core.metrics.null import Correct
    from mnncorrect.core.runtime.threads import Progress

Scores = dict[str, float]

# Cells of a batch that are assigned at random: enough for scores, and quick to correct.
MOST_NULL_CELLS = 5000
# Halves of fewer cells than this together have no neighborhoods worth the name.
LEAST_HALVED_CELLS = 20


@dataclass(frozen=True)
class Null:
    """Scores of random splits of one batch."""

    # Before and after the correction, of each seed; empty after it where there was none.
    scores: list[tuple[Scores, Scores]]
    # What was split.
    batch: str | None = None
    n_cells: int | None = None
    left_out: str | None = None  # Why there is no correction.


def take_null(
    adata: AnnData,
    compared: Compared,
    batches: Batches,
    given: Mapping[str, NDArray[np.int64]],
    values: CorrectionValues,
    *,
    n_splits: int,
    max_cells: int,
    progress: Progress | None,
) -> Null:
    """Score random splits of the largest batch, before and after the same correction.

    ``given``: labels or clusters of all cells, as scores take them. Other parameters as
    :func:`mnncorrect.tl.evaluate` has them.
    """
    from mnncorrect.core.metrics.null import null_scores
    from mnncorrect.core.neighbors.sample import draw

    if n_splits == 0:
        return Null([], left_out="no random splits were asked for")
    largest = int(batches.sizes.argmax())
    name, rows = batches.names[largest], np.flatnonzero(batches.codes == largest)
    method = None if compared.params is None else str(compared.params["method"])
    known = recorded_method(compared.params)
    fewer = None if known is None else known.most_null_cells
    most = min(max_cells, MOST_NULL_CELLS if fewer is None else fewer)
    one = np.zeros(len(rows), np.int64)
    rows = rows[draw(one, most, random_state=values.random_state).rows]
    if len(rows) < LEAST_HALVED_CELLS:
        return Null([], left_out=f"the largest batch, {name!r}, has {len(rows)} cells only")
    options: dict[str, Any] = {
        **{what: codes[rows] for what, codes in given.items()},
        # Components of expression have axes of their own.
        "same_axes": known is None or known.embeds,
        "n_jobs": values.n_jobs,
        "progress": progress,
    }
    seeds = range(values.random_state, values.random_state + n_splits)
    told = f"{n_splits} random splits of {len(rows)} cells of {name!r}"
    reason = _why_not_again(adata, compared, values)
    if reason is None:
        logger.info("null: %s, corrected by %s", told, method)
        try:
            correct = _corrector(adata, compared, rows, values)
            return Null(null_scores(correct, len(rows), seeds, **options), name, len(rows))
        except ValueError as error:
            reason = f"random halves of {name!r} cannot be corrected: {error}"
    if compared.before is None:
        logger.info("no null: %s", reason)
        return Null([], left_out=reason)
    logger.info("null: %s, not corrected: %s", told, reason)
    x = compared.before[rows]
    scores = null_scores(lambda _: (x, None), len(rows), seeds, **options)
    return Null(scores, name, len(rows), reason)


def _why_not_again(adata: AnnData, compared: Compared, values: CorrectionValues) -> str | None:
    params = compared.params
    if params is None:
        return (
            f"{compared.after_name!r} is not a correction of mnncorrect, so it cannot be repeated"
        )
    method = recorded_method(params)
    if method is None or method.correct_halves is None:
        return f"what method {params['method']} did cannot be done to halves of a batch"
    if "clusters" in method.parameters and params.get("clusters") not in adata.obs:
        return f"obs has no {params.get('clusters')!r}, the clusters that were matched"
    if method.embeds:
        gone = compared.start is None and compared.before is None
    else:
        gone = values.expression(params) is None
    return "what was corrected is gone from the object" if gone else None


def _corrector(
    adata: AnnData, compared: Compared, rows: NDArray[np.int64], values: CorrectionValues
) -> Correct:
    """Return what corrects halves of some cells as all cells were corrected."""
    from mnncorrect.core.matrix.rows import take_dense
    from mnncorrect.core.metrics.null import Halves
    from mnncorrect.core.runtime.compute import ComputeOptions

    params = compared.params
    assert params is not None
    method = recorded_method(params)
    assert method is not None
    assert method.correct_halves is not None
    rerun = method.correct_halves
    clusters = None
    if not method.embeds:
        source = values.expression(params)
        x = take_dense(source, rows, values.genes(values.keys.genes), None)
    else:
        start = compared.before if compared.start is None else compared.start
        assert start is not None
        x = np.ascontiguousarray(start[rows])
    if "clusters" in method.parameters:
        clusters = take_labels(adata, str(params["clusters"]))[0][rows]
    kept = _restriction(adata, params, rows)

    def correct(halves: NDArray[np.integer[Any]]) -> tuple[NDArray[Any], NDArray[Any]]:
        in_both = kept is not None and np.bincount(halves[kept], minlength=2).all()
        return rerun(
            Halves(
                x,
                halves,
                params,
                clusters=clusters,
                restrict=kept if in_both else None,
                n_comps=compared.after.shape[1],
                compute=ComputeOptions("exact", random_state=values.seed(), n_jobs=values.n_jobs),
            )
        )

    return correct


def _restriction(
    adata: AnnData, params: Mapping[str, Any], rows: NDArray[np.int64]
) -> NDArray[np.bool_] | None:
    """Return the cells that pairs may be taken from, where that is known."""
    column = params.get("restrict")
    if column is None:
        return None
    if column not in adata.obs or adata.obs[column].dtype != bool:
        logger.info("null: pairs may be of all cells, as it is not known which: %s", column)
        return None
    return adata.obs[column].to_numpy()[rows]
