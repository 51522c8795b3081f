"""Files as people have them: each kind by its name, with the clean twin it must agree with.

``KINDS`` names the kinds. A kind's maker is given a folder, writes its file there and returns what
is to be known of it; ``clean`` makes the twin that most of them share.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp

N_CELLS, N_GENES = 48, 24


def clean(names: tuple[Any, Any] = ("a", "b"), *, binary: bool = False) -> anndata.AnnData:
    """Two batches of counts of two populations: CSR, float32, nothing odd about them."""
    rng = np.random.default_rng(7)
    profiles = rng.gamma(0.5, 4.0, size=(2, N_GENES)) + 0.2
    second = np.arange(N_CELLS) >= N_CELLS // 2
    factors = np.where(second[:, None], np.exp(0.5 * rng.standard_normal(N_GENES)), 1.0)
    x = rng.poisson(profiles[np.arange(N_CELLS) % 2] * factors)
    if binary:
        x = x > 1
    batch = pd.Categorical([names[int(b)] for b in second])
    obs = pd.DataFrame({"batch": batch}, index=[f"cell{i}" for i in range(N_CELLS)])
    var = pd.DataFrame(index=[f"gene{i}" for i in range(N_GENES)])
    return anndata.AnnData(sp.csr_matrix(x.astype(np.float32)), obs=obs, var=var)


@dataclass(frozen=True)
class Made:
    """One file of a kind.

    Attributes
    ----------
    path
        The file.
    twin
        The clean object whose result it must have.
    words
        Options it needs.
    refused
        What the error must say (a regular expression) where the kind is to be refused.
    same_bits
        Whether the result is the twin's to the last bit; else to the rounding of the type that its
        values have.
    """

    path: Path
    twin: anndata.AnnData = field(default_factory=clean)
    words: tuple[str, ...] = ("-b", "batch")
    refused: str | None = None
    same_bits: bool = True


Maker = Callable[[Path], Made]
KINDS: dict[str, Maker] = {}


def _kind(name: str) -> Callable[[Maker], Maker]:
    def add(maker: Maker) -> Maker:
        assert name not in KINDS
        KINDS[name] = maker
        return maker

    return add


def _write(data: anndata.AnnData, path: Path, **how: Any) -> Path:
    with warnings.catch_warnings(action="ignore"):
        data.write_h5ad(path, **how)
    return path


# -- Values ----------------------------------------------------------------------------------------


def _values(name: str, change: Callable[[Any], Any], **made: Any) -> None:
    """Add a kind whose values are in another form."""

    def maker(folder: Path) -> Made:
        twin = clean()
        data = twin.copy()
        data.X = change(data.X)
        return Made(_write(data, folder / "in.h5ad"), twin, **made)

    _kind(name)(maker)


def _single_place(x: Any) -> np.ndarray[Any, Any]:
    return np.asarray(x.toarray())


_values("CSR float32", lambda x: x)
_values("CSC float32", sp.csc_matrix)
_values("CSR array", sp.csr_array)
_values("dense float32", _single_place)
_values("dense float32, columns first", lambda x: np.asfortranarray(x.toarray()))
for _dtype in ("float64", "int64", "int32", "int16", "int8", "uint8", "uint16", "uint32", "uint64"):
    # 64-bit numbers stay in double precision: as the twin's to the rounding of single precision.
    _exact = np.dtype(_dtype).itemsize < 4
    _values(f"CSR {_dtype}", lambda x, d=_dtype: x.astype(d), same_bits=_exact)
    _values(f"CSC {_dtype}", lambda x, d=_dtype: sp.csc_matrix(x.astype(d)), same_bits=_exact)
    _values(f"dense {_dtype}", lambda x, d=_dtype: x.toarray().astype(d), same_bits=_exact)
_values("dense float16", lambda x: x.toarray().astype(np.float16))
_values("dense big-endian", lambda x: x.toarray().astype(">f4"))


def _bits(name: str, change: Callable[[Any], Any]) -> None:
    """Add a kind whose values are true and false; the twin has ones and zeros."""

    def maker(folder: Path) -> Made:
        twin = clean(binary=True)
        data = twin.copy()
        data.X = change(data.X)
        return Made(_write(data, folder / "in.h5ad"), twin, ("-b", "batch", "--no-counts"))

    _kind(name)(maker)


_bits("CSR bool", lambda x: x.astype(bool))
_bits("dense bool", lambda x: x.toarray().astype(bool))

for _name, _how in {
    "packed by gzip": {"compression": "gzip"},
    "packed by gzip 9": {"compression": "gzip", "compression_opts": 9},
    "packed by lzf": {"compression": "lzf"},
    "not packed": {"compression": None},
}.items():
    for _form in ("csr", "csc", "dense"):

        @_kind(f"{_form} {_name}")
        def _packed(folder: Path, how: Any = _how, form: str = _form) -> Made:
            twin = clean()
            data = twin.copy()
            data.X = data.X.toarray() if form == "dense" else data.X.asformat(form)
            return Made(_write(data, folder / "in.h5ad", **how), twin)


def _dense_chunks(name: str, **how: Any) -> None:
    def maker(folder: Path) -> Made:
        twin = clean()
        path = _write(twin, folder / "in.h5ad")
        with h5py.File(path, "r+") as file:
            attributes = {"encoding-type": "array", "encoding-version": "0.2.0"}
            del file["X"]
            file.create_dataset("X", data=twin.X.toarray(), **how).attrs.update(attributes)
        return Made(path, twin)

    _kind(name)(maker)


_dense_chunks("dense in chunks of a row", chunks=(1, N_GENES), compression="gzip")
_dense_chunks("dense in chunks of a column", chunks=(N_CELLS, 1), compression="gzip")
_dense_chunks("dense in chunks of one number", chunks=(1, 1))
_dense_chunks("dense in odd chunks", chunks=(7, 5), compression="lzf")
_dense_chunks("dense, contiguous")
_dense_chunks("dense, shuffled and checked", chunks=(9, 9), shuffle=True, fletcher32=True)
_dense_chunks("dense that may grow", maxshape=(None, None))
_dense_chunks("dense, scaled offset", chunks=(8, 8), dtype="i4", scaleoffset=0)


def _sparse_parts(name: str, form: str, change: Callable[[Any], dict[str, Any]]) -> None:
    """Add a kind whose sparse arrays are written by hand."""

    def maker(folder: Path) -> Made:
        twin = clean()
        path = _write(twin, folder / "in.h5ad")
        x = twin.X.asformat(form)
        parts = {"data": x.data, "indices": x.indices, "indptr": x.indptr} | change(x)
        with h5py.File(path, "r+") as file:
            for part in ("data", "indices", "indptr"):
                del file["X"][part]
                file["X"][part] = parts[part]
            file["X"].attrs["encoding-type"] = f"{form}_matrix"
        return Made(path, twin)

    _kind(name)(maker)


def _major(x: Any) -> Any:
    return np.repeat(np.arange(len(x.indptr) - 1), np.diff(x.indptr))


def _unsorted(x: Any) -> dict[str, Any]:
    order = np.lexsort((-x.indices, _major(x)))
    return {"data": x.data[order], "indices": x.indices[order]}


def _duplicated(x: Any) -> dict[str, Any]:
    # Each number in two halves at the same place.
    return {
        "data": np.repeat(x.data / 2, 2),
        "indices": np.repeat(x.indices, 2),
        "indptr": x.indptr * 2,
    }


def _explicit_zeros(x: Any) -> dict[str, Any]:
    dense = x.toarray() if x.format == "csr" else x.toarray().T
    rows, columns = dense.shape
    return {
        "data": dense.ravel(),
        "indices": np.tile(np.arange(columns, dtype=np.int32), rows),
        "indptr": np.arange(rows + 1, dtype=np.int32) * columns,
    }


def _long_indices(x: Any) -> dict[str, Any]:
    return {"indices": x.indices.astype(np.int64), "indptr": x.indptr.astype(np.int64)}


def _unsigned(x: Any) -> dict[str, Any]:
    return {"indices": x.indices.astype(np.uint32), "indptr": x.indptr.astype(np.uint64)}


for _form in ("csr", "csc"):
    _sparse_parts(f"{_form} with unsorted indices", _form, _unsorted)
    _sparse_parts(f"{_form} with doubled indices", _form, _duplicated)
    _sparse_parts(f"{_form} with explicit zeros", _form, _explicit_zeros)
    _sparse_parts(f"{_form} with 64-bit indices", _form, _long_indices)
    _sparse_parts(f"{_form} with unsigned indices", _form, _unsigned)
    _sparse_parts(f"{_form} of big-endian numbers", _form, lambda x: {"data": x.data.astype(">f4")})


@_kind("empty rows and columns")
def _empty_lines(folder: Path) -> Made:
    twin = clean()
    dense = twin.X.toarray()
    dense[[3, 30]] = 0
    dense[:, [0, 11, 23]] = 0
    twin.X = dense
    data = twin.copy()
    data.X = sp.csr_matrix(dense)
    return Made(_write(data, folder / "in.h5ad"), twin)


# -- What stands beside the values -----------------------------------------------------------------


def _object(name: str, **made: Any) -> Callable[[Callable[[anndata.AnnData], Any]], None]:
    """Add a kind that is the clean object with something changed or added."""

    def add(change: Callable[[anndata.AnnData], Any]) -> None:
        def maker(folder: Path) -> Made:
            data = clean()
            with warnings.catch_warnings(action="ignore"):
                changed = change(data)
            data = data if changed is None else changed
            return Made(_write(data, folder / "in.h5ad"), **made)

        _kind(name)(maker)

    return add


@_object("raw with other genes")
def _(data: anndata.AnnData) -> None:
    wider = anndata.AnnData(sp.random(N_CELLS, 40, 0.5, format="csr", random_state=0))
    wider.obs_names = data.obs_names
    wider.var_names = [f"other{i}" for i in range(40)]
    data.raw = wider


@_object("values in raw", words=("-b", "batch", "--use-raw"))
def _(data: anndata.AnnData) -> None:
    data.raw = data.copy()
    data.X = None


@_object("values in a layer", words=("-b", "batch", "--layer", "counts of it"))
def _(data: anndata.AnnData) -> None:
    data.layers["counts of it"] = data.X.copy()
    data.X = sp.csr_matrix(data.shape, dtype=np.float32)


@_object("no X", refused="no X|X is missing|has no")
def _(data: anndata.AnnData) -> None:
    data.layers["counts"] = data.X.copy()
    data.X = None


@_object("something in every slot")
def _(data: anndata.AnnData) -> None:
    rng = np.random.default_rng(0)
    data.layers["dense"] = rng.normal(size=data.shape)
    data.layers["CSC"] = sp.csc_matrix(data.X)
    data.obsm["X_pca"] = rng.normal(size=(N_CELLS, 5))
    data.obsm["table"] = pd.DataFrame({"a": range(N_CELLS)}, index=data.obs_names)
    data.obsm["sparse"] = sp.random(N_CELLS, 4, 0.5, format="csr", random_state=0)
    data.varm["PCs"] = rng.normal(size=(N_GENES, 5))
    data.obsp["connectivities"] = sp.random(N_CELLS, N_CELLS, 0.1, format="csr", random_state=1)
    data.varp["genes"] = rng.normal(size=(N_GENES, N_GENES))
    data.uns["nested"] = {"deep": {"deeper": {"array": np.arange(3), "text": "é", "no": None}}}
    data.uns["mnn"] = "something else of this name"
    data.uns["table"] = pd.DataFrame({"x": [1.5, np.nan], "y": pd.Categorical(["u", "v"])})
    data.uns["record"] = np.array([(1, 2.0)], dtype=[("n", "i4"), ("v", "f8")])
    data.uns["strings"] = np.array(["a", "b"], dtype=object)
    data.uns["empty"] = {}
    data.uns["flag"] = True


@_object("odd columns of obs and var")
def _(data: anndata.AnnData) -> None:
    data.obs["missing"] = pd.Series([None, *["x"] * (N_CELLS - 1)], data.obs_names, dtype=object)
    data.obs["nullable number"] = pd.array([None, *range(N_CELLS - 1)], dtype="Int64")
    data.obs["nullable flag"] = pd.array([None, *[True] * (N_CELLS - 1)], dtype="boolean")
    data.obs["NaN"] = np.nan
    data.obs["é % {x}"] = 1
    data.obs["huge"] = np.inf
    data.obs["empty categories"] = pd.Categorical([None] * N_CELLS)
    data.var["mean"] = np.arange(N_GENES, dtype=np.float16)
    data.var["flag"] = True


@_object("doubled names of cells")
def _(data: anndata.AnnData) -> None:
    data.obs_names = ["cell"] * N_CELLS


@_object("doubled names of genes")
def _(data: anndata.AnnData) -> None:
    data.var_names = ["gene", "gene", *data.var_names[2:]]


@_object("names that are numbers")
def _(data: anndata.AnnData) -> None:
    data.obs_names = [str(i) for i in range(N_CELLS)]
    data.var_names = [str(i) for i in range(N_GENES)]


@_object("names that are empty or odd")
def _(data: anndata.AnnData) -> None:
    data.obs_names = ["", " ", "a/b", "é", "\N{SNOWMAN}", *data.obs_names[5:]]
    data.var_names = ["", " ", "a/b", "nan", "None", *data.var_names[5:]]


@_object("an index with a name")
def _(data: anndata.AnnData) -> None:
    data.obs.index.name = "barcode"
    data.var.index.name = "gene_ids"


@_object("no other column of obs, none of var, doubled column order")
def _(data: anndata.AnnData) -> anndata.AnnData:
    return anndata.AnnData(data.X, obs=data.obs[["batch"]], var=data.var[[]])


@_object("a view")
def _(data: anndata.AnnData) -> anndata.AnnData:
    doubled = anndata.concat([data, data])
    return doubled[:N_CELLS]


# -- Batches ---------------------------------------------------------------------------------------


def _batch(name: str, change: Callable[[pd.Series[Any]], Any], **made: Any) -> None:
    """Add a kind whose batches are called, or stored, in another way."""

    def maker(folder: Path) -> Made:
        data = clean()
        data.obs["batch"] = change(data.obs["batch"].astype(str))
        return Made(_write(data, folder / "in.h5ad"), **made)

    _kind(name)(maker)


def _called(first: Any, second: Any) -> Callable[[Any], Any]:
    return lambda batch: batch.map({"a": first, "b": second}).astype("category")


_batch("text", lambda batch: batch.astype(object))
_batch("unused categories", lambda b: pd.Categorical(b, categories=["0", "a", "aa", "b", "z"]))
_batch("ordered categories", lambda b: pd.Categorical(b, categories=["a", "b"], ordered=True))
_batch("batches 1 and 2", lambda batch: batch.map({"a": 1, "b": 2}))
_batch("batches 1.0 and 2.5", lambda batch: batch.map({"a": 1.0, "b": 2.5}))
_batch("batches -1 and 10**12", lambda batch: batch.map({"a": -1, "b": 10**12}))
_batch("batches false and true", lambda batch: batch == "b")
_batch("categories 1 and 2", _called(1, 2))
_batch("categories 1.5 and 2.5", _called(1.5, 2.5))
_batch("categories false and true", _called(False, True))
_batch("unicode categories", _called("\N{GREEK SMALL LETTER ALPHA}", "\N{SNOWMAN} é"))
_batch("an empty category", _called("", "b"))
_batch("categories with slashes", _called("a/b", "a/c"))
_batch("categories with spaces", _called(" a", " a "))
_batch("categories with leading digits", _called("10x v2", "10x v3"))
_batch("categories with quotes, commas and brackets", _called('("a",', "b'=)"))
_batch("categories that look like nothing", _called("None", "nan"))
_batch("categories with lines", _called("a\tb", "a\nb"))
_batch("long categories", _called("a" * 5000, "b" * 5000))
_batch("nullable whole numbers", lambda b: pd.array(b.map({"a": 1, "b": 2}), dtype="Int32"))
_batch("nullable flags", lambda batch: pd.array(batch == "b", dtype="boolean"))
_batch("a missing batch", lambda b: b.where(b.index != "cell5"), refused="missing for 1 of 48")
_batch(
    "a missing nullable batch",
    lambda b: pd.array([None, *([1] * 20), *([2] * 27)], dtype="Int64"),
    refused="missing for 1 of 48",
)
_batch(
    "NaN among numbers of batches",
    lambda b: [np.nan, *([1.0] * 20), *([2.0] * 27)],
    refused="missing for 1 of 48",
)
_batch("dates", lambda b: b.map({"a": "2020-01-01", "b": "2021-01-01"}))


@_kind("nullable text")
def _nullable_text(folder: Path) -> Made:
    data = clean()
    data.obs["batch"] = data.obs["batch"].astype(str).astype("string")
    with anndata.settings.override(allow_write_nullable_strings=True):
        return Made(_write(data, folder / "in.h5ad"))


@_kind("a column with a slash")
def _slash_column(folder: Path) -> Made:
    # Stored as a group of its own, as early versions let it be.
    data = clean()
    path = _write(data, folder / "in.h5ad")
    with h5py.File(path, "r+") as file:
        file["obs"].move("batch", "donor/batch")
        file["obs"].attrs["column-order"] = ["donor/batch"]
    return Made(path, words=("-b", "donor/batch"))


# -- Encodings of other versions, by hand ----------------------------------------------------------


@_kind("as anndata 0.7 wrote it")
def _old_seven(folder: Path) -> Made:
    """Categories beside the codes, no encoding of the root."""
    data = clean()
    path = folder / "in.h5ad"
    with h5py.File(path, "w") as file:
        x = file.create_group("X")
        x.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0"})
        x.attrs["shape"] = data.shape
        for part in ("data", "indices", "indptr"):
            x[part] = getattr(data.X, part)
        text = h5py.string_dtype()
        for axis, frame in (("obs", data.obs), ("var", data.var)):
            group = file.create_group(axis)
            group.attrs.update({"encoding-type": "dataframe", "encoding-version": "0.1.0"})
            group.attrs["_index"] = "_index"
            group.attrs["column-order"] = np.array(list(frame), dtype=text)
            group.create_dataset("_index", data=list(frame.index), dtype=text)
        group = file["obs"]
        codes = group.create_dataset("batch", data=data.obs["batch"].cat.codes.to_numpy())
        names = group.create_dataset("__categories/batch", data=["a", "b"], dtype=text)
        names.attrs["ordered"] = False
        codes.attrs["categories"] = names.ref
    return Made(path, data)


@_kind("as anndata 0.6 wrote it")
def _old_six(folder: Path) -> Made:
    """Tables of records, categories in uns, the sparse format in an attribute of another name."""
    data = clean()
    path = folder / "in.h5ad"
    with h5py.File(path, "w") as file:
        x = file.create_group("X")
        x.attrs.update({"h5sparse_format": "csr", "h5sparse_shape": data.shape})
        for part in ("data", "indices", "indptr"):
            x[part] = getattr(data.X, part)
        obs = np.zeros(N_CELLS, dtype=[("index", "S10"), ("batch", "i1")])
        obs["index"], obs["batch"] = list(data.obs_names), data.obs["batch"].cat.codes
        file["obs"] = obs
        file["var"] = np.array([(name,) for name in data.var_names], dtype=[("index", "S10")])
        file.create_dataset("uns/batch_categories", data=["a", "b"], dtype=h5py.string_dtype())
    return Made(path, data)


def _as_eight(path: Path) -> None:
    """Turn what a later version writes into what anndata 0.8 does."""
    with h5py.File(path, "r+") as file:

        def visit(name: str, value: Any) -> None:
            # Indices of 32 bits, no null elements, and no compression were written then.
            if value.attrs.get("encoding-type") == "nullable-string-array":
                msg = f"{name} is of a later version"
                raise AssertionError(msg)

        file.visititems(visit)
        if "raw" in file and file["raw"].attrs.get("encoding-type") == "null":
            del file["raw"]


@_kind("as anndata 0.8 wrote it")
def _eight(folder: Path) -> Made:
    path = _write(clean(), folder / "in.h5ad")
    _as_eight(path)
    return Made(path)


@_kind("no groups but X, obs and var")
def _only_needed(folder: Path) -> Made:
    path = _write(clean(), folder / "in.h5ad")
    with h5py.File(path, "r+") as file:
        for name in set(file) - {"X", "obs", "var"}:
            del file[name]
    return Made(path)


@_kind("text of fixed length")
def _fixed_text(folder: Path) -> Made:
    path = _write(clean(), folder / "in.h5ad")
    with h5py.File(path, "r+") as file:
        for place in ("obs/_index", "var/_index", "obs/batch/categories"):
            words, attributes = file[place][...].astype("S"), dict(file[place].attrs)
            del file[place]
            file.create_dataset(place, data=words).attrs.update(attributes)
    return Made(path)


@_kind("more in the file than an h5ad has")
def _more(folder: Path) -> Made:
    path = _write(clean(), folder / "in.h5ad")
    with h5py.File(path, "r+") as file:
        file["notes/of/mine"] = [1, 2, 3]
        file.attrs["lab"] = "ours"
    return Made(path)


@_kind("soft links inside the file")
def _soft(folder: Path) -> Made:
    path = _write(clean(), folder / "in.h5ad")
    with h5py.File(path, "r+") as file:
        file.move("X", "elsewhere")
        file["X"] = h5py.SoftLink("/elsewhere")
    return Made(path)


@_kind("a link that leads nowhere")
def _dangling(folder: Path) -> Made:
    path = _write(clean(), folder / "in.h5ad")
    with h5py.File(path, "r+") as file:
        del file["X"]
        file["X"] = h5py.SoftLink("/nowhere")
    return Made(path, refused="is damaged, or not a whole h5ad file")


@_kind("an element of a later version")
def _later(folder: Path) -> Made:
    path = _write(clean(), folder / "in.h5ad")
    with h5py.File(path, "r+") as file:
        file["X"].attrs["encoding-version"] = "9.9.9"
    return Made(path, refused="is damaged, or not a whole h5ad file")


@_kind("a MuData file")
def _several_modalities(folder: Path) -> Made:
    path = _write(clean(), folder / "in.h5ad")
    with h5py.File(path, "r+") as file:
        file.attrs["encoding-type"] = "MuData"
        del file["X"]
        file.create_group("mod/rna")
    return Made(path, refused="no h5ad file|no X|damaged")


# -- The file itself -------------------------------------------------------------------------------


def _place(name: str, **made: Any) -> Callable[[Callable[[Path], Path]], None]:
    """Add a kind that is a clean file in an odd place."""

    def add(move: Callable[[Path], Path]) -> None:
        def maker(folder: Path) -> Made:
            return Made(move(_write(clean(), folder / "in.h5ad")), **made)

        _kind(name)(maker)

    return add


@_place("a read-only file")
def _(path: Path) -> Path:
    path.chmod(0o400)
    return path


@_place("a link to a file")
def _(path: Path) -> Path:
    (path.parent / "link.h5ad").symlink_to(path)
    return path.parent / "link.h5ad"


@_place("a link to a link by a relative path")
def _(path: Path) -> Path:
    (path.parent / "one.h5ad").symlink_to("in.h5ad")
    (path.parent / "two.h5ad").symlink_to("one.h5ad")
    return path.parent / "two.h5ad"


@_place("a path with spaces and signs")
def _(path: Path) -> Path:
    folder = path.parent / "my data (1) & 'more' %s {x}"
    folder.mkdir()
    return path.rename(folder / "pbmc 3k; $HOME #1.h5ad")


@_place("a path in unicode")
def _(path: Path) -> Path:
    folder = path.parent / "donn\N{LATIN SMALL LETTER E WITH ACUTE}es \N{SNOWMAN}"
    folder.mkdir()
    return path.rename(folder / "\N{GREEK SMALL LETTER ALPHA}.h5ad")


@_place("a long name")
def _(path: Path) -> Path:
    return path.rename(path.with_name("n" * 240 + ".h5ad"))


@_place("another ending")
def _(path: Path) -> Path:
    return path.rename(path.with_name("in.data"))


@_place("a name that begins with a dash")
def _(path: Path) -> Path:
    return path.rename(path.with_name("-in.h5ad"))


@_place("a link to nothing", refused="does not exist")
def _(path: Path) -> Path:
    (path.parent / "link.h5ad").symlink_to("none.h5ad")
    return path.parent / "link.h5ad"


@_place("a link to itself", refused="link")
def _(path: Path) -> Path:
    (path.parent / "link.h5ad").symlink_to("link.h5ad")
    return path.parent / "link.h5ad"


@_place("a name that is too long", refused="too long")
def _(path: Path) -> Path:
    return path.with_name("n" * 300 + ".h5ad")


@_place("a pipe", refused="not a regular file")
def _(path: Path) -> Path:
    import os

    os.mkfifo(path.with_name("pipe.h5ad"))
    return path.with_name("pipe.h5ad")


@_place("a device", refused="not a regular file")
def _(path: Path) -> Path:
    return path.parent / "/dev/zero"
