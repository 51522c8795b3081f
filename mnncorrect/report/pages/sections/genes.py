"""The genes that a correction changed most."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mnncorrect.pl._colors import EMPHASIS
from mnncorrect.report.draw import drawings
from mnncorrect.report.draw.html import Html, joined, table, tag
from mnncorrect.report.draw.parts import MANY_COLUMNS, number

if TYPE_CHECKING:
    from collections.abc import Mapping


def genes(facts: Mapping[str, Any]) -> Html:
    """List the genes that were changed most, or say why they are not known."""
    told = facts["genes"]
    if told["table"] is None:
        return tag("p", f"Not known: {told['reason']}.")
    if not told["table"]:
        return tag("p", "No gene was changed.")
    names = facts["batches"]["names"]
    few = len(names) <= MANY_COLUMNS
    most = told["table"][0]["change"]
    rows = [
        [
            row["gene"],
            number(row["change"], 4),
            drawings.bar(row["change"] / most, EMPHASIS),
            *(number(value, 4) for value in (row["by_batch"] if few else ())),
        ]
        for row in told["table"]
    ]
    return joined(
        [
            tag(
                "p",
                "Root mean square over cells of what the correction changes in a gene, as the "
                f"corrected components have it ({told['unit']})"
                + ("; then the mean change in each batch." if few else "."),
            ),
            table(
                ["gene", "change", "", *(names if few else ())],
                rows,
                numbers=(1, *range(3, 3 + len(names))),
                label="Genes that were changed most",
            ),
            tag(
                "p",
                "Genes high up are not proof of a batch effect: where batches differ by "
                "treatment, these are its genes.",
                class_="dim",
            ),
        ]
    )
