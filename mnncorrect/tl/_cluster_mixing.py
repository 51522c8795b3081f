"""Whether batches mix within the clusters of a corrected embedding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnncorrect._adata import Keys, take_embedding
from mnncorrect._adata.batches import as_categories, batches_in_order
from mnncorrect._adata.lookup import leading
from mnncorrect._adata.record import correction_of, take_record
from mnncorrect._adata.results import recorded_table
from mnncorrect._log import logger

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

# Clusters that are named in a warning.
MOST_APART_NAMED = 8


def mixing_in_clusters(
    adata: AnnData,
    use_rep: str,
    clusters: NDArray[np.integer[Any]],
    *,
    random_state: int,
    n_jobs: int | None,
) -> pd.DataFrame | None:
    """Measure how batches mix in each cluster, and warn of clusters where they are still apart.

    The table has one row for each ``cluster``: ``cells``, ``mixing`` (CiLISI), ``attainable`` (the
    same with shuffled batches) and ``state``. ``None`` if the embedding is not the result of a
    correction of several batches, or if its batches are no longer in ``obs``.
    """
    from mnncorrect.core.calibrated.confidence import UNSURE
    from mnncorrect.core.metrics.mixing import draw_by_group, judge_group, mixing_by_group
    from mnncorrect.core.runtime.threads import resolve_n_jobs

    name = correction_of(adata, "obsm", use_rep)
    if name is None:
        return None
    record = take_record(adata, name)
    columns = [record.key] if isinstance(record.key, str) else list(record.key)
    if not set(columns) <= set(adata.obs.columns) or len(record.batches) < 2:
        return None
    codes, batches = as_categories(batches_in_order(adata.obs, record.key, record.batches))
    sample = draw_by_group(codes, clusters, random_state=random_state)
    found = mixing_by_group(
        take_embedding(adata, use_rep), codes, clusters, sample,
        random_state=random_state, n_jobs=resolve_n_jobs(n_jobs),
    )  # fmt: skip
    confidence = adata.obs.get(Keys(name).confidence)
    if confidence is not None and not all(merge.skipped for merge in record.merges):
        unsure = confidence.to_numpy(np.float64) < UNSURE
    else:
        unsure = None
    rows = []
    for cluster in range(int(clusters.max()) + 1):
        inside = clusters == cluster
        one = found.get(cluster)
        sizes = np.bincount(codes[inside], minlength=len(batches))
        alone = None if unsure is None or not inside.any() else float(unsure[inside].mean())
        rows.append(
            {
                "cluster": str(cluster),
                "cells": int(sizes.sum()),
                "mixing": np.nan if one is None else one.found,
                "attainable": np.nan if one is None else one.attainable,
                "state": judge_group(one, sizes, alone),
            }
        )
    table = recorded_table(rows)
    apart = table[table["state"] == "apart"]
    if len(apart):
        named = [
            f"{row['cluster']} ({row['mixing']:.2f} of {row['attainable']:.2f} attainable)"
            for row in apart.to_dict("records")
        ]
        told = leading(named, MOST_APART_NAMED)
        logger.warning("batches are still apart in these clusters: %s", told)
    return table
