"""``mnncorrect evaluate``: what is printed, what is written, and what is refused."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import TYPE_CHECKING, Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest

from mnncorrect import pp, tl
from mnncorrect.core.metrics.evaluation import SCORES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Cli = Callable[..., Any]
    Make = Callable[..., anndata.AnnData]


@pytest.fixture(scope="module")
def corrected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of two batches of two cell types, corrected."""
    rng = np.random.default_rng(0)
    kind, batch = np.arange(80) % 2, np.repeat([0, 1], 40)
    x = rng.gamma(2.0, size=(2, 12))[kind] + 0.3 * rng.random((80, 12)) + 0.5 * batch[:, None]
    adata = anndata.AnnData(x.astype(np.float32))
    adata.obs["batch"] = pd.Categorical(np.array(["a", "b"])[batch])
    adata.obs["cell_type"] = pd.Categorical(np.array(["B", "T"])[kind])
    pp.mnn_fast(adata, "batch", n_comps=4, n_neighbors=5, n_jobs=1)
    path = tmp_path_factory.mktemp("evaluate") / "corrected.h5ad"
    adata.write_h5ad(path)
    return path


@pytest.fixture(scope="module")
def expected(corrected: Path) -> dict[str, Any]:
    """What the API finds in it."""
    adata = anndata.read_h5ad(corrected)
    tl.evaluate(adata, "batch", label_key="cell_type", n_splits=2, n_jobs=1)
    found: dict[str, Any] = adata.uns["mnn_evaluation"]
    return found


def datasets(path: Path) -> dict[str, Any]:
    """Every dataset of a file by its place.

    Texts that may be missing, of which none is, are named as plain texts are: pandas 3 has names
    so, and we store them as every version of anndata reads them.
    """
    found: dict[str, Any] = {}

    def look(name: str, value: Any) -> None:
        if not isinstance(value, h5py.Dataset):
            return
        if value.parent.attrs.get("encoding-type") == "nullable-string-array":
            assert not value.parent["mask"][()].any(), name
            name, _, part = name.rpartition("/")
            if part == "mask":
                return
        found[name] = value[()]

    with h5py.File(path, "r") as file:
        file.visititems(look)
    return found


WORDS = ("--label-key", "cell_type", "--n-splits", 2, "-b", "batch")


def test_the_table_has_every_score_and_says_what_it_means(
    cli: Cli, corrected: Path, expected: dict[str, Any]
) -> None:
    done = cli("evaluate", corrected, *WORDS)
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0] == f"{corrected}: X_mnn against X_mnn_uncorrected; 80 cells"
    assert lines[1].startswith("null: 40 cells of 'a' alone, assigned at random to two halves")
    at = lines.index(next(line for line in lines if line.startswith("score ")))
    for line, (name, row) in zip(lines[at + 1 :], expected["scores"].iterrows(), strict=False):
        shown = line.split(None, 5)
        assert shown[0] == name
        assert line.endswith(SCORES[name].meaning)
        values = [row["before"], row["after"]]
        assert shown[1:3] == ["-" if np.isnan(v) else f"{v:.3f}" for v in values]
        assert shown[4] == f"{row['null']:.3f}"
    lost = expected["lost_variance"].iloc[0]
    assert f"a         40          {lost['lost']:.3f}" in lines
    assert any(line.startswith("lost most") for line in lines)


def test_cells_called_unassigned_are_no_group_of_scores_and_of_the_report(
    cli: Cli, corrected: Path, tmp_path: Path
) -> None:
    adata = anndata.read_h5ad(corrected)
    adata.obs["told"] = adata.obs["cell_type"].astype(str)
    adata.obs.iloc[:7, adata.obs.columns.get_loc("told")] = "Unassigned"
    adata.write_h5ad(tmp_path / "in.h5ad")
    words = (tmp_path / "in.h5ad", "-b", "batch", "--label-key", "told", "--n-splits", 0)
    said = [line for line in cli("evaluate", *words).out.splitlines() if "Unassigned" in line]
    assert len(said) == 1
    assert {"7", "'Unassigned'"} <= set(re.split(r"[ ()]", said[0]))
    page = tmp_path / "page.html"
    words = ("report", tmp_path / "in.h5ad", "--label-key", "told", "--no-evaluate", "-o", page)
    assert cli(*words).code == 0
    assert "no value" in page.read_text()
    assert "Unassigned" not in page.read_text()


def test_tsv_is_one_line_a_score(cli: Cli, corrected: Path, expected: dict[str, Any]) -> None:
    done = cli("evaluate", corrected, *WORDS, "--format", "tsv", "-q")
    assert done.err == []
    rows = list(csv.DictReader(io.StringIO(done.out), delimiter="\t"))
    assert [row["score"] for row in rows] == expected["scores"].index.tolist()
    for row in rows:
        for column in ("before", "after", "null"):
            value = expected["scores"].loc[row["score"], column]
            assert (row[column] == "") == np.isnan(value)
            assert row[column] == "" or float(row[column]) == value
        assert float(row["ideal"]) == SCORES[row["score"]].ideal


