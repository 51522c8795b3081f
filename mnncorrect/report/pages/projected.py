"""The page about a file of projected cells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mnncorrect._adata.lookup import shortened
from mnncorrect.core.model.fit import DIGEST_LETTERS
from mnncorrect.report.collect.advice import percent, some
from mnncorrect.report.draw.templates import number
from mnncorrect.report.pages.page import MOST_TITLE_LETTERS, of_one_file, whole

if TYPE_CHECKING:
    from mnncorrect.report.collect.facts import Gathered

# Genes that are named.
GENES_NAMED = 12


def projected_page(found: Gathered) -> str:
    """Make the page about projected cells."""
    facts, shown = found.facts, of_one_file(found)
    return whole(
        f"New cells of {shortened(facts['file'], MOST_TITLE_LETTERS)}, placed in a correction",
        "placed_summary",
        [
            ("advice", "What to know", bool(facts["advice"])),
            ("maps", "Maps", True),
            ("placed", "Placement of each batch", True),
            ("confidence", "Confidence", facts["confidence"] is not None),
            ("groups", "Clusters and labels", bool(shown["group_tables"])),
            ("covariates", "Covariates", bool(facts["covariates"])),
            ("model", "The model", True),
            ("input", "Input", True),
            ("done", "Steps and parameters", True),
        ],
        facts,
        placed_rows=_placed(facts),
        model_batches=some(facts["model"]["batches"]),
        missing_genes=some(facts["model"]["missing"], GENES_NAMED),
        digest=facts["model"]["digest"][:DIGEST_LETTERS],
        **shown,
    )


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
