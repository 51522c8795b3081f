"""The page about several corrections of the same cells, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mnncorrect.report.draw.cells import MapPoints, MapSet, color_by_group, color_by_number
from mnncorrect.report.draw.templates import number, said
from mnncorrect.report.pages.page import (
    COMPONENTS,
    MIXED,
    ONE_BATCH,
    UMAP,
    batches_of,
    heading,
    only,
    score_rows,
    whole,
)

if TYPE_CHECKING:
    from mnncorrect.report.collect.facts import Gathered


def comparison_page(found: Sequence[Gathered]) -> str:
    """Make the page about several corrections of the same cells."""
    each = [one.facts for one in found]
    tables = [{row["score"]: row for row in score_rows(facts["evaluation"])} for facts in each]
    commands = [facts for facts in each if facts["command"]["text"]]
    parameters = _parameters(found)
    return whole(
        f"{len(found)} corrections of the same {each[0]['n_cells']:,} cells",
        "compared",
        [
            ("compared_maps", "Maps", True),
            ("compared_scores", "Scores", True),
            ("compared_advice", "What to know", True),
            ("parameters", "What differs", bool(parameters)),
            ("commands", "Commands", bool(commands)),
        ],
        each,
        names=[facts["file"] for facts in each],
        compared=each,
        preserved=[table.get("preserved") for table in tables],
        mapsets=_maps(found),
        **batches_of(found[0]),
        compared_rows=_score_rows(tables),
        parameter_rows=parameters,
        commands=commands,
    )


def _score_rows(tables: Sequence[Mapping[str, Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Put the scores after each correction beside each other, each with its own null."""
    rows = []
    for name in dict.fromkeys(name for table in tables for name in table):
        each = [table.get(name) for table in tables]
        known = [row for row in each if row is not None]
        before = (row["before"] for row in known if row["before"] is not None)
        rows.append({**known[0], "before": next(before, None), "each": each})
    return rows


def _parameters(found: Sequence[Gathered]) -> list[list[str]]:
    params = [one.facts["parameters"] for one in found]
    differing = [
        name
        for name in dict.fromkeys(name for told in params for name in told)
        if len({repr(told.get(name)) for told in params}) > 1
    ]
    return [[name, *(said(told.get(name)) for told in params)] for name in differing]


def _maps(found: Sequence[Gathered]) -> list[MapSet]:
    """Draw the UMAP where all have one, or else the first two components; first, that before."""
    mapped = all(one.umap is not None for one in found)
    places = []
    for one in found:
        name, mixing = one.facts["file"], one.facts["mixing"]
        caption = name
        if mixing is not None and mixing["after"] is not None:
            caption += f" (mixing {number(mixing['after'])} of {number(mixing['attainable'])})"
        if mapped and one.umap is not None:
            whole_map = one.umap_rows is None or len(one.umap_rows) == len(one.cells)
            rows = None if whole_map else one.umap_rows
            places.append(MapPoints(caption, UMAP, one.umap, rows))
        else:
            places.append(MapPoints(caption, COMPONENTS, one.after))
    first = found[0]
    before = []
    if mapped and first.umap_before is not None:
        rows = None if len(first.sample.rows) == len(first.cells) else first.sample.rows
        before = [MapPoints("before", UMAP, first.umap_before, rows)]
    elif first.before is not None:
        before = [MapPoints("before", COMPONENTS, first.before)]
    drawn = []
    for what, column in (("Batch", "batches"), ("Label", "labels"), ("Cluster", "clusters")):
        # Cells may come in another order in other files: each has its own groups.
        each = [getattr(one, column) for one in found]
        if any(one is None for one in each):
            continue
        groups = each[0]
        sets = [
            color_by_group([place], own, heading(what, own), names=what != "Batch")
            for place, own in zip(
                [*before, *places], [*([groups] * len(before)), *each], strict=True
            )
        ]
        same = all(one.names == groups.names for one in each)
        drawn.append(
            MapSet(
                heading(what, groups),
                "" if same else "Each correction has clusters of its own.",
                [one.maps[0] for one in sets],
                sets[0].legend if same else [],
            )
        )
    if first.mixing is not None:
        drawn.append(_mixing(found, before, places))
    return drawn


def _mixing(found: Sequence[Gathered], before: list[MapPoints], places: list[MapPoints]) -> MapSet:
    """Draw mixing around cells, before and after each correction, on one scale."""
    measured = [(place, one.mixing) for place, one in zip(places, found, strict=True)]
    shown = [(only(place, mixing.rows), mixing.after) for place, mixing in measured if mixing]
    first = found[0].mixing
    if before and first is not None and first.before is not None:
        shown.insert(0, (only(before[0], first.rows), first.before))
    return color_by_number(
        [place for place, _ in shown],
        [values for _, values in shown],
        "Mixing around each cell",
        note="Effective number of batches among the 30 nearest cells, scaled.",
        ends=(ONE_BATCH, MIXED),
    )
