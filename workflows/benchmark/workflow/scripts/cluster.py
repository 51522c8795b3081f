"""Compare clusters of `tl.gmm`, and of Leiden, with known cell types.

    python cluster.py --data FOLDER --output clusters.tsv
    python cluster.py --data FOLDER --cells 350 --seeds 0 1 2 --output small.tsv

FOLDER has h5ad files with obs["batch"] and obs["cell_type"], one a data set; files can be named as
well. Each is corrected by `mnncorrect run` with its defaults, unless it has obsm["X_mnn"]. Clusters
are sought in the corrected embedding, by `tl.gmm` as it is and with one choice of it changed at a
time, and, where igraph and scanpy are installed, by scanpy's Leiden at three resolutions. They are
compared with the cell types of all cells that have one: adjusted Rand index (ARI) and normalized
mutual information (NMI). With `--cells`, that many cells are drawn from each set by each seed.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import pandas as pd
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from mnncorrect import tl
from mnncorrect.core.matrix.elbow import leading_dimensions

if TYPE_CHECKING:
    from collections.abc import Iterator

CORRECTED = "X_mnn"
N_GRAPH = 15


@dataclass(frozen=True)
class Mixture:
    """Options of `tl.gmm` that differ from its defaults."""

    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DimensionsByElbow:
    """`tl.gmm`, with the dimensions before the elbow, whether or not more show clusters better."""


@dataclass(frozen=True)
class DimensionsByICL:
    """`tl.gmm`, with a number of leading dimensions that ICL chooses as well.

    Numbers of dimensions are comparable where all dimensions are modeled: those that clusters are
    not sought in are independent and have one normal distribution each (variable selection for
    clustering, Raftery & Dean 2006, doi:10.1198/016214506000000113).
    """

    numbers: tuple[int, ...] = (5, 8, 10, 12, 15, 20, 30, 50)


@dataclass(frozen=True)
class Leiden:
    """Clusters of the neighbor graph, at a resolution."""

    resolution: float


Variant = Mixture | DimensionsByElbow | DimensionsByICL | Leiden
VARIANTS: dict[str, Variant] = {
    "gmm": Mixture(),
    "gmm, by BIC": Mixture({"criterion": "bic"}),
    "gmm, no merging": Mixture({"max_overlap": 1.0}),
    "gmm, overlap 0.02": Mixture({"max_overlap": 0.02}),
    "gmm, overlap 0.05": Mixture({"max_overlap": 0.05}),
    "gmm, full covariances": Mixture({"covariance_type": "full"}),
    "gmm, 15 dimensions": Mixture({"n_dims": 15}),
    "gmm, dimensions by elbow": DimensionsByElbow(),
    "gmm, dimensions by ICL": DimensionsByICL(),
    "gmm, full, BIC, 15 dimensions, no merging": Mixture(
        {
            "covariance_type": "full",
            "criterion": "bic",
            "n_dims": 15,
            "max_overlap": 1.0,
            "n_components": range(1, 16),
        }
    ),
    "leiden 0.3": Leiden(0.3),
    "leiden 0.5": Leiden(0.5),
    "leiden 1": Leiden(1.0),
}


def find_clusters(adata: anndata.AnnData, variant: Variant, seed: int) -> np.ndarray:
    """Return the cluster of each cell of an object that holds the corrected embedding alone."""
    if isinstance(variant, Mixture):
        tl.gmm(adata, use_rep=CORRECTED, random_state=seed, **variant.options)
        return adata.obs["gmm"].to_numpy()
    if isinstance(variant, DimensionsByElbow):
        n_dims = leading_dimensions(np.var(adata.obsm[CORRECTED], axis=0, dtype=np.float64))
        return find_clusters(adata, Mixture({"n_dims": n_dims}), seed)
    if isinstance(variant, DimensionsByICL):
        return _clusters_by_icl(adata, variant.numbers, seed)
    import scanpy as sc

    if "neighbors" not in adata.uns:
        sc.pp.neighbors(adata, N_GRAPH, use_rep=CORRECTED, random_state=seed)
    sc.tl.leiden(adata, variant.resolution, flavor="igraph", n_iterations=2, random_state=seed)
    return adata.obs["leiden"].to_numpy()


def _clusters_by_icl(adata: anndata.AnnData, numbers: tuple[int, ...], seed: int) -> np.ndarray:
    """Find clusters in each number of dimensions; return those of the lowest ICL over all."""
    n, most = adata.obsm[CORRECTED].shape
    # -2 log L of each dimension alone at its mean and variance, and what BIC adds for these two.
    variance = adata.obsm[CORRECTED].var(axis=0, dtype=np.float64)
    alone = n * (np.log(2 * np.pi * variance) + 1) + 2 * np.log(n)
    found = []
    for n_dims in sorted({min(number, most) for number in numbers}):
        clusters = find_clusters(adata, Mixture({"n_dims": n_dims}), seed)
        icl = adata.uns["gmm"]["bic"]["icl"].min() + alone[n_dims:].sum()
        found.append((icl, n_dims, clusters))
    return min(found, key=lambda one: one[:2])[2]


def corrected(path: Path, scratch: Path, batch_key: str) -> anndata.AnnData:
    """Read a data set that is corrected; correct it by `mnncorrect run` if it is not yet."""
    adata = anndata.read_h5ad(path)
    if CORRECTED in adata.obsm:
        return adata
    output = scratch / path.name
    words = ["run", path, "-b", batch_key, "--no-gmm", "--quiet", "-o", output]
    subprocess.run([sys.executable, "-m", "mnncorrect", *map(str, words)], check=True)
    adata = anndata.read_h5ad(output)
    output.unlink()
    return adata


def compare(
    adata: anndata.AnnData, label_key: str, *, n_cells: int | None, seeds: list[int]
) -> Iterator[dict[str, Any]]:
    """Yield the scores of each variant and seed."""
    has_leiden = all(importlib.util.find_spec(name) for name in ("igraph", "scanpy"))
    for seed in seeds:
        rows = np.arange(adata.n_obs)
        if n_cells is not None and n_cells < adata.n_obs:
            rows = np.sort(np.random.default_rng(seed).choice(rows, n_cells, replace=False))
        part = anndata.AnnData(np.zeros((len(rows), 1), np.float32))
        part.obsm[CORRECTED] = adata.obsm[CORRECTED][rows]
        truth = adata.obs[label_key].iloc[rows]
        known = truth.notna().to_numpy()
        for name, variant in VARIANTS.items():
            if isinstance(variant, Leiden) and not has_leiden:
                continue
            start = time.process_time()
            found = find_clusters(part, variant, seed)
            seconds = time.process_time() - start
            both = truth[known].astype(str), found[known]
            yield {
                "variant": name,
                "seed": seed,
                "cells": len(rows),
                "types": truth.nunique(),
                "clusters": len(set(found)),
                "ari": adjusted_rand_score(*both),
                "nmi": normalized_mutual_info_score(*both),
                "cpu_seconds": seconds,
            }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, type=Path, nargs="+")
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--batch-key", default="batch")
    parser.add_argument("--label-key", default="cell_type")
    parser.add_argument("--cells", type=int)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    arguments = parser.parse_args()
    paths = [
        path
        for given in arguments.data
        for path in (sorted(given.glob("*.h5ad")) if given.is_dir() else [given])
    ]
    rows = []
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of fits that have not converged, and of scanpy
        for path in paths:
            adata = corrected(path, Path(scratch), arguments.batch_key)
            scores = compare(
                adata, arguments.label_key, n_cells=arguments.cells, seeds=arguments.seeds
            )
            rows += [{"data": path.stem, **row} for row in scores]
    table = pd.DataFrame(rows)
    table.to_csv(arguments.output, sep="\t", index=False, float_format="%.4f")
    means = table.groupby("variant", sort=False)[["clusters", "ari", "nmi", "cpu_seconds"]].mean()
    print(f"means over {len(paths)} data sets and {len(arguments.seeds)} seeds")
    print(means.round(3).to_string())


if __name__ == "__main__":
    main()
