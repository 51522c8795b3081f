"""The report: what it says, that nothing in a file breaks it, that it needs nothing else."""

from __future__ import annotations

import base64
import io
import json
import re
import shlex
import shutil
import subprocess
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import anndata
import numpy as np
import pandas as pd
import pytest
from markupsafe import escape
from PIL import Image
from typer.testing import CliRunner

import mnncorrect
from mnncorrect import pp, tl
from mnncorrect._adata import provenance
from mnncorrect._adata.lookup import printable
from mnncorrect._prepare.steps import asked_by_correct
from mnncorrect.cli.app import app
from mnncorrect.report import make_report, report_of
from mnncorrect.report.collect import placement
from mnncorrect.report.collect.advice_on_correction import advise
from mnncorrect.report.collect.advice_on_projection import advise_projected
from mnncorrect.report.collect.facts import gather_correction
from mnncorrect.report.collect.report_options import ReportOptions
from mnncorrect.report.draw import maps
from mnncorrect.report.draw.templates import POLICY

# Names that would do harm if they got into a page as they are.
EVIL = ['</script><script>alert("x")</script>', "<img src=x onerror=alert(1)>", "b&b 'c' \x07 é"]


class Strict(HTMLParser):
    """Reads a page, and keeps what a test asks for; elements must close in their order."""

    def __init__(self):
        super().__init__()
        self.open, self.elements, self.text, self.ids = [], [], [], []
        self.script = []

    def handle_starttag(self, name, attributes):
        self.elements.append((name, dict(attributes)))
        self.ids += [value for key, value in attributes if key == "id"]
        if name not in {"meta", "img", "br", "hr"}:
            self.open.append(name)

    def handle_endtag(self, name):
        assert self.open.pop() == name

    def handle_data(self, data):
        (self.script if self.open[-1:] == ["script"] else self.text).append(data)


def check_picture(source):
    """A drawing parses, and asks for nothing outside of it."""
    drawn = base64.b64decode(source.partition(",")[2]).decode()
    for element in ET.fromstring(drawn).iter():
        assert not element.tag.endswith("script")
        for key, value in element.attrib.items():
            assert not key.startswith("on")
            assert not key.endswith("href") or value.startswith(("#", "data:"))
    assert not re.search(r"url\((?!#)|@import", drawn)


def read(text):
    """Parse a page and check what holds for each."""
    parser = Strict()
    parser.feed(text)
    parser.close()
    assert parser.open == []
    assert text.startswith("<!DOCTYPE html>")
    assert len(set(parser.ids)) == len(parser.ids)
    names = {name for name, _ in parser.elements}
    assert not names & {"link", "iframe", "object", "embed", "form", "audio", "video", "base"}
    for name, attributes in parser.elements:
        assert not any(key.startswith("on") for key in attributes), attributes
        assert "srcset" not in attributes
        if name == "script":
            assert attributes == {"type": "application/json", "id": "mnncorrect-report"}
        if name == "img":
            assert re.match(r"data:image/(png|svg\+xml);base64,", attributes["src"])
            assert attributes["alt"]
            if "svg" in attributes["src"][:20]:
                check_picture(attributes["src"])
        if name == "a":
            assert attributes["href"][1:] in parser.ids
    assert not re.search(r"url\(|@import|(src|href)\s*=\s*[\"']?\s*(https?:|//)", text)
    parser.data = json.loads("".join(parser.script))
    return parser


