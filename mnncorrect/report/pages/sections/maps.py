"""Cells on their maps, before and after."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mnncorrect.report.draw.html import Html, joined, tag
from mnncorrect.report.draw.maps import MANY_POINTS, PIXELS
from mnncorrect.report.draw.parts import group_map, legend, number_map, scale, together

if TYPE_CHECKING:
    from mnncorrect.report.collect.facts import Gathered


def maps_of(found: Gathered) -> Html:
    """Draw each place of the cells by batch, label, cluster and confidence."""
    places: list[tuple[str, str, Any]] = []
    if found.before is not None:
        places.append(("before", "before: first two components", found.before))
    places.append(("after", "after: first two components", found.after))
    if found.umap is not None:
        places.append(("umap", "after: UMAP", found.umap))
    sources = "; ".join(f"{name}: {where}" for name, where in found.names.items())
    n = found.facts["n_cells"]
    parts: list[Html] = [
        tag(
            "p",
            f"Every one of the {n:,} cells is drawn, as a dot in an image of {PIXELS} x {PIXELS} "
            "pixels; where dots overlap, one drawn at random is seen. "
            + ("The outermost one in a thousand lie at the edge. " if n >= MANY_POINTS else "")
            + f"Axes have no unit that could be compared between maps. {sources}.",
            class_="dim",
        )
    ]
    if found.before is None:
        parts.append(
            tag(
                "p",
                "The file holds no components from before the correction, so there is no map "
                "of them.",
            )
        )
    groupings = [("batch", found.batches), ("label", found.labels), ("cluster", found.clusters)]
    for what, groups in groupings:
        if groups is None:
            continue
        parts.append(
            tag("h3", f"By {what}" if groups.name is None else f"By {what} ({groups.name})")
        )
        parts.append(legend(groups))
        parts.append(
            together(
                [
                    group_map(
                        points,
                        groups,
                        caption,
                        label=f"Map of {n:,} cells, {caption}, coloured by {what}",
                        names=what != "batch",
                    )
                    for _, caption, points in places
                ]
            )
        )
    if found.confidence is not None:
        parts.append(tag("h3", "By confidence"))
        parts.append(scale("0: was not moved", "1: sure"))
        parts.append(
            together(
                [
                    number_map(
                        points,
                        found.confidence,
                        caption,
                        label=f"Map of {n:,} cells, {caption}, coloured by confidence",
                        ends=(0.0, 1.0),
                    )
                    for _, caption, points in places
                ]
            )
        )
    return joined(parts)
