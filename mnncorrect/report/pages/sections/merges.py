"""The merges in their order, and the variance that they took away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mnncorrect.pl._merges import MUCH_LOST
from mnncorrect.report.collect.advice import percent, side
from mnncorrect.report.draw import drawings
from mnncorrect.report.draw.html import Html, joined, table, tag
from mnncorrect.report.draw.parts import MANY_COLUMNS, MANY_ROWS, folded, heat, number

if TYPE_CHECKING:
    from collections.abc import Mapping


def merges(facts: Mapping[str, Any]) -> Html:
    """Draw the tree of merges, and list them."""
    merges = facts["merges"]
    extra = [
        name for name in ("evidence", "batch_size", "recall") if any(name in m for m in merges)
    ]
    heads = {
        "evidence": "signal over noise",
        "batch_size": "relative batch size",
        "recall": "pairs found",
    }
    rows = [
        [
            str(at),
            side(merge["left"]),
            side(merge["right"]),
            f"{merge['pairs']:,}",
            *(number(merge.get(name), 2) for name in extra),
            "left alone" if merge["skipped"] else "corrected",
        ]
        for at, merge in enumerate(merges, 1)
    ]
    listed = table(
        ["merge", "reference", "target", "pairs", *(heads[name] for name in extra), ""],
        rows,
        numbers=range(3, 4 + len(extra)),
        label="Merges in their order",
    )
    drawn = drawings.tree(_all_batches(facts), merges)
    return joined(
        [
            tag(
                "p",
                "Batches are merged two sides at a time, from left to right. Dashed: left alone. "
                f"Orange: more than {percent(MUCH_LOST)} of a batch's variance was lost.",
            ),
            tag(
                "div",
                drawn,
                class_="scroll",
                role="region",
                aria_label="Tree of merges",
                tabindex="0",
            ),
            folded(f"All {len(rows)} merges", listed, fold=len(rows) > MANY_ROWS),
        ]
    )


def lost_variance(facts: Mapping[str, Any]) -> Html | None:
    """List what merges took away from each batch, and what is gone altogether."""
    merges = facts["merges"]
    names = _all_batches(facts)
    shares = [[merge["lost_variance"].get(name) for name in names] for merge in merges]
    known = [share for row in shares for share in row if share is not None]
    parts: list[Html] = []
    if known:
        most = max(MUCH_LOST, *known)
        if len(names) <= MANY_COLUMNS:
            rows = [
                [
                    f"{at}: {side(merge['right'])}",
                    *(heat(s, most) for s in row),
                ]
                for at, (merge, row) in enumerate(zip(merges, shares, strict=True), 1)
            ]
            listed = table(
                ["merge", *names],
                rows,
                numbers=range(1, 1 + len(names)),
                label="Lost variance by merge and batch",
            )
        else:
            worst = []
            for column, name in enumerate(names):
                found = [
                    (row[column], at) for at, row in enumerate(shares, 1) if row[column] is not None
                ]
                share, at = max(found, default=(None, 0))
                worst.append([name, heat(share, most), str(at) if at else "-"])
            listed = table(
                ["batch", "most lost in a merge", "in merge"],
                worst,
                numbers=(1, 2),
                label="Most variance lost by each batch",
            )
        parts.append(
            tag(
                "p",
                "Share of the variance within each batch that each merge took away. "
                f"Above {percent(MUCH_LOST)}, biology may have gone with it.",
            )
        )
        parts.append(folded(f"All {len(names)} batches", listed, fold=len(names) > MANY_ROWS))
    overall = [
        row
        for row in facts["evaluation"].get("lost_variance") or ()
        if row.get("label") in (None, "") and row.get("lost") is not None
    ]
    if overall:
        most = max(MUCH_LOST, *(row["lost"] for row in overall))
        rows = [
            [row["batch"], f"{row['cells']:,}", number(row["before"]), number(row["after"]),
             heat(row["lost"], most)]
            for row in overall
        ]  # fmt: skip
        listed = table(
            ["batch", "cells", "variance before", "after", "lost"],
            rows,
            numbers=range(1, 5),
            label="Variance within batches",
        )
        parts.append(
            tag(
                "p",
                "Altogether, from before the first merge to after the last. Below 0: "
                "the variance has grown.",
            )
        )
        parts.append(folded(f"All {len(rows)} batches", listed, fold=len(rows) > MANY_ROWS))
    return joined(parts) if parts else None


def _all_batches(facts: Mapping[str, Any]) -> list[str]:
    """Name the batches of the correction, of which a subset may lack some."""
    names = dict.fromkeys(facts["batches"]["names"])
    for merge in facts["merges"]:
        names.update(dict.fromkeys([*merge["left"], *merge["right"]]))
    return list(names)
