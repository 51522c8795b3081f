"""What went in, what goes with the batch, and what was done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mnncorrect.pl._colors import ALERT, EMPHASIS
from mnncorrect.report.collect.advice import percent
from mnncorrect.report.draw import drawings
from mnncorrect.report.draw.html import Html, joined, table, tag
from mnncorrect.report.draw.parts import MANY_ROWS, command_line, folded, number, said

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mnncorrect.report.collect.facts import Gathered


def went_in(found: Gathered) -> Html:
    """List the batches and their sizes."""
    facts = found.facts
    batches = facts["batches"]
    total = sum(batches["sizes"]) or 1
    largest = max(batches["sizes"], default=1) or 1
    listed = table(
        ["batch", "cells", "", "share"],
        [
            [name, f"{size:,}", drawings.bar(size / largest, EMPHASIS), percent(size / total)]
            for name, size in zip(batches["names"], batches["sizes"], strict=True)
        ],
        numbers=(1, 3),
        label="Batches and their sizes",
    )
    n, key = len(batches["names"]), batches["key"]
    words = (
        f"{facts['n_cells']:,} cells x {facts['n_genes']:,} genes in {n:,} "
        f"{'batch' if n == 1 else 'batches'} "
        f"({'no column of obs tells several apart' if key is None else f'obs column {key}'})."
    )
    return joined(
        [
            tag("p", words),
            folded(
                f"All {len(batches['names'])} batches",
                listed,
                fold=len(batches["names"]) > MANY_ROWS,
            ),
        ]
    )


def covariates(facts: Mapping[str, Any]) -> Html | None:
    """List how far other columns of obs go with the batch."""
    if not facts["covariates"]:
        return None
    rows = [
        [
            entry["name"],
            "numbers" if entry["kind"] == "numbers" else f"{entry['n_values']} values",
            number(entry["strength"], 2),
            drawings.bar(entry["strength"], ALERT if entry["fixed"] else EMPHASIS),
            tag("span", _of_covariate(entry), class_="meaning"),
        ]
        for entry in facts["covariates"]
    ]
    return joined(
        [
            tag(
                "p",
                "How far other columns of obs go with the batch: 0 not at all, 1 entirely. Of "
                "categories Cramér's V; of numbers the root of the share of their variance that "
                "lies between batches. Labels found in the data go with the batch too, where "
                "batches have different cells.",
            ),
            table(
                ["column", "kind", "with the batch", "", "in words"],
                rows,
                numbers=(2,),
                label="Covariates and the batch",
                wordy=True,
            ),
        ]
    )


def _of_covariate(entry: Mapping[str, Any]) -> str:
    missing = f" Missing for {entry['missing']:,} cells." if entry["missing"] else ""
    if entry["identical"]:
        return f"The batch by another name: one value in each batch, one batch to a value.{missing}"
    if entry["fixed"]:
        return (
            "One value in each batch: its effect cannot be told apart from the batch effect, and "
            f"is corrected with it.{missing}"
        )
    if entry["strength"] >= 0.7:
        return f"Very unequal over batches; largely confounded.{missing}"
    if entry["strength"] >= 0.3:
        return f"Unequal over batches; partly confounded.{missing}"
    if entry["strength"] >= 0.1:
        return f"Somewhat unequal over batches.{missing}"
    return f"Alike in all batches.{missing}"


def was_done(facts: Mapping[str, Any]) -> Html:
    """Show the command, the parameters and the software."""
    command = facts["command"]
    rows = [[name, said(value)] for name, value in facts["parameters"].items()]
    rows += [[f"prepared: {name}", said(value)] for name, value in facts["prepared"].items()]
    clusters = facts["clusters"] or {}
    rows += [
        [f"clusters: {name}", said(value)]
        for name, value in (clusters.get("parameters") or {}).items()
    ]
    rows += [[f"map: {name}", said(value)] for name, value in (facts["umap"] or {}).items()]
    made = facts["provenance"]
    software = {made.get("software", "-"): made.get("version", "-"), **made.get("packages", {})}
    return joined(
        [
            tag("p", "The command that would do it again (names of files aside):"),
            command_line(command["text"]),
            *(tag("p", f"Not in the command: {note}.", class_="dim") for note in command["notes"]),
            tag("h3", "Parameters as resolved"),
            table(["parameter", "value"], rows, label="Parameters"),
            tag("h3", "Software"),
            table(["package", "version"], software.items(), label="Versions"),
            tag(
                "p",
                f"Random seed {said(made.get('random_state'))}. Equal input, parameters and "
                "seed give equal results on any number of threads.",
            ),
        ]
    )
