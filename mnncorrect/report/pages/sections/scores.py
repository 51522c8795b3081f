"""How well batches mix, and what is left of the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mnncorrect.report.draw.html import Html, joined, table, tag
from mnncorrect.report.draw.parts import score_rows

if TYPE_CHECKING:
    from collections.abc import Mapping


def scores(facts: Mapping[str, Any]) -> Html:
    """List the scores before and after, beside their null."""
    told = facts["evaluation"]
    if told["scores"] is None:
        return tag("p", f"Not measured: {told['reason']}.")
    columns = ("before", "after", "null")
    rows = score_rows(
        [(row["score"], [row.get(column) for column in columns]) for row in told["scores"]],
        strong=lambda values, ideal: 1,  # noqa: ARG005
    )
    left_out = told["parameters"].get("null_left_out")
    label = told["parameters"].get("label_key")
    by = f"Labels: {label}. " if label else "No labels were given. "
    by += f"No null: {left_out}. " if left_out else ""
    return joined(
        [
            tag(
                "p",
                "Before and after the correction. The null is what the same correction gives where "
                "there is nothing to correct: the largest batch, dealt out at random to two "
                "halves. A score near it is as good as can be had in these data.",
            ),
            table(
                ["score", "before", "after", "null", "what it says"],
                rows,
                numbers=(1, 2, 3),
                label="Scores before and after the correction",
                wordy=True,
            ),
            tag(
                "p",
                by,
                "Scores of one run do not tell which method is best; compare several.",
                class_="dim",
            ),
        ]
    )