@pytest.fixture(scope="module")
def corrected():
    """Cells in three batches of evil names, corrected by the calibrated method, with clusters."""
    rng = np.random.default_rng(1)
    kind = np.repeat([0, 1, 2], 40)
    genes = rng.gamma(0.6, 2.0, size=(3, 30))[kind] + 0.3 * rng.normal(size=(120, 30)) + 2
    batch = np.arange(120) % 3
    genes[batch == 1, ::2] += 1.5
    genes[batch == 2, :15] += 1.5
    adata = anndata.AnnData(genes.astype(np.float32))
    adata.var_names = [f"<gene {g}>" for g in range(30)]
    adata.obs["donor"] = pd.Categorical([EVIL[b] for b in batch])
    adata.obs["cell_type"] = pd.Categorical([["T", "B<", None][k] for k in kind])
    adata.obs["sex"] = pd.Categorical([["f", "f", "m"][b] for b in batch])
    adata.obs["same"] = [f"run {b}" for b in batch]
    adata.obs["even"] = (np.arange(120) // 3 % 2).astype(bool)
    adata.obs["depth"] = batch + rng.normal(size=120)
    pp.mnn_calibrated(adata, "donor", n_comps=8, n_jobs=1)
    tl.gmm(adata, n_components=[1, 2, 3, 4], n_jobs=1, covariance_type="diag")
    # Scores as they are stored, so that tests need not wait for them.
    adata.uns["mnn_evaluation"] = {
        "scores": pd.DataFrame(
            {"before": [0.1, np.nan], "after": [0.9, 0.5], "null": [0.95, 0.99]},
            index=["cilisi", "preserved"],
        ),
        "lost_variance": pd.DataFrame(
            {
                "batch": EVIL[:2],
                "label": ["", ""],
                "cells": [40, 40],
                "before": [1.0, 1.0],
                "after": [0.95, 0.5],
                "lost": [0.05, 0.5],
            },
            index=["0", "1"],
        ),
        "null": pd.DataFrame(
            {"seed": [0, 1], "cilisi": [0.94, 0.96], "cilisi_before": [0.88, 0.92]}
        ),
        "params": {"key": "donor", "label_key": "cell_type", "n_splits": 5, "use_rep": "X_mnn"},
        "provenance": provenance(0),
        "correction": adata.uns["mnn"]["digest"],
    }
    return adata


@pytest.fixture(scope="module")
def text(corrected):
    return report_of(corrected.copy(), "<name> & co.h5ad", label_key="cell_type")


def test_a_page_is_whole_and_needs_nothing_else(text):
    found = read(text)
    assert len(text.encode()) < 1e6
    assert ("meta", {"http-equiv": "Content-Security-Policy", "content": POLICY}) in (
        found.elements
    )
    assert found.elements[0] == ("html", {"lang": "en"})
    assert [key["name"] for name, key in found.elements if name == "meta" and "name" in key] == [
        "viewport",
        "generator",
    ]


def test_names_are_shown_as_they_are_and_do_no_harm(text, corrected):
    found = read(text)
    shown = "".join(found.text)
    for name in (*EVIL[:2], "<gene ", "B<", "<name> & co.h5ad"):
        assert name in shown
        assert name not in text
    assert "\x07" not in text
    assert found.data["batches"]["names"] == corrected.uns["mnn"]["batches"].tolist()


def test_numbers_are_there_for_programs(text, corrected):
    data = read(text).data
    assert (data["n_cells"], data["n_genes"]) == corrected.shape
    assert data["batches"]["sizes"] == [40, 40, 40]
    assert data["parameters"]["method"] == "calibrated"
    pairs = [merge["pairs"] for merge in data["merges"]]
    assert pairs == corrected.uns["mnn"]["merges"]["pairs"].tolist()
    scores = {row["score"]: row for row in data["evaluation"]["scores"]}
    expected = {"score": "cilisi", "before": 0.1, "after": 0.9, "null": 0.95}
    assert scores["cilisi"] == expected | {"null_low": 0.94, "null_high": 0.96, "null_before": 0.9}
    assert scores["preserved"]["before"] is None
    counts = np.array(data["clusters"]["counts"])
    assert counts.sum() == 120
    assert data["format"] == "mnncorrect report 1"
    assert {entry["title"] for entry in data["advice"]} >= {"Variance was lost"}


@pytest.mark.slow
def test_equal_objects_give_equal_pages_from_memory_and_from_a_file(text, corrected, tmp_path):
    path = tmp_path / "corrected.h5ad"
    corrected.write_h5ad(path)
    assert make_report([path]) == report_of(corrected.copy(), "corrected.h5ad")


def test_changes_of_genes_are_those_of_the_expression_that_components_stand_for(corrected):
    found = gather_correction(corrected.copy(), "x", ReportOptions())
    moved = corrected.obsm["X_mnn"] - corrected.obsm["X_mnn_uncorrected"]
    change = moved @ corrected.varm["mnn_loadings"].T
    root = np.sqrt(np.square(change, dtype=np.float64).mean(0))
    table = found.facts["genes"]["table"]
    order = np.argsort(-root)[: len(table)]
    assert [row["gene"] for row in table] == corrected.var_names[order].tolist()
    # Components are float32: seven digits, of which a few go in the sum over cells.
    assert np.allclose([row["change"] for row in table], root[order], rtol=1e-4)
    codes = corrected.obs["donor"].cat.codes.to_numpy()
    means = [change[codes == code][:, order[0]].mean() for code in range(3)]
    assert np.allclose(table[0]["by_batch"], means, atol=1e-5)


def test_covariates_are_told_apart_from_the_batch_where_they_can(corrected):
    found = gather_correction(
        corrected.copy(), "x", ReportOptions(label_key="cell_type", evaluate=False)
    )
    by_name = {entry["name"]: entry for entry in found.facts["covariates"]}
    assert set(by_name) == {"sex", "same", "even", "depth"}
    assert by_name["same"]["identical"]
    assert by_name["sex"]["fixed"]
    assert not by_name["sex"]["identical"]
    assert by_name["depth"]["kind"] == "numbers"
    assert 0.3 < by_name["depth"]["strength"] < 0.9
    assert by_name["even"]["strength"] < 0.1
    said = {advice.title: advice.text for advice in advise(found.facts)}
    assert "sex" in said["Covariates confounded with the batch"]
    assert "same" in said["Other names of the batch"]


def facts(**changes):
    """What is known of a correction with nothing to say of, but for some changes."""
    merge = {"left": ["a"], "right": ["b"], "pairs": 500, "skipped": False, "lost_variance": {}}
    return {
        "batches": {"names": ["a", "b"], "sizes": [400, 300]},
        "merges": [merge],
        "confidence": None,
        "clusters": None,
        "covariates": [],
        "input_warnings": [],
        "about": "correction",
        "kept": None,
        "mixing": None,
        "parameters": {"method": "fast"},
        "evaluation": {"scores": [], "parameters": {}},
    } | {name: [merge | value] if name == "merges" else value for name, value in changes.items()}


CLUSTERS = {
    "names": ["0"],
    "counts": [[9, 9]],
    "converged": True,
    "bic": None,
    "criterion": "icl",
    "n_components": 1,
    "n_clusters": 1,
}
LOW = {"name": "b", "cells": 9, "median": 0.0, "below": 0.8}


@pytest.mark.parametrize(
    ("changes", "title", "level"),
    [
        ({"merges": {"pairs": 10}}, "Few pairs", "warning"),
        ({"merges": {"skipped": True}}, "Batches left alone", "note"),
        ({"merges": {"recall": 0.8}}, "Pairs were missed", "warning"),
        ({"merges": {"lost_variance": {"b": 0.11}}}, "Variance was lost", "warning"),
        (
            {"confidence": {"threshold": 0.1, "by_batch": [LOW], "by_cluster": None}},
            "Cells without a counterpart",
            "note",
        ),
        (
            {"confidence": {"threshold": 0.1, "by_batch": [], "by_cluster": [LOW]}},
            "Clusters without a counterpart",
            "note",
        ),
        ({"evaluation": {"scores": None, "reason": "why"}}, "No scores", "note"),
        (
            {"evaluation": {"scores": [{"score": "preserved", "after": 0.5, "null": 0.9}]}},
            "Neighborhoods changed",
            "warning",
        ),
        (
            {"evaluation": {"scores": [{"score": "preserved", "after": 0.7, "null": 0.7}]}},
            "what needs no change",
            "note",
        ),
        (
            {"evaluation": {"scores": [{"score": "cilisi", "before": 0.5, "after": 0.4}]}},
            "Batches mix less than before",
            "warning",
        ),
        ({"clusters": CLUSTERS | {"converged": False}}, "Clusters have not converged", "warning"),
        (
            {"clusters": CLUSTERS | {"bic": [{"n_components": n} for n in (0, 1)]}},
            "More clusters may fit better",
            "note",
        ),
        (
            {"kept": [{"batch": "a", "value": "stim", "cells": 90, "kept": 0.4}]},
            "to be kept has changed",
            "warning",
        ),
        ({"clusters": CLUSTERS | {"counts": [[9, 0]]}}, "Clusters of one batch", "note"),
        ({"batches": {"names": ["a", "b"], "sizes": [400, 30]}}, "Small batches", "note"),
    ],
)
def test_what_should_be_known_is_said(changes, title, level):
    usual = {advice.title for advice in advise(facts())}
    assert usual == {"Not for differential expression"}
    (found,) = [advice for advice in advise(facts(**changes)) if advice.title not in usual]
    assert title in found.title
    assert found.level == level
    assert found.text
    assert found.remedy


def test_where_all_was_left_alone_no_batch_is_said_to_lack_counterparts():
    low = {
        "threshold": 0.1,
        "by_batch": [LOW | {"name": name} for name in "ab"],
        "by_cluster": None,
    }
    told = {one.title for one in advise(facts(merges={"skipped": True}, confidence=low))}
    assert told == {"Batches left alone", "Not for differential expression"}


@pytest.mark.slow
def test_the_command_says_what_was_done(tmp_path, blobs):
    x, codes, _ = blobs(sizes=(40, 40), positive=True)
    adata = anndata.AnnData(x.astype(np.float32))
    adata.obs["my donor"] = [f"b {code}" for code in codes]
    adata.write_h5ad(tmp_path / "in.h5ad")
    words = ["correct", str(tmp_path / "in.h5ad"), "-b", "my donor", "--method", "fast"]
    words += ["--n-comps", "5", "--no-cosine-norm", "--merge-order", "b 1,b 0", "--ndist", "2.5"]
    words += ["--random-state", "3", "--n-neighbors", "7"]
    one, two = tmp_path / "one.h5ad", tmp_path / "two.h5ad"
    assert CliRunner().invoke(app, [*words, "-o", str(one)]).exit_code == 0
    told = gather_correction(anndata.read_h5ad(one), "one", ReportOptions(evaluate=False)).facts[
        "command"
    ]
    assert told["notes"] == []
    again = shlex.split(told["text"])[1:]
    again[again.index("INPUT.h5ad")] = str(tmp_path / "in.h5ad")
    again[again.index("OUT.h5ad")] = str(two)
    assert CliRunner().invoke(app, again).exit_code == 0
    assert one.read_bytes() == two.read_bytes()


def told_command(adata, **wanted):
    return gather_correction(adata, "x", ReportOptions(evaluate=False, **wanted)).facts["command"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "run INPUT.h5ad -b batch"),
        ({"gmm": False, "keep_normalized": False, "n_top_genes": 8, "log1p": False},
         "run INPUT.h5ad -b batch --no-log1p --no-keep-normalized --n-top-genes 8 --no-gmm"),
        ({"method": "fast", "merge_order": ["1", "0"], "n_components": [1, 2], "umap": True},
         "run INPUT.h5ad -b batch --method fast --umap --n-components 1,2 --merge-order 1,0"),
        ({"subset": "kind!=x", "mask_var": None, "random_state": 4},
         "run INPUT.h5ad -b batch --subset kind!=x --mask-var none --seed 4"),
        ({**asked_by_correct(None), "counts": True}, "correct INPUT.h5ad -b batch --counts"),
        ({**asked_by_correct(None), "hvg": True, "n_top_genes": 8},
         "correct INPUT.h5ad -b batch --hvg --n-top-genes 8"),
    ],
)  # fmt: skip
def test_a_run_records_what_it_was_asked(blobs, given, words, monkeypatch):
    # umap-learn is compiled in each process, and what it draws is not asked here.
    monkeypatch.setattr("mnncorrect.tl.umap", lambda adata, **_: None)
    x, codes, _ = blobs(sizes=(40, 40), positive=True)
    adata = anndata.AnnData(np.round(10 * x).astype(np.float32))
    adata.obs["batch"] = codes.astype(str)
    adata.obs["kind"] = ["x"] * 3 + ["y"] * 77
    given = {"n_comps": 5, **given}
    if given.get("gmm", True):
        given = {"n_components": [1], **given}
    made = mnncorrect.run(adata, "batch", **given, copy=True)
    told = told_command(made)
    text = told["text"].replace(" --n-components 1 ", " ").replace(" --n-comps 5", "")
    text = text.replace("'kind!=x'", "kind!=x")
    assert text == f"mnncorrect {words} -o OUT.h5ad"
    assert told["notes"] == []


