"""What a correction takes: memory and time, from the size of the input.

The coefficients of `COSTS` were measured with two threads of 2.5 GHz; estimates are good to a
factor of two. ``workflows/benchmark/workflow/scripts/costs.py`` measures them anew and prints the
table: run it after each change to a method.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mnncorrect._io.pieces import SPARSE_ENTRY_BYTES
from mnncorrect._prepare.limits import block_bytes
from mnncorrect.core.runtime.compute import FEW_BATCHES

if TYPE_CHECKING:
    from mnncorrect._run.afterwards import Step
    from mnncorrect._run.request import Request

# The interpreter and the packages: bytes, and seconds until they are loaded.
BASE_BYTES, BASE_SECONDS = 400 << 20, 3.0
# Bytes for each cell, and for each dimension of a cell of the largest batch, where an embedding
# stays in a file while it is corrected.
NAMED_BYTES, BATCH_BYTES = 200, 16
# Genes that vary highly hold more of the counts than others do.
MORE_IN_CHOSEN = 2.0
# Numbers read, unpacked and looked at in a second; read, packed and written to another file;
# products of two numbers in a second and thread.
READ_RATE, WRITE_RATE, PRODUCT_RATE = 2.0e7, 6.0e6, 6.0e9


@dataclass(frozen=True)
class Size:
    """How large the input is, and whether it is written anew before it is read in blocks."""

    cells: int
    genes: int
    stored: int
    batches: int
    anew: bool
    largest: int  # Cells of the largest batch.
    # Dimensions of the embedding that is corrected as it is, and its bytes if it lies in a file.
    dims: int
    in_file: int


@dataclass(frozen=True)
class Cost:
    """Seconds that a method takes."""

    cell: float = 0.0  # For each cell.
    # For each cell and round of merges, of which there are as many as the number of batches can be
    # halved.
    cell_round: float = 0.0
    cell_batch: float = 0.0  # For each cell and batch.
    # For each of the first ten batches: with more, merges use fewer cells.
    early_batch: float = 0.0
    # For each batch, and each two batches.
    batch: float = 0.0
    batch_pair: float = 0.0
    pair_gene: float = 0.0  # For each two cells and gene, in a thread.

    def seconds(self, cells: int, batches: int, genes: int = 0, n_jobs: int = 2) -> float:
        """Return the seconds of a correction."""
        between = cells**2 * (1 - 1 / max(2, batches)) / 2
        return (
            cells * (self.cell + self.cell_round * math.log2(max(2, batches)))
            + self.cell_batch * cells * batches
            + self.early_batch * min(batches, FEW_BATCHES)
            + self.batch * batches
            + self.batch_pair * batches**2
            + self.pair_gene * between * genes / n_jobs
        )


# By method, and by its way of ordering merges where that is what takes time.
COSTS = {
    "classic": Cost(batch=5e-3, pair_gene=4e-10),
    "cluster": Cost(cell=6e-5, batch=5e-3),
    "fast": Cost(cell=6e-6, cell_round=1.3e-6, batch=1.3e-3, batch_pair=5.3e-6),
    "fast, auto_merge": Cost(cell=8e-6, cell_batch=2e-5, batch=5e-3),
    "calibrated": Cost(cell=7e-6, early_batch=0.1, batch=1.4e-2),
}


@dataclass(frozen=True)
class StageCost:
    """Memory in megabytes (2**20 bytes) and time of one command, which reads its input anew."""

    memory_mb: int
    seconds: int


@dataclass(frozen=True)
class Estimate:
    """Memory in megabytes (2**20 bytes) and time of a run with so many threads."""

    memory_mb: int
    seconds: int
    n_jobs: int
    # The same for each command of a run in several: read, correct, and what follows.
    parts: Mapping[str, StageCost]


def estimate(
    size: Size,
    request: Request,
    chosen: int,
    afterwards: Sequence[Step],
    n_jobs: int,
    *,
    holds_all: bool,
) -> Estimate:
    """Estimate what a run takes; ``holds_all``: whether the method holds all cells in memory."""
    memory, time = float(BASE_BYTES), BASE_SECONDS
    embedding = 4.0 * size.cells * (size.dims or request.n_comps or chosen)
    gathered = 0.0
    if request.use_rep is None:
        share = min(1.0, MORE_IN_CHOSEN * chosen / size.genes)
        gathered = min(SPARSE_ENTRY_BYTES * size.stored * share, request.memory / 2)
        # Of an input of few blocks, no more of them are in memory than it has.
        blocks = min(n_jobs * block_bytes(request.memory), SPARSE_ENTRY_BYTES * size.stored)
        memory += 8 * blocks + 3 * 8 * size.batches * size.genes
        time += 2 * size.stored / READ_RATE
    # What looks at all values, or joins files, takes as much.
    parts = {"read": _part(memory, time + size.stored / WRITE_RATE)}
    if size.anew:
        time += size.stored / WRITE_RATE
    if not request.embeds:
        memory += gathered + 3 * 4 * size.cells * chosen
    else:
        products = 0.0 if request.use_rep else size.cells * float(chosen) ** 2 / 2
        grams = 0 if request.use_rep else 6 * 8 * min(chosen, 4000) ** 2
        memory += gathered + grams
        if not holds_all and size.in_file:
            memory += NAMED_BYTES * size.cells + BATCH_BYTES * size.dims * size.largest
        else:
            memory += 6 * embedding
        time += products / (PRODUCT_RATE * n_jobs)
    time += cost_of(request).seconds(size.cells, size.batches, chosen, n_jobs)
    parts["correct"] = _part(memory, time)
    for follows in afterwards:
        needed = BASE_BYTES + 2 * embedding + follows.memory
        seconds = follows.seconds + follows.each * min(size.cells, follows.most)
        parts[follows.name] = _part(needed, BASE_SECONDS + seconds)
        memory, time = max(memory, needed), time + seconds
    total = _part(memory, time)
    return Estimate(total.memory_mb, total.seconds, n_jobs, parts)


def _part(memory: float, time: float) -> StageCost:
    return StageCost(math.ceil(memory / 2**20), math.ceil(time))


def cost_of(request: Request) -> Cost:
    """Return the costs of the method, with its way of ordering merges, that is asked for."""
    ways = [name for name in ("auto_merge",) if request.params.get(name)]
    return COSTS.get(", ".join([request.method, *ways]), COSTS.get(request.method, Cost()))
