"""A result written as zarr holds what the same result written as h5ad holds."""

from __future__ import annotations

import contextlib
import os
import shutil
import warnings
from pathlib import Path

import anndata
import numpy as np
import pytest
import scipy.sparse as sp

import mnncorrect
from mnncorrect._io import atomic, zarr_rows
from mnncorrect._io.atomic import MACHINE, PUT_ASIDE, SUFFIX, hold, restore_put_aside
from mnncorrect._io.example import make_example
from mnncorrect._io.result_file import opened_result
from mnncorrect._io.zarr_output import whole_folder

pytest.importorskip("zarr")
SLOTS = ("obsm", "varm", "layers", "obsp", "uns")


def counts(n_cells=240, n_genes=90):
    rng = np.random.default_rng(0)
    made = make_example()[: 2 * n_cells : 2, :n_genes].copy()
    made.obs["batch"] = rng.choice(["a", "b"], n_cells)
    made.obs["part"] = rng.choice(["kept", "left"], n_cells)
    made.layers["twice"] = sp.csc_matrix(made.X) * 2
    made.obsm["X_own"] = rng.normal(size=(n_cells, 3))
    made.raw = made.copy()
    return made


def same(one, other):
    assert one.obs.astype(str).equals(other.obs.astype(str))
    assert one.var.astype(str).equals(other.var.astype(str))
    pairs = [("X", one.X, other.X)]
    for slot in SLOTS:
        left, right = getattr(one, slot), getattr(other, slot)
        assert set(left) == set(right), slot
        if slot != "uns":
            pairs += [(f"{slot}/{name}", left[name], right[name]) for name in left]
    assert (one.raw is None) == (other.raw is None)
    if one.raw is not None:
        pairs.append(("raw", one.raw.X, other.raw.X))
    for place, left, right in pairs:
        left, right = (v.toarray() if sp.issparse(v) else np.asarray(v) for v in (left, right))
        assert left.dtype == right.dtype, place
        np.testing.assert_array_equal(left, right, err_msg=place)


def read(path):
    return anndata.read_zarr(path) if path.suffix == ".zarr" else anndata.read_h5ad(path)


