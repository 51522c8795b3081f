"""Labels that guide a correction, and what must not be removed, on objects and at the shell."""

from __future__ import annotations

import json
import logging
import tracemalloc
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import mnncorrect
from mnncorrect import pp
from mnncorrect._adata import take_batches
from mnncorrect._prepare.guides import connected, take_guides
from mnncorrect._wording import UsageError
from mnncorrect.cli.app import app
from mnncorrect.report import report_of

BATCHES = {"a": ("ctrl", "stim"), "b": ("ctrl", "stim")}


def make(batches: dict[str, tuple[str, ...]] | None = None, n: int = 45) -> anndata.AnnData:
    """Batches with conditions, each of three types; a batch effect and one of the condition."""
    rng = np.random.default_rng(0)
    obs, x = [], []
    for number, (batch, conditions) in enumerate((batches or BATCHES).items()):
        for condition in conditions:
            kind = np.arange(n) % 3
            cells = np.eye(8)[kind] * 9 + rng.normal(size=(n, 8)) * 0.6
            cells[:, 6] += 2.0 * number
            cells[:, 7] += 3.0 * (condition == "stim")
            x.append(cells)
            obs += [(batch, condition, f"type{k}") for k in kind]
    table = pd.DataFrame(obs, columns=["batch", "condition", "type"])
    table.index = [f"cell{i}" for i in range(len(table))]
    counts = np.random.default_rng(1).poisson(np.exp(np.vstack(x) / 4)[:, [0, 1, 2, 6, 7] * 3])
    return anndata.AnnData(
        np.log1p(counts).astype(np.float32), obs=table, obsm={"X_pca": np.vstack(x)}
    )


def known(adata: anndata.AnnData, **given: Any) -> Any:
    return take_guides(adata, take_batches(adata, "batch"), **given)


def labels_of(adata: anndata.AnnData, values: Any) -> Any:
    return known(adata, label_key=values).guides.labels


def cli(*words: object) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])


# ---------------------------------------------------------------------------------------- labels


def test_words_for_no_label_are_none_and_this_is_said():
    adata = make()
    adata.obs["cell_type"] = adata.obs["type"].astype(object)
    for row, word in enumerate([None, np.nan, "", "Unknown", " unassigned ", "NA", "unlabelled"]):
        adata.obs.iloc[row, adata.obs.columns.get_loc("cell_type")] = word
    found = known(adata, label_key="cell_type")
    assert (found.guides.labels[:7] == -1).all()
    assert (found.guides.labels[7:] >= 0).all()
    said = " ".join(found.told)
    assert "7 of 180 cells" in said
    assert "'Unknown'" in said


@pytest.mark.parametrize("form", ["categorical", "numbers", "booleans", "array", "series"])
def test_labels_may_have_any_form(form):
    adata = make()
    kind = (np.arange(180) % 45) % 3
    values: Any = {
        "categorical": pd.Categorical(kind.astype(str), categories=["2", "1", "0", "none there"]),
        "numbers": kind,
        "booleans": kind == 1,
        "array": kind.astype(str),
        "series": pd.Series(kind, index=adata.obs_names).sample(frac=1, random_state=0),
    }[form]
    if form in ("categorical", "numbers", "booleans"):
        adata.obs["own"] = values
        values = "own"
    codes = labels_of(adata, values)
    assert len(np.unique(codes)) == (2 if form == "booleans" else 3)
    same = codes[:, None] == codes
    truth = kind == 1 if form == "booleans" else kind
    np.testing.assert_array_equal(same, truth[:, None] == truth)


