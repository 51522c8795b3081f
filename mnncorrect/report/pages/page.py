"""The frame of a page, and what pages of all kinds show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mnncorrect import __version__, pl
from mnncorrect._prepare.removed_cells import with_removed_in_words
from mnncorrect.core.metrics.evaluation import SCORES
from mnncorrect.pl.palettes import colors_of
from mnncorrect.report.collect.advice import percent
from mnncorrect.report.draw.cells import (
    LegendEntry,
    MapPoints,
    MapSet,
    color_by_group,
    color_by_number,
    legend,
)
from mnncorrect.report.draw.figures import picture
from mnncorrect.report.draw.maps import MANY_POINTS
from mnncorrect.report.draw.templates import fill_template, number, said
from mnncorrect.report.pages.groups import tables_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mnncorrect.report.collect.facts import Gathered
    from mnncorrect.report.collect.groups import CellGroups

# More batches than these have no legend, and no column of their own in a table.
MOST_IN_LEGEND, MANY_COLUMNS = 60, 12
# More batches than these make plots of them too high to be read.
MOST_IN_PLOTS = 60
# Letters of the name of a file in a title.
MOST_TITLE_LETTERS = 80
COMPONENTS, UMAP = ("component 1 (across), 2 (up)", "UMAP 1 (across), 2 (up)")
LONE_LABEL, SURE_LABEL = "0: no counterpart", "1: sure"
ONE_BATCH, MIXED = "0: one batch", "1: as in all cells"


def whole(
    title: str, summary: str, sections: Sequence[tuple[str, str, bool]], data: Any, **context: Any
) -> str:
    """Make a page; ``data`` is what it holds for programs.

    ``sections``: template, heading, and whether there is something to show.
    """
    return fill_template(
        "page.html",
        title=title,
        summary=summary,
        sections=[(name, heading) for name, heading, shown in sections if shown],
        data=data,
        version=__version__,
        **context,
    )


def of_one_file(found: Gathered) -> dict[str, Any]:
    """Return what the pages about one file show: a correction, or new cells."""
    return {
        "found": found,
        "facts": found.facts,
        **batches_of(found),
        **maps_of(found),
        **tables_of(found),
        **confidence_of(found),
        **was_done(found.facts),
    }


def batches_of(found: Gathered) -> dict[str, Any]:
    """Return what tables and legends say of batches."""
    names, sizes = found.batches.names, found.batches.sizes
    shown: list[LegendEntry] = legend(found.batches) if len(names) <= MOST_IN_LEGEND else []
    return {
        "batch_names": names,
        "batch_colors": list(colors_of(names, sizes).values()),
        "batch_legend": shown,
        "few_batches": len(names) <= MANY_COLUMNS,
    }


def maps_shown(found: Gathered) -> tuple[list[MapPoints], list[MapPoints]]:
    """Choose the maps that are shown, and those that are shown where a reader asks for them."""
    behind = found.reference
    gray = {} if behind is None else {"beneath": behind.corrected}
    # Maps of different kinds are not compared: the components stand beside the UMAP.
    alone = found.umap is not None and found.umap_before is None
    components = []
    for state, points in (("before", found.before), ("after", found.after)):
        if points is not None:
            caption = f"{state} (components)" if alone else state
            components.append(MapPoints(caption, COMPONENTS, points, **gray))
    if found.umap is None:
        return components, []
    gray = {} if behind is None or behind.drawn is None else {"beneath": behind.drawn}
    if found.umap_before is None:
        return [*components, MapPoints("after (UMAP)", UMAP, found.umap, **gray)], []
    rows = None if len(found.sample.rows) == len(found.cells) else found.sample.rows
    some = "" if rows is None else f" ({len(rows):,} cells)"
    before = MapPoints(f"before{some}", UMAP, found.umap_before, rows, **gray)
    return [before, MapPoints("after", UMAP, found.umap, **gray)], components


def maps_of(found: Gathered) -> dict[str, Any]:
    """Draw the cells by batch, label, cluster, mixing and confidence."""
    shown, more = maps_shown(found)
    return {
        "mapsets": _colored_maps(found, shown),
        "more_maps": _grouped(found, more)[:2] if more else [],
        "cuts_outermost": found.facts["n_cells"] >= MANY_POINTS,
    }


def _colored_maps(found: Gathered, places: list[MapPoints]) -> list[MapSet]:
    sets = _grouped(found, places)
    mixing = found.mixing
    if mixing is not None:
        rows = mixing.rows
        inside = [only(one, rows) for one in places]
        values = [
            mixing.before
            if one.caption.startswith("before") and mixing.before is not None
            else mixing.after
            for one in places
        ]
        sets.append(
            color_by_number(
                inside,
                values,
                "Mixing around each cell",
                note="Effective number of batches among the 30 nearest cells, scaled. A cell type "
                "that only some batches have cannot reach 1."
                + ("" if len(rows) == len(found.cells) else f" A sample of {len(rows):,} cells."),
                ends=(ONE_BATCH, MIXED),
            )
        )
    if found.confidence is not None:
        where = "the model" if found.facts["about"] == "projection" else "another batch"
        sets.append(
            color_by_number(
                places,
                [one.of(found.confidence) for one in places],
                "Confidence",
                note=f"Probability that a cell has a counterpart in {where}.",
                ends=(LONE_LABEL, SURE_LABEL),
            )
        )
    return sets


def _grouped(found: Gathered, places: list[MapPoints]) -> list[MapSet]:
    given = [("Batch", found.batches), ("Label", found.labels), ("Cluster", found.clusters)]
    return [
        color_by_group(places, groups, heading(what, groups), names=what != "Batch")
        for what, groups in given
        if groups is not None
    ]


def heading(what: str, groups: CellGroups) -> str:
    """Name a grouping by its kind and its column."""
    same = groups.name is None or groups.name.lower() == what.lower()
    return what if same else f"{what} ({groups.name})"


def only(places: MapPoints, rows: NDArray[np.int64]) -> MapPoints:
    """Keep the cells that were sampled; the maps before are of these already."""
    if places.rows is not None:
        return places
    return replace(places, points=places.points[rows], rows=rows)


def score_rows(evaluation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the scores with their null and their meaning, those without any value left out."""
    rows = []
    for row in evaluation["scores"] or ():
        values = {name: row.get(name) for name in ("before", "after", "null")}
        if any(value is not None for value in values.values()):
            known = SCORES.get(row["score"])
            low, high = (row.get(name, values["null"]) for name in ("null_low", "null_high"))
            about = {"ideal": None, "meaning": ""} if known is None else vars(known)
            rows.append({"score": row["score"], **values, "low": low, "high": high, **about})
    return rows


