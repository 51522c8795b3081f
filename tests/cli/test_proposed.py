"""Every command that ``check`` proposes has every option that it was given, and works."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import typer

from mnncorrect._prepare.method_registry import method_names, owners_of
from mnncorrect.cli.app import app

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import anndata

# What an option is given, by the name of its parameter; none: it is a switch.
GIVEN: dict[str, list[str]] = {
    "output": ["-o", "my out.h5ad"], "force": ["--force"], "save_model": ["--save-model", "m.mnn"],
    "batch_key": ["-b", "batch"], "layer": ["--layer", "my counts"],
    "subset": ["--subset", "batch!=c d"], "covariate": ["--covariate", "sex"],
    "method": ["--method", "METHOD"], "clusters": ["--clusters", "cell_type"],
    "correct_all": ["--correct-all"], "n_neighbors": ["--n-neighbors", "7"],
    "prop_neighbors": ["--prop-neighbors", "0.1"], "sigma": ["--sigma", "0.2"],
    "cosine_norm_in": ["--no-cosine-norm-in"], "cosine_norm_out": ["--no-cosine-norm-out"],
    "n_svd": ["--n-svd", "1"], "adjust_variance": ["--no-adjust-variance"],
    "cosine_norm": ["--no-cosine-norm"], "n_comps": ["--n-comps", "4"],
    "batch_weights": ["--batch-weights", "a=2,b=1"], "ndist": ["--ndist", "2.5"],
    "min_batch_size": ["--min-batch-size", "0.01"], "merge_order": ["--merge-order", "b,a"],
    "reference": ["--reference", "b"], "restrict": ["--restrict", "good"],
    "label_key": ["--label-key", "cell_type"], "guide": ["--guide"], "keep": ["--keep", "sex"],
    "smoothing": ["--smoothing", "global"], "neighbors": ["--neighbors", "exact"],
    "recall": ["--recall", "0.9"], "sketch": ["--sketch", "all"],
    "key_added": ["--key-added", "fine"], "adjusted_basis": ["--adjusted-basis", "X_mine"],
    "write_expression": ["--write-expression"], "expression_scale": ["--expression-scale", "log"],
    "expression_mask_var": ["--expression-mask-var", "chosen"],
    "expression_clip": ["--expression-clip"], "counts": ["--counts"],
    "normalize": ["--no-normalize"], "log1p": ["--no-log1p"],
    "keep_normalized": ["--no-keep-normalized"], "n_top_genes": ["--n-top-genes", "9"],
    "pca": ["--pca"], "gmm": ["--gmm"], "umap": ["--umap"], "report": ["--report", "r.html"],
    "n_dims": ["--n-dims", "3"], "n_components": ["--n-components", "1,2"],
    "random_state": ["--seed", "5"], "n_jobs": ["--threads", "1"],
    "memory_limit": ["--memory-limit", "90M"], "min_counts": ["--min-counts", "2"],
    "min_genes": ["--min-genes", "1"], "regress_out": ["--regress-out", "stress"],
}  # fmt: skip
# Options that leave no room for some of those: what they are given, and what then goes.
INSTEAD: dict[str, tuple[list[str], list[str]]] = {
    "use_raw": (["--use-raw"], ["layer"]),
    "use_rep": (
        ["--use-rep", "X_some"],
        ["layer", "counts", "normalize", "log1p", "keep_normalized", "n_top_genes", "n_comps",
         "cosine_norm", "correct_all", "batch_weights", "write_expression", "expression_scale",
         "expression_mask_var", "expression_clip", "min_counts", "min_genes", "regress_out"],
    ),
    "expression_counts": (["--expression-counts"], ["expression_clip", "log1p"]),
    "hvg": (["--no-hvg"], ["n_top_genes"]),
    "mask_var": (["--mask-var", "chosen"], ["n_top_genes"]),
    "auto_merge": (["--auto-merge"], ["merge_order"]),
    "batch_from_barcode": (["--batch-from-barcode"], ["batch_key", "subset"]),
}  # fmt: skip
# For several inputs only.
SEVERAL = {"gene_key": ["--gene-key", "ids"], "strip_versions": ["--strip-versions"]}
# The inputs, what is not of the run, and what says how check prints.
OTHERS = {
    "workers",
    "scheduler",
    "inputs",
    "leiden",
    "max_mito",
    "sheet",
    "as_json",
    "help_all",
    "verbose",
    "quiet",
    "log_file",
    "debug",
}


# Options that belong to some methods, though these have no parameter of the name.
OWNERS = {
    "pca": ["classic"], "n_comps": ["calibrated", "fast", "classic"],
    "guide": ["calibrated", "fast", "classic"], "save_model": ["calibrated", "fast", "cluster"],
    "write_expression": ["calibrated", "fast", "cluster"], "expression_scale": ["fast", "cluster"],
    "expression_mask_var": ["calibrated", "fast", "cluster"],
    "expression_clip": ["fast", "cluster", "classic"],
    "expression_counts": ["fast", "cluster", "classic"],
}  # fmt: skip


def _fits(method: str, name: str) -> bool:
    owners = OWNERS.get(name) or owners_of(name)
    return not owners or method in owners


@pytest.fixture
def file(made: Callable[..., anndata.AnnData], tmp_path: Path) -> Path:
    adata = made(sizes={"a": 40, "b": 40, "c d": 30})
    adata.obs["sex"] = np.where(np.arange(adata.n_obs) % 3, "f", "m")
    adata.obs["stress"] = np.sin(np.arange(adata.n_obs))
    adata.obs["good"] = np.arange(adata.n_obs) % 5 > 0
    adata.var["chosen"] = np.arange(adata.n_vars) < 25
    adata.var["ids"] = [f"id{i}" for i in range(adata.n_vars)]
    adata.layers["my counts"] = adata.X.copy()
    adata.obsm["X_some"] = adata.X.toarray()[:, :6]
    adata.raw = adata.copy()
    adata.obs_names = [
        f"{''.join('ACGT'[(i >> 2 * k) & 3] for k in range(16))}-{1 + i // 2 % 2}"
        for i in range(adata.n_obs)
    ]
    path = tmp_path / "in.h5ad"
    adata.write_h5ad(path)
    return path


def _all_of(method: str, leaving_out: tuple[str, ...] | list[str] = ()) -> list[list[str]]:
    some = [
        given for name, given in GIVEN.items() if _fits(method, name) and name not in leaving_out
    ]
    return [["--method", method] if given[0] == "--method" else given for given in some]


def _has(command: list[str], given: list[str]) -> bool:
    at = [i for i, word in enumerate(command) if word == given[0]]
    return any(command[i : i + len(given)] == given for i in at)


def _proposed(cli: Any, *words: object) -> list[str]:
    done = cli("check", *words, "--json")
    assert done.code < 2, done.err
    told = json.loads(done.out)
    assert told["next"] is not None, told["problems"]
    return shlex.split(told["next"])


def _works(cli: Any, command: list[str]) -> None:
    program, *words = command[1:]
    done = cli(program, *words, *(["--dry-run"] if program == "run" else []))
    assert done.code == 0, (command, done.err)


def _assert_kept(cli: Any, given: list[list[str]], command: list[str]) -> None:
    lost = [one for one in given if not _has(command, one)]
    if command[1] == "run":
        lost = [one for one in lost if one[0] != "--covariate"]  # run has no such option
    assert not lost, command
    _works(cli, command)


def test_all_options_of_check_are_tried_here() -> None:
    known = typer.main.get_command(app)
    names = {name: {p.name for p in known.commands[name].params} for name in ("check", "run")}  # type: ignore[attr-defined]
    assert names["check"] == OTHERS | set(GIVEN) | set(INSTEAD) | set(SEVERAL)
    # Whatever run takes can be checked.
    assert names["run"] - names["check"] == {"dry_run"}


@pytest.mark.parametrize("method", method_names())
def test_a_fit_input_leads_to_a_run_with_all_options(
    method: str, cli: Any, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    given = _all_of(method)
    command = _proposed(cli, file, *[word for one in given for word in one])
    assert command[1] == "run"
    _assert_kept(cli, given, command)


@pytest.mark.parametrize("name", INSTEAD)
def test_options_that_exclude_others_are_kept_as_well(
    name: str, cli: Any, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    words, gone = INSTEAD[name]
    gone = [*gone, "batch_weights", "merge_order", "reference"]  # which name batches
    given = [*_all_of("fast" if name == "auto_merge" else "calibrated", gone), words]
    command = _proposed(cli, file, *[word for one in given for word in one])
    _assert_kept(cli, given, command)


@pytest.mark.parametrize("method", method_names())
@pytest.mark.parametrize("changed", ["batch_key", "layer"])
def test_a_proposed_check_has_all_options_but_the_one_that_it_changes(
    method: str, changed: str, cli: Any, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    wrong = {"batch_key": [], "layer": ["--layer", "none of these"]}[changed]
    given = _all_of(method, [changed])
    command = _proposed(cli, file, *[word for one in given for word in one], *wrong)
    assert command[1] == "check"
    _assert_kept(cli, given, command)


@pytest.mark.slow
@pytest.mark.parametrize("name", SEVERAL)
def test_several_inputs_keep_their_options(
    name: str, cli: Any, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    (file.parent / "two.h5ad").write_bytes(file.read_bytes())
    (file.parent / "s.tsv").write_text("path\tbatch\nin.h5ad\tA\ntwo.h5ad\tB\n")
    given = [SEVERAL[name], ["--seed", "5"], ["--keep", "sex"], ["--umap"]]
    words = [word for one in given for word in one]
    _assert_kept(cli, given, _proposed(cli, file, "two.h5ad", *words))
    _assert_kept(cli, [*given, ["--sheet", "s.tsv"]], _proposed(cli, "--sheet", "s.tsv", *words))


def test_values_that_are_scaled_lead_to_a_run_with_all_options(
    cli: Any, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import anndata

    monkeypatch.chdir(file.parent)
    adata = anndata.read_h5ad(file)
    x = adata.X.toarray()
    adata = anndata.AnnData(
        np.hstack([(x - x.mean(0)) / (x.std(0) + 1e-6)] * 70)[:, :2001], obs=adata.obs
    )
    adata.write_h5ad(file)
    gone = ["layer", "counts", "n_top_genes", "normalize", "log1p", "keep_normalized"]
    gone += ["expression_mask_var", "min_counts", "min_genes"]
    given = _all_of("calibrated", gone)
    command = _proposed(cli, file, *[word for one in given for word in one])
    assert command[1] == "run"
    _assert_kept(cli, [*given, ["--no-counts"], ["--no-hvg"]], command)


def test_the_next_check_keeps_covariates_that_exist(
    cli: Any, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    words = ["--covariate", "sex", "--covariate", "no such", "--use-raw", "--layer", "my counts"]
    command = _proposed(cli, file, *words[:4], "--layer", "none of these", "-b", "batch")
    assert command[1] == "check"
    assert _has(command, ["--covariate", "sex"])
    assert "no such" not in command


def test_symbols_that_a_filter_needs_are_proposed(
    cli: Any, made: Callable[..., anndata.AnnData], tmp_path: Path
) -> None:
    adata = made(sizes={"a": 40, "b": 40})
    adata.var["symbol"] = ["MT-ND1", *adata.var_names[1:]]
    adata.var_names = [f"ENSG{number:011d}" for number in range(adata.n_vars)]
    adata.write_h5ad(tmp_path / "in.h5ad")
    command = _proposed(cli, tmp_path / "in.h5ad", "-b", "batch", "--max-mito", 99)
    assert command[command.index("--gene-key") + 1] == "symbol"
    _works(cli, command)