def test_labels_that_allow_no_pair_are_refused_with_what_is_spelled_otherwise():
    adata = make()
    first = adata.obs["batch"] == "a"
    adata.obs["own"] = np.where(first, adata.obs["type"], adata.obs["type"].str.upper())
    with pytest.raises(ValueError, match=r"no cell .* may be paired") as error:
        known(adata, label_key="own")
    assert "'TYPE0'" in str(error.value)
    assert "'type0'" in str(error.value)
    # With one cell that may be of any type there is something to pair.
    adata.obs.loc["cell0", "own"] = np.nan
    found = known(adata, label_key="own")
    assert any("spelling" in text for text in found.warnings)
    # A sign is no matter of spelling, and batches that have both forms mean both.
    adata.obs["own"] = np.where(adata.obs["type"] == "type0", "CD4+", "CD4-")
    assert not known(adata, label_key="own").warnings


@pytest.mark.parametrize(
    ("values", "told"),
    [("nope", "nope"), ("name", "180 values"), ("nothing", "no label"), (["x"] * 3, "3 values")],
)
def test_columns_that_are_no_labels_are_refused(values, told):
    adata = make()
    adata.obs["name"] = adata.obs_names
    adata.obs["nothing"] = np.nan
    with pytest.raises((KeyError, ValueError), match=told):
        pp.mnn_calibrated(adata, "batch", use_rep="X_pca", label_key=values)
    assert "mnn" not in adata.uns


@pytest.mark.parametrize("method", ["calibrated", "fast", "classic"])
def test_guides_are_recorded_and_act(method):
    adata = make()
    call = getattr(pp, f"mnn_{method}")
    more = {} if method == "classic" else {"use_rep": "X_pca"}
    call(adata, "batch", label_key="type", keep=["condition", "type"], **more)
    params = adata.uns["mnn"]["params"]
    assert params["label_key"] == "type"
    assert json.loads(params["keep"]) == ["condition", "type"]
    rows, columns = adata.obsp["mnn_pairs"].nonzero()
    for column in ("type", "condition"):
        values = adata.obs[column].to_numpy()
        assert (values[rows] == values[columns]).all()


def test_values_of_several_columns_are_told_apart_whatever_they_contain():
    adata = make()
    even = np.arange(adata.n_obs) // 2 % 2 == 0
    for sign in ", ", "/", " and ":
        adata.obs["one"] = np.where(even, f"x{sign}y", "x")
        adata.obs["other"] = np.where(even, "z", f"y{sign}z")
        known = take_guides(adata, take_batches(adata, "batch"), keep=["one", "other"])
        assert len(known.levels[1]) == 2


def test_an_array_takes_labels_of_its_rows_and_no_names_of_columns():
    adata = make()
    x, batch = adata.obsm["X_pca"], adata.obs["batch"].tolist()
    found = pp.mnn_integrate(x, batch, label_key=adata.obs["type"].tolist())
    pp.mnn_integrate(adata, "batch", label_key="type")
    np.testing.assert_array_equal(found, adata.obsm["X_mnn"])
    with pytest.raises(TypeError, match="label_key is 'type'"):
        pp.mnn_integrate(x, batch, label_key="type")


# ------------------------------------------------------------------------------------------ keep


def test_a_covariate_that_is_the_batch_is_refused_before_work():
    adata = make({"a": ("ctrl",), "b": ("stim",)})
    with pytest.raises(ValueError, match=r"obs\['condition'\] occurs in two batches"):
        pp.mnn_fast(adata, "batch", use_rep="X_pca", keep="condition")
    with pytest.raises(ValueError, match="occurs in two batches"):
        mnncorrect.plan(adata, "batch", use_rep="X_pca", keep="condition")


def test_groups_of_batches_that_share_no_value_are_named_and_stay_apart():
    adata = make({"a": ("ctrl",), "b": ("ctrl",), "c": ("stim",), "d": ("stim",)}, 90)
    with pytest.warns(UserWarning, match=r"a \+ b \| c \+ d") as told:
        pp.mnn_calibrated(adata, "batch", use_rep="X_pca", keep="condition")
    assert "are not removed" in str(told[0].message)
    x = pd.DataFrame(adata.obsm["X_mnn"]).groupby(adata.obs["batch"].to_numpy()).mean()
    assert np.linalg.norm(x.loc["a"] - x.loc["b"]) < 0.5
    assert abs(x.loc["c", 7] - x.loc["a", 7] - 3) < 0.5
    assert "kept" not in adata.uns["mnn"]
    assert json.loads(adata.uns["mnn"]["warnings"])


