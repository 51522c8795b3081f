"""How batches mix, by group of cells and around each cell, before and after a correction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnncorrect.core.metrics.mixing import (
    draw_by_group,
    judge_group,
    mixing_by_cell,
    mixing_by_group,
)
from mnncorrect.core.neighbors.sample import Sample
from mnncorrect.core.runtime.threads import resolve_n_jobs
from mnncorrect.report.collect.json_values import as_json

if TYPE_CHECKING:
    from mnncorrect.report.collect.groups import CellGroups
    from mnncorrect.report.collect.report_options import ReportOptions


@dataclass(frozen=True)
class LocalMixing:
    """Mixing around single cells, from 0 (one batch) to 1 (the composition of all cells)."""

    rows: NDArray[np.int64]  # The cells that were looked at.
    # One value for each of them; ``None``: the file has no such embedding.
    before: NDArray[np.float64] | None
    after: NDArray[np.float64]


def draw_cells(batches: CellGroups, groups: CellGroups | None, wanted: ReportOptions) -> Sample:
    """Sample the cells that are measured, as ``tl.evaluate`` does."""
    codes = None if groups is None else groups.codes
    return draw_by_group(batches.codes, codes, random_state=wanted.random_state)


def whole_sample(n_cells: int) -> Sample:
    """Take all cells."""
    return Sample(np.arange(n_cells), np.ones(n_cells))


def of_mixing(
    before: NDArray[Any] | None,
    after: NDArray[Any],
    batches: CellGroups,
    groups: tuple[str, CellGroups | None],
    left: NDArray[np.bool_] | None,
    sample: Sample,
    wanted: ReportOptions,
) -> dict[str, Any] | None:
    """Tell how batches mix in each group and altogether; ``None`` where there is one batch.

    ``groups``: what they are (``"label"`` or ``"cluster"``), and the groups; without groups, all
    cells are one. ``left``: which cells have no counterpart in another batch; ``None``: not known.
    """
    if len(batches.names) < 2:
        return None
    kind, given = groups
    codes = np.zeros(len(after), np.int64) if given is None else given.codes
    names = ["all cells"] if given is None else given.names
    one, two = (
        {}
        if x is None
        else mixing_by_group(
            x,
            batches.codes,
            codes,
            sample,
            random_state=wanted.random_state,
            n_jobs=resolve_n_jobs(wanted.n_jobs),
        )
        for x in (before, after)
    )
    rows = []
    for number, name in enumerate(names):
        inside = batches.codes[codes == number]
        sizes = np.bincount(inside[inside >= 0], minlength=len(batches.names))
        found = two.get(number)
        alone = None if left is None else float(left[codes == number].mean())
        row = {
            "name": name,
            "cells": int(sizes.sum()),
            "batches": int((sizes > 0).sum()),
            "largest": as_json(float(sizes.max() / max(1, sizes.sum()))),
            "not_moved": as_json(alone),
            "before": one[number].found if number in one else None,
            "after": None if found is None else found.found,
            "attainable": None if found is None else found.attainable,
        }
        rows.append(row | {"state": judge_group(found, sizes, alone)})
    # CellGroups of one batch, or without a counterpart, do not say how batches mix.
    weights = {
        number: found.weight
        for number, found in two.items()
        if rows[number]["state"] not in {"one batch", "no counterpart", "unknown"}
    }

    def mean(values: dict[int, float]) -> float | None:
        known = [number for number in weights if number in values]
        if not known:
            return None
        return float(
            np.average([values[at] for at in known], weights=[weights[at] for at in known])
        )

    total = {
        "before": mean({number: found.found for number, found in one.items()}),
        "after": mean({number: found.found for number, found in two.items()}),
        "attainable": mean({number: found.attainable for number, found in two.items()}),
    }
    cells = sum(row["cells"] for row in rows) or 1
    return {
        "kind": "cell" if given is None else kind,
        "key": None if given is None else given.name,
        **total,
        "of_one_batch": sum(row["cells"] for row in rows if row["state"] == "one batch") / cells,
        "apart": sum(row["cells"] for row in rows if row["state"] == "apart") / cells,
        "groups": rows,
        "n_sampled": len(sample.rows),
    }


def mixing_text(after: float, attainable: float) -> str:
    """Write mixing beside what is attainable."""
    if round(after, 2) > round(attainable, 2):
        return f"{after:.2f} ({attainable:.2f} attainable)"
    return f"{after:.2f} of {attainable:.2f} attainable"


def local_mixing(
    before: NDArray[Any] | None,
    after: NDArray[Any],
    batches: CellGroups,
    sample: Sample,
    wanted: ReportOptions,
) -> LocalMixing | None:
    """Measure mixing around each sampled cell; ``None`` where there is one batch."""
    if len(batches.names) < 2:
        return None
    one, two = (
        None
        if x is None
        else mixing_by_cell(x, batches.codes, sample, n_jobs=resolve_n_jobs(wanted.n_jobs))
        for x in (before, after)
    )
    assert two is not None
    return LocalMixing(sample.rows, one, two)
