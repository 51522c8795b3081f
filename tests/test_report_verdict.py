"""The verdict of a report: did it work, what was left alone, what not to trust."""

from __future__ import annotations

import html

import anndata
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from mnncorrect import pp
from mnncorrect.cli.app import app
from mnncorrect.report import report_of
from mnncorrect.report.collect.advice_on_correction import advise
from mnncorrect.report.collect.facts import gather_correction
from mnncorrect.report.collect.markers import gene_symbols
from mnncorrect.report.collect.methods_text import methods_text
from mnncorrect.report.collect.mixing import of_mixing, whole_sample
from mnncorrect.report.collect.report_options import ReportOptions
from mnncorrect.report.collect.verdict import verdict_on
from mnncorrect.report.draw.templates import fill_template
from mnncorrect.report.pages.page import maps_of

QUICK = {"evaluate": False, "markers": False, "label_key": "kind"}


def cells(shift, *, n=240, n_batches=2, seed=0):
    """Two kinds of cells in batches, the second and later of which are shifted."""
    rng = np.random.default_rng(seed)
    kind = np.arange(n) // 2 % 2
    batch = np.arange(n) % n_batches
    x = 6.0 * np.eye(8)[kind] + rng.normal(size=(n, 8))
    x += shift * batch[:, None] * np.ones(8)
    adata = anndata.AnnData(np.zeros((n, 1), np.float32), obsm={"X_pca": x.astype(np.float32)})
    adata.obs["batch"] = [f"b{b}" for b in batch]
    adata.obs["kind"] = pd.Categorical([("T", "B")[k] for k in kind])
    return adata


@pytest.fixture(scope="module")
def matched():
    adata = cells(2.0)
    pp.mnn_calibrated(adata, "batch", use_rep="X_pca", n_jobs=1)
    return adata


@pytest.fixture(scope="module")
def alike():
    """Batches without an effect, which the method leaves alone."""
    adata = cells(0.0)
    pp.mnn_calibrated(adata, "batch", use_rep="X_pca", n_jobs=1)
    return adata


def undone(adata):
    """The same record, with the cells where they were before."""
    changed = adata.copy()
    changed.obsm["X_mnn"] = changed.obsm["X_pca"]
    return changed


def facts_of(adata, **more):
    return gather_correction(adata.copy(), "x.h5ad", ReportOptions(**QUICK | more)).facts


def test_batches_that_were_matched_are_said_to_mix(matched):
    facts = facts_of(matched)
    verdict = verdict_on(facts)
    assert (verdict["state"], verdict["level"]) == ("mixed", "good")
    mixing = facts["mixing"]
    assert mixing["before"] < 0.2 < 0.8 < mixing["after"]
    told = " ".join(verdict["worked"])
    for share in ("before", "after", "attainable"):
        assert f"{mixing[share]:.2f}" in told
    assert verdict["do_not_trust"] == []
    assert facts["verdict"]["state"] == "mixed"


def test_a_batch_that_may_have_no_pairs_is_said_to_be_barred_by_what_is_kept():
    adata = cells(2.0, n=360, n_batches=3)
    adata.obs["state"] = np.where(adata.obs["batch"] == "b2", "ill", "well")
    with pytest.warns(UserWarning, match="b2"):
        pp.mnn_calibrated(adata, "batch", use_rep="X_pca", keep="state", n_jobs=1)
    facts = facts_of(adata)
    (told,) = verdict_on(facts)["left_alone"]
    assert "b2" in told
    assert "keep" in told
    titles = [one.title for one in advise(facts)]
    assert any("no pairs" in title for title in titles)
    assert "Batches that share nothing" not in titles


def test_batches_that_are_still_apart_are_a_warning_that_names_where(matched):
    facts = facts_of(undone(matched))
    verdict = verdict_on(facts)
    assert (verdict["state"], verdict["level"]) == ("apart", "bad")
    assert any("B (" in text and "T (" in text for text in verdict["do_not_trust"])
    (warning,) = [one for one in advise(facts) if "apart" in one.title]
    assert warning.level == "warning"
    assert "T (" in warning.text