def test_several_inputs_are_told_by_the_command(blobs, tmp_path):
    for number in range(2):
        x, codes, _ = blobs(sizes=(40, 40), positive=True)
        adata = anndata.AnnData(np.round(10 * x).astype(np.float32))
        adata.obs_names = [f"{number}-{name}" for name in adata.obs_names]
        adata[codes == number].write_h5ad(tmp_path / f"{number}.h5ad")
    made = mnncorrect.run([tmp_path / "0.h5ad", tmp_path / "1.h5ad"], n_comps=5, gmm=False)
    told = told_command(made)
    assert told["text"].startswith("mnncorrect run INPUT.h5ad MORE.h5ad --no-gmm --n-comps 5")
    assert told["notes"] == ["which 2 inputs were joined"]


def test_what_a_command_cannot_say_is_said(blobs):
    x, codes, _ = blobs(sizes=(40, 40), positive=True)
    adata = anndata.AnnData(x.astype(np.float32))
    adata.obs["batch"] = codes
    given = {"mask_var": np.arange(12) > 2, "n_comps": None}
    mnncorrect.run(adata, "batch", **given, gmm=False, counts=False)
    told = told_command(adata)
    assert [note.split(" was given")[0] for note in told["notes"]] == ["mask_var", "n_comps"]
    assert "mask" not in told["text"]


