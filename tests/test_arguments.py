"""Arguments that have two names, what may stand for a seed, and what is taken for an object."""

from __future__ import annotations

import inspect
import types

import anndata
import numpy as np
import pandas as pd
import pytest

from mnncorrect import pp, tl
from mnncorrect._adata.arguments import SEED, take_rep, take_seed
from mnncorrect._adata.presets import pca_key

CALLS = {
    f"{module.__name__}.{name}": getattr(module, name)
    for module in (pp, tl)
    for name in module.__all__
    if inspect.isfunction(getattr(module, name))
}


@pytest.fixture
def adata(blobs):
    x, codes, _ = blobs(sizes=(40, 40), n_features=6)
    data = anndata.AnnData(np.ones((80, 1)), obsm={"X_pca": x})
    data.obs["batch"] = pd.Categorical.from_codes(codes, ["a", "b"])
    return data


def test_rng_stands_beside_random_state_and_use_beside_use_rep():
    for name, call in CALLS.items():
        parameters = inspect.signature(call).parameters
        assert ("random_state" in parameters) == ("rng" in parameters), name
        assert ("use_rep" in parameters) == ("use" in parameters), name


@pytest.mark.parametrize("seed", [7, np.int64(7)])
def test_a_number_is_the_seed_by_either_name(seed):
    assert take_seed(seed) == take_seed(SEED, seed) == 7
    assert type(take_seed(seed)) is int
    assert take_seed(SEED) == 0


@pytest.mark.parametrize(
    "make",
    [
        lambda: np.random.default_rng(3),
        lambda: np.random.PCG64(3),
        lambda: np.random.SeedSequence(3),
        lambda: np.random.RandomState(3),
        lambda: [3, 4],
    ],
)
def test_a_generator_gives_a_seed_that_depends_on_its_state(make):
    assert take_seed(make()) == take_seed(SEED, make())
    assert 0 <= take_seed(make()) < 2**31
    generator = np.random.default_rng(3)
    assert take_seed(generator) != take_seed(generator)


def test_none_is_another_seed_each_time():
    assert len({take_seed(None) for _ in range(4)} | {take_seed(SEED, None) for _ in range(4)}) == 8


@pytest.mark.parametrize(("wrong", "error"), [(-1, ValueError), (1.5, TypeError), ("x", TypeError)])
def test_what_is_no_seed_is_refused_by_its_name(wrong, error):
    with pytest.raises(error, match=r"^random_state is .* Generator"):
        take_seed(wrong)
    with pytest.raises(error, match=r"^rng is .* Generator"):
        take_seed(SEED, wrong)


def test_both_names_at_once_are_refused(adata):
    with pytest.raises(ValueError, match="rng and random_state"):
        pp.mnn_integrate(adata, "batch", random_state=0, rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="use and use_rep"):
        pp.mnn_fast(adata, "batch", use_rep="X_pca", use="X_pca")


@pytest.mark.parametrize("seed", [{"random_state": None}, {"rng": None}, {"rng": "generator"}])
def test_the_seed_that_was_drawn_is_recorded_and_repeats_the_result(adata, seed):
    if seed.get("rng") == "generator":
        seed = {"rng": np.random.default_rng(1)}
    first = pp.mnn_integrate(adata, "batch", copy=True, **seed)
    recorded = first.uns["mnn"]["provenance"]["random_state"]
    assert isinstance(recorded, int)
    again = pp.mnn_integrate(adata, "batch", copy=True, random_state=recorded)
    np.testing.assert_array_equal(first.obsm["X_mnn"], again.obsm["X_mnn"])
    assert again.uns["mnn"]["provenance"]["random_state"] == recorded


def test_clusters_take_a_generator_too(adata):
    found = tl.gmm(
        adata, use="X_pca", n_components=2, rng=np.random.default_rng(0), max_fit=40, copy=True
    )
    recorded = found.uns["gmm"]["provenance"]["random_state"]
    again = tl.gmm(
        adata, use_rep="X_pca", n_components=2, random_state=recorded, max_fit=40, copy=True
    )
    assert (found.obs["gmm"] == again.obs["gmm"]).all()


def test_an_accessor_names_an_embedding():
    class MultiAcc(types.SimpleNamespace):
        """As anndata 0.13 has it."""

    assert take_rep(MultiAcc(dim="obs", k="X_pca")) == "X_pca"
    assert take_rep(None, MultiAcc(dim="obs", k="X_pca")) == "X_pca"
    assert take_rep(None) is None
    for wrong in (MultiAcc(dim="var", k="PCs"), 3):
        with pytest.raises(TypeError, match="give a key of obsm"):
            take_rep(wrong)


