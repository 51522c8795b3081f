"""Corrected expression without negative values: its own layer, flagged, and refused where idle."""

import anndata
import numpy as np
import pytest
from typer.testing import CliRunner

import mnncorrect
from mnncorrect import pp
from mnncorrect._io.example import make_example
from mnncorrect._wording import UsageError
from mnncorrect.cli.app import app

COMMON = {"n_comps": 8, "gmm": False, "write_expression": True, "copy": True}


def make_small():
    """Half of the example's cells, and a quarter of its genes."""
    return make_example()[::2, ::4].copy()


@pytest.mark.parametrize(
    ("method", "how"), [("fast", {"expression_scale": "log"}), ("calibrated", {})]
)
def test_clipped_expression_is_the_corrected_one_without_negatives(method, how):
    adata = make_small()
    whole = mnncorrect.run(adata, "batch", method=method, **COMMON, **how)
    made = mnncorrect.run(adata, "batch", method=method, expression_clip=True, **COMMON, **how)
    assert whole.layers["mnn"].min() < 0
    np.testing.assert_array_equal(made.layers["mnn_clipped"], np.maximum(whole.layers["mnn"], 0))
    assert "mnn" not in made.layers
    assert made.uns["mnn"]["expression"]["clipped"]
    assert made.uns["mnn"]["not_for_differential_expression"]


@pytest.mark.parametrize(
    ("kind", "layer"),
    [("clip", "mnn_clipped"), pytest.param("counts", "mnn_counts", marks=pytest.mark.slow)],
)
def test_the_shell_writes_the_layer_of_python(tmp_path, kind, layer):
    path, output = tmp_path / "in.h5ad", tmp_path / "out.h5ad"
    make_small().write_h5ad(path)
    words = ["run", path, "-b", "batch", "-o", output, "--n-comps", 8, "--no-gmm"]
    words += ["--write-expression", f"--expression-{kind}"]
    dry = CliRunner().invoke(app, [*map(str, words), "--dry-run"])
    assert layer in dry.stdout
    done = CliRunner().invoke(app, list(map(str, words)))
    assert done.exit_code == 0, done.output
    written = anndata.read_h5ad(output)
    made = mnncorrect.run(make_small(), "batch", **{f"expression_{kind}": True}, **COMMON)
    np.testing.assert_array_equal(written.layers[layer], made.layers[layer])
    record = "clipped" if kind == "clip" else "counts"
    assert written.uns["mnn"]["expression"][record]
    assert layer in CliRunner().invoke(app, ["info", str(output)]).stdout
    mnncorrect.run(written, "batch", n_comps=7, gmm=False)
    assert layer not in written.layers


@pytest.mark.parametrize("scale", ["log", "cosine"])
def test_expression_of_components_is_clipped_in_python(scale):
    adata = make_small()
    pp.prepare(adata, "batch")
    pp.mnn_fast(adata, "batch", layer="mnn_log1p", mask_var="mnn_genes", n_comps=8)
    pp.mnn_expression(adata, scale=scale)
    pp.mnn_expression(adata, scale=scale, clip=True)
    expected = np.maximum(adata.layers["mnn"], 0)
    np.testing.assert_array_equal(adata.layers["mnn_clipped"], expected)
    assert adata.layers["mnn"].min() < 0


def test_values_of_mean_zero_are_not_clipped():
    adata = make_small()
    with pytest.raises(UsageError, match="expression_scale"):
        mnncorrect.run(adata, "batch", method="fast", expression_clip=True, **COMMON)
    with pytest.raises(UsageError, match="write_expression"):
        mnncorrect.run(adata, "batch", expression_clip=True)
    pp.prepare(adata, "batch")
    pp.mnn_fast(adata, "batch", layer="mnn_log1p", mask_var="mnn_genes", n_comps=8)
    with pytest.raises(ValueError, match="centered"):
        pp.mnn_expression(adata, clip=True)
    assert "mnn_clipped" not in adata.layers


@pytest.mark.parametrize("cosine_norm_out", [True, False])
def test_classic_has_a_layer_without_negatives_beside_its_own(cosine_norm_out):
    adata = make_small()
    how = {"method": "classic", "gmm": False, "pca": False, "n_top_genes": 60, "copy": True}
    how["cosine_norm_out"] = cosine_norm_out
    whole = mnncorrect.run(adata, "batch", **how)
    made = mnncorrect.run(adata, "batch", expression_clip=True, **how)
    np.testing.assert_array_equal(made.layers["mnn"], whole.layers["mnn"])
    assert whole.layers["mnn"].min() < 0
    np.testing.assert_array_equal(made.layers["mnn_clipped"], np.maximum(whole.layers["mnn"], 0))
    scale = "cosine" if cosine_norm_out else "log"
    assert made.uns["mnn"]["expression"] == {"scale": scale, "clipped": True}


COUNTED = {
    "calibrated": {"write_expression": True},
    "fast": {"write_expression": True, "expression_scale": "log"},
    "classic": {"cosine_norm_out": False, "pca": False},
}


@pytest.mark.parametrize("method", COUNTED)
def test_counts_are_corrected_log_values_scaled_back(method):
    adata = make_small()
    how = {"method": method, "gmm": False, "n_top_genes": 60, "copy": True, **COUNTED[method]}
    whole = mnncorrect.run(adata, "batch", **how)
    made = mnncorrect.run(adata, "batch", expression_counts=True, **how)
    depth = np.asarray(adata.X.sum(1)).ravel()
    total = made.uns["mnn"]["prepared"]["total"]
    expected = np.expm1(np.maximum(whole.layers["mnn"], 0)) * (depth / total)[:, None]
    np.testing.assert_allclose(made.layers["mnn_counts"], expected, rtol=1e-5)
    assert made.layers["mnn_counts"].min() == 0
    assert made.uns["mnn"]["expression"]["counts"]
    assert made.uns["mnn"]["not_for_differential_expression"]
    assert ("mnn" in made.layers) == (method == "classic")


def test_counts_of_cells_that_did_not_move_are_their_own():
    adata = make_small()
    adata = adata[adata.obs["batch"] == adata.obs["batch"].iloc[0]].copy()
    adata.obs["half"] = ["a", "b"] * (adata.n_obs // 2) + ["a"] * (adata.n_obs % 2)
    made = mnncorrect.run(
        adata, "half", write_expression=True, expression_counts=True, correct_all=True,
        gmm=False, copy=True,
    )  # fmt: skip
    assert made.uns["mnn"]["merges"]["skipped"].all()
    np.testing.assert_allclose(made.layers["mnn_counts"], adata.X.toarray(), atol=1e-3)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"write_expression": True, "expression_clip": True}, "exclude each other"),
        ({}, "write_expression"),
        ({"method": "fast", "write_expression": True}, "expression_scale='log'"),
        ({"method": "classic"}, "cosine_norm_out=False"),
        ({"write_expression": True, "log1p": False}, "expression_clip"),
        ({"write_expression": True, "use_rep": "X_some"}, "use_rep"),
    ],
)
def test_counts_that_mean_nothing_are_refused_before_work(how, said):
    adata = make_small()
    adata.obsm["X_some"] = adata.X.toarray()[:, :5]
    with pytest.raises(ValueError, match=said):
        mnncorrect.run(adata, "batch", expression_counts=True, **how)
    assert "mnn" not in adata.uns


def test_log_values_cannot_be_scaled_back():
    adata = make_small()
    pp.prepare(adata, "batch")
    with pytest.raises(ValueError, match=r"log values.*expression_clip"):
        mnncorrect.plan(
            adata, "batch", layer="mnn_log1p", write_expression=True, expression_counts=True
        )
