"""Measure whole processes: time, processor time and peak memory, every tool in turn.

Only the standard library is imported: a child's peak memory is never below that of the process
that started it (what a process holds when it calls exec counts), so this one has to stay small.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent
OURS = "mnncorrect"
# What has to be installed for a tool that is not named as its package is.
PACKAGES = {
    "mnncorrect-core": OURS,
    "mnncorrect-calibrated": OURS,
    "scikit-learn": "sklearn",
    "products": "numpy",
}
# Tools that compile when they run: their call is timed after another one that compiles.
COMPILING = {OURS, "mnncorrect-core", "mnncorrect-calibrated", "pynndescent"}
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
)
# ru_maxrss is in KiB, on macOS in bytes.
RSS_UNIT = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True)
class Usage:
    """What one process took.

    Attributes
    ----------
    status
        ``done``, ``failed`` or ``timed out``.
    process_seconds, cpu_seconds
        From start to end; and of all its processors together.
    peak_mib
        Largest resident memory.
    """

    status: str
    process_seconds: float
    cpu_seconds: float
    peak_mib: float


def environment(threads: int, numba_cache: Path) -> dict[str, str]:
    """Copy the environment, with every library held to ``threads`` threads."""
    fixed = dict.fromkeys(THREAD_VARIABLES, str(threads))
    return os.environ | fixed | {"NUMBA_CACHE_DIR": str(numba_cache)}


def run(
    command: list[str], *, env: dict[str, str], log: Path, timeout: float | None = None
) -> Usage:
    """Run a command to its end and say what it took; what it prints is added to ``log``."""
    with log.open("ab") as stream:
        stream.write(f"$ {' '.join(command)}\n".encode())
        stream.flush()
        start = time.perf_counter()
        process = subprocess.Popen(command, env=env, stdout=stream, stderr=stream)
        late = threading.Event()

        def end() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(timeout or threading.TIMEOUT_MAX, end)
        timer.daemon = True
        timer.start()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        timer.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
    return Usage(
        "timed out" if late.is_set() else "failed" if process.returncode else "done",
        seconds,
        usage.ru_utime + usage.ru_stime,
        usage.ru_maxrss * RSS_UNIT / 2**20,
    )


def is_installed(tool: str) -> bool:
    """Tell whether a tool's package can be imported, without importing it."""
    return find_spec(PACKAGES.get(tool, tool)) is not None


def in_turn(tools: list[str], run_number: int) -> list[str]:
    """Order tools so that in every run another one comes first."""
    at = (run_number - 1) % len(tools)
    return tools[at:] + tools[:at]


class Scenario:
    """One scenario on one data set, in one run."""

    def __init__(self, spec: dict, arguments: argparse.Namespace, scratch: Path) -> None:
        self.spec, self.arguments, self.scratch = spec, arguments, scratch
        self.numba_cache = arguments.numba_cache.resolve()

    def records(self) -> list[dict]:
        """Measure every tool, one after the other."""
        out = []
        for tool in in_turn(list(self.spec["tools"]), self.arguments.run):
            if not is_installed(tool) and not self._command_of(tool):
                out.append({"tool": tool, "mode": "plain", "status": "absent"})
            elif tool in self.spec.get("left_out", []):
                out.append({"tool": tool, "mode": "plain", "status": "left out"})
            elif self._command_of(tool):
                out += self._commands(tool)
            else:
                out += self._calls(tool)
        return out

    def _command_of(self, tool: str) -> list[str] | None:
        return self.spec.get("commands", {}).get(tool)

    def _commands(self, tool: str) -> list[dict]:
        """Measure a command; if it is asked for, with nothing compiled first."""
        cache = self.numba_cache
        modes = ["plain"]
        if self.spec.get("cold"):
            cache = Path(tempfile.mkdtemp(dir=self.scratch))
            modes = ["cold", "plain"]
        elif self.arguments.warm_up_data is not None:
            self._command(tool, self.arguments.warm_up_data, cache)
        return [self._command(tool, self.arguments.data, cache, mode) for mode in modes]

    def _command(self, tool: str, data: Path, cache: Path, mode: str = "warm") -> dict:
        folder = Path(tempfile.mkdtemp(dir=self.scratch))
        places = {
            "python": sys.executable,
            "scripts": SCRIPTS,
            "data": data.resolve(),
            "scratch": folder,
            "threads": self.arguments.threads,
        }
        command = [part.format(**places) for part in self._command_of(tool) or []]
        record = self._measure(command, cache, tool, mode)
        # What commands write can be as large as the data.
        shutil.rmtree(folder)
        return record

    def _calls(self, tool: str) -> list[dict]:
        """Measure a function; where it compiles, in a process of its own after another call."""
        if tool not in COMPILING:
            return [self._call(tool, "plain", self.numba_cache)]
        out = []
        if self.spec.get("cold") and self.arguments.run == 1:
            out.append(self._call(tool, "cold", Path(tempfile.mkdtemp(dir=self.scratch))))
        # The warm process leaves what it compiled to the plain one.
        out += [self._call(tool, mode, self.numba_cache) for mode in ("warm", "plain")]
        return out

    def _call(self, tool: str, mode: str, cache: Path) -> dict:
        report = self.scratch / "report.json"
        report.unlink(missing_ok=True)
        arguments = {
            "task": self.spec["task"],
            "tool": tool,
            "mode": mode,
            "data": self.arguments.data,
            "truth": self.arguments.truth,
            "options": json.dumps(self.spec.get("options", {}).get(tool, {})),
            "neighbors": self.arguments.neighbors,
            "threads": self.arguments.threads,
            "report": report,
        }
        command = [sys.executable, str(SCRIPTS / "call.py")]
        for name, value in arguments.items():
            if value is not None:
                command += [f"--{name}", str(value)]
        record = self._measure(command, cache, tool, mode)
        return record | (json.loads(report.read_text()) if report.exists() else {})

    def _measure(self, command: list[str], cache: Path, tool: str, mode: str) -> dict:
        load = os.getloadavg()[0]
        usage = run(
            command,
            env=environment(self.arguments.threads, cache),
            log=self.arguments.log,
            timeout=self.spec.get("timeout"),
        )
        return {"tool": tool, "mode": mode, **asdict(usage), "load": load}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenario", required=True, help="its name")
    parser.add_argument("--spec", required=True, type=json.loads, help="what config says of it")
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--truth", type=Path, help="true pairs of a sample, for a search")
    parser.add_argument("--warm-up-data", type=Path, help="run commands on this first, untimed")
    parser.add_argument("--run", required=True, type=int, help="1, 2, ...")
    parser.add_argument("--neighbors", type=int, default=20)
    parser.add_argument("--threads", required=True, type=int)
    parser.add_argument("--numba-cache", required=True, type=Path)
    parser.add_argument("--log", required=True, type=Path)
    parser.add_argument("--output", required=True, type=Path, help="JSON lines, one a process")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.output.parent) as scratch:
        records = Scenario(arguments.spec, arguments, Path(scratch).resolve()).records()
    about = {"scenario": arguments.scenario, "data": arguments.data.stem, "run": arguments.run}
    lines = [json.dumps(about | record) for record in records]
    arguments.output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
