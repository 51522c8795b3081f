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


@pytest.mark.parametrize(
    ("method", "how"), [("fast", {"expression_scale": "log"}), ("calibrated", {})]
)
def test_clipped_expression_is_the_corrected_one_without_negatives(method, how):
    adata = make_example()
    whole = mnncorrect.run(adata, "batch", method=method, **COMMON, **how)
    made = mnncorrect.run(adata, "batch", method=method, expression_clip=True, **COMMON, **how)
    assert whole.layers["mnn"].min() < 0
    np.testing.assert_array_equal(made.layers["mnn_clipped"], np.maximum(whole.layers["mnn"], 0))
    assert "mnn" not in made.layers
    assert made.uns["mnn"]["expression"]["clipped"]
    assert made.uns["mnn"]["not_for_differential_expression"]


def test_the_shell_writes_the_layer_of_python(tmp_path):
    path, output = tmp_path / "in.h5ad", tmp_path / "out.h5ad"
    make_example().write_h5ad(path)
    words = ["run", path, "-b", "batch", "-o", output, "--n-comps", 8, "--no-gmm"]
    words += ["--write-expression", "--expression-clip"]
    dry = CliRunner().invoke(app, [*map(str, words), "--dry-run"])
    assert "mnn_clipped" in dry.stdout
    done = CliRunner().invoke(app, list(map(str, words)))
    assert done.exit_code == 0, done.output
    written = anndata.read_h5ad(output)
    made = mnncorrect.run(make_example(), "batch", expression_clip=True, **COMMON)
    np.testing.assert_array_equal(written.layers["mnn_clipped"], made.layers["mnn_clipped"])
    assert written.uns["mnn"]["expression"]["clipped"]
    assert "mnn_clipped" in CliRunner().invoke(app, ["info", str(output)]).stdout
    assert "layers/mnn_clipped" in done.stderr
    # A new correction removes the layer that it makes stale.
    mnncorrect.run(written, "batch", n_comps=7, gmm=False)
    assert "mnn_clipped" not in written.layers


@pytest.mark.parametrize("scale", ["log", "cosine"])
def test_expression_of_components_is_clipped_in_python(scale):
    adata = make_example()
    pp.prepare(adata, "batch")
    pp.mnn_fast(adata, "batch", layer="mnn_log1p", mask_var="mnn_genes", n_comps=8)
    pp.mnn_expression(adata, scale=scale)
    pp.mnn_expression(adata, scale=scale, clip=True)
    expected = np.maximum(adata.layers["mnn"], 0)
    np.testing.assert_array_equal(adata.layers["mnn_clipped"], expected)
    assert adata.layers["mnn"].min() < 0


def test_values_of_mean_zero_are_not_clipped():
    adata = make_example()
    with pytest.raises(UsageError, match="expression_scale"):
        mnncorrect.run(adata, "batch", method="fast", expression_clip=True, **COMMON)
    with pytest.raises(UsageError, match="write_expression"):
        mnncorrect.run(adata, "batch", expression_clip=True)
    with pytest.raises(UsageError, match="expression_clip"):
        mnncorrect.run(adata, "batch", method="classic", expression_clip=True)
    pp.prepare(adata, "batch")
    pp.mnn_fast(adata, "batch", layer="mnn_log1p", mask_var="mnn_genes", n_comps=8)
    with pytest.raises(ValueError, match="centered"):
        pp.mnn_expression(adata, clip=True)
    assert "mnn_clipped" not in adata.layers