def test_a_call_in_python_is_told_as_such(blobs):
    x, codes, _ = blobs(sizes=(40, 40), positive=True)
    adata = anndata.AnnData(x.astype(np.float32))
    adata.obs["batch"] = codes
    pp.mnn_fast(adata, "batch", mask_var=None, n_comps=5, merge_order=["1", "0"], random_state=3)
    text = told_command(adata)["text"]
    again = adata.copy()
    exec(text, {"mnncorrect": mnncorrect, "adata": again})
    assert np.array_equal(again.obsm["X_mnn"], adata.obsm["X_mnn"])
    assert again.uns["mnn"]["digest"] == adata.uns["mnn"]["digest"]
    assert text.startswith("mnncorrect.pp.mnn_fast(adata, 'batch', ")


def test_corrections_of_the_same_cells_are_compared(corrected, tmp_path):
    other = corrected.copy()
    pp.mnn_fast(other, "donor", n_comps=5, n_jobs=1)
    paths = [tmp_path / "one.h5ad", tmp_path / "two.h5ad"]
    corrected.write_h5ad(paths[0])
    other.write_h5ad(paths[1])
    found = read(make_report(paths, label_key=None))
    assert [told["file"] for told in found.data] == ["one.h5ad", "two.h5ad"]
    shown = "".join(found.text)
    for expected in ("one.h5ad", "two.h5ad", "n_comps", "cilisi", "Variance was lost"):
        assert expected in shown


