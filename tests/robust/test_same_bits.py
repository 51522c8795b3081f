"""Equal input gives equal bits: on any number of threads, in any process, with any cache."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import pytest
from robust import zoo

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

METHODS = ("calibrated", "fast", "classic")


def big(cells: int = 1500, genes: int = 120) -> anndata.AnnData:
    """Make enough cells for several blocks in each step, in three batches."""
    rng = np.random.default_rng(0)
    centres = rng.gamma(0.6, 2.0, size=(4, genes))
    batch = np.arange(cells) % 3
    x = rng.poisson(centres[np.arange(cells) % 4] * rng.gamma(5, 0.2, size=(3, genes))[batch] + 0.1)
    made = anndata.AnnData(x.astype(np.float32))
    made.obs["batch"] = [f"b{b}" for b in batch]
    return made


def words_of(method: str, source: Path, out: Path, jobs: int) -> list[Any]:
    words = ["run", source, "-b", "batch", "--method", method, "-o", out, "--n-jobs", jobs]
    return [*words, "--n-comps", 10, "--n-components", "1-3", "-q"]


def hash_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("method", ["calibrated"])
def test_files_are_equal_on_any_number_of_threads(
    method: str, cli: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # More threads than there are processors are not started otherwise.
    monkeypatch.setattr("mnncorrect.core.runtime.threads.available_cpus", lambda: 4)
    zoo.clean().write_h5ad(tmp_path / "in.h5ad")
    hashes = set()
    for jobs in (1, 2, 4):
        done = cli(*words_of(method, tmp_path / "in.h5ad", tmp_path / f"{jobs}.h5ad", jobs))
        assert done.code == 0, done.err
        hashes.add(hash_of(tmp_path / f"{jobs}.h5ad"))
    assert len(hashes) == 1


RUN = """
import json, sys
import mnncorrect.core.runtime.threads as threads
threads.available_cpus = lambda: 4
from mnncorrect.__main__ import main
for words in json.loads(sys.argv[1]):
    sys.argv = ["mnncorrect", *words]
    try:
        main()
    except SystemExit as end:
        assert not end.code
"""
# Many at the same time; what takes long to load, and is no compiled loop of the package, is there.
SIDE_BY_SIDE = """
import json, os, sys
import anndata, h5py, numba, scipy.stats, sklearn.decomposition
from mnncorrect.__main__ import main
children = []
for words in json.loads(sys.argv[1]):
    child = os.fork()
    if child == 0:
        sys.argv = ["mnncorrect", *words]
        main()
    children.append(child)
codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
assert not any(codes), codes
"""


@pytest.mark.slow
def test_files_are_equal_in_any_process(tmp_path: Path) -> None:
    """Threads 1, 2 and 4; BLAS threads 1 and 4; the cache of compiled loops cold and warm."""
    source = tmp_path / "in.h5ad"
    big().write_h5ad(source)
    hashes: dict[str, dict[Any, str]] = {method: {} for method in METHODS}
    for number, (jobs, blas) in enumerate([(1, 1), (1, 4), (2, 1), (4, 4)]):
        environment = os.environ | {
            "OMP_NUM_THREADS": str(blas),
            "OPENBLAS_NUM_THREADS": str(blas),
            "NUMBA_NUM_THREADS": str(jobs),
            "NUMBA_CACHE_DIR": str(tmp_path / "cache"),  # cold, and so compiled anew, in the first
        }
        outs = {method: tmp_path / f"{method}-{number}.h5ad" for method in METHODS}
        calls = [list(map(str, words_of(m, source, out, jobs))) for m, out in outs.items()]
        subprocess.run([sys.executable, "-c", RUN, json.dumps(calls)], env=environment, check=True)
        for method, out in outs.items():
            hashes[method][jobs, blas] = hash_of(out)
    for method, found in hashes.items():
        assert len(set(found.values())) == 1, (method, found)


@pytest.mark.slow
def test_ten_runs_in_one_folder_do_not_disturb_each_other(tmp_path: Path) -> None:
    """They share a cache of compiled loops that is empty to begin with, and half of them a name."""
    zoo.clean().write_h5ad(tmp_path / "in.h5ad")
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    calls = []
    for number in range(10):
        out = tmp_path / (f"{number}.h5ad" if number % 2 else "shared.h5ad")
        words = ["correct", tmp_path / "in.h5ad", "-b", "batch", "--method", "fast", "-o", out]
        words += ["--n-jobs", 1, "--n-comps", 10, *([] if number % 2 else ["--force"])]
        calls.append(list(map(str, words)))
    words = [sys.executable, "-W", "ignore", "-c", SIDE_BY_SIDE, json.dumps(calls)]
    done = subprocess.run(words, env=environment, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    files = [path for path in tmp_path.iterdir() if path.is_file()]
    assert len(files) == 7
    assert len({hash_of(path) for path in files if path.name != "in.h5ad"}) == 1
