"""Which method a command uses, the options that belong to it, and what it writes."""

from __future__ import annotations

import inspect
import json
import re
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import pytest

from mnncorrect import pp, tl
from mnncorrect._adata.slots import elements_of
from mnncorrect._run import expression
from mnncorrect.cli.options.correction import ExpressionOptions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Cli = Callable[..., Any]
    Make = Callable[..., anndata.AnnData]

CLASSIC = ["--method", "classic"]
FAST = ["--method", "fast", "--n-comps", 5]
CLUSTER = ["--method", "cluster", "--clusters", "cluster"]


@pytest.fixture
def logged(made: Make) -> anndata.AnnData:
    """Log values in three batches, of two protocols, with clusters and an embedding."""
    data = made(sizes={"a": 30, "b": 34, "c": 32})
    data.X = np.log1p(data.X.toarray())
    data.obs["protocol"] = ["old" if b == "c" else "new" for b in data.obs["batch"]]
    data.obs["cluster"] = data.obs["cell_type"].astype(str)
    data.obs["kept"] = np.arange(data.n_obs) % 3 > 0
    data.var["chosen"] = np.arange(data.n_vars) % 3 > 0
    data.obsm["X_pca"] = (data.X - data.X.mean(0))[:, :6].astype(np.float64)
    return data


@pytest.fixture
def file(logged: anndata.AnnData, tmp_path: Path) -> Path:
    """The same as a file."""
    logged.write_h5ad(tmp_path / "logged.h5ad")
    return tmp_path / "logged.h5ad"


# -- What a method does ---------------------------------------------------------------------------

