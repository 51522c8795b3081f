"""What to know about projected cells: whether they fit the model, and what it lacks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mnncorrect.core.calibrated.evidence import ENOUGH_EVIDENCE
from mnncorrect.core.model.projection import DOUBTFUL, LEAST_NEW
from mnncorrect.report.collect.advice import MANY_UNSURE, Advice, a_note, a_warning, percent, some
from mnncorrect.report.collect.advice_on_cells import differential_expression, on_input

# Of the components, the share that missing genes may carry without a warning.
MUCH_MISSING = 0.05


def advise_projected(facts: Mapping[str, Any]) -> list[Advice]:
    """Judge what is known of projected cells; warnings first."""
    found = [*on_input(facts), *_on_placement(facts), differential_expression()]
    return sorted(found, key=lambda advice: advice.level != "warning")


def _on_placement(facts: Mapping[str, Any]) -> Iterator[Advice]:
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
