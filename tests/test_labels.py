"""Labels of a model's cells, transferred to new cells with a probability that can be believed."""

from __future__ import annotations

from dataclasses import replace

import anndata
import numpy as np
import pytest
import test_projection_accuracy as accuracy

from mnncorrect import pp, tl
from mnncorrect._io import model_file
from mnncorrect.core.model.labels import transfer
from mnncorrect.core.model.projection import place

N = 40
TYPES = ("B", "NK", "T")


def _cells(seed, *, types=TYPES, shift=0.0, n=N):
    """Three populations in ten dimensions."""
    rng = np.random.default_rng(seed)
    centers = np.random.default_rng(1).normal(size=(4, 10)) * 4
    names = [*TYPES, "new"]
    number = np.repeat([names.index(name) for name in types], n)
    x = (centers[number] + rng.normal(size=(len(number), 10)) + shift).astype(np.float32)
    adata = anndata.AnnData(np.ones((len(x), 1), np.float32), obsm={"X_pca": x})
    adata.obs_names = [f"{seed}_{i}" for i in range(len(x))]
    adata.obs["cell_type"] = np.array(names)[number]
    return adata


@pytest.fixture
def training():
    parts = {"one": _cells(2), "two": _cells(3, shift=0.7)}
    adata = anndata.concat(parts, label="batch")
    pp.mnn_calibrated(adata, "batch", use_rep="X_pca")
    return adata


def _right(query):
    labels = query.obs["mnn_label"].astype(str)
    return float((labels == query.obs["cell_type"]).mean())


@pytest.mark.parametrize("shift", [0.0, 1.5])
def test_new_cells_get_the_labels_around_them(training, shift):
    query = _cells(4, shift=shift)
    tl.project(query, training, label_key="cell_type")
    assert _right(query) > 0.95
    probability = query.obs["mnn_label_probability"]
    assert probability.dtype == np.float32
    assert probability.between(0, 1).all()
    table = query.uns["mnn"]["labels"]
    assert dict(zip(table["label"], table["n_obs"], strict=True)) == dict(
        query.obs["mnn_label"].value_counts()
    )
    assert query.uns["mnn"]["params"]["label_key"] == "cell_type"


def test_cells_of_a_batch_in_the_model_get_labels(training):
    query = _cells(5, shift=0.7)
    query.obs["batch"] = "two"
    tl.project(query, training, label_key="cell_type")
    assert _right(query) > 0.95


def test_cells_far_from_all_labels_are_unassigned(training):
    query = anndata.concat([_cells(6, shift=1.0), _cells(7, types=("new",), shift=1.0)])
    tl.project(query, training, label_key="cell_type")
    is_new = (query.obs["cell_type"] == "new").to_numpy()
    unassigned = (query.obs["mnn_label"] == "unassigned").to_numpy()
    assert unassigned[is_new].mean() > 0.8
    assert unassigned[~is_new].mean() < 0.1
    assert query.obs["mnn_label_probability"][is_new & unassigned].max() < 0.5


def test_cells_of_a_skipped_batch_without_a_counterpart_are_unassigned(training):
    query = _cells(11, types=("NK",), shift=3.0, n=80)
    tl.project(query, training, label_key="cell_type")
    assert query.uns["mnn"]["projected"]["skipped"].all()
    assert query.obs["mnn_confidence"].max() < 0.1
    assert set(query.obs["mnn_label"]) == {"unassigned"}
    assert query.obs["mnn_label_probability"].max() < 0.1


def test_cells_of_a_batch_without_an_effect_get_labels(training):
    query = _cells(11, types=("NK",), shift=0.7, n=80)
    tl.project(query, training, label_key="cell_type")
    assert query.uns["mnn"]["projected"]["skipped"].all()
    assert set(query.obs["mnn_label"]) == {"NK"}


def test_a_label_of_a_single_cell_is_refused(training):
    training.obs["cell_type"] = ["B", *[None] * (training.n_obs - 1)]
    for more in ({}, {"max_cells": 60}):  # whether or not the model keeps the cell
        with pytest.raises(ValueError, match=r"obs\['cell_type'\]"):
            tl.fit_model(training, label_key="cell_type", **more)


def test_cells_without_a_label_do_not_vote(training):
    training.obs.loc[training.obs["cell_type"] == "NK", "cell_type"] = None
    query = _cells(4)
    tl.project(query, training, label_key="cell_type")
    assert set(query.obs["mnn_label"]) <= {"B", "T", "unassigned"}


def test_labels_do_not_depend_on_the_order_of_cells_or_on_other_batches(training):
    query = anndata.concat({"a": _cells(8, shift=1.0), "b": _cells(9)}, label="batch")
    whole = tl.project(query, training, label_key="cell_type", copy=True).obs
    alone = query[query.obs["batch"] == "a"][::-1].copy()
    tl.project(alone, training, label_key="cell_type", key="batch")
    there = whole.loc[alone.obs_names]
    assert (there["mnn_label"].astype(str) == alone.obs["mnn_label"].astype(str)).all()
    np.testing.assert_allclose(
        there["mnn_label_probability"], alone.obs["mnn_label_probability"], atol=1e-6
    )


