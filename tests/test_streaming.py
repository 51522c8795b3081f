"""Files read in blocks give what the same values in memory give, and keep what they had."""

from __future__ import annotations

import importlib.util
import tracemalloc
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from peaks import peak
from typer.testing import CliRunner

import mnncorrect
from mnncorrect._adata import take_batches, take_expression_rows
from mnncorrect._adata.slots import elements_of
from mnncorrect._io import h5ad
from mnncorrect._io.by_rows import csr_writer
from mnncorrect._io.scratch import Scratch, scratch_file
from mnncorrect._prepare import count_survey, expression_values, gather, limits
from mnncorrect._prepare.limits import MemoryLimits
from mnncorrect.cli.app import app


def mostly_slow(*values):
    """Parameters for the long run: what they test differs little from what is tested always."""
    return [pytest.param(value, marks=pytest.mark.slow) for value in values]


CONTAINERS = {"csr": sp.csr_matrix, "csc": sp.csc_matrix, "dense": np.array}
N_CELLS, N_GENES = 90, 40


def make_object(container="csr", dtype=np.float32, *, full=False):
    """Counts of two populations in two batches; with `full`, something in every place."""
    rng = np.random.default_rng(5)
    rates = rng.gamma(0.6, 3.0, (2, N_GENES)) + 0.1
    batch = np.repeat([0, 1], [40, 50])
    distorted = np.exp(0.4 * rng.normal(size=N_GENES)) ** batch[:, None]
    x = rng.poisson(rates[np.arange(N_CELLS) % 2] * distorted).astype(dtype)
    adata = anndata.AnnData(
        CONTAINERS[container](x),
        obs=pd.DataFrame(
            {"batch": pd.Categorical.from_codes(batch, ["a", "b"])},
            index=[f"cell{i}" for i in range(N_CELLS)],
        ),
        var=pd.DataFrame(index=[f"gene{g}" for g in range(N_GENES)]),
    )
    if full:
        adata.raw = adata.copy()
        adata.layers["other"] = sp.csc_matrix(x * 2)
        adata.layers["dense"] = x + 0.5
        adata.obs["text"] = [f"word{i % 3}" for i in range(N_CELLS)]
        adata.obsm["X_pca"] = rng.normal(size=(N_CELLS, 4))
        adata.obsm["frame"] = pd.DataFrame({"q": np.arange(N_CELLS)}, index=adata.obs_names)
        adata.obsp["graph"] = sp.eye(N_CELLS, format="csr")
        adata.varm["loadings"] = rng.normal(size=(N_GENES, 2))
        adata.uns = {"large": np.zeros(300_000), "small": {"words": np.array(["a", "b"])}}
    return adata


def logged(adata):
    """Log values in the same container."""
    adata = adata.copy()
    dense = adata.X.toarray() if sp.issparse(adata.X) else adata.X
    container = type(adata.X) if sp.issparse(adata.X) else np.array
    dense = dense.astype(np.float64 if dense.dtype == np.float64 else np.float32)
    adata.X = container(np.log1p(100 * dense / dense.sum(1, keepdims=True)))
    return adata


def run(*words, code=0):
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == code, done.stderr
    return done


def assert_equal(found, expected, place=""):
    """Equal to the bit, and of the same types, in every place."""
    if isinstance(expected, anndata.AnnData):
        for slot in ("X", "obs", "var", "layers", "obsm", "varm", "obsp", "varp", "uns"):
            assert_equal(getattr(found, slot), getattr(expected, slot), slot)
        assert (found.raw is None) == (expected.raw is None)
        if expected.raw is not None:
            assert_equal(found.raw.to_adata(), expected.raw.to_adata(), "raw")
    elif isinstance(expected, Mapping):
        assert set(found) == set(expected), place
        for key in expected:
            assert_equal(found[key], expected[key], f"{place}/{key}")
    elif isinstance(expected, pd.DataFrame):
        pd.testing.assert_frame_equal(found, expected, check_exact=True, obj=place)
    elif sp.issparse(expected):
        assert (found.format, found.dtype) == (expected.format, expected.dtype), place
        np.testing.assert_array_equal(found.toarray(), expected.toarray(), err_msg=place)
    else:
        assert type(found) is type(expected), place
        np.testing.assert_array_equal(found, expected, err_msg=place)