def written(tmp_path, **objects):
    """Write objects to files of their names; return the paths."""
    paths = [tmp_path / f"{name}.h5ad" for name in objects]
    for path, adata in zip(paths, objects.values(), strict=True):
        adata.copy().write_h5ad(path)
    return paths


def test_other_cells_are_not_compared(corrected, tmp_path):
    paths = written(tmp_path, one=corrected, two=corrected[:100])
    with pytest.raises(ValueError, match="have 100 cells in common"):
        make_report(paths)


@pytest.fixture(scope="module")
def stored(corrected, tmp_path_factory):
    """The same as a file, which stays as it is."""
    path = tmp_path_factory.mktemp("stored") / "one.h5ad"
    corrected.write_h5ad(path)
    return path


@pytest.mark.parametrize("asked", [{}, {"label_key": "none"}, {"compare_rep": ("X_none",)}])
def test_files_that_cannot_be_compared_are_refused_before_any_is_measured(
    corrected, stored, asked, tmp_path, monkeypatch
):
    paths = [stored, tmp_path / "two.h5ad"]
    if asked:
        shutil.copy(stored, paths[1])
    else:
        corrected[:100].write_h5ad(paths[1])
    monkeypatch.setattr("mnncorrect.report._gathered", lambda *_: pytest.fail("measured"))
    with pytest.raises((KeyError, ValueError), match=r"100 cells in common|none"):
        make_report(paths, **asked)