def test_one_label_that_is_apart_is_named_alone(matched):
    half = matched.copy()
    apart = (half.obs["kind"] == "T").to_numpy()
    half.obsm["X_mnn"][apart] = half.obsm["X_pca"][apart]
    facts = facts_of(half)
    assert verdict_on(facts)["state"] == "apart"  # half of the cells
    (warning,) = [one for one in advise(facts) if one.title == "Batches are still apart"]
    assert "T (" in warning.text
    assert "B (" not in warning.text
    states = {row["name"]: row["state"] for row in facts["mixing"]["groups"]}
    assert states == {"T": "apart", "B": "mixed"}
    headline = verdict_on(facts)["headline"]
    assert "T (kind)" in headline
    assert "B" not in headline.removeprefix("The batches")


def test_what_was_left_alone_is_said_with_its_reason(alike):
    facts = facts_of(alike)
    assert all(merge["skipped"] for merge in facts["merges"])
    verdict = verdict_on(facts)
    assert (verdict["state"], verdict["level"]) == ("left alone", "good")
    assert any("noise" in text for text in verdict["left_alone"])
    assert verdict["do_not_trust"] == []
    assert not [one for one in advise(facts) if one.level == "warning"]


def test_batches_that_were_left_alone_and_are_apart_are_no_success(alike):
    apart = alike.copy()
    apart.obsm["X_mnn"] = cells(2.0).obsm["X_pca"]
    verdict = verdict_on(facts_of(apart))
    assert (verdict["state"], verdict["level"]) == ("left apart", "bad")


def test_without_labels_and_clusters_all_cells_are_judged_together(matched):
    facts = facts_of(matched, label_key=None)
    assert [row["name"] for row in facts["mixing"]["groups"]] == ["all cells"]
    assert verdict_on(facts)["state"] == "mixed"


def test_without_groups_the_reader_is_sent_to_clusters_and_labels(matched):
    facts = facts_of(undone(matched), label_key=None)
    verdict = verdict_on(facts)
    assert verdict["state"] == "apart"
    assert not any("look there" in text for text in verdict["do_not_trust"])
    (warning,) = [one for one in advise(facts) if one.title == "Batches are still apart"]
    for way in ("mnncorrect gmm", "--label-key"):
        assert way in warning.remedy


def test_a_method_without_confidence_is_not_said_to_know_counterparts():
    adata = cells(2.0)
    pp.mnn_fast(adata, "batch", use_rep="X_pca", n_jobs=1)
    told = " ".join(verdict_on(facts_of(adata))["left_alone"])
    assert "every cell has" not in told
    assert "fast" in told


def test_without_its_confidence_a_correction_is_not_said_to_move_all_cells(matched):
    bare = matched.copy()
    del bare.obs["mnn_confidence"]
    told = " ".join(verdict_on(facts_of(bare))["left_alone"])
    assert "no confidence" in told
    assert "calibrated" not in told
    assert "every cell has" not in told


def test_lost_variance_is_named_by_batch_and_share(matched):
    facts = facts_of(matched)
    facts["merges"][0]["lost_variance"] = {"b1": 0.31}
    (told,) = [text for text in verdict_on(facts)["do_not_trust"] if "variance" in text]
    assert "b1 (31 %)" in told


def test_a_population_of_one_batch_is_not_called_apart(matched):
    lone = matched.copy()
    kind = lone.obs["kind"].astype(str).to_numpy()
    kind[(kind == "T") & (lone.obs["batch"] == "b1")] = "own"
    lone.obs["kind"] = kind
    facts = facts_of(lone)
    states = {row["name"]: row["state"] for row in facts["mixing"]["groups"]}
    assert states == {"B": "mixed", "T": "one batch", "own": "one batch"}
    assert verdict_on(facts)["state"] == "mixed"
    assert facts["mixing"]["of_one_batch"] == pytest.approx(0.5)