def test_columns_are_connected_over_the_rows_that_they_share():
    rng = np.random.default_rng(0)
    for _ in range(30):
        table = (rng.random(rng.integers(1, 8, 2)) < 0.3).astype(np.int64)
        group = list(range(table.shape[1]))
        for row in table:
            shared = {group[at] for at in np.flatnonzero(row)}
            group = [min(shared) if its in shared else its for its in group]
        assert connected(table) == [
            [at for at, its in enumerate(group) if its == one] for one in sorted(set(group))
        ]


def test_the_memory_for_connected_columns_is_not_their_square():
    table = np.ones((2, 3000), np.int64)
    tracemalloc.start()
    assert len(connected(table)) == 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3000**2


def test_a_value_of_one_batch_alone_is_warned_of():
    adata = make({"a": ("ctrl",), "b": ("ctrl", "stim")})
    with pytest.warns(UserWarning, match=r"in one batch only: stim \(b\)"):
        pp.mnn_fast(adata, "batch", use_rep="X_pca", keep="condition")


@pytest.mark.parametrize(
    ("keep", "told"),
    [
        ("some", "missing for 5 of 180"),
        ("name", "180 values"),
        ("nope", "nope"),
        (["condition", "nope"], "nope"),
        ([1, 2, 3], "obs has no 1"),
    ],
)
def test_what_cannot_be_kept_is_refused(keep, told):
    adata = make()
    adata.obs["some"] = adata.obs["condition"].where(np.arange(180) >= 5)
    adata.obs["name"] = adata.obs_names
    with pytest.raises((KeyError, ValueError), match=told):
        pp.mnn_calibrated(adata, "batch", use_rep="X_pca", keep=keep)


def test_one_value_is_warned_of_as_it_protects_nothing():
    adata = make({"a": ("ctrl",), "b": ("ctrl",)})
    with pytest.warns(UserWarning, match="nothing to keep"):
        pp.mnn_fast(adata, "batch", use_rep="X_pca", keep="condition")


def test_what_was_kept_is_measured_and_survives_a_file(tmp_path, caplog):
    adata = make()
    with caplog.at_level(logging.INFO, logger="mnncorrect"):
        pp.mnn_calibrated(adata, "batch", use_rep="X_pca", keep="condition")
    assert any("1 is all" in text for text in caplog.messages)
    adata.write_h5ad(tmp_path / "kept.h5ad")
    table = anndata.read_h5ad(tmp_path / "kept.h5ad").uns["mnn"]["kept"]
    assert set(zip(table["batch"], table["value"], strict=True)) == {
        (batch, condition) for batch in "ab" for condition in ("ctrl", "stim")
    }
    assert (table["cells"] == 45).all()
    assert (abs(table["kept"] - 1) < 0.1).all()


@pytest.mark.slow
def test_info_and_report_show_what_was_kept(tmp_path):
    adata = make()
    pp.mnn_calibrated(adata, "batch", use_rep="X_pca", keep="condition")
    path = tmp_path / "kept.h5ad"
    # A value that the correction removed for the greater part is listed first and warned of.
    table = adata.uns["mnn"]["kept"]
    table.loc[table.index[-1], "kept"] = 0.31
    adata.write_h5ad(path)
    told = cli("info", path)
    assert told.exit_code == 0
    lines = told.stdout.splitlines()
    (head,) = [at for at, line in enumerate(lines) if "kept in batch" in line]
    assert lines[head + 1].split() == [*table.iloc[-1][["batch", "value"]], "45", "0.31"]
    as_json = json.loads(cli("info", path, "--json").stdout)
    assert len(as_json["corrections"]["mnn"]["kept"]) == len(table) == 4
    assert as_json["corrections"]["mnn"]["kept"][-1]["kept"] == pytest.approx(0.31)
    page = report_of(adata, "kept.h5ad")
    assert "Kept differences" in page
    assert "0.31" in page
    assert "to be kept has changed" in page


