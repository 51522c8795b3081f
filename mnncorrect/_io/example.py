"""The example: real blood cells, assigned to three lanes of which two are distorted.

The cells come with scanpy, so no network is needed. The object holds the factors that were applied,
so a correction can be compared with the truth.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import anndata
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from anndata import AnnData
    from scipy.sparse import csr_matrix

EXAMPLE_SEED = 20180402  # fixed, so that everyone has the same example
LANES = ("lane1", "lane2", "lane3")
# Standard deviation of the natural logarithm of a gene's factor, by lane.
SPREADS = {"lane1": 0.0, "lane2": 0.5, "lane3": 0.5}
# Share of the molecules that a lane catches.
DEPTHS = {"lane1": 1.0, "lane2": 1.0, "lane3": 0.7}
MISSING_TYPE, MISSING_FROM = "CD19+ B", "lane3"


def make_example() -> AnnData:
    """Make the example object: 700 cells x 765 genes, counts in three lanes.

    The 700 cells of ``scanpy.datasets.pbmc68k_reduced()`` are taken back to counts and assigned to
    three lanes, each type evenly, except that lane3 gets no B cells. The counts of a gene are then
    multiplied by a factor that belongs to the gene and the lane (log-normal; 1 in lane1), and lane3
    keeps 0.7 of all molecules. Products are rounded at random such that their mean is kept. Batches
    are in ``obs["batch"]``, types in ``obs["cell_type"]``, factors in ``var["factor_lane2"]`` and
    ``var["factor_lane3"]``, origin and license in ``uns``.
    """
    import pandas as pd
    import scanpy

    with warnings.catch_warnings(action="ignore"):
        # Written by an old anndata, which does not matter here.
        source = scanpy.datasets.pbmc68k_reduced()
    rng = np.random.default_rng(EXAMPLE_SEED)
    types = source.obs["bulk_labels"].astype(str).to_numpy()
    lane = _assign_lanes(types, rng)
    n = source.raw.n_vars
    factors = {
        name: DEPTHS[name] * np.exp(SPREADS[name] * rng.standard_normal(n)) for name in LANES
    }
    counts = _counts(source.raw.X)
    row_lane = np.repeat(lane, np.diff(counts.indptr))
    by_lane = np.stack([factors[name] for name in LANES])
    # Rounded up with the probability of the fraction, so that the mean is kept.
    scaled = counts.data * by_lane[row_lane, counts.indices]
    counts.data = np.floor(scaled + rng.random(len(scaled)))
    counts.eliminate_zeros()
    obs = pd.DataFrame(
        {
            "batch": pd.Categorical.from_codes(lane, categories=pd.Index(LANES)),
            "cell_type": pd.Categorical(types),
        },
        index=pd.Index(source.obs_names, name=None),
    )
    var = pd.DataFrame(
        {f"factor_{name}": factors[name] for name in LANES[1:]},
        index=pd.Index(source.raw.var_names, name=None),
    )
    uns = {
        "description": "Human blood cells assigned to three lanes with a known injected effect",
        "source": "10x Genomics, Fresh 68k PBMCs (Donor A), as shipped by scanpy",
        "citation": "Zheng et al. 2017, doi:10.1038/ncomms14049",
        "license": "CC BY 4.0",
    }
    return anndata.AnnData(X=counts.astype(np.float32), obs=obs, var=var, uns=uns)


def _assign_lanes(types: NDArray[np.str_], rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the lane of each cell: each type is spread evenly over the lanes that have it."""
    lane = np.zeros(len(types), dtype=np.int64)
    for name in np.unique(types):
        allowed = [
            code for code, of in enumerate(LANES) if (name, of) != (MISSING_TYPE, MISSING_FROM)
        ]
        cells = rng.permutation(np.flatnonzero(types == name))
        lane[cells] = np.resize(allowed, len(cells))
    return lane


def _counts(logged: csr_matrix) -> csr_matrix:
    """Recover counts from log1p of normalized counts.

    Normalization scaled each cell by one factor. The smallest positive count of a cell is 1, so
    dividing by the smallest value removes the factor.
    """
    counts: csr_matrix = logged.astype(np.float64).tocsr()
    counts.data = np.expm1(counts.data)
    smallest = np.minimum.reduceat(counts.data, counts.indptr[:-1])
    counts.data = np.rint(counts.data / np.repeat(smallest, np.diff(counts.indptr)))
    return counts
