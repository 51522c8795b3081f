"""What is printed on stdout is data: info, pairs and check."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import pandas as pd
import pytest

from mnncorrect import pp
from mnncorrect._adata import provenance

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Cli = Callable[..., Any]
    Make = Callable[..., anndata.AnnData]


def test_pairs_are_those_of_the_file(cli: Cli, corrected: Path) -> None:
    done = cli("pairs", corrected)
    assert done.code == 0
    assert done.err == []
    rows = list(csv.DictReader(io.StringIO(done.out), delimiter="\t"))
    adata = anndata.read_h5ad(corrected)
    matrix = adata.obsp["mnn_pairs"].tocoo()
    assert len(rows) == matrix.nnz == adata.uns["mnn"]["merges"]["pairs"].sum()
    expected = {
        (adata.obs_names[i], adata.obs_names[j])
        for i, j in zip(matrix.row, matrix.col, strict=True)
    }
    assert {(row["cell"], row["reference"]) for row in rows} == expected
    assert {(row["batch"], row["reference_batch"]) for row in rows} == {("b", "a")}
    assert {row["weight"] for row in rows} == {"1.0"}


def test_pairs_of_an_uncorrected_file_are_an_error(cli: Cli, counts: Path) -> None:
    done = cli("pairs", counts)
    assert done.code == 1
    assert done.out == ""
    assert len(done.err) == 1
    assert "holds no pairs (/obsp/mnn_pairs)" in done.err[0]


def test_info_tells_what_was_done(cli: Cli, corrected: Path) -> None:
    done = cli("info", corrected)
    assert done.code == 0
    assert done.err == []
    for expected in (
        f"{corrected}: 80 cells x 30 genes",
        "correction mnn: method classic",
        "batches: /obs/batch, a (40), b (40)",
        "sigma 0.1",
        "prepared: counts True",
        "merge  left  right  pairs",
        "components mnn_pca: 5 in /obsm/X_mnn_pca",
        "clusters gmm:",
        "made by mnncorrect",
        "not for differential expression",
    ):
        assert expected in done.out


def test_info_is_json_for_programs(cli: Cli, corrected: Path) -> None:
    done = cli("info", corrected, "--json")
    assert done.code == 0
    told = json.loads(done.out)
    adata = anndata.read_h5ad(corrected)
    assert (told["n_cells"], told["n_genes"]) == adata.shape
    correction = told["corrections"]["mnn"]
    assert correction["batches"] == ["a", "b"]
    assert correction["sizes"] == [40, 40]
    (merge,) = correction["merges"]
    assert merge["left"] == ["a"]
    assert merge["right"] == ["b"]
    assert merge["pairs"] == int(adata.obsp["mnn_pairs"].nnz)
    assert merge["batch_size"] is None
    assert correction["params"]["merge_order"] == ["a", "b"]
    assert told["clusters"]["gmm"]["sizes"] == adata.obs["gmm"].value_counts().to_dict()
    assert len(told["components"]["mnn_pca"]["variance_ratio"]) == 5


def test_info_of_an_uncorrected_file_says_so(cli: Cli, counts: Path) -> None:
    done = cli("info", counts)
    assert done.code == 0
    assert "no record of a correction" in done.out
    assert json.loads(cli("info", counts, "--json").out)["corrections"] == {}


def test_info_knows_subsets(cli: Cli, corrected: Path, tmp_path: Path) -> None:
    adata = anndata.read_h5ad(corrected)
    adata[adata.obs["batch"] == "a"].write_h5ad(tmp_path / "a.h5ad")
    told = json.loads(cli("info", tmp_path / "a.h5ad", "--json").out)
    assert told["corrections"]["mnn"]["sizes"] == [40, 0]


def test_check_finds_what_is_fit(cli: Cli, counts: Path) -> None:
    done = cli("check", counts, "-b", "batch")
    assert done.code == 0
    assert done.err == [f"{counts}: 80 cells x 30 genes"]
    lines = dict(line.split(None, 1) for line in done.out.splitlines() if line[0] != "g")
    assert lines["cells"] == "80"
    assert lines["values"].startswith("X: counts, 0 to ")
    assert lines["batches"] == "2 in /obs/batch: a 40, b 40"


def test_check_offers_columns(cli: Cli, counts: Path) -> None:
    done = cli("check", counts)
    assert done.code == 0
    assert "columns that could be: batch (2)" in done.out


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        ("nan", "X has 1 values that are not finite"),
        ("negative", "counts cannot be negative"),
        ("key", "obs has no 'donor'"),
        ("two", r"and 1 more"),
    ],
)
def test_check_refuses_what_is_not_fit(
    spoil: str, says: str, cli: Cli, made: Make, tmp_path: Path
) -> None:
    data = made()
    dense = data.X.toarray()
    if spoil in {"nan", "two"}:
        dense[3, 4] = np.nan
    if spoil == "negative":
        dense[3, 4] = -1
    data.X = dense
    data.write_h5ad(tmp_path / "in.h5ad")
    done = cli("check", tmp_path / "in.h5ad", "-b", "donor" if spoil in {"key", "two"} else "batch")
    assert done.code == 1
    assert len(done.err) == 1
    assert done.err[0].startswith("error: not fit to be corrected: ")
    assert says in done.err[0]
    assert "not fit: " in done.out


# -- Other methods --------------------------------------------------------------------------------


@pytest.fixture
def logged(made: Make) -> anndata.AnnData:
    """Log values in three batches, with a second factor and clusters of their own names."""
    data = made(sizes={"a": 30, "b": 30, "c": 30})
    data.X = np.log1p(data.X.toarray())
    data.obs["protocol"] = ["old" if b == "c" else "new" for b in data.obs["batch"]]
    data.obs["cluster"] = [f"{b}-{k}" for b, k in zip(*_columns(data), strict=True)]
    return data


def _columns(data: anndata.AnnData) -> tuple[list[str], list[str]]:
    return list(data.obs["batch"]), list(data.obs["cell_type"])


def test_info_tells_of_scores(cli: Cli, logged: anndata.AnnData, tmp_path: Path) -> None:
    logged.uns["mnn_evaluation"] = {
        "scores": pd.DataFrame(
            {"before": [0.25, np.nan], "after": [0.75, 0.5], "null": [np.nan, np.nan]},
            index=["cilisi", "preserved"],
        ),
        "lost_variance": pd.DataFrame(
            {"batch": ["a"], "label": [""], "cells": [3], "before": [1.0], "after": [1.0]}
            | {"lost": [0.0]},
        ),
        "params": {"key": "batch", "n_splits": 5, "use_rep": "X_mnn"},
        "provenance": provenance(0),
    }
    logged.write_h5ad(tmp_path / "in.h5ad")
    out = cli("info", tmp_path / "in.h5ad").out
    assert "evaluation mnn_evaluation: 2 scores" in out
    assert "  cilisi     0.250   0.750" in out
    assert "  preserved  -       0.500" in out
    (told,) = json.loads(cli("info", tmp_path / "in.h5ad", "--json").out)["evaluations"].values()
    assert told["params"]["n_splits"] == 5
    assert told["scores"]["preserved"] == {"before": None, "after": 0.5, "null": None}


def test_info_tells_of_components_and_lost_variance(
    cli: Cli, logged: anndata.AnnData, tmp_path: Path
) -> None:
    pp.mnn_fast(
        logged, ["protocol", "batch"], n_comps=5, n_neighbors=5, min_batch_size=0.5,
        neighbors="partition", n_jobs=1,
    )  # fmt: skip
    logged.write_h5ad(tmp_path / "in.h5ad")
    done = cli("info", tmp_path / "in.h5ad")
    assert done.code == 0
    for expected in (
        "correction mnn: method fast",
        "batches: obs[['protocol', 'batch']], new/a (30), new/b (30), old/c (30)",
        "/obsm/X_mnn: corrected components, which held ",
        "merge  left           right  pairs  skipped  batch size  recall of pairs  worst recall",
        "new/a + new/b  old/c",
        "lost variance  new/a",
    ):
        assert expected in done.out
    told = json.loads(cli("info", tmp_path / "in.h5ad", "--json").out)["corrections"]["mnn"]
    assert told["params"]["key"] == ["protocol", "batch"]
    assert told["params"]["merge_order"] == ["new/a", "new/b", "old/c"]
    assert told["sizes"] == [30, 30, 30]
    stored = logged.uns["mnn"]
    assert told["lost_variance"] == stored["lost_variance"].tolist()
    assert [m["batch_size"] for m in told["merges"]] == stored["merges"]["batch_size"].tolist()
    assert [m["skipped"] for m in told["merges"]] == stored["merges"]["skipped"].tolist()
    assert [m["recall"] for m in told["merges"]] == stored["merges"]["recall"].tolist()
    rows = list(csv.DictReader(io.StringIO(cli("pairs", tmp_path / "in.h5ad").out), delimiter="\t"))
    assert {row["batch"] for row in rows} == {"new/b", "old/c"}


def test_info_tells_a_line_a_batch_of_many(cli: Cli, made: Make, tmp_path: Path) -> None:
    data = made(sizes={f"batch{b:02}": 8 for b in range(14)})
    data.X = np.log1p(data.X.toarray())
    pp.mnn_fast(data, "batch", n_comps=4, n_neighbors=3, n_jobs=1)
    data.write_h5ad(tmp_path / "in.h5ad")
    out = cli("info", tmp_path / "in.h5ad").out
    assert "lost variance" in out
    most = data.uns["mnn"]["lost_variance"][:, 3]
    assert re.search(rf"batch03 +{most.max():.4f} +{most.argmax() + 1}\n", out)


def test_info_and_pairs_tell_of_clusters(cli: Cli, logged: anndata.AnnData, tmp_path: Path) -> None:
    pp.mnn_cluster(logged, "batch", clusters="cluster", n_jobs=1)
    pp.mnn_expression(logged, scale="log")
    logged.write_h5ad(tmp_path / "in.h5ad")
    done = cli("info", tmp_path / "in.h5ad")
    assert "cluster  batch  cells  meta-cluster" in done.out
    assert re.search(r"b-type1 +b +15 +1\n", done.out)
    assert "/layers/mnn: corrected expression (log)" in done.out
    assert "not for differential expression" in done.out
    rows = list(csv.DictReader(io.StringIO(cli("pairs", tmp_path / "in.h5ad").out), delimiter="\t"))
    assert len(rows) == len(logged.uns["mnn"]["cluster_pairs"])
    assert set(rows[0]) == {"cluster", "batch", "reference", "reference_batch", "weight"}
    for row in rows:
        assert row["cluster"].startswith(row["batch"])
        assert row["reference"].startswith(row["reference_batch"])
        assert row["cluster"][1:] == row["reference"][1:]


def test_info_lists_all_numbers_of_components_that_were_tried() -> None:
    from mnncorrect.cli.commands.info import MOST_ROWS, _cluster_lines

    fit = {"bic": 1.0, "log_likelihood": -1.0, "converged": True}
    numbers = range(1, MOST_ROWS + 11)
    entry = {
        "bic": [{"n_components": n, **fit} for n in numbers], "n_components": max(numbers),
        "converged": True, "n_iter": 3, "fitted_on": 90, "sizes": {"0": 90}, "params": {},
    }  # fmt: skip
    lines = _cluster_lines("gmm", entry)
    assert lines[-1].split()[:2] == [str(max(numbers)), "*"]
    assert len(lines) > len(numbers)


def test_info_tells_of_an_embedding(cli: Cli, logged: anndata.AnnData, tmp_path: Path) -> None:
    logged.obsm["X_pca"] = logged.X[:, :4].copy()
    pp.mnn_integrate(logged, "batch", n_jobs=1)
    del logged.obs["batch"]
    logged.write_h5ad(tmp_path / "in.h5ad")
    out = cli("info", tmp_path / "in.h5ad").out
    assert "/obsm/X_mnn: /obsm/X_pca, corrected\n" in out
    assert "a (0), b (0), c (0)" in out
    done = cli("pairs", tmp_path / "in.h5ad")
    assert done.code == 1
    assert "obs has no 'batch'" in done.err[0]
