"""The page about a file of projected cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mnncorrect.report.collect.advice import (
    Advice,
    differential_expression,
    on_input,
    percent,
    some,
)
from mnncorrect.report.draw.html import Html, joined, table, tag
from mnncorrect.report.draw.parts import MANY_ROWS, definitions, folded, number
from mnncorrect.report.pages.page import advice_list, judged, whole
from mnncorrect.report.pages.sections import cells, maps, origin

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mnncorrect.report.collect.facts import Gathered

# Of the components, the share that missing genes may carry without a word; of a batch, the share
# of cells that may be unsure of their place.
MUCH_MISSING, MANY_UNSURE = 0.05, 0.25
# Genes that are named, and letters of the digest: enough to tell models apart.
GENES_NAMED, DIGEST = 12, 12


def render(found: Gathered) -> str:
    """Make the page about projected cells."""
    facts = found.facts
    found_out = [*on_input(facts), *advise_placed(facts)]
    told = sorted(found_out, key=lambda advice: advice.level != "warning")
    return whole(
        f"New cells of {facts['file']}, placed in a correction",
        [
            ("summary", "", _summary(facts, told)),
            ("advice", "What to know", advice_list(told)),
            ("maps", "Maps", maps.maps_of(found)),
            ("placed", "What was done with each batch", _placed(facts)),
            ("confidence", "Confidence", cells.confidence(facts)),
            ("clusters", "Clusters", cells.clusters(found)),
            ("covariates", "Covariates", origin.covariates(facts)),
            ("model", "The model", _model(facts)),
            ("input", "What went in", origin.went_in(found)),
            ("done", "What was done", origin.was_done(facts)),
        ],
        facts | judged(told),
    )


def _summary(facts: Mapping[str, Any], told: Sequence[Advice]) -> Html:
    model, rows = facts["model"], facts["projected"]
    n_warnings = sum(one.level == "warning" for one in told)
    entries: list[tuple[str, Any]] = [
        ("new cells", f"{facts['n_cells']:,}"),
        ("batches", f"{len(rows):,}"),
        ("of them in the model", f"{sum(row['known'] for row in rows):,}"),
        ("cells of the model", f"{model['n_obs']:,}"),
    ]
    if model["n_genes"]:
        entries.append(("genes missing", f"{model['n_missing']:,} of {model['n_genes']:,}"))
    if facts["confidence"] is not None:
        entries.append(("median confidence", number(facts["confidence"]["median"], 2)))
    entries.append(("warnings", n_warnings))
    return joined(
        [
            tag(
                "p",
                "New cells were placed in a correction that was made before, and that did not "
                "change. This page shows the new cells alone: the cells of the model are not in "
                "the file. Merges, lost variance and scores belong to the correction; make a "
                "report of the file that the model was made of to see them.",
            ),
            definitions(entries),
        ]
    )


def _placed(facts: Mapping[str, Any]) -> Html:
    rows = [
        [
            row["batch"],
            f"{row['n_obs']:,}",
            f"{row['pairs']:,}" if row["pairs"] else "-",
            number(row["evidence"], 2),
            "-" if row["familiar"] is None else percent(row["familiar"]),
            tag("span", _done_with(row), class_="meaning"),
        ]
        for row in facts["projected"]
    ]
    listed = table(
        ["batch", "cells", "pairs", "evidence", "familiar", "what was done"],
        rows,
        numbers=range(1, 5),
        label="What was done with each batch",
        wordy=True,
    )
    return joined(
        [
            tag(
                "p",
                "Cells of a batch that the model has move as its cells about them did. A new batch "
                "is merged onto the cells of the model by mutual pairs, as far as its effect is "
                "told apart from noise. Evidence: of a new batch, that it differs from the model; "
                "of a known one, that it differs from the cells of its name. Familiar: how near "
                "the cells of a known batch lie to those.",
            ),
            folded(f"All {len(rows)} batches", listed, fold=len(rows) > MANY_ROWS),
        ]
    )


def _done_with(row: Mapping[str, Any]) -> str:
    if row["known"]:
        return "moved as the batch in the model"
    return "new: left as projected" if row["skipped"] else "new: merged"


def _model(facts: Mapping[str, Any]) -> Html:
    model = facts["model"]
    rows = [
        ["method", model.get("method") or "-"],
        ["cells", f"{model['n_obs']:,}"],
        ["batches", some(model["batches"])],
        ["made by version", model.get("version") or "-"],
        ["digest", tag("code", model["digest"][:DIGEST], title=model["digest"])],
    ]
    if model["n_genes"]:
        missing = f"{model['n_missing']:,} of {model['n_genes']:,}"
        if model["n_missing"]:
            missing += f", which carry {percent(model['missing_share'])} of the components: "
            missing += some(model["missing"], GENES_NAMED)
        rows.append(["genes missing in the new cells", missing])
    return joined(
        [
            tag("p", "What the cells were placed in. Its digest tells models apart."),
            table(["model", ""], rows, label="The model"),
        ]
    )


def advise_placed(facts: Mapping[str, Any]) -> Iterator[Advice]:
    """Judge what is known of projected cells."""
    from mnncorrect.core.calibrated.merge import ENOUGH_EVIDENCE
    from mnncorrect.core.model.projection import LEAST_CELLS
    from mnncorrect.tl._project import DOUBTFUL

    model, rows = facts["model"], facts["projected"]
    doubtful = [
        row["batch"]
        for row in rows
        if row["known"]
        and ((row["familiar"] or 0) < DOUBTFUL or (row["evidence"] or 0) >= ENOUGH_EVIDENCE)
    ]
    if doubtful:
        yield Advice(
            "warning",
            "Batches that may be others of the same name",
            f"The cells of these differ from those of the model that have their name: "
            f"{some(doubtful)}.",
            "If they are other batches, project again with --as-new.",
        )
    if model["missing_share"] > MUCH_MISSING:
        yield Advice(
            "warning",
            "Genes are missing",
            f"{model['n_missing']:,} of {model['n_genes']:,} genes of the model are missing in the "
            f"new cells. They carry {percent(model['missing_share'])} of its components, and were "
            "filled in from the other genes.",
            "Give the genes that were measured: the unfiltered matrix, or by --gene-key the column "
            "of var with the names that the model knows.",
        )
    new = [row for row in rows if not row["known"]]
    few = [f"{row['batch']} ({row['n_obs']})" for row in new if row["n_obs"] < LEAST_CELLS]
    if few:
        yield Advice(
            "warning",
            "Too few cells to be corrected",
            f"New batches of fewer than {LEAST_CELLS} cells are left as projected, with confidence "
            f"0: {some(few)}.",
            "Put samples together that were processed together, by --batch-key.",
        )
    left = [row["batch"] for row in new if row["skipped"] and row["n_obs"] >= LEAST_CELLS]
    if left:
        yield Advice(
            "note",
            "New batches left as projected",
            f"What sets these apart from the model was not told apart from noise: {some(left)}.",
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
        yield Advice(
            "note",
            "Cells that the model does not know",
            f"Many cells of these batches have a confidence below {told['threshold']:g}, and were "
            f"not moved: {some(unsure)}.",
            "They may be of types or states that the training data lack. Look at them in the map "
            "by confidence, and do not take the labels of their neighbours for theirs.",
        )
    yield differential_expression()
