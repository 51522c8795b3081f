"""Tables of clusters and labels: shares of batches, mixing, confidence and markers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mnncorrect import pl
from mnncorrect.report.draw.figures import Picture, picture

if TYPE_CHECKING:
    from mnncorrect.report.collect.facts import Gathered

# Markers that a row names.
MARKERS_SHOWN = 6
CHOSEN_BY = {
    "bic": "The Bayesian information criterion (BIC)",
    "icl": "The integrated completed likelihood (ICL)",
}


def tables_of(found: Gathered) -> dict[str, Any]:
    """Return the tables of labels and clusters, and the curve by which clusters were chosen."""
    facts = found.facts
    tables = []
    if facts["labels"] is not None:
        tables.append(_group_table("label", facts["labels"], facts["mixing"], None, facts))
    if facts["clusters"] is not None:
        confidence = facts["confidence"]
        tables.append(
            _group_table(
                "cluster",
                facts["clusters"],
                facts["mixing_by_cluster"],
                None if confidence is None else confidence["by_cluster"],
                facts,
            )
        )
    curve, note = _selection_curve(found)
    return {
        "group_tables": tables,
        "mixed_tables": any(table["mixed"] for table in tables),
        "curve": curve,
        "curve_note": note,
    }


def _group_table(
    kind: str,
    groups: Mapping[str, Any],
    mixing: Mapping[str, Any] | None,
    confidence: list[dict[str, Any]] | None,
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    mixed = {row["name"]: row for row in (mixing or {}).get("groups", ())}
    sure = {row["name"]: row for row in confidence or ()}
    marked = facts["markers"]["of"] == groups["key"]
    genes = (facts["markers"]["genes"] or {}) if marked else {}
    rows = [
        {
            "name": name,
            "cells": sum(counts),
            "counts": counts,
            "mixing": mixed.get(name),
            "confidence": sure.get(name),
            "markers": genes.get(name, [])[:MARKERS_SHOWN],
        }
        for name, counts in zip(groups["names"], groups["counts"], strict=True)
    ]
    everything = [sum(column) for column in zip(*groups["counts"], strict=True)]
    rows.append(
        {
            "name": "all",
            "cells": sum(everything),
            "counts": everything,
            "mixing": None if mixing is None else {**mixing, "state": ""},
            "confidence": None,
            "markers": [],
        }
    )
    what = "Clusters" if kind == "cluster" else "Labels"
    return {
        "kind": kind,
        "title": f"{what} ({groups['key']})",
        "rows": rows,
        "mixed": mixing is not None,
        "confident": bool(sure),
        "markers": bool(genes),
        "marked": marked or facts["markers"]["of"] is None,
    }


def _selection_curve(found: Gathered) -> tuple[Picture | None, str]:
    """Draw how the number of clusters was chosen, where several were tried."""
    facts = found.facts["clusters"]
    if facts is None or not facts["bic"] or len(facts["bic"]) < 2:
        return None, ""
    note = (
        f"{CHOSEN_BY[facts['criterion']]} of each number of components that was tried; lower "
        "is better. The axis spans the better half."
    )
    n_good = sum(bool(row.get("as_good")) for row in facts["bic"])
    if n_good > 1:
        note += (
            f" {n_good} numbers are equally good (rings); the fit was chosen whose clusters agree "
            "best with those of the others."
        )
    if facts["n_clusters"] < facts["n_components"]:
        note += (
            f" Of {facts['n_components']} components, those that overlap were merged into "
            f"{facts['n_clusters']} clusters."
        )
    if facts["fitted_on"] is not None:
        note += f" Fitted on {facts['fitted_on']:,} cells."
    figure = pl.bic(found.outline, key=facts["key"], return_fig=True)
    return picture(figure, f"{facts['criterion'].upper()} by number of components"), note  # type: ignore[arg-type]
