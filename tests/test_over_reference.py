"""New cells shown over the cells of the correction that they were placed in."""

import anndata
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from typer.testing import CliRunner

from mnncorrect import pl, pp, tl
from mnncorrect.cli.app import app
from mnncorrect.core.model.maps import place_on_map
from mnncorrect.pl.palettes import ABSENT
from mnncorrect.report import make_report

mpl.use("agg")


def cells(seed=0, n=120):
    rng = np.random.default_rng(seed)
    kind, batch = np.arange(n) % 3, np.arange(n) // 3 % 2
    own = np.random.default_rng(1)
    x = own.gamma(2.0, 2.0, (3, 30))[kind] + 0.4 * own.normal(size=30) * batch[:, None]
    x += rng.normal(size=(n, 30)) * 0.3
    obs = {"batch": np.array(["a", "b"])[batch], "type": np.array(["x", "y", "z"])[kind]}
    names = [f"c{seed}-{i}" for i in range(n)]
    genes = pd.DataFrame(index=[f"g{i}" for i in range(30)])
    return anndata.AnnData(np.maximum(x, 0), pd.DataFrame(obs, index=names), genes)


@pytest.fixture(scope="module")
def atlas():
    adata = cells()
    pp.mnn_calibrated(adata, "batch", n_comps=8)
    # A map of any kind, which costs no layout.
    adata.obsm["X_mnn_umap"] = adata.obsm["X_mnn"][:, :2].astype(np.float32) * 7
    return adata


@pytest.fixture(scope="module")
def placed(atlas):
    adata = cells(seed=3, n=60)
    tl.project(adata, tl.fit_model(atlas, label_key="type"), label_key="type", counts=False)
    return adata


@pytest.fixture
def new(placed):
    return placed.copy()


def shell(*words, code=0):
    found = CliRunner().invoke(app, list(map(str, words)))
    assert found.exit_code == code, found.output
    return found


@pytest.mark.parametrize("size", [-1, 0, float("nan"), float("inf"), "big", True])
def test_points_without_an_area_are_refused(atlas, new, size):
    with pytest.raises(ValueError, match="`size` is"):
        pl.placed(new, atlas, size=size, show=False)
    with pytest.raises(ValueError, match="`size` is"):
        pl.embedding(new, basis="X_mnn", size=size, show=False)


def test_a_reference_that_does_not_exist_is_not_called_the_input(tmp_path, new):
    new.write_h5ad(tmp_path / "new.h5ad")
    for command, out in (("umap", "o.h5ad"), ("report", "o.html")):
        done = shell(
            command, tmp_path / "new.h5ad", "--reference", "no.h5ad", "-o", tmp_path / out, code=1
        )
        assert "no.h5ad" in done.stderr
        assert "input" not in done.stderr


def test_cells_of_the_reference_get_their_own_places(atlas):
    some = cells()[::4].copy()
    tl.project(some, atlas, counts=False)
    tl.umap(some, reference=atlas)
    np.testing.assert_allclose(some.obsm["X_mnn_umap"], atlas.obsm["X_mnn_umap"][::4], atol=0.05)


def test_new_cells_lie_among_their_neighbors_and_the_map_stays(atlas, new):
    before = atlas.obsm["X_mnn_umap"].copy()
    tl.umap(new, reference=atlas)
    assert (atlas.obsm["X_mnn_umap"] == before).all()
    for kind in "xyz":
        own = new.obsm["X_mnn_umap"][(new.obs["type"] == kind).to_numpy()]
        theirs = before[(atlas.obs["type"] == kind).to_numpy()]
        assert (own >= theirs.min(0)).all()
        assert (own <= theirs.max(0)).all()
    assert new.uns["mnn_umap"]["params"]["on_reference"]
    assert "mnn_neighbors" not in new.uns


def test_a_model_is_refused_as_a_reference_of_a_map(atlas, new, tmp_path):
    tl.save_model(tl.fit_model(atlas), tmp_path / "atlas.mnn")
    new.write_h5ad(tmp_path / "new.h5ad")
    words = ["--reference", tmp_path / "atlas.mnn", "-o", tmp_path / "out.h5ad"]
    found = shell("umap", tmp_path / "new.h5ad", *words, code=1)
    assert "is a model" in found.output
    assert not (tmp_path / "out.h5ad").exists()


def test_places_are_weighted_means_of_the_nearest():
    rng = np.random.default_rng(0)
    known, drawn, query = (
        rng.normal(size=(40, 3)),
        rng.normal(size=(40, 2)),
        rng.normal(size=(5, 3)),
    )
    made = place_on_map(known, drawn, query, n_neighbors=4)
    for one, place in zip(query, made, strict=True):
        d = np.linalg.norm(known - one, axis=1)
        near = np.argsort(d)[:4]
        weights = np.exp(-(d[near] - d[near[0]]) / (d[near] - d[near[0]]).mean()) / d[near]
        np.testing.assert_allclose(place, weights @ drawn[near] / weights.sum(), rtol=1e-5)
    np.testing.assert_allclose(place_on_map(known, drawn, known[:3]), drawn[:3], rtol=1e-6)


def test_places_do_not_depend_on_the_order_of_cells(atlas, new):
    tl.umap(new, reference=atlas)
    turned = atlas[::-1].copy()
    other = new.copy()
    tl.umap(other, reference=turned)
    np.testing.assert_allclose(new.obsm["X_mnn_umap"], other.obsm["X_mnn_umap"], rtol=1e-5)


