"""The page about several corrections of the same cells, side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mnncorrect.report.collect.advice import advise, percent
from mnncorrect.report.draw.html import Html, joined, table, tag
from mnncorrect.report.draw.parts import (
    command_line,
    group_map,
    legend,
    number,
    said,
    score_rows,
    together,
)
from mnncorrect.report.pages.page import advice_list, whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mnncorrect.report.collect.facts import Gathered

# So many columns of numbers find room on a phone.
FEW = 3
# Scores whose null tells corrections apart.
WITH_NULL = ("cilisi", "preserved", "moved")


def refuse_projections(found: Sequence[Gathered]) -> None:
    """Raise if a file holds projected cells, of which there is nothing to compare.

    Raises
    ------
    ValueError
        If one does; which is said.
    """
    for one in found:
        if one.facts["about"] == "projection":
            msg = (
                f"{one.facts['file']} holds cells that were projected onto a model, and "
                "corrections are compared; make a report of it alone"
            )
            raise ValueError(msg)


def refuse_other_cells(found: Sequence[Gathered]) -> None:
    """Raise if files are not of the same cells.

    Raises
    ------
    ValueError
        If they are not; which two differ is said.
    """
    first = found[0]
    for other in found[1:]:
        n_both = len(first.cells.intersection(other.cells))
        if not n_both == len(first.cells) == len(other.cells):
            msg = (
                f"{first.facts['file']} ({len(first.cells)} cells) and {other.facts['file']} "
                f"({len(other.cells)} cells) have {n_both} cells in common; corrections are "
                "compared of the same cells; make one report for each file"
            )
            raise ValueError(msg)


def render(found: Sequence[Gathered]) -> str:
    """Make the page about several corrections of the same cells."""
    refuse_projections(found)
    refuse_other_cells(found)
    names = [one.facts["file"] for one in found]
    return whole(
        f"{len(found)} corrections of {found[0].facts['n_cells']:,} cells",
        [
            ("summary", "", tag("p", "The same cells, corrected in different ways.")),
            ("scores", "Scores", _scores(found, names)),
            ("numbers", "Numbers", _numbers(found, names)),
            ("parameters", "What differs", _parameters(found, names)),
            ("maps", "Maps", _maps(found)),
            ("advice", "What to know", _advice(found)),
            ("commands", "Commands", _commands(found)),
        ],
        [one.facts for one in found],
    )


def _scores(found: Sequence[Gathered], names: Sequence[str]) -> Html:
    """Put the scores after each correction beside each other; the best of each is bold."""
    tables = [
        {row["score"]: row for row in one.facts["evaluation"]["scores"] or ()} for one in found
    ]
    scores = dict.fromkeys(score for told in tables for score in told)
    befores = {
        score: next(
            (v for told in tables if (v := told.get(score, {}).get("before")) is not None), None
        )
        for score in scores
    }
    rows = score_rows(
        [
            (score, [befores[score], *(told.get(score, {}).get("after") for told in tables)])
            for score in scores
        ],
        strong=_best,
    )
    if not rows:
        return tag("p", "No file has scores, and none were computed.")
    # The null is of each correction: what it does where there is nothing to do.
    where_nothing = tag("span", "The same where there is nothing to correct.", class_="meaning")
    for score in WITH_NULL:
        nulls = [told.get(score, {}).get("null") for told in tables]
        if any(value is not None for value in nulls):
            rows.append([f"{score}, null", "-", *map(number, nulls), where_nothing])
    return joined(
        [
            tag(
                "p",
                "After each correction, the nearest to the ideal in bold; before it, of the first "
                "file that tells it.",
            ),
            table(
                ["score", "before", *names, "what it says"],
                rows,
                numbers=range(1, 2 + len(names)),
                label="Scores of each correction",
                wordy=len(names) <= FEW,
            ),
        ]
    )


def _best(values: Sequence[float | None], ideal: float) -> int | None:
    """Find the best value after a correction, if several are known; the first is before any."""
    known = [
        (abs(value - ideal), at) for at, value in enumerate(values) if at and value is not None
    ]
    return min(known)[1] if len(known) > 1 else None


def _numbers(found: Sequence[Gathered], names: Sequence[str]) -> Html:
    def row(title: str, values: Sequence[Any]) -> list[Any]:
        return [title, *values]

    facts = [one.facts for one in found]
    lost = [
        [share for merge in told["merges"] for share in merge["lost_variance"].values()]
        for told in facts
    ]
    rows = [
        row("method", [told["parameters"].get("method", "-") for told in facts]),
        row("merges", [len(told["merges"]) for told in facts]),
        row("left alone", [sum(m["skipped"] for m in told["merges"]) for told in facts]),
        row("pairs", [f"{sum(m['pairs'] for m in told['merges']):,}" for told in facts]),
        row("most variance lost in a merge", [percent(max(s)) if s else "-" for s in lost]),
        row(
            "cells of low confidence",
            [
                percent(told["confidence"]["below"])
                if told["confidence"] and told["confidence"]["below"] is not None
                else "-"
                for told in facts
            ],
        ),
        row(
            "clusters",
            [len(told["clusters"]["names"]) if told["clusters"] else "-" for told in facts],
        ),
    ]
    return table(["", *names], rows, numbers=range(1, 1 + len(names)), label="Numbers")


def _parameters(found: Sequence[Gathered], names: Sequence[str]) -> Html:
    params = [one.facts["parameters"] for one in found]
    differing = [
        name
        for name in dict.fromkeys(name for told in params for name in told)
        if len({repr(told.get(name)) for told in params}) > 1
    ]
    if not differing:
        return tag("p", "All parameters that are recorded are the same.")
    rows = [[name, *(said(told.get(name)) for told in params)] for name in differing]
    return table(["parameter", *names], rows, label="Parameters that differ")


def _maps(found: Sequence[Gathered]) -> Html:
    """Draw the first two components, or the UMAP where all have one."""
    mapped = all(one.umap is not None for one in found)
    caption = "UMAP" if mapped else "first two components"
    parts: list[Html] = []
    for what in ("batches", "labels", "clusters"):
        groups = [getattr(one, what) for one in found]
        if any(group is None for group in groups):
            continue
        parts.append(tag("h3", f"By {groups[0].name} ({caption})"))
        if what != "clusters":
            parts.append(legend(groups[0]))
        parts.append(
            together(
                [
                    group_map(
                        one.umap if mapped and one.umap is not None else one.after,
                        group,
                        one.facts["file"],
                        label=f"{caption} of {one.facts['file']}, coloured by {group.name}",
                        names=what != "batches",
                    )
                    for one, group in zip(found, groups, strict=True)
                ]
            )
        )
    return joined(parts)


def _advice(found: Sequence[Gathered]) -> Html:
    parts: list[Html] = []
    for one in found:
        warned = [advice for advice in advise(one.facts) if advice.level == "warning"]
        parts.append(tag("h3", one.facts["file"]))
        parts.append(advice_list(warned) if warned else tag("p", "No warnings."))
    return joined(parts)


def _commands(found: Sequence[Gathered]) -> Html:
    return joined(
        joined([tag("h3", one.facts["file"]), command_line(one.facts["command"]["text"])])
        for one in found
    )
