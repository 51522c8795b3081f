"""Bad input: exit code 1, one line that says what, where and what to do, and no file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import anndata

    Cli = Callable[..., Any]
    Make = Callable[..., anndata.AnnData]

CLASSIC = ["--method", "classic"]


def _spoilt(data: anndata.AnnData, value: float, how_many: int = 1) -> anndata.AnnData:
    """Replace the first values of the last row."""
    dense = data.X.toarray()
    dense[-1, :how_many] = value
    data.X = dense
    return data


def _no_such_key(folder: Path, make: Make) -> list[object]:
    make().write_h5ad(folder / "in.h5ad")
    return [folder / "in.h5ad", "-b", "donor"]


def _one_batch(folder: Path, make: Make) -> list[object]:
    make(sizes={"a": 20}).write_h5ad(folder / "in.h5ad")
    return [folder / "in.h5ad", "-b", "batch"]


def _no_cells(folder: Path, make: Make) -> list[object]:
    make(sizes={}).write_h5ad(folder / "in.h5ad")
    return [folder / "in.h5ad", "-b", "batch"]


def _one_cell(folder: Path, make: Make) -> list[object]:
    make(sizes={"a": 20, "b": 20, "tiny": 1}).write_h5ad(folder / "in.h5ad")
    return [folder / "in.h5ad", "-b", "batch"]


def _nan(folder: Path, make: Make) -> list[object]:
    _spoilt(make(), np.nan, 3).write_h5ad(folder / "in.h5ad")
    return [folder / "in.h5ad", "-b", "batch"]


def _infinite(folder: Path, make: Make) -> list[object]:
    _spoilt(make(), np.inf).write_h5ad(folder / "in.h5ad")
    return [folder / "in.h5ad", "-b", "batch"]


def _missing_batch(folder: Path, make: Make) -> list[object]:
    data = make()
    data.obs.loc["cell3", "batch"] = None
    data.write_h5ad(folder / "in.h5ad")
    return [folder / "in.h5ad", "-b", "batch"]


def _text_file(folder: Path, make: Make) -> list[object]:
    (folder / "in.h5ad").write_text("cell,gene\n")
    return [folder / "in.h5ad", "-b", "batch"]


def _truncated(folder: Path, make: Make) -> list[object]:
    make().write_h5ad(folder / "in.h5ad")
    content = (folder / "in.h5ad").read_bytes()
    (folder / "in.h5ad").write_bytes(content[: len(content) // 2])
    return [folder / "in.h5ad", "-b", "batch"]


def _missing_file(folder: Path, make: Make) -> list[object]:
    return [folder / "in.h5ad", "-b", "batch"]


def _a_folder(folder: Path, make: Make) -> list[object]:
    return [folder, "-b", "batch"]


def _no_shared_genes(folder: Path, make: Make) -> list[object]:
    make().write_h5ad(folder / "one.h5ad")
    other = make(seed=1)
    other.var_names = [f"ENSG{i}" for i in range(other.n_vars)]
    other.write_h5ad(folder / "two.h5ad")
    return [folder / "one.h5ad", folder / "two.h5ad"]


def _twice(folder: Path, make: Make) -> list[object]:
    make().write_h5ad(folder / "in.h5ad")
    return [folder / "in.h5ad", folder / "in.h5ad"]


def _no_such_layer(folder: Path, make: Make) -> list[object]:
    make().write_h5ad(folder / "in.h5ad")
    return [folder / "in.h5ad", "-b", "batch", "--layer", "logged"]


def _no_raw(folder: Path, make: Make) -> list[object]:
    make().write_h5ad(folder / "in.h5ad")
    return [folder / "in.h5ad", "-b", "batch", "--use-raw"]


def _no_such_subset(folder: Path, make: Make) -> list[object]:
    make().write_h5ad(folder / "in.h5ad")
    return [folder / "in.h5ad", "-b", "batch", "--subset", "batch=c"]


def _bad_order(folder: Path, make: Make) -> list[object]:
    make().write_h5ad(folder / "in.h5ad")
    return [folder / "in.h5ad", "-b", "batch", *CLASSIC, "--merge-order", "a,c"]


def _no_such_mask(folder: Path, make: Make) -> list[object]:
    make().write_h5ad(folder / "in.h5ad")
    return [folder / "in.h5ad", "-b", "batch", "--mask-var", "chosen"]


BAD = {
    "no such key": (_no_such_key, "'donor'.*'batch', 'cell_type'"),
    "one batch only": (_one_batch, "one batch only"),
    "no cells": (_no_cells, "in.h5ad holds no cells"),
    "batches of one cell": (_one_cell, "batches of one cell.*'tiny'.*--subset 'batch!=tiny'"),
    "NaN": (_nan, "3 values that are not finite.*3 NaN.*'cell79'"),
    "infinite": (_infinite, "1 values that are not finite.*1 infinite.*'cell79', 'gene0'"),
    "cells without a batch": (_missing_batch, "missing for 1 of 80 cells"),
    "not an h5ad": (_text_file, "in.h5ad is not an h5ad file"),
    "truncated": (_truncated, "in.h5ad is truncated"),
    "missing": (_missing_file, "in.h5ad does not exist"),
    "a folder": (_a_folder, "lies inside the input file"),
    "no shared genes": (_no_shared_genes, "no genes in common.*--gene-key"),
    "the same file twice": (_twice, "is given twice"),
    "no such layer": (_no_such_layer, "'logged'"),
    "no raw": (_no_raw, "no raw"),
    "no such subset": (_no_such_subset, "no cell has the value 'c'.*'a', 'b'"),
    "a merge order of other batches": (_bad_order, "c"),
    "no such mask": (_no_such_mask, "'chosen'"),
}


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("command", ["run", "correct"])
@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_and_no_file(
    name: str, command: str, cli: Cli, made: Make, tmp_path: Path
) -> None:
    make, says = BAD[name]
    words = make(tmp_path, made)
    before = sorted(tmp_path.iterdir())
    done = cli(command, *words, "-o", tmp_path / "out.h5ad")
    assert done.code == 1
    assert done.out == ""
    assert len(done.err) == 1, done.err
    assert done.err[0].startswith("error: ")
    assert "bug" not in done.err[0]
    assert re.search(says, done.err[0]), done.err
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("layout", ["dense", "sparse"])
@pytest.mark.parametrize("value", [-1.0, -1.5])
def test_negative_counts_are_refused_by_run(
    layout: str, value: float, cli: Cli, made: Make, tmp_path: Path
) -> None:
    data = _spoilt(made(), value, 2)
    if layout == "sparse":
        import scipy.sparse as sp

        data.X = sp.csr_matrix(data.X)
    data.write_h5ad(tmp_path / "in.h5ad")
    done = cli("run", tmp_path / "in.h5ad", "-b", "batch", "-o", tmp_path / "out.h5ad")
    assert done.code == 1
    assert len(done.err) == 1
    assert f"X holds 2 negative values, down to {value:g}" in done.err[0]
    assert "--no-counts" in done.err[0]
    assert not (tmp_path / "out.h5ad").exists()


def test_fractions_below_zero_are_refused_as_counts_if_told(
    cli: Cli, made: Make, tmp_path: Path
) -> None:
    data = made()
    data.X = data.X.toarray() - 0.5
    data.write_h5ad(tmp_path / "in.h5ad")
    words = ["run", tmp_path / "in.h5ad", "-b", "batch", "-o", tmp_path / "out.h5ad", "--counts"]
    done = cli(*words)
    assert done.code == 1
    assert "counts cannot be negative" in done.err[0]


@pytest.mark.parametrize("command", ["run", "correct", "pca", "gmm"])
def test_an_output_folder_must_exist(command: str, cli: Cli, counts: Path, tmp_path: Path) -> None:
    key = ["-b", "batch"] if command in {"run", "correct"} else []
    done = cli(command, counts, *key, "-o", tmp_path / "none" / "out.h5ad")
    assert done.code == 1
    assert len(done.err) == 1
    assert "does not exist; make it first" in done.err[0]
    assert list(tmp_path.iterdir()) == [counts]


@pytest.mark.slow  # pynndescent compiles its own loops
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("command", ["run", "correct"])
def test_no_pairs_from_an_approximate_engine_is_one_line(
    command: str, cli: Cli, counts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mnncorrect.core.merging import pairs

    none = np.zeros(0, np.int64)
    monkeypatch.setattr(
        pairs, "mutual_pairs", lambda *_, **__: pairs.Pairs(none, none, "partition")
    )
    words = [
        counts,
        "-b",
        "batch",
        "-o",
        tmp_path / "out.h5ad",
        "--neighbors",
        "partition",
        *CLASSIC,
    ]
    done = cli(command, *words)
    assert done.code == 1
    assert len(done.err) == 1, done.err
    assert "no mutual nearest pairs" in done.err[0]
    assert list(tmp_path.iterdir()) == [counts]


def test_an_existing_output_is_kept_without_force(cli: Cli, counts: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5ad"
    out.write_text("precious")
    # Also where the input could not be read: the output is looked at before any work.
    done = cli("run", tmp_path / "nosuch.h5ad", "-b", "batch", "-o", out)
    assert done.code == 1
    assert "exists; give another name, or replace it with --force" in done.err[0]
    assert out.read_text() == "precious"


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_an_input_is_never_the_output(
    force: list[str], cli: Cli, counts: Path, tmp_path: Path
) -> None:
    before = counts.read_bytes()
    (tmp_path / "link.h5ad").symlink_to(counts)
    for out in (counts, tmp_path / "link.h5ad", counts.parent / "." / "counts.h5ad"):
        done = cli("run", counts, "-b", "batch", "-o", out, *force)
        assert done.code == 1
        assert "is the input file" in done.err[0]
    assert counts.read_bytes() == before


def test_a_bug_is_one_line_that_says_so(
    cli: Cli, counts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        _ = {}["nothing"]

    monkeypatch.setattr("mnncorrect._prepare.count_survey.survey", broken)
    done = cli("run", counts, "-b", "batch", "-o", tmp_path / "out.h5ad")
    assert done.code == 1
    assert len(done.err) == 1
    assert "unexpected KeyError: nothing; this is a bug" in done.err[0]
    assert "--debug" in done.err[0]
    assert list(tmp_path.iterdir()) == [counts]


def test_debug_shows_the_traceback(cli: Cli, counts: Path, tmp_path: Path) -> None:
    done = cli("run", counts, "-b", "donor", "-o", tmp_path / "out.h5ad", "--debug")
    assert done.code == 1
    assert any(line.startswith("error: ") for line in done.err)
    assert "Traceback (most recent call last):" in done.err
    assert "take_batches" in "\n".join(done.err)


def test_too_little_memory_is_said(
    cli: Cli, counts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("mnncorrect._prepare.count_survey.survey", full)
    done = cli("run", counts, "-b", "batch", "-o", tmp_path / "out.h5ad")
    assert done.code == 1
    assert done.err[0].startswith("error: not enough memory")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["run", "in.h5ad", "-o", "out.h5ad"], "--batch-key"),
        (["correct", "in.h5ad", "-o", "out.h5ad"], "--batch-key"),
        (["run", "in.h5ad", "-b", "batch"], "--output"),
        (["run", "-b", "batch", "-o", "out.h5ad"], "INPUT.h5ad"),
        (["run", "in.h5ad", "-b", "batch", "-o", "out.h5ad", "--sigma", "wide"], "--sigma"),
        (["run", "in.h5ad", "-b", "b", "-o", "o.h5ad", "--n-components", "0-3"], "--n-components"),
        (["run", "in.h5ad", "-b", "b", "-o", "o.h5ad", *CLASSIC, "--no-pca"], "--no-gmm"),
        (["run", "in.h5ad", "-b", "b", "-o", "o.h5ad", "--method", "none"], "--method"),
        (["gmm", "in.h5ad", "-o", "out.h5ad", "--n-components", "few"], "--n-components"),
        (["run", "in.h5ad", "-b", "b", "-o", "o.h5ad", "--key-added", "a/b"], "--key-added"),
        (["run", "in.h5ad", "-b", "b", "-o", "o.h5ad", "--n-comps", "0"], "--n-comps"),
        (["pca", "in.h5ad", "-o", "out.h5ad", "--key-added", ""], "--key-added"),
        (["nosuch"], "nosuch"),
    ],
)
def test_wrong_usage_is_exit_code_two(words: list[str], says: str, cli: Cli) -> None:
    done = cli(*words)
    assert done.code == 2
    assert says in "\n".join(done.err)
    assert done.out == ""