@pytest.fixture
def small_blocks(monkeypatch):
    """Have the files of these tests read in many blocks, as large ones are."""
    monkeypatch.setattr(limits, "LEAST_BLOCK_BYTES", 1000)
    monkeypatch.setattr(limits, "BLOCKS", 1 << 20)


FEW = ("--n-comps", 4, "--n-components", "1-2", "--memory-limit", "16M")


def both_ways(tmp_path, adata, *words, command="run", how=None):
    """Results by blocks and in memory; `subset` works on what is in memory."""
    adata.write_h5ad(tmp_path / "in.h5ad", **(how or {}))
    run(command, tmp_path / "in.h5ad", "-b", "batch", "-o", tmp_path / "blocks.h5ad", *words)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(h5ad, "opened_h5ad", whole)
        run(command, tmp_path / "in.h5ad", "-b", "batch", "-o", tmp_path / "memory.h5ad", *words)
    return (anndata.read_h5ad(tmp_path / f"{name}.h5ad") for name in ("blocks", "memory"))


class whole:  # noqa: N801
    """Read a file instead of opening it."""

    def __init__(self, path):
        self.path = path

    def __enter__(self):
        return h5ad.read(self.path)

    def __exit__(self, *_):
        return None


DTYPES = (np.float32, np.float64, np.int32)
# Every two of a container, a type and a compression meet once; in the short run, each is met once.
SQUARE = [
    pytest.param(*one, marks=() if row == column else pytest.mark.slow)
    for row, container in enumerate(CONTAINERS)
    for column, dtype in enumerate(DTYPES)
    for one in [(container, dtype, ("gzip", "lzf", None)[(row + column) % 3])]
]


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(("container", "dtype", "compression"), SQUARE)
def test_blocks_give_what_memory_gives(tmp_path, container, dtype, compression):
    adata = make_object(container, dtype)
    words = ("--method", "classic", "--no-pca", "--no-gmm", "--no-hvg", "--memory-limit", "16M")
    found, expected = both_ways(tmp_path, adata, *words, how={"compression": compression})
    assert type(found.layers["mnn_log1p"]) is type(expected.layers["mnn_log1p"])
    assert_equal(found, expected)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "blocks.h5ad", "in.h5ad", "memory.h5ad",
    ]  # fmt: skip


WORDS = {
    "genes": ("--n-top-genes", 15, *FEW),
    "all genes": ("--no-hvg", *FEW),
    "not kept": ("--n-top-genes", 15, "--no-keep-normalized", *FEW),
    "no log": ("--no-log1p", "--n-top-genes", 15, *FEW),
    "no total": ("--no-normalize", "--n-top-genes", 15, *FEW),
    "correct all": ("--n-top-genes", 15, "--correct-all", *FEW),
    "layer": ("--layer", "other", "--n-top-genes", 15, *FEW),
    "raw": ("--use-raw", "--n-top-genes", 15, *FEW),
    "by name": ("--n-top-genes", 15, "--key-added", "mine", *FEW),
}


@pytest.mark.slow
@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
@pytest.mark.parametrize("kind", ["counts", "logs"])
def test_every_choice_gives_what_memory_gives(tmp_path, words, kind):
    adata = make_object(full=True)
    if kind == "logs":
        raw = logged(adata)
        adata.X, adata.layers["other"] = raw.X, sp.csc_matrix(raw.X)
        adata.raw = raw
        adata.layers["dense"] = raw.X.toarray()
    found, expected = both_ways(tmp_path, adata, *words)
    assert_equal(found, expected)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("container", ["csc", *mostly_slow("csr", "dense")])
def test_correct_of_log_values(tmp_path, container):
    words = ("--method", "classic", "--memory-limit", "16M")
    found, expected = both_ways(tmp_path, logged(make_object(container)), *words, command="correct")
    assert_equal(found, expected)
    assert set(elements_of(found, "layers")) == {"mnn"}


