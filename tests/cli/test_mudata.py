"""A modality of a MuData file is read, corrected, and put back among the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from anndata.io import read_elem, write_elem
from pandas.testing import assert_frame_equal

import mnncorrect
from mnncorrect.cli.runtime.planned import _next_step

if TYPE_CHECKING:
    from pathlib import Path

    from cli.conftest import Cli

N = 60


def _objects() -> dict[str, anndata.AnnData]:
    rng = np.random.default_rng(0)
    lam = np.repeat(rng.gamma(1.0, 2.0, (3, 40)), N // 3, axis=0)
    rna = anndata.AnnData(scipy.sparse.csr_matrix(rng.poisson(lam).astype(np.float32)))
    rna.obs_names = [f"cell{i}" for i in range(N)]
    rna.obs["note"] = pd.Categorical(rng.choice(["x", "y"], N))
    rna.layers["counts"] = rna.X.copy()
    rna.obsm["own"] = rng.normal(size=(N, 2))
    rna.uns["kept"] = {"inside": np.arange(3)}
    adt = anndata.AnnData(rng.poisson(3.0, (N - 5, 4)).astype(np.float32))
    adt.obs_names = rna.obs_names[::-1][:-5]
    adt.var_names = [f"p{i}" for i in range(4)]
    adt.obsp["own"] = scipy.sparse.identity(N - 5, format="csr")
    return {"rna": rna, "adt": adt}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A MuData file as mudata writes it: modalities, common tables, and maps between them."""
    objects = _objects()
    path = tmp_path / "in.h5mu"
    obs = pd.DataFrame(index=objects["rna"].obs_names)
    obs["batch"] = pd.Categorical(["b", "a"] * (N // 2))
    obs["rna:note"] = objects["rna"].obs["note"]
    of_adt = objects["adt"].obs_names.get_indexer(obs.index) + 1
    with h5py.File(path, "w", userblock_size=512) as file:
        file.attrs.update({"encoding-type": "MuData", "encoding-version": "0.1.0", "axis": 0})
        write_elem(file, "obs", obs)
        names = [*objects["rna"].var_names, *(f"p{i}" for i in range(4))]
        write_elem(file, "var", pd.DataFrame(index=pd.Index(names)))
        write_elem(file, "obsmap", {"rna": np.arange(1, N + 1), "adt": of_adt})
        write_elem(file, "obsm", {"joint": np.ones((N, 2))})
        write_elem(file, "uns", {"title": "both"})
        held = file.create_group("mod")
        held.attrs["mod-order"] = ["rna", "adt"]
        for name, adata in objects.items():
            write_elem(held, name, adata)
    with path.open("r+b") as block:
        block.write(b"MuData (format-version=0.1.0)")
    return path


def _contents(path: Path) -> dict[str, tuple[Any, dict[str, Any]]]:
    found: dict[str, tuple[Any, dict[str, Any]]] = {}

    def take(name: str, value: Any) -> None:
        kept = value[()] if isinstance(value, h5py.Dataset) else None
        found[name] = (kept, dict(value.attrs))

    with h5py.File(path) as file:
        take("", file)
        file.visititems(take)
    return found


def _table(path: Path, name: str) -> pd.DataFrame:
    with h5py.File(path) as file:
        table: pd.DataFrame = read_elem(file[name])
    return table


def _assert_kept(before: Path, after: Path, but: tuple[str, ...] = ()) -> None:
    old, new = _contents(before), _contents(after)
    for table in but:  # columns are added; names are written as text that cannot be missing
        had = _table(before, table)
        assert_frame_equal(
            _table(after, table)[had.columns], had, check_index_type=False, check_column_type=False
        )
    for name, (value, attrs) in old.items():
        if not name.startswith(but):
            assert name in new, name
            np.testing.assert_array_equal(new[name][0], value, err_msg=name)
            for key in attrs:
                np.testing.assert_array_equal(new[name][1][key], attrs[key], err_msg=name)


OBS_AND_VAR = ("mod/rna/obs", "mod/rna/var")


def test_a_run_keeps_every_element_of_the_file(path: Path, cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "out.h5mu"
    words = ["-b", "batch", "--n-comps", "5", "--no-gmm", "--write-expression"]
    done = cli("run", f"{path}::rna", *words, "-o", out)
    assert done.code == 0, done.err
    # A terminal shows it.
    step = _next_step([path.with_name(f"{path.name}::rna")], out, {})
    assert "mudata.read_h5mu" in step
    assert "['rna']" in step
    assert out.read_bytes()[:512] == path.read_bytes()[:512]
    _assert_kept(path, out, OBS_AND_VAR)
    with h5py.File(out) as file:
        assert set(file) == set(h5py.File(path))
        corrected = read_elem(file["mod/rna"])
        assert list(file["obs"].attrs["column-order"]) == ["batch", "rna:note"]
    assert corrected.obsm["X_mnn"].shape == (N, 5)
    assert "mnn" in corrected.layers
    # The batch stays a common column.
    assert next(iter(corrected.obs)) == "note"
    assert "batch" not in corrected.obs


@pytest.mark.slow
def test_other_commands_read_and_write_the_modality(path: Path, cli: Cli, tmp_path: Path) -> None:
    one, two = tmp_path / "one.h5mu", tmp_path / "two.h5mu"
    words = ["-b", "batch", "--n-comps", "5", "--no-gmm"]
    assert cli("run", f"{path}::rna", *words, "-o", f"{one}::rna").code == 0
    assert cli("gmm", f"{one}::rna", "--n-components", "2", "-o", two).code == 0
    _assert_kept(one, two, OBS_AND_VAR)
    assert "(30)" in str(cli("info", f"{two}::rna").out)
    assert len(cli("pairs", f"{two}::rna").out) > 1
    model = tmp_path / "model.mnn"
    assert cli("model", f"{two}::rna", "-o", model).code == 0
    placed = tmp_path / "placed.h5mu"
    words = ["--model", model, "--key-added", "placed", "-o", placed]
    done = cli("project", f"{path}::rna", *words)
    assert done.code == 0, done.err
    _assert_kept(path, placed, OBS_AND_VAR)


@pytest.mark.parametrize(
    ("output", "words", "named"),
    [
        ("x.h5mu::adt", [], "x.h5mu::rna"),
        ("x.h5mu", ["--subset", "batch=a"], ".h5ad"),
        ("in.h5mu::rna", ["--force"], "--output"),
    ],
)
def test_outputs_that_would_break_the_file_are_refused(
    output: str, words: list[str], named: str, path: Path, cli: Cli, tmp_path: Path
) -> None:
    before = path.read_bytes()
    done = cli("run", f"{path}::rna", "-b", "batch", *words, "-o", tmp_path / output)
    assert done.code == 1
    assert named in done.err[-1]
    assert path.read_bytes() == before
    assert sorted(tmp_path.iterdir()) == [path]


def test_an_h5ad_input_has_no_place_in_mudata(cli: Cli, tmp_path: Path) -> None:
    _objects()["rna"].write_h5ad(tmp_path / "a.h5ad")
    for command in (["run", tmp_path / "a.h5ad", "-b", "note"], ["concat", tmp_path / "a.h5ad"]):
        done = cli(*command, "-o", tmp_path / "x.h5mu")
        assert done.code == 1
        assert "::MODALITY" in done.err[-1]


def test_concat_does_not_rename_cells_of_mudata(path: Path, cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "x.h5mu"
    assert cli("concat", f"{path}::rna", "-o", out).code == 0
    assert _table(out, "mod/rna/obs").index.equals(_table(path, "mod/rna/obs").index)


@pytest.mark.filterwarnings("ignore::FutureWarning:mudata")
def test_a_modality_in_memory_takes_the_results(path: Path, tmp_path: Path) -> None:
    mudata = pytest.importorskip("mudata")
    mudata.set_options(pull_on_update=False)
    mdata = mudata.read_h5mu(path)
    mdata["rna"].obs["batch"] = mdata.obs.loc[mdata["rna"].obs_names, "batch"]
    mnncorrect.run(mdata["rna"], "batch", n_comps=5, gmm=False)
    assert mdata["rna"].obsm["X_mnn"].shape == (N, 5)
    mdata.write(tmp_path / "out.h5mu")
    with h5py.File(tmp_path / "out.h5mu") as file:
        assert "X_mnn" in file["mod/rna/obsm"]


def test_a_file_is_corrected_from_python(path: Path, tmp_path: Path) -> None:
    out: Any = tmp_path / "out.h5mu"
    mnncorrect.run(f"{path}::rna", "batch", n_comps=5, gmm=False, output=out)
    _assert_kept(path, out, OBS_AND_VAR)