def test_json_is_all_that_was_found(cli: Cli, corrected: Path, expected: dict[str, Any]) -> None:
    done = cli("evaluate", corrected, *WORDS, "--json")
    assert done.code == 0
    found = json.loads(done.out)
    assert json.loads(cli("evaluate", corrected, *WORDS, "--format", "json").out) == found
    assert found["params"] == expected["params"]
    assert found["scores"]["preserved"]["before"] is None
    assert found["scores"]["cilisi"]["null"] == expected["scores"].loc["cilisi", "null"]
    means = expected["null"]["cilisi_before"].mean()
    assert found["scores"]["cilisi"]["null_before"] == pytest.approx(means)
    assert [row["seed"] for row in found["null"]] == [0, 1]
    assert len(found["lost_variance"]) == len(expected["lost_variance"])


def test_batches_are_those_corrected_by_if_not_said(cli: Cli, corrected: Path) -> None:
    done = cli("evaluate", corrected, "--n-splits", 0)
    assert done.code == 0
    assert done.err[0] == "batches: /obs/batch, as in the correction"
    assert "no null: " in done.out
    assert "cilisi" not in done.out


def test_a_copy_is_written_with_the_scores_and_nothing_else(
    cli: Cli, corrected: Path, expected: dict[str, Any], tmp_path: Path
) -> None:
    before = corrected.read_bytes()
    done = cli("evaluate", corrected, *WORDS, "-o", tmp_path / "scored.h5ad")
    assert done.code == 0
    assert "score " in done.out
    assert corrected.read_bytes() == before
    found = anndata.read_h5ad(tmp_path / "scored.h5ad").uns["mnn_evaluation"]
    pd.testing.assert_frame_equal(found["scores"], expected["scores"])
    pd.testing.assert_frame_equal(found["null"], expected["null"])
    here, there = datasets(corrected), datasets(tmp_path / "scored.h5ad")
    added = {name for name in there if name.startswith("uns/mnn_evaluation/")}
    # anndata says that there is no raw by an element of this name.
    assert set(there) - added - {"raw"} == set(here)
    for name, values in here.items():
        np.testing.assert_array_equal(there[name], values, err_msg=name)
    again = cli("evaluate", corrected, *WORDS, "-o", tmp_path / "scored.h5ad")
    assert again.code == 1
    assert "exists" in again.err[-1]
    assert again.out == ""
    assert cli("evaluate", corrected, *WORDS, "-o", tmp_path / "scored.h5ad", "--force").code == 0


@pytest.mark.filterwarnings("default:there is no uncorrected embedding")
def test_an_embedding_of_another_tool_is_scored(cli: Cli, corrected: Path, tmp_path: Path) -> None:
    adata = anndata.read_h5ad(corrected)
    adata.obsm["X_other"], adata.obsm["X_pca"] = adata.obsm["X_mnn"], adata.obsm["X_mnn"][:, :3]
    adata.write_h5ad(tmp_path / "in.h5ad")
    words = ["-b", "batch", "--use-rep", "X_other"]
    done = cli("evaluate", tmp_path / "in.h5ad", *words, "--before", "X_pca")
    assert done.code == 0
    assert "not corrected ('X_other'" in done.out
    assert "without need" not in done.out
    assert "Lost variance is not known" in done.out
    assert "cells moved is not known" in done.out
    done = cli("evaluate", tmp_path / "in.h5ad", *words)
    assert done.code == 0
    assert any("no uncorrected embedding" in line for line in done.err)
    assert "no null: 'X_other'" in done.out


def test_many_batches_are_not_listed_one_by_one(cli: Cli, made: Make, tmp_path: Path) -> None:
    adata = made(sizes={f"batch{b:02}": 6 for b in range(14)})
    adata.obsm["X_pca"] = np.asarray(adata.X[:, :3].toarray(), np.float64)
    adata.obsm["X_mnn"] = adata.obsm["X_pca"] * 0.5
    adata.write_h5ad(tmp_path / "in.h5ad")
    done = cli("evaluate", tmp_path / "in.h5ad", "-b", "batch", "--before", "X_pca")
    assert "and 2 batches that lost less" in done.out
    assert done.out.count("0.750") == 12 + 1  # and all together


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--format", "tsv", "--json"], 2, "--json and --format tsv exclude one another"),
        (["--force"], 2, "--force replaces an output: add --output"),
        (["--format", "xml"], 2, "'xml' is not one of"),
        (["--label-key", "nothing"], 1, "obs has no 'nothing'"),
        (["--n-splits", -1], 1, "--n-splits is -1"),
        (["--key-added", "other"], 1, "no correction 'other'"),
        (["--use-rep", "X_none"], 1, "obsm has no 'X_none'"),
    ],
)
def test_what_cannot_be_done_is_said(
    cli: Cli, corrected: Path, words: list[Any], code: int, says: str
) -> None:
    done = cli("evaluate", corrected, *words)
    assert done.code == code
    assert done.out == ""
    assert says in " ".join(done.err)
    assert code == 2 or len(done.err) == 1


def test_an_uncorrected_file_needs_names(cli: Cli, counts: Path) -> None:
    done = cli("evaluate", counts)
    assert done.code == 1
    (line,) = done.err
    assert line.startswith("error: the file has no record of its batches; name the column")
    done = cli("evaluate", counts, "-b", "batch")
    assert done.code == 1
    assert "obsm has no 'X_mnn'; it is empty; correct first" in done.err[0]


def test_an_empty_name_of_a_column_is_not_that_of_the_correction(cli: Cli, corrected: Path) -> None:
    done = cli("evaluate", corrected, "-b", "", "--n-splits", 0)
    assert done.code == 1
    assert len(done.err) == 1
