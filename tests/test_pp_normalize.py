"""What surrounds the corrections, on AnnData: numbers, keys, containers, copies and errors."""

from __future__ import annotations

import inspect
import json
from types import MappingProxyType

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from mnncorrect import pp
from mnncorrect.core.matrix.normalize import multibatch_normalize, rescale_batches
from mnncorrect.core.matrix.pca import multibatch_pca
from mnncorrect.core.methods.regress import regress_batches

SIZES = (12, 9, 15)
# Not the sorted order: it is that of the categories.
NAMES = ["low", "high", "middle"]
CODES = np.repeat(np.arange(3), SIZES)
FUNCTIONS = {
    "multibatch_normalize": {"layer": "counts"},
    "multibatch_pca": {"n_comps": 3},
    "regress_batches": {},
    "rescale_batches": {},
}
# What each of them writes.
WRITTEN = {
    "multibatch_normalize": {
        "layers": ["mnn_log2"], "obs": ["mnn_log2_size_factors"], "uns": ["mnn_log2"],
    },
    "multibatch_pca": {
        "obsm": ["X_mnn_multibatch_pca"], "varm": ["mnn_loadings"], "var": ["mnn_center"],
        "uns": ["mnn_multibatch_pca"],
    },
    "regress_batches": {"layers": ["mnn_regressed"], "uns": ["mnn_regressed"]},
    "rescale_batches": {"layers": ["mnn_rescaled"], "uns": ["mnn_rescaled"]},
}  # fmt: skip

every_function = pytest.mark.parametrize("name", FUNCTIONS)


@pytest.fixture
def adata(rng):
    """Three batches of counts and of their logarithms, with something in every slot."""
    counts = rng.poisson(np.repeat([1, 9, 4], SIZES)[:, None] * rng.gamma(2, 2, size=20))
    counts[:, 0] += 1
    data = anndata.AnnData(np.log2(counts + 1.0).astype(np.float32))
    data.layers["counts"] = counts
    data.layers["sparse"] = sparse.csr_matrix(data.X)
    data.obs["batch"] = pd.Categorical.from_codes(CODES, categories=NAMES)
    data.obs["some"] = np.arange(36) % 4 != 1
    data.obs["size"] = rng.uniform(0.5, 2, 36)
    data.var["chosen"] = np.arange(20) % 3 != 1
    data.obsm["X_other"] = rng.normal(size=(36, 2))
    data.uns["other"] = {"a": 1}
    data.raw = data.copy()
    return data


def run(adata, name, **changed):
    function = getattr(pp, name)
    return function(adata, "batch", **{"n_jobs": 1, "copy": True, **FUNCTIONS[name], **changed})


@pytest.fixture
def file_of(tmp_path):
    """Function from an object to the bytes of its h5ad file: equal objects have equal files."""

    def as_bytes(adata):
        adata.copy().write_h5ad(tmp_path / "compared.h5ad")
        return (tmp_path / "compared.h5ad").read_bytes()

    return as_bytes


def dense(x):
    return x.toarray() if sparse.issparse(x) else x


# -- Numbers: those of the core, whose tests compare them with oracles ----------------------------


@pytest.mark.parametrize("factors", [None, "size"])
@pytest.mark.parametrize("mask_var", [None, "chosen"])
def test_normalisation_is_that_of_the_core(adata, factors, mask_var):
    made = run(adata, "multibatch_normalize", size_factors=factors, mask_var=mask_var, min_mean=2)
    expected = multibatch_normalize(
        adata.layers["counts"], CODES, min_mean=2,
        size_factors=None if factors is None else adata.obs["size"].to_numpy(),
        mask=None if mask_var is None else adata.var["chosen"].to_numpy(),
    )  # fmt: skip
    np.testing.assert_array_equal(made.layers["mnn_log2"], expected.values)
    np.testing.assert_array_equal(made.obs["mnn_log2_size_factors"], expected.size_factors)
    assert made.uns["mnn_log2"]["reference"] == "low"
    assert made.uns["mnn_log2"]["params"].get("size_factors") == factors
    assert made.uns["mnn_log2"]["params"].get("mask_var") == mask_var


def test_library_sizes_of_raw_are_over_all_its_genes(adata):
    counts = adata.layers["counts"].astype(np.float32)
    whole = anndata.AnnData(counts, obs=adata.obs, var=adata.var)
    whole.var["feature_types"] = ["Gene Expression"] * 18 + ["Antibody Capture"] * 2
    cut = whole[:, 3:12].copy()
    cut.raw = whole
    sizes = counts[:, :18].sum(1)
    made = run(cut, "multibatch_normalize", layer=None, use_raw=True)
    expected = run(cut, "multibatch_normalize", layer=None, size_factors=sizes)
    np.testing.assert_array_equal(made.layers["mnn_log2"], expected.layers["mnn_log2"])
    # A choice of genes holds for totals as well.
    cut.var["chosen"] = np.arange(9) < 6
    made = run(cut, "multibatch_normalize", layer=None, use_raw=True, mask_var="chosen")
    expected = run(cut, "multibatch_normalize", layer=None, mask_var="chosen")
    np.testing.assert_array_equal(made.layers["mnn_log2"], expected.layers["mnn_log2"])


