"""How projected cells are stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mnncorrect._adata.corrections import remove_earlier
from mnncorrect._adata.results import UNASSIGNED, Keys, recorded_table

if TYPE_CHECKING:
    from mnncorrect._adata.draft import Draft
    from mnncorrect.core.model.fit import Labels
    from mnncorrect.core.model.labels import Transferred
    from mnncorrect.core.model.projection import Placement


def put_projection(
    draft: Draft,
    uncorrected: NDArray[np.float32] | None,
    placed: Placement,
    codes: NDArray[np.integer[Any]],
    *,
    key_added: str,
    model: Mapping[str, Any],
    params: Mapping[str, Any],
    random_state: int,
) -> None:
    """Store where new cells were projected and placed, and by what model."""
    keys = Keys(key_added)
    remove_earlier(draft, keys, params)
    draft.put("obsm", params["adjusted_basis"], placed.corrected)
    if uncorrected is not None:
        draft.put("obsm", keys.uncorrected, uncorrected)
    draft.put("obs", keys.confidence, placed.confidence)
    sizes = np.bincount(codes, minlength=len(placed.by_batch)).tolist()
    rows = [
        {"batch": name, "n_obs": size, **vars(how)}
        for size, (name, how) in zip(sizes, placed.by_batch.items(), strict=True)
    ]
    draft.record(
        params,
        random_state,
        batches=np.array(list(placed.by_batch), dtype=object),
        projected=recorded_table(rows),
        model=dict(model),
    )
    draft.sign(placed.corrected, placed.confidence)


def put_labels(draft: Draft, labels: Labels, found: Transferred, *, key_added: str) -> None:
    """Store the labels of new cells, after :func:`put_projection`."""
    keys = Keys(key_added)
    categories = [*labels.names, UNASSIGNED]
    numbers = np.where(found.codes < 0, len(labels.names), found.codes)
    there = np.bincount(numbers, minlength=len(categories))
    column = pd.Categorical.from_codes(numbers.astype(np.int64), pd.Index(categories))
    draft.put("obs", keys.label, column.remove_unused_categories())
    draft.put("obs", keys.label_probability, found.probability.astype(np.float32))
    table = pd.DataFrame({"label": categories, "n_obs": there})[there > 0]
    draft.amend(keys.uns, {"labels": recorded_table(table)})
