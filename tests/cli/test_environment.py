"""What a bug report holds, and what a shell completes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import mnncorrect


def test_the_environment_is_told_with_the_versions_of_all_that_is_needed(cli):
    done = cli("info", "--environment", "--json")
    assert (done.code, done.err) == (0, [])
    told = json.loads(done.out)
    assert told["mnncorrect"] == mnncorrect.__version__
    for name in ("anndata", "numba", "numpy", "scanpy", "scikit-learn", "scipy"):
        assert told["packages"][name] == metadata.version(name)
    # What only the tests need is not among them.
    assert "pytest" not in told["packages"]
    assert 1 <= told["cpus"]["usable"] <= told["cpus"]["of_the_machine"]
    assert all(library["num_threads"] >= 1 for library in told["blas"])
    text = cli("info", "--environment").out
    for name, version in told["packages"].items():
        assert any(line.split() == [name, version] for line in text.splitlines())


def test_the_environment_names_no_paths(cli, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    for form in ([], ["--json"]):
        out = cli("info", "--environment", *form).out
        assert "OMP_NUM_THREADS" in out
        for place in (Path.home(), Path.cwd(), Path(sys.prefix)):
            assert str(place) not in out
        assert "/" not in out


@pytest.mark.parametrize("words", [[], ["in.h5ad", "--environment"]])
def test_a_file_or_the_environment_is_told(cli, words):
    done = cli("info", *words)
    assert done.code == 2
    assert "either a file or --environment" in " ".join(done.err)


@pytest.mark.parametrize(
    ("typed", "offered"), [("mnncorrect cor", "correct"), ("mnncorrect correct --meth", "--method")]
)
def test_a_shell_completes_commands_and_options(typed, offered):
    asked = {"COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1)}
    done = subprocess.run(
        [sys.executable, "-m", "mnncorrect"],
        env=os.environ | asked | {"_MNNCORRECT_COMPLETE": "complete_bash"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert offered in done.stdout.split()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "value"), [("NUMBA_NUM_THREADS", "0"), ("PYTHONOPTIMIZE", "2")])
def test_a_setting_that_no_library_can_be_loaded_with_is_named(name, value, counts, tmp_path):
    words = ["correct", counts, "-b", "batch", "-o", tmp_path / "out.h5ad"]
    done = subprocess.run(
        [sys.executable, "-m", "mnncorrect", *map(str, words)],
        env=os.environ | {name: value},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert re.search(rf"unset (\w+, )*{name}\b", done.stderr)  # others may be set as well
    assert "damaged" not in done.stderr
    assert "bug" not in done.stderr
