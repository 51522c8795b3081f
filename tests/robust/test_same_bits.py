"""Equal input gives equal bits: on any number of threads, in any process, with any cache."""

from __future__ import annotations

import hashlib
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


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("method", ["calibrated"])
def test_files_are_equal_on_any_number_of_threads(
    method: str, cli: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # More threads than there are processors are not started otherwise.
    monkeypatch.setattr("mnncorrect.core.threads.available_cpus", lambda: 4)
    zoo.clean().write_h5ad(tmp_path / "in.h5ad")
    hashes = set()
    for jobs in (1, 2, 4):
        done = cli(*words_of(method, tmp_path / "in.h5ad", tmp_path / f"{jobs}.h5ad", jobs))
        assert done.code == 0, done.err
        hashes.add(hash_of(tmp_path / f"{jobs}.h5ad"))
    assert len(hashes) == 1


RUN = """
import sys
import mnncorrect.core.threads as threads
threads.available_cpus = lambda: 4
from mnncorrect.__main__ import main
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_files_are_equal_in_any_process(method: str, tmp_path: Path) -> None:
    """Threads 1, 2 and 4; BLAS threads 1 and 4; the cache of compiled loops cold and warm."""
    source = tmp_path / "in.h5ad"
    big().write_h5ad(source)
    hashes = {}
    for number, (jobs, blas, cache) in enumerate(
        [(1, 1, "one"), (1, 4, "one"), (2, 1, "one"), (4, 4, "one"), (2, 2, "two")]
    ):
        environment = os.environ | {
            "OMP_NUM_THREADS": str(blas),
            "OPENBLAS_NUM_THREADS": str(blas),
            "NUMBA_NUM_THREADS": str(jobs),
        }
        if number in {0, 4}:  # cold, and so compiled anew
            environment["NUMBA_CACHE_DIR"] = str(tmp_path / cache)
        out = tmp_path / f"{number}.h5ad"
        words = [sys.executable, "-c", RUN, *words_of(method, source, out, jobs)]
        subprocess.run([str(word) for word in words], env=environment, check=True)
        hashes[jobs, blas, number] = hash_of(out)
    assert len(set(hashes.values())) == 1, hashes


@pytest.mark.slow
def test_twenty_runs_in_one_folder_do_not_disturb_each_other(tmp_path: Path) -> None:
    """They share a cache of compiled loops that is empty to begin with, and half of them a name."""
    zoo.clean().write_h5ad(tmp_path / "in.h5ad")
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    running = []
    for number in range(20):
        out = tmp_path / (f"{number}.h5ad" if number % 2 else "shared.h5ad")
        words = [
            sys.executable,
            "-m",
            "mnncorrect",
            *words_of("fast", tmp_path / "in.h5ad", out, 1),
        ]
        words += [] if number % 2 else ["--force"]
        running.append(
            subprocess.Popen(
                [str(word) for word in words], env=environment, stderr=subprocess.PIPE, text=True
            )
        )
    for process in running:
        _, told = process.communicate(timeout=1800)
        assert process.returncode == 0, told
        assert "Traceback" not in told
    files = [path for path in tmp_path.iterdir() if path.is_file()]
    assert len(files) == 12
    assert len({hash_of(path) for path in files if path.name != "in.h5ad"}) == 1