def test_the_verdict_sends_the_reader_to_every_warning(matched):
    facts = facts_of(matched)
    covariate = {"name": "site", "identical": False, "fixed": True, "strength": 1.0}
    facts["covariates"] = [covariate]
    (warning,) = [one for one in advise(facts) if one.level == "warning"]
    assert any(warning.title in text for text in verdict_on(facts)["do_not_trust"])


def test_labels_that_are_all_missing_are_refused(matched):
    empty = matched.copy()
    empty.obs["kind"] = pd.Categorical([None] * empty.n_obs)
    with pytest.raises(ValueError, match="kind"):
        facts_of(empty)


def test_one_batch_has_no_mixing():
    found = gather_correction(cells_of_one_batch(), "x", ReportOptions(**QUICK))
    assert found.facts["mixing"] is None
    assert found.mixing is None
    assert verdict_on(found.facts)["state"] == "unknown"


def cells_of_one_batch():
    adata = cells(2.0)
    pp.mnn_calibrated(adata, "batch", use_rep="X_pca", n_jobs=1)
    return adata[adata.obs["batch"] == "b0"].copy()


def test_attainable_mixing_is_that_of_shuffled_batches(matched):
    from mnncorrect.report.collect.groups import read_groups

    shuffled = matched.copy()
    rng = np.random.default_rng(3)
    shuffled.obs["batch"] = rng.permutation(shuffled.obs["batch"].to_numpy())
    batches = read_groups(shuffled, "batch")
    found = of_mixing(
        None,
        shuffled.obsm["X_mnn"],
        batches,
        ("cell", None),
        None,
        whole_sample(240),
        ReportOptions(),
    )
    assert found["before"] is None
    assert found["after"] == pytest.approx(found["attainable"], abs=0.05)


def test_markers_are_found_on_uncorrected_values_and_named_by_symbols(tmp_path):
    rng = np.random.default_rng(0)
    kind = np.arange(120) // 2 % 2
    counts = rng.poisson(2.0, size=(120, 20))
    counts[kind == 1, 3] += 30
    adata = anndata.AnnData(counts.astype(np.float32))
    adata.var_names = [f"ENSG{number:011d}" for number in range(20)]
    adata.var["symbol"] = [f"gene{number}" for number in range(20)]
    adata.obs["batch"] = [f"b{b}" for b in np.arange(120) % 2]
    adata.obs["kind"] = [("T", "B<")[k] for k in kind]
    adata.obsm["X_pca"] = rng.normal(size=(120, 4)).astype(np.float32)
    pp.mnn_fast(adata, "batch", use_rep="X_pca", n_jobs=1)
    adata.X[:] = counts
    found = gather_correction(adata, "x", ReportOptions(label_key="kind", evaluate=False)).facts[
        "markers"
    ]
    assert found["of"] == "kind"
    assert found["genes"]["B<"][0] == "gene3"
    assert "gene3" not in found["genes"]["T"]
    assert gene_symbols(adata, None)[:2] == ["gene0", "gene1"]
    adata.write_h5ad(tmp_path / "in.h5ad")
    made = tmp_path / "out.html"
    words = ["report", str(tmp_path / "in.h5ad"), "--label-key", "kind", "--no-evaluate"]
    assert CliRunner().invoke(app, [*words, "-o", str(made)]).exit_code == 0
    text = made.read_text()
    assert "gene3" in text
    assert "B<" not in text
    words += ["--gene-key", "no", "--force", "-o", str(made)]
    failed = CliRunner().invoke(app, words)
    assert failed.exit_code == 1
    assert "symbol" in failed.stderr


