"""What a file of projected cells holds, as numbers and names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mnncorrect._adata import Keys, batch_names
from mnncorrect._adata.record import entry_of, take_batch_key
from mnncorrect.report.collect import measured
from mnncorrect.report.collect.command import command_of
from mnncorrect.report.collect.facts import (
    Gathered,
    first_facts,
    map_facts,
    outline,
    take_clusters,
    take_confidence,
    take_maps,
    take_places,
)
from mnncorrect.report.collect.groups import as_groups, group_facts, in_order, read_groups
from mnncorrect.report.collect.markers import gene_symbols, of_markers
from mnncorrect.report.collect.mixing import draw_cells
from mnncorrect.report.collect.plain import as_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData

    from mnncorrect.report.collect.facts import ReportOptions
    from mnncorrect.report.collect.groups import CellGroups

# Genes of the model that the new cells lack, of which some are named.
MOST_MISSING = 100


def gather_projection(adata: AnnData, file: str, wanted: ReportOptions) -> Gathered:
    """Collect what a report of projected cells needs, as it is done for a correction.

    What belongs to the correction itself, such as its merges, is where the model was made.

    Raises
    ------
    KeyError
        If the file lacks a column or embedding.
    ValueError
        If values are not finite, or batches are missing for cells.
    """
    keys = Keys(wanted.key_added)
    stored = entry_of(adata.uns, keys.uns, "projection")
    assert stored is not None
    batches = _projected_batches(adata, wanted)
    labels = None if wanted.label_key is None else read_groups(adata, wanted.label_key)
    clusters = take_clusters(adata, wanted)
    before, after, places, _, before_name = take_places(adata, keys, wanted)
    sample = draw_cells(batches, labels or clusters, wanted)
    umap, umap_before, drawn = take_maps(adata, keys, before, after, sample, wanted)
    confidence = take_confidence(adata, keys)
    taken = [*(batches.name or "").split(", "), wanted.label_key, wanted.clusters]
    facts: dict[str, Any] = {
        **first_facts(adata, file, "projection", keys.uns),
        "batches": group_facts(batches),
        "labels": measured.of_groups(labels, batches),
        "mixing": None,
        "mixing_by_cluster": None,
        "markers": of_markers(
            adata,
            stored["params"],
            labels if clusters is None else clusters,
            gene_symbols(adata, wanted.gene_key),
            wanted,
        ),
        "parameters": as_json(stored["params"]),
        "prepared": {},
        "provenance": as_json(stored.get("provenance", {})),
        "command": command_of(stored, wanted.key_added),
        "model": _model_facts(stored["model"]),
        "projected": as_json(stored["projected"]),
        "confidence": measured.of_confidence(confidence, batches, clusters),
        "clusters": measured.of_clusters(adata, wanted.clusters, clusters, batches),
        "covariates": measured.of_covariates(adata, taken, keys, batches),
        "umap": map_facts(adata, wanted.key_added) if umap is not None else None,
    }
    return Gathered(
        facts=facts,
        batches=batches,
        labels=labels,
        clusters=clusters,
        before=before,
        after=after,
        umap=umap,
        umap_rows=None,
        umap_before=umap_before,
        before_name=before_name,
        key=wanted.key,
        key_added=wanted.key_added,
        names=places | drawn,
        confidence=confidence,
        mixing=None,
        sampled=sample.rows,
        outline=outline(adata, keys, wanted),
        cells=adata.obs_names,
    )


def _projected_batches(adata: AnnData, wanted: ReportOptions) -> CellGroups:
    """Find the batches, as the projection recorded them; without a column all cells are one."""
    told, order = take_batch_key(adata, wanted.key_added)
    key = told if wanted.key is None else wanted.key
    if key is None:
        return as_groups(None, pd.Series(np.repeat(order[:1], adata.n_obs)))
    names = [key] if isinstance(key, str) else list(key)
    return as_groups(", ".join(names), in_order(batch_names(adata.obs, key), order))


def _model_facts(model: Mapping[str, Any]) -> dict[str, Any]:
    """Say what the cells were placed in, and which of its genes they lack."""
    missing = [str(gene) for gene in model.get("missing", ())]
    told = {str(name): as_json(value) for name, value in model.items() if name != "missing"}
    return told | {"n_missing": len(missing), "missing": missing[:MOST_MISSING]}
