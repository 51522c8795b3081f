"""The command that ``check`` says to run next works as it stands; where none does, it says so."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import pandas as pd
import pytest

from mnncorrect._adata.libraries import LIBRARY_KEY

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Cli = Callable[..., Any]
    Make = Callable[..., anndata.AnnData]

# Clusters take longer than all else; one test finds some.
SMALL = ("--n-comps", "5", "--no-gmm")
FEW_CLUSTERS = ("--n-comps", "5", "--n-components", "1-2", "--n-dims", "3")


def _follow(
    cli: Cli, *words: object, most: int = 3, small: tuple[str, ...] = SMALL
) -> tuple[list[str], Any]:
    """Run check and then what it says to run; return the commands, and what the last one left."""
    commands, done = [], cli("check", *words)
    while len(commands) < most:
        following = done.out.splitlines()[-1]
        assert following.startswith("next "), done.out
        command = following.split(None, 1)[1]
        program, *rest = shlex.split(command) if command.startswith("mnncorrect") else [""]
        if not program:  # what is to be decided or mended, in words
            assert command.split()[0] in {"decide", "no"}, command
            break
        assert not commands or command != commands[-1]
        commands.append(command)
        done = cli(*rest, *(small if rest[0] == "run" else []))
        assert done.code == 0, (command, done.err)
        if rest[0] != "check":
            break
    return commands, done


KINDS = {
    "counts": lambda x: x,
    "logs": lambda x: np.log1p(1e3 * x / np.maximum(x.sum(1, keepdims=True), 1)),
    "fractions": lambda x: x * 0.93,
    "cpm": lambda x: 1e6 * x / np.maximum(x.sum(1, keepdims=True), 1),
    "scaled": lambda x: (x - x.mean(0)) / (x.std(0) + 1e-6),
    "binary": lambda x: (x > 0).astype(np.float32),
    "negative counts": lambda x: x - 1,
    "zero": lambda x: x * 0,
    "constant": lambda x: x * 0 + 3,
    "a batch of zeros": lambda x: x * (np.arange(len(x)) >= 40)[:, None],
    "nan": lambda x: np.where(x == x.max(), np.nan, x),
}
BESIDE = {
    "nothing": lambda adata, x: None,
    "raw counts": lambda adata, x: setattr(adata, "raw", anndata.AnnData(x, adata.obs, adata.var)),
    "layer of counts": lambda adata, x: adata.layers.__setitem__("my counts", x),
    "layer of scaled": lambda adata, x: adata.layers.__setitem__("scaled", KINDS["scaled"](x)),
    "empty cells": lambda adata, x: adata.X.__setitem__(slice(0, 5), 0),
}
COLUMNS = ("batch", "donor id", "lane-1", "weird column")


# Each kind of values with one other thing in the file; all with all take a minute.
PAIRS = [
    pytest.param(
        kind, beside, marks=() if (number + place) % len(BESIDE) == 0 else pytest.mark.slow
    )
    for number, kind in enumerate(KINDS)
    for place, beside in enumerate(BESIDE)
]


@pytest.mark.parametrize(("kind", "beside"), PAIRS)
def test_the_next_command_works(
    kind: str, beside: str, cli: Cli, made: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    column = COLUMNS[(len(kind) + len(beside)) % len(COLUMNS)]
    adata = made(sizes={"a": 40, "b c": 40})
    x = adata.X.toarray()
    adata.obs = adata.obs.rename(columns={"batch": column})
    adata.X = KINDS[kind](x).astype(np.float32)
    BESIDE[beside](adata, x)
    adata.write_h5ad("-my 'file'.h5ad")
    given = ["./-my 'file'.h5ad"]
    if (len(kind) + len(beside)) % 2:
        given += ["-b", column]
    if beside == "layer of scaled" and kind == "counts":
        given += ["--layer", "scaled"]
    _follow(cli, *given)


# anndata 0.11 takes an index without names for one of numbers.
@pytest.mark.filterwarnings("ignore:Transforming to str index")
@pytest.mark.parametrize(
    ("genes", "name"),
    [
        (30, "X_pca"),
        pytest.param(30, "PCA", marks=pytest.mark.slow),
        pytest.param(0, "X_pca", marks=pytest.mark.slow),
        (30, "X_umap"),
        (30, None),
    ],
)
def test_components_are_proposed_where_no_values_of_genes_are(
    genes: int, name: str | None, cli: Cli, made: Make, tmp_path: Path
) -> None:
    adata = made()
    adata = anndata.AnnData(obs=adata.obs, var=adata.var[:genes], shape=(adata.n_obs, genes))
    components = np.random.default_rng(0).normal(size=(adata.n_obs, 8))
    if name is not None:
        adata.obsm[name] = components
    adata.write_h5ad(tmp_path / "in.h5ad")
    given = (tmp_path / "in.h5ad", "-b", "batch", "--n-top-genes", "10", "--json")
    following = json.loads(cli("check", *given).out)["next"]
    if name in (None, "X_umap"):
        assert following is None
        return
    assert f"--use-rep {name}" in following
    out = tmp_path / "out.h5ad"
    words = shlex.split(following)[1:]
    words[words.index("-o") + 1] = str(out)
    assert cli(*words, "--n-components", "1-2").code == 0
    assert anndata.read_h5ad(out).obsm["X_mnn"].shape == components.shape
    assert cli("info", out).code == 0


def test_flags_of_the_call_are_in_the_next_command(
    cli: Cli, made: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    adata = made(sizes={"a": 40, "b": 40, "c d": 5})
    adata.layers["my counts"] = adata.X.copy()
    adata.X = np.log1p(adata.X)
    adata.write_h5ad("in.h5ad")
    (tmp_path / "in.corrected.h5ad").write_text("an output that is there already")
    words = ["--layer", "my counts", "--subset", "batch!=c d", "--memory-limit", "100M"]
    (command,), _ = _follow(cli, "in.h5ad", "-b", "batch", *words)
    for part in ("--layer 'my counts'", "--subset 'batch!=c d'", "--memory-limit 100M"):
        assert part in command
    assert (tmp_path / "in.corrected-2.h5ad").exists()


def test_scaled_values_lead_to_those_that_are_there_and_stay_so(
    cli: Cli, made: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    adata = made()
    adata.raw = adata.copy()
    adata.X = KINDS["scaled"](adata.X.toarray())
    adata.write_h5ad("in.h5ad")
    done = cli("check", "in.h5ad", "-b", "batch")
    assert done.code == 0
    assert any(line.startswith("fit         after a decision") for line in done.out.splitlines())
    assert "--use-raw" in done.out.splitlines()[-1]
    again = cli("check", "in.h5ad", "-b", "batch", "--use-raw")
    assert "fit         yes" in again.out.splitlines()
    assert "--use-raw" in again.out.splitlines()[-1]


def test_the_likeliest_column_that_is_fit_is_proposed(
    cli: Cli, made: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    adata = made()
    adata.obs["donor_id"] = adata.obs["batch"].astype(str)
    adata.obs["batch"] = adata.obs["batch"].astype(object).where(np.arange(80) > 2, None)
    adata.obs["leiden"] = pd.Categorical(["0", "1"] * 40)
    adata.write_h5ad("in.h5ad")
    found = json.loads(cli("check", "in.h5ad", "--json").out)
    assert list(found["candidates"]) == ["batch", "donor_id"]
    assert found["next"] == "mnncorrect check in.h5ad -b donor_id"
    assert found["decisions"]
    commands, _ = _follow(cli, "in.h5ad", small=FEW_CLUSTERS)
    assert len(commands) == 2
    assert "gmm" in anndata.read_h5ad("in.corrected.h5ad").obs


def test_a_sample_alone_is_fit_after_a_decision_about_the_batches(
    cli: Cli, made: Make, tmp_path: Path
) -> None:
    adata = made()
    del adata.obs["batch"]
    adata.write_h5ad(tmp_path / "in.h5ad")
    done = cli("check", tmp_path / "in.h5ad")
    assert done.code == 0
    (line,) = [line for line in done.out.splitlines() if line.startswith("fit")]
    for said in ("after a decision", "--batch-key", "'cell_type'"):
        assert said in line
    commands, _ = _follow(cli, tmp_path / "in.h5ad")
    assert not commands
    assert json.loads(cli("check", tmp_path / "in.h5ad", "--json").out)["next"] is None


def _scaled(adata: anndata.AnnData) -> None:
    adata.X = KINDS["scaled"](adata.X.toarray()).astype(np.float32)


def _many_scaled_genes(adata: anndata.AnnData) -> anndata.AnnData:
    _scaled(adata)
    return anndata.AnnData(np.hstack([adata.X] * 70)[:, :2001], obs=adata.obs)


def _with_gaps(adata: anndata.AnnData) -> None:
    adata.obs["batch"] = adata.obs["batch"].astype(object).where(np.arange(80) > 2, None)


def _with_single_cell(adata: anndata.AnnData) -> None:
    adata.obs["batch"] = ["lone cell", *adata.obs["batch"].astype(str)[1:]]


def _with_counts_beside(adata: anndata.AnnData) -> None:
    adata.layers["my counts"] = adata.X.copy()
    adata.X = adata.X.toarray()
    adata.X[3, 3] = np.nan


def _mixed_beside_raw(adata: anndata.AnnData) -> None:
    adata.raw = adata.copy()
    x = adata.X.toarray()
    x[:40] = np.log1p(x[:40])
    adata.X = x


# What is wrong, what the call says, and words of the command that works; none: nothing does.
UNFIT: dict[str, tuple[Callable[[anndata.AnnData], Any], list[str], list[str]]] = {
    "many scaled genes": (_many_scaled_genes, ["-b", "batch"], ["run", "--no-hvg", "--no-counts"]),
    "many scaled genes, no column": (_many_scaled_genes, [], ["run", "--no-hvg", "-b batch"]),
    "no such column": (lambda _: None, ["-b", "Batch"], ["check", "-b batch"]),
    "no such column, scaled": (_many_scaled_genes, ["-b", "x"], ["run", "--no-hvg", "-b batch"]),
    "a column of one batch": (
        lambda adata: adata.obs.__setitem__("lane", "1"), ["-b", "lane"], ["check", "-b batch"],
    ),
    "a column of cells": (
        lambda adata: adata.obs.__setitem__("id", adata.obs_names), ["-b", "id"],
        ["check", "-b batch"],
    ),
    "one batch": (lambda adata: adata.obs.__setitem__("batch", "a"), ["-b", "batch"], []),
    "gaps": (_with_gaps, ["-b", "batch"], ["check", "--subset"]),
    "a batch of one cell": (_with_single_cell, ["-b", "batch"], ["--subset 'batch!=lone cell'"]),
    "no such layer": (lambda _: None, ["-b", "batch", "--layer", "counts"], ["check in.h5ad -b"]),
    "no raw": (_with_counts_beside, ["-b", "batch", "--use-raw"], ["--layer 'my counts'"]),
    "not finite": (_with_counts_beside, ["-b", "batch"], ["--layer 'my counts'"]),
    "not finite, no such column": (_with_counts_beside, ["-b", "no"], ["--layer", "-b batch"]),
    "mixed values": (_mixed_beside_raw, ["-b", "batch"], ["--use-raw"]),
    "no gene is chosen": (
        lambda adata: adata.var.__setitem__("highly_variable", np.zeros(30, bool)),
        ["-b", "batch"], ["run", "--mask-var none"],
    ),
    "no such covariate": (lambda _: None, ["-b", "batch", "--covariate", "sex"], ["run"]),
    "no cell left": (lambda _: None, ["-b", "batch", "--subset", "batch=x"], []),
    "nothing but zeros": (lambda adata: adata.X.data.__imul__(0), ["-b", "batch"], []),
}  # fmt: skip


# Two faults at once that each have a case of their own.
SLOW = {"many scaled genes, no column", "no such column, scaled", "not finite, no such column"}
# Their fault is proposed for as another one is.
SLOW |= {"many scaled genes", "no raw", "mixed values", "no such covariate"}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if n in SLOW else ()) for n in UNFIT]
)
def test_the_next_command_of_what_is_not_fit_works(
    name: str, cli: Cli, made: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    change, given, parts = UNFIT[name]
    adata = made()
    changed = change(adata)
    (changed if isinstance(changed, anndata.AnnData) else adata).write_h5ad("in.h5ad")
    checked = cli("check", "in.h5ad", *given)
    assert checked.code == 1
    # After a check that is fit, the others above have followed.
    commands, _ = _follow(cli, "in.h5ad", *given, most=1)
    assert bool(commands) == bool(parts)
    for part in parts:
        assert part in commands[0]


@pytest.fixture
def aggregated(made: Make, tmp_path: Path) -> Path:
    adata = made(sizes={"1": 40, "2": 40, "11": 30})
    adata.obs_names = [f"ACGT{i:05d}-{b}" for i, b in enumerate(adata.obs["batch"])]
    del adata.obs["batch"]
    path = tmp_path / "aggr.h5ad"
    adata.write_h5ad(path)
    return path


def test_libraries_of_an_aggregate_are_the_batches_where_that_is_wanted(
    cli: Cli, aggregated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    commands, _ = _follow(cli, aggregated)
    assert all("--batch-from-barcode" in command for command in commands)
    assert [command.split()[1] for command in commands] == ["check", "run"]
    made = anndata.read_h5ad("aggr.corrected.h5ad")
    assert made.obs[LIBRARY_KEY].value_counts().to_dict() == {"1": 40, "2": 40, "11": 30}
    assert made.obs[LIBRARY_KEY].cat.categories.tolist() == ["1", "2", "11"]
    assert made.uns["mnn"]["params"]["key"] == LIBRARY_KEY
    planned = cli("run", aggregated, "--batch-from-barcode", "-o", "no.h5ad", "--dry-run")
    assert planned.code == 0
    assert LIBRARY_KEY in planned.out
    assert "3 batches" in planned.out
    for words in (["-b", "x", "--batch-from-barcode"], []):
        assert cli("correct", aggregated, "-o", "no.h5ad", *words).code == 2


def test_names_without_barcodes_are_refused_in_each_of_several_inputs(
    cli: Cli, aggregated: Path, made: Make, tmp_path: Path
) -> None:
    made(sizes={"x": 20}).write_h5ad(tmp_path / "one.h5ad")
    words = ["concat", aggregated, tmp_path / "one.h5ad", "-o", tmp_path / "o.h5ad"]
    done = cli(*words, "--batch-from-barcode")
    assert done.code == 1
    assert "20 of 20 cell names have no barcode" in done.err[-1]


def test_libraries_of_several_inputs_are_named_by_their_input(
    cli: Cli, aggregated: Path, made: Make, tmp_path: Path
) -> None:
    one = made(sizes={"x": 20})
    one.obs_names = [f"TTGT{i:05d}-1" for i in range(20)]
    one.write_h5ad(tmp_path / "one.h5ad")
    out = tmp_path / "joined.h5ad"
    done = cli("concat", aggregated, tmp_path / "one.h5ad", "-o", out, "--batch-from-barcode")
    assert done.code == 0, done.err
    names = anndata.read_h5ad(out).obs[LIBRARY_KEY].cat.categories.tolist()
    assert names == ["aggr-1", "aggr-11", "aggr-2", "one"]
    done = cli("check", out)
    assert f"{LIBRARY_KEY} (4)" in done.out


def test_a_doubted_batch_is_among_the_warnings_of_check(
    cli: Cli, made: Make, tmp_path: Path
) -> None:
    made(sizes={"a": 40, "NA": 40}).write_h5ad(tmp_path / "in.h5ad")
    done = cli("check", tmp_path / "in.h5ad", "-b", "batch")
    assert done.code == 0
    assert not any("warning" in line for line in done.err)
    (line,) = [line for line in done.out.splitlines() if line.startswith("warning")]
    assert "'NA'" in line
    assert "--subset 'batch!=NA'" in line


def test_what_the_user_has_made_is_not_replaced_by_the_next_command(
    cli: Cli, made: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    adata = made()
    adata.obs["gmm"] = adata.obs["cell_type"]
    adata.obsm["X_mnn"] = np.ones((80, 2), np.float32)
    adata.write_h5ad("in.h5ad")
    found = json.loads(cli("check", "in.h5ad", "-b", "batch", "--json").out)
    assert len(found["decisions"]) == 2
    (command,), _ = _follow(cli, "in.h5ad", "-b", "batch")
    assert "--key-added mnn2" in command
    assert "--no-gmm" in command
    again = anndata.read_h5ad("in.corrected.h5ad")
    assert (again.obsm["X_mnn"] == 1).all()
    assert "X_mnn2" in again.obsm


def test_what_is_proposed_is_judged_as_if_it_had_been_given(
    cli: Cli, made: Make, tmp_path: Path
) -> None:
    adata = made()
    x = adata.X.toarray()
    x[:40, :15], x[40:, 15:] = 0, 0
    adata.X = x
    adata.write_h5ad(tmp_path / "in.h5ad")
    for words in ([], ["-b", "batch"]):
        done = cli("check", tmp_path / "in.h5ad", *words)
        assert done.code == 1
        assert "no gene" in done.err[-1]
        assert "every batch" in done.err[-1]


def test_values_that_are_zero_lead_to_a_layer_that_has_some(
    cli: Cli, made: Make, tmp_path: Path
) -> None:
    adata = made()
    adata.layers["counts"] = adata.X.copy()
    adata.X = adata.X * 0
    adata.write_h5ad(tmp_path / "in.h5ad")
    done = cli("check", tmp_path / "in.h5ad", "-b", "batch")
    assert done.code == 1
    command = done.out.splitlines()[-1].split(None, 1)[1]
    assert command.split()[1] == "check"
    assert cli(*shlex.split(command)[1:]).code == 0


@pytest.mark.parametrize(("names", "by"), [
    pytest.param(names, by, marks=() if (number + place) % 2 == 0 else pytest.mark.slow)
    for number, names in enumerate(["alike", "versions", "column", "few", "other versions"])
    for place, by in enumerate(["files", "sheet"])
])  # fmt: skip
def test_the_next_command_for_several_inputs_works_or_check_fails(
    by: str, names: str, cli: Cli, made: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ids = [f"ENSG{i:011d}" for i in range(60)]
    for number, name in enumerate(("one's", "two")):
        adata = made(sizes={"x": 40}, seed=number, n_genes=60)
        adata.var["ids"] = ids
        if names.endswith("versions"):
            adata.var_names = [f"{gene}.{1 + number * (i % 3)}" for i, gene in enumerate(ids)]
        if names in {"column", "few"} and number:
            adata.var_names = [f"other{i}" if i > 5 else f"gene{i}" for i in range(60)]
        adata.write_h5ad(f"{name}.h5ad")
    (tmp_path / "my sheet.tsv").write_text("path\tbatch\none's.h5ad\tA\ntwo.h5ad\tNA\n")
    given = ["--sheet", "my sheet.tsv"] if by == "sheet" else ["one's.h5ad", "two.h5ad"]
    given += {"versions": ["--strip-versions"], "column": ["--gene-key", "ids"]}.get(names, [])
    if names == "few":
        first = cli("check", *given)
        assert first.code == 1
        given = shlex.split(first.out.splitlines()[-1].split(None, 1)[1])[2:]
    commands, done = _follow(cli, *given)
    assert done.code == 0
    # What is not given is proposed, where names match badly without it.
    for command in commands:
        assert ("--strip-versions" in command) == names.endswith("versions")
        assert ("--gene-key ids" in command) == (names in {"column", "few"})


def test_the_next_check_judges_what_is_kept_as_well(cli: Cli, made: Make, tmp_path: Path) -> None:
    adata = made()
    adata.obs["state"] = np.where(np.arange(adata.n_obs) % 2, "x", "y")
    adata.write_h5ad(tmp_path / "in.h5ad")
    words = ["--label-key", "state", "--keep", "state"]
    following = json.loads(cli("check", tmp_path / "in.h5ad", *words, "--json").out)["next"]
    assert following.startswith("mnncorrect check")
    assert " ".join(words) in following
