"""What a corrected file holds, as numbers and names: all that a report shows."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mnncorrect import __version__, tl
from mnncorrect._adata import Keys, take_embedding
from mnncorrect._adata.batches import batches_in_order
from mnncorrect._adata.record import entry_of, is_current, is_derived, take_record, warnings_of
from mnncorrect._prepare.before_and_after import (
    LABEL_CLUSTERS,
    Compared,
    CorrectionValues,
    take_compared,
)
from mnncorrect.core.calibrated.confidence import UNSURE
from mnncorrect.core.runtime.threads import resolve_n_jobs
from mnncorrect.report.collect import measured
from mnncorrect.report.collect.advice import as_facts
from mnncorrect.report.collect.advice_on_correction import advise
from mnncorrect.report.collect.command import command_of
from mnncorrect.report.collect.groups import (
    CellGroups,
    as_groups,
    group_facts,
    read_groups,
)
from mnncorrect.report.collect.json_values import as_json
from mnncorrect.report.collect.markers import gene_symbols, of_markers
from mnncorrect.report.collect.methods_text import methods_text
from mnncorrect.report.collect.mixing import (
    LocalMixing,
    draw_cells,
    local_mixing,
    of_mixing,
    whole_sample,
)
from mnncorrect.report.collect.verdict import verdict_on

if TYPE_CHECKING:
    from anndata import AnnData

    from mnncorrect._prepare.reference import ReferenceCells
    from mnncorrect.core.neighbors.sample import Sample
    from mnncorrect.report.collect.report_options import ReportOptions

# What of the recorded parameters draws the other map in the same way.
SAME_PARAMETERS = ("n_neighbors", "min_dist", "spread", "maxiter")


@dataclass(frozen=True)
class Gathered:
    """What is known of one file."""

    # What JSON can hold: everything that is written in the report. ``about`` says whether the file
    # holds a ``"correction"``, or the ``"projection"`` of new cells.
    facts: dict[str, Any]
    # Groups of cells.
    batches: CellGroups
    labels: CellGroups | None
    clusters: CellGroups | None
    # Positions of the cells, cells x 2 or more; ``None``: the file has none.
    before: NDArray[Any] | None
    after: NDArray[Any]
    umap: NDArray[Any] | None
    umap_rows: NDArray[np.int64] | None  # The cells that ``umap`` is of; ``None``: all.
    # UMAP of the uncorrected embedding, of the cells in ``sample``.
    umap_before: NDArray[Any] | None
    same_axes: bool  # Whether dimensions mean the same before and after.
    before_name: str | None  # Name of the uncorrected embedding.
    key: str | list[str] | None  # Columns of the batch, if any.
    key_added: str  # Prefix of results.
    names: Mapping[str, str]  # Where these places come from, by the same names.
    confidence: NDArray[np.float64] | None  # Of each cell, if it was told.
    mixing: LocalMixing | None  # Around cells, where there are several batches.
    sample: Sample  # Cells that mixing and the uncorrected map are of.
    # The object without its matrices: ``obs`` and the entries of ``uns`` that plots read.
    outline: AnnData
    cells: pd.Index[Any]  # Names of the cells.
    reference: ReferenceCells | None = None  # The cells that these were placed among, if known.


def gather_correction(adata: AnnData, file: str, wanted: ReportOptions) -> Gathered:
    """Collect what a report needs of a corrected file; its matrices may still be in it."""
    record = take_record(adata, wanted.key_added)
    keys = Keys(wanted.key_added)
    key = record.key if wanted.key is None else wanted.key
    batches = groups_by_key(adata, key, record.batches)
    shared = gather_shared(adata, file, record.stored, key, batches, wanted)
    before, after, labels, clusters = shared.before, shared.after, shared.labels, shared.clusters
    left = None
    if shared.confidence is not None and not all(merge.skipped for merge in record.merges):
        left = shared.confidence < UNSURE

    def mixing_of(kind: str, groups: CellGroups | None) -> dict[str, Any] | None:
        return of_mixing(before, after, batches, (kind, groups), left, shared.sample, wanted)

    mixing = mixing_of(*(("cluster", clusters) if labels is None else ("label", labels)))
    symbols = gene_symbols(adata, wanted.gene_key)
    facts: dict[str, Any] = {
        **shared.facts,
        "about": "correction",
        "prepared": as_json(record.stored.get("prepared", {})),
        "n_genes_used": int(adata.var[keys.genes].sum()) if keys.genes in adata.var else None,
        "components": as_json(record.stored.get("components")),
        "merges": measured.of_merges(record),
        "kept": as_json(record.stored.get("kept")),
        "genes": measured.of_genes(
            adata, keys, batches, before, after, symbols, same_axes=shared.same_axes
        ),
        "evaluation": measured.of_scores(adata, key, keys, wanted),
        "mixing": mixing,
        "mixing_by_cluster": mixing
        if labels is None or clusters is None
        else mixing_of("cluster", clusters),
    }
    facts |= {"methods": methods_text(facts), "verdict": verdict_on(facts)}
    facts |= {"advice": as_facts(advise(facts))}
    return replace(
        shared,
        facts=facts,
        mixing=local_mixing(before, after, batches, shared.sample, wanted),
        outline=outline(adata, keys, wanted),  # with the scores
    )


def gather_shared(
    adata: AnnData,
    file: str,
    stored: Mapping[str, Any],
    key: str | list[str] | None,
    batches: CellGroups,
    wanted: ReportOptions,
) -> Gathered:
    """Collect what a report shows of corrected and of projected cells alike."""
    keys = Keys(wanted.key_added)
    label_key = wanted.label_key
    labels = None if label_key is None else read_groups(adata, label_key, labels=True)
    clusters = take_clusters(adata, wanted)
    compared = take_places(adata, keys, wanted)
    sample = draw_cells(batches, labels or clusters, wanted)
    umap, umap_before, drawn = take_maps(
        adata, keys, compared.before, compared.after, sample, wanted
    )
    confidence = None
    if keys.confidence in adata.obs:
        confidence = adata.obs[keys.confidence].to_numpy(dtype=np.float64)
    taken = [*(batches.name or "").split(", "), wanted.label_key, wanted.clusters]
    facts: dict[str, Any] = {
        "format": "mnncorrect report 1",
        "made_by": {"software": "mnncorrect", "version": __version__},
        "file": file,
        "n_cells": int(adata.n_obs),
        "n_genes": int(adata.n_vars),
        "input_warnings": warnings_of(adata.uns, keys.uns),
        "batches": group_facts(batches),
        "labels": measured.of_groups(labels, batches),
        "parameters": as_json(stored["params"]),
        "provenance": as_json(stored.get("provenance", {})),
        "command": command_of(stored, wanted.key_added),
        "confidence": measured.of_confidence(confidence, batches, clusters),
        "clusters": measured.of_clusters(adata, wanted.clusters, clusters, batches),
        "covariates": measured.of_covariates(adata, taken, keys, batches),
        "umap": map_facts(adata, wanted.key_added) if umap is not None else None,
        "markers": of_markers(
            adata,
            stored["params"],
            labels if clusters is None else clusters,
            gene_symbols(adata, wanted.gene_key),
            wanted,
        ),
    }
    return Gathered(
        facts=facts,
        batches=batches,
        labels=labels,
        clusters=clusters,
        before=compared.before,
        after=compared.after,
        umap=umap,
        umap_rows=None,
        umap_before=umap_before,
        same_axes=compared.same_axes,
        before_name=compared.before_name,
        key=key,
        key_added=wanted.key_added,
        names=_places_named(adata, compared) | drawn,
        confidence=confidence,
        mixing=None,
        sample=sample,
        outline=outline(adata, keys, wanted),
        cells=adata.obs_names,
    )


def groups_by_key(adata: AnnData, key: str | list[str], order: Sequence[str]) -> CellGroups:
    """Read the batches that columns name, in the order that the correction had them in."""
    names = [key] if isinstance(key, str) else list(key)
    return as_groups(", ".join(names), batches_in_order(adata.obs, key, order))


def outline(adata: AnnData, keys: Keys, wanted: ReportOptions) -> AnnData:
    """Return the object without its matrices, for plots of what was recorded."""
    import anndata

    kept = (keys.uns, keys.evaluation, wanted.clusters)
    return anndata.AnnData(
        obs=adata.obs, uns={name: entry for name, entry in adata.uns.items() if name in kept}
    )


def take_clusters(adata: AnnData, wanted: ReportOptions) -> CellGroups | None:
    """Read the clusters; those that are found if none are named are this package's, or none."""
    named = wanted.clusters
    if named not in adata.obs:
        return None
    if named == LABEL_CLUSTERS and not is_current(adata.uns, named, wanted.key_added):
        return None
    return read_groups(adata, named)


