"""The frame of a page, and what pages of all kinds show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mnncorrect._adata.lookup import shortened
from mnncorrect._prepare.removed_cells import with_removed_in_words
from mnncorrect.core.metrics.embedding import SCORES
from mnncorrect.pl.palettes import colors_of
from mnncorrect.report.draw.cells import (
    LegendEntry,
    MapPoints,
    MapSet,
    color_by_group,
    color_by_number,
    legend,
)
from mnncorrect.report.draw.maps import MANY_POINTS
from mnncorrect.report.draw.templates import fill_template, said

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mnncorrect.report.collect.advice import Advice
    from mnncorrect.report.collect.facts import Gathered
    from mnncorrect.report.collect.groups import CellGroups

# More batches than these have no legend, and no column of their own in a table.
MOST_IN_LEGEND, MANY_COLUMNS = 60, 12
COMPONENTS, UMAP = ("component 1 (across), 2 (up)", "UMAP 1 (across), 2 (up)")
LONE_LABEL, SURE_LABEL = "0: no counterpart", "1: sure"
ONE_BATCH, MIXED = "0: one batch", "1: as in all cells"


def whole(
    title: str, summary: str, sections: Sequence[tuple[str, str, bool]], data: Any, **context: Any
) -> str:
    """Make a page.

    ``sections``: template, heading, and whether there is something to show.
    """
    first = data if isinstance(data, dict) else data[0]
    return fill_template(
        "page.html",
        title=title,
        summary=summary,
        sections=[(name, heading) for name, heading, shown in sections if shown],
        data=data,
        version=first["made_by"]["version"],
        **context,
    )


def advice_facts(told: Sequence[Advice]) -> dict[str, Any]:
    """Write what to know for programs."""
    return {
        "advice": [
            {"level": one.level, "title": one.title, "text": one.text, "remedy": one.remedy}
            for one in told
        ]
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
    rows = None if len(found.sampled) == len(found.cells) else found.sampled
    some = "" if rows is None else f" ({len(rows):,} cells)"
    before = MapPoints(f"before{some}", UMAP, found.umap_before, rows, **gray)
    return [before, MapPoints("after", UMAP, found.umap, **gray)], components


def maps_of(found: Gathered) -> dict[str, Any]:
    """Draw the cells by batch, label, cluster, mixing and confidence."""
    shown, more = maps_shown(found)
    n = found.facts["n_cells"]
    note = (
        f"Each of the {n:,} cells is a dot; where dots overlap, a random one is on top. "
        + ("The outermost 0.1 % of the cells are drawn at the edge. " if n >= MANY_POINTS else "")
        + _map_sources(found)
        + _on_reference(found)
        + ("" if found.before is not None else " The file has no components before the correction.")
    )
    sets = _colored_maps(found, shown)
    return {
        "maps_note": note,
        "mapsets": sets,
        "more_maps": _grouped(found, more)[:2] if more else [],
    }


def _map_sources(found: Gathered) -> str:
    """Say which embeddings the maps show."""
    umaps = {"before": found.umap_before, "after": found.umap}
    sentences = []
    for state, umap in umaps.items():
        if state not in found.names:
            continue
        shown, in_file = found.names[state], found.names.get("umap")
        if found.umap is None:
            sentences.append(f"The map {state} shows {shown}.")
        elif found.umap_before is None:
            sentences.append(f"The components {state} are {shown}.")
        if umap is None:
            continue
        if found.reference is not None:  # whose map it is; see _on_reference
            sentences.append(f"The UMAP {state} is of {shown}.")
        elif state == "after" and in_file is not None:
            sentences.append(f"The UMAP {state} is {in_file}, of {shown}.")
        else:
            sentences.append(f"The UMAP {state} is of {shown} and was drawn for this report.")
    return " ".join(sentences)


def _on_reference(found: Gathered) -> str:
    """Say what the gray cells are, and how new cells came onto their map."""
    if found.reference is None:
        return ""
    told = f" The {len(found.reference.corrected):,} cells of the reference are gray, beneath."
    if found.reference.drawn is not None:
        told += (
            " The UMAP is that of the reference: each new cell lies at the weighted mean of its "
            "nearest reference cells."
        )
    return told


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
    """Return the scores with their null, those without any value left out."""
    rows = []
    for row in evaluation["scores"] or ():
        if all(row.get(name) is None for name in ("before", "after", "null")):
            continue
        known, null = SCORES.get(row["score"]), row.get("null")
        rows.append(
            {
                "score": row["score"],
                "before": row.get("before"),
                "after": row.get("after"),
                "null": null,
                "low": row.get("null_low", null),
                "high": row.get("null_high", null),
                "ideal": None if known is None else known.ideal,
                "meaning": "" if known is None else known.meaning,
            }
        )
    return rows


def was_done(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters and the software."""
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
        "command": facts["command"],
        "parameter_rows": [
            [f"{prefix}{name}", said(value)]
            for prefix, values in groups.items()
            for name, value in values.items()
        ],
        "software_rows": [list(row) for row in software.items()],
        "seed": made.get("random_state"),
    }


def went_in(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the batches and their sizes."""
    batches = facts["batches"]
    total, largest = sum(batches["sizes"]) or 1, max(batches["sizes"], default=1) or 1
    n, key = len(batches["names"]), batches["key"]
    column = "no column of obs distinguishes several" if key is None else f"obs column {key}"
    return {
        "input_words": f"{facts['n_cells']:,} cells x {facts['n_genes']:,} genes in {n:,} "
        f"{'batch' if n == 1 else 'batches'} ({column}).",
        "batch_rows": [
            (name, size, size / largest, size / total)
            for name, size in zip(batches["names"], batches["sizes"], strict=True)
        ],
    }


def covariate_rows(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the confounding of other columns of obs with the batch, with a text for each."""
    return [entry | {"words": _of_covariate(entry)} for entry in facts["covariates"]]


def _of_covariate(entry: Mapping[str, Any]) -> str:
    missing = f" Missing for {entry['missing']:,} cells." if entry["missing"] else ""
    if entry["identical"]:
        return f"Another name of the batch: one value in each batch, one batch a value.{missing}"
    if entry["fixed"]:
        return (
            "One value in each batch: its effect is not distinguishable from the batch effect, and "
            f"is corrected with it.{missing}"
        )
    for least, words in (
        (0.7, "Very unequal over batches; largely confounded."),
        (0.3, "Unequal over batches; partly confounded."),
        (0.1, "Somewhat unequal over batches."),
    ):
        if entry["strength"] >= least:
            return words + missing
    return f"Alike in all batches.{missing}"


def in_title(name: str) -> str:
    """Shorten the name of a file for a title."""
    return shortened(name, 80)