def test_another_correction_is_refused(atlas, new):
    unlike = cells()
    pp.mnn_fast(unlike, "batch", n_comps=8, n_neighbors=9)
    with pytest.raises(ValueError, match=r"not the correction .*method fast"):
        pl.placed(new, unlike, show=False)
    turned = atlas.copy()
    turned.obsm["X_mnn"] = turned.obsm["X_mnn"] + 1.0
    with pytest.raises(ValueError, match="another digest"):
        tl.umap(new, reference=turned)
    few = cells(n=60)
    pp.mnn_calibrated(few, "batch", n_comps=8)
    with pytest.raises(ValueError, match="cells 60, and the model has 120"):
        pl.placed(new, few, show=False)
    with pytest.raises(ValueError, match="no correction"):
        tl.umap(new, reference=cells())
    with pytest.raises(ValueError, match="no placed cells"):
        tl.umap(atlas.copy(), reference=atlas)
    with pytest.raises(ValueError, match="another model"):
        pl.placed(new, tl.fit_model(few), show=False)


def test_what_has_no_meaning_with_a_reference_is_refused(atlas, new):
    with pytest.raises(ValueError, match=r"`min_dist`.*`reference`"):
        tl.umap(new, reference=atlas, min_dist=0.1)
    bare = atlas.copy()
    del bare.obsm["X_mnn_umap"]
    with pytest.raises(KeyError, match=r"has no map.*umap"):
        tl.umap(new, reference=bare)


def drawn_points(ax):
    return [
        (len(points.get_offsets()), {to_hex(c).upper() for c in points.get_facecolors()})
        for points in ax.collections[:2]
    ]


def test_the_reference_is_gray_and_new_cells_have_colors(atlas, new):
    tl.umap(new, reference=atlas)
    ax = pl.placed(new, atlas, show=False)
    (n_reference, gray), (n_new, colors) = drawn_points(ax)
    assert (n_reference, n_new) == (120, 60)
    assert gray == {ABSENT}
    assert len(colors - gray) >= 3
    assert ax.get_xlabel().startswith("X_mnn_umap")
    shown = [text.get_text() for text in ax.get_legend().get_texts()]
    assert set(shown) == set(new.obs["mnn_label"])
    given = mpl.figure.Figure().subplots()
    assert pl.placed(new, atlas, ax=given) is given
    mpl.pyplot.close("all")


def test_a_map_of_new_cells_alone_is_not_drawn_over_the_reference(atlas, new):
    new.obsm["X_mnn_umap"] = np.zeros((60, 2), np.float32)
    del new.obs["mnn_label"]
    ax = pl.placed(new, tl.fit_model(atlas), show=False)
    assert ax.get_xlabel() == "X_mnn 1"
    assert "mnn_confidence" in ax.get_title()
    assert pl.placed(new, atlas, show=False).get_xlabel() == "X_mnn 1"
    mpl.pyplot.close("all")


@pytest.mark.parametrize(
    "kind", ["corrected", pytest.param("without map", marks=pytest.mark.slow), "model"]
)
def test_the_report_shows_the_reference_in_gray(atlas, new, tmp_path, kind):
    new.write_h5ad(tmp_path / "placed.h5ad")
    reference = tmp_path / "reference"
    if kind == "model":
        tl.save_model(atlas, reference)
    else:
        known = atlas.copy()
        if kind == "without map":
            del known.obsm["X_mnn_umap"]
        known.write_h5ad(reference)
    how = {"markers": False, "evaluate": False}
    page = make_report([tmp_path / "placed.h5ad"], reference=reference, **how)
    assert "reference cells" in page
    assert "120" in page
    assert ("UMAP 1" in page) == (kind == "corrected")
    assert ("UMAP after is of" in page) == (kind == "corrected")
    assert "reference cells" not in make_report([tmp_path / "placed.h5ad"], **how)


def test_the_report_refuses_references_that_do_not_fit(atlas, new, tmp_path):
    atlas.write_h5ad(tmp_path / "atlas.h5ad")
    new.write_h5ad(tmp_path / "placed.h5ad")
    with pytest.raises(ValueError, match=r"atlas.h5ad.*leave it out"):
        make_report([tmp_path / "atlas.h5ad"], reference=tmp_path / "atlas.h5ad")
    with pytest.raises(ValueError, match="one file"):
        make_report([tmp_path / "placed.h5ad"] * 2, reference=tmp_path / "atlas.h5ad")


@pytest.mark.slow
def test_the_shell_gives_the_same_places(atlas, new, tmp_path):
    atlas.write_h5ad(tmp_path / "atlas.h5ad")
    new.write_h5ad(tmp_path / "placed.h5ad")
    words = ["umap", tmp_path / "placed.h5ad", "--reference", tmp_path / "atlas.h5ad"]
    shell(*words, "-o", tmp_path / "mapped.h5ad")
    tl.umap(new, reference=atlas)
    made = anndata.read_h5ad(tmp_path / "mapped.h5ad")
    assert (made.obsm["X_mnn_umap"] == new.obsm["X_mnn_umap"]).all()
    said = shell(*words, "-o", tmp_path / "more.h5ad", "--min-dist", "0.1", code=1).stderr
    assert "--min-dist" in said
    assert not (tmp_path / "more.h5ad").exists()
    page = tmp_path / "placed.html"
    shell("report", *words[1:], "-o", page, "--no-markers", "--no-evaluate")
    assert "reference cells" in page.read_text()
