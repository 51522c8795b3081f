"""What cannot be read is copied as it is stored; what cannot be written is refused before."""

from __future__ import annotations

import logging
import re

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from mnncorrect._adata import take_embedding, take_labels, take_matrix
from mnncorrect._io import h5ad

N_CELLS, N_GENES = 12, 5


@pytest.fixture
def path(tmp_path):
    """A file with something in every slot."""
    rng = np.random.default_rng(0)
    adata = anndata.AnnData(sp.csr_matrix(rng.poisson(1.0, (N_CELLS, N_GENES)).astype("f4")))
    adata.obs["batch"] = pd.Categorical(["a", "b"] * 6)
    adata.obs["depth"] = np.arange(12.0)
    adata.obs["last"] = np.arange(12)
    adata.raw = adata
    adata.layers["counts"] = adata.X.copy()
    adata.obsm["X_e"] = rng.normal(size=(N_CELLS, 2))
    adata.obsm["table"] = pd.DataFrame({"p": np.arange(12)}, index=adata.obs_names)
    adata.uns["deep"] = {"inner": {"x": np.arange(3)}, "text": "t"}
    adata.write_h5ad(tmp_path / "in.h5ad")
    return tmp_path / "in.h5ad"


def unknown(path):
    """Give an element an encoding that nobody knows."""

    def change(file):
        file[path].attrs["encoding-type"] = "of-the-future"

    return change


def awkward(file):
    """Store lists of lists as scirpy has them."""
    group = file["obsm"].create_group("airr")
    group.attrs.update({"encoding-type": "awkward-array", "encoding-version": "0.1.0"})
    group.attrs.update({"form": "{}", "length": N_CELLS})
    group["node0-offsets"] = np.arange(N_CELLS + 1)


def shortened(path):
    """Let an array lose some of its rows."""

    def change(file):
        attributes = dict(file[path].attrs)
        del file[path]
        file[path] = np.arange(7.0)
        file[path].attrs.update(attributes)

    return change


CHANGES = {
    "awkward": (awkward, "obsm/airr"),
    "unknown in uns": (unknown("uns/deep/inner/x"), "uns/deep"),
    "unknown in obsm": (unknown("obsm/X_e"), "obsm/X_e"),
    "unknown layer": (unknown("layers/counts"), "layers/counts"),
    "unknown column": (unknown("obs/depth"), "obs/depth"),
    "unknown categories": (unknown("obs/batch/categories"), "obs/batch"),
    "short column": (shortened("obs/depth"), "obs/depth"),
    "short embedding": (shortened("obsm/X_e"), "obsm/X_e"),
    "unknown raw": (unknown("raw/var"), "raw"),
}


def stored(value):
    """All that an element of a file holds."""
    if isinstance(value, h5py.Dataset):
        return np.asarray(value[()]).tolist(), dict(value.attrs)
    return {name: stored(value[name]) for name in value}, str(dict(value.attrs))


@pytest.mark.parametrize("case", CHANGES)
def test_what_cannot_be_read_is_copied_as_it_is_stored(path, tmp_path, caplog, case):
    change, place = CHANGES[case]
    with h5py.File(path, "r+") as file:
        change(file)
    with caplog.at_level(logging.WARNING, "mnncorrect"), h5ad.opened_h5ad(path) as adata:
        adata.obs["new"] = 1.0
        adata.obsm["X_new"] = np.zeros((N_CELLS, 1))
        h5ad.refuse_unwritable(adata)
        h5ad.write(adata, tmp_path / "out.h5ad")
    (record,) = caplog.records
    assert f"/{place} " in record.getMessage()
    with h5py.File(path) as before, h5py.File(tmp_path / "out.h5ad") as after:
        assert stored(after[place]) == stored(before[place])
        for slot in ("X", "raw", "layers", "obsm", "uns"):
            assert set(before[slot]) <= set(after[slot])
        columns = list(after["obs"].attrs["column-order"])
        assert columns == ["batch", "depth", "last", "new"]


@pytest.mark.parametrize(
    ("case", "use"),
    [
        ("unknown in obsm", lambda a: take_embedding(a, "X_e")),
        ("unknown layer", lambda a: take_matrix(a, layer="counts")),
        ("unknown categories", lambda a: take_labels(a, "batch")),
        ("unknown raw", lambda a: take_matrix(a, use_raw=True)),
    ],
)
def test_what_cannot_be_read_is_refused_where_it_is_needed(path, case, use):
    change, place = CHANGES[case]
    with h5py.File(path, "r+") as file:
        change(file)
    with (
        h5ad.opened_h5ad(path) as adata,
        pytest.raises(ValueError, match=f"/{place} cannot be read"),
    ):
        use(adata)


def test_a_result_takes_the_place_of_what_cannot_be_read(path, tmp_path):
    with h5py.File(path, "r+") as file:
        unknown("obs/depth")(file)
    with h5ad.opened_h5ad(path) as adata:
        adata.obs["depth"] = 2.0
        h5ad.write(adata, tmp_path / "out.h5ad")
    assert (anndata.read_h5ad(tmp_path / "out.h5ad").obs["depth"] == 2.0).all()


