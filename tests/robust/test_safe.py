"""Files from strangers: nothing in them is run, and broken ones end in one line."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
from robust import fuzz, zoo

from mnncorrect._io import h5ad

if TYPE_CHECKING:
    from collections.abc import Callable

PACKAGE = Path(__file__).parents[2] / "mnncorrect"
# What turns bytes into code or objects of any class.
RUNS_CODE = re.compile(
    r"\bpickle|\bjoblib\.load|\bdill\b|\bshelve\b|\bmarshal\b|allow_pickle\s*=\s*True|\beval\(|"
    r"\bexec\(|\b__import__\(|\byaml\.load\(|shell\s*=\s*True|os\.system"
)


def test_nothing_in_the_package_turns_bytes_into_code() -> None:
    found = [
        f"{path.name}: {line.strip()}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for line in path.read_text().splitlines()
        # What Dask sends to its own workers is no input of ours.
        if RUNS_CODE.search(line.replace("copyreg.pickle(", ""))
    ]
    assert found == []


@pytest.mark.slow
def test_a_file_with_bytes_changed_is_read_or_refused() -> None:
    # As many of each kind; numbers that the long runs by hand do not begin with.
    table = fuzz.fuzz("all", 10 * len(fuzz.KINDS), first=6_000_000 * len(fuzz.KINDS))
    bad = {
        (command, what): numbers
        for command, counts in table.items()
        for what, (_, numbers) in counts.items()
        if not what.islower()
    }
    assert not bad


def _forged(folder: Path, change: Callable[[h5py.File], None]) -> Path:
    path = folder / "in.h5ad"
    zoo.clean().write_h5ad(path)
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def _replace(file: h5py.File, name: str, values: Any, **how: Any) -> None:
    attributes = dict(file[name].attrs)
    del file[name]
    file.create_dataset(name, data=values, **how).attrs.update(attributes)


def _huge_dense(file: h5py.File) -> None:
    del file["X"]
    # A chunked dataset of a petabyte that has nothing in it takes no room in the file.
    made = file.create_dataset("X", (zoo.N_CELLS, 1 << 42), "f4", chunks=(1, 1 << 16))
    made.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})


def _huge_layer(file: h5py.File) -> None:
    made = file.create_dataset("obsm/huge", (zoo.N_CELLS, 1 << 42), "f4", chunks=(1, 1 << 16))
    made.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})


def _huge_embedding(file: h5py.File) -> None:
    made = file.create_dataset("obsm/X_pca", (zoo.N_CELLS, 1 << 42), "f4", chunks=(1, 1 << 16))
    made.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})


def _huge_note(file: h5py.File) -> None:
    made = file.create_dataset("uns/note", (1 << 48,), "f4", chunks=(1 << 16,))
    made.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})


def _huge_column(file: h5py.File) -> None:
    made = file.create_dataset("obs/more", (1 << 48,), "f4", chunks=(1 << 16,))
    made.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    file["obs"].attrs["column-order"] = ["batch", "more"]


def _hollow_column(file: h5py.File) -> None:
    """Make a column that memory has room for, but that is not in the file."""
    made = file.create_dataset("obs/more", (1 << 29,), "f4", chunks=(1 << 16,))
    made.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})


def _shape(*shape: int) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        file["X"].attrs["shape"] = shape

    return change


def _fewer_names(file: h5py.File) -> None:
    # From anndata 0.13 on, names are a group of values and a mask.
    name = "obs/_index" if isinstance(file["obs/_index"], h5py.Dataset) else "obs/_index/values"
    _replace(file, name, file[name][:-5])


def _part(name: str, make: Callable[[Any], Any]) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        _replace(file, name, make(file[name][...]))

    return change


FORGED = {
    "a dense X of a petabyte": _huge_dense,
    "a shape with more cells than there are": _shape(1 << 40, zoo.N_GENES),
    "a shape with more genes than there are": _shape(zoo.N_CELLS, 1 << 40),
    "a shape below zero": _shape(-1, -1),
    "a column as long as a petabyte": _huge_column,
    "a column of two gigabytes that are not there": _hollow_column,
    "pointers that go back": _part("X/indptr", lambda p: p[::-1].copy()),
    "pointers beyond the end": _part("X/indptr", lambda p: p * 1000),
    "pointers below zero": _part("X/indptr", lambda p: p - 5),
    "too few pointers": _part("X/indptr", lambda p: p[:-3]),
    "indices beyond the genes": _part("X/indices", lambda i: i + 1000),
    "indices below zero": _part("X/indices", lambda i: i - 1000),
    "fewer indices than numbers": _part("X/indices", lambda i: i[:-50]),
    "fewer numbers than indices": _part("X/data", lambda d: d[:-50]),
    "text in the place of numbers": _part("X/data", lambda d: np.full(len(d), b"x")),
    "codes beyond the categories": _part("obs/batch/codes", lambda c: c + 100),
    "doubled categories": _part("obs/batch/categories", lambda c: np.array(["a", "a"], "S")),
    "fewer names than cells": _fewer_names,
    "complex numbers": _part("X/data", lambda d: d.astype(complex)),
}
# What is not looked into is copied as it is.
UNREAD = {"an embedding of a petabyte": _huge_layer, "a note of a petabyte": _huge_note}


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", FORGED)
def test_a_forged_file_is_one_line(name: str, cli: Callable[..., Any], tmp_path: Path) -> None:
    path = _forged(tmp_path, FORGED[name])
    done = cli("correct", path, "-b", "batch", "--method", "fast", "-o", tmp_path / "out.h5ad")
    assert done.code == 1, done.err
    errors = [line for line in done.err if line.startswith("error: ")]
    assert len(errors) == 1, done.err
    assert "bug" not in errors[0], errors
    assert not (tmp_path / "out.h5ad").exists()


def _external_storage(file: h5py.File) -> None:
    file["uns"].create_dataset("note", (64,), "u1", external=[(file.filename + "-other", 0, 64)])


def _virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((zoo.N_CELLS, 2), "f4")
    layout[:] = h5py.VirtualSource(file.filename + "-other", "x", (zoo.N_CELLS, 2))
    file["obsm"].create_virtual_dataset("x", layout)


def _linked(place: str) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        file[place] = h5py.ExternalLink(file.filename + "-other", "/")

    return change


ELSEWHERE = {
    "a link in uns": _linked("uns/note/deep"),
    "a link among layers": _linked("layers/other"),
    "a link that nobody reads": _linked("other"),
    "external storage": _external_storage,
    "virtual data": _virtual,
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_file_that_points_to_others_is_refused_and_they_are_not_opened(
    name: str, tmp_path: Path
) -> None:
    path = _forged(tmp_path, ELSEWHERE[name])
    # To open it would be to wait for ever.
    os.mkfifo(f"{path}-other")
    with pytest.raises(ValueError, match="points to other files"):
        h5ad.read(path)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", UNREAD)
def test_what_is_not_needed_is_not_read(name: str, cli: Callable[..., Any], tmp_path: Path) -> None:
    path = _forged(tmp_path, UNREAD[name])
    done = cli("correct", path, "-b", "batch", "--method", "fast", "-o", tmp_path / "out.h5ad")
    assert done.code == 0, done.err
    assert (tmp_path / "out.h5ad").stat().st_size < 1 << 22


@pytest.mark.filterwarnings("default")
def test_an_embedding_of_a_petabyte_is_one_line(cli: Callable[..., Any], tmp_path: Path) -> None:
    path = _forged(tmp_path, _huge_embedding)
    words = ["correct", path, "-b", "batch", "--method", "fast", "--use-rep", "X_pca"]
    done = cli(*words, "-o", tmp_path / "out.h5ad")
    assert done.code == 1
    assert "X_pca says that it holds" in done.err[-1]


def _packages_of_text(file: h5py.File) -> None:
    del file["uns/mnn/provenance/packages"]
    file["uns/mnn/provenance"].create_dataset("packages", data="text").attrs.update(
        {"encoding-type": "string", "encoding-version": "0.2.0"}
    )


def _pairs_in_a_group(file: h5py.File) -> None:
    file["obsp/mnn_pairs"].attrs.update({"encoding-type": "dict", "encoding-version": "0.1.0"})


@pytest.mark.filterwarnings("default")
def test_an_array_of_one_dimension_is_offered_as_no_embedding(
    cli: Callable[..., Any], tmp_path: Path
) -> None:
    def change(file: h5py.File) -> None:
        made = file["obsm"].create_dataset("flat", data=np.arange(zoo.N_CELLS))
        made.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})

    done = cli("check", _forged(tmp_path, change), "-b", "batch")
    assert done.code == 0, done.err
    assert "flat" not in done.out


def _embedding_of_three_dimensions(file: h5py.File) -> None:
    name = "obsm/X_mnn" if "obsm/X_mnn" in file else "obsm/X_mnn_pca"
    _replace(file, name, file[name][...][..., None])


FORGED_RESULTS = {
    "info": _packages_of_text,
    "pairs": _pairs_in_a_group,
    "pairs --key-added mnn": _part("obsp/mnn_pairs/indptr", lambda p: p * 1000),
    "umap --use-rep X_mnn_pca -o out.h5ad": _embedding_of_three_dimensions,
}


@pytest.mark.parametrize("words", FORGED_RESULTS)
def test_a_forged_result_is_one_line(
    words: str,
    cli: Callable[..., Any],
    corrected: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "in.h5ad"
    path.write_bytes(corrected.read_bytes())
    with h5py.File(path, "r+") as file:
        FORGED_RESULTS[words](file)
    command, *more = words.split()
    done = cli(command, path, *more)
    assert done.code == 1
    assert done.out == ""
    assert len(done.err) == 1, done.err
    assert "bug" not in done.err[0]
    assert list(tmp_path.iterdir()) == [path]