@pytest.mark.slow
@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("limit", ["16M", "3G"])
def test_results_do_not_depend_on_the_limit(tmp_path, limit, monkeypatch):
    make_object().write_h5ad(tmp_path / "in.h5ad")
    words = ("run", tmp_path / "in.h5ad", "-b", "batch", "--n-top-genes", 15, "--force")
    words = (*words, "--n-comps", 4, "--n-components", "1-2", "-o")
    run(*words, tmp_path / "limit.h5ad", "--memory-limit", limit)
    run(*words, tmp_path / "default.h5ad")
    assert (tmp_path / "limit.h5ad").read_bytes() == (tmp_path / "default.h5ad").read_bytes()


# -- What is not changed --------------------------------------------------------------------------


def chunks_of(file, place):
    """The bytes of every dataset at a place as they are stored, with type, shape and filters."""
    found = {}

    def look(name, item):
        if isinstance(item, h5py.Dataset):
            # Text lies elsewhere in a file; what is stored of it is where.
            stored = [
                item.id.read_direct_chunk(item.id.get_chunk_info(at).chunk_offset)
                for at in range(item.id.get_num_chunks() if item.chunks else 0)
                if item.dtype.kind != "O"
            ] or str(item[()])
            found[name] = (item.dtype, item.shape, item.chunks, item.compression, stored)

    if isinstance(file[place], h5py.Dataset):
        look("", file[place])
    else:
        file[place].visititems(look)
    return found


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("command", ["run", "correct"])
def test_what_is_not_changed_is_copied_as_it_is(tmp_path, command):
    make_object(full=True).write_h5ad(tmp_path / "in.h5ad", compression="lzf")
    words = ("--n-comps", 4, *(("--no-gmm",) if command == "run" else ()))
    run(command, tmp_path / "in.h5ad", "-b", "batch", "-o", tmp_path / "out.h5ad", *words)
    with h5py.File(tmp_path / "in.h5ad") as before, h5py.File(tmp_path / "out.h5ad") as after:
        for place in (
            "X", "raw", "layers/other", "layers/dense", "obsm/X_pca", "obsp/graph",
            "varm/loadings", "uns/large",
        ):  # fmt: skip
            assert chunks_of(before, place) == chunks_of(after, place), place
            assert dict(before[place].attrs).keys() == dict(after[place].attrs).keys()
    before, after = (anndata.read_h5ad(tmp_path / f"{name}.h5ad") for name in ("in", "out"))
    assert_equal(before.obsm["frame"], after.obsm["frame"])
    assert_equal(before.uns["small"], after.uns["small"])
    assert_equal(dict(before.raw.to_adata().varm), dict(after.raw.to_adata().varm))
    assert_equal(before.raw.var, after.raw.var)


def test_an_earlier_correction_is_replaced(tmp_path):
    make_object().write_h5ad(tmp_path / "in.h5ad")
    words = ("-b", "batch", "--n-top-genes", 15, *FEW)
    run("run", tmp_path / "in.h5ad", "-o", tmp_path / "1.h5ad", *words)
    run("run", tmp_path / "1.h5ad", "-o", tmp_path / "2.h5ad", *words, "--hvg")
    first, second = (anndata.read_h5ad(tmp_path / f"{number}.h5ad") for number in (1, 2))
    second.obs = second.obs[list(first.obs)]  # what is replaced comes last
    assert "hvg" in second.uns["mnn"].pop("call")
    assert "hvg" not in first.uns["mnn"].pop("call")
    assert_equal(second, first)


# -- Components and clusters ----------------------------------------------------------------------