def test_scaled_values_have_no_markers(matched):
    scaled = matched.copy()
    scaled = anndata.AnnData(
        np.random.default_rng(0).normal(size=(240, 5)).astype(np.float32),
        obs=scaled.obs, uns=scaled.uns, obsm=dict(scaled.obsm),
    )  # fmt: skip
    found = gather_correction(scaled, "x", ReportOptions(label_key="kind", evaluate=False)).facts[
        "markers"
    ]
    assert found["genes"] is None
    assert "scaled" in found["reason"]


def maps_drawn(adata, **more):
    """The captions of the maps of a page, and the note on them."""
    found = gather_correction(adata.copy(), "x.h5ad", ReportOptions(**QUICK | more))
    drawn = maps_of(found)
    note = html.unescape(fill_template("sections/maps.html", found=found, **drawn))
    return [one.caption for one in drawn["mapsets"][0].maps], note.partition("</p>")[0]


def test_maps_of_unlike_kinds_have_captions_and_sources_of_their_own(matched, monkeypatch):
    mapped = matched.copy()
    mapped.obsm["X_mnn_umap"] = mapped.obsm["X_mnn"][:, :2]
    with monkeypatch.context() as patch:
        patch.setattr("mnncorrect.report.collect.facts.is_derived", lambda *_: True)
        captions, note = maps_drawn(mapped, umap=False)
    assert captions == ["before (components)", "after (components)", "after (UMAP)"]
    for source in ("X_pca", "X_mnn", "X_mnn_umap"):
        assert f"obsm['{source}']" in note
    assert "for this report" not in note
    captions, note = maps_drawn(matched, umap=False)
    assert captions == ["before", "after"]
    assert "UMAP" not in note


def test_a_map_that_was_not_drawn_has_no_source(matched, monkeypatch):
    monkeypatch.setattr("mnncorrect.report.collect.facts.draw_map", lambda *_: None)
    captions, note = maps_drawn(matched, umap=True)
    assert captions == ["before", "after"]
    assert "UMAP" not in note


def test_an_embedding_of_another_tool_is_compared(matched):
    both = matched.copy()
    both.obsm["X_other"] = both.obsm["X_pca"]
    text = report_of(both, "x.h5ad", **QUICK, compare_rep=("X_other",))
    assert "x.h5ad: X_other" in text
    assert "X_other" not in "".join(both.uns)
    with pytest.raises(KeyError, match="X_no"):
        report_of(both, "x.h5ad", **QUICK, compare_rep=("X_no",))


def test_the_methods_paragraph_names_parameters_and_papers(matched):
    methods = facts_of(matched)["methods"]
    for expected in ("240 cells", "2 batches", "calibrated", "Haghverdi", "seed", "X_pca"):
        assert expected in methods["text"]
    assert any("10.1038/nbt.4091" in citation for citation in methods["citations"])


def test_the_methods_paragraph_cites_only_what_was_used(matched):
    methods = facts_of(matched)["methods"]
    cited = " ".join(methods["citations"])
    for unused in ("SCANPY", "UMAP", "Satija"):
        assert unused not in cited
    assert "clustered" not in methods["text"]  # there are no clusters
    assert "Other parameters" not in methods["text"]  # all are defaults


def test_the_methods_paragraph_tells_what_was_chosen_and_what_was_asked_for(matched):
    from mnncorrect import tl

    tried, asked = matched.copy(), matched.copy()
    tl.gmm(tried, n_components=[1, 2, 3], n_jobs=1)
    tl.gmm(asked, n_components=2, n_jobs=1)
    assert "ICL" in facts_of(tried)["methods"]["text"]
    assert "ICL" not in facts_of(asked)["methods"]["text"]
    changed = facts_of(matched)
    changed["parameters"] |= {"reference": "b1", "keep": '["sex"]', "neighbors": "partition"}
    text = methods_text(changed)["text"]
    for expected in ("b1", "sex", "partition, recall 0.995"):
        assert expected in text