CASES: dict[str, tuple[list[object], Callable[[anndata.AnnData], Any]]] = {
    "fast": (FAST, lambda a: pp.mnn_fast(a, "batch", n_comps=5)),
    "fast with all options": (
        [
            *FAST, "--mask-var", "chosen", "--correct-all", "--no-cosine-norm", "--n-neighbors", 7,
            "--batch-weights", "a=1,b=2,c=3", "--prop-neighbors", 0.2, "--ndist", 2,
            "--min-batch-size", 0.3, "--merge-order", "(a,(b,c))", "--restrict", "kept",
            "--neighbors", "partition", "--recall", 0.9, "--key-added", "other",
            "--adjusted-basis", "X_own", "--seed", 4,
        ],
        lambda a: pp.mnn_fast(
            a, "batch", n_comps=5, mask_var="chosen", correct_all=True, cosine_norm=False,
            n_neighbors=7, batch_weights="a=1,b=2,c=3", prop_neighbors=0.2, ndist=2.0,
            min_batch_size=0.3, merge_order="(a,(b,c))", restrict="kept", neighbors="partition",
            recall=0.9, key_added="other", adjusted_basis="X_own", random_state=4,
        ),
    ),
    "an embedding": (
        ["--method", "fast", "--use-rep", "X_pca", "--auto-merge"],
        lambda a: pp.mnn_fast(a, "batch", use_rep="X_pca", auto_merge=True),
    ),
    "cluster": (
        [*CLUSTER, "--min-batch-size", 0.2, "--mask-var", "chosen"],
        lambda a: pp.mnn_cluster(
            a, "batch", clusters="cluster", min_batch_size=0.2, mask_var="chosen"
        ),
    ),
    "calibrated": (
        ["--use-rep", "X_pca", "--reference", "b", "--merge-order", "balanced"],
        lambda a: pp.mnn_calibrated(
            a, "batch", use_rep="X_pca", reference="b", merge_order="balanced"
        ),
    ),
    "calibrated components": (
        ["--method", "calibrated", "--n-comps", 5, "--mask-var", "chosen"],
        lambda a: pp.mnn_calibrated(a, "batch", n_comps=5, mask_var="chosen"),
    ),
    "classic": (
        ["--method", "classic", "--recall", 0.8],
        lambda a: pp.mnn_classic(a, "batch", recall=0.8),
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", CASES)
def test_correct_does_what_the_api_does(
    name: str, cli: Cli, logged: anndata.AnnData, file: Path, tmp_path: Path
) -> None:
    words, call = CASES[name]
    done = cli("correct", file, "-b", "batch", "-o", tmp_path / "out.h5ad", *words)
    assert done.code == 0, done.err
    call(logged)
    assert_same(anndata.read_h5ad(tmp_path / "out.h5ad"), logged)


def assert_same(found: anndata.AnnData, expected: anndata.AnnData) -> None:
    for slot in ("layers", "obsm", "varm"):
        ours, theirs = elements_of(found, slot), elements_of(expected, slot)
        assert set(ours) == set(theirs), slot
        for name in theirs:
            # Genes that are gathered from a file lie otherwise in memory than chosen columns do.
            np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-9, atol=1e-9)
    assert set(found.obsp) == set(expected.obsp)
    for name in expected.obsp:
        assert (found.obsp[name] != expected.obsp[name]).nnz == 0
    assert set(found.obs) == set(expected.obs)
    assert set(found.var) == set(expected.var)
    for name in expected.uns:
        ours, theirs = found.uns[name], expected.uns[name]
        # What the command did before is told apart, and the arguments that it was given.
        of_runs = {"prepared", "call"}
        assert set(ours) - of_runs == set(theirs) - of_runs
        assert dict(ours["params"]) == dict(theirs["params"])


def test_run_with_fast_clusters_the_corrected_components(
    cli: Cli, counts: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.h5ad"
    words = [*FAST, "--n-components", "1-3", "--n-dims", 4]
    done = cli("run", counts, "-b", "batch", "-o", out, *words)
    assert done.code == 0, done.err
    found = anndata.read_h5ad(out)
    assert found.obsm["X_mnn"].shape == (80, 5)
    assert set(found.obsm) == {"X_mnn", "X_mnn_uncorrected", "gmm_proba"}
    assert set(elements_of(found, "layers")) == {"mnn_log1p"}
    assert found.uns["mnn"]["params"]["layer"] == "mnn_log1p"
    assert found.uns["gmm"]["params"]["use_rep"] == "X_mnn"
    labels = list(found.obs["gmm"])
    tl.gmm(found, use_rep="X_mnn", n_dims=4, n_components=range(1, 4))
    assert labels == list(found.obs["gmm"])
    assert "2 dimensions" not in " ".join(done.err)


def test_run_with_an_embedding_leaves_values_alone(cli: Cli, file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5ad"
    words = ["--method", "fast", "--use-rep", "X_pca", "--n-components", "1-2", "--n-dims", 4]
    done = cli("run", file, "-b", "batch", "-o", out, *words, "--adjusted-basis", "X_own")
    assert done.code == 0, done.err
    found = anndata.read_h5ad(out)
    assert set(elements_of(found, "layers")) == set()
    assert "prepared" not in found.uns["mnn"]
    assert found.uns["gmm"]["params"]["use_rep"] == "X_own"
    assert not any("holds" in line for line in done.err)


# -- Several factors ------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["correct", "run"])
def test_a_repeated_key_names_several_factors(
    command: str, cli: Cli, logged: anndata.AnnData, file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.h5ad"
    more = ["--no-gmm"] if command == "run" else []
    words = ["-b", "protocol", "-b", "batch", "--method", "fast", "--use-rep", "X_pca", *more]
    done = cli(command, file, "-o", out, *words)
    assert done.code == 0, done.err
    assert "merge order: (new/a,new/b,old/c)" in done.err
    pp.mnn_fast(logged, ["protocol", "batch"], use_rep="X_pca")
    found = anndata.read_h5ad(out)
    np.testing.assert_array_equal(found.obsm["X_mnn"], logged.obsm["X_mnn"])
    assert json.loads(found.uns["mnn"]["params"]["key"]) == ["protocol", "batch"]


def test_check_takes_several_factors(cli: Cli, file: Path) -> None:
    done = cli("check", file, "-b", "protocol", "-b", "batch")
    assert done.code == 0, done.err
    assert "3 in obs[['protocol', 'batch']]: new/a 30, new/b 34, old/c 32" in done.out


@pytest.mark.parametrize("words", [["--merge-order", "a,b"], ["--auto-merge"]])
@pytest.mark.parametrize("command", ["correct", "run"])
def test_an_order_besides_that_of_the_factors_is_refused(
    command: str, words: list[str], cli: Cli, file: Path, tmp_path: Path
) -> None:
    words = ["-b", "protocol", "-b", "batch", *FAST, *words]
    done = cli(command, file, "-o", tmp_path / "o.h5ad", *words)
    assert done.code == 1
    assert len(done.err) == 1
    assert "decide the order of merges" in done.err[0]


# -- Options that do not belong -------------------------------------------------------------------

NOT_OF = {
    "classic": {
        "--ndist 2": "fast",
        "--min-batch-size 0.1": "fast, cluster",
        "--batch-weights cells": "fast, calibrated",
        "--cosine-norm": "fast, cluster, calibrated",
        "--use-rep X_pca": "fast, calibrated",
        "--clusters cluster": "cluster",
        "--adjusted-basis X_own": "fast, cluster, calibrated",
        "--reference a": "calibrated",
        "--write-expression": "fast, cluster, calibrated",
        "--expression-scale log": "fast, cluster, calibrated",
    },
    "fast": {
        "--sigma 0.2": "classic",
        "--no-adjust-variance": "classic",
        "--smoothing global": "classic",
        "--clusters cluster": "cluster",
    },
    "cluster": {
        "--n-neighbors 5": "classic, fast",
        "--neighbors exact": "classic, fast, calibrated",
        "--n-comps 5": "fast, calibrated",
        "--n-svd 1": "classic",
        "--use-rep X_pca": "fast, calibrated",
    },
    "calibrated": {
        "--n-neighbors 5": "classic, fast",
        "--restrict kept": "classic, fast, cluster",
    },
}


@pytest.mark.parametrize(
    ("method", "option", "owners"),
    [(m, option, owners) for m, those in NOT_OF.items() for option, owners in those.items()],
)
@pytest.mark.parametrize("command", ["correct", "run"])
def test_an_option_of_another_method_is_wrong_usage_that_names_it(
    command: str, method: str, option: str, owners: str, cli: Cli
) -> None:
    # Neither file is looked at: usage comes first.
    done = cli(
        command, "in.h5ad", "-b", "batch", "-o", "o.h5ad", "--method", method, *option.split()
    )
    assert done.code == 2
    said = _unwrapped(done.err)
    found = re.search(r"(--[\w-]+) belongs to method ([\w, ]+), not to (\w+)", said)
    assert found is not None, said
    named, told = option.split(maxsplit=1)[0], set(found[2].split(", "))
    assert (found[1], told, found[3]) == (named, set(owners.split(", ")), method)


def _unwrapped(lines: list[str]) -> str:
    return " ".join(" ".join(lines).replace("│", " ").split())


WRONG = [
    (
        "correct",
        [*CLASSIC, "--n-comps", "5"],
        "--n-comps belongs to method calibrated, fast, not to classic",
    ),
    ("correct", ["--method", "cluster"], "method cluster needs --clusters"),
    ("run", ["--method", "fast", "--pca"], "--pca belongs to method classic"),
    ("correct", [*FAST, "--use-rep", "X_pca"], "--n-comps concerns genes, and --use-rep corrects"),
    (
        "correct",
        ["--method", "fast", "--use-rep", "X_pca", "--layer", "log"],
        "--layer concerns genes",
    ),
    (
        "run",
        ["--method", "fast", "--use-rep", "X_pca", "--no-hvg"],
        "--no-hvg concerns genes",
    ),
    (
        "correct",
        ["--method", "fast", "--use-rep", "X_pca", "--write-expression"],
        "--write-expression needs genes",
    ),
    (
        "run",
        ["--write-expression", "--expression-scale", "centered"],
        "--expression-scale centered is for expression made of components; calibrated corrects",
    ),
    (
        "run",
        ["--method", "fast", "--expression-scale", "log"],
        "--expression-scale has no effect without --write-expression",
    ),
]


@pytest.mark.parametrize(("command", "words", "says"), WRONG)
def test_options_that_do_not_go_together_are_wrong_usage(
    command: str, words: list[str], says: str, cli: Cli
) -> None:
    done = cli(command, "in.h5ad", "-b", "batch", "-o", "o.h5ad", *words)
    assert done.code == 2
    assert says in _unwrapped(done.err)


def test_components_belong_to_run_with_every_method_that_has_them(
    cli: Cli, counts: Path, tmp_path: Path
) -> None:
    for words, name in ((CLASSIC, "X_mnn_pca"), ([], "X_mnn")):
        words = ["-b", "batch", "--n-comps", 4, "--no-gmm", *words]
        assert cli("run", counts, *words, "-o", tmp_path / f"{name}.h5ad").code == 0
        assert anndata.read_h5ad(tmp_path / f"{name}.h5ad").obsm[name].shape == (80, 4)


# -- Corrected expression -------------------------------------------------------------------------


def test_options_of_expression_are_the_parameters_of_the_api() -> None:
    api = inspect.signature(pp.mnn_expression).parameters
    ours = inspect.signature(ExpressionOptions).parameters
    assert ours["expression_scale"].default == api["scale"].default
    assert ours["expression_mask_var"].default == api["mask_var"].default
    assert {f"expression_{name}" for name in ("scale", "mask_var", "clip", "counts")} | {
        "write_expression"
    } == set(ours)


SCALES = [
    ([], {}),
    (["--expression-scale", "log"], {"scale": "log"}),
    (
        ["--expression-scale", "cosine", "--expression-mask-var", "chosen"],
        {"scale": "cosine", "mask_var": "chosen"},
    ),
]


@pytest.mark.parametrize(
    ("method", "words", "options"),
    [
        pytest.param(method, *how, marks=() if (number + place) % 2 else pytest.mark.slow)
        for number, method in enumerate([FAST, CLUSTER])
        for place, how in enumerate(SCALES)
    ],
)
def test_expression_that_is_written_in_blocks_is_that_of_the_api(
    method: list[object],
    words: list[str],
    options: dict[str, Any],
    cli: Cli,
    file: Path,
    tmp_path: Path,
) -> None:
    common = [file, "-b", "batch", *method]
    done = cli("correct", *common, "-o", tmp_path / "with.h5ad", "--write-expression", *words)
    assert done.code == 0, done.err
    assert any("corrected expression" in line for line in done.err)
    assert cli("correct", *common, "-o", tmp_path / "without.h5ad").code == 0
    found = anndata.read_h5ad(tmp_path / "with.h5ad")
    expected = anndata.read_h5ad(tmp_path / "without.h5ad")
    pp.mnn_expression(expected, **options)
    assert_same(found, expected)
    np.testing.assert_array_equal(found.var["mnn_corrected"], expected.var["mnn_corrected"])
    assert found.uns["mnn"]["not_for_differential_expression"]
    assert found.uns["mnn"]["expression"] == expected.uns["mnn"]["expression"]


@pytest.mark.parametrize(
    ("words", "genes"),
    [([], "chosen"), (["--correct-all"], None), (["--expression-mask-var", "few"], "few")],
)
def test_expression_corrected_by_weights_is_that_of_the_api(
    words: list[str],
    genes: str | None,
    cli: Cli,
    logged: anndata.AnnData,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(expression, "EXPRESSION_CHUNK", (7, 4))
    logged.var["few"] = logged.var["chosen"] & (np.arange(logged.n_vars) < 12)
    logged.write_h5ad(tmp_path / "in.h5ad")
    common = ["-b", "batch", "--n-comps", 5, "--mask-var", "chosen", "-o", tmp_path / "out.h5ad"]
    done = cli("correct", tmp_path / "in.h5ad", *common, "--write-expression", *words)
    assert done.code == 0, done.err
    found = anndata.read_h5ad(tmp_path / "out.h5ad")
    pp.mnn_calibrated(
        logged, "batch", n_comps=5, mask_var="chosen", correct_all=genes is None,
        write_expression=True,
    )  # fmt: skip
    wanted = np.ones(logged.n_vars, bool) if genes is None else logged.var[genes].to_numpy()
    logged.layers["mnn"][:, ~wanted] = 0
    assert_same(found, logged)
    np.testing.assert_array_equal(found.var["mnn_corrected"], wanted)
    assert found.uns["mnn"]["expression"] == logged.uns["mnn"]["expression"]
    assert found.uns["mnn"]["not_for_differential_expression"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.h5ad", "out.h5ad"]


@pytest.mark.parametrize("command", [pytest.param("correct", marks=pytest.mark.slow), "run"])
def test_a_file_with_expression_can_be_corrected_again(
    command: str, cli: Cli, counts: Path, tmp_path: Path
) -> None:
    words = ["-b", "batch", *FAST, "--write-expression"]
    words += ["--no-gmm"] if command == "run" else ["--counts"]
    one, two = tmp_path / "one.h5ad", tmp_path / "two.h5ad"
    assert cli(command, counts, *words, "-o", one).code == 0
    done = cli(command, one, *words, "-o", two)
    assert done.code == 0, done.err
    first, second = anndata.read_h5ad(one), anndata.read_h5ad(two)
    np.testing.assert_array_equal(first.layers["mnn"], second.layers["mnn"])
    # Without expression, that of the first correction does not stay beside the second.
    words.remove("--write-expression")
    assert cli(command, one, *words, "-o", two, "--force").code == 0
    assert "mnn" not in anndata.read_h5ad(two).layers


def test_a_failure_while_expression_is_written_leaves_no_file(
    cli: Cli, file: Path, tmp_path: Path
) -> None:
    words = ["-b", "batch", *FAST, "--write-expression", "--expression-mask-var", "none_such"]
    done = cli("correct", file, *words, "-o", tmp_path / "out.h5ad")
    assert done.code == 1
    assert "var has no 'none_such'" in done.err[-1]
    assert list(tmp_path.iterdir()) == [file]


def test_equal_runs_give_equal_files(cli: Cli, file: Path, tmp_path: Path) -> None:
    outs = [tmp_path / "one.h5ad", tmp_path / "two.h5ad"]
    for out, threads in zip(outs, (1, 2), strict=True):
        words = ["-b", "batch", *FAST, "--write-expression", "--threads", threads]
        assert cli("correct", file, *words, "-o", out).code == 0
    assert outs[0].read_bytes() == outs[1].read_bytes()