@pytest.mark.parametrize("container", ["csr", *mostly_slow("csc", "dense"), "tall"])
def test_components_are_found_in_blocks_and_the_rest_is_copied(tmp_path, container, monkeypatch):
    adata = logged(make_object("dense" if container == "tall" else container, full=True))
    adata.layers["mnn"] = adata.X
    adata.var["mnn_corrected"] = np.arange(N_GENES) % 3 > 0
    adata.write_h5ad(tmp_path / "in.h5ad", compression="gzip")
    if container == "tall":
        rewrite(tmp_path / "in.h5ad", "layers/mnn", chunks=(N_CELLS, 2))
    words = ("pca", tmp_path / "in.h5ad", "--n-comps", 4, "-o")
    run(*words, tmp_path / "memory.h5ad")
    # Too large for memory, as it were.
    monkeypatch.setattr("mnncorrect._prepare.prepared.SPARSE_ENTRY_BYTES", 1 << 20)
    monkeypatch.setattr(mnncorrect.core.matrix.pca, "SVD_CELLS", 3)
    monkeypatch.setattr(mnncorrect.core.matrix.pca, "ROW_BLOCK", 16)
    run(*words, tmp_path / "blocks.h5ad", "--memory-limit", "16M")
    found, expected = (anndata.read_h5ad(tmp_path / f"{n}.h5ad") for n in ("blocks", "memory"))
    # Two ways to the same decomposition, of float32 values.
    np.testing.assert_allclose(found.obsm["X_mnn_pca"], expected.obsm["X_mnn_pca"], atol=1e-4)
    assert found.uns["mnn_pca"]["params"] == expected.uns["mnn_pca"]["params"]
    with h5py.File(tmp_path / "in.h5ad") as before, h5py.File(tmp_path / "blocks.h5ad") as after:
        for place in ("X", "raw", "layers", "obsm/X_pca", "obsp/graph", "uns/large"):
            assert chunks_of(before, place) == chunks_of(after, place), place


def test_components_of_values_that_are_not_finite_are_refused(tmp_path, monkeypatch):
    adata = logged(make_object())
    adata.layers["mnn"] = adata.X.toarray()
    adata.layers["mnn"][70, 3] = np.nan
    adata.write_h5ad(tmp_path / "in.h5ad")
    monkeypatch.setattr("mnncorrect._prepare.prepared.SPARSE_ENTRY_BYTES", 1 << 20)
    words = ("pca", tmp_path / "in.h5ad", "-o", tmp_path / "out.h5ad", "--memory-limit", "16M")
    words = (*words, "--n-comps", 4)
    done = run(*words, code=1)
    assert "'cell70', 'gene3'" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["in.h5ad"]


def test_clusters_leave_matrices_where_they_are(tmp_path):
    make_object(full=True).write_h5ad(tmp_path / "in.h5ad", compression="gzip")
    words = ("--use-rep", "X_pca", "--n-components", "2", "-o", tmp_path / "out.h5ad")
    run("gmm", tmp_path / "in.h5ad", *words)
    assert "gmm" in anndata.read_h5ad(tmp_path / "out.h5ad").obs
    with h5py.File(tmp_path / "in.h5ad") as before, h5py.File(tmp_path / "out.h5ad") as after:
        for place in ("X", "raw", "layers", "obsm/X_pca", "obsp/graph", "uns/large"):
            assert chunks_of(before, place) == chunks_of(after, place), place


# -- Several inputs, chosen cells -----------------------------------------------------------------


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("container", ["csc", *mostly_slow("csr", "dense")])
def test_chosen_cells_keep_all_that_is_known_of_them(tmp_path, container):
    adata = make_object(container, full=True)
    adata.layers["mixed"] = adata.X.astype(np.float64)
    adata.varm["more"] = np.ones((N_GENES, 2))
    adata.write_h5ad(tmp_path / "in.h5ad")
    words = ("--method", "fast", "--n-comps", 4, "--no-gmm", "--memory-limit", "16M")
    words = ("-b", "batch", *words, "--subset", "text!=word1", "-o", tmp_path / "out.h5ad")
    run("run", tmp_path / "in.h5ad", *words)
    found = anndata.read_h5ad(tmp_path / "out.h5ad")
    expected = adata[adata.obs["text"] != "word1"].copy()
    expected.strings_to_categoricals()
    for slot in ("layers", "obsm", "varm", "obsp"):
        for name, value in elements_of(expected, slot).items():
            stored = getattr(found, slot)[name]
            if sp.issparse(value):
                assert sp.issparse(stored)
                np.testing.assert_array_equal(stored.toarray(), value.toarray(), err_msg=name)
                assert stored.dtype == value.dtype
            else:
                assert_equal(stored, value, name)
    raws = (adata.raw.to_adata().to_df() for adata in (found, expected))
    pd.testing.assert_frame_equal(*raws)
    pd.testing.assert_frame_equal(found.obs[list(expected.obs)], expected.obs)
    assert_equal(found.uns["large"], adata.uns["large"])
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["in.h5ad", "out.h5ad"]


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(
    "containers", [("csc", "dense"), *mostly_slow(("csr", "csc"), ("dense", "dense"))]
)
def test_several_files_give_what_anndata_makes_of_them(tmp_path, containers):
    parts = {}
    for number, container in enumerate(containers):
        adata = make_object(container, (np.float32, np.int32)[number], full=True)
        part = adata[:, np.roll(np.arange(N_GENES), 7 * number)[: N_GENES - 3 * number]].copy()
        parts[f"part{number}"] = part
        part.write_h5ad(tmp_path / f"part{number}.h5ad", compression=("gzip", "lzf")[number])
    inputs = [tmp_path / f"{name}.h5ad" for name in parts]
    run("concat", *inputs, "-o", tmp_path / "out.h5ad", "--memory-limit", "16M")
    found = anndata.read_h5ad(tmp_path / "out.h5ad")
    expected = anndata.concat(parts, index_unique="-")
    assert list(found.obs_names) == list(expected.obs_names)
    assert list(found.var_names) == list(expected.var_names)
    for name in (None, *elements_of(expected, "layers")):
        one = found.X if name is None else found.layers[name]
        two = expected.X if name is None else expected.layers[name]
        assert sp.issparse(one) == sp.issparse(two), name
        one, two = (x.toarray() if sp.issparse(x) else x for x in (one, two))
        np.testing.assert_array_equal(one, two, err_msg=name)
    # Whole numbers beside floats take their type.
    assert found.X.dtype == np.float32


