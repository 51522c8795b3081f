"""A method that registers itself is known everywhere: the shell, the null, mnn_integrate."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import anndata
import numpy as np
import pytest

import mnncorrect
from mnncorrect import pp, tl
from mnncorrect._prepare import method_registry

# A method in one file: it moves every batch to the mean of all.
MADE_UP = '''
import numpy as np
from mnncorrect import pp
from mnncorrect._prepare.method_registry import register


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
    # What is imported meanwhile would be forgotten with the made-up one.
    method_registry.all_methods()
    monkeypatch.setattr(method_registry, "_REGISTERED", dict(method_registry._REGISTERED))
    exec(compile(MADE_UP, "centering.py", "exec"), {})
    return method_registry.method_named("centering")


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


# Runs each command of a list, and prints exit codes and what they print.
SHELL = """
import json, sys
from typer.testing import CliRunner
from mnncorrect.cli.app import app
done = [CliRunner().invoke(app, words) for words in json.loads(sys.argv[1])]
print(json.dumps([[one.exit_code, " ".join(one.output.split())] for one in done]))
"""


@pytest.mark.slow
def test_the_shell_offers_a_registered_method(adata, tmp_path):
    adata.write_h5ad(tmp_path / "in.h5ad")
    words = ["correct", tmp_path / "in.h5ad", "-b", "batch", "--method", "centering"]
    words += ["--use-rep", "X_pca", "-o", tmp_path / "out.h5ad"]
    commands = [
        ["run", "--help"], ["correct", "--help"], ["correct", "--help-all"],
        [*words, "--sigma", "0.2"], [*words], [*words, "--force", "--pull", "0"],
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", MADE_UP + SHELL, json.dumps(commands, default=str)],
        capture_output=True, text=True, check=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "100"},
    )  # fmt: skip
    codes, told = zip(*json.loads(done.stdout), strict=True)
    assert codes == (0, 0, 0, 2, 0, 0), told
    assert all("centering" in text for text in told[:3])
    # A parameter that no other method has is an option, with the text of its docstring.
    assert "Only with --method centering" in told[2]
    assert "How far each batch moves. [default: 1.0]" in told[2].partition("--pull ")[2][:60]
    assert "--sigma belongs to method classic, not to centering" in told[3]
    still = anndata.read_h5ad(tmp_path / "out.h5ad")
    assert still.uns["mnn"]["params"]["method"] == "centering"
    np.testing.assert_array_equal(still.obsm["X_mnn"], adata.obsm["X_pca"])


def test_no_table_of_methods_stands_beside_the_registry():
    """No module but the registry and a method's own file lists methods by name."""
    root = Path(mnncorrect.__file__).parent
    names = set(method_registry.MODULES)
    costs = {"_run/costs.py"}  # what each takes was measured
    for path in root.rglob("*.py"):
        where = str(path.relative_to(root))
        if where in costs | {"_prepare/method_registry.py"}:
            continue
        text = path.read_text()
        if sum(name in text for name in names) < 2:
            continue
        for node in ast.walk(ast.parse(text)):
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
