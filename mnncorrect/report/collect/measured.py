"""Numbers about a correction: of its merges, cells, clusters, genes, covariates and scores."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mnncorrect import tl
from mnncorrect._adata.loadings import are_of_multibatch_pca
from mnncorrect._adata.record import Record, entry_of, fields_of, is_derived, owned
from mnncorrect._adata.stored import is_stored, load
from mnncorrect._prepare.fitness import is_quantity, relation
from mnncorrect.core.calibrated.confidence import UNSURE
from mnncorrect.core.calibrated.evidence import ENOUGH_EVIDENCE
from mnncorrect.report.collect.groups import CellGroups, group_facts
from mnncorrect.report.collect.json_values import as_json

if TYPE_CHECKING:
    from anndata import AnnData

    from mnncorrect._adata import Keys
    from mnncorrect.report.collect.report_options import ReportOptions

# Genes told as most changed; covariates looked at, and values that one may have to be one.
MOST_GENES, MOST_COVARIATES, MOST_VALUES = 25, 30, 100
MOST_MEASURED_ROWS = 2_000


def of_merges(record: Record) -> list[dict[str, Any]]:
    """Tell each merge, and what it took from the batches that it joins."""
    return [
        {
            "left": list(merge.left),
            "right": list(merge.right),
            "pairs": merge.pairs,
            "skipped": merge.skipped,
            # A merge takes nothing from batches that it does not join.
            "lost_variance": {
                name: merge.lost[name] for name in (*merge.left, *merge.right) if name in merge.lost
            },
            # Left alone although they differ: nothing was found that they share.
            "apart": merge.skipped
            and merge.pairs > 0
            and merge.more.get("evidence", 0.0) >= ENOUGH_EVIDENCE,
            # Labels, or what is kept, allow no pair.
            "barred": merge.skipped and merge.pairs == 0,
            **as_json(dict(merge.more)),
        }
        for merge in record.merges
    ]


def of_confidence(
    confidence: NDArray[np.float64] | None, batches: CellGroups, clusters: CellGroups | None
) -> dict[str, Any] | None:
    """Tell how sure places are, in each batch and cluster."""
    if confidence is None:
        return None
    known = confidence[np.isfinite(confidence)]

    def by(groups: CellGroups) -> list[dict[str, Any]]:
        rows = []
        for code, name in enumerate(groups.names):
            inside = confidence[groups.codes == code]
            rows.append(
                {
                    "name": name,
                    "cells": len(inside),
                    "median": as_json(float(np.median(inside))),
                    "below": as_json(float((inside < UNSURE).mean())),
                }
            )
        return rows

    return {
        "threshold": UNSURE,
        "median": as_json(float(np.median(known))) if len(known) else None,
        "below": as_json(float((known < UNSURE).mean())) if len(known) else None,
        "by_batch": by(batches),
        "by_cluster": None if clusters is None else by(clusters),
    }


def of_groups(groups: CellGroups | None, batches: CellGroups) -> dict[str, Any] | None:
    """Tell the sizes of groups in each batch."""
    if groups is None:
        return None
    both = (groups.codes >= 0) & (batches.codes >= 0)
    counts = np.zeros((len(groups.names), len(batches.names)), np.int64)
    np.add.at(counts, (groups.codes[both], batches.codes[both]), 1)
    return {**group_facts(groups), "counts": counts.tolist()}


def of_clusters(
    adata: AnnData, key: str, clusters: CellGroups | None, batches: CellGroups
) -> dict[str, Any] | None:
    """Tell the sizes of clusters in batches, and how their number was chosen."""
    found = of_groups(clusters, batches)
    if found is None:
        return None
    told = as_json(entry_of(adata.uns, key, "clusters") or {})
    return {
        **found,
        "bic": told.get("bic"),
        "n_components": told.get("n_components"),
        "n_clusters": told.get("n_clusters", told.get("n_components")),
        "criterion": told.get("params", {}).get("criterion", "bic"),
        "converged": told.get("converged"),
        "fitted_on": told.get("fitted_on"),
        "parameters": told.get("params"),
    }


def of_genes(
    adata: AnnData,
    keys: Keys,
    batches: CellGroups,
    before: NDArray[Any] | None,
    after: NDArray[Any],
    symbols: Sequence[str],
    *,
    same_axes: bool,
) -> dict[str, Any]:
    """Find the genes that the correction changed most, from loadings and how far cells moved.

    The change of a cell in a gene is its displacement times the gene's loadings. Its mean square
    over cells follows from the mean products of displacements, without any matrix of expression.
    """
    theirs = keys.loadings in adata.varm and not are_of_multibatch_pca(adata, keys)
    if not theirs or before is None or not same_axes:
        reason = (
            "the file has no loadings of the corrected components: an embedding was corrected as "
            "it was, or expression itself"
        )
        return {"table": None, "reason": reason}
    stored = adata.varm[keys.loadings]
    loadings = np.asarray(load(stored) if is_stored(stored) else stored, dtype=np.float64)
    if loadings.shape[1] != after.shape[1] or before.shape != after.shape:
        return {"table": None, "reason": "loadings and components have different numbers"}
    moved = after.astype(np.float64) - before
    products = moved.T @ moved / len(moved)
    change = np.sqrt(np.maximum(0, np.einsum("gd,de,ge->g", loadings, products, loadings)))
    order = np.argsort(-change, kind="stable")[: min(MOST_GENES, int((change > 0).sum()))]
    means = np.stack(
        [
            moved[batches.codes == code].mean(0) if size else np.zeros(moved.shape[1])
            for code, size in enumerate(batches.sizes)
        ]
    )
    by_batch = loadings[order] @ means.T
    return {
        "unit": "log-expression of cells scaled to unit length"
        if keys.norm in adata.obs
        else "log-expression",
        "table": [
            {
                "gene": symbols[gene],
                "id": str(adata.var_names[gene]),
                "change": float(change[gene]),
                "by_batch": row.tolist(),
            }
            for gene, row in zip(order.tolist(), by_batch, strict=True)
        ],
    }


def of_covariates(
    adata: AnnData, taken: Sequence[str | None], keys: Keys, batches: CellGroups
) -> list[dict[str, Any]]:
    """Compare the other columns of obs with the batch as ``check`` does, those most tied first."""
    own = {name for slot, name in owned(adata.uns) if slot == "obs"} | {keys.confidence, keys.norm}
    found = []
    for name in adata.obs.columns:
        if name in taken or name in own:
            continue
        column = adata.obs[name]
        most = max(MOST_VALUES, len(batches.names))
        # One value says nothing; as many as cells are names of cells, not a covariate.
        if not is_quantity(column) and not 2 <= column.nunique() <= most:
            continue
        tie = relation(batches.codes, column)
        how = tie.confounding
        found.append(
            {
                "name": str(name),
                "kind": "numbers" if tie.quantity else "categories",
                "n_values": None if tie.quantity else tie.n_values,
                "missing": tie.n_missing,
                "strength": how.strength,
                "fixed": how.fixed,
                "identical": how.identical,
            }
        )
    found.sort(key=lambda entry: (-float(str(entry["strength"])), str(entry["name"])))
    return found[:MOST_COVARIATES]


def of_scores(
    adata: AnnData, key: str | list[str], keys: Keys, wanted: ReportOptions
) -> dict[str, Any]:
    """Take the scores that are stored, or compute them."""
    stored = entry_of(adata.uns, keys.evaluation, "evaluation")
    if not is_derived(adata.uns, keys.evaluation, wanted.key_added):
        stored = None
    if stored is not None and wanted.label_key is not None:
        told = stored.get("params", {}).get("label_key")
        # Scores by other labels say more than none.
        stored = stored if told == wanted.label_key or not wanted.evaluate else None
    if stored is not None:
        return _score_facts(stored)
    if not wanted.evaluate:
        return {"scores": None, "reason": "the file has no scores; compute them by evaluate"}
    return computed_scores(adata, key, keys, wanted)


def computed_scores(
    adata: AnnData, key: str | list[str], keys: Keys, wanted: ReportOptions, **embeddings: Any
) -> dict[str, Any]:
    """Compute scores, which stay in the object; or say why there are none."""
    try:
        with warnings.catch_warnings(action="ignore", category=UserWarning):
            tl.evaluate(
                adata,
                key,
                label_key=wanted.label_key,
                **embeddings,
                key_added=keys.key_added,
                random_state=wanted.random_state,
                n_jobs=wanted.n_jobs,
                progress=wanted.progress,
            )
    except ValueError as error:
        return {"scores": None, "reason": str(error)}
    return _score_facts(fields_of(adata.uns, keys.evaluation))


def _score_facts(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Tell the scores of an evaluation, and the null of each."""
    scores, splits = stored["scores"], stored.get("null")
    return {
        "scores": [
            {
                "score": str(name),
                **{str(column): as_json(row[column]) for column in scores.columns},
                **_null_band(splits, str(name)),
            }
            for name, row in scores.iterrows()
        ],
        "lost_variance": as_json(_whole_batches(stored.get("lost_variance"))),
        "parameters": as_json(stored.get("params", {})),
    }


def _null_band(splits: Any, score: str) -> dict[str, Any]:
    """Tell the least and largest score over random splits, and the mean before their correction."""
    if not isinstance(splits, pd.DataFrame):
        return {}
    known = splits.dropna(axis=1, how="all")
    told: dict[str, Any] = {}
    if score in known:
        told = {"null_low": as_json(known[score].min()), "null_high": as_json(known[score].max())}
    if f"{score}_before" in known:
        told["null_before"] = as_json(known[f"{score}_before"].mean())
    return told


def _whole_batches(table: Any) -> Any:
    """Of a table too long to be read, keep the rows that are of all cells of a batch."""
    is_long = isinstance(table, pd.DataFrame) and len(table) > MOST_MEASURED_ROWS
    return table[table["label"].astype(str) == ""] if is_long and "label" in table else table
