"""How much memory the values of an input may take, and where the rest goes."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mnncorrect._io.input_parts import Store, WritesPieces
from mnncorrect._io.scratch import Scratch, scratch_when_needed
from mnncorrect._io.zarr_scratch import SCRATCH, ZarrScratch
from mnncorrect._wording import UsageError
from mnncorrect.core.runtime.mapped import MapFiles, large_mapped
from mnncorrect.core.runtime.threads import resolve_n_jobs

UNITS = ("", "K", "M", "G", "T")
LEAST_MEMORY = 1 << 24
# A block takes this share of the memory that may be used: several are worked on at a time, and
# each is held in more than one form. Larger blocks than the largest are no quicker.
BLOCKS = 64
LEAST_BLOCK_BYTES, LARGEST_BLOCK = 1 << 18, 1 << 25
# Components of all cells that take more than this share are mapped from a temporary file.
LARGE = 16


@dataclass(frozen=True)
class MemoryLimits:
    """How much may be held in memory, and where what is more goes."""

    # Bytes of a block of cells, and of the genes that are gathered.
    block: int
    gathered: int
    scratch: Scratch  # Gives the file for what is more.
    # Where the same goes if the output is zarr; other processes can read and write it.
    shared: ZarrScratch | None = None
    maps: MapFiles = field(default_factory=MapFiles)  # Where arrays are mapped.

    @property
    def store(self) -> WritesPieces:
        """Where matrices of inputs are written."""
        return Store(self.scratch, self.block) if self.shared is None else self.shared


def block_bytes(memory: int) -> int:
    """Return how much memory a block of cells takes, of so much that may be used."""
    return min(max(memory // BLOCKS, LEAST_BLOCK_BYTES), LARGEST_BLOCK)


def stays_in_file(embedding: int, memory: int) -> bool:
    """Return whether an embedding of a file, of so many bytes, stays in one while corrected."""
    return 4 * embedding > memory


@contextlib.contextmanager
def limits(
    memory: int,
    output: Path | None = None,
    *,
    zarr: Path | None = None,
    workers: bool = False,
    n_jobs: int | None = None,
) -> Iterator[MemoryLimits]:
    """Give the limits that follow from the memory; what does not fit goes to a scratch file.

    It lies beside the output; without an output, in the system's folder of temporary files.
    ``zarr``: the folder of an output that is zarr, in which it lies. ``workers``: whether other
    processes map the same arrays.
    """
    folder = None if output is None else output.absolute().parent
    with scratch_when_needed(folder) as scratch:
        block, shared, maps = block_bytes(memory), None, MapFiles(folder)
        if zarr is not None:
            shared = ZarrScratch(zarr, scratch, block, resolve_n_jobs(n_jobs))
            # A file that is mapped cannot be removed on Windows.
            if workers and os.name != "nt":
                (zarr / SCRATCH).mkdir(exist_ok=True)
                maps = MapFiles(zarr / SCRATCH, named=True)
        # Results that objects in memory get stay in memory.
        above = None if output is None else memory // LARGE
        with large_mapped(above, maps):
            yield MemoryLimits(block, memory // 2, scratch, shared, maps)


def size_in_bytes(text: str) -> int:
    """Read a size such as ``500M`` or ``2G``."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)i?B?", text.strip(), re.IGNORECASE)
    size = 0 if found is None else int(float(found[1]) * 1024 ** UNITS.index(found[2].upper()))
    if size < LEAST_MEMORY:
        raise UsageError(
            f"`memory_limit` {text!r} is not a size of 16M or more; write a number with K, M, G or "
            "T, such as 2G"
        )
    return size