def test_size_factors_may_be_numbers(adata):
    by_name = run(adata, "multibatch_normalize", size_factors="size")
    values = run(adata, "multibatch_normalize", size_factors=adata.obs["size"].tolist())
    np.testing.assert_array_equal(by_name.layers["mnn_log2"], values.layers["mnn_log2"])
    assert values.uns["mnn_log2"]["params"]["size_factors"] == "an array"


@pytest.mark.parametrize("restrict", [None, "some"])
def test_rescaling_is_that_of_the_core(adata, restrict):
    made = run(adata, "rescale_batches", restrict=restrict, log_base=np.e)
    expected = rescale_batches(
        adata.X, CODES, log_base=np.e,
        restrict=None if restrict is None else adata.obs["some"].to_numpy(),
    )  # fmt: skip
    np.testing.assert_array_equal(made.layers["mnn_rescaled"], expected)
    assert made.uns["mnn_rescaled"]["params"]["log_base"] == np.e
    assert made.uns["mnn_rescaled"]["params"].get("restrict") == restrict


def test_rescaling_normalised_counts_brings_means_together(adata):
    pp.multibatch_normalize(adata, "batch", layer="counts")
    pp.rescale_batches(adata, "batch", layer="mnn_log2")
    counts = 2 ** adata.layers["mnn_rescaled"].astype(float) - 1
    means = np.stack([counts[code == CODES].mean(0) for code in range(3)])
    np.testing.assert_allclose(means, means[:1].repeat(3, 0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("restrict", [None, "some"])
def test_regression_is_that_of_the_core(adata, restrict):
    made = run(adata, "regress_batches", restrict=restrict)
    kept = None if restrict is None else adata.obs["some"].to_numpy()
    expected = regress_batches(adata.X, CODES, restrict=kept)
    np.testing.assert_array_equal(made.layers["mnn_regressed"], expected)
    assert made.uns["mnn_regressed"]["columns"].tolist() == NAMES
    assert not made.uns["mnn_regressed"]["kept"].any()


@pytest.mark.parametrize("form", ["table", "array", "obsm", "table in obsm", "sparse in obsm"])
def test_a_design_may_come_in_many_forms(adata, form):
    columns = ["all", "high", "size"]
    table = pd.DataFrame(
        np.column_stack([np.ones(36), CODES == 1, adata.obs["size"]]).astype(float),
        index=adata.obs_names, columns=columns,
    )  # fmt: skip
    design = {"table": table, "array": table.to_numpy()}.get(form, "design")
    if "obsm" in form:
        stored = {"table in obsm": table, "sparse in obsm": sparse.csr_matrix(table.to_numpy())}
        adata.obsm["design"] = stored.get(form, table.to_numpy())
    named = "table" in form
    made = run(adata, "regress_batches", design=design, keep=["all", "size"] if named else [0, 2])
    expected = regress_batches(adata.X, CODES, design=table.to_numpy(), keep=[0, 2])
    np.testing.assert_array_equal(made.layers["mnn_regressed"], expected)
    stored = made.uns["mnn_regressed"]
    assert stored["columns"].tolist() == (columns if named else ["0", "1", "2"])
    assert stored["kept"].tolist() == [True, False, True]
    assert stored["params"]["design"] == ("design" if "obsm" in form else "an array")


def test_effects_of_batches_can_be_kept_by_name(adata):
    made = run(adata, "regress_batches", keep="high")
    np.testing.assert_array_equal(made.layers["mnn_regressed"][CODES == 1], adata.X[CODES == 1])


@pytest.mark.parametrize("all_genes", [False, True])
def test_components_are_those_of_the_core(adata, all_genes):
    made = run(adata, "multibatch_pca", mask_var="chosen", all_genes=all_genes)
    mask = adata.var["chosen"].to_numpy()
    expected = multibatch_pca(adata.X, CODES, 3, mask=mask, all_genes=all_genes)
    np.testing.assert_array_equal(made.obsm["X_mnn_multibatch_pca"], expected.scores)
    filled = np.ones(20, bool) if all_genes else mask
    np.testing.assert_array_equal(made.varm["mnn_loadings"][filled], expected.rotation)
    np.testing.assert_array_equal(made.var["mnn_center"][filled], expected.center)
    assert not made.varm["mnn_loadings"][~filled].any()
    assert not made.var["mnn_center"][~filled].any()
    stored = made.uns["mnn_multibatch_pca"]
    np.testing.assert_array_equal(stored["variance"], expected.variance)
    np.testing.assert_allclose(
        stored["variance_ratio"] * expected.total_variance, stored["variance"]
    )


def test_highly_variable_genes_are_used_where_there_are_some(adata):
    expected = run(adata, "multibatch_pca", mask_var="chosen")
    adata.var["highly_variable"] = adata.var["chosen"]
    made = run(adata, "multibatch_pca")
    np.testing.assert_array_equal(made.varm["mnn_loadings"], expected.varm["mnn_loadings"])
    assert made.uns["mnn_multibatch_pca"]["params"]["mask_var"] == "highly_variable"


@pytest.mark.parametrize(
    ("given", "weights"),
    [
        (None, [1, 1, 1]),
        (False, SIZES),
        ([1.0, 2.0, 4.0], [1, 2, 4]),
        ({"high": 2, "low": 1, "middle": 4}, [1, 2, 4]),
        (MappingProxyType({"high": 2, "low": 1, "middle": 4}), [1, 2, 4]),
        ("high=2,low=1,middle=4", [1, 2, 4]),
        (["high", ["low", "middle"]], [0.25, 0.5, 0.25]),
    ],
)
def test_weights_may_come_in_many_forms(adata, given, weights):
    made = run(adata, "multibatch_pca", batch_weights=given)
    stored = made.uns["mnn_multibatch_pca"]
    np.testing.assert_array_equal(stored["weights"], weights)
    assert stored["batches"].tolist() == NAMES
    expected = multibatch_pca(adata.X, CODES, 3, weights=np.array(weights, float))
    np.testing.assert_array_equal(made.obsm["X_mnn_multibatch_pca"], expected.scores)
    if given is not None:
        assert json.loads(json.dumps(stored["params"]["batch_weights"])) is not None


def test_fewer_components_than_asked_for_are_said(adata):
    with pytest.warns(UserWarning, match="no more than 14 components"):
        made = run(adata, "multibatch_pca", mask_var=np.arange(20) < 14, n_comps=50)
    assert made.obsm["X_mnn_multibatch_pca"].shape == (36, 14)
    assert made.uns["mnn_multibatch_pca"]["params"]["n_comps"] == 14


# -- Where results live ---------------------------------------------------------------------------


@every_function
def test_only_the_results_are_written(adata, name, file_of, tmp_path):
    before = file_of(adata)
    assert run(adata, name, copy=False) is None
    adata.write_h5ad(tmp_path / "made.h5ad")
    read = anndata.read_h5ad(tmp_path / "made.h5ad")
    for slot, keys in WRITTEN[name].items():
        for key in keys:
            found, kept = getattr(adata, slot)[key], getattr(read, slot)[key]
            assert set(found) == set(kept) if slot == "uns" else np.array_equal(found, kept)
            del getattr(adata, slot)[key]
    assert file_of(adata) == before


@every_function
def test_a_copy_leaves_the_object_alone(adata, name, file_of):
    before = file_of(adata)
    made = run(adata, name)
    assert file_of(adata) == before
    run(adata, name, copy=False)
    assert file_of(made) == file_of(adata)


@every_function
def test_a_view_is_written_to_without_touching_its_parent(adata, name, file_of):
    parent = anndata.concat([adata, adata[:5]], merge="same", index_unique="-")
    parent.obs["batch"] = parent.obs["batch"].cat.reorder_categories(NAMES)
    before = file_of(parent)
    made = run(parent[:36].copy(), name)
    view = parent[:36]
    run(view, name, copy=False)
    assert not view.is_view
    assert file_of(parent) == before
    assert file_of(view) == file_of(made)


@every_function
def test_other_names_can_be_given(adata, name):
    made = run(adata, name, key_added="mine")
    default = inspect.signature(getattr(pp, name)).parameters["key_added"].default
    for slot, keys in WRITTEN[name].items():
        for key in keys:
            assert key.replace(default, "mine") in getattr(made, slot)
            assert key not in getattr(made, slot)


@every_function
@pytest.mark.parametrize("container", [sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array])
def test_sparse_values_give_what_dense_ones_give(adata, name, container):
    expected = run(adata, name)
    source = adata.layers["counts"] if name == "multibatch_normalize" else adata.X
    adata.layers["stored"] = container(source)
    made = run(adata, name, layer="stored")
    for slot in ("layers", "obsm"):
        for key in WRITTEN[name].get(slot, []):
            np.testing.assert_allclose(
                dense(getattr(made, slot)[key]), getattr(expected, slot)[key], atol=1e-5
            )
    if name in ("multibatch_normalize", "rescale_batches"):
        (key,) = WRITTEN[name]["layers"]
        assert type(made.layers[key]) is container
        assert made.layers[key].dtype == np.float32


@every_function
def test_values_can_be_read_from_raw(adata, name):
    if name == "multibatch_normalize":
        adata.X = adata.layers["counts"].astype(np.float32)
        adata.raw = adata.copy()
    expected = run(adata, name, layer=None)
    adata.X = np.zeros_like(adata.X)
    made = run(adata, name, layer=None, use_raw=True)
    for slot in ("layers", "obsm"):
        for key in WRITTEN[name].get(slot, []):
            np.testing.assert_array_equal(getattr(made, slot)[key], getattr(expected, slot)[key])


@every_function
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_results_have_the_float_type_of_the_input(adata, name, dtype):
    source = adata.layers["counts"] if name == "multibatch_normalize" else adata.X
    adata.layers["typed"] = source.astype(dtype)
    made = run(adata, name, layer="typed")
    for slot in ("layers", "obsm"):
        for key in WRITTEN[name].get(slot, []):
            assert getattr(made, slot)[key].dtype == dtype


# -- Errors and warnings --------------------------------------------------------------------------


@every_function
@pytest.mark.parametrize(
    ("changed", "error", "match"),
    [
        ({"layer": "nothing"}, KeyError, "nothing"),
        ({"layer": "gaps"}, ValueError, "not finite"),
    ],
)
def test_values_that_are_not_there_are_refused(adata, name, changed, error, match):
    adata.layers["gaps"] = np.full(adata.shape, np.nan)
    with pytest.raises(error, match=match):
        run(adata, name, **changed)


@every_function
def test_batches_that_are_not_there_are_refused(adata, name):
    with pytest.raises(KeyError, match="nothing"):
        getattr(pp, name)(adata, "nothing")
    adata.obs["one"] = "same"
    with pytest.raises(ValueError, match="one batch only"):
        getattr(pp, name)(adata, "one")


def test_values_that_are_no_counts_are_refused_or_warned_of(adata):
    with pytest.warns(UserWarning, match="X holds .*not whole"):
        run(adata, "multibatch_normalize", layer=None)
    adata.layers["counts"][3, 4] = -1
    with pytest.raises(ValueError, match="negative values, down to -1; counts are needed"):
        run(adata, "multibatch_normalize")


def test_counts_are_warned_of_where_logarithms_are_needed(adata):
    for name in ("rescale_batches", "regress_batches"):
        with pytest.warns(UserWarning, match="whole numbers, which look like counts"):
            run(adata, name, layer="counts")


def test_normalisation_says_which_batches_cannot_be_compared(adata):
    with pytest.raises(ValueError, match="batches 'low' and 'high' have no gene"):
        run(adata, "multibatch_normalize", min_mean=1e6)


@pytest.mark.parametrize(
    ("factors", "error", "match"),
    [
        ("nothing", KeyError, "obs has no 'nothing'"),
        ("batch", TypeError, "size factors are numbers above 0"),
        (np.zeros(36), ValueError, "36 cells .*not above 0"),
        (np.ones(3), ValueError, r"\(36,\)"),
    ],
)
def test_wrong_size_factors_are_refused(adata, factors, error, match):
    with pytest.raises(error, match=match):
        run(adata, "multibatch_normalize", size_factors=factors)


@pytest.mark.parametrize(
    ("changed", "error", "match"),
    [
        ({"design": "nothing"}, KeyError, "obsm has no 'nothing'"),
        ({"design": pd.DataFrame(np.ones((36, 1)))}, ValueError, "index of design is not"),
        ({"design": np.full((36, 1), "a")}, TypeError, "made of numbers"),
        ({"design": np.ones((35, 1))}, ValueError, "must be .36, number of coefficients"),
        ({"design": np.ones((36, 2))}, ValueError, "not independent over the 36 cells"),
        ({"keep": ["none"]}, ValueError, "keep names 'none'.* 'low', 'high', 'middle'"),
        ({"keep": [3]}, ValueError, "it has columns 0 to 2"),
    ],
)
def test_wrong_designs_are_refused(adata, changed, error, match):
    with pytest.raises(error, match=match):
        run(adata, "regress_batches", **changed)


@pytest.mark.parametrize("n_comps", [0, -1, 2.5])
def test_numbers_of_components_that_cannot_be_are_refused(adata, n_comps):
    with pytest.raises(ValueError, match=r"n_comps is .* whole number from 1 up"):
        run(adata, "multibatch_pca", n_comps=n_comps)


@pytest.mark.parametrize("weights", [[1.0, 2.0], {"low": 1}, ["low", ["high"]], [0.0, 1.0, 1.0]])
def test_wrong_weights_are_refused(adata, weights):
    with pytest.raises(ValueError, match="low, high, middle"):
        run(adata, "multibatch_pca", batch_weights=weights)
