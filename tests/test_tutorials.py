"""The tutorials run, and say what is so."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import anndata
import pytest
import scanpy.external
from conftest import PARAMETERS

from mnncorrect import pp, tl

ROOT = Path(__file__).parents[1]
TUTORIALS = ROOT / "workflows/tutorials"
EXAMPLE = ROOT / "data/example.h5ad"


def run(script, *words, folder):
    command = [sys.executable, TUTORIALS / script, EXAMPLE, *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def table(heading):
    """The rows of the table under a heading, as sets of the names in each column."""
    text = (TUTORIALS / "moving_over.py").read_text().replace("\n# ", "\n")
    rows = re.search(rf"{heading}\n(?:.|\n)*?\n\|---.*\n((?:\|.*\n)+)", text)[1]
    cells = (row.strip("|").split("|") for row in rows.splitlines())
    return [[re.findall(r"`([^`]+)`", cell) for cell in row] for row in cells]


def test_the_table_of_parameters_has_the_names_of_each():
    functions = [getattr(module, name) for module in (pp, tl) for name in module.__all__]
    known = {name for function in functions for name in inspect.signature(function).parameters}
    theirs = set(inspect.signature(scanpy.external.pp.mnn_correct).parameters)
    rows = table("## Parameters")
    assert len(rows) > 20
    for reference, external, here, _ in rows:
        assert len(here) == 1
        assert set(here) <= known
        assert set(external) <= theirs
        assert len(reference) == 1
        # The names that golden results of the reference are stored under.
        python_name = reference[0].replace(".", "_")
        if python_name in PARAMETERS:
            assert here == [PARAMETERS[python_name]]
    named = {name.replace(".", "_") for row in rows for name in row[0]}
    assert set(PARAMETERS) <= named


def test_the_table_of_functions_names_what_there_is():
    rows = table("# Moving over from batchelor or scanpy.external")
    for _, _, here in rows:
        for name in here:
            module, _, function = name.partition(".")
            if module in ("pp", "tl"):
                assert function in {"pp": pp, "tl": tl}[module].__all__, name


@pytest.mark.slow
def test_counts_become_a_corrected_map(tmp_path):
    said = run("counts_to_umap.py", "--label-key", "cell_type", folder=tmp_path)
    adata = anndata.read_h5ad(tmp_path / "corrected.h5ad")
    assert {"X_mnn", "X_mnn_umap", "X_before_umap"} <= set(adata.obsm)
    assert {"mnn_confidence", "gmm"} <= set(adata.obs)
    assert "mnn_evaluation" in adata.uns
    assert "lane3" in said
    for name in ("merges", "before", "after", "clusters"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_calls_that_are_moved_over_give_the_same(tmp_path):
    assert "the same as by mnn_correct" in run("moving_over.py", folder=tmp_path)
