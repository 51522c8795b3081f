"""Make a file of raw counts, cells x genes in batches, as large as wanted.

Cells of some types, each with its own rates of genes, are drawn in batches that distort every gene
by a factor. The file is made block by block: 1 GB of memory does for any number of cells.

    python make_counts.py counts.h5ad --cells 300000 --genes 10000 --per-cell 500
"""

from __future__ import annotations

import argparse
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata.io import write_elem

BLOCK = 2000
CHUNK = 1 << 17


def expected_counts(
    rng: np.random.Generator, n_types: int, n_batches: int, n_genes: int, per_cell: int
) -> np.ndarray:
    """Rates of genes for each batch and type, so that a cell has so many genes above zero."""
    base = rng.gamma(0.35, 1.0, n_genes) + 1e-3
    types = np.exp(rng.normal(0.0, 1.2, (n_types, n_genes)) * (rng.random(n_genes) < 0.2))
    batches = np.exp(rng.normal(0.0, 0.4, (n_batches, n_genes)))
    rates = base * types[None] * batches[:, None]
    low, high = 1e-6, 1e6
    for _ in range(60):
        middle = np.sqrt(low * high)
        seen = (1 - np.exp(-middle * rates)).sum(-1).mean()
        low, high = (middle, high) if seen < per_cell else (low, middle)
    return (rates * low).astype(np.float32)


def make(
    path: Path,
    *,
    n_cells: int,
    n_genes: int,
    per_cell: int,
    n_batches: int = 2,
    n_types: int = 12,
    seed: int = 0,
    compression: str | None = "gzip",
) -> int:
    """Write the file and return how many counts it stores."""
    rng = np.random.default_rng(seed)
    rates = expected_counts(rng, n_types, n_batches, n_genes, per_cell)
    batch = rng.integers(0, n_batches, n_cells)
    # A type that the last batch lacks.
    kind = np.where(
        batch == n_batches - 1,
        rng.integers(0, max(1, n_types - 1), n_cells),
        rng.integers(0, n_types, n_cells),
    )
    obs = pd.DataFrame(
        {
            "batch": pd.Categorical([f"batch{b}" for b in batch]),
            "cell_type": pd.Categorical([f"type{k}" for k in kind]),
        },
        index=[f"cell{i}" for i in range(n_cells)],
    )
    var = pd.DataFrame(index=[f"gene{g}" for g in range(n_genes)])
    with h5py.File(path, "w") as file:
        write_elem(file, "/", anndata.AnnData(obs=obs, var=var))
        group = file.create_group("X")
        group.attrs["encoding-type"], group.attrs["encoding-version"] = "csr_matrix", "0.1.0"
        group.attrs["shape"] = np.array([n_cells, n_genes])
        data, indices = (
            group.create_dataset(
                name, (0,), dtype, chunks=(CHUNK,), maxshape=(None,), compression=compression
            )
            for name, dtype in (("data", "f4"), ("indices", "i4"))
        )
        indptr = np.zeros(n_cells + 1, np.int64)
        for start in range(0, n_cells, BLOCK):
            rows = slice(start, min(start + BLOCK, n_cells))
            depth = rng.gamma(8.0, 1 / 8.0, rows.stop - start).astype(np.float32)[:, None]
            block = sp.csr_matrix(
                rng.poisson(rates[batch[rows], kind[rows]] * depth).astype(np.float32)
            )
            begin = indptr[start]
            indptr[start + 1 : rows.stop + 1] = begin + block.indptr[1:]
            for dataset, values in ((data, block.data), (indices, block.indices)):
                dataset.resize((indptr[rows.stop],))
                dataset[begin:] = values
        group.create_dataset("indptr", data=indptr, compression=compression)
    return int(indptr[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", type=Path)
    parser.add_argument("--cells", type=int, default=300_000)
    parser.add_argument("--genes", type=int, default=10_000)
    parser.add_argument("--per-cell", type=int, default=500, help="genes above zero, on average")
    parser.add_argument("--batches", type=int, default=2)
    parser.add_argument("--types", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--compression", choices=["gzip", "lzf", "none"], default="gzip")
    given = parser.parse_args()
    stored = make(
        given.path,
        n_cells=given.cells,
        n_genes=given.genes,
        per_cell=given.per_cell,
        n_batches=given.batches,
        n_types=given.types,
        seed=given.seed,
        compression=None if given.compression == "none" else given.compression,
    )
    print(f"{given.path}: {given.cells} cells x {given.genes} genes, {stored} counts stored")


if __name__ == "__main__":
    main()
