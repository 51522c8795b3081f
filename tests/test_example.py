"""The example is real, small, the same for everyone, and does to the cells what it says."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

from mnncorrect._io.example import MISSING_FROM, MISSING_TYPE, make_example

# anndata 0.11 cannot read that a file has no raw, which this package can.
reads_no_raw = pytest.mark.skipif(version("anndata").startswith("0.11."), reason="anndata 0.11")


COMMITTED = Path(__file__).parents[1] / "data" / "example.h5ad"


@pytest.fixture(scope="module")
def example() -> anndata.AnnData:
    return make_example()


@reads_no_raw
def test_the_committed_file_is_what_the_maker_makes(example: anndata.AnnData) -> None:
    committed = anndata.read_h5ad(COMMITTED)
    assert (committed.X != example.X).nnz == 0
    pd.testing.assert_frame_equal(committed.obs, example.obs)
    # exp may differ in the last bit between machines
    pd.testing.assert_frame_equal(committed.var, example.var, rtol=1e-12)
    assert committed.uns == example.uns


def test_the_file_is_small() -> None:
    assert COMMITTED.stat().st_size < 2_000_000


def test_values_are_counts(example: anndata.AnnData) -> None:
    assert example.X.dtype == np.float32
    assert (example.X.data >= 1).all()
    np.testing.assert_array_equal(example.X.data, np.rint(example.X.data))


def test_one_lane_lacks_one_type_and_shares_the_others(example: anndata.AnnData) -> None:
    table = pd.crosstab(example.obs["cell_type"], example.obs["batch"])
    absent = [(kind, lane) for kind in table.index for lane in table if table.loc[kind, lane] == 0]
    assert absent == [(MISSING_TYPE, MISSING_FROM)]


def test_the_injected_factors_are_in_the_data(example: anndata.AnnData) -> None:
    # Types are spread evenly, so that sums over the same types differ by the factors alone.
    shared = example[example.obs["cell_type"] != MISSING_TYPE]
    sums = {
        lane: np.asarray(shared[shared.obs["batch"] == lane].X.mean(axis=0)).ravel()
        for lane in ("lane1", "lane2", "lane3")
    }
    common = sums["lane1"] > 1
    assert common.sum() > 50
    for lane in ("lane2", "lane3"):
        seen = np.log(sums[lane][common] / sums["lane1"][common])
        injected = np.log(example.var[f"factor_{lane}"].to_numpy())[common]
        assert np.corrcoef(seen, injected)[0, 1] > 0.95
        assert abs(np.median(seen - injected)) < 0.1


def test_the_lane_without_factors_has_the_counts_of_the_source(example: anndata.AnnData) -> None:
    import warnings

    import scanpy

    with warnings.catch_warnings(action="ignore"):
        source = scanpy.datasets.pbmc68k_reduced()
    cells = example.obs_names[example.obs["batch"] == "lane1"]
    logged = source.raw[cells].X.toarray()
    counts = example[cells].X.toarray()
    np.testing.assert_array_equal(logged > 0, counts > 0)
    # log1p of counts times the cell's factor is what scanpy has, up to its float32.
    factor = np.expm1(logged).sum(axis=1) / counts.sum(axis=1)
    np.testing.assert_allclose(np.log1p(counts * factor[:, None]), logged, rtol=1e-3)