@pytest.mark.parametrize("asked", [{"clusters": "none"}, {"compare_rep": ("X_none",)}])
def test_what_a_file_lacks_is_refused_before_it_is_measured(stored, asked, monkeypatch):
    monkeypatch.setattr("mnncorrect.report._gathered", lambda *_: pytest.fail("measured"))
    with pytest.raises(KeyError, match="none"):
        make_report([stored], **asked)


@pytest.fixture(scope="module")
def placed(corrected):
    """New cells of a batch that the model has, of a new one, and of one that is too small."""
    rng = np.random.default_rng(2)
    new = anndata.AnnData(corrected.X[:80] + 0.1 * rng.normal(size=(80, 30)).astype("f4"))
    new.var_names = corrected.var_names
    new = new[:, new.var_names != "<gene 3>"].copy()
    new.obs["donor"] = [EVIL[0]] * 5 + ["new <b>"] * 70 + ["few"] * 5
    new.obs["cell_type"] = pd.Categorical(corrected.obs["cell_type"][:80])
    new.obs["site"] = ["x"] * 5 + ["y"] * 75
    with pytest.warns(UserWarning, match="few"):
        tl.project(new, corrected, n_jobs=1)
    return new


def test_projected_cells_have_a_page_of_their_own(placed, tmp_path):
    placed.write_h5ad(tmp_path / "placed.h5ad")
    found = read(make_report([tmp_path / "placed.h5ad"], label_key="cell_type"))
    assert found.data["about"] == "projection"
    assert {"maps", "placed", "confidence", "covariates", "model", "done"} <= set(found.ids)
    assert not {"scores", "merges", "lost", "genes"} & set(found.ids)
    shown = "".join(found.text)
    for expected in (
        "does not contain the cells of the model",
        "new <b>",
        "Label (cell_type)",
        "before",
    ):
        assert expected in shown
    rows = {row["batch"]: row for row in found.data["projected"]}
    assert rows[EVIL[0]]["known"]
    assert not rows["new <b>"]["known"]
    assert found.data["model"]["missing"] == ["<gene 3>"]
    told = {one["title"]: one["text"] for one in found.data["advice"]}
    assert "few (5)" in told["Too few cells to be corrected"]
    assert "1 of 30" in shown
    (site,) = [entry for entry in found.data["covariates"] if entry["name"] == "site"]
    assert site["fixed"]
    text = found.data["command"]["text"]
    assert text.startswith("mnncorrect.tl.project(adata, model, ")
    assert "counts=False" in text


def test_projected_cells_without_a_batch_have_a_page(placed, corrected):
    alone = placed[5:75].copy()
    del alone.obs["donor"]
    tl.project(alone, corrected, n_jobs=1, max_missing=0.5)
    found = read(report_of(alone, "alone.h5ad"))
    assert found.data["batches"] == {
        "key": None,
        "names": ["all cells"],
        "sizes": [70],
        "without": 0,
    }
    assert found.data["command"]["text"].startswith("mnncorrect.tl.project(adata, model, as_new")
    assert "no column of obs" in "".join(found.text)


