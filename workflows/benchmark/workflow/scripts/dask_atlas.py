"""Compare a run on Dask workers with the same run in one process, by time and peak memory.

    python make_atlas.py atlas.zarr --cells 1000000
    python dask_atlas.py atlas.zarr --workers 2 --memory-limit 1G

The peak of each process is the largest resident memory that was seen every tenth of a second.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil


def watched(command: list[str]) -> dict[str, object]:
    """Wall and processor seconds of a process and its children, and the peak of each."""
    start = time.perf_counter()
    run = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    peaks: dict[int, float] = {}
    spent: dict[int, float] = {}
    while run.poll() is None:
        try:
            root = psutil.Process(run.pid)
            for each in [root, *root.children(recursive=True)]:
                peaks[each.pid] = max(peaks.get(each.pid, 0), each.memory_info().rss / 2**20)
                used = each.cpu_times()
                spent[each.pid] = used.user + used.system
        except psutil.Error:
            pass
        time.sleep(0.1)
    if run.returncode:
        sys.exit(run.stderr.read())
    wall = time.perf_counter() - start
    others = sorted((round(peak) for pid, peak in peaks.items() if pid != run.pid), reverse=True)
    return {
        "seconds": round(wall, 1),
        "processor_seconds": round(sum(spent.values()), 1),
        "peak_mb": round(peaks[run.pid]),
        "peak_mb_others": others,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("atlas", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory-limit", default="1G")
    parser.add_argument("--scanpy", action="store_true", help="run scanpy on Dask as well")
    given = parser.parse_args()
    line = [sys.executable, "-m", "mnncorrect", "run", str(given.atlas), "-b", "batch", "--no-gmm"]
    line += ["--threads", str(given.threads), "--memory-limit", given.memory_limit]
    workers = ["--workers", str(given.workers)]
    runs = {"one process": [*line, "-o"], "Dask": [*line, *workers, "-o"]}
    if given.scanpy:
        script = Path(__file__).with_name("scanpy_dask.py")
        runs["scanpy on Dask"] = [sys.executable, str(script), *workers, str(given.atlas)]
    for name, command in runs.items():
        with tempfile.TemporaryDirectory(dir=given.atlas.absolute().parent) as folder:
            found = watched([*command, f"{folder}/out.zarr"])
        print(json.dumps({"run": name, **found}), flush=True)


if __name__ == "__main__":
    main()