def few_columns(n_cells=240, n_genes=90):
    """In zarr each column and layer takes its time, however few the cells."""
    made = counts(n_cells, n_genes)
    made.obs = made.obs[["batch"]]
    del made.layers["twice"], made.raw
    return made


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A folder with a file of an embedding, and what `run` makes of it in zarr."""
    folder = tmp_path_factory.mktemp("stored")
    few_columns(n_cells=80, n_genes=10).write_h5ad(folder / "in.h5ad")
    mnncorrect.run(folder / "in.h5ad", "batch", output=folder / "out.zarr", **EMBEDDED)
    return folder


# What each correction of the stored file takes.
EMBEDDED = {"use_rep": "X_own", "gmm": False, "n_jobs": 1}


@pytest.fixture
def small(stored, tmp_path):
    return Path(shutil.copy(stored / "in.h5ad", tmp_path))


@pytest.fixture
def source(tmp_path):
    counts().write_h5ad(tmp_path / "in.h5ad")
    return tmp_path / "in.h5ad"


@pytest.fixture
def result(stored, tmp_path):
    return Path(shutil.copytree(stored / "out.zarr", tmp_path / "out.zarr"))


CHOICES = {
    "plain": {},
    "not kept": {"keep_normalized": False},
    "raw": {"use_raw": True},
    "layer by columns": {"layer": "twice"},
    "subset": {"subset": "part=kept"},
    "little memory": {"memory_limit": "16M"},
    "expression": {"write_expression": True},
    "embedding": {"use_rep": "X_own"},
}


QUICK = ("raw",)


@pytest.mark.parametrize(
    "choice", [pytest.param(c, marks=() if c in QUICK else pytest.mark.slow) for c in CHOICES]
)
def test_zarr_holds_what_h5ad_holds(source, tmp_path, choice, monkeypatch):
    monkeypatch.setattr(zarr_rows, "ENTRY_CHUNK", 1000)  # several ranges of entries
    for name in ("out.h5ad", "out.zarr"):
        how = {"n_comps": 10} if choice != "embedding" else {}
        mnncorrect.run(
            source, "batch", output=tmp_path / name, gmm=False, n_jobs=2, **how, **CHOICES[choice]
        )
    same(read(tmp_path / "out.h5ad"), read(tmp_path / "out.zarr"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.h5ad", "out.h5ad", "out.zarr"]
    assert not list((tmp_path / "out.zarr").glob(".mnncorrect*"))


def test_zarr_is_read_as_h5ad_is(tmp_path):
    made = few_columns()
    made.X = made.X.toarray() if sp.issparse(made.X) else made.X
    with warnings.catch_warnings(action="ignore"):
        made.write_zarr(tmp_path / "in.zarr")
    made.write_h5ad(tmp_path / "dense.h5ad")
    how = {"gmm": False, "n_comps": 10}
    mnncorrect.run(tmp_path / "in.zarr", "batch", output=tmp_path / "a.h5ad", **how)
    mnncorrect.run(tmp_path / "dense.h5ad", "batch", output=tmp_path / "b.h5ad", **how)
    same(read(tmp_path / "b.h5ad"), read(tmp_path / "a.h5ad"))


@pytest.mark.slow
def test_several_files_are_joined_in_zarr(tmp_path):
    paths = []
    for name in ("one", "two"):
        made = few_columns()
        made.obs_names = [f"{name}-{cell}" for cell in made.obs_names]
        paths.append(tmp_path / f"{name}.h5ad")
        made[made.obs["batch"] == ("a" if name == "one" else "b")].copy().write_h5ad(paths[-1])
    for name in ("out.h5ad", "out.zarr"):
        mnncorrect.run(paths, output=tmp_path / name, gmm=False, n_comps=10)
    same(read(tmp_path / "out.h5ad"), read(tmp_path / "out.zarr"))


def test_a_zarr_output_that_exists_is_refused_and_replaced_by_force(small, result, tmp_path):
    how = {"output": result, **EMBEDDED}
    with pytest.raises(FileExistsError, match="exists"):
        mnncorrect.run(small, "batch", **how)
    mnncorrect.run(small, "batch", **how, force=True, key_added="anew")
    assert "X_anew" in read(result).obsm
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.h5ad", "out.zarr"]


def test_a_folder_that_is_no_zarr_is_never_replaced(small, tmp_path):
    output = tmp_path / "results.zarr"
    output.mkdir()
    (output / "mine.txt").write_text("mine")
    with pytest.raises(IsADirectoryError, match="folder"):
        mnncorrect.run(small, "batch", output=output, force=True)
    assert (output / "mine.txt").exists()


@pytest.mark.slow
def test_zeros_are_stored_so_that_the_result_can_be_read_again(tmp_path):
    made = few_columns(n_cells=80)
    del made.obsm["X_own"]
    made.X = made.X.toarray() if sp.issparse(made.X) else made.X
    made.layers["zeros"] = made.X * 0
    made.layers["sparse"] = sp.csr_matrix(made.X)
    made.layers["sparse"].data[:] = 0
    made.obs["none"] = 0
    made.uns["texts"] = {"a": np.array(["", ""], dtype=object)}
    made.write_h5ad(tmp_path / "in.h5ad")
    how = {"gmm": False, "n_comps": 10}
    mnncorrect.run(tmp_path / "in.h5ad", "batch", output=tmp_path / "once.zarr", **how)
    mnncorrect.run(tmp_path / "once.zarr", "batch", output=tmp_path / "twice.zarr", **how)
    assert not read(tmp_path / "twice.zarr").layers["sparse"].data.any()
    assert not read(tmp_path / "twice.zarr").layers["zeros"].any()


def test_a_run_that_fails_leaves_no_zarr(small, tmp_path):
    with pytest.raises(KeyError, match="absent"):
        mnncorrect.run(small, "batch", output=tmp_path / "out.zarr", mask_var="absent")
    assert [p.name for p in tmp_path.iterdir()] == ["in.h5ad"]


@pytest.mark.parametrize("chunk", [1, 7, 64, 10_000])
def test_any_chunks_of_entries_give_the_same_matrix(tmp_path, chunk, monkeypatch):
    from mnncorrect._io.zarr_scratch import open_zarr, stored_in

    monkeypatch.setattr(zarr_rows, "ENTRY_CHUNK", chunk)
    matrix = sp.random(40, 12, density=0.2, format="csr", random_state=1, dtype=np.float32)
    matrix = sp.vstack([sp.csr_matrix((3, 12), dtype=np.float32), matrix, matrix * 0], format="csr")
    matrix.eliminate_zeros()
    group = open_zarr(tmp_path / "made", "w")
    for name, indptr in (("known", matrix.indptr.astype(np.int64)), ("counted", None)):
        rows = zarr_rows.RowsToWrite(
            lambda block, _: matrix[block], matrix.shape, matrix.dtype, False, True, indptr,
            also=lambda block: block.shape[0],
        )  # fmt: skip
        heights = list(zarr_rows.write_rows(group, name, rows, block_bytes=1, n_jobs=2))
        assert sum(heights) == matrix.shape[0]
        assert (stored_in(group[name]).to_memory() != matrix).nnz == 0


def killed_between_renames(target):
    """What a run leaves that is killed when the old folder has been put aside."""
    new = target.with_name(f".{target.name}.{MACHINE}00000000{SUFFIX}")
    aside = new.with_name(f"{new.name}{PUT_ASIDE}")
    shutil.copytree(target, new)
    target.rename(aside)
    return new, aside


@pytest.mark.slow
def test_a_folder_that_a_killed_run_put_aside_comes_back(small, result, caplog):
    new, aside = killed_between_renames(result)
    with pytest.raises(FileNotFoundError, match=r"mv .*-before"), opened_result(result):
        pass
    with pytest.raises(FileExistsError, match="force"), caplog.at_level("WARNING"):
        mnncorrect.run(small, "batch", output=result, **EMBEDDED)
    assert str(result) in caplog.text
    assert not aside.exists()
    assert not new.exists() or new.is_dir()
    assert read(result).n_obs == 80
    mnncorrect.run(small, "batch", output=result, **EMBEDDED, force=True)
    assert sorted(p.name for p in result.parent.iterdir()) == ["in.h5ad", "out.zarr"]


@pytest.mark.slow
def test_a_folder_put_aside_is_removed_where_another_took_its_place(small, result):
    _, aside = killed_between_renames(result)
    shutil.copytree(aside, result)
    mnncorrect.run(small, "batch", output=result, **EMBEDDED, force=True)
    assert sorted(p.name for p in result.parent.iterdir()) == ["in.h5ad", "out.zarr"]


def test_a_folder_that_a_live_run_puts_aside_stays_there(result):
    new, aside = killed_between_renames(result)
    descriptor = os.open(new, os.O_RDONLY)
    try:
        if not hold(descriptor):
            pytest.skip("needs locks")
        restore_put_aside(result)
        assert aside.exists()
        assert not result.exists()
    finally:
        os.close(descriptor)


def test_two_runs_that_restore_a_folder_at_once_do_not_fail(tmp_path, monkeypatch, caplog):
    target = tmp_path / "out.zarr"
    target.mkdir()
    (target / ".zgroup").write_text("before")
    _, aside = killed_between_renames(target)

    def restored_meanwhile(_):
        aside.rename(target)
        return False

    monkeypatch.setattr(atomic, "_is_held", restored_meanwhile)
    with caplog.at_level("WARNING"):
        restore_put_aside(target)
    assert (target / ".zgroup").read_text() == "before"
    assert not caplog.messages  # the other run reported it


@pytest.mark.parametrize("force", [True, False])
def test_a_run_that_ends_while_another_replaces_the_output(tmp_path, monkeypatch, force):
    target, replace = tmp_path / "out.zarr", Path.replace
    ended = []

    def replaced(path, new):
        if new == target and not ended:
            ended.append(True)
            target.mkdir()
            (target / ".zgroup").write_text("of the other run")
        return replace(path, new)

    monkeypatch.setattr(Path, "replace", replaced)
    refused = contextlib.nullcontext() if force else pytest.raises(FileExistsError, match="force")
    with refused, whole_folder(target, force=force, inputs=[]) as made:
        (made / ".zgroup").write_text("of this run")
    whose = "this" if force else "the other"
    assert (target / ".zgroup").read_text() == f"of {whose} run"
    assert [path.name for path in tmp_path.iterdir()] == ["out.zarr"]


def test_a_folder_that_cannot_be_removed_does_not_stop_a_run_for_good(tmp_path, monkeypatch):
    target, replace, remove = tmp_path / "out.zarr", Path.replace, shutil.rmtree
    target.mkdir()
    (target / ".zgroup").write_text("before")

    def replaced(path, new):
        if new == target and not target.exists():
            target.mkdir()
            (target / ".zgroup").write_text("of the other run")
        return replace(path, new)

    def removed(path, **how):
        if not str(path).endswith(PUT_ASIDE):
            remove(path, **how)

    monkeypatch.setattr(Path, "replace", replaced)
    monkeypatch.setattr(shutil, "rmtree", removed)
    with (
        pytest.raises(OSError, match=PUT_ASIDE),
        whole_folder(target, force=True, inputs=[]) as made,
    ):
        (made / ".zgroup").write_text("of this run")
    assert (target / ".zgroup").read_text() == "of the other run"


def test_an_interrupt_leaves_no_folder_in_which_a_thread_still_writes(tmp_path, monkeypatch):
    remove, late = shutil.rmtree, []

    def removed(path, **how):
        remove(path, **how)
        if not late:  # as the thread of zarr, which ends what it has begun
            late.append(path)
            path.mkdir()
            (path / "0.0").write_bytes(b"")

    monkeypatch.setattr(shutil, "rmtree", removed)
    with (
        pytest.raises(KeyboardInterrupt),
        whole_folder(tmp_path / "out.zarr", force=False, inputs=[]),
    ):
        raise KeyboardInterrupt
    assert late
    assert not list(tmp_path.iterdir())
