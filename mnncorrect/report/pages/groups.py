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


def tables_of(found: Gathered) -> dict[str, Any]:
    """Return the tables of labels and clusters, and the curve by which their number was chosen."""
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
    return {
        "group_tables": tables,
        "mixed_tables": any(table["mixed"] for table in tables),
        "curve": _selection_curve(found),
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


def _selection_curve(found: Gathered) -> Picture | None:
    """Draw how the number of clusters was chosen, where several were tried."""
    clusters = found.facts["clusters"]
    if clusters is None or len(clusters["bic"] or ()) < 2:
        return None
    figure = pl.bic(found.outline, key=clusters["key"], return_fig=True)
    return picture(figure, f"{clusters['criterion'].upper()} by number of components")  # type: ignore[arg-type]
