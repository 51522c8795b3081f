"""The page about a file of projected cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mnncorrect.core.model.fit import DIGEST_LETTERS
from mnncorrect.report.collect.advice import Advice, percent, some
from mnncorrect.report.collect.advice_on_projection import advise_projected
from mnncorrect.report.draw.templates import number
from mnncorrect.report.pages.corrected import confidence_of
from mnncorrect.report.pages.groups import tables_of
from mnncorrect.report.pages.page import (
    advice_facts,
    batches_of,
    covariate_rows,
    in_title,
    maps_of,
    was_done,
    went_in,
    whole,
)

if TYPE_CHECKING:
    from mnncorrect.report.collect.facts import Gathered

# Genes that are named, and letters of the digest: enough to distinguish models.
GENES_NAMED = 12


def projected_page(found: Gathered) -> str:
    """Make the page about projected cells."""
    facts = found.facts
    told = advise_projected(facts)
    tables = tables_of(found)
    return whole(
        f"New cells of {in_title(facts['file'])}, placed in a correction",
        "placed_summary",
        [
            ("advice", "What to know", bool(told)),
            ("maps", "Maps", True),
            ("placed", "Placement of each batch", True),
            ("confidence", "Confidence", facts["confidence"] is not None),
            ("groups", "Clusters and labels", bool(tables["group_tables"])),
            ("covariates", "Covariates", bool(facts["covariates"])),
            ("model", "The model", True),
            ("input", "Input", True),
            ("done", "Steps and parameters", True),
        ],
        facts | advice_facts(told),
        headline=_headline(facts),
        reference_shown=facts.get("reference") is not None,
        numbers=_placement_numbers(facts, told),
        told=told,
        **batches_of(found),
        **maps_of(found),
        **tables,
        placed_rows=_placed(facts),
        **confidence_of(found),
        covariates=covariate_rows(facts),
        model_rows=_model(facts),
        **went_in(facts),
        **was_done(facts),
    )


def _headline(facts: Mapping[str, Any]) -> str:
    told = facts["confidence"]
    if told is None or told["below"] is None:
        return f"{facts['n_cells']:,} new cells were placed."
    if not told["below"]:
        return f"All {facts['n_cells']:,} new cells have a place among those of the model."
    return f"{percent(told['below'])} of the new cells have no counterpart in the model."


def _placement_numbers(facts: Mapping[str, Any], told: Sequence[Advice]) -> list[tuple[str, str]]:
    model, rows = facts["model"], facts["projected"]
    entries = [
        ("new cells", f"{facts['n_cells']:,}"),
        ("batches", f"{len(rows):,}"),
        ("of them in the model", f"{sum(row['known'] for row in rows):,}"),
        ("cells of the model", f"{model['n_obs']:,}"),
    ]
    if model["n_genes"]:
        entries.append(("genes missing", f"{model['n_missing']:,} of {model['n_genes']:,}"))
    if facts["confidence"] is not None:
        entries.append(("median confidence", number(facts["confidence"]["median"])))
    entries.append(("warnings", str(sum(one.level == "warning" for one in told))))
    return entries


def _placed(facts: Mapping[str, Any]) -> list[list[str]]:
    return [
        [
            row["batch"],
            f"{row['n_obs']:,}",
            f"{row['pairs']:,}" if row["pairs"] else "-",
            number(row["evidence"]),
            "-" if row["familiar"] is None else percent(row["familiar"]),
            _done_with(row),
        ]
        for row in facts["projected"]
    ]


def _done_with(row: Mapping[str, Any]) -> str:
    if row["known"]:
        return "moved as the batch in the model"
    return "new: left as projected" if row["skipped"] else "new: merged"


def _model(facts: Mapping[str, Any]) -> list[list[str]]:
    model = facts["model"]
    rows = [
        ["method", str(model.get("method") or "-")],
        ["cells", f"{model['n_obs']:,}"],
        ["batches", some(model["batches"])],
        ["made by version", str(model.get("version") or "-")],
        ["digest", str(model["digest"][:DIGEST_LETTERS])],
    ]
    if model["n_genes"]:
        missing = f"{model['n_missing']:,} of {model['n_genes']:,}"
        if model["n_missing"]:
            missing += f", which carry {percent(model['missing_share'])} of the components: "
            missing += some(model["missing"], GENES_NAMED)
        rows.append(["genes missing in the new cells", missing])
    return rows
