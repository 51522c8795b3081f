"""The page about a file of projected cells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mnncorrect.core.calibrated.merge import ENOUGH_EVIDENCE
from mnncorrect.core.model.fit import DIGEST_LETTERS
from mnncorrect.core.model.projection import DOUBTFUL, LEAST_NEW
from mnncorrect.report.collect.advice import Advice, a_note, a_warning, percent, some
from mnncorrect.report.collect.advice_on_cells import differential_expression, on_input
from mnncorrect.report.collect.advice_on_correction import MANY_UNSURE
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

# Of the components, the share that missing genes may carry without a warning.
MUCH_MISSING = 0.05
# Genes that are named, and letters of the digest: enough to distinguish models.
GENES_NAMED = 12


def projected_page(found: Gathered) -> str:
    """Make the page about projected cells."""
    facts = found.facts
    found_out = [*on_input(facts), *advise_projected(facts)]
    told = sorted(found_out, key=lambda advice: advice.level != "warning")
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


def advise_projected(facts: Mapping[str, Any]) -> Iterator[Advice]:
    """Judge what is known of projected cells."""
    model, rows = facts["model"], facts["projected"]
    doubtful = [
        row["batch"]
        for row in rows
        if row["known"]
        and ((row["familiar"] or 0) < DOUBTFUL or (row["evidence"] or 0) >= ENOUGH_EVIDENCE)
    ]
    if doubtful:
        yield a_warning(
            "Batches that may be others of the same name",
            f"The cells of these differ from those of the model that have their name: "
            f"{some(doubtful)}.",
            "If they are other batches, project again with --as-new.",
        )
    if model["missing_share"] > MUCH_MISSING:
        yield a_warning(
            "Genes are missing",
            f"{model['n_missing']:,} of {model['n_genes']:,} genes of the model are missing in the "
            f"new cells. They carry {percent(model['missing_share'])} of its components, and were "
            "filled in from the other genes.",
            "Give the genes that were measured: the unfiltered matrix, or by --gene-key the column "
            "of var with the names that the model knows.",
        )
    new = [row for row in rows if not row["known"]]
    few = [f"{row['batch']} ({row['n_obs']})" for row in new if row["n_obs"] < LEAST_NEW]
    if few:
        yield a_warning(
            "Too few cells to be corrected",
            f"New batches of fewer than {LEAST_NEW} cells are left as projected, with confidence "
            f"0: {some(few)}.",
            "Put samples together that were processed together, by --batch-key.",
        )
    left = [row["batch"] for row in new if row["skipped"] and row["n_obs"] >= LEAST_NEW]
    if left:
        yield a_note(
            "New batches left as projected",
            f"Their difference from the model is not distinguishable from noise: {some(left)}.",
            "Nothing to do, unless the map before the correction shows them shifted as a whole: "
            "then more cells would tell.",
        )
    told = facts["confidence"]
    small = {row["batch"] for row in new if row["skipped"]}
    unsure = [
        f"{row['name']} ({percent(row['below'])})"
        for row in (told["by_batch"] if told else ())
        if row["below"] is not None and row["below"] > MANY_UNSURE and row["name"] not in small
    ]
    if unsure:
        yield a_note(
            "Cells that the model does not know",
            f"Many cells of these batches have a confidence below {told['threshold']:g}, and were "
            f"not moved: {some(unsure)}.",
            "They may be of types or states that the training data lack. Look at them in the map "
            "by confidence, and do not take the labels of their neighbors for theirs.",
        )
    yield differential_expression()
