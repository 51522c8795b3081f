"""The command as a process: quick help, signals, pipes and terminals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

COMMAND = [sys.executable, "-m", "mnncorrect"]


def _run(*words: object, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, words)], capture_output=True, text=True, check=False, **options
    )


def test_help_answers_from_typer_and_the_standard_library_alone() -> None:
    # What it imports is what it costs: the time itself depends on the machine.
    code = (
        "import runpy, sys\n"
        "before = set(sys.modules)\n"
        "sys.argv = ['mnncorrect', '--help']\n"
        "try:\n"
        "    runpy.run_module('mnncorrect', run_name='__main__')\n"
        "finally:\n"
        "    print(*set(sys.modules) - before, file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = done.stderr.split()
    outside = {name.partition(".")[0] for name in imported} - sys.stdlib_module_names
    # The packages beside typer are what typer itself imports.
    assert outside <= {"mnncorrect", "typer", "click", "shellingham", "annotated_doc"}
    ours = [name for name in imported if name.partition(".")[0] == "mnncorrect"]
    assert len(ours) <= 60, sorted(ours)


def test_version_is_printed() -> None:
    import mnncorrect

    done = _run("--version")
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, mnncorrect.__version__, "")


def _working(counts: Path, out: Path) -> subprocess.Popen[str]:
    """Start a run that takes its time, and wait until it is at work."""
    code = (
        "import time, mnncorrect.core.methods.classic as classic\n"
        "def slow(*args, **kwargs):\n"
        "    time.sleep(60)\n"
        "classic.mnn_classic = slow\n"
        "from mnncorrect.__main__ import main\n"
        "main()\n"
    )
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            code,
            "correct",
            counts,
            "-b",
            "batch",
            "-o",
            out,
            "-v",
            "--method",
            "classic",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("distances on"):
            break
    return process


# The quick run sends signals to forks: robust/test_faults.py.
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_nothing(
    number: signal.Signals, counts: Path, tmp_path: Path
) -> None:
    process = _working(counts, tmp_path / "out.h5ad")
    assert len(list(tmp_path.iterdir())) == 2  # the input and the temporary file
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert out == ""
    assert err.splitlines() == ["error: interrupted; nothing was written"]
    assert list(tmp_path.iterdir()) == [counts]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_without_end_are_one_interrupt(
    number: signal.Signals, counts: Path, tmp_path: Path
) -> None:
    process = _working(counts, tmp_path / "out.h5ad")
    while process.poll() is None:  # a user who is in a hurry, or a scheduler that asks twice
        process.send_signal(number)
        time.sleep(0.002)
    out, err = process.communicate()
    assert (out, err.splitlines()) == ("", ["error: interrupted; nothing was written"])
    assert process.returncode == 130
    assert list(tmp_path.iterdir()) == [counts]


@pytest.mark.slow
def test_a_killed_run_leaves_no_output_and_the_next_cleans_up(counts: Path, tmp_path: Path) -> None:
    process = _working(counts, tmp_path / "out.h5ad")
    process.kill()
    process.communicate(timeout=120)
    assert not (tmp_path / "out.h5ad").exists()
    done = _run("correct", counts, "-b", "batch", "-o", tmp_path / "out.h5ad")
    assert done.returncode == 0, done.stderr
    assert sorted(tmp_path.iterdir()) == [counts, tmp_path / "out.h5ad"]


@pytest.mark.slow
def test_a_reader_may_stop_early(corrected: Path) -> None:
    line = f'set -o pipefail; "{sys.executable}" -m mnncorrect pairs "{corrected}" | head -n 1'
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("cell\tbatch")


@pytest.mark.slow
def test_bars_are_for_terminals_only(counts: Path, tmp_path: Path) -> None:
    pty: Any = pytest.importorskip("pty", reason="needs pseudo-terminals, which Windows lacks")
    words = ["correct", counts, "-b", "batch", "-o", tmp_path / "out.h5ad", "--force"]
    plain = _run(*words)
    assert plain.returncode == 0
    assert "\x1b" not in plain.stderr
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "200"}
    process = subprocess.Popen([*COMMAND, *map(str, words)], stderr=theirs, env=environment)
    os.close(theirs)
    shown = _read_all(lambda: os.read(ours, 4096))
    assert process.wait(120) == 0
    text = shown.decode()
    assert "merges" in text
    assert "━" in text
    for line in plain.stderr.splitlines():
        assert line in text


def _read_all(read: Callable[[], bytes]) -> bytes:
    content = b""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            piece = read()
        except OSError:  # the other end has closed
            break
        if not piece:
            break
        content += piece
    return content