@pytest.mark.parametrize("kind", ["float16", "bool", "complex"])
def test_types_of_numbers_that_are_read_and_one_that_is_refused(tmp_path, kind):
    adata = make_object("dense")
    for name in ("a", "b"):
        adata.X = (adata.X > 0).astype(kind)
        adata.write_h5ad(tmp_path / f"{name}.h5ad")
    words = ("concat", tmp_path / "a.h5ad", tmp_path / "b.h5ad", "-o", tmp_path / "out.h5ad")
    done = run(*words, code=int(kind == "complex"))
    if kind == "complex":
        assert "X of a holds complex128; real numbers are needed" in done.stderr
        return
    found = anndata.read_h5ad(tmp_path / "out.h5ad").X
    assert found.dtype == {"float16": np.float32, "bool": np.bool_}[kind]
    np.testing.assert_array_equal(found[:N_CELLS], adata.X)


@pytest.mark.parametrize("fails", ["disk", "interrupt"])
def test_a_failure_while_files_are_put_together_leaves_nothing(tmp_path, fails, monkeypatch):
    for name in ("a", "b"):
        make_object().write_h5ad(tmp_path / f"{name}.h5ad")
    error = OSError("No space left on device") if fails == "disk" else KeyboardInterrupt()

    def broken(*_, **__):
        assert any("mnncorrect" in entry.name for entry in tmp_path.iterdir())
        raise error

    monkeypatch.setattr("mnncorrect._io.pieces.csr_writer", broken)
    words = ("run", tmp_path / "a.h5ad", tmp_path / "b.h5ad", "-o", tmp_path / "out.h5ad")
    done = run(*words, code=1 if fails == "disk" else 130)
    assert "Traceback" not in done.stderr
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.h5ad", "b.h5ad"]


# -- Odd files ------------------------------------------------------------------------------------


def rewrite(path, place, **how):
    """Store a dataset of a file anew."""
    with h5py.File(path, "r+") as file:
        values, attrs = file[place][()], dict(file[place].attrs)
        del file[place]
        file.create_dataset(place, data=values, **how).attrs.update(attrs)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("chunks", [(1,), (7,), (100,), None, "whole"])
def test_sparse_values_in_chunks_of_any_size(tmp_path, chunks):
    adata = make_object()
    adata.write_h5ad(tmp_path / "in.h5ad")
    for name in ("data", "indices"):
        size = (adata.X.nnz,) if chunks == "whole" else chunks
        rewrite(tmp_path / "in.h5ad", f"X/{name}", chunks=size, shuffle=size is not None)
    rewrite(tmp_path / "in.h5ad", "X/indptr", dtype=np.int64)
    check_rows(tmp_path / "in.h5ad", adata.X.toarray())


