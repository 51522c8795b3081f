"""Ctrl-C ends a long computation soon, whatever it is at."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import anndata
import numpy as np
import pytest

if TYPE_CHECKING:
    from pathlib import Path

# In CPU time, so that a busy machine makes no difference: of the run before the signal, and of
# what it does after it.
MOMENTS = [
    ("calibrated", 3.0),
    ("calibrated", 5.0),
    ("calibrated", 8.0),
    ("fast", 5.0),
    ("classic", 5.0),
]
SOON = 2.0
TICKS = os.sysconf("SC_CLK_TCK")


@pytest.fixture(scope="session")
def long_work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cells enough for every method to take longer than the last moment."""
    rng = np.random.default_rng(0)
    cells, genes = 36_000, 400
    centres = rng.gamma(0.6, 2.0, size=(8, genes)).astype(np.float32)
    batch = np.arange(cells) % 3
    x = centres[np.arange(cells) % 8] + rng.gamma(1.0, 0.5, size=(cells, genes))
    x += rng.gamma(1.0, 0.3, size=(3, genes))[batch]
    made = anndata.AnnData(np.log1p(x).astype(np.float32))
    made.obs["batch"] = [f"b{b}" for b in batch]
    path = tmp_path_factory.mktemp("long") / "in.h5ad"
    made.write_h5ad(path)
    return path


def cpu_of(pid: int) -> float:
    """Return the CPU time that a process has used, in seconds."""
    with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="needs /proc")  # noqa: PTH110
@pytest.mark.parametrize(("method", "moment"), MOMENTS)
def test_an_interrupt_ends_a_run_within_two_seconds(
    method: str, moment: float, long_work: Path, tmp_path: Path
) -> None:
    words = [sys.executable, "-m", "mnncorrect", "run", long_work, "-b", "batch", "--no-counts"]
    words += ["--method", method, "--n-jobs", "1", "-o", tmp_path / "out.h5ad"]
    process = subprocess.Popen([str(w) for w in words], stderr=subprocess.PIPE, text=True)
    while process.poll() is None and cpu_of(process.pid) < moment:
        time.sleep(0.02)
    if process.poll() is not None:
        pytest.fail(f"ended before it was interrupted: {process.stderr.read()}")
    used = cpu_of(process.pid)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    with process.stderr:
        told = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 130, told
    assert told.splitlines()[-1] == "error: interrupted; nothing was written"
    assert usage.ru_utime + usage.ru_stime - used < SOON
    assert list(tmp_path.iterdir()) == []
