"""``check`` and dry runs say what a run warns of, once and in the same words."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import pandas as pd
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Cli = Callable[..., Any]
    Make = Callable[..., anndata.AnnData]

SMALL = ["--n-comps", "4", "--no-gmm"]


def _warnings(cli: Cli, path: Path, *words: object) -> list[list[str]]:
    """Return what check, the dry run and the run warn of."""
    checked = json.loads(cli("check", path, *words, "--json").out)["warnings"]
    told = [checked]
    for more in (["--dry-run"], []):
        done = cli("run", path, *words, *SMALL, "-o", path.parent / "out.h5ad", *more)
        assert done.code == 0, done.err
        told.append([line.partition(": ")[2] for line in done.err if line.startswith("warning")])
    return told


@pytest.mark.parametrize("empty", [slice(0, 7), slice(40, 80)], ids=["cells", "a batch"])
@pytest.mark.parametrize("named", ["highly_variable", "mine"])
def test_cells_without_values_in_the_named_genes_are_foreseen(
    empty: slice, named: str, cli: Cli, made: Make, tmp_path: Path
) -> None:
    adata = made(sizes={"a": 40, "b": 40, "c": 40})
    x = adata.X.toarray()
    x[empty, :20] = 0
    x[:, 20] = 1
    adata.X = x
    adata.var[named] = np.arange(adata.n_vars) < 20
    adata.write_h5ad(tmp_path / "in.h5ad")
    words = ["-b", "batch"] if named == "highly_variable" else ["-b", "batch", "--mask-var", named]
    told = _warnings(cli, tmp_path / "in.h5ad", *words)
    about = [[text for text in texts if "no value above zero" in text] for texts in told]
    assert len(about[0]) == 1
    assert about[0] == about[1] == about[2]


def test_genes_by_which_one_batch_has_values_are_refused_before_work(
    cli: Cli, made: Make, tmp_path: Path
) -> None:
    adata = made()
    x = adata.X.toarray()
    x[40:, :20] = 0
    adata.X = x
    adata.var["mine"] = np.arange(adata.n_vars) < 20
    adata.write_h5ad(tmp_path / "in.h5ad")
    words = [tmp_path / "in.h5ad", "-b", "batch", "--mask-var", "mine"]
    for command in (["check"], ["run", "-o", tmp_path / "o.h5ad", "--dry-run"]):
        done = cli(command[0], *words, *command[1:])
        assert done.code == 1
        assert "two batches with values" in done.err[-1]


def test_cells_without_values_in_the_genes_that_would_be_chosen_are_foreseen(
    cli: Cli, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    x = np.ones((240, 300), np.float32)
    x[:, :20] = rng.poisson(4, (240, 20)) * (rng.random((240, 20)) < 0.5)
    x[230:, :20] = 0
    names = [f"c{i}" for i in range(240)]
    obs = pd.DataFrame({"batch": ["a"] * 80 + ["b"] * 80 + ["c"] * 80}, index=names)
    adata = anndata.AnnData(x, obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(300)]))
    adata.write_h5ad(tmp_path / "in.h5ad")
    checked, _, run = _warnings(cli, tmp_path / "in.h5ad", "-b", "batch", "--n-top-genes", "15")
    (foreseen,) = [text for text in checked if "cells that were looked at" in text]
    (left_out,) = [text for text in run if "no value above zero" in text]
    assert foreseen.split()[0] == left_out.split()[0]
    assert "--n-top-genes" in foreseen


def test_features_that_are_no_genes_are_warned_of_once(
    cli: Cli, made: Make, tmp_path: Path
) -> None:
    adata = made()
    adata.var["feature_types"] = "Antibody Capture"
    adata.write_h5ad(tmp_path / "in.h5ad")
    for texts in _warnings(cli, tmp_path / "in.h5ad", "-b", "batch"):
        assert len([text for text in texts if "Antibody Capture" in text]) == 1


def test_few_cells_for_the_method_are_foreseen_by_check(
    cli: Cli, made: Make, tmp_path: Path
) -> None:
    made(sizes={"a": 40, "few": 25}).write_h5ad(tmp_path / "in.h5ad")
    words = ["-b", "batch", "--method", "fast", "--n-neighbors", "30"]
    told = _warnings(cli, tmp_path / "in.h5ad", *words)
    about = [[text for text in texts if "few (25)" in text] for texts in told]
    assert about[0]
    assert about[0] == about[1] == about[2]


def test_groups_without_a_common_value_are_warned_of_alike(
    cli: Cli, made: Make, tmp_path: Path
) -> None:
    adata = made(sizes={"a": 30, "b": 30, "c": 30, "d": 30})
    adata.obs["sex"] = np.where(adata.obs["batch"].isin(["a", "b"]), "f", "m")
    adata.write_h5ad(tmp_path / "in.h5ad")
    told = _warnings(cli, tmp_path / "in.h5ad", "-b", "batch", "--keep", "sex")
    about = [[text for text in texts if "share no value" in text] for texts in told]
    assert about[0]
    assert about[0] == about[1] == about[2]


@pytest.mark.parametrize("by", ["files", "sheet"])
def test_a_dry_run_of_several_inputs_names_their_batches(
    by: str, cli: Cli, made: Make, tmp_path: Path
) -> None:
    for name, size in (("one", 30), ("two", 20)):
        made(sizes={"x": size}).write_h5ad(tmp_path / f"{name}.h5ad")
    (tmp_path / "s.tsv").write_text("path\tbatch\none.h5ad\tone\ntwo.h5ad\ttwo\n")
    given = [tmp_path / "one.h5ad", tmp_path / "two.h5ad"]
    given = ["--sheet", tmp_path / "s.tsv"] if by == "sheet" else given
    words = ["run", *given, "-o", tmp_path / "o.h5ad", "--dry-run"]
    assert any(
        line.split()[1:] == ["one", "30,", "two", "20"] for line in cli(*words).out.splitlines()
    )
    assert json.loads(cli(*words, "--json").out)["batch_sizes"] == {"one": 30, "two": 20}


def test_check_foresees_overlap_with_the_labels_and_order_of_the_run(
    cli: Cli, tmp_path: Path
) -> None:
    from cli.test_overlap import make

    make({"a": (0, 1, 2), "b": (3, 4, 5)}).write_h5ad(tmp_path / "apart.h5ad")
    words = ["check", tmp_path / "apart.h5ad", "-b", "batch", "--json"]
    fast = json.loads(cli(*words, "--method", "fast").out)
    (text,) = [text for text in fast["warnings"] if "recognized" in text]
    assert "method fast" in text
    first = json.loads(cli(*words, "--reference", "b").out)["overlap"]["apart"]
    assert [sorted(one + other) for one, other in first] == [["a", "b"]]