def test_what_is_not_replaced_is_copied_and_what_is_replaced_is_written(path, tmp_path):
    with h5ad.opened_h5ad(path) as adata:
        adata.uns["new"] = {"y": 1}
        adata.uns["deep"] = {**adata.uns["deep"], "text": "another"}
        h5ad.write(adata, tmp_path / "out.h5ad")
    after = anndata.read_h5ad(tmp_path / "out.h5ad")
    assert after.uns["deep"]["text"] == "another"
    assert after.uns["deep"]["inner"]["x"].tolist() == [0, 1, 2]
    assert after.uns["new"]["y"] == 1
    assert after.obsm["table"]["p"].tolist() == list(range(12))


def test_tables_that_cannot_be_written_are_refused_by_the_name_of_the_column(path):
    with h5ad.opened_h5ad(path) as adata:
        h5ad.refuse_unwritable(adata)
        adata.obs["mixed"] = pd.Series([1, "x", {}] * 4, dtype=object).to_numpy()
        with pytest.raises(ValueError, match=r"^/obs/mixed .*cannot be written"):
            h5ad.refuse_unwritable(adata)
        del adata.obs["mixed"]
        adata.var["_index"] = np.arange(N_GENES)
        with pytest.raises(ValueError, match=r"^/var/_index .*cannot be written"):
            h5ad.refuse_unwritable(adata)


def test_texts_of_new_and_old_pandas_can_be_written_back(path, tmp_path):
    with h5ad.opened_h5ad(path) as adata:
        adata.obs["text"] = pd.array([f"t{i}" for i in range(N_CELLS)], dtype="string")
        adata.obs["gaps"] = pd.array(["x", None, "z"] * 4, dtype="string")
        adata.obs["number"] = pd.array([1, None] * 6, dtype="Int64")
        adata.obs["truth"] = pd.array([True, None] * 6, dtype="boolean")
        names = pd.Index(adata.obs_names.to_numpy(), dtype="string")
        del adata.obsm["table"]
        adata.obs.index = names
        adata.obsm["table"] = pd.DataFrame({"p": np.arange(12)}, index=names)
        h5ad.refuse_unwritable(adata)
        h5ad.write(adata, tmp_path / "out.h5ad")
    with h5py.File(tmp_path / "out.h5ad") as file:
        assert file["obs/_index"].attrs["encoding-type"] == "string-array"
    after = anndata.read_h5ad(tmp_path / "out.h5ad").obs
    assert after["text"].tolist() == [f"t{i}" for i in range(N_CELLS)]
    assert after["gaps"].isna().sum() == 4
    assert (after["number"].dtype, after["truth"].dtype) == ("Int64", "boolean")


def test_a_file_as_seurat_writes_it_is_opened_by_elements_and_written_back(path, tmp_path):
    with h5py.File(path, "r+") as file:
        for name in ("encoding-type", "encoding-version"):
            del file.attrs[name]
        raw = file["raw/var"]
        raw.move("_index", "index")
        raw["_index"] = raw["index"]
        raw.attrs["_index"] = "index"
        raw.attrs["column-order"] = np.array(["_index"], h5py.string_dtype())
    with h5ad.opened_h5ad(path) as adata:
        assert isinstance(adata.obsm["X_e"], h5py.Dataset)
        h5ad.refuse_unwritable(adata)
        h5ad.write(adata, tmp_path / "out.h5ad")
    after = anndata.read_h5ad(tmp_path / "out.h5ad")
    assert list(after.raw.var) == ["_index"]


def test_tables_inside_uns_are_stored_as_every_version_reads_them(path, tmp_path):
    texts = pd.DataFrame({"left": pd.array(["a", "b"], dtype="string")}, index=["0", "1"])
    texts.index = texts.index.astype("string")
    with h5ad.opened_h5ad(path) as adata:
        adata.uns["mnn"] = {"merges": texts}
        h5ad.write(adata, tmp_path / "out.h5ad")
    with h5py.File(tmp_path / "out.h5ad") as file:
        for name in ("_index", "left"):
            assert file[f"uns/mnn/merges/{name}"].attrs["encoding-type"] == "string-array"


def test_texts_that_can_neither_be_read_nor_copied_are_left_out_with_a_warning(
    path, tmp_path, caplog
):
    with h5py.File(path, "r+") as file:
        texts = h5py.string_dtype()
        file["obs"].create_dataset("text", data=[f"text {i}" for i in range(12)], dtype=texts)
        file["obs/text"].attrs.update({"encoding-type": "string-array"})
        file["obs/text"].attrs["encoding-version"] = "0.2.0"
        names = [*file["obs"].attrs["column-order"], "text"]
        file["obs"].attrs["column-order"] = np.array(names, texts)
    content = path.read_bytes()
    at = content.rindex(b"GCOL", 0, content.index(b"text 5"))
    path.write_bytes(content[:at] + b"LOST" + content[at + 4 :])
    with caplog.at_level(logging.WARNING, "mnncorrect"), h5ad.opened_h5ad(path) as adata:
        h5ad.refuse_unwritable(adata)
        h5ad.write(adata, tmp_path / "out.h5ad")
    assert re.search("/obs/text .*neither be read nor copied", caplog.text)
    assert list(anndata.read_h5ad(tmp_path / "out.h5ad").obs) == ["batch", "depth", "last"]
