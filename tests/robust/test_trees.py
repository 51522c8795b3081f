"""Zarr trees and Matrix Market files with a part lost or changed: read as written, or refused."""

from __future__ import annotations

import functools
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.io
import scipy.sparse as sp
from robust import trees

from mnncorrect._adata.stored import load
from mnncorrect._io.formats import opened_input
from mnncorrect._io.matrix_market import checked_header, read_checked

zarr = pytest.importorskip("zarr")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
N, GENES = 60, 9


def _data() -> anndata.AnnData:
    rng = np.random.default_rng(0)
    x = sp.csr_matrix(
        rng.poisson(1.0, (N, GENES)).astype(np.float32) + np.eye(N, GENES, dtype="f4")
    )
    obs = pd.DataFrame(
        {"batch": pd.Categorical(rng.choice(["a", "b"], N)), "score": rng.random(N) + 1},
        index=[f"c{i}" for i in range(N)],
    )
    made = anndata.AnnData(x, obs=obs, layers={"dense": x.toarray() + 1})
    made.obsm["X_pca"] = rng.random((N, 3))
    return made


@functools.cache
def _whole(version: int) -> Path:
    """Write a tree of several chunks an array, once."""
    path = Path(tempfile.mkdtemp()) / "in.zarr"
    with (
        warnings.catch_warnings(action="ignore"),
        anndata.settings.override(zarr_write_format=version),
    ):
        _data().write_zarr(path)
        group = zarr.open_group(path, mode="r+", use_consolidated=False)
        for name in ("X/data", "X/indices", "obs/score", "obs/batch/codes", "layers/dense"):
            values, attributes = group[name][...], dict(group[name].attrs)
            del group[name]
            chunks = (max(1, len(values) // 3), *values.shape[1:])
            group.create_array(name, data=values, chunks=chunks).attrs.update(attributes)
    return path


def _read(path: Path) -> anndata.AnnData | None:
    """Read a tree whole; ``None``: it is refused."""

    def no_scratch() -> Any:
        raise AssertionError

    try:
        with opened_input(path, no_scratch) as found:
            adata = found.adata
            # What is damaged further in is raised by zarr and its codecs, in ways of their own.
            try:
                adata.X, adata.layers["dense"] = load(adata.X), load(adata.layers["dense"])
                adata.obsm["X_pca"] = load(adata.obsm["X_pca"])
            except Exception:  # noqa: BLE001
                return None
            return adata
    except (OSError, ValueError):
        return None


def _changed(change: Any, version: int, number: int, folder: Path) -> tuple[str, Any]:
    path = folder / "in.zarr"
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(_whole(version), path)
    return change(path, number), _read(path)


def _lost(numbers: range, version: int, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    expected = _data()
    for number in numbers:
        caplog.clear()
        what, found = _changed(trees.lose, version, number, folder)
        if found is None:
            continue
        np.testing.assert_array_equal(found.X.toarray(), expected.X.toarray(), err_msg=what)
        np.testing.assert_array_equal(found.layers["dense"], expected.layers["dense"], what)
        np.testing.assert_array_equal(found.obsm["X_pca"], expected.obsm["X_pca"], what)
        if "score" in found.obs and not found.obs["score"].any():
            # A column of which nothing is stored may be one of zeros; it is warned of.
            assert "no chunk is stored of '/obs/score'" in caplog.text, what
            found.obs["score"] = expected.obs["score"]
        pd.testing.assert_frame_equal(found.obs, expected.obs[list(found.obs)], obj=what)


@pytest.mark.parametrize("version", [2, 3])
def test_what_is_lost_of_a_tree_is_refused_or_changes_nothing(
    version: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _lost(range(15), version, tmp_path, caplog)


@pytest.mark.slow
@pytest.mark.parametrize("version", [2, 3])
def test_much_that_is_lost_of_trees(
    version: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _lost(range(1000, 1200), version, tmp_path, caplog)


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize(
    "numbers", [range(15), pytest.param(range(1000, 1200), marks=pytest.mark.slow)]
)
def test_forged_metadata_are_read_or_refused(numbers: range, version: int, tmp_path: Path) -> None:
    for number in numbers:
        _changed(trees.forge, version, number, tmp_path)


@pytest.mark.parametrize("field", ["integer", "real"])
@pytest.mark.parametrize(
    "numbers", [range(150), pytest.param(range(1000, 4000), marks=pytest.mark.slow)]
)
def test_a_changed_matrix_is_read_as_it_says_or_refused(
    numbers: range, field: str, tmp_path: Path
) -> None:
    path = tmp_path / "m.mtx"
    whole = sp.random(6, 5, 0.5, random_state=0, data_rvs=lambda n: np.arange(1, n + 1))
    scipy.io.mmwrite(path, whole.astype(int if field == "integer" else float), field=field)
    text = path.read_text()
    for number in numbers:
        changed = trees.retoken(text, number)
        path.write_text(changed, newline="")
        try:
            found = read_checked(path, checked_header(path)).toarray()
        except (OSError, ValueError, OverflowError):
            found = None
        expected = trees.strictly_read(changed)
        if found is not None:
            assert expected is not None, changed
            np.testing.assert_array_equal(found, expected, err_msg=changed)
