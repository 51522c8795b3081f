"""The plan of a run: what will be done with the inputs, decided once by `planning`.

It is described and estimated from itself alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from mnncorrect._adata.libraries import LIBRARY_KEY
from mnncorrect._io.pieces import SPARSE_ENTRY_BYTES
from mnncorrect._prepare.inputs import OBJECT
from mnncorrect._prepare.limits import block_bytes, stays_in_file
from mnncorrect._prepare.method_registry import method_named
from mnncorrect._run.costs import Estimate, Size, estimate
from mnncorrect.core.runtime.threads import resolve_n_jobs

if TYPE_CHECKING:
    from mnncorrect._prepare.removed_cells import Removed
    from mnncorrect._prepare.steps import Treatment
    from mnncorrect._run.afterwards import Step
    from mnncorrect._run.request import Request


@dataclass(frozen=True)
class RunPlan:
    """What a run will do, decided once; :class:`mnncorrect._run.public.Plan` can carry it out.

    Attributes
    ----------
    request
        What is asked for, with all that follows from the arguments alone.
    inputs
        What each input holds, by its path.
    size
        How large all are together.
    batches
        Names of the batches.
    batch_sizes
        Number of cells of each.
    treatment
        What the values are, and what is done with them; ``None``: an embedding is corrected as it
        is.
    afterwards
        What follows the correction.
    guidance
        What follows from labels and from what is kept, in words.
    doubts
        What to warn of the arguments of the correction.
    removed
        The cells that filters remove; ``None``: there are no filters.
    columns
        Names of the columns of obs of all inputs together.
    regressed
        The covariates whose effects are taken out, in words; ``None``: there are none.
    """

    request: Request
    inputs: Mapping[str, str]
    size: Size
    batches: tuple[str, ...]
    batch_sizes: tuple[int, ...]
    treatment: Treatment | None
    afterwards: tuple[Step, ...]
    guidance: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    removed: Removed | None = None
    columns: tuple[str, ...] = ()
    regressed: str | None = None

    @property
    def n_genes_used(self) -> int:
        """How many genes distances are measured in; all, where an embedding is corrected."""
        return self.size.genes if self.treatment is None else self.treatment.n_used

    def describe(self) -> list[str]:
        """Return the steps in words, in the order in which they are done."""
        return [*self._before(), *(step.text for step in self.afterwards)]

    def estimate(self) -> Estimate:
        """Estimate memory and time, each to a factor of two."""
        n_jobs = resolve_n_jobs(self.request.n_jobs)
        return estimate(
            self.size, self.request, self.n_genes_used, self.afterwards, n_jobs,
            holds_all=self._holds_all,
        )  # fmt: skip

    @property
    def _stays_in_file(self) -> bool:
        """Whether the embedding is mapped from a temporary file while it is corrected."""
        return stays_in_file(self.size.in_file, self.request.memory)

    @property
    def _holds_all(self) -> bool:
        """Whether all cells of the embedding are in memory at once."""
        out_of_core = method_named(self.request.method).out_of_core and not self.guidance
        return not (self._stays_in_file and out_of_core)

    def facts(self) -> dict[str, Any]:
        """Return the plan as numbers and words for programs."""
        cost, verdict = self.estimate(), None if self.treatment is None else self.treatment.verdict
        return {
            "inputs": list(self.inputs),
            "n_cells": self.size.cells,
            "n_genes": self.size.genes,
            "n_stored": self.size.stored,
            "n_batches": self.size.batches,
            "batch_sizes": dict(zip(self.batches, self.batch_sizes, strict=True)),
            "n_genes_used": self.n_genes_used,
            "values": None if verdict is None else verdict.judged.kind,
            "steps": self.describe(),
            "memory_mb": cost.memory_mb,
            "seconds": cost.seconds,
            "n_jobs": cost.n_jobs,
            "parts": {name: asdict(part) for name, part in cost.parts.items()},
            "batches": list(self.batches),
            "columns": list(self.columns),
            "removed": None if self.removed is None else self.removed.facts,
            "output": None if self.request.output is None else str(self.request.output),
        }

    def _before(self) -> list[str]:
        """Describe all up to the correction."""
        request, size, treatment = self.request, self.size, self.treatment
        lines = []
        if request.dask is not None:
            workers = (
                "workers" if request.dask.workers is None else f"{request.dask.workers} workers"
            )
            lines.append(
                f"have {workers} of Dask {request.dask.place} read, count and write blocks"
            )
        if request.selection.batch_from_barcode:
            lines.append(f"read batches from cell names into obs[{LIBRARY_KEY!r}]")
        if treatment is None:
            lines.append(f"correct obsm[{request.use_rep!r}] by method {request.method}")
            if self._stays_in_file:
                why = f"method {request.method}" if not self.guidance else "what guides the merges"
                lines.append(
                    f"hold all cells in memory in spite of the memory limit, for {why}"
                    if self._holds_all
                    else "read the embedding from a temporary file; hold the cells of one batch"
                )
            return [*lines, *self.guidance]
        if self.removed is not None:
            lines.append(self.removed.text)
        if size.anew:
            most = math.ceil(SPARSE_ENTRY_BYTES * size.stored / 2**20)
            lines.append(
                f"put {size.cells} cells into a scratch file beside the output, {most} MB at most"
            )
        each = max(1, SPARSE_ENTRY_BYTES * size.stored // size.cells)
        rows = max(1, min(size.cells, block_bytes(request.memory) // each))
        blocks = -(-size.cells // rows)
        many = f"{blocks} blocks of up to {rows} cells" if blocks > 1 else "one block"
        what = "values" if OBJECT in self.inputs else "file"
        lines.append(f"read the {what} twice, in {many}")
        where = ""
        if treatment.changes and treatment.keep:
            where = f", kept in layers[{request.keys.normalized!r}]"
        lines.append(f"{treatment.done}{where}")
        if treatment.choose is not None:
            lines.append(
                f"choose {treatment.choose} of {size.genes} genes as highly variable in batches"
            )
        lines.append(f"use {treatment.n_used} of {size.genes} genes")
        if self.regressed is not None:
            lines.append(f"regress {self.regressed} out of each gene, within batches")
        lines.append(f"correct {size.cells} cells by method {request.method}")
        lines += self.guidance
        if request.expression is not None:
            layer = request.expression.layer(request.keys)
            how = request.expression.described
            how = f", {how}," if how else ""
            lines.append(f"write corrected expression{how} to layers[{layer!r}]")
        return lines

    def refuse_unlike(self, other: RunPlan) -> None:
        """Refuse a plan of the same request that has been decided otherwise."""
        for mine, its in zip(self._decisions(), other._decisions(), strict=True):
            if mine != its:
                raise ValueError(
                    f"the inputs are not as the plan has them: {its} now, {mine} when it was made; "
                    "make a new plan"
                )

    def _decisions(self) -> list[str]:
        """Return what was decided, whatever the number of cells that were looked at."""
        size = f"{self.size.cells} cells x {self.size.genes} genes in {self.size.batches} batches"
        if self.treatment is None:
            return [size, "an embedding"]
        kept = "kept" if self.treatment.keep else "not kept"
        how = f"{self.treatment.total}, {self.treatment.log1p}, {self.treatment.rescale}, {kept}"
        return [size, f"{self.treatment.n_used} genes", f"values with the steps {how}"]
