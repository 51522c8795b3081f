"""Zarr data: what is missing, unknown or elsewhere is refused before anything is decoded."""

from __future__ import annotations

import functools
import json
import os
import shutil
import tempfile
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from mnncorrect._io.formats import opened_input

if TYPE_CHECKING:
    from collections.abc import Callable

zarr = pytest.importorskip("zarr")
pytestmark = [
    pytest.mark.filterwarnings("ignore:Writing zarr v2"),
    pytest.mark.filterwarnings("ignore:.*Consolidated metadata"),
    pytest.mark.filterwarnings("ignore:.*string dtype.*"),
]
N_CELLS, N_GENES = 40, 12
VERSIONS = (2, 3)


def data(*, sparse: bool = True) -> anndata.AnnData:
    rng = np.random.default_rng(0)
    x = (rng.poisson(1.0, (N_CELLS, N_GENES)) + np.eye(N_CELLS, N_GENES)).astype(np.float32)
    obs = pd.DataFrame(
        {
            "batch": pd.Categorical(np.repeat(["a", "b"], N_CELLS // 2)),
            "sample": pd.Categorical(["only"] * N_CELLS),
            "doublet": np.zeros(N_CELLS, bool),
            "score": rng.random(N_CELLS),
            "gap": pd.array([None, *range(1, N_CELLS)], "Int64"),
            "whole": pd.array(range(1, N_CELLS + 1), "Int64"),
        },
        index=[f"c{i}" for i in range(N_CELLS)],
    )
    made = anndata.AnnData(sp.csr_matrix(x) if sparse else x, obs=obs)
    made.var_names = [f"g{i}" for i in range(N_GENES)]
    made.layers["nothing"] = sp.csr_matrix(x.shape, dtype=np.float32)
    made.obsm["X_pca"] = rng.random((N_CELLS, 4))
    made.uns["zero"] = 0
    return made


@functools.cache
def _whole(version: int, sparse: bool, zeros: bool) -> dict[str, bytes]:
    """Make the files of a tree once for all tests."""
    with (
        warnings.catch_warnings(action="ignore"),
        anndata.settings.override(zarr_write_format=version),
        zarr.config.set({"array.write_empty_chunks": zeros}),
        tempfile.TemporaryDirectory() as top,
    ):
        folder = Path(top) / "in.zarr"
        data(sparse=sparse).write_zarr(folder)
        files = [entry for entry in folder.rglob("*") if entry.is_file()]
        return {str(entry.relative_to(folder)): entry.read_bytes() for entry in files}


def written(folder: Path, version: int, *, sparse: bool = True, zeros: bool = False) -> Path:
    """Write a tree; with ``zeros``, chunks of zeros are stored."""
    path = folder / "in.zarr"
    for name, content in _whole(version, sparse, zeros).items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def rechunked(path: Path, name: str, *chunks: int, **how: Any) -> None:
    """Write an array anew in several chunks."""
    group = zarr.open_group(path, mode="r+", use_consolidated=False)
    values, attributes = group[name][...], dict(group[name].attrs)
    del group[name]
    made = group.create_array(name, data=values, chunks=chunks, **how)
    made.attrs.update(attributes)


def chunks_of(path: Path, name: str) -> list[Path]:
    found = [entry for entry in (path / name).rglob("*") if entry.is_file()]
    return sorted(e for e in found if not e.name.startswith(".") and e.name != "zarr.json")


def read(path: Path) -> anndata.AnnData:
    def no_scratch() -> Any:
        raise AssertionError

    with opened_input(path, no_scratch) as found:
        x = found.adata.X
        found.adata.X = x.to_memory() if hasattr(x, "to_memory") else x[...]
        return found.adata


@pytest.mark.parametrize(("version", "sparse"), [
    pytest.param(version, sparse, marks=() if number == place else pytest.mark.slow)
    for number, version in enumerate(VERSIONS)
    for place, sparse in enumerate([True, False])
])  # fmt: skip
def test_zeros_that_the_writer_left_out_are_read(
    version: int, sparse: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = written(tmp_path, version, sparse=sparse)
    for name in ("obs/sample/codes", "obs/doublet", "layers/nothing/indptr", "uns/zero"):
        assert chunks_of(path, name) == []
    expected = data(sparse=sparse)
    found = read(path)
    pd.testing.assert_frame_equal(found.obs, expected.obs)
    np.testing.assert_array_equal(
        found.X.toarray() if sparse else found.X, expected.X.toarray() if sparse else expected.X
    )
    assert found.uns["zero"] == 0
    (message,) = caplog.messages
    assert "no chunk is stored of '/obs/doublet': read as zeros" in message


LOST = (
    "X/data",
    "X/indices",
    "X/indptr",
    "obs/_index",
    "var/_index",
    "obs/batch/codes",
    "obs/batch/categories",
    "obsm/X_pca",
)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", LOST)
def test_a_lost_chunk_is_refused(name: str, version: int, tmp_path: Path) -> None:
    path = written(tmp_path, version)
    (chunk,) = chunks_of(path, name)
    chunk.unlink()
    with pytest.raises(ValueError, match=rf"1 of 1 chunks of /{name}.* missing"):
        read(path)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ["X/data", "obs/score", "obs/batch/codes", "obs/gap/values"])
@pytest.mark.parametrize("at", [0, -1])
def test_one_lost_chunk_of_several_is_counted(
    name: str, at: int, version: int, tmp_path: Path
) -> None:
    path = written(tmp_path, version)
    rechunked(path, name, 10)
    before = chunks_of(path, name)
    before[at].unlink()
    with pytest.raises(ValueError, match=rf"of \d+ chunks of /{name} .*missing.*python -c"):
        read(path)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_lost_chunk_of_a_dense_matrix_is_counted(version: int, tmp_path: Path) -> None:
    path = written(tmp_path, version, sparse=False)
    rechunked(path, "X", 10, 6)
    for chunk in chunks_of(path, "X")[2:5]:
        chunk.unlink()
    with pytest.raises(ValueError, match=r"3 of 8 chunks of /X "):
        read(path)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_chunk_of_no_bytes_is_a_lost_one(version: int, tmp_path: Path) -> None:
    path = written(tmp_path, version)
    chunks_of(path, "X/data")[0].write_bytes(b"")
    with pytest.raises(ValueError, match=r"1 of 1 chunks of /X/data"):
        read(path)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("length", [1, 20, -1])
def test_a_chunk_that_is_cut_off_is_refused(length: int, version: int, tmp_path: Path) -> None:
    path = written(tmp_path, version)
    if version == 3:
        codec = zarr.codecs.BloscCodec(typesize=8, cname="lz4", shuffle="shuffle")
        rechunked(path, "obs/score", 10, compressors=codec)
        np.testing.assert_array_equal(read(path).obs["score"], data().obs["score"])
    chunk = chunks_of(path, "obs/score")[0]
    chunk.write_bytes(chunk.read_bytes()[:length])
    with pytest.raises(ValueError, match=r"of /obs/score of .* bytes, and says"):
        read(path)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ["obs/gap/mask", "obs/doublet", "obs/sample/codes"])
def test_a_lost_array_is_refused_where_zeros_are_stored(
    name: str, version: int, tmp_path: Path
) -> None:
    path = written(tmp_path, version, zeros=True)
    read(path)
    for chunk in chunks_of(path, name):
        chunk.unlink()
    with pytest.raises(ValueError, match=rf"/{name} .* missing, while the zeros of /"):
        read(path)


def test_a_lost_shard_is_refused_and_its_inner_zeros_are_read(tmp_path: Path) -> None:
    path = written(tmp_path, 3)
    rechunked(path, "obs/batch/codes", 5, shards=(30,))
    pd.testing.assert_frame_equal(read(path).obs[["batch"]], data().obs[["batch"]])
    chunks_of(path, "obs/batch/codes")[-1].unlink()
    with pytest.raises(ValueError, match=r"of 2 chunks of /obs/batch/codes"):
        read(path)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("top", ["", "in.zarr/"])
def test_a_zip_archive_is_read_and_its_lost_chunk_refused(
    top: str, version: int, tmp_path: Path
) -> None:
    path = written(tmp_path, version)

    def zipped(target: Path) -> Path:
        with zipfile.ZipFile(target, "w") as archive:
            for entry in sorted(path.rglob("*")):
                if entry.is_file():
                    archive.write(entry, f"{top}{entry.relative_to(path)}")
        return target

    found = read(zipped(tmp_path / "in.zarr.zip"))
    np.testing.assert_array_equal(found.X.toarray(), data().X.toarray())
    chunks_of(path, "X/indices")[0].unlink()
    with pytest.raises(ValueError, match=r"1 of 1 chunks of /X/indices"):
        read(zipped(tmp_path / "less.zarr.zip"))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("how", ["compressor", "filter", "consolidated"])
def test_a_codec_that_may_run_code_is_never_called(how: str, version: int, tmp_path: Path) -> None:
    path = written(tmp_path, version)
    meta = path / "obs/score" / (".zarray" if version == 2 else "zarr.json")
    found = json.loads(meta.read_text())
    if how == "consolidated":
        # What is consolidated is not what was looked at: it must not count.
        whole = path / (".zmetadata" if version == 2 else "zarr.json")
        told = json.loads(whole.read_text())
        if version == 2:
            told["metadata"]["obs/score/.zarray"]["filters"] = [{"id": "pickle", "protocol": 5}]
        else:
            inside = told["consolidated_metadata"]["metadata"]["obs/score"]
            inside["codecs"].append({"name": "numcodecs.pickle", "configuration": {}})
        whole.write_text(json.dumps(told))
        np.testing.assert_array_equal(read(path).obs["score"], data().obs["score"])
        return
    if version == 2:
        codec = {"id": "pickle", "protocol": 5}
        found |= {"compressor": codec} if how == "compressor" else {"filters": [codec]}
    elif how == "compressor":
        found["codecs"].append({"name": "numcodecs.pickle", "configuration": {"protocol": 5}})
    else:
        inner = {"codecs": [{"name": "pickle"}], "index_codecs": [{"name": "bytes"}]}
        found["codecs"] = [{"name": "sharding_indexed", "configuration": inner}]
    meta.write_text(json.dumps(found))
    with pytest.raises(ValueError, match=r"/obs/score .* codec '(numcodecs\.)?pickle'"):
        read(path)


def _linked_chunk(path: Path) -> None:
    chunk = chunks_of(path, "obs/score")[0]
    other = path.parent / "other"
    chunk.rename(other)
    chunk.symlink_to(other)


def _device(path: Path) -> None:
    chunk = chunks_of(path, "obs/score")[0]
    chunk.unlink()
    chunk.symlink_to("/dev/zero")


def _pipe(path: Path) -> None:
    chunk = chunks_of(path, "obs/score")[0]
    chunk.unlink()
    os.mkfifo(chunk)


def _linked_folder(path: Path) -> None:
    shutil.move(path / "obs", path.parent / "obs")
    (path / "obs").symlink_to(path.parent / "obs")


@pytest.mark.parametrize("spoil", [_linked_chunk, _device, _pipe, _linked_folder])
def test_what_is_not_a_file_of_the_folder_is_refused(
    spoil: Callable[[Path], None], tmp_path: Path
) -> None:
    path = written(tmp_path, 2)
    spoil(path)
    with pytest.raises(ValueError, match=r"in\.zarr/obs.* is a (link|folder, a pipe)"):
        read(path)


def test_a_folder_that_is_named_by_a_link_is_read(tmp_path: Path) -> None:
    written(tmp_path, 2).rename(tmp_path / "real.zarr")
    (tmp_path / "in.zarr").symlink_to(tmp_path / "real.zarr")
    assert read(tmp_path / "in.zarr").n_obs == N_CELLS


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("text", ["", "[]", "{", '{"shape": "x"}', "[" * 100_000])
def test_damaged_metadata_are_one_error(version: int, text: str, tmp_path: Path) -> None:
    path = written(tmp_path, version)
    name = "obs/score/" + (".zarray" if version == 2 else "zarr.json")
    (path / name).write_text(text)
    with pytest.raises(OSError, match=r"obs/score"):
        read(path)


def test_data_of_early_versions_are_read(tmp_path: Path) -> None:
    path = written(tmp_path, 2)
    for name in (".zmetadata", ".zattrs"):
        (path / name).unlink()
    found = read(path)
    np.testing.assert_array_equal(found.X.toarray(), data().X.toarray())
    assert list(found.obs["batch"]) == list(data().obs["batch"])
