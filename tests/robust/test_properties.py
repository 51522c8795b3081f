"""Any small data set through the whole command line: a finite result, or one line that says why."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from mnncorrect.cli.app import app

METHODS = ("calibrated", "fast", "classic")
# Small batches of every awkward size, and what may be wrong with the cells and genes in them.
SIZES = st.lists(st.sampled_from([1, 2, 2, 3, 5, 8, 13]), min_size=1, max_size=5)
ODDITIES = (
    "doubled cells", "one cell many times", "constant genes", "constant cells", "zero cells",
    "identical batches", "far apart", "tiny", "huge", "whole numbers",
)  # fmt: skip


@st.composite
def data_sets(draw: Any) -> anndata.AnnData:
    """Draw a small data set with some oddities."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    sizes = draw(SIZES)
    n_genes = draw(st.sampled_from([1, 2, 3, 6, 12]))
    odd = draw(st.sets(st.sampled_from(ODDITIES), max_size=3))
    batch = np.repeat(np.arange(len(sizes)), sizes)
    x = (
        rng.gamma(1.0, 1.0, size=(len(batch), n_genes))
        * rng.gamma(2.0, size=(len(sizes), 1))[batch]
    )
    if "identical batches" in odd:
        x = x[np.concatenate([np.arange(size) for size in sizes])]
    if "doubled cells" in odd:
        x[::2] = x[0]
    if "one cell many times" in odd:
        x[:] = x[0]
    if "constant genes" in odd:
        x[:, : (n_genes + 1) // 2] = 1.0
    if "constant cells" in odd:
        x[: len(x) // 2] = x[: len(x) // 2, :1]
    if "zero cells" in odd:
        x[rng.random(len(x)) < 0.4] = 0
    if "whole numbers" in odd:
        x = np.round(3 * x)
    if "far apart" in odd:
        x[batch == 0] *= 1e4
    x *= 1e-12 if "tiny" in odd else 1e9 if "huge" in odd else 1.0
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    values: Any = x.astype(dtype)
    if draw(st.booleans()):
        values = sp.csr_matrix(values)
    obs = pd.DataFrame({"batch": pd.Categorical([f"b{b}" for b in batch])})
    obs.index = [f"cell{i}" for i in range(len(batch))]
    data = anndata.AnnData(values, obs=obs)
    data.var_names = [f"gene{i}" for i in range(n_genes)]
    return data


OPTIONS = st.fixed_dictionaries(
    {
        "command": st.sampled_from(["run", "correct"]),
        "method": st.sampled_from(METHODS),
        "--n-neighbors": st.sampled_from([1, 2, 20, 1000]),
        "--n-comps": st.sampled_from([1, 2, 50]),
        "--n-jobs": st.sampled_from([1, 2]),
    }
)


def through(data: anndata.AnnData, options: dict[str, Any], *more: Any) -> tuple[int, Any]:
    """Give data to the command line; return the exit code and the result, which is checked."""
    options = dict(options)
    command, method = options.pop("command"), options.pop("method")
    if method == "calibrated":  # it looks at as many as it needs
        options.pop("--n-neighbors", None)
    if command == "correct" and method == "classic":
        del options["--n-comps"]
    words = [command, "--method", method, *more, *(w for pair in options.items() for w in pair)]
    if command == "run":
        words.append("--no-gmm")
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(action="ignore"):
        path, out = Path(folder) / "in.h5ad", Path(folder) / "out.h5ad"
        data.write_h5ad(path)
        before = path.read_bytes()
        words += [path, "-b", "batch", "-o", out]
        result = CliRunner().invoke(app, [str(word) for word in words])
        told = result.stderr.splitlines()
        assert result.exception is None or isinstance(result.exception, SystemExit), words
        assert path.read_bytes() == before
        assert result.stdout == ""
        assert {p.name for p in Path(folder).iterdir()} <= {"in.h5ad", "out.h5ad"}
        if result.exit_code != 0:
            errors = [line for line in told if line.startswith("error: ")]
            assert result.exit_code == 1, told
            assert len(errors) == 1, told
            assert "bug" not in errors[0], told
            assert not out.exists()
            return 1, errors[0]
        with h5py.File(out, "r") as file:
            found = {}
            file.visititems(lambda name, value: _look(found, name, value))
            return 0, {name: value for name, value in found.items() if "mnn" in name}


def _look(found: dict[str, Any], name: str, value: Any) -> None:
    """Take the numbers of a result; all that are written must be finite."""
    if not isinstance(value, h5py.Dataset) or value.dtype.kind != "f" or value.shape is None:
        return
    found[name] = value[...]
    # Shares that do not exist are said by NaN: of a merge that was left out, of no pairs.
    if not name.startswith("uns/"):
        assert np.isfinite(found[name]).all(), name


# Cases are small as they are drawn: to shrink them would take minutes.
EXAMPLES = {
    "suppress_health_check": list(HealthCheck),
    "deadline": None,
    "derandomize": True,
    "phases": [Phase.explicit, Phase.generate],
}


@settings(max_examples=12, **EXAMPLES)
@given(data_sets(), OPTIONS)
def test_any_data_set_gives_a_finite_result_or_one_line(
    data: anndata.AnnData, options: dict[str, Any]
) -> None:
    through(data, options)


@pytest.mark.slow
@settings(max_examples=200, **EXAMPLES)
@given(data_sets(), OPTIONS)
def test_many_data_sets_give_finite_results_or_one_line(
    data: anndata.AnnData, options: dict[str, Any]
) -> None:
    through(data, options)


def cells(sizes: list[int], n_genes: int = 10, seed: int = 0) -> anndata.AnnData:
    rng = np.random.default_rng(seed)
    batch = np.repeat(np.arange(len(sizes)), sizes)
    centres = rng.gamma(1.0, 2.0, size=(3, n_genes))
    x = centres[np.arange(len(batch)) % 3] + 0.3 * rng.gamma(1.0, size=(len(batch), n_genes))
    x += 0.3 * rng.gamma(1.0, size=(len(sizes), n_genes))[batch]
    obs = pd.DataFrame({"batch": pd.Categorical([f"b{b:03d}" for b in batch])})
    obs.index = [f"cell{i}" for i in range(len(batch))]
    return anndata.AnnData(x.astype(np.float32), obs=obs)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("sizes", "n_genes"),
    [
        pytest.param([2, 2], 3, id="two and two cells"),
        pytest.param([2, 40], 1, id="one gene"),
        pytest.param([20, 30], 2, id="two dimensions"),
        pytest.param([2, 10_000], 5, id="2 and 10,000 cells", marks=pytest.mark.slow),
        pytest.param([2] * 200, 5, id="200 batches of two", marks=pytest.mark.slow),
        pytest.param([10] * 200, 10, id="200 batches of ten", marks=pytest.mark.slow),
    ],
)
def test_batches_of_awkward_sizes_give_finite_results(
    sizes: list[int], n_genes: int, method: str
) -> None:
    # A few numbers do not tell what they are.
    options = {"command": "correct", "method": method, "--n-comps": 5}
    code, found = through(cells(sizes, n_genes), options, "--no-counts")
    assert code == 0, found


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_of_one_cell_is_refused_by_name(method: str) -> None:
    options = {"command": "correct", "method": method, "--n-comps": 5}
    code, told = through(cells([1, 20]), options)
    assert code == 1
    assert "batches of one cell" in told


@pytest.mark.slow
@settings(max_examples=20, **EXAMPLES)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(3, 15), min_size=2, max_size=4))
def test_the_order_of_cells_and_batches_is_nothing_to_calibrated(
    seed: int, sizes: list[int]
) -> None:
    data = cells(sizes, seed=seed)
    rng = np.random.default_rng(seed)
    order = rng.permutation(data.n_obs)
    names = data.obs["batch"].cat.categories
    shuffled = data[order].copy()
    shuffled.obs["batch"] = shuffled.obs["batch"].cat.reorder_categories(rng.permutation(names))
    options = {"command": "correct", "method": "calibrated", "--n-comps": 5}
    # A few numbers do not tell what they are.
    (code, one), (again, other) = (
        through(each, options, "--no-counts") for each in (data, shuffled)
    )
    assert code == again == 0
    # Numbers to the rounding of single precision; the sign of a component is fixed by its values.
    np.testing.assert_allclose(
        other["obsm/X_mnn"], one["obsm/X_mnn"][order], atol=2e-5 * np.abs(one["obsm/X_mnn"]).max()
    )
