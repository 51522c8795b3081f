"""The page about one corrected file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mnncorrect import pl
from mnncorrect._adata.lookup import shortened, side
from mnncorrect.core.merging.diagnostics import MUCH_LOST
from mnncorrect.report.draw.figures import picture
from mnncorrect.report.draw.templates import number
from mnncorrect.report.pages.page import (
    MOST_IN_PLOTS,
    MOST_TITLE_LETTERS,
    of_one_file,
    score_rows,
    whole,
)

if TYPE_CHECKING:
    from mnncorrect.report.collect.facts import Gathered

# Headings of the recorded columns of merges.
MERGE_COLUMNS = {
    "evidence": "evidence",
    "shared": "pairs with counterparts",
    "batch_size": "relative batch size",
    "recall": "pairs found",
}


def corrected_page(found: Gathered) -> str:
    """Make the page about one corrected file."""
    facts, shown = found.facts, of_one_file(found)
    lost = [share for merge in facts["merges"] for share in merge["lost_variance"].values()]
    return whole(
        f"Batch correction of {shortened(facts['file'], MOST_TITLE_LETTERS)}",
        "verdict",
        [
            ("advice", "What to know", bool(facts["advice"])),
            ("maps", "Maps", True),
            ("groups", "Clusters and labels", bool(shown["group_tables"])),
            ("scores", "Scores", True),
            ("merges", "Merges", True),
            ("confidence", "Confidence", facts["confidence"] is not None),
            ("genes", "Most changed genes", True),
            ("covariates", "Covariates", bool(facts["covariates"])),
            ("input", "Input", True),
            ("done", "Steps and parameters", True),
            ("methods", "Methods paragraph", True),
        ],
        facts,
        most_lost=max(lost, default=None),
        score_rows=score_rows(facts["evaluation"]),
        **shown,
        **_merges(found),
    )


def _merges(found: Gathered) -> dict[str, Any]:
    facts, key_added = found.facts, found.key_added
    merges = facts["merges"]
    more = [name for name in MERGE_COLUMNS if any(name in merge for merge in merges)]
    tree = pl.merges(found.outline, key_added=key_added, return_fig=True)
    measured = any(merge["lost_variance"] for merge in merges)
    lost = None
    if measured and len(facts["batches"]["names"]) <= MOST_IN_PLOTS:
        figure = pl.lost_variance(found.outline, key_added=key_added, title="", return_fig=True)
        lost = picture(figure, "Lost variance by merge and batch")  # type: ignore[arg-type]
    overall = [
        row
        for row in facts["evaluation"].get("lost_variance") or ()
        if row.get("label") in (None, "") and row.get("lost") is not None
    ]
    return {
        "much_lost": MUCH_LOST,
        "merges_measured": measured,
        "most_in_plots": MOST_IN_PLOTS,
        "tree": picture(tree, f"Tree of {len(merges)} merges"),  # type: ignore[arg-type]
        "merge_head": [
            "merge", "reference", "target", "pairs",
            *(MERGE_COLUMNS[name] for name in more), "result",
        ],
        "merge_rows": [
            [
                str(at),
                side(merge["left"]),
                side(merge["right"]),
                f"{merge['pairs']:,}",
                *(number(merge.get(name)) for name in more),
                _done(merge),
            ]
            for at, merge in enumerate(merges, 1)
        ],
        "lost": lost,
        "lost_rows": [
            [row["batch"], f"{row['cells']:,}", number(row["before"], 3), number(row["after"], 3),
             number(row["lost"], 3)]
            for row in overall
        ],
        "kept_rows": [
            [row["batch"], row["value"], f"{row['cells']:,}", number(row["kept"], 2)]
            for row in facts["kept"] or ()
        ],
    }  # fmt: skip


def _done(merge: Mapping[str, Any]) -> str:
    """Name what became of a merge."""
    if merge.get("apart"):
        return "skipped: nothing shared"
    if merge.get("barred"):
        return "skipped: no pair is allowed"
    return "skipped" if merge["skipped"] else "corrected"
