"""What a file of projected cells holds, as numbers and names."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mnncorrect._adata import Keys
from mnncorrect._adata.record import entry_of, take_batch_key
from mnncorrect._prepare.reference import ReferenceCells, same_reference
from mnncorrect.core.model.maps import place_on_map
from mnncorrect.core.runtime.compute import compute_options
from mnncorrect.report.collect.advice import as_facts
from mnncorrect.report.collect.advice_on_projection import advise_projected
from mnncorrect.report.collect.facts import Gathered, gather_shared, groups_by_key
from mnncorrect.report.collect.groups import as_groups
from mnncorrect.report.collect.json_values import as_json

if TYPE_CHECKING:
    from anndata import AnnData

    from mnncorrect.report.collect.report_options import ReportOptions

# Genes of the model that the new cells lack, of which some are named.
MOST_MISSING = 100


def gather_projection(adata: AnnData, file: str, wanted: ReportOptions) -> Gathered:
    """Collect what a report of projected cells needs, as it is done for a correction.

    What belongs to the correction itself, such as its merges, is where the model was made.
    """
    keys = Keys(wanted.key_added)
    stored = entry_of(adata.uns, keys.uns, "projection")
    assert stored is not None
    if wanted.label_key is None and "labels" in stored and keys.label in adata.obs:
        wanted = replace(wanted, label_key=keys.label)
    told, order = take_batch_key(adata, wanted.key_added)
    key = told if wanted.key is None else wanted.key
    if key is None:  # all cells are one batch
        batches = as_groups(None, pd.Series(np.repeat(order[:1], adata.n_obs)))
    else:
        batches = groups_by_key(adata, key, order)
    reference = None
    if wanted.reference is not None:
        from mnncorrect import tl

        reference = same_reference(tl.fit_model, adata, wanted.reference, wanted.key_added)
        if reference.drawn is not None:  # whose map is shown instead of one of these cells alone
            wanted = replace(wanted, umap=False)
    found = gather_shared(adata, file, stored, wanted.key, batches, wanted)
    if reference is not None:
        found = _beside_reference(found, reference, wanted)
    model = as_json({name: value for name, value in stored["model"].items() if name != "missing"})
    missing = [str(gene) for gene in stored["model"].get("missing", ())]
    facts = {
        **found.facts,
        "reference": None
        if reference is None
        else {"n_cells": len(reference.corrected), "has_map": reference.drawn is not None},
        "about": "projection",
        "mixing": None,
        "mixing_by_cluster": None,
        "prepared": {},
        "model": model | {"n_missing": len(missing), "missing": missing[:MOST_MISSING]},
        "projected": as_json(stored["projected"]),
    }
    return replace(found, facts={**facts, "advice": as_facts(advise_projected(facts))})


def _beside_reference(
    found: Gathered, reference: ReferenceCells, wanted: ReportOptions
) -> Gathered:
    """Place the new cells on the map of the reference, as before and after they were corrected."""
    found = replace(found, reference=reference)
    if reference.drawn is None:
        return replace(found, umap=None, umap_before=None)
    compute = compute_options(
        neighbors="auto", random_state=wanted.random_state, n_jobs=wanted.n_jobs, progress=None
    )
    before, after = (
        None
        if places is None
        else place_on_map(reference.corrected, reference.drawn, places, compute=compute)
        for places in (found.before, found.after)
    )
    return replace(
        found, umap=after, umap_before=None if before is None else before[found.sample.rows]
    )
