"""An element that cannot be read is named, with the reason."""

from __future__ import annotations

import re
import shutil
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from typer.testing import CliRunner

from mnncorrect._adata import take_matrix
from mnncorrect._io import failures, h5ad, subsets
from mnncorrect._io.input_parts import Part, Store
from mnncorrect._io.scratch import Scratch, scratch_file
from mnncorrect.cli.app import app

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

N = 12


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    obs = pd.DataFrame(
        {"tissue": pd.Categorical(list("ab") * (N // 2)), "n": np.arange(N)},
        index=[f"c{i}" for i in range(N)],
    )
    made = anndata.AnnData(sp.csr_matrix(np.eye(N, 4, dtype=np.float32)), obs=obs)
    made.uns["note"] = {"of": np.ones(3)}
    path = tmp_path_factory.mktemp("whole") / "in.h5ad"
    made.write_h5ad(path)
    return path


def _replaced(name: str, values: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        attributes = dict(file[name].attrs)
        del file[name]
        file.create_dataset(name, data=values).attrs.update(attributes)

    return change


def _without(name: str) -> Callable[[h5py.File], None]:
    return lambda file: file.__delitem__(name)


def _encoded(name: str) -> Callable[[h5py.File], None]:
    return lambda file: file[name].attrs.__setitem__("encoding-type", "other")


DAMAGED = {
    "codes beyond the categories": (
        _replaced("obs/tissue/codes", np.full(N, 99, "i1")),
        "/obs/tissue",
    ),
    "no codes": (_without("obs/tissue/codes"), "/obs/tissue"),
    "no categories": (_without("obs/tissue/categories"), "/obs/tissue"),
    "too few codes": (_replaced("obs/tissue/codes", np.zeros(3, "i1")), "/obs/tissue .* 3 .* 12"),
    "too many numbers": (_replaced("obs/n", np.zeros(20)), "/obs/n .* 20 .* 12"),
    "no column": (_without("obs/tissue"), "/obs/tissue is missing"),
    "no names": (_without("obs/_index"), "/obs/_index"),
    "no pointers": (_without("X/indptr"), "/X lacks indptr"),
    "an unknown encoding": (_encoded("obs/tissue"), "/obs/tissue .*'other'"),
    "an unknown encoding in uns": (_encoded("uns/note/of"), "/uns/note .*'other'"),
    "bytes that are no text": (
        _replaced("obs/tissue/categories", np.array([b"\xff\xfe", b"b"])),
        "/obs/tissue .*decode",
    ),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_element_is_named(
    name: str, whole: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    change, says = DAMAGED[name]
    path = tmp_path / "in.h5ad"
    shutil.copy(whole, path)
    with h5py.File(path, "r+") as file:
        change(file)
    failed = ""
    try:
        with h5ad.opened_h5ad(path):
            pass
    except OSError as error:
        failed = str(error)
    # What was asked for is refused; of the rest it is warned.
    (message,) = [failed] if failed else caplog.messages
    assert re.search(says, message)
    assert not failed or "in.h5ad" in failed


def _packed_by_an_unknown_filter(file: h5py.File, name: str) -> None:
    """Replace an array by one of the same shape that nothing here can unpack."""
    attributes, old = dict(file[name].attrs), file[name]
    made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    made.set_chunk(old.shape)
    made.set_filter(40_000, h5py.h5z.FLAG_OPTIONAL)
    space, kind, shape = h5py.h5s.create_simple(old.shape), old.id.get_type(), old.shape
    del file[name]
    dataset = h5py.h5d.create(file.id, name.encode(), kind, space, made)
    dataset.write_direct_chunk((0,) * len(shape), b"packed", 0)
    file[name].attrs.update(attributes)


@pytest.mark.parametrize("name", ["obs/_index", "obs/n", "X/data", "layers/dense"])
def test_a_filter_that_is_not_installed_is_named(
    name: str, whole: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "in.h5ad"
    adata = anndata.read_h5ad(whole)
    adata.layers["dense"] = adata.X.toarray()
    adata.write_h5ad(path)
    with h5py.File(path, "r+") as file:
        # Text of later versions of pandas has a mask beside it.
        name = f"{name}/values" if isinstance(file[name], h5py.Group) else name
        _packed_by_an_unknown_filter(file, name)
    says = rf"/{name} of .*in\.h5ad is packed by filter 40000.*pip install hdf5plugin"
    if name.startswith("obs/_index"):
        with pytest.raises(ValueError, match=says), h5ad.opened_h5ad(path):
            pass
        return
    with h5ad.opened_h5ad(path) as opened:
        if name == "obs/n":
            assert re.search(says, caplog.text)
        else:
            layer = None if name == "X/data" else "dense"
            with pytest.raises(ValueError, match=says):
                take_matrix(opened, layer=layer)
        # What is only copied needs no filter.
        h5ad.write(opened, tmp_path / "out.h5ad")
    with h5py.File(path) as before, h5py.File(tmp_path / "out.h5ad") as after:
        one, two = (
            file[name].id.read_direct_chunk((0,) * file[name].ndim) for file in (before, after)
        )
        assert one == two


def test_a_matrix_that_cannot_be_unpacked_is_left_out_where_it_is_not_needed(
    whole: Path, tmp_path: Path
) -> None:
    def run(*words: object) -> tuple[int, str]:
        done = CliRunner().invoke(app, [*map(str, words), "--force"])
        return done.exit_code, done.stderr

    one, out = tmp_path / "one.h5ad", tmp_path / "out.h5ad"
    adata = anndata.read_h5ad(whole)
    adata.layers["counts"] = adata.X.copy()
    adata.obs["kind"] = ["a", "b"] * (adata.n_obs // 2) + ["a"] * (adata.n_obs % 2)
    adata.write_h5ad(one)
    with h5py.File(one, "r+") as file:
        _packed_by_an_unknown_filter(file, "X/data")
    for words in (("--layer", "counts"), ("--layer", "counts", "--subset", "kind=a")):
        code, said = run("concat", one, "-o", out, *words)
        assert code == 0, said
        assert "filter 40000" in said
    with h5ad.opened_h5ad(one) as opened, scratch_file() as scratch:
        store = Store(Scratch(lambda: scratch))
        some = subsets.chosen(Part(opened), store, subset=["kind=a"])
        assert some.X is None
        assert some.layers["counts"].shape[0] == some.n_obs < opened.n_obs
    code, said = run("concat", one, "-o", out)
    assert code == 1
    assert "hdf5plugin" in said


@pytest.mark.parametrize("error", [MemoryError("x"), ImportError("no module"), ValueError("bad")])
def test_only_what_is_of_the_file_is_blamed_on_it(error: Exception, tmp_path: Path) -> None:
    with pytest.raises((OSError, MemoryError)) as raised, h5ad.reading(tmp_path):
        raise error
    told = str(raised.value)
    assert ("damaged" in told) == isinstance(error, ValueError)
    assert isinstance(raised.value, MemoryError) == isinstance(error, MemoryError)


def test_a_library_that_is_not_loaded_without_docstrings_names_what_to_unset(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.flags", SimpleNamespace(optimize=2))
    found = failures.of_environment(ImportError("no docstring"))
    assert found is not None
    assert "PYTHONOPTIMIZE" in found
    assert "no docstring" in found


@pytest.mark.slow  # every library is compiled anew
def test_libraries_that_need_docstrings_are_named(whole: Path) -> None:
    import subprocess
    import sys

    words = [sys.executable, "-OO", "-m", "mnncorrect", "info", str(whole)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:  # some versions of anndata do without
        assert "PYTHONOPTIMIZE" in done.stderr
    assert "damaged" not in done.stderr
    assert "bug" not in done.stderr