@pytest.mark.parametrize("chunks", [(1, 1), (7, 3), (N_CELLS, 1), (1, N_GENES), None])
def test_dense_values_in_chunks_of_any_shape(tmp_path, chunks, monkeypatch):
    monkeypatch.setattr("mnncorrect._adata.stored_rows.TALL_CHUNK", 30)
    adata = make_object("dense")
    adata.write_h5ad(tmp_path / "in.h5ad")
    rewrite(tmp_path / "in.h5ad", "X", chunks=chunks)
    check_rows(tmp_path / "in.h5ad", adata.X)


def check_rows(path, expected, size=13):
    with h5ad.opened_h5ad(path) as adata, scratch_file(path.parent) as scratch:
        rows = take_expression_rows(adata, scratch=Scratch(lambda: scratch), block_bytes=500)
        assert rows.shape == expected.shape
        for start in range(0, N_CELLS, size):
            block = rows[slice(start, start + size)]
            dense = block.toarray() if sp.issparse(block) else block
            np.testing.assert_array_equal(dense, expected[start : start + size], strict=True)
    assert [entry.name for entry in path.parent.iterdir()] == ["in.h5ad"]


@pytest.mark.parametrize("block_bytes", [1, 300, 5000, 1 << 20])
def test_columns_are_turned_into_rows_in_passes(tmp_path, block_bytes):
    adata = make_object("csc")
    x = adata.X.toarray()
    x[3:30] = 0
    adata.X = sp.csc_matrix(x)
    adata.write_h5ad(tmp_path / "in.h5ad")
    with h5ad.opened_h5ad(tmp_path / "in.h5ad") as opened, scratch_file(tmp_path) as scratch:
        rows = take_expression_rows(
            opened, scratch=Scratch(lambda: scratch), block_bytes=block_bytes
        )
        found = rows[slice(0, N_CELLS)]
        assert found.has_canonical_format
        np.testing.assert_array_equal(found.toarray(), adata.X.toarray())


def test_doubled_and_unsorted_entries_are_put_right(tmp_path):
    x = sp.csr_matrix(
        (np.array([1, 2, 3, 4], np.float32), np.array([5, 1, 1, 0]), np.array([0, 3, 4])),
        shape=(2, 6),
    )
    anndata.AnnData(sp.csr_matrix((2, 6), dtype=np.float32)).write_h5ad(tmp_path / "in.h5ad")
    with h5py.File(tmp_path / "in.h5ad", "r+") as file:
        for name, values in (("data", x.data), ("indices", x.indices), ("indptr", x.indptr)):
            del file[f"X/{name}"]
            file[f"X/{name}"] = values
    with h5ad.opened_h5ad(tmp_path / "in.h5ad") as adata:
        block = take_expression_rows(adata)[slice(0, 2)]
        assert block.has_canonical_format
        np.testing.assert_array_equal(block.toarray(), [[0, 5, 0, 0, 0, 1], [4, 0, 0, 0, 0, 0]])


def test_values_that_are_not_finite_are_told_as_in_memory(tmp_path, small_blocks):
    adata = make_object()
    x = adata.X.toarray()
    x[70, 3], x[12, 8], x[12, 9] = np.nan, np.inf, np.nan
    adata.X = sp.csr_matrix(x)
    adata.write_h5ad(tmp_path / "in.h5ad")
    words = ("-b", "batch", "-o", tmp_path / "out.h5ad", "--memory-limit", "16M")
    done = run("run", tmp_path / "in.h5ad", *words, code=1)
    assert "3 values that are not finite (2 NaN, 1 infinite) in 2 cells" in done.stderr
    assert "the first is cell 'cell12', 'gene8'" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["in.h5ad"]


def test_damaged_values_are_one_line(tmp_path):
    adata = make_object()
    adata.X = sp.random(N_CELLS, N_GENES, 0.9, format="csr", dtype=np.float32, random_state=1)
    adata.write_h5ad(tmp_path / "in.h5ad", compression="gzip")
    with h5py.File(tmp_path / "in.h5ad") as file:
        at = file["X/data"].id.get_chunk_info(0).byte_offset
    with (tmp_path / "in.h5ad").open("r+b") as file:
        file.seek(at + 20)
        file.write(b"\xff" * 200)
    words = ("-b", "batch", "-o", tmp_path / "out.h5ad")
    done = run("run", tmp_path / "in.h5ad", *words, code=1)
    assert "X of" in done.stderr
    assert "is it damaged?" in done.stderr
    assert len(done.stderr.splitlines()) == 1


