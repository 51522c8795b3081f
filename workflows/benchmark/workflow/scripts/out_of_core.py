"""Compare a correction from a file of raw counts with anndata reading and writing that file.

Both are whole processes; of each the wall time, the processor time and the peak memory are
printed, and the ratios.

    python make_counts.py counts.h5ad
    python out_of_core.py counts.h5ad --runs 3
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

READ_AND_WRITE = (
    "import anndata, sys; anndata.read_h5ad(sys.argv[1])"
    ".write_h5ad(sys.argv[2], compression=sys.argv[3] or None)"
)


def measured(command: list[str]) -> tuple[float, float, float]:
    """Wall and processor seconds, and peak megabytes, of a process."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"failed: {' '.join(command)}")
    wall = time.perf_counter() - start
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("counts", type=Path)
    parser.add_argument("--compression", default="gzip")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory-limit", default="2G")
    parser.add_argument("--runs", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.counts.absolute().parent) as folder:
        out = f"{folder}/out.h5ad"
        commands = {
            "anndata": [
                sys.executable, "-c", READ_AND_WRITE, str(given.counts), out, given.compression,
            ],
            "mnncorrect": [
                sys.executable, "-m", "mnncorrect", "correct", str(given.counts), "--method",
                "fast", "--batch-key", "batch", "-o", out, "--force", "--threads",
                str(given.threads), "--memory-limit", given.memory_limit,
            ],
        }  # fmt: skip
        runs = {name: [] for name in commands}
        for _ in range(given.runs):
            for name, command in commands.items():
                runs[name].append(measured(command))
    medians = {
        name: [statistics.median(values) for values in zip(*found, strict=True)]
        for name, found in runs.items()
    }
    print("what\twall_s\tcpu_s\tpeak_mb")
    for name, (wall, cpu, peak) in medians.items():
        print(f"{name}\t{wall:.1f}\t{cpu:.1f}\t{peak:.0f}")
    ratios = [
        ours / theirs
        for ours, theirs in zip(medians["mnncorrect"], medians["anndata"], strict=True)
    ]
    print("ratio\t" + "\t".join(f"{ratio:.2f}" for ratio in ratios))


if __name__ == "__main__":
    main()
