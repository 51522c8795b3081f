"""Make an atlas of cell types in batches as zarr: sparse counts, of any number of cells.

Cells of a type draw their counts from its own shares of genes; each batch multiplies the shares by
its own factors. Each process has a block of cells in memory. The number of processes does not
change the cells.

    python make_atlas.py atlas.zarr --cells 1000000 --batches 20
"""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata.io import write_elem

from mnncorrect._io.scratch import scratch_when_needed
from mnncorrect._io.zarr_scratch import SCRATCH, ZarrScratch, open_zarr

BLOCK = 5_000
MOST_SHARES = 4_000


class Shares:
    """Shares of genes by type and batch; those of some of them together are in memory."""

    def __init__(
        self, n_types: int, n_batches: int, n_genes: int, rng: np.random.Generator
    ) -> None:
        self.n_batches, self.n_genes = n_batches, n_genes
        base = rng.gamma(0.3, size=n_genes)
        self.of_type = base * np.exp(rng.normal(scale=1.0, size=(n_types, n_genes)))
        self.of_batch = np.exp(rng.normal(scale=0.3, size=(n_batches, n_genes)))
        self.cumulated = lru_cache(maxsize=MOST_SHARES)(self._cumulated)

    def _cumulated(self, group: int) -> np.ndarray:
        """Cumulated shares of genes of a type in a batch."""
        of_type, of_batch = divmod(group, self.n_batches)
        summed = np.cumsum(self.of_type[of_type] * self.of_batch[of_batch])
        return summed / summed[-1]


def block_of(
    types: np.ndarray, batches: np.ndarray, shares: Shares, depth: int, seed: list[int]
) -> sp.csr_matrix:
    """Draw the counts of some cells."""
    rng = np.random.default_rng(seed)
    n_genes = shares.n_genes
    totals = rng.poisson(depth * rng.lognormal(sigma=0.3, size=len(types)))
    rows = np.repeat(np.arange(len(types)), totals)
    genes = np.empty(len(rows), np.int64)
    draws = rng.random(len(rows))
    group = (types * shares.n_batches + batches)[rows]
    order = np.argsort(group, kind="stable")
    found, starts = np.unique(group[order], return_index=True)
    for each, own in zip(found, np.split(order, starts[1:]), strict=True):
        genes[own] = np.searchsorted(shares.cumulated(int(each)), draws[own])
    ones = np.ones(len(rows), np.float32)
    made = sp.coo_matrix((ones, (rows, np.minimum(genes, n_genes - 1))), (len(types), n_genes))
    return made.tocsr()


def blocks(
    types: np.ndarray, batches: np.ndarray, shares: Shares, given: argparse.Namespace
) -> Iterator[sp.csr_matrix]:
    """Draw the counts of all cells, a block at a time, in the order of cells."""
    starts = range(0, given.cells, BLOCK)
    with multiprocessing.get_context("fork").Pool(
        given.processes, _shared.append, [(shares, given)]
    ) as pool:
        some = (
            (start, types[start : start + BLOCK], batches[start : start + BLOCK])
            for start in starts
        )
        yield from pool.imap(_block, some)


_shared: list[tuple[Shares, argparse.Namespace]] = []


def _block(some: tuple[int, np.ndarray, np.ndarray]) -> sp.csr_matrix:
    """Draw a block in a process of the pool."""
    ((shares, given),) = _shared
    start, types, batches = some
    return block_of(types, batches, shares, given.depth, [given.seed, start])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--cells", type=int, default=1_000_000)
    parser.add_argument("--genes", type=int, default=5_000)
    parser.add_argument("--types", type=int, default=20)
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--depth", type=int, default=500, help="mean counts of a cell")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rng = np.random.default_rng(given.seed)
    shares = Shares(given.types, given.batches, given.genes, rng)
    types = rng.integers(given.types, size=given.cells)
    batches = rng.integers(given.batches, size=given.cells)
    group = open_zarr(given.output, "w")
    group.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
    names = pd.Index([f"cell{n}" for n in range(given.cells)])
    columns = {
        "batch": pd.Categorical.from_codes(batches, [f"b{n:04}" for n in range(given.batches)]),
        "cell_type": pd.Categorical.from_codes(types, [f"t{n:03}" for n in range(given.types)]),
    }
    write_elem(group, "obs", pd.DataFrame(columns, index=names))
    write_elem(group, "var", pd.DataFrame(index=[f"gene{n}" for n in range(given.genes)]))
    for slot in ("layers", "obsm", "obsp", "uns", "varm", "varp"):
        write_elem(group, slot, {})
    with scratch_when_needed() as scratch:
        store = ZarrScratch(given.output, scratch, 1 << 25, 1)
        with store.appending("X", (given.cells, given.genes), np.float32) as append:
            for block in blocks(types, batches, shares, given):
                append(block)
    (given.output / SCRATCH / "X").rename(given.output / "X")
    for left in (given.output / SCRATCH).iterdir():
        left.unlink()
    (given.output / SCRATCH).rmdir()


if __name__ == "__main__":
    main()