def test_a_model_file_keeps_labels(training, tmp_path):
    with_labels = tl.fit_model(training, label_key="cell_type")
    without = tl.fit_model(training)
    assert with_labels.digest == without.digest  # places do not depend on labels
    for model, version in ((with_labels, b"version 2\n"), (without, b"version 1\n")):
        tl.save_model(model, tmp_path / "m.mnn", force=True)
        assert version in (tmp_path / "m.mnn").read_bytes()[:64]
        found = tl.read_model(tmp_path / "m.mnn")
        assert found.digest == model.digest
    tl.save_model(with_labels, tmp_path / "m.mnn", force=True)
    found = tl.read_model(tmp_path / "m.mnn").labels
    assert (found.key, found.names) == ("cell_type", TYPES)
    np.testing.assert_array_equal(found.codes, with_labels.labels.codes)


@pytest.mark.parametrize("codes", [-2, 3])
def test_forged_labels_are_refused(training, tmp_path, codes):
    model = tl.fit_model(training, label_key="cell_type")
    wrong = replace(model.labels, codes=np.full_like(model.labels.codes, codes))
    model_file.write(replace(model, labels=wrong), tmp_path / "m.mnn")
    with pytest.raises(OSError, match="labels"):
        tl.read_model(tmp_path / "m.mnn")


def test_a_model_without_the_labels_says_so(training):
    query, model = _cells(4), tl.fit_model(training)
    with pytest.raises(KeyError, match="no labels") as refused:
        tl.project(query, model, label_key="cell_type")
    assert "but" not in str(refused.value)
    labeled = tl.fit_model(training, label_key="cell_type")
    with pytest.raises(KeyError, match=r"obs\['cell_type'\]"):
        tl.project(query, labeled, label_key="other")
    assert "mnn_label" not in query.obs
    training.obs["cell_type"] = "unassigned"
    with pytest.raises(ValueError, match="unassigned"):
        tl.fit_model(training, label_key="cell_type")


def test_one_label_and_few_cells_are_enough(training):
    training.obs["cell_type"] = "all"
    query = _cells(4)
    with pytest.warns(UserWarning, match="one label, 'all'"):
        tl.project(query, training, label_key="cell_type")
    assert set(query.obs["mnn_label"]) == {"all"}
    few = _cells(4)[:3].copy()
    with pytest.warns(UserWarning, match="one label, 'all'"), pytest.warns(match="fewer than"):
        tl.project(few, training, label_key="cell_type")
    assert few.obs["mnn_label_probability"].notna().all()


def _parts(name, path, batch):
    """Training cells, new cells: without a batch, or without a fifth of each batch."""
    adata = accuracy.logged(path)
    out = accuracy.held_out(adata, 0)
    if batch is not None:
        out = (adata.obs["batch"] == batch).to_numpy()
    training, query = adata[~out].copy(), adata[out].copy()
    accuracy.correct(training)
    return training, query


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "batch", "least", "off"),
    [
        ("pbmc_symphony", None, 0.87, 0.09),
        ("pancreas_xin_wang", None, 0.96, 0.06),
        ("pbmc_symphony", "5p", 0.93, 0.12),
        ("pbmc_symphony", "3pv1", 0.86, 0.10),
    ],
)
def test_probabilities_of_real_labels_can_be_believed(
    shared_data, record_property, name, batch, least, off
):
    training, query = _parts(name, shared_data(name), batch)
    model = tl.fit_model(training, label_key="cell_type")
    tl.project(query, model, label_key="cell_type", as_new=batch is not None)
    labels = query.obs["mnn_label"].astype(str).to_numpy()
    given = labels != "unassigned"
    right = labels == query.obs["cell_type"].astype(str).to_numpy()
    probability = query.obs["mnn_label_probability"].to_numpy(float)[given]
    bins = np.minimum((probability * 10).astype(int), 9)
    error = sum(
        (bins == b).mean() * abs(right[given][bins == b].mean() - probability[bins == b].mean())
        for b in np.unique(bins)
    )
    told = (
        f"{name} without {batch or 'a fifth'}: {right[given].mean():.3f} of assigned cells right, "
        f"{given.mean():.3f} assigned, calibration error {error:.3f}"
    )
    record_property("labels", told)
    print(told)
    assert right[given].mean() >= least
    assert given.mean() > 0.9
    assert error <= off


def test_transfer_leaves_out_cells_without_a_batch(training):
    model = tl.fit_model(training, label_key="cell_type")
    x = _cells(4).obsm["X_pca"]
    batch = np.zeros(len(x), int)
    batch[:5] = -1
    placed = place(model, x, batch, ["new"])
    found = transfer(model, placed, batch)
    assert (found.codes[:5] == -1).all()
    assert (found.probability[:5] == 0).all()


def test_cells_called_unassigned_have_no_label_in_a_model(training):
    training.obs["cell_type"] = training.obs["cell_type"].astype(str)
    some = training.obs_names[:15]
    training.obs.loc[some, "cell_type"] = ["Unassigned", "unknown", "unassigned"] * 5
    labels = tl.fit_model(training, label_key="cell_type").labels
    assert not [name for name in labels.names if name.lower() in ("unassigned", "unknown")]
    assert (labels.codes < 0).sum() == 15