def take_maps(
    adata: AnnData,
    keys: Keys,
    before: NDArray[Any] | None,
    after: NDArray[Any],
    sample: Sample,
    wanted: ReportOptions,
) -> tuple[NDArray[Any] | None, NDArray[Any] | None, dict[str, str]]:
    """Read the UMAP of the result, and draw the one before the correction in the same way.

    Returns the map after, of all cells, and before, of the sampled cells; where the file has them.
    """
    found, where = None, {}
    if keys.drawn in adata.obsm and is_derived(adata.uns, keys.map, keys.key_added):
        found = take_embedding(adata, keys.drawn)
        where["umap"] = f"obsm[{keys.drawn!r}]"
    if wanted.umap is False or (found is None and not wanted.umap):
        return found, None, where
    params = map_facts(adata, keys.key_added) or {}
    if found is None:
        found = draw_map(after, keys.embedding, whole_sample(len(after)), params, wanted)
    if before is None:
        return found, None, where
    return found, draw_map(before, keys.uncorrected, sample, params, wanted), where


def draw_map(
    x: NDArray[Any], name: str, sample: Sample, params: Mapping[str, Any], wanted: ReportOptions
) -> NDArray[np.float32] | None:
    """Draw the sampled cells by UMAP with given or default parameters; ``None``: too few cells."""
    import anndata

    cells = pd.DataFrame(index=pd.RangeIndex(len(sample.rows)).astype(str))
    small = anndata.AnnData(obs=cells, obsm={name: x[sample.rows]})
    options = {name: params[name] for name in SAME_PARAMETERS if params.get(name) is not None}
    try:
        tl.umap(
            small, use_rep=name, random_state=wanted.random_state, n_jobs=wanted.n_jobs, **options
        )
    except ValueError:
        return None
    return small.obsm["X_mnn_umap"]


def map_facts(adata: AnnData, key_added: str) -> Any:
    """Say how the UMAP was drawn, if that is recorded."""
    stored = entry_of(adata.uns, Keys(key_added).map, "other")
    return None if stored is None else as_json(stored["params"])


def take_places(adata: AnnData, keys: Keys, wanted: ReportOptions) -> Compared:
    """Find the embeddings before and after, as `tl.evaluate` compares them."""
    # The report itself tells where there is nothing to compare with.
    with (
        contextlib.ExitStack() as stack,
        warnings.catch_warnings(action="ignore", category=UserWarning),
    ):
        threads = resolve_n_jobs(wanted.n_jobs)
        values = CorrectionValues(adata, keys, stack, wanted.random_state, threads)
        return take_compared(adata, None, None, values)


def _places_named(adata: AnnData, compared: Compared) -> dict[str, str]:
    """Say where the embeddings before and after come from."""
    names = {"after": f"obsm[{compared.after_name!r}]"}
    before = compared.before_name
    if before is not None:
        names["before"] = f"obsm[{before!r}]" if before in adata.obsm else before
    return names
