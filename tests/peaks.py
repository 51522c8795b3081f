"""The most memory that a command has, run as a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# ru_maxrss of a child begins at what its parent had when it was forked; this is the child's own.
PROGRAM = """
import re, sys
from mnncorrect.__main__ import main
try:
    main()
except SystemExit as error:
    code = error.code or 0
else:
    code = 0
status = open("/proc/self/status").read()
print("peak", re.search(r"VmHWM:\\s*(\\d+)", status)[1], code)
"""


def peak(words, folder):
    """Run a command in a folder, and return its peak in MB; skips where the system has no /proc."""
    if not Path("/proc/self/status").exists():
        pytest.skip("needs /proc/self/status, which tells the peak memory of a process")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, words)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    last = done.stdout.splitlines()[-1].split() if done.stdout else []
    assert last[:1] == ["peak"], done.stderr
    assert last[2] == "0", done.stderr
    return int(last[1]) / 1024
