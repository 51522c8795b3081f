"""Tables of clusters and labels: shares of batches, mixing, confidence and markers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mnncorrect import pl
from mnncorrect.report.draw.figures import Picture, picture

if TYPE_CHECKING:
    from mnncorrect.report.collect.facts import Gathered


def tables_of(found: Gathered) -> dict[str, Any]:
    """Return the tables of labels and clusters, and the curve by which their number was chosen."""
    facts = found.facts
    confidence = None if facts["confidence"] is None else facts["confidence"]["by_cluster"]
    given = (
        ("label", "Labels", facts["labels"], facts["mixing"], None),
        ("cluster", "Clusters", facts["clusters"], facts["mixing_by_cluster"], confidence),
    )
    tables = [
        {
            "kind": kind,
            "title": f"{title} ({groups['key']})",
            "groups": groups,
            "everything": [sum(column) for column in zip(*groups["counts"], strict=True)],
            "mixing": mixing,
            "confidence": by_group,
        }
        for kind, title, groups, mixing, by_group in given
        if groups is not None
    ]
    return {"group_tables": tables, "curve": _selection_curve(found)}


def _selection_curve(found: Gathered) -> Picture | None:
    """Draw how the number of clusters was chosen, where several were tried."""
    clusters = found.facts["clusters"]
    if clusters is None or len(clusters["bic"] or ()) < 2:
        return None
    figure = pl.bic(found.outline, key=clusters["key"], return_fig=True)
    return picture(figure, f"{clusters['criterion'].upper()} by number of components")  # type: ignore[arg-type]
