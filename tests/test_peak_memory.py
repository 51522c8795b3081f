"""Commands hold blocks of a file, not the file: ten times the cells take hardly more memory."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import h5py
import pytest
from peaks import peak

FEW, MANY = 6000, 60_000
LIMIT = ("--memory-limit", "32M")
BATCHES = ("-b", "batch")
QUICK = ("--method", "fast", "--n-top-genes", "300", "--n-comps", "20", *LIMIT)

# What is run on two files, a and b, that have half of the cells each.
COMMANDS = {
    "concat": ("concat", "a", "b", *LIMIT, "-o"),
    "several inputs": ("correct", "a", "b", *QUICK, "-o"),
    "chosen cells": ("correct", "a", *BATCHES, *QUICK, "--subset", "sample!=none", "-o"),
    "columns": ("correct", "columns", *BATCHES, *QUICK, "-o"),
    "check": ("check", "a", "b", *LIMIT),
    "pca": ("pca", "a", "--layer", "X", "--n-comps", "20", *LIMIT, "-o"),
    "gmm": ("gmm", "a", "--use-rep", "X_made", "--n-components", "2", "--n-init", "1", "-o"),
}


def make(folder, n_cells):
    """Two files of counts, by the script of the benchmark; one of them stored by columns too."""
    import anndata
    import numpy as np
    import scipy.sparse as sp
    from anndata.io import write_elem

    scripts = Path(__file__).parents[1] / "workflows" / "benchmark" / "workflow" / "scripts"
    found = importlib.util.spec_from_file_location("make_counts", scripts / "make_counts.py")
    script = importlib.util.module_from_spec(found)
    found.loader.exec_module(script)
    stored = 0
    for seed, name in enumerate(("a", "b")):
        path = folder / f"{name}.h5ad"
        stored += script.make(path, n_cells=n_cells // 2, n_genes=2000, per_cell=400, seed=seed)
        with h5py.File(path, "r+") as file:
            obs = anndata.io.read_elem(file["obs"])
            obs["sample"] = np.where(np.arange(len(obs)) % 50 == 0, "none", "some")
            write_elem(file, "obs", obs)
            write_elem(file, "obsm/X_made", np.random.default_rng(0).normal(size=(len(obs), 5)))
    columns = anndata.read_h5ad(folder / "a.h5ad")
    columns.X = sp.csc_matrix(columns.X)
    columns.write_h5ad(folder / "columns.h5ad", compression="gzip")
    return stored


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder of small files and one of large ones, and how many numbers the large ones hold."""
    made = [tmp_path_factory.mktemp(str(n_cells)) for n_cells in (FEW, MANY)]
    return made, [make(*each) for each in zip(made, (FEW, MANY), strict=True)][-1]


def told(words):
    """Name the files of a command."""
    named = [f"{word}.h5ad" if word in {"a", "b", "columns"} else word for word in words]
    return named + [f"{words[0]}-out.h5ad", "--force"] * (named[-1] == "-o")


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_ten_times_the_cells_take_hardly_more_memory(name, folders):
    (few, many), stored = folders
    words = COMMANDS[name]
    growth = peak(told(words), many) - peak(told(words), few)
    # A number and its column take 8 bytes in memory; read whole, and put together, they would be
    # held twice or more. What a correction holds of each cell (its components, several times, and
    # its neighbours) comes on top: some 2 kB. Components are found in some blocks of 4,096 cells at
    # a time, whose numbers are held as float64 too.
    values = 8 * stored / 2**20 * (1.0 if {"b"} & set(words) else 0.5)
    cells = 2.0e3 * MANY / 2**20 if words[0] == "correct" else 20
    share = 1.0 if words[0] == "pca" else 0.5
    assert growth < share * values + cells, (growth, values, cells)
