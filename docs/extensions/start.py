"""First, hidden cell of a page: a separate folder with the example, and plain output."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

from IPython.core.magic import register_cell_magic

os.chdir(tempfile.mkdtemp(prefix="mnncorrect-docs-"))
os.environ["COLUMNS"] = "100"
subprocess.run(["mnncorrect", "example", "-o", "example.h5ad"], check=True, capture_output=True)


@register_cell_magic
def bash(_line: str, cell: str) -> None:
    """Run a cell by bash, and show its output in one piece; a failure fails the build.

    ``%%bash`` of IPython sends output in pieces, and the page would break lines between them.
    """
    done = subprocess.run(["bash", "-e", "-c", cell], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        msg = f"exit code {done.returncode}\n{cell}\n{done.stdout}\n{done.stderr}"
        raise RuntimeError(msg)
    sys.stdout.write(done.stdout)
    sys.stdout.flush()
    sys.stderr.write(done.stderr)
    sys.stderr.flush()