def test_what_is_doubtful_of_projected_cells_is_said(placed):
    facts = placement.gather_projection(placed, "x", ReportOptions()).facts
    rows = [
        {"batch": "a", "known": True, "familiar": 0.2, "evidence": None, "n_obs": 90},
        {"batch": "b", "known": False, "skipped": True, "n_obs": 90},
        {"batch": "c", "known": False, "skipped": False, "n_obs": 90},
    ]
    low = {"threshold": 0.1, "by_batch": [LOW | {"name": name} for name in "abc"]}
    model = facts["model"] | {"missing_share": 0.1}
    told = {
        one.title: one
        for one in advise_projected(facts | {"projected": rows, "confidence": low, "model": model})
    }
    assert "a" in told["Batches that may be others of the same name"].text
    assert told["Genes are missing"].level == "warning"
    assert "b" in told["New batches left as projected"].text
    assert "a (80 %), c (80 %)" in told["Cells that the model does not know"].text


def test_projected_cells_are_not_compared(placed, corrected, tmp_path):
    with pytest.raises(ValueError, match=r"two.h5ad .*projected"):
        make_report(written(tmp_path, one=corrected, two=placed))


def test_what_a_file_does_not_hold_is_left_out(corrected):
    bare = corrected.copy()
    del bare.obsm["X_mnn_uncorrected"], bare.obs["gmm"], bare.uns["gmm"], bare.obs["mnn_confidence"]
    del bare.varm["mnn_loadings"]
    found = read(report_of(bare, "bare.h5ad"))
    assert not {"confidence", "clusters"} & set(found.ids)
    assert "no components before" in "".join(found.text)
    assert found.data["clusters"] is None
    assert found.data["genes"]["table"] is None


def test_a_file_with_a_map_shows_it(corrected):
    mapped = corrected.copy()
    mapped.obsm["X_mnn_umap"] = np.random.default_rng(0).normal(size=(120, 2)).astype("f4")
    mapped.uns["mnn_umap"] = {
        "params": {"n_neighbors": 15},
        "provenance": provenance(0),
        "correction": mapped.uns["mnn"]["digest"],
    }
    found = read(report_of(mapped, "mapped.h5ad", umap=False))
    assert "UMAP 1" in "".join(found.text)
    assert found.data["umap"] == {"n_neighbors": 15}