# -- Gathered genes -------------------------------------------------------------------------------


def test_genes_without_room_in_memory_are_gathered_in_a_file(tmp_path):
    adata = logged(make_object())
    adata.write_h5ad(tmp_path / "in.h5ad")
    mask = np.arange(N_GENES) % 3 > 0
    expected = adata.X.toarray() * mask
    by_hand = anndata.AnnData(sp.csr_matrix(expected), obs=adata.obs, var=adata.var)
    with h5ad.opened_h5ad(tmp_path / "in.h5ad") as opened, scratch_file(tmp_path) as scratch:
        values = expression_values.take(opened, block_bytes=1000)
        found = count_survey.survey(values, None, count_survey.WantedSteps(genes=False))
        room = MemoryLimits(1000, 3000, lambda: scratch)
        some = gather.gather_genes(values, found, mask, room)
        assert not sp.issparse(some)
        np.testing.assert_array_equal(some.to_memory().toarray(), expected)
        for correct, key in (
            (partial(mnncorrect.pp.mnn_fast, n_comps=5), "obsm"),
            (mnncorrect.pp.mnn_classic, "layers"),
        ):
            made = anndata.AnnData(some, obs=adata.obs, var=adata.var)
            correct(made, "batch", mask_var=mask)
            again = by_hand.copy()
            correct(again, "batch", mask_var=mask)
            assert_equal(elements_of(made, key), elements_of(again, key))
            assert_equal(made.obs, again.obs)


def test_written_rows_are_a_matrix_of_anndata(tmp_path):
    x = sp.random(50, 20, 0.3, format="csr", dtype=np.float32, random_state=2)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        with csr_writer(file.create_group("x"), x.shape, x.dtype, compression="gzip") as append:
            for start in range(0, 50, 17):
                append(x[start : start + 17])
        assert_equal(anndata.io.read_elem(file["x"]), x)


# -- Memory ---------------------------------------------------------------------------------------


def make_large(path, n_cells):
    """A file of counts, made by the script of the benchmark."""
    folder = Path(__file__).parents[1] / "workflows" / "benchmark" / "workflow" / "scripts"
    found = importlib.util.spec_from_file_location("make_counts", folder / "make_counts.py")
    script = importlib.util.module_from_spec(found)
    found.loader.exec_module(script)
    return script.make(path, n_cells=n_cells, n_genes=1500, per_cell=300)


@pytest.mark.slow
def test_memory_is_that_of_blocks_and_of_what_is_gathered(tmp_path):
    stored = make_large(tmp_path / "in.h5ad", 6000)
    assert stored == pytest.approx(6000 * 300, rel=0.2)
    with h5ad.opened_h5ad(tmp_path / "in.h5ad") as adata, scratch_file(tmp_path) as scratch:
        batches = take_batches(adata, "batch")
        values = expression_values.take(adata, block_bytes=1 << 18)
        # Compiled code takes memory too, once.
        count_survey.survey(values, batches, count_survey.WantedSteps(), n_jobs=1)
        tracemalloc.start()
        values = expression_values.take(adata, block_bytes=1 << 18)
        found = count_survey.survey(values, batches, count_survey.WantedSteps(), n_jobs=1)
        mask = count_survey.choose_genes(values, found, 100)
        room = MemoryLimits(1 << 18, 1 << 16, lambda: scratch)
        some = gather.gather_genes(values, found, mask, room, n_jobs=1)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert mask.sum() == 100
        assert not sp.issparse(some)
    assert peak < 8 * stored / 3


@pytest.mark.slow
def test_the_whole_command_stays_within_its_memory(tmp_path):
    """Ten times the cells take hardly more, where the limit is small."""
    peaks = []
    for n_cells in (3000, 30_000):
        make_large(tmp_path / f"{n_cells}.h5ad", n_cells)
        words = ["correct", f"{n_cells}.h5ad", "-b", "batch", "-o", f"{n_cells}-out.h5ad"]
        words += ["--method", "fast", "--n-top-genes", "300", "--memory-limit", "32M"]
        peaks.append(peak(words, tmp_path))
    assert peaks[1] - peaks[0] < 200
