"""Make clustered data of low intrinsic dimension, in batches, from a seed.

A cell belongs to one of `populations`; a population is a flat patch of `intrinsic` dimensions
somewhere in the space:

    cell = center + patch @ z + batch effect + noise,    z of `intrinsic` standard normal numbers.

Within a population every dimension has standard deviation 1 times its scale, centers 3, noise 0.1.
The effect of a batch is a shift of `shift` in every dimension, a fifth of which differs from
population to population. Batches are of equal size; their composition is drawn (Dirichlet, 2).
Cells come in random order.

    embedding    the scale of dimension f is (1 + f) ** -0.5, as of principal components
    mixture      30 populations without an inner structure, as rounded clouds of cells
    expression   every gene has scale 0.35 and a level of its own; values below 0 are 0

An .npz holds `x` (float32) and `batch`; an .h5ad the same as X and obs["batch"], an embedding in
obsm["X_pca"].
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

BLOCK = 20_000
# Of a mixture: populations; standard deviations, in every dimension, of a cell about its center, of
# the effect of a batch, and of what it has of its own in each population. Centers have 1.
MIXED, WITHIN, SHIFTED, OF_POPULATION = 30, 0.5, 0.4, 0.1


def make(
    kind: str,
    cells: int,
    features: int,
    batches: int,
    *,
    populations: int = 20,
    intrinsic: int = 6,
    shift: float = 1.0,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Make data: values, batch and population of every cell."""
    rng = np.random.default_rng(seed)
    if kind == "embedding":
        scale, level = (1.0 + np.arange(features)) ** -0.5, np.zeros(features)
    else:
        scale, level = np.full(features, 0.35), rng.normal(0.3, 1, features)
    centres = level + scale * rng.normal(0, 3, (populations, features))
    patches = scale * rng.normal(0, intrinsic**-0.5, (populations, intrinsic, features))
    shifts = np.sqrt(0.8) * rng.normal(size=(batches, 1, features))
    shifts = shifts + np.sqrt(0.2) * rng.normal(size=(batches, populations, features))
    shifts *= shift * scale
    shifts[0] = 0
    composition = rng.dirichlet(np.full(populations, 2.0), batches)

    batch = rng.permutation(np.arange(cells) % batches).astype(np.int32)
    population = np.empty(cells, np.int32)
    x = np.empty((cells, features), np.float32)
    for b in range(batches):
        rows = np.flatnonzero(batch == b)
        population[rows] = rng.choice(populations, len(rows), p=composition[b])
    for start in range(0, cells, BLOCK):
        block = slice(start, min(start + BLOCK, cells))
        own, kinds = batch[block], population[block]
        values = 0.1 * scale * rng.standard_normal((len(own), features))
        for p in np.unique(kinds):
            rows = np.flatnonzero(kinds == p)
            patch = rng.standard_normal((len(rows), intrinsic)) @ patches[p]
            values[rows] += centres[p] + patch + shifts[own[rows], p]
        x[block] = values if kind == "embedding" else np.maximum(values, 0)
    return x, batch, population


def make_mixture(
    cells: int, features: int, batches: int, *, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Make a mixture of populations: values, batch and population of every cell."""
    rng = np.random.default_rng(seed)
    population, batch = rng.integers(MIXED, size=cells), np.arange(cells) % batches
    centers = rng.normal(size=(MIXED, features))
    shifts = SHIFTED * rng.normal(size=(batches, 1, features))
    shifts = shifts + OF_POPULATION * rng.normal(size=(batches, MIXED, features))
    x = np.empty((cells, features), np.float32)
    for start in range(0, cells, BLOCK):
        block = slice(start, start + BLOCK)
        own, kinds = batch[block], population[block]
        noise = WITHIN * rng.normal(size=(len(own), features))
        x[block] = centers[kinds] + shifts[own, kinds] + noise
    return x, batch.astype(np.int32), population.astype(np.int32)


def write(path: Path, kind: str, x: np.ndarray, batch: np.ndarray, population: np.ndarray) -> None:
    """Write data as .npz or .h5ad."""
    if path.suffix == ".npz":
        np.savez(path, x=x, batch=batch)
        return
    import anndata
    import pandas as pd

    names = [f"cell{i}" for i in range(len(x))]
    columns = {"batch": batch.astype(str), "population": population.astype(str)}
    obs = pd.DataFrame(columns, index=names).astype("category")
    if kind != "expression":
        adata = anndata.AnnData(obs=obs, obsm={"X_pca": x})
    else:
        var = pd.DataFrame(index=[f"gene{i}" for i in range(x.shape[1])])
        adata = anndata.AnnData(x, obs=obs, var=var)
    adata.write_h5ad(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kind", required=True, choices=["embedding", "mixture", "expression"])
    parser.add_argument("--cells", required=True, type=int)
    parser.add_argument("--features", required=True, type=int)
    parser.add_argument("--batches", required=True, type=int)
    parser.add_argument("--populations", type=int, default=20)
    parser.add_argument("--intrinsic", type=int, default=6)
    parser.add_argument("--shift", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", required=True, type=Path)
    options = vars(parser.parse_args())
    output, kind = options.pop("output"), options.pop("kind")
    size = options.pop("cells"), options.pop("features"), options.pop("batches")
    if kind == "mixture":
        write(output, kind, *make_mixture(*size, seed=options["seed"]))
    else:
        write(output, kind, *make(kind, *size, **options))


if __name__ == "__main__":
    main()
