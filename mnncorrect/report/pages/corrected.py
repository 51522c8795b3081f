"""The page about one corrected file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mnncorrect import pl
from mnncorrect._adata.lookup import side
from mnncorrect.core.merging.diagnostics import MUCH_LOST
from mnncorrect.report.collect.advice import Advice, percent
from mnncorrect.report.collect.advice_on_correction import advise
from mnncorrect.report.collect.verdict import verdict_on
from mnncorrect.report.draw.figures import picture
from mnncorrect.report.draw.templates import number
from mnncorrect.report.pages.groups import tables_of
from mnncorrect.report.pages.page import (
    advice_facts,
    batches_of,
    covariate_rows,
    in_title,
    maps_of,
    score_rows,
    was_done,
    went_in,
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
# More batches than these make plots of them too high to be read.
MOST_IN_PLOTS = 60


def corrected_page(found: Gathered) -> str:
    """Make the page about one corrected file."""
    facts = found.facts
    told = advise(facts)
    tables = tables_of(found)
    return whole(
        f"Batch correction of {in_title(facts['file'])}",
        "verdict",
        [
            ("advice", "What to know", bool(told)),
            ("maps", "Maps", True),
            ("groups", "Clusters and labels", bool(tables["group_tables"])),
            ("scores", "Scores", True),
            ("merges", "Merges", True),
            ("confidence", "Confidence", facts["confidence"] is not None),
            ("genes", "Most changed genes", True),
            ("covariates", "Covariates", bool(facts["covariates"])),
            ("input", "Input", True),
            ("done", "Steps and parameters", True),
            ("methods", "Methods paragraph", True),
        ],
        facts | advice_facts(told),
        verdict=verdict_on(facts),
        numbers=_headline_numbers(facts, told),
        told=told,
        **batches_of(found),
        **maps_of(found),
        **tables,
        **scores_of(facts),
        **_merges(found),
        **confidence_of(found),
        genes=facts["genes"],
        covariates=covariate_rows(facts),
        **went_in(facts),
        **was_done(facts),
        methods=facts["methods"],
    )


def _headline_numbers(facts: Mapping[str, Any], told: Sequence[Advice]) -> list[tuple[str, str]]:
    entries = [
        ("cells", f"{facts['n_cells']:,}"),
        ("batches", f"{len(facts['batches']['names']):,}"),
        ("method", str(facts["parameters"].get("method", "-"))),
        ("pairs", f"{sum(merge['pairs'] for merge in facts['merges']):,}"),
    ]
    if facts["n_genes_used"] is not None:
        entries.append(("genes used for distances", f"{facts['n_genes_used']:,}"))
    if facts["clusters"] is not None:
        entries.append(("clusters", str(len(facts["clusters"]["names"]))))
    if facts["confidence"] is not None:
        entries.append(("median confidence", number(facts["confidence"]["median"])))
    worst = [share for merge in facts["merges"] for share in merge["lost_variance"].values()]
    if worst:
        entries.append(("most variance lost in a merge", percent(max(worst))))
    entries.append(("warnings", str(sum(one.level == "warning" for one in told))))
    return entries


def scores_of(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the scores beside their null, and what they are of."""
    evaluation = facts["evaluation"]
    params = evaluation.get("parameters", {})
    label, left_out = params.get("label_key"), params.get("null_left_out")
    note = f"Labels: {label}. " if label else "No labels were given. "
    unlabeled = params.get("n_unlabeled")
    note += f"{unlabeled:,} cells have none and are left out of them. " if unlabeled else ""
    note += f"No null: {left_out}. " if left_out else ""
    note += "Scores of one run do not show which method is best: compare several."
    return {
        "evaluation": {"reason": evaluation.get("reason", "")},
        "score_rows": score_rows(evaluation),
        "scores_note": note,
        "n_splits": params.get("n_splits", "several"),
    }


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
                [row["name"], f"{row['cells']:,}", number(row["median"]), _share(row["below"])]
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
    others = "the model" if found.facts["about"] == "projection" else "other batches"
    return {
        "confidence": told,
        "confidence_plots": plots,
        "confidence_rows": rows,
        "others": others,
    }


def _share(share: float | None) -> str:
    return "-" if share is None else percent(share)
