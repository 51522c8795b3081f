"""Files that are not read are named for what they are, with the command that makes h5ad of them."""

from __future__ import annotations

import gzip
import shlex
import tarfile
import zipfile
from typing import TYPE_CHECKING, Any

import anndata
import h5py
import numpy as np
import pytest

from mnncorrect._io import h5ad
from mnncorrect._io.foreign import python_command
from mnncorrect._io.formats import opened_input
from mnncorrect._io.scratch import scratch_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def _bytes(name: str, content: bytes, *, packed: bool = False) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        (path / name).write_bytes(gzip.compress(content) if packed else content)
        return path / name

    return make


def _hdf5(name: str, held: list[str]) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        with h5py.File(path / name, "w") as file:
            for place in held:
                file.create_group(place)
        return path / name

    return make


def _packed_h5ad(path: Path) -> Path:
    anndata.AnnData(np.ones((2, 2))).write_h5ad(path / "in.h5ad")
    (path / "my in.h5ad.gz").write_bytes(gzip.compress((path / "in.h5ad").read_bytes()))
    return path / "my in.h5ad.gz"


def _tar(path: Path) -> Path:
    with tarfile.open(path / "GSE1_RAW.tar", "w"):
        pass
    with tarfile.open(path / "GSE1_RAW.tar", "w") as archive:
        (path / "a").write_text("a")
        archive.add(path / "a", "a")
    return path / "GSE1_RAW.tar"


def _zip(path: Path) -> Path:
    with zipfile.ZipFile(path / "in.zip", "w") as archive:
        archive.writestr("in/matrix.mtx", "x")
    return path / "in.zip"


TABLE = b",G1,G2\nc1,1,2\nc2,3,4\n"
KINDS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "h5ad packed by gzip": (_packed_h5ad, "gunzip -k '.*my in.h5ad.gz'"),
    "an R object": (_bytes("in.rds", b"X\n\0\0\0\3", packed=True), "R object.*readRDS.*in.h5ad"),
    "an R workspace": (_bytes("in.RData", b"RDX3\nX\n", packed=True), "R workspace.*load"),
    "a table": (_bytes("in.csv", TABLE), "cells x genes.*read_csv.*genes x cells.*T.write"),
    "a packed table": (_bytes("in.csv.gz", TABLE, packed=True), "packed by gzip.*read_csv"),
    "a table by tabs": (_bytes("in.tsv", TABLE.replace(b",", b"\t")), r"delimiter=chr\(9\)"),
    "a tar archive": (_tar, "tar -xf"),
    "a zip archive": (_zip, "without zarr data.*unzip"),
    "xz": (_bytes("in.h5ad.xz", b"\xfd7zXZ\0\0"), "unxz -k"),
    "zstd": (_bytes("in.h5ad.zst", b"\x28\xb5\x2f\xfd\0"), "unzstd"),
    "Parquet": (_bytes("in.parquet", b"PAR1\0"), "Parquet"),
    "HTML": (_bytes("in.h5ad", b"<!DOCTYPE html><html>"), "HTML"),
    "nothing": (_bytes("in.h5ad", b""), "0 bytes"),
    "loom": (_hdf5("in.loom", ["matrix", "row_attrs", "col_attrs"]), "loom.*read_loom"),
    "h5Seurat": (_hdf5("in.h5seurat", ["cell.names", "assays"]), "h5Seurat.*Convert"),
    "molecules": (
        _hdf5("molecule_info.h5", ["barcode_idx", "count"]),
        "filtered_feature_bc_matrix",
    ),
    "several objects": (_hdf5("in.h5mu", ["obs", "var", "mod/rna", "mod/adt"]), "in.h5mu::rna"),
    "other HDF5": (_hdf5("in.h5", ["weights"]), "it holds weights"),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_file_of_another_kind_is_named(name: str, tmp_path: Path) -> None:
    make, says = KINDS[name]
    with pytest.raises((OSError, ValueError), match=says):
        _read(make(tmp_path))


@pytest.mark.parametrize("name", ["in.zarr", "in.zarr.zip", "in.h5"])
def test_what_only_h5ad_is_read_by_says_how_it_is_made(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name == "in.zarr":
        path.mkdir()
    elif name == "in.zarr.zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(".zgroup", "{}")
    else:
        _hdf5(name, ["matrix"])(tmp_path)
    with pytest.raises((OSError, ValueError), match=rf"mnncorrect concat \S*{name} -o in\.h5ad"):
        h5ad.read(path)


def test_a_command_reaches_python_as_it_is() -> None:
    for path in ("in.csv", "my data/in.csv", "a'b.csv", "$HOME.csv", 'a"b.csv', "a`b!.csv"):
        code = f"print({path!r})"
        assert shlex.split(python_command(code)) == ["python", "-c", code]


def mudata(path: Path, objects: dict[str, anndata.AnnData], obs: Any = None) -> Path:
    """Write a MuData file as mudata does."""
    from anndata.io import write_elem

    with h5py.File(path, "w", userblock_size=512) as file:
        file.attrs.update({"encoding-type": "MuData", "encoding-version": "0.1.0"})
        first = next(iter(objects.values()))
        write_elem(file, "obs", first.obs[[]] if obs is None else obs)
        write_elem(file, "var", first.var[[]])
        held = file.create_group("mod")
        for name, adata in objects.items():
            write_elem(held, name, adata)
    with path.open("r+b") as block:
        block.write(b"MuData (format-version=0.1.0)")
    return path


def _objects() -> dict[str, anndata.AnnData]:
    rng = np.random.default_rng(0)
    made = {}
    for name, genes in (("rna", 6), ("adt", 3)):
        made[name] = anndata.AnnData(rng.poisson(2.0, (4, genes)).astype(np.float32))
        made[name].obs_names = list("abcd")
        made[name].obs[f"n_{name}"] = range(4)
    return made


def _read(path: Path) -> anndata.AnnData:
    with scratch_file() as file, opened_input(path, lambda: file) as found:
        found.adata.X = found.adata.X[...]
        return found.adata


def test_a_modality_is_read_with_what_is_known_of_all_its_cells(tmp_path: Path) -> None:
    objects = _objects()
    obs = objects["rna"].obs.iloc[::-1].rename(columns={"n_rna": "rna:n_rna"})
    obs["batch"] = ["d", "c", "b", "a"]
    path = mudata(tmp_path / "in.h5mu", objects, obs)
    found = _read(tmp_path / "in.h5mu::rna")
    np.testing.assert_array_equal(found.X, objects["rna"].X)
    assert list(found.obs) == ["n_rna", "batch"]
    assert list(found.obs["batch"]) == list("abcd")
    with pytest.raises(ValueError, match=r"in\.h5mu::adt'.*in\.h5mu::rna"):
        _read(path)
    with pytest.raises(ValueError, match="no modality 'atac'"):
        _read(tmp_path / "in.h5mu::atac")


def test_a_file_of_one_modality_needs_no_name(tmp_path: Path) -> None:
    objects = _objects()
    del objects["adt"]
    found = _read(mudata(tmp_path / "in.h5mu", objects))
    np.testing.assert_array_equal(found.X, objects["rna"].X)
