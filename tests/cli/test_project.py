"""``--save-model``, ``mnncorrect model`` and ``mnncorrect project``: the steps of the API."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import pytest

from mnncorrect import pp, tl

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Cli = Callable[..., Any]
    Make = Callable[..., anndata.AnnData]


def test_what_was_trained_on_comes_out_where_it_was(cli: Cli, atlas: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5ad"
    done = cli("project", atlas / "counts.h5ad", "--model", atlas / "atlas.mnn", "-o", out)
    assert done.code == 0, done.err
    assert done.out == ""
    found, trained = (anndata.read_h5ad(path) for path in (out, atlas / "corrected.h5ad"))
    before = [each.obsm["X_mnn_uncorrected"] for each in (found, trained)]
    np.testing.assert_array_equal(*before)
    np.testing.assert_allclose(found.obsm["X_mnn"], trained.obsm["X_mnn"], atol=1e-5)
    assert found.obs["mnn_confidence"].between(0, 1).all()
    # The counts were normalized on the way, and are as they were.
    assert (found.X != anndata.read_h5ad(atlas / "counts.h5ad").X).nnz == 0
    assert not found.layers
    told = " ".join(done.err)
    assert "X holds counts: scaled to" in told
    assert re.search(r"a: 90 .*100 % familiar", told)


def test_project_is_the_function(cli: Cli, made: Make, atlas: Path, tmp_path: Path) -> None:
    new = made(sizes={"c": 40, "b": 50}, seed=3)
    new.var["symbol"] = new.var_names.to_numpy()
    new.var_names = [f"ENSG{i}" for i in range(new.n_vars)]
    new.write_h5ad(tmp_path / "new.h5ad")
    words = ["--gene-key", "symbol", "--key-added", "p", "--subset", "batch=c", "--threads", 1]
    done = cli(
        "project", tmp_path / "new.h5ad", "-m", atlas / "atlas.mnn", "-o", tmp_path / "o", *words
    )
    assert done.code == 0, done.err
    found = anndata.read_h5ad(tmp_path / "o")
    by_hand = new[new.obs["batch"] == "c"].copy()
    tl.project(by_hand, atlas / "atlas.mnn", gene_key="symbol", key_added="p")
    np.testing.assert_array_equal(found.obsm["X_p"], by_hand.obsm["X_p"])
    np.testing.assert_array_equal(found.obs["p_confidence"], by_hand.obs["p_confidence"])
    assert found.uns["p"]["params"] == by_hand.uns["p"]["params"]


@pytest.mark.parametrize(
    ("form", "memory"), [("csr", "4G"), ("csr", "16M"), ("csc", "16M"), ("dense", "16M")]
)
def test_places_do_not_depend_on_memory_and_storage(
    cli: Cli, atlas: Path, tmp_path: Path, memory: str, form: str
) -> None:
    new = anndata.read_h5ad(atlas / "counts.h5ad")[::3].copy()
    want = tl.project(new, atlas / "atlas.mnn", copy=True).obsm["X_mnn"]
    new.X = {"csr": new.X, "csc": new.X.tocsc(), "dense": new.X.toarray()}[form]
    new.write_h5ad(tmp_path / "new.h5ad")
    words = ["project", tmp_path / "new.h5ad", "-m", atlas / "atlas.mnn", "-o", tmp_path / "o"]
    done = cli(*words, "--memory-limit", memory)
    assert done.code == 0, done.err
    np.testing.assert_array_equal(anndata.read_h5ad(tmp_path / "o").obsm["X_mnn"], want)


def test_a_gene_key_of_one_input_names_the_genes_of_its_model(
    cli: Cli, made: Make, tmp_path: Path
) -> None:
    adata = made(sizes={"a": 50, "b": 40})
    adata.var["ids"] = [f"ENSG{i}" for i in range(adata.n_vars)]
    adata.write_h5ad(tmp_path / "one.h5ad")
    words = ["-b", "batch", "--gene-key", "ids", "--save-model", tmp_path / "m.mnn"]
    done = cli("correct", tmp_path / "one.h5ad", "-o", tmp_path / "o", "--n-comps", 5, *words)
    assert done.code == 0, done.err
    assert set(tl.read_model(tmp_path / "m.mnn").components.genes) == set(adata.var["ids"])
    assert list(anndata.read_h5ad(tmp_path / "o").var_names) == list(adata.var_names)
    adata.var["ids"] = "same"
    adata.write_h5ad(tmp_path / "one.h5ad")
    done = cli("correct", tmp_path / "one.h5ad", "-o", tmp_path / "p", "--force", *words)
    assert (done.code, (tmp_path / "p").exists()) == (1, False)
    assert "'same'" in done.err[-1]


@pytest.mark.parametrize("option", [["--gene-key", "ids"], ["--strip-versions"]])
@pytest.mark.parametrize("command", ["run", "correct", "check", "run --use-rep X_pca"])
def test_names_of_genes_that_nothing_is_matched_by_are_wrong_usage(
    cli: Cli, counts: Path, tmp_path: Path, command: str, option: list[str]
) -> None:
    name, *words = command.split()
    words += [] if name == "check" else ["-o", str(tmp_path / "o"), "--dry-run"]
    done = cli(name, counts, "-b", "batch", *words, *option)
    assert done.code == 2
    assert option[0] in " ".join(done.err)


def test_arguments_about_genes_are_refused_where_a_model_has_none(made: Make) -> None:
    adata = made(sizes={"a": 50, "b": 40})
    adata.obsm["X_pca"] = np.random.default_rng(0).normal(size=(90, 4))
    pp.mnn_calibrated(adata, "batch", use_rep="X_pca")
    with pytest.raises(ValueError, match="`gene_key`"):
        tl.fit_model(adata, gene_key="ids")
    with pytest.raises(ValueError, match=r"obsm\['X_pca'\].*`gene_key`, `strip_versions`"):
        tl.project(adata.copy(), adata, gene_key="ids", strip_versions=True)


def test_libraries_are_the_batches_of_new_cells_where_that_is_wanted(
    cli: Cli, made: Make, atlas: Path, tmp_path: Path
) -> None:
    new = made(sizes={"c": 40, "d": 50}, seed=3)
    new.obs_names = [f"ACGT{i:05d}-{b}" for i, b in enumerate(new.obs.pop("batch"))]
    new.write_h5ad(tmp_path / "new.h5ad")
    words = [tmp_path / "new.h5ad", "-m", atlas / "atlas.mnn", "-o", tmp_path / "o"]
    assert cli("project", *words, "--batch-from-barcode", "-b", "cell_type").code == 2
    done = cli("project", *words, "--batch-from-barcode")
    assert done.code == 0, done.err
    found = anndata.read_h5ad(tmp_path / "o")
    pp.batch_from_barcode(new)
    tl.project(new, atlas / "atlas.mnn", key="mnn_library")
    np.testing.assert_array_equal(found.obsm["X_mnn"], new.obsm["X_mnn"])
    assert found.obs["mnn_library"].tolist() == new.obs["mnn_library"].tolist()
    assert found.uns["mnn"]["params"]["key"] == "mnn_library"
    assert list(found.uns["mnn"]["batches"]) == ["c", "d"]


def test_a_model_can_be_made_of_a_corrected_file(cli: Cli, atlas: Path, tmp_path: Path) -> None:
    done = cli("model", atlas / "corrected.h5ad", "-o", tmp_path / "again.mnn")
    assert done.code == 0, done.err
    assert (tmp_path / "again.mnn").read_bytes() == (atlas / "atlas.mnn").read_bytes()
    assert "Model: 170 cells in 2 batches, 5 dimensions of 30 genes" in done.err[-1]
    done = cli("model", atlas / "corrected.h5ad", "-o", tmp_path / "few.mnn", "--max-cells", 60)
    assert done.code == 0
    assert len(tl.read_model(tmp_path / "few.mnn").codes) == 31 + 28
    assert "the model keeps 59 of 170 cells" in " ".join(done.err)
    done = cli("model", atlas / "counts.h5ad", "-o", tmp_path / "none.mnn")
    assert done.code == 1
    assert "/uns has no 'mnn'" in done.err[-1]
    assert not (tmp_path / "none.mnn").exists()


def test_correct_saves_a_model_as_well(cli: Cli, atlas: Path, tmp_path: Path) -> None:
    words = ["correct", atlas / "counts.h5ad", "-b", "batch", "-o", tmp_path / "o.h5ad"]
    words += ["--method", "fast", "--n-comps", 5, "--save-model", tmp_path / "m.mnn"]
    done = cli(*words)
    assert done.code == 0, done.err
    model = tl.read_model(tmp_path / "m.mnn")
    assert model.about["method"] == "fast"
    assert model.scaling is not None
    assert model.scaling.total == tl.read_model(atlas / "atlas.mnn").scaling.total  # type: ignore[union-attr]
    # Neither is replaced unasked, and neither then appears.
    (tmp_path / "o.h5ad").unlink()
    done = cli(*words)
    assert done.code == 1
    assert "m.mnn exists" in done.err[-1]
    assert not (tmp_path / "o.h5ad").exists()


def test_a_dry_run_tells_of_the_model(cli: Cli, counts: Path, tmp_path: Path) -> None:
    target = tmp_path / "m.mnn"
    for command in ("run", "correct"):
        words = [command, counts, "-b", "batch", "-o", tmp_path / "o.h5ad", "--dry-run"]
        assert f"of the correction to {target}" in cli(*words, "--save-model", target).out.replace(
            "\n", " "
        )
    target.write_text("there")
    done = cli(*words, "--save-model", target)
    assert done.code == 1
    assert "m.mnn exists" in done.err[-1]


def test_a_model_of_a_method_without_one_is_wrong_usage(cli: Cli, counts: Path) -> None:
    words = ["correct", counts, "-b", "batch", "-o", "o.h5ad"]
    done = cli(*words, "--method", "classic", "--save-model", "m.mnn")
    assert done.code == 2
    assert "--save-model belongs to method calibrated, fast, cluster" in " ".join(done.err)
    done = cli(*words, "--save-model", "o.h5ad")
    assert done.code == 1
    assert "are the same file; give another name with --save-model" in " ".join(done.err)


def test_genes_of_one_name_are_refused_before_any_work(
    cli: Cli, made: Make, tmp_path: Path
) -> None:
    doubled = made()
    doubled.var_names = ["gene0", *doubled.var_names[:-1]]
    doubled.write_h5ad(tmp_path / "in.h5ad")
    words = ["correct", tmp_path / "in.h5ad", "-b", "batch", "-o", tmp_path / "o.h5ad"]
    done = cli(*words, "--save-model", tmp_path / "m.mnn")
    assert done.code == 1
    assert "more than once: 'gene0'" in done.err[-1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.h5ad"]


def test_what_is_no_model_fails_in_one_line(cli: Cli, atlas: Path, tmp_path: Path) -> None:
    words = ["project", atlas / "counts.h5ad", "-o", tmp_path / "o.h5ad", "--model"]
    damaged = tmp_path / "damaged.mnn"
    content = (atlas / "atlas.mnn").read_bytes()
    damaged.write_bytes(content[:2000] + b"x" + content[2001:])
    for path, says in (
        (atlas / "corrected.h5ad", "not a model; mnncorrect model"),
        (tmp_path / "nowhere.mnn", "does not exist"),
        (damaged, "is damaged: its checksum is wrong"),
    ):
        done = cli(*words, path)
        assert done.code == 1
        assert len(done.err) == 1, done.err
        assert says in done.err[0]
    assert not (tmp_path / "o.h5ad").exists()


@pytest.mark.filterwarnings("default")
def test_a_batch_of_few_cells_is_warned_of(
    cli: Cli, made: Make, atlas: Path, tmp_path: Path
) -> None:
    new = made(sizes={"c": 1})
    new.write_h5ad(tmp_path / "new.h5ad")
    done = cli("project", tmp_path / "new.h5ad", "-m", atlas / "atlas.mnn", "-o", tmp_path / "o")
    assert done.code == 0, done.err
    assert "fewer than 31 cells cannot be corrected" in " ".join(done.err)
    found = anndata.read_h5ad(tmp_path / "o")
    assert found.obs["mnn_confidence"].tolist() == [0.0]
    np.testing.assert_array_equal(found.obsm["X_mnn"], found.obsm["X_mnn_uncorrected"])


def test_info_tells_of_models_and_of_projections(cli: Cli, atlas: Path, tmp_path: Path) -> None:
    done = cli("info", atlas / "atlas.mnn")
    assert done.code == 0, done.err
    for expected in (
        "a model",
        "batches: a (90), b (80)",
        "cells: 170 of 170, 5 dimensions",
        "30 genes, such as gene0, gene1, gene2; log-normalized values, or counts, which are scaled",
        "method calibrated",
    ):
        assert expected in done.out
    told = json.loads(cli("info", atlas / "atlas.mnn", "--json").out)
    assert told["model"]["digest"] == tl.read_model(atlas / "atlas.mnn").digest
    out = tmp_path / "out.h5ad"
    words = ["--model", atlas / "atlas.mnn", "-o", out, "--as-new", "--subset", "batch=a"]
    assert cli("project", atlas / "counts.h5ad", *words).code == 0
    done = cli("info", out)
    for expected in (
        "projection mnn: into /obsm/X_mnn",
        "model: 170 cells of method calibrated",
        "genes missing: 0 of 30",
        "batch  cells  in the model  left as projected  pairs",
        "a      90     no",
    ):
        assert expected in done.out


def test_labels_of_the_atlas_are_given_to_new_cells(
    cli: Cli, made: Make, atlas: Path, tmp_path: Path
) -> None:
    corrected = anndata.read_h5ad(atlas / "corrected.h5ad")
    corrected.obs["kind"] = np.where(corrected.obsm["X_mnn"][:, 0] > 0, "right", "left")
    corrected.write_h5ad(tmp_path / "c.h5ad")
    model, out = tmp_path / "kind.mnn", tmp_path / "out.h5ad"
    done = cli("model", tmp_path / "c.h5ad", "--label-key", "kind", "-o", model)
    assert done.code == 0, done.err
    assert "left (" in cli("info", model).out
    words = ["--model", model, "-o", out, "--label-key", "kind"]
    done = cli("project", atlas / "counts.h5ad", *words)
    assert done.code == 0, done.err
    found = anndata.read_h5ad(out)
    assert (found.obs["mnn_label"].astype(str) == corrected.obs["kind"]).mean() > 0.9
    assert found.obs["mnn_label_probability"].between(0, 1).all()
    (line,) = [line for line in cli("info", out).out.splitlines() if "labels:" in line]
    for name, size in found.obs["mnn_label"].value_counts().items():
        assert f"{name} ({size})" in line
    report = tmp_path / "report.html"
    assert cli("report", out, "-o", report, "--no-umap").code == 0
    assert "mnn_label" in report.read_text()
    # A result of the user's is not replaced; a model without labels is named.
    taken = anndata.read_h5ad(atlas / "counts.h5ad")
    taken.obs["mnn_label"] = "mine"
    taken.write_h5ad(tmp_path / "taken.h5ad")
    done = cli("project", tmp_path / "taken.h5ad", *words, "--force")
    assert done.code == 0
    done = cli("project", tmp_path / "taken.h5ad", *words[:3], tmp_path / "x.h5ad", *words[4:])
    assert done.code == 1
    assert "mnn_label" in done.err[-1]
    words[1] = atlas / "atlas.mnn"
    done = cli("project", atlas / "counts.h5ad", *words, "--force")
    assert done.code == 1
    assert "--label-key" in done.err[-1]


def test_labels_that_are_all_called_unassigned_are_refused_before_the_run(
    cli: Cli, made: Make, tmp_path: Path
) -> None:
    adata = made()
    adata.obs["kind"] = np.where(np.arange(adata.n_obs) % 2, "unassigned", "Unknown")
    adata.write_h5ad(tmp_path / "in.h5ad")
    words = ["-b", "batch", "--label-key", "kind", "--save-model", tmp_path / "m", "--dry-run"]
    done = cli("run", tmp_path / "in.h5ad", *words, "-o", tmp_path / "out.h5ad")
    assert done.code == 1
    assert "unassigned" in done.err[-1]


def test_run_keeps_labels_in_its_model(cli: Cli, made: Make, tmp_path: Path) -> None:
    adata = made(sizes={"a": 60, "b": 60})
    adata.obs["kind"] = ["x", "y"] * 60
    adata.write_h5ad(tmp_path / "a.h5ad")
    words = ["-b", "batch", "-o", tmp_path / "o.h5ad", "--no-gmm", "--n-comps", 5]
    done = cli("run", tmp_path / "a.h5ad", *words, "--label-key", "kind")
    assert done.code == 2  # nothing would keep or show it
    done = cli(
        "run", tmp_path / "a.h5ad", *words, "--label-key", "kind", "--save-model", tmp_path / "m"
    )
    assert done.code == 0, done.err
    labels = tl.read_model(tmp_path / "m").labels
    assert labels is not None
    assert (labels.key, labels.names) == ("kind", ("x", "y"))