def was_done(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the rows of parameters and of software."""
    clusters = facts["clusters"] or {}
    groups = {
        "": facts["parameters"],
        "prepared: ": with_removed_in_words(facts["prepared"]),
        "clusters: ": clusters.get("parameters") or {},
        "map: ": facts["umap"] or {},
    }
    made = facts["provenance"]
    software = {made.get("software", "-"): made.get("version", "-"), **made.get("packages", {})}
    return {
        "parameter_rows": [
            [f"{prefix}{name}", said(value)]
            for prefix, values in groups.items()
            for name, value in values.items()
        ],
        "software_rows": [list(row) for row in software.items()],
    }


def confidence_of(found: Gathered) -> dict[str, Any]:
    """Draw how confidence is spread in each batch; of many batches, list it."""
    told = found.facts["confidence"]
    if told is None:
        return {}
    plots, rows = [], []
    by_column = [(None, "batch", told["by_batch"])]
    if told["by_cluster"] is not None:
        by_column.append((found.facts["clusters"]["key"], "cluster", told["by_cluster"]))
    for column, what, groups in by_column:
        if len(groups) > MOST_IN_PLOTS:
            listed = [
                [
                    row["name"],
                    f"{row['cells']:,}",
                    number(row["median"]),
                    "-" if row["below"] is None else percent(row["below"]),
                ]
                for row in groups
            ]
            rows.append({"name": what, "rows": listed})
            continue
        figure = pl.confidence(
            found.outline,
            groupby=column,
            key_added=found.key_added,
            title=f"by {what}",
            return_fig=True,
        )
        plots.append(picture(figure, f"Confidence of cells by {what}"))  # type: ignore[arg-type]
    return {"confidence_plots": plots, "confidence_rows": rows}
