"""What a correction has kept of what it was told to keep: in the log, and for the record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnncorrect._adata.lookup import leading
from mnncorrect._adata.results import recorded_table
from mnncorrect._log import logger, warn_caller
from mnncorrect.core.metrics.kept import kept_differences, well_kept

if TYPE_CHECKING:
    import pandas as pd

    from mnncorrect._prepare.guides import Known

# Values that a warning names.
MOST_NAMED = 5


def kept_table(
    known: Known,
    names: Sequence[str],
    codes: NDArray[np.int64],
    before: NDArray[Any],
    after: NDArray[Any],
) -> dict[str, pd.DataFrame]:
    """Measure how much of the differences between kept values is still there, and log it.

    ``codes`` number the batches ``names`` that take part; -1: the cell takes no part. The table
    ``kept`` has one row for each value of a batch that has others, with the share of its difference
    from these that has been kept; it is missing if nothing can be measured.
    """
    if known.levels is None:
        return {}
    levels, values = known.levels
    found = kept_differences(before, after, codes, levels)
    table = recorded_table(
        {
            "batch": [names[one.batch] for one in found],
            "value": [values[one.level] for one in found],
            "cells": np.array([one.cells for one in found], np.int64),
            "kept": np.array([one.share for one in found], np.float64),
        }
    )
    if not len(table):
        logger.info(
            "how much was kept cannot be measured: no two kept values clearly differ in any batch"
        )
        return {}
    logger.info(
        "of the differences between kept values within batches, %.2f is left on average (%.2f to"
        " %.2f; 1 is all)",
        table["kept"].mean(), table["kept"].min(), table["kept"].max(),
    )  # fmt: skip
    changed = table[[not well_kept(share) for share in table["kept"]]]
    if len(changed):
        said = [f"{row.value} in {row.batch} ({row.kept:.2f})" for row in changed.itertuples()]
        warn_caller(
            "the correction changed differences that were to be kept: "
            f"{leading(said, MOST_NAMED)}, where 1 is unchanged"
        )
    return {"kept": table}
