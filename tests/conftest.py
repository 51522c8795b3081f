"""Fixtures shared by all tests."""

from __future__ import annotations

import functools
import gc
import json
import os
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import typer.testing
from hypothesis import settings

# HYPOTHESIS_PROFILE=long looks for new cases; the suite looks at the same few every time.
settings.register_profile("suite", max_examples=15, deadline=None, derandomize=True)
settings.register_profile("long", max_examples=300, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))

GOLDEN = Path(__file__).parent / "golden"
SHARED_DATA = Path(__file__).parents[1] / "../shared/data"

# The reference's names of parameters, and ours.
PARAMETERS = {
    "k": "n_neighbors",
    "prop_k": "prop_neighbors",
    "cos_norm_in": "cosine_norm_in",
    "cos_norm_out": "cosine_norm_out",
    "cos_norm": "cosine_norm",
    "svd_dim": "n_svd",
    "var_adj": "adjust_variance",
    "d": "n_comps",
    "weights": "batch_weights",
    "min_batch_skip": "min_batch_size",
    "get_all_genes": "all_genes",
}


def pytest_configure():
    """Test interrupts where they are ignored, make commands once, give each process one thread."""
    # As in a shell's jobs in the background.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # To make all commands anew for each call takes longer than most calls.
    typer.testing._get_command = functools.cache(typer.testing._get_command)
    # Processes of xdist inherit this: each has a core, and more threads would wait for each other.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def pytest_collection_modifyitems(items):
    """Begin with what takes minutes: at the end, other processes would wait for it."""
    items.sort(key=lambda item: not item.path.name.startswith("test_workflow_"))


def pytest_collection_finish():
    """Have the garbage collector never again look at what collection has made, which stays."""
    gc.collect()
    gc.freeze()


def load_golden(name):
    """One file of golden/: batches, their rows one after the other, codes, parameters, outputs."""
    with np.load(GOLDEN / f"{name}.npz", allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    method = str(arrays.pop("method"))
    raw = json.loads(str(arrays.pop("params")))
    result = json.loads(str(arrays.pop("result")))
    n_batches = sum(key.startswith("batch") for key in arrays)
    batches = [arrays[f"batch{b}"] for b in range(n_batches)]
    sizes = [len(batch) for batch in batches]
    params = {PARAMETERS.get(key, key): value for key, value in raw.items()}

    if "subset_row" in params:
        mask = np.zeros(batches[0].shape[1], dtype=bool)
        mask[params.pop("subset_row")] = True
        params["mask"] = mask
    if "restrict" in params:
        # One boolean mask over all cells, as our functions take it.
        masks = [np.ones(size, dtype=bool) for size in sizes]
        for b, rows in enumerate(params["restrict"]):
            if rows is not None:
                masks[b][:] = False
                masks[b][rows] = True
        params["restrict"] = np.concatenate(masks)

    outputs = {
        key.removeprefix("out_"): array for key, array in arrays.items() if key.startswith("out_")
    }
    pairs = [outputs.pop(f"pairs{i + 1}") for i in range(result.get("n_merges", 0))]
    return SimpleNamespace(
        name=name,
        method=method,
        params=params,
        batches=batches,
        x=np.vstack(batches),
        codes=np.repeat(np.arange(n_batches), sizes),
        pairs=[table.astype(np.int64) for table in pairs],
        left=[tuple(left) for left in result.get("left", [])],
        right=[tuple(right) for right in result.get("right", [])],
        result=result,
        **outputs,
    )


@pytest.fixture
def golden():
    """Function from the name of a file of golden/ to what is in it."""
    return load_golden


def make_blobs(
    *,
    seed=0,
    sizes=(30, 40),
    n_features=12,
    n_populations=3,
    shift=2.0,
    spread=0.5,
    missing=(),
    positive=False,
):
    """Cells of some populations in batches that differ by a random shift of the given length.

    `missing` names (batch, population) couples that do not occur. With `positive` all values are
    raised above zero, as expression is. Returns X, batch codes and the population of every cell.
    """
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(n_populations, n_features)) * 4
    rows, batch, truth = [], [], []
    for b, size in enumerate(sizes):
        present = [p for p in range(n_populations) if (b, p) not in missing]
        population = rng.permutation(np.resize(present, size))
        direction = rng.normal(size=n_features)
        offset = np.zeros(n_features) if b == 0 else shift * direction / np.linalg.norm(direction)
        rows.append(centres[population] + spread * rng.normal(size=(size, n_features)) + offset)
        batch.append(np.full(size, b))
        truth.append(population)
    x = np.vstack(rows)
    if positive:
        x -= x.min() - 0.1
    return x, np.concatenate(batch), np.concatenate(truth)


@pytest.fixture
def blobs():
    """Function that makes small batches of cells: X, batch codes and populations."""
    return make_blobs


@pytest.fixture
def rng():
    """Random numbers, the same in every run."""
    return np.random.default_rng(20240611)


@pytest.fixture
def shared_data():
    """Function from the name of a real data set to its path; skips the test where it is absent."""

    def path(name):
        file = SHARED_DATA / f"{name}.h5ad"
        if not file.is_file():
            pytest.skip(
                f"needs the real data set {name}.h5ad in ../shared/data, beside the repository"
            )
        return file.resolve()

    return path


@pytest.fixture(scope="module")
def cluster():
    """Two workers of Dask, of one thread each."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=50
    ) as made:
        yield made