def test_an_image_is_what_was_painted():
    points = np.array([[0.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    painted = maps.paint(points, np.array([1, 2, 3]))
    source = maps.png_source(painted, ["#ff0000", "#00ff00", "#0000ff"])
    image = Image.open(io.BytesIO(base64.b64decode(source.removeprefix("data:image/png;base64,"))))
    assert np.array_equal(np.asarray(image), painted)
    assert image.palette.tobytes()[:12] == bytes.fromhex("ffffffff000000ff000000ff")
    assert image.info["transparency"] in (0, b"\x00")
    low, high = maps.MARGIN, maps.PIXELS - 1 - maps.MARGIN
    # Rows from the top: a high second coordinate is a low row.
    assert (painted[high, low], painted[low, high], painted[low, low]) == (1, 2, 3)
    assert painted[maps.PIXELS // 2, maps.PIXELS // 2] == 0


def test_every_cell_is_painted_and_none_always_above(rng):
    points = np.zeros((400, 2))
    points[::2] = rng.normal(size=(200, 2)) * 1e-9
    numbers = np.where(np.arange(400) % 2, 1, 2)
    assert set(np.unique(maps.paint(points, numbers))) == {0, 1, 2}
    beneath = maps.paint(np.zeros((9, 2)), np.arange(1, 10), np.arange(9) > 0)
    assert set(np.unique(beneath)) == {0, 1}


def test_a_few_cells_far_away_leave_room_for_the_others(rng):
    points = rng.normal(size=(5_000, 2))
    points[7] = 1e6
    painted = maps.paint(points, np.where(np.arange(5_000) == 7, 2, 1))
    assert (painted == 1).sum() > 20_000
    assert (painted[: 2 * maps.MARGIN, -2 * maps.MARGIN :] == 2).any()


def test_a_scale_has_its_ends():
    found = maps.steps(np.array([0.0, 1.0, 0.5, np.nan, -1.0, 2.0]), 0.0, 1.0)
    assert found.tolist() == [
        1,
        maps.SCALE_STEPS,
        1 + maps.SCALE_STEPS // 2,
        0,
        1,
        maps.SCALE_STEPS,
    ]
    assert len(maps.scale_colors("viridis")) == maps.SCALE_STEPS


def test_what_cannot_be_printed_is_replaced():
    assert printable("a\x00\ud800b\n") == "a\ufffd\ufffdb\n"


@pytest.mark.slow
def test_a_page_of_many_batches_stays_small():
    rng = np.random.default_rng(0)
    n_batches, n_cells = 300, 3_000
    adata = anndata.AnnData(
        np.zeros((n_cells, 1), np.float32), obsm={"X_pca": rng.normal(size=(n_cells, 5))}
    )
    adata.obs["batch"] = [f"sample {cell % n_batches}" for cell in range(n_cells)]
    pp.mnn_fast(adata, "batch", use_rep="X_pca", n_neighbors=3, merge_order="balanced", n_jobs=1)
    made = report_of(adata, "many.h5ad", evaluate=False)
    assert len(made.encode()) < 2e6
    assert "278 others" in "".join(read(made).text)


def test_the_command_writes_a_page_and_errors_are_one_line(corrected, tmp_path):
    path, made = tmp_path / "in.h5ad", tmp_path / "out.html"
    corrected.write_h5ad(path)

    def call(*words):
        result = CliRunner().invoke(app, ["report", *map(str, words)])
        return result.exit_code, result.stdout, result.stderr.splitlines()

    code, out, err = call(path, "-o", made)
    assert (code, out) == (0, "")
    assert any(line.startswith(f"wrote {made}") for line in err)
    read(made.read_text(encoding="utf-8"))
    code, _, err = call(path, "-o", made)
    assert (code, len(err)) == (1, 1)
    assert "--force" in err[0]
    plain = anndata.AnnData(np.ones((3, 2), np.float32))
    plain.write_h5ad(tmp_path / "plain.h5ad")
    for words, says in (
        ([tmp_path / "plain.h5ad"], "plain.h5ad: /uns has no correction 'mnn'; correct it first"),
        ([path, "--label-key", "kind"], "in.h5ad: /obs has no 'kind'"),
        ([path, "-b", "batch"], "in.h5ad: /obs has no 'batch'"),
        ([tmp_path / "none.h5ad"], "does not exist"),
    ):
        code, out, err = call(*words, "-o", tmp_path / "new.html")
        assert (code, out, len(err)) == (1, "", 1)
        assert says in err[0]
        assert not (tmp_path / "new.html").exists()


BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_shows_the_page_without_errors_or_requests(text, tmp_path, width):
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        pytest.skip(f"needs a browser to open the page in: one of {', '.join(BROWSERS)}")
    path = tmp_path / "report.html"
    # What the page tells of itself when it has been laid out: it is no wider than the screen.
    probe = (
        "<script>document.title = [document.documentElement.scrollWidth, innerWidth,"
        " [...document.images].every((image) => image.complete && image.naturalWidth > 0)]"
        "</script></main>"
    )
    policy = f'content="{escape(POLICY)}"'
    assert policy in text
    allowed = policy.replace("style-src", "script-src &#39;unsafe-inline&#39;; style-src")
    probed = text.replace(policy, allowed).replace("</main>", probe)
    for name, content in (("own", text), ("probed", probed)):
        path.write_text(content, encoding="utf-8")
        command = [browser, *FLAGS, f"--user-data-dir={tmp_path / name}", "--enable-logging=stderr"]
        command += [f"--log-net-log={tmp_path / 'net.json'}", f"--window-size={width},900"]
        command += ["--virtual-time-budget=5000", "--dump-dom", path.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        assert "CONSOLE" not in done.stderr, done.stderr
        log = (tmp_path / "net.json").read_text(errors="replace")
        asked = set(re.findall(r'"url":"([^"]*)"', log))
        # The browser itself asks its maker for updates; the page is not among who asks.
        own = {url for url in asked if not re.search(r"google(apis)?\.com/|^chrome", url)}
        assert own <= {path.as_uri()}, own
    wide, screen, drawn = re.search(r"<title>(\d+),(\d+),(\w+)</title>", done.stdout).groups()
    assert int(wide) <= int(screen)
    assert drawn == "true"
