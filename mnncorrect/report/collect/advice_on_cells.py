"""What to know about the cells of a file, however they were corrected."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mnncorrect.report.collect.advice import Advice, a_note, a_warning, some

# Strength of the association with the batch (0 to 1) that is named.
STRONG = 0.7
# A batch of fewer cells is called small.
FEW_BATCH_CELLS = 50


def on_input(facts: Mapping[str, Any]) -> Iterator[Advice]:
    """Repeat what was warned of when the input was read."""
    told = facts["input_warnings"]
    if told:
        yield a_warning(
            "Warnings about the input",
            " ".join(f"{number}. {text}." for number, text in enumerate(told, 1)),
            "Decide whether each of these is as it should be; if not, correct the input again.",
        )


def on_covariates(facts: Mapping[str, Any]) -> Iterator[Advice]:
    """Warn of columns of obs that go with the batch."""
    entries = facts["covariates"]
    same = [entry["name"] for entry in entries if entry["identical"]]
    nested = [entry["name"] for entry in entries if entry["fixed"] and not entry["identical"]]
    strong = [
        f"{entry['name']} ({entry['strength']:.2f})"
        for entry in entries
        if not entry["fixed"] and entry["strength"] >= STRONG
    ]
    if nested:
        yield a_warning(
            "Covariates confounded with the batch",
            f"Each batch has only one value of: {some(nested)}. Their effect on cells cannot be "
            "distinguished from the batch effect. The correction removes it too, where it merges "
            "batches of different values.",
            "Do not look for the effect of these in corrected values. Compare uncorrected counts "
            "between batches, with several batches for each value.",
        )
    if same:
        yield a_note(
            "Other names of the batch",
            f"These columns tell the batches apart as the batch column does: {some(same)}.",
            "Whatever they stand for is corrected as a batch effect.",
        )
    if strong:
        yield a_note(
            "Covariates that are unequal over batches",
            f"Strongly associated with the batch (0 to 1): {some(strong)}.",
            "Part of their effect may have been taken for batch effect.",
        )


def on_clusters(facts: Mapping[str, Any]) -> Iterator[Advice]:
    """Judge how clusters were found, and name those of one batch."""
    clusters = facts["clusters"]
    if clusters is None:
        return
    if clusters["converged"] is False:
        yield a_warning(
            "Clusters have not converged",
            "The mixture that clusters were taken from was still changing.",
            "Run mnncorrect gmm with a higher --max-iter or fewer --n-components.",
        )
    tried = [row["n_components"] for row in clusters["bic"] or ()]
    if len(tried) > 1 and clusters["n_clusters"] == max(tried):
        yield a_note(
            "More clusters may fit better",
            f"There are as many clusters as components in the largest number tried, {max(tried)}.",
            "Run mnncorrect gmm with larger numbers: "
            f"--n-components {min(tried)}-{2 * max(tried)}.",
        )
    counted = zip(clusters["names"], clusters["counts"], strict=True)
    lone = [name for name, row in counted if sum(row) and max(row) >= 0.99 * sum(row)]
    if lone and len(facts["batches"]["names"]) > 1:
        yield a_note(
            "Clusters of one batch",
            f"Nearly all cells of these clusters are of one batch: {some(lone)}.",
            "Either a population of that batch, or batch effect that is left: look at their "
            "marker genes.",
        )


def on_use(facts: Mapping[str, Any]) -> Iterator[Advice]:
    """Name small batches, and say what no corrected values are for."""
    sizes = zip(facts["batches"]["names"], facts["batches"]["sizes"], strict=True)
    small = [f"{name} ({size})" for name, size in sizes if size < FEW_BATCH_CELLS]
    if small:
        yield a_note(
            "Small batches",
            f"Batches of fewer than {FEW_BATCH_CELLS} cells: {some(small)}.",
            "Their corrections stand on little; check them in the maps.",
        )
    yield differential_expression()


def differential_expression() -> Advice:
    """Say what no corrected values are for."""
    return a_note(
        "Not for differential expression",
        "Corrected values make genes and cells depend on one another.",
        "Test on counts, with the batch as a covariate.",
    )
