"""A method that registers itself is known everywhere: the shell, the null, mnn_integrate."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import anndata
import numpy as np
import pytest

import mnncorrect
from mnncorrect import pp, tl
from mnncorrect._prepare import methods

# A method in one file: it moves every batch to the mean of all.
MADE_UP = '''
import numpy as np
from mnncorrect import pp
from mnncorrect._prepare.methods import register


def halves(given):
    moved = given.x.copy()
    for half in (0, 1):
        moved[given.codes == half] -= moved[given.codes == half].mean(0)
    return given.x, moved


@register("centering", corrects="components", correct_halves=halves)
def mnn_centering(adata, key, *, use_rep=None, n_neighbors=20, adjusted_basis=None,
                  key_added="mnn", random_state=0, n_jobs=None, progress=None, copy=False,
                  merge_order=None, neighbors="auto", recall=0.995, pull=1.0):
    """Move batches to one mean.

    Parameters
    ----------
    pull
        How far each batch moves.
    """
    pp.mnn_fast(adata, key, use_rep=use_rep, n_neighbors=n_neighbors, key_added=key_added)
    moved = np.array(adata.obsm[use_rep])
    for name in adata.obs[key].unique():
        rows = (adata.obs[key] == name).to_numpy()
        moved[rows] -= pull * moved[rows].mean(0)
    adata.obsm[adjusted_basis or f"X_{key_added}"] = moved
    adata.uns[key_added]["params"]["method"] = "centering"
'''


@pytest.fixture
def centering(monkeypatch):
    methods.all_methods()  # what is imported meanwhile would be forgotten with the made-up one
    monkeypatch.setattr(methods, "_REGISTERED", dict(methods._REGISTERED))
    exec(compile(MADE_UP, "centering.py", "exec"), {})
    return methods.method_named("centering")


@pytest.fixture
def adata():
    rng = np.random.default_rng(0)
    cells = rng.normal(size=(80, 4))
    cells[1::2] += 5
    made = anndata.AnnData(np.ones((80, 1)), obsm={"X_pca": cells})
    made.obs["batch"] = ["a", "b"] * 40
    return made


def test_a_registered_method_integrates_and_has_a_null(centering, adata):
    pp.mnn_integrate(adata, "batch", method="centering", n_neighbors=7)
    means = [adata.obsm["X_mnn"][start::2].mean(0) for start in (0, 1)]
    np.testing.assert_allclose(means[0], means[1], atol=1e-12)
    tl.evaluate(adata, "batch", n_splits=1, n_jobs=1)
    evaluation = adata.uns["mnn_evaluation"]
    assert "null_left_out" not in evaluation["params"]
    assert np.isfinite(evaluation["null"]["moved"]).all()


def test_what_a_registered_method_lacks_is_refused_for_it(centering, adata):
    with pytest.raises(ValueError, match=r"'centering' has no use for sketch.*'fast'"):
        pp.mnn_integrate(adata, "batch", method="centering", sketch=10)
    with pytest.raises(ValueError, match="calibrated, fast, centering"):
        pp.mnn_integrate(adata, "batch", method="none")


def test_the_shell_offers_a_registered_method(adata, tmp_path):
    adata.write_h5ad(tmp_path / "in.h5ad")
    code = (
        MADE_UP
        + """
import sys
from mnncorrect.cli.app import app
app(sys.argv[1:])
"""
    )

    def shell(*words):
        return subprocess.run(
            [sys.executable, "-c", code, *map(str, words)],
            capture_output=True, text=True, check=False,
            env={"PYTHONPATH": ":".join(sys.path), "COLUMNS": "100"},
        )  # fmt: skip

    for command in ("run", "correct"):
        assert "centering" in shell(command, "--help").stdout
    words = ["correct", tmp_path / "in.h5ad", "-b", "batch", "-o", tmp_path / "out.h5ad"]
    words += ["--method", "centering", "--use-rep", "X_pca"]
    refused = shell(*words, "--sigma", "0.2")
    assert refused.returncode == 2
    assert "--sigma belongs to method classic, not to centering" in " ".join(refused.stderr.split())
    done = shell(*words)
    assert done.returncode == 0, done.stderr
    out = anndata.read_h5ad(tmp_path / "out.h5ad")
    assert out.uns["mnn"]["params"]["method"] == "centering"
    # A parameter that no other method has is an option, with the text of its docstring.
    told = " ".join(shell("correct", "--help-all").stdout.split())
    assert "Only with --method centering" in told
    assert "How far each batch moves. [default: 1.0]" in told.partition("--pull ")[2][:60]
    assert shell(*words, "--force", "--pull", "0").returncode == 0
    still = anndata.read_h5ad(tmp_path / "out.h5ad")
    np.testing.assert_array_equal(still.obsm["X_mnn"], adata.obsm["X_pca"])


def test_no_table_of_methods_stands_beside_the_registry():
    """No module but the registry and a method's own file lists methods by name."""
    root = Path(mnncorrect.__file__).parent
    names = set(methods.MODULES)
    costs = {"_run/costs.py"}  # what each takes was measured
    for path in root.rglob("*.py"):
        where = str(path.relative_to(root))
        if where in costs | {"_prepare/methods.py"}:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            parts = {
                ast.Dict: lambda node: node.keys, ast.Tuple: lambda node: node.elts,
                ast.List: lambda node: node.elts, ast.Set: lambda node: node.elts,
            }.get(type(node), lambda _: [])(node)  # fmt: skip
            listed = {part.value for part in parts if isinstance(part, ast.Constant)}
            assert len(names & listed) < 2, (where, node.lineno)


def test_scores_know_no_method():
    for path in (Path(mnncorrect.__file__).parent / "core/metrics").glob("*.py"):
        text = path.read_text()
        assert "core.methods" not in text, path
        assert "core.calibrated" not in text, path
