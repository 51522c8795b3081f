"""The page about one corrected file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mnncorrect.report.collect.advice import advise, percent
from mnncorrect.report.draw.html import Html, joined, tag
from mnncorrect.report.draw.parts import definitions, number
from mnncorrect.report.pages.page import advice_list, judged, whole
from mnncorrect.report.pages.sections import cells, genes, maps, merges, origin, scores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mnncorrect.report.collect.advice import Advice
    from mnncorrect.report.collect.facts import Gathered


def render(found: Gathered) -> str:
    """Make the page about one corrected file."""
    facts = found.facts
    told = advise(facts)
    return whole(
        f"Batch correction of {facts['file']}",
        [
            ("summary", "", _summary(found, told)),
            ("advice", "What to know", advice_list(told)),
            ("maps", "Maps", maps.maps_of(found)),
            ("scores", "Mixing and preservation", scores.scores(facts)),
            ("merges", "Merges", merges.merges(facts)),
            ("lost", "Lost variance", merges.lost_variance(facts)),
            ("confidence", "Confidence", cells.confidence(facts)),
            ("clusters", "Clusters", cells.clusters(found)),
            ("genes", "Most changed genes", genes.genes(facts)),
            ("covariates", "Covariates", origin.covariates(facts)),
            ("input", "What went in", origin.went_in(found)),
            ("done", "What was done", origin.was_done(facts)),
        ],
        facts | judged(told),
    )


def _summary(found: Gathered, told: Sequence[Advice]) -> Html:
    facts = found.facts
    n_warnings = sum(one.level == "warning" for one in told)
    entries: list[tuple[str, Any]] = [
        ("cells", f"{facts['n_cells']:,}"),
        ("batches", f"{len(facts['batches']['names']):,}"),
        ("method", facts["parameters"].get("method", "-")),
        ("pairs", f"{sum(merge['pairs'] for merge in facts['merges']):,}"),
    ]
    if facts["n_genes_used"] is not None:
        entries.append(("genes used for distances", f"{facts['n_genes_used']:,}"))
    if facts["clusters"] is not None:
        entries.append(("clusters", len(facts["clusters"]["names"])))
    if facts["confidence"] is not None:
        entries.append(("median confidence", number(facts["confidence"]["median"], 2)))
    worst = [share for merge in facts["merges"] for share in merge["lost_variance"].values()]
    if worst:
        entries.append(("most variance lost in a merge", percent(max(worst))))
    entries.append(("warnings", n_warnings))
    verdict = (
        "No warnings. What there is to know stands below."
        if not n_warnings
        else f"{n_warnings} {'thing' if n_warnings == 1 else 'things'} below should be looked at "
        "before the result is used."
    )
    return joined([tag("p", verdict), definitions(entries)])
