"""How well new cells of real data are placed: by their types, against correcting all together."""

from __future__ import annotations

from functools import cache

import anndata
import numpy as np
import pytest
import scanpy

from mnncorrect import pp, tl
from mnncorrect.core.metrics.scores import cilisi
from mnncorrect.core.neighbors.engines import nearest
from mnncorrect.core.neighbors.sample import draw

# What projecting may lose in the share of cells whose nearest training cell is of their type.
MAY_LOSE = 0.02
# One split of 240 cells does not tell: of pbmc_symphony, the difference has a mean of -0.008 and a
# standard deviation of 0.018 with range(20) here.
SPLITS = range(3)
# The same of a batch that was left out, among the components of the others: with 3pv2, it is from
# 0.867 to 0.894 when all are corrected together, by the order of the merges alone.
LEFT_OUT_MAY_LOSE = 0.03


@cache
def logged(path):
    """Cells with a type, counts normalized, and highly variable genes not yet chosen."""
    adata = anndata.read_h5ad(path)
    adata = adata[adata.obs["cell_type"].astype(str) != "unlabelled"].copy()
    values = adata.X if isinstance(adata.X, np.ndarray) else adata.X.data
    if (values == np.rint(values)).all():
        scanpy.pp.normalize_total(adata, target_sum=1e4)
        scanpy.pp.log1p(adata)
    return adata


def correct(adata):
    if adata.n_vars > 2000:
        scanpy.pp.highly_variable_genes(adata, n_top_genes=2000, batch_key="batch")
    pp.mnn_calibrated(adata, "batch")


@cache
def corrected(path):
    """All cells, corrected together; not to be changed."""
    adata = logged(path).copy()
    correct(adata)
    return adata


def accuracy(query, training, name="X_mnn"):
    """Share of cells whose nearest training cell is of their type."""
    near = nearest(query.obsm[name], training.obsm["X_mnn"], 1).indices[:, 0]
    types = [x.obs["cell_type"].astype(str).to_numpy() for x in (query, training)]
    return float((types[1][near] == types[0]).mean())


def held_out(adata, seed):
    """A fifth of the cells of each batch."""
    rng = np.random.default_rng(seed)
    batch, out = adata.obs["batch"].to_numpy(), np.zeros(adata.n_obs, bool)
    for name in np.unique(batch):
        rows = rng.permutation(np.flatnonzero(batch == name))
        out[rows[: len(rows) // 5]] = True
    return out


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pbmc_symphony", "ifnb_2800"])
def test_held_out_cells_find_their_types_as_if_corrected_together(
    shared_data, name, record_property
):
    adata, whole = logged(shared_data(name)), corrected(shared_data(name))
    found = []
    for seed in SPLITS:
        out = held_out(adata, seed)
        training, query = adata[~out].copy(), adata[out].copy()
        correct(training)
        model = tl.fit_model(training)
        together = accuracy(whole[out], whole[~out])
        known = accuracy(tl.project(query, model, copy=True), training)
        new = accuracy(tl.project(query, model, as_new=True, copy=True), training)
        found.append((together, known, new))
        told = f"{name}, seed {seed}: together {together:.3f}, known {known:.3f}, as new {new:.3f}"
        record_property("accuracy", told)
        print(told)
    together, known, new = np.mean(found, axis=0)
    assert known >= together - MAY_LOSE
    assert new >= together - MAY_LOSE


def mixing(query, training):
    """How well new cells mix with training cells of their type (CiLISI)."""
    both = anndata.concat([training, query], label="side")
    side, label = (both.obs[name].astype("category").cat.codes for name in ("side", "cell_type"))
    sides, labels = side.to_numpy().astype(int), label.to_numpy().astype(int)
    return cilisi(both.obsm["X_mnn"], sides, labels, draw(sides, both.n_obs))


@pytest.mark.slow
@pytest.mark.parametrize("batch", ["3pv1", "3pv2", "5p"])
def test_a_batch_that_was_left_out_finds_its_types_as_a_new_one(
    shared_data, batch, record_property
):
    path = shared_data("pbmc_symphony")
    adata, whole = logged(path), corrected(path)
    out = (adata.obs["batch"] == batch).to_numpy()
    training, query = adata[~out].copy(), adata[out].copy()
    correct(training)
    tl.project(query, tl.fit_model(training))
    # Components found without a batch may lack what sets its types apart: what becomes of it among
    # them is one thing, that is the other.
    there = anndata.concat([training, query])
    del there.obsm["X_mnn"], there.obs["mnn_confidence"]  # no record came along that says whose
    pp.mnn_calibrated(there, "batch", use_rep="X_mnn_uncorrected")
    is_new = (there.obs["batch"] == batch).to_numpy()
    together, among = accuracy(whole[out], whole[~out]), accuracy(there[is_new], there[~is_new])
    new, mixed = accuracy(query, training), mixing(query, training)
    told = (
        f"without {batch}: together {together:.3f}, in components of the others {among:.3f}, "
        f"projected {new:.3f}, CiLISI {mixed:.3f}"
    )
    record_property("accuracy", told)
    print(told)
    (row,) = query.uns["mnn"]["projected"].to_dict("records")
    assert not row["known"]
    assert not row["skipped"]
    assert new >= among - LEFT_OUT_MAY_LOSE
    # 0.792 without 5p where residuals are contracted only: training cells are noisier than it is.
    assert mixed > 0.85


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pbmc_symphony", "ifnb_2800"])
def test_training_cells_that_are_left_out_come_near_to_where_they_were_put(shared_data, name):
    from mnncorrect.core.model.fit import fit
    from mnncorrect.core.model.projection import place

    adata = corrected(shared_data(name))
    names, codes = np.unique(adata.obs["batch"].astype(str), return_inverse=True)
    before, after = adata.obsm["X_mnn_uncorrected"], adata.obsm["X_mnn"]
    out = np.arange(adata.n_obs) % 5 == 0
    model = fit(before[~out], after[~out], codes[~out], list(names))
    placed = place(model, before[out], codes[out], list(names)).corrected
    error = np.linalg.norm(placed - after[out], axis=1)
    moved = np.linalg.norm(after[out] - before[out], axis=1)
    # Of the size of the displacements, root mean square over cells that moved.
    away = np.sqrt((error**2).sum() / (moved**2).sum())
    print(f"{name}: within {away:.3f} of the size of displacements")
    # Measured: 0.139 on pbmc_symphony, 0.044 on ifnb_2800.
    assert away < 0.16
    same = place(model, before[~out], codes[~out], list(names)).corrected
    typical = np.sqrt((after**2).sum(1).mean())
    assert np.abs(same - after[~out]).max() < 1e-5 * typical
