"""Measure what each method takes by cells and batches, for the estimates of a dry run.

    python costs.py [METHOD ...]

Prints the lines of the table in mnncorrect/_run/costs.py, fitted without negative coefficients to
calls with two threads on generated embeddings of 30 types; each size counts the same. A call takes
between all of its processor time and its share of it by threads; the seconds are the geometric
mean of both, which other work on the machine hardly changes. What each size took stands on stderr.
"""

import math
import sys
import time

import anndata
import numpy as np
import pandas as pd
from scipy.optimize import nnls

import mnncorrect.pp as pp
from mnncorrect.core.runtime.compute import FEW_BATCHES

N_TYPES, N_DIMS, THREADS = 30, 50, 2
SIZES = [(2_000, 2), (10_000, 2), (10_000, 50), (10_000, 400)]
SIZES += [(50_000, 2), (50_000, 20), (100_000, 2), (100_000, 100), (300_000, 20), (70_000, 2_000)]
SIZES += [(1_000_000, 2), (1_000_000, 120)]
WAYS = {
    "fast": ("mnn_fast", {}),
    "fast, auto_merge": ("mnn_fast", {"auto_merge": True}),
    "calibrated": ("mnn_calibrated", {}),
}
# The most batches that are tried, where more would take hours.
MOST_BATCHES = {"fast, auto_merge": 20, "fast": 400}
TERMS = ("cell", "cell_round", "cell_batch", "early_batch", "batch", "batch_pair")


def terms(n_cells, n_batches):
    """What each coefficient is multiplied by, in the order of `TERMS`."""
    rounds, early = math.log2(n_batches), min(n_batches, FEW_BATCHES)
    return n_cells, n_cells * rounds, n_cells * n_batches, early, n_batches, n_batches**2


def made(n_cells, n_batches):
    """Cells of types in batches that are shifted as a whole and by type."""
    rng = np.random.default_rng(0)
    kind, batch = rng.integers(N_TYPES, size=n_cells), np.arange(n_cells) % n_batches
    x = rng.normal(size=(N_TYPES, N_DIMS))[kind] + 0.5 * rng.normal(size=(n_cells, N_DIMS))
    x += 0.4 * rng.normal(size=(n_batches, N_DIMS))[batch]
    x += 0.1 * rng.normal(size=(n_batches, N_TYPES, N_DIMS))[batch, kind]
    obs = pd.DataFrame(
        {"batch": pd.Categorical(batch.astype(str))}, index=np.arange(n_cells).astype(str)
    )
    adata = anndata.AnnData(np.zeros((n_cells, 1), np.float32), obs=obs)
    adata.obsm["X_pca"] = x.astype(np.float32)
    return adata


def measured(name):
    """Seconds of a call by size; compiled loops are loaded before."""
    function, options = getattr(pp, WAYS[name][0]), WAYS[name][1]

    def call(adata):
        start = time.process_time()
        function(adata, "batch", use_rep="X_pca", n_jobs=THREADS, **options)
        return (time.process_time() - start) / math.sqrt(THREADS)

    for few in ((400, 2), (30_000, 20)):
        call(made(*few))
    rows = []
    for size in SIZES:
        if size[1] <= MOST_BATCHES.get(name, size[1]):
            rows.append((*size, call(made(*size))))
            print(name, *rows[-1], file=sys.stderr, flush=True)
    return rows


def main():
    """Print the table."""
    for name in sys.argv[1:] or WAYS:
        rows = measured(name)
        factors = np.array([terms(n, b) for n, b, _ in rows], float)
        seconds = np.array([row[2] for row in rows])
        found, _ = nnls(factors / seconds[:, None], np.ones(len(rows)))
        told = [f"{term}={value:.1e}" for term, value in zip(TERMS, found, strict=True) if value]
        print(f'    "{name}": Cost({", ".join(told)}),')


if __name__ == "__main__":
    main()
