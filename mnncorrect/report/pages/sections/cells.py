"""How sure the places of cells are, and which clusters they form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mnncorrect.pl._colors import EMPHASIS, colors_of
from mnncorrect.report.collect.advice import percent
from mnncorrect.report.draw import drawings
from mnncorrect.report.draw.html import Html, joined, table, tag
from mnncorrect.report.draw.parts import (
    MANY_COLUMNS,
    MANY_ROWS,
    MOST_CHIPS,
    folded,
    legend,
    number,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mnncorrect.report.collect.facts import Gathered

CRITERIA = {
    "bic": "The Bayesian information criterion (BIC)",
    "icl": "The integrated completed likelihood (ICL)",
}


def confidence(facts: Mapping[str, Any]) -> Html | None:
    """Tell how sure places are, by batch and by cluster; nothing, where no method told it."""
    told = facts["confidence"]
    if told is None:
        return None
    others = "the model" if facts["about"] == "projection" else "another batch"
    parts = [
        tag(
            "p",
            "How sure the place of a cell among those of "
            f"{'the model' if facts['about'] == 'projection' else 'other batches'} is, from 0 to "
            f"1. Cells below {told['threshold']:g} were not moved: they have no counterpart in "
            f"{others}, or none that is told apart from chance.",
        )
    ]
    for name, rows in (("batch", told["by_batch"]), ("cluster", told["by_cluster"])):
        if rows is None:
            continue
        listed = table(
            [name, "cells", "median", "", f"below {told['threshold']:g}"],
            [
                [
                    row["name"],
                    f"{row['cells']:,}",
                    number(row["median"], 2),
                    drawings.bar(row["median"] or 0.0, EMPHASIS),
                    "-" if row["below"] is None else percent(row["below"]),
                ]
                for row in rows
            ],
            numbers=(1, 2, 4),
            label=f"Confidence by {name}",
        )
        parts.append(folded(f"All {len(rows)}", listed, fold=len(rows) > MANY_ROWS))
    return joined(parts)


def clusters(found: Gathered) -> Html | None:
    """Show how batches share the clusters, and how the number of these was chosen."""
    facts = found.facts["clusters"]
    if facts is None:
        return None
    names = found.facts["batches"]["names"]
    colors = list(colors_of(names, found.facts["batches"]["sizes"]).values())
    few = len(names) <= MANY_COLUMNS
    rows = [
        [
            name,
            f"{sum(counts):,}",
            drawings.stacked(counts, colors, names),
            *(f"{count:,}" for count in (counts if few else ())),
        ]
        for name, counts in zip(facts["names"], facts["counts"], strict=True)
    ]
    everything = [sum(row[at] for row in facts["counts"]) for at in range(len(names))]
    rows.append(
        [
            "all",
            f"{sum(everything):,}",
            drawings.stacked(everything, colors, names),
            *(f"{count:,}" for count in (everything if few else ())),
        ]
    )
    listed = table(
        ["cluster", "cells", "shares of the batches", *(names if few else ())],
        rows,
        numbers=(1, *range(3, 3 + len(names))),
        label="Clusters by batch",
    )
    parts = [
        tag(
            "p",
            "How the cells of each cluster are shared out over the batches. The last row is "
            "what each would look like if batches were alike.",
        ),
        legend(found.batches) if len(names) <= MOST_CHIPS else None,
        folded(f"All {len(rows) - 1} clusters", listed, fold=len(rows) > MANY_ROWS),
    ]
    if facts["bic"] and len(facts["bic"]) > 1:
        parts += [
            tag("h3", "How many clusters"),
            tag(
                "p",
                f"{CRITERIA[facts['criterion']]} of each number of components tried; the lowest "
                "is best, and those far above it are not shown."
                + (
                    f" Of {facts['n_components']} components those that overlap were merged into "
                    f"{facts['n_clusters']} clusters."
                    if facts["n_clusters"] < facts["n_components"]
                    else ""
                )
                + (
                    f" Fitted on {facts['fitted_on']:,} cells."
                    if facts["fitted_on"] is not None
                    else ""
                ),
            ),
            tag(
                "div",
                drawings.curve(facts["bic"], int(facts["n_components"]), str(facts["criterion"])),
                class_="scroll",
                role="region",
                aria_label=f"{facts['criterion'].upper()} curve",
                tabindex="0",
            ),
        ]
    return joined(parts)
