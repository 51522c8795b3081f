"""The commands do what the API does, say what they did, and leave the input alone."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import pytest
import scanpy

import mnncorrect
from mnncorrect._adata.slots import elements_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Cli = Callable[..., Any]
    Make = Callable[..., anndata.AnnData]

SMALL = ["--method", "classic", "--n-comps", 5, "--n-components", "1-3"]
FAST = ["--method", "classic", "--no-pca", "--no-gmm"]


@pytest.fixture
def by_hand(made: Make) -> anndata.AnnData:
    """What `run` should make of the file of counts, step by step."""
    adata = made()
    adata.layers["mnn_log1p"] = adata.X.copy()
    scanpy.pp.normalize_total(adata, layer="mnn_log1p")
    scanpy.pp.log1p(adata, layer="mnn_log1p")
    adata.uns.clear()
    mnncorrect.pp.mnn_classic(adata, "batch", layer="mnn_log1p", mask_var=None)
    mnncorrect.pp.pca(adata, n_comps=5)
    mnncorrect.tl.gmm(adata, use_rep="X_mnn_pca", n_components=range(1, 4))
    return adata


def test_run_is_the_steps_of_the_api(corrected: Path, by_hand: anndata.AnnData) -> None:
    found = anndata.read_h5ad(corrected)
    np.testing.assert_array_equal(found.layers["mnn"], by_hand.layers["mnn"])
    assert (found.layers["mnn_log1p"] != by_hand.layers["mnn_log1p"]).nnz == 0
    assert (found.obsp["mnn_pairs"] != by_hand.obsp["mnn_pairs"]).nnz == 0
    np.testing.assert_array_equal(found.obsm["X_mnn_pca"], by_hand.obsm["X_mnn_pca"])
    assert list(found.obs["gmm"]) == list(by_hand.obs["gmm"])
    assert set(elements_of(found, "layers")) == set(elements_of(by_hand, "layers"))
    assert set(found.obsm) == set(by_hand.obsm)
    assert set(found.uns) == set(by_hand.uns)
    assert set(found.var) == set(by_hand.var)
    params = found.uns["mnn"]["params"]
    assert params.items() == by_hand.uns["mnn"]["params"].items()
    assert found.uns["mnn"]["prepared"] == {
        "counts": True, "normalize": True, "log1p": True, "hvg": False,
        "values": "counts", "total": float(np.median(by_hand.X.toarray().sum(1))),
    }  # fmt: skip


def test_run_corrects_components_by_the_calibrated_method_and_clusters_them(
    cli: Cli, by_hand: anndata.AnnData, counts: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.h5ad"
    done = cli("run", counts, "-b", "batch", "-o", out, *SMALL[2:])
    assert done.code == 0, done.err
    found = anndata.read_h5ad(out)
    mnncorrect.pp.mnn_calibrated(by_hand, "batch", layer="mnn_log1p", mask_var=None, n_comps=5)
    mnncorrect.tl.gmm(by_hand, use_rep="X_mnn", n_components=range(1, 4))
    assert found.uns["mnn"]["params"] == by_hand.uns["mnn"]["params"]
    for name in ("X_mnn", "X_mnn_uncorrected"):
        np.testing.assert_allclose(found.obsm[name], by_hand.obsm[name], atol=1e-9)
    np.testing.assert_allclose(found.obs["mnn_confidence"], by_hand.obs["mnn_confidence"])
    assert list(found.obs["gmm"]) == list(by_hand.obs["gmm"])
    assert set(elements_of(found, "layers")) == {"mnn_log1p"}
    told = cli("run", counts, "-b", "batch", "-o", tmp_path / "other.h5ad", "--dry-run").out
    assert "step    correct 80 cells by method calibrated" in told
    assert "step    find clusters" in told
    assert "principal components" not in told


def test_run_keeps_what_it_was_given(corrected: Path, made: Make) -> None:
    found, given = anndata.read_h5ad(corrected), made()
    assert (found.X != given.X).nnz == 0
    assert list(found.obs["cell_type"]) == list(given.obs["cell_type"])
    assert (anndata.read_h5ad(corrected.parent / "counts.h5ad").X != given.X).nnz == 0


def test_run_says_what_it_found_and_did(cli: Cli, counts: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5ad"
    done = cli("run", counts, "-b", "batch", "-o", out, *SMALL)
    assert done.code == 0
    assert done.out == ""
    said = "\n".join(done.err)
    for expected in (
        f"{counts}: 80 cells x 30 genes",
        "/X holds counts (0 to ",
        "scaled to the median total and log-transformed, written to /layers/mnn_log1p",
        "all genes are used; there are no more than 2000",
        "merge 1: b to a by",
        "5 principal components",
        f"wrote {out}",
    ):
        assert expected in said
    assert not any(line.startswith(("warning", "error")) for line in done.err)


def test_equal_runs_give_equal_files(cli: Cli, counts: Path, tmp_path: Path) -> None:
    outs = [tmp_path / "one.h5ad", tmp_path / "two.h5ad"]
    for out, threads in zip(outs, (1, 2), strict=True):
        words = ["run", counts, "-b", "batch", "-o", out, *SMALL, "--threads", threads]
        assert cli(*words).code == 0
    assert outs[0].read_bytes() == outs[1].read_bytes()


def test_log_values_are_taken_as_they_are(
    cli: Cli, by_hand: anndata.AnnData, tmp_path: Path
) -> None:
    logged = anndata.AnnData(by_hand.layers["mnn_log1p"], obs=by_hand.obs[["batch"]])
    logged.write_h5ad(tmp_path / "in.h5ad")
    words = ["-b", "batch", "-o", tmp_path / "out.h5ad", *FAST]
    done = cli("run", tmp_path / "in.h5ad", *words)
    assert any(
        line.startswith("/X holds log values (natural logarithm, scaled to ") for line in done.err
    )
    found = anndata.read_h5ad(tmp_path / "out.h5ad")
    assert set(elements_of(found, "layers")) == {"mnn"}
    np.testing.assert_array_equal(found.layers["mnn"], by_hand.layers["mnn"])


def test_correct_does_the_correction_only(
    cli: Cli, by_hand: anndata.AnnData, tmp_path: Path
) -> None:
    logged = anndata.AnnData(by_hand.layers["mnn_log1p"], obs=by_hand.obs[["batch"]])
    logged.write_h5ad(tmp_path / "in.h5ad")
    options = [
        "--method",
        "classic",
        "--n-neighbors",
        7,
        "--sigma",
        0.5,
        "--n-svd",
        2,
        "--no-adjust-variance",
    ]
    options += ["--merge-order", "b,a", "--smoothing", "global", "--key-added", "other"]
    options += ["--no-cosine-norm-out", "--prop-neighbors", 0.3, "--seed", 3]
    done = cli(
        "correct", tmp_path / "in.h5ad", "-b", "batch", "-o", tmp_path / "out.h5ad", *options
    )
    assert done.code == 0, done.err
    found = anndata.read_h5ad(tmp_path / "out.h5ad")
    mnncorrect.pp.mnn_classic(
        logged, "batch", n_neighbors=7, sigma=0.5, n_svd=2, adjust_variance=False,
        merge_order="b,a", smoothing="global", key_added="other", cosine_norm_out=False,
        prop_neighbors=0.3, random_state=3,
    )  # fmt: skip
    np.testing.assert_array_equal(found.layers["other"], logged.layers["other"])
    assert set(elements_of(found, "layers")) == {"other"}
    assert set(found.obsm) == set()
    assert found.uns["other"]["params"] == logged.uns["other"]["params"]


def test_correct_normalises_counts_and_keeps_to_the_correction(
    cli: Cli, made: Make, counts: Path, tmp_path: Path
) -> None:
    words = ["-b", "batch", "--n-top-genes", 20, "--method", "classic"]
    assert cli("correct", counts, "-o", tmp_path / "correct.h5ad", *words).code == 0
    assert cli("run", counts, "-o", tmp_path / "run.h5ad", *words, *FAST[2:]).code == 0
    found, whole = (anndata.read_h5ad(tmp_path / f"{name}.h5ad") for name in ("correct", "run"))
    np.testing.assert_array_equal(found.layers["mnn"], whole.layers["mnn"])
    assert set(elements_of(found, "layers")) == {"mnn"}
    # Each record names what its file has: counts in X, and what was made of them.
    assert "layer" not in found.uns["mnn"]["params"]
    assert whole.uns["mnn"]["params"]["layer"] == "mnn_log1p"
    assert found.uns["mnn"]["prepared"] == whole.uns["mnn"]["prepared"]
    assert not set(found.obsm) | ({"gmm"} & set(found.obs))


@pytest.mark.filterwarnings("default")
def test_correct_can_be_told_to_take_counts_as_they_are(
    cli: Cli, counts: Path, tmp_path: Path
) -> None:
    done = cli("correct", counts, "-b", "batch", "-o", tmp_path / "out.h5ad", "--no-counts")
    assert done.code == 0
    assert any(line.startswith("warning: /X holds whole numbers") for line in done.err)


@pytest.mark.slow
def test_pca_and_gmm_after_correct_are_run(cli: Cli, corrected: Path, tmp_path: Path) -> None:
    words = ["-b", "batch", "-o", tmp_path / "1.h5ad", *FAST]
    assert cli("run", corrected.parent / "counts.h5ad", *words).code == 0
    assert cli("pca", tmp_path / "1.h5ad", "-o", tmp_path / "2.h5ad", "--n-comps", 5).code == 0
    words = ["-o", tmp_path / "3.h5ad", "--n-components", "1,2,3"]
    assert cli("gmm", tmp_path / "2.h5ad", *words).code == 0
    found, whole = anndata.read_h5ad(tmp_path / "3.h5ad"), anndata.read_h5ad(corrected)
    np.testing.assert_array_equal(found.obsm["X_mnn_pca"], whole.obsm["X_mnn_pca"])
    np.testing.assert_array_equal(found.varm["mnn_pca"], whole.varm["mnn_pca"])
    np.testing.assert_array_equal(found.obsm["gmm_proba"], whole.obsm["gmm_proba"])
    assert list(found.obs["gmm"]) == list(whole.obs["gmm"])
    assert set(found.uns) == set(whole.uns)


def test_genes_are_chosen_within_batches(cli: Cli, made: Make, tmp_path: Path) -> None:
    made(n_genes=400).write_h5ad(tmp_path / "in.h5ad")
    words = ["-b", "batch", "-o", tmp_path / "out.h5ad", *FAST]
    done = cli("run", tmp_path / "in.h5ad", *words, "--n-top-genes", 40)
    assert done.code == 0, done.err
    assert any(line.startswith("chose 40 of 400 genes") for line in done.err)
    found = anndata.read_h5ad(tmp_path / "out.h5ad")
    expected = anndata.AnnData(found.layers["mnn_log1p"], obs=found.obs)
    scanpy.pp.highly_variable_genes(expected, n_top_genes=40, batch_key="batch", flavor="seurat")
    assert list(found.var["mnn_genes"]) == list(expected.var["highly_variable"])
    assert "highly_variable" not in found.var
    assert (found.layers["mnn"][:, ~found.var["mnn_corrected"].to_numpy()] == 0).all()
    assert found.uns["mnn"]["prepared"]["n_top_genes"] == 40


@pytest.mark.parametrize(
    ("options", "n_used"),
    [
        ([], 12),
        (["--no-hvg"], 12),
        (["--hvg", "--n-top-genes", 10], 10),
        (["--mask-var", "chosen"], 7),
        (["--mask-var", "none"], 30),
    ],
)
def test_genes_that_are_marked_are_used(
    options: list[object], n_used: int, cli: Cli, made: Make, tmp_path: Path
) -> None:
    data = made()
    data.var["highly_variable"] = np.arange(30) < 12
    data.var["chosen"] = np.arange(30) >= 23
    data.write_h5ad(tmp_path / "in.h5ad")
    words = ["-b", "batch", "-o", tmp_path / "out.h5ad", *FAST]
    done = cli("run", tmp_path / "in.h5ad", *words, *options)
    assert done.code == 0, done.err
    found = anndata.read_h5ad(tmp_path / "out.h5ad")
    assert found.var["mnn_genes"].sum() == n_used
    assert list(found.var["highly_variable"]) == list(data.var["highly_variable"])


@pytest.mark.parametrize(
    ("options", "says", "prepared"),
    [
        (["--no-normalize"], "counts [^:]*: log-transformed, written to", (True, False, True)),
        (["--no-log1p"], "scaled to the median total, written to", (True, True, False)),
        (["--no-normalize", "--no-log1p"], "used unchanged", (True, False, False)),
        (["--no-counts"], "X holds counts.*as given.*used unchanged", (False, False, False)),
    ],
)
@pytest.mark.filterwarnings("default")
def test_each_step_can_be_left_out(
    options: list[str],
    says: str,
    prepared: tuple[bool, ...],
    cli: Cli,
    counts: Path,
    tmp_path: Path,
) -> None:
    words = ["run", counts, "-b", "batch", "-o", tmp_path / "out.h5ad", *FAST]
    done = cli(*words, *options)
    assert done.code == 0
    assert re.search(says, "\n".join(done.err))
    found = anndata.read_h5ad(tmp_path / "out.h5ad")
    done_to = found.uns["mnn"]["prepared"]
    assert tuple(done_to[step] for step in ("counts", "normalize", "log1p")) == prepared
    assert list(found.obsm) == []
    assert "gmm" not in found.obs


def test_the_normalised_layer_can_be_left_out(cli: Cli, counts: Path, tmp_path: Path) -> None:
    words = ["run", counts, "-b", "batch", "-o", tmp_path / "out.h5ad", *FAST]
    assert cli(*words, "--no-keep-normalized").code == 0
    assert list(elements_of(anndata.read_h5ad(tmp_path / "out.h5ad"), "layers")) == ["mnn"]


def test_fractions_too_large_for_logarithms_are_counts(
    cli: Cli, made: Make, tmp_path: Path
) -> None:
    data = made()
    data.X.data += 0.25
    data.write_h5ad(tmp_path / "in.h5ad")
    words = ["run", tmp_path / "in.h5ad", "-b", "batch", "-o", tmp_path / "out.h5ad", *FAST]
    done = cli(*words)
    assert done.code == 0
    assert any("counts with fractions" in line for line in done.err if line.startswith("warn"))
    told = anndata.read_h5ad(tmp_path / "out.h5ad").layers["mnn"]
    done = cli(*words, "--counts", "--force")
    assert done.code == 0
    assert "warning: /X holds fractions; treated as counts, as given" in done.err
    np.testing.assert_array_equal(anndata.read_h5ad(tmp_path / "out.h5ad").layers["mnn"], told)


@pytest.mark.parametrize("place", ["layer", "raw"])
def test_values_are_read_where_they_are(place: str, cli: Cli, made: Make, tmp_path: Path) -> None:
    data = made()
    reference = data.copy()
    if place == "layer":
        data.layers["umi"] = data.X.copy()
    else:
        data.raw = data
    data.X = data.X * 0
    data.write_h5ad(tmp_path / "in.h5ad")
    reference.write_h5ad(tmp_path / "reference.h5ad")
    common = ["-b", "batch", *FAST]
    option = ["--layer", "umi"] if place == "layer" else ["--use-raw"]
    assert cli("run", tmp_path / "in.h5ad", "-o", tmp_path / "1.h5ad", *common, *option).code == 0
    assert cli("run", tmp_path / "reference.h5ad", "-o", tmp_path / "2.h5ad", *common).code == 0
    found = [anndata.read_h5ad(tmp_path / f"{i}.h5ad").layers["mnn"] for i in (1, 2)]
    np.testing.assert_array_equal(*found)


def test_several_files_are_batches(cli: Cli, made: Make, corrected: Path, tmp_path: Path) -> None:
    whole = made()
    for name in ("a", "b"):
        part = whole[whole.obs["batch"] == name].copy()
        del part.obs["batch"]
        part.write_h5ad(tmp_path / f"{name}.h5ad")
    done = cli("run", tmp_path / "a.h5ad", tmp_path / "b.h5ad", "-o", tmp_path / "out.h5ad", *FAST)
    assert done.code == 0, done.err
    assert "genes in all files: 30; left out: 0 of a, 0 of b" in done.err
    assert "each file is a batch: /obs/mnn_file" in done.err
    found = anndata.read_h5ad(tmp_path / "out.h5ad")
    expected = anndata.read_h5ad(corrected)
    np.testing.assert_array_equal(found.layers["mnn"], expected.layers["mnn"])
    assert list(found.obs_names) == list(whole.obs_names)  # no name is in both files
    assert found.uns["mnn"]["params"]["key"] == "mnn_file"


def test_a_column_may_name_the_batches_of_several_files(
    cli: Cli, made: Make, tmp_path: Path
) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        made(seed=len(folder)).write_h5ad(tmp_path / folder / "in.h5ad")
    files = [tmp_path / folder / "in.h5ad" for folder in ("one", "two")]
    done = cli("run", *files, "-b", "batch", "-o", tmp_path / "out.h5ad", *FAST, "--use-raw")
    assert "has no raw values" in done.err[0]
    done = cli("run", *files, "-b", "batch", "-o", tmp_path / "out.h5ad", *FAST)
    assert done.code == 0
    found = anndata.read_h5ad(tmp_path / "out.h5ad")
    assert list(found.uns["mnn"]["batches"]) == ["a", "b"]
    # Files of one name are told apart by their folders.
    assert list(found.obs["mnn_file"].cat.categories) == ["one", "two"]


def test_raw_of_several_files_becomes_x(cli: Cli, made: Make, tmp_path: Path) -> None:
    for name in ("a", "b"):
        part = made(sizes={name: 40}, seed=ord(name))
        part.raw = part
        part.X = part.X * 0
        part.write_h5ad(tmp_path / f"{name}.h5ad")
    files = [tmp_path / "a.h5ad", tmp_path / "b.h5ad"]
    done = cli("run", *files, "-o", tmp_path / "out.h5ad", *FAST, "--use-raw")
    assert done.code == 0, done.err
    assert anndata.read_h5ad(tmp_path / "out.h5ad").X.nnz > 0


def test_cells_can_be_left_out(cli: Cli, made: Make, tmp_path: Path) -> None:
    made(sizes={"a": 20, "b": 20, "tiny": 1}).write_h5ad(tmp_path / "in.h5ad")
    words = ["-b", "batch", "-o", tmp_path / "out.h5ad", *FAST, "--subset", "batch!=tiny"]
    done = cli("run", tmp_path / "in.h5ad", *words)
    assert done.code == 0, done.err
    assert "subset: 40 of 41 cells kept" in done.err
    assert anndata.read_h5ad(tmp_path / "out.h5ad").n_obs == 40


@pytest.mark.filterwarnings("ignore:.*names are not unique")
def test_doubled_names_and_unused_categories_are_logged_once(
    cli: Cli, made: Make, tmp_path: Path
) -> None:
    data = made()
    data.obs["batch"] = data.obs["batch"].cat.add_categories(["c"])
    data.obs_names = ["same", "same", *data.obs_names[2:]]
    data.var_names = ["g", "g", *data.var_names[2:]]
    data.write_h5ad(tmp_path / "in.h5ad")
    words = ["-b", "batch", "-o", tmp_path / "out.h5ad", *FAST, "--n-top-genes", 10]
    done = cli("run", tmp_path / "in.h5ad", *words)
    assert done.code == 0, done.err
    assert sum("dropped unused categories: 'c'" in line for line in done.err) == 1
    assert sum("have a duplicate name" in line for line in done.err) == 1
    found = anndata.read_h5ad(tmp_path / "out.h5ad")
    assert list(found.obs_names[:3]) == ["same", "same", "cell2"]
    assert found.var["mnn_genes"].sum() == 10


@pytest.mark.parametrize("command", ["run", "correct", "pca", "gmm", "concat"])
def test_an_output_named_as_another_format_is_refused(
    command: str, cli: Cli, counts: Path, tmp_path: Path
) -> None:
    key = ["-b", "batch"] if command in ("run", "correct") else []
    output = tmp_path / "out.loom"
    done = cli(command, counts, *key, "-o", output)
    assert done.code == 1
    assert ".h5ad" in done.err[-1]
    assert len(done.err) == 1
    assert not output.exists()


@pytest.mark.parametrize(
    ("words", "ending"),
    [
        ("correct {} -b batch -o out.txt", ".h5ad"),
        ("concat {} -o out.html", ".h5ad"),
        ("correct {} -b batch -o out.h5ad --save-model model.h5ad", ".mnn"),
        ("run {} -b batch -o out.h5ad --report page.h5ad", ".html"),
        ("run {} -b batch -o out.h5ad --report page.mnn --dry-run", ".html"),
        ("report {} -o page.zarr", ".html"),
        ("model {} -o page.html", ".mnn"),
    ],
)
def test_each_output_has_a_name_of_its_format(
    words: str, ending: str, cli: Cli, counts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = cli(*words.format(counts).split())
    assert done.code == 1
    assert ending in done.err[-1]
    assert len(done.err) == 1
    assert sorted(tmp_path.iterdir()) == [counts]


def test_force_replaces_the_output(cli: Cli, counts: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5ad"
    out.write_text("old")
    assert cli("run", counts, "-b", "batch", "-o", out, *FAST, "--force").code == 0
    assert anndata.read_h5ad(out).n_obs == 80
    assert sorted(tmp_path.iterdir()) == [counts, out]


def test_quiet_says_nothing_and_verbose_no_less(cli: Cli, counts: Path, tmp_path: Path) -> None:
    words = ["run", counts, "-b", "batch", "-o", tmp_path / "out.h5ad", *FAST, "--force"]
    assert cli(*words, "-q").err == []
    usual = cli(*words).err
    assert set(usual) <= set(cli(*words, "-v").err)
    assert cli("run", tmp_path / "none.h5ad", "-b", "b", "-o", tmp_path / "o.h5ad", "-q").err != []


def test_the_log_file_has_every_line(cli: Cli, counts: Path, tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    words = ["run", counts, "-b", "batch", "-o", tmp_path / "out.h5ad", *FAST, "--force"]
    assert cli(*words, "--log-file", log, "-q").err == []
    lines = log.read_text().splitlines()
    assert [line.split(" ", 2)[2] for line in lines] == cli(*words).err
    # A failure is in the file as well, after what led to it.
    words = ["run", counts, "-b", "donor", "-o", tmp_path / "out.h5ad", "--force"]
    assert len(cli(*words, "--log-file", log).err) == 1
    lines = log.read_text().splitlines()
    assert len(lines) == 2
    assert " error: /obs has no " in lines[1]


def test_the_log_file_is_not_a_data_file(cli: Cli, counts: Path, tmp_path: Path) -> None:
    before = counts.read_bytes()
    words = ["run", counts, "-b", "batch", "-o", tmp_path / "out.h5ad"]
    for log, says in (
        (counts, "is the input file"),
        (tmp_path / "none" / "run.log", "cannot be written: No such file"),
        (tmp_path, "lies inside the log file"),
    ):
        done = cli(*words, "--log-file", log)
        assert done.code == 1
        assert len(done.err) == 1
        assert says in done.err[0]
    assert counts.read_bytes() == before
    assert list(tmp_path.iterdir()) == [counts]


def test_a_logger_is_left_as_it_was(cli: Cli, counts: Path) -> None:
    import logging
    import signal
    import warnings

    logger = logging.getLogger("mnncorrect")
    before = (logger.level, logger.propagate, list(logger.handlers), warnings.showwarning)
    before += (signal.getsignal(signal.SIGTERM),)
    cli("check", counts, "-v")
    after = (logger.level, logger.propagate, list(logger.handlers), warnings.showwarning)
    assert (*after, signal.getsignal(signal.SIGTERM)) == before


def test_example_can_be_corrected(cli: Cli, tmp_path: Path) -> None:
    done = cli("example", "-o", tmp_path / "example.h5ad")
    assert done.code == 0
    assert "batches in /obs/batch: lane1, lane2, lane3" in done.err[-1]
    assert cli("check", tmp_path / "example.h5ad", "-b", "batch").code == 0
    assert cli("example", "-o", tmp_path / "example.h5ad").code == 1


def test_run_merges_similar_batches_first_unless_told(made: Make, cli: Cli, tmp_path: Path) -> None:
    # The lane named last is the one most like the first.
    adata = made(sizes={"x": 30, "y": 30, "z": 30})
    first, last = (adata.obs["batch"].to_numpy() == name for name in ("x", "z"))
    values = adata.X.toarray()
    values[last] = values[first]
    adata.X = values
    adata.write_h5ad(tmp_path / "in.h5ad")
    found = {}
    for name, options in {"unset": [], "given": ["--merge-order", "x,y,z"]}.items():
        out = tmp_path / f"{name}.h5ad"
        done = cli("run", tmp_path / "in.h5ad", "-b", "batch", "-o", out, *FAST, *options)
        assert done.code == 0, done.err
        merges = anndata.read_h5ad(out).uns["mnn"]["merges"]
        found[name] = [merges[side].iloc[0] for side in ("left", "right")]
    assert found == {"unset": ['["x"]', '["z"]'], "given": ['["x"]', '["y"]']}


@pytest.mark.parametrize("command", ["run", "correct"])
def test_a_sheet_names_inputs_batches_and_covariates(
    command: str, cli: Cli, made: Make, tmp_path: Path
) -> None:
    lines = ["path\tbatch\tage"]
    for name, age in (("a", 30), ("b", 50)):
        one = made(sizes={"x": 60}, seed=age)
        del one.obs["batch"]
        one.write_h5ad(tmp_path / f"{name}.h5ad")
        lines.append(f"{name}.h5ad\tdonor {name}\t{age}")
    sheet, out = tmp_path / "samples.tsv", tmp_path / "out.h5ad"
    sheet.write_text("\n".join(lines))
    words = [command, "--sheet", sheet, "-o", out, "--n-comps", 5]
    words += ["--no-gmm"] if command == "run" else []
    planned = cli(*words, "--dry-run")
    assert planned.code == 0, planned.err
    assert "b.h5ad" in planned.out
    assert not out.exists()
    done = cli(*words)
    assert done.code == 0, done.err
    found = anndata.read_h5ad(out)
    assert list(found.uns["mnn"]["batches"]) == ["donor a", "donor b"]
    assert dict(found.obs.groupby("batch", observed=True)["age"].first()) == {
        "donor a": 30,
        "donor b": 50,
    }
    assert "X_mnn" in found.obsm


def test_a_sheet_and_inputs_exclude_each_other(cli: Cli, made: Make, tmp_path: Path) -> None:
    made(sizes={"a": 40}).write_h5ad(tmp_path / "a.h5ad")
    (tmp_path / "s.tsv").write_text("path\tbatch\na.h5ad\ta")
    out = ["-o", tmp_path / "o.h5ad"]
    for words in (["run", *out], ["run", tmp_path / "a.h5ad", "--sheet", tmp_path / "s.tsv", *out]):
        done = cli(*words)
        assert done.code == 2
        assert "--sheet" in " ".join(done.err)