# ------------------------------------------------------------------------------- scanpy's presets


def test_components_of_scanpy_2_are_found(adata, caplog):
    expected = pp.mnn_integrate(adata, "batch", copy=True)
    adata.obsm["pca"] = adata.obsm.pop("X_pca")
    with caplog.at_level("INFO", "mnncorrect"):
        found = pp.mnn_integrate(adata, "batch", copy=True)
    np.testing.assert_array_equal(found.obsm["X_mnn"], expected.obsm["X_mnn"])
    assert found.uns["mnn"]["params"]["use_rep"] == "pca"
    assert "'pca'" in caplog.text


def test_the_usual_components_go_first(adata):
    adata.obsm["pca"] = adata.obsm["X_pca"] + 1
    assert pca_key(adata, "X_pca") == "X_pca"
    assert pca_key(adata, "other") == "other"


def test_a_map_and_genes_do_not_depend_on_the_preset(adata):
    scanpy = pytest.importorskip("scanpy")
    if not hasattr(scanpy, "Preset"):
        pytest.skip("this scanpy has no presets")
    from mnncorrect._adata.presets import usual_preset

    before = scanpy.settings.preset
    with usual_preset():
        assert scanpy.settings.preset is scanpy.Preset.ScanpyV1
    assert scanpy.settings.preset is before


# ----------------------------------------------------------------------------------- plain arrays


@pytest.mark.parametrize("method", ["calibrated", "fast"])
def test_an_array_and_labels_give_an_array(adata, method):
    x = adata.obsm["X_pca"]
    expected = pp.mnn_integrate(adata, "batch", method=method, copy=True).obsm["X_mnn"]
    before = x.copy()
    labels = adata.obs["batch"]
    for given in (labels, labels.to_numpy(), labels.tolist(), labels.to_frame()):
        found = pp.mnn_integrate(x, given, method=method)
        assert type(found) is np.ndarray
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(x, before)
    table = pd.DataFrame(x.astype(np.float32), index=adata.obs_names).add_prefix("PC")
    moved = pp.mnn_integrate(table, labels.set_axis(range(80, 160)), method=method)
    assert moved.index.equals(table.index)
    assert moved.columns.equals(table.columns)
    assert (moved.dtypes == np.float32).all()


def test_several_columns_of_labels_are_several_keys(adata):
    labels = pd.DataFrame({"a": ["x"] * 40 + ["y"] * 40, "b": ["p", "q"] * 40})
    adata.obs[["a", "b"]] = labels.set_axis(adata.obs_names)
    expected = pp.mnn_integrate(adata, ["a", "b"], method="fast", n_neighbors=5, copy=True)
    found = pp.mnn_integrate(adata.obsm["X_pca"], labels, method="fast", n_neighbors=5)
    np.testing.assert_array_equal(found, expected.obsm["X_mnn"])


@pytest.mark.parametrize(
    ("labels", "options", "error", "message"),
    [
        ("batch", {}, TypeError, "give the batch of each"),
        (["a", "b"], {}, ValueError, "2 labels for 80 cells"),
        (["a", "b"] * 40, {"basis": "X_pca2"}, ValueError, "no use for basis"),
        (["a", "b"] * 40, {"copy": True, "key_added": "k"}, ValueError, "key_added, copy"),
    ],
)
def test_what_an_array_has_no_use_for_is_refused(adata, labels, options, error, message):
    with pytest.raises(error, match=message):
        pp.mnn_integrate(adata.obsm["X_pca"], labels, **options)


# -------------------------------------------------------------------------- what is not an object


@pytest.mark.parametrize("call", [pp.mnn_integrate, pp.mnn_fast, pp.mnn_calibrated, pp.mnn_classic])
def test_what_is_not_one_object_is_refused_with_the_fix(adata, call):
    pair = types.SimpleNamespace(mod={"rna": adata, "adt": adata}, obs=adata.obs)
    for given, fix in (
        ([adata, adata], r"anndata\.concat"),
        ({"a": adata, "b": adata}, r"anndata\.concat"),
        (pair, r"mdata\['rna'\]"),
        ("file.h5ad", r"anndata\.read_h5ad"),
        ([[1.0, 2.0]], r"anndata\.AnnData\("),
    ):
        with pytest.raises(TypeError, match=fix):
            call(given, "batch")