# ------------------------------------------------------------------------------------ run, shell


def test_run_guides_only_if_asked(tmp_path):
    adata = make()
    with pytest.raises(UsageError, match="guide=True"):
        mnncorrect.run(adata, "batch", label_key="type", gmm=False)
    with pytest.raises(UsageError, match="label_key"):
        mnncorrect.run(adata, "batch", guide=True, gmm=False)
    with pytest.raises(UsageError, match="not to cluster"):
        mnncorrect.run(
            adata, "batch", method="cluster", clusters="type", guide=True, label_key="type"
        )
    plain = mnncorrect.run(adata, "batch", use_rep="X_pca", gmm=False, copy=True)
    assert "label_key" not in plain.uns["mnn"]["params"]
    guided = mnncorrect.run(
        adata, "batch", use_rep="X_pca", label_key="type", guide=True, gmm=False, copy=True
    )
    assert guided.uns["mnn"]["params"]["label_key"] == "type"


def test_the_shell_guides_checks_and_describes(tmp_path):
    path, out = tmp_path / "in.h5ad", tmp_path / "out.h5ad"
    make().write_h5ad(path)
    checked = cli("check", path, "-b", "batch", "--label-key", "type", "--keep", "condition")
    assert checked.exit_code == 0
    assert "/obs/type" in checked.stdout
    assert "/obs/condition" in checked.stdout
    following = checked.stdout.splitlines()[-1].split()
    assert "--guide" in following
    assert following[following.index("--keep") + 1] == "condition"
    words = ["-b", "batch", "--use-rep", "X_pca", "-o", out, "--keep", "condition"]
    described = cli("run", path, *words, "--label-key", "type", "--guide", "--dry-run")
    assert described.exit_code == 0
    assert "/obs/condition" in described.stdout
    assert not out.exists()
    assert cli("correct", path, *words, "--keep", "type", "--label-key", "type").exit_code == 0
    params = anndata.read_h5ad(out).uns["mnn"]["params"]
    assert params["label_key"] == "type"
    assert json.loads(params["keep"]) == ["condition", "type"]
    refused = cli("correct", path, *words, "--force", "--keep", "batch")
    assert refused.exit_code == 1
    assert "--keep" in refused.stderr
    idle = cli("run", path, *words, "--force", "--label-key", "type")
    assert idle.exit_code == 2
    assert "--guide" in idle.stderr
    unfit = cli("check", path, "-b", "batch", "--keep", "batch")
    assert unfit.exit_code == 1
    assert "/obs/batch" in unfit.stderr


def test_the_report_says_the_command_that_guides(tmp_path):
    from mnncorrect.report.collect.command import command_of

    adata, given = make(), {"use_rep": "X_pca", "keep": ["condition", "type"]}
    mnncorrect.run(adata, "batch", label_key="type", guide=True, n_components=[2], **given)
    text = command_of(adata.uns["mnn"], "mnn")["text"]
    assert "mnncorrect run" in text
    assert "--label-key type" in text
    assert "--guide" in text
    assert "--keep condition --keep type" in text
    path, out = tmp_path / "in.h5ad", tmp_path / "out.h5ad"
    make().write_h5ad(path)
    words = ["--use-rep", "X_pca", "--label-key", "type"]
    assert cli("correct", path, "-b", "batch", "-o", out, *words).exit_code == 0
    text = command_of(anndata.read_h5ad(out).uns["mnn"], "mnn")["text"]
    assert "mnncorrect correct" in text
    assert "--label-key type" in text
    assert "--guide" not in text
