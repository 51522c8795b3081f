"""What of the input a command would replace, and what it reads as a result of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import pandas as pd
import pytest
import scanpy as sc

from mnncorrect._adata import provenance
from mnncorrect._adata.result_places import results_of

if TYPE_CHECKING:
    from pathlib import Path

Cli = Callable[..., Any]
QUICK = ("--n-comps", 5, "--threads", 1)


def filed(path: Path, change: Callable[[anndata.AnnData], None], name: str = "in.h5ad") -> Path:
    """Write a changed copy of a file beside it."""
    adata = anndata.read_h5ad(path)
    change(adata)
    adata.write_h5ad(path.parent / name)
    return path.parent / name


def own_embedding(adata: anndata.AnnData) -> None:
    adata.obsm["X_mnn"] = np.zeros((adata.n_obs, 2))


def own_clusters(adata: anndata.AnnData) -> None:
    adata.obs["gmm"] = "mine"


def own_entry(adata: anndata.AnnData) -> None:
    adata.uns["mnn"] = {"merges": 1, "params": {"key": "batch"}, "batches": ["a"]}


@pytest.mark.parametrize(
    ("command", "change", "place"),
    [
        ("correct", own_embedding, "/obsm/X_mnn"),
        ("correct", own_entry, "/uns/mnn"),
        ("run", own_clusters, "/obs/gmm"),
    ],
)
def test_what_others_made_is_replaced_with_force_only(
    cli: Cli, counts: Path, command: str, change: Any, place: str
) -> None:
    path = filed(counts, change)
    words = (command, path, "-b", "batch", "-o", path.with_name("out.h5ad"), *QUICK)
    for refused in (cli(*words, "--dry-run"), cli(*words)):
        assert refused.code == 1
        assert place in refused.err[-1]
        assert "--force" in refused.err[-1]
    assert not path.with_name("out.h5ad").exists()
    done = cli(*words, "--force")
    assert done.code == 0
    assert any(place in line and "replaced" in line for line in done.err)


def test_results_of_an_earlier_run_are_replaced_without_force(
    cli: Cli, corrected: Path, tmp_path: Path
) -> None:
    out = tmp_path / "again.h5ad"
    words = ("run", corrected, "-b", "batch", "-o", out, *QUICK, "--n-components", "1-2")
    assert cli(*words, "--method", "fast").code == 0
    made = anndata.read_h5ad(out)
    # Of the components of corrected expression, which the first run made, nothing is left.
    assert not {"X_mnn_pca"} & set(made.obsm)
    assert "mnn" not in made.layers
    assert made.uns["gmm"]["correction"] == made.uns["mnn"]["digest"]
    told = cli("info", out).out
    assert told.count("  of correction mnn") == 1
    listed = set(results_of(made.uns["mnn"]))
    assert {("obsm", "X_mnn"), ("layers", "mnn_log1p"), ("obsp", "mnn_pairs")} <= listed


def test_a_file_with_marker_genes_of_scanpy_is_of_no_correction(
    cli: Cli, counts: Path, tmp_path: Path
) -> None:
    adata = anndata.read_h5ad(counts)
    sc.pp.log1p(adata)
    sc.tl.rank_genes_groups(adata, "cell_type", method="t-test", n_genes=3)
    adata.uns["pca"] = {"params": {}, "variance": np.ones(2), "variance_ratio": np.ones(2)}
    adata.write_h5ad(tmp_path / "marked.h5ad")
    done = cli("info", tmp_path / "marked.h5ad")
    assert done.code == 0
    assert "no record of a correction" in done.out
    assert "components" not in done.out
    assert cli("report", tmp_path / "marked.h5ad", "-o", tmp_path / "r.html").code == 1


def forged(adata: anndata.AnnData) -> None:
    adata.uns["mnn"] = {
        "batches": np.array(["a", "b"], dtype=object),
        "merges": pd.DataFrame({"left": ["[", "{"], "pairs": ["x", "y"]}),
        "params": {"method": "fast", "key": "batch"},
        "provenance": provenance(0),
    }


@pytest.mark.parametrize(
    "words",
    [
        ("info",), ("info", "--json"), ("report", "-o", "r.html"), ("evaluate",), ("pairs",),
        ("model", "-o", "m.mnn"),
    ],
)  # fmt: skip
def test_a_forged_record_is_told_by_its_name(
    cli: Cli, counts: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.chdir(counts.parent)
    done = cli(words[0], filed(counts, forged), *words[1:])
    assert done.code == 1
    (line,) = done.err
    assert "/uns/mnn" in line
    assert "bug" not in line


def test_a_table_that_cannot_be_written_is_refused_before_any_work(
    cli: Cli, counts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import h5py

    with h5py.File(counts, "r+") as file:
        var = file["var"]
        var.move("_index", "names")
        var.attrs["_index"] = "names"
        var["_index"] = np.arange(30.0)
        var["_index"].attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
        var.attrs["column-order"] = np.array(["_index"], h5py.string_dtype())
    monkeypatch.setattr(
        "mnncorrect._run.execute.correct_by", lambda *_, **__: pytest.fail("worked")
    )
    done = cli("correct", counts, "-b", "batch", "-o", counts.with_name("out.h5ad"), *QUICK)
    assert done.code == 1
    assert "/var/_index" in done.err[-1]
