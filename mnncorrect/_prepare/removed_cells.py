"""Filters of cells, and what they removed: for the log, the record, the plan and the report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mnncorrect._adata.lookup import leading

if TYPE_CHECKING:
    from mnncorrect._io.input_parts import Selection

# Batches that a message lists.
NAMED_BATCHES = 8


@dataclass(frozen=True)
class CellFilters:
    """The cells that are kept; ``None``: a filter is not used."""

    min_counts: float | None = None  # Least sum of the values of a cell.
    min_genes: int | None = None  # Least number of genes above zero.
    max_mito: float | None = None  # Largest percentage of the values in mitochondrial genes.

    @classmethod
    def of(cls, selection: Selection) -> CellFilters:
        """Return the filters of a selection."""
        return cls(selection.min_counts, selection.min_genes, selection.max_mito)

    @property
    def given(self) -> dict[str, float]:
        """The filters that are used."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class Removed:
    """What the filters removed."""

    filters: CellFilters
    # Cells that each filter rejects; a cell may be rejected by several.
    rejected: Mapping[str, int]
    # Name of each batch, cells that were removed from it, and cells that it had.
    batches: Sequence[tuple[str, int, int]]
    n_removed: int
    n_cells: int  # Before.

    @property
    def text(self) -> str:
        """What was removed, in words."""
        why = ", ".join(f"{n} {_rule(name, self.filters)}" for name, n in self.rejected.items())
        told = f"remove {self.n_removed} of {self.n_cells} cells ({why})"
        by_batch = [f"{name} {removed} of {n}" for name, removed, n in self.batches]
        return f"{told}; by batch: {leading(by_batch, NAMED_BATCHES)}" if by_batch else told

    @property
    def facts(self) -> dict[str, Any]:
        """The filters, how many cells were removed, and from which batch, for programs."""
        return {**self.record, "removed": [list(batch) for batch in self.batches]}

    @property
    def record(self) -> dict[str, Any]:
        """What is recorded, as numbers and text."""
        by_batch = json.dumps([list(one) for one in self.batches], ensure_ascii=False)
        return {**self.filters.given, "n_removed": self.n_removed, "removed": by_batch}


def with_removed_in_words(prepared: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is recorded of a preparation, with the cells removed from each batch in words.

    Examples
    --------
    >>> with_removed_in_words({"n_removed": 3, "removed": '[["a", 3, 20], ["b", 0, 30]]'})
    {'n_removed': 3, 'removed': '3 of 20 in a'}
    """
    if "removed" not in prepared:
        return dict(prepared)
    return {**prepared, "removed": removed_by_batch(prepared) or "none"}


def removed_by_batch(prepared: Mapping[str, Any]) -> str:
    """Say of which batches cells were removed; empty: of none."""
    by_batch = json.loads(str(prepared.get("removed", "[]")))
    each = [f"{removed} of {n} in {name}" for name, removed, n in by_batch if removed]
    return leading(each, NAMED_BATCHES)


def _rule(name: str, filters: CellFilters) -> str:
    """Say what a filter rejects."""
    value = filters.given[name]
    return {
        "min_counts": f"with fewer than {value:.10g} counts",
        "min_genes": f"with fewer than {value:.10g} genes",
        "max_mito": f"with more than {value:.10g} % mitochondrial counts",
    }[name]
