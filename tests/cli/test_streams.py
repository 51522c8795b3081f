"""What reaches stdout and stderr: no name steers a terminal, and no stream ends a run."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import anndata
import pandas as pd
import pytest
from robust import faulty

from mnncorrect.cli import streams

COMMAND = [sys.executable, "-m", "mnncorrect"]
FAST = ["--method", "fast", "--n-comps", 5]
# A color, a window title, 8-bit control codes, a line, a bell, a right-to-left override.
HOSTILE = "\x1b[31mred\x1b]0;title\x07\x9b2J\nsecond\tline\r\u202eabc\u2028"
LONG = "long" * 2_500


def steers(text):
    """Return whether a terminal would do anything but show a text."""
    return any(not (char.isprintable() or char in "\n\t\xa0") for char in text)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A folder with an input, and a result, whose names are hostile."""
    from cli.conftest import make_counts
    from typer.testing import CliRunner

    from mnncorrect.cli.app import app

    folder = tmp_path_factory.mktemp("hostile")
    data = make_counts()
    data.obs["batch"] = pd.Categorical.from_codes(
        [int(name == "b") for name in data.obs["batch"]], [HOSTILE, LONG]
    )
    data.obs[HOSTILE] = data.obs["batch"]
    data.obs_names = [f"{HOSTILE}{number}" for number in range(data.n_obs)]
    data.var_names = [f"{HOSTILE}{number}" for number in range(data.n_vars)]
    data.layers[HOSTILE] = data.X.copy()
    data.write_h5ad(folder / "in.h5ad")
    words = ["run", folder / "in.h5ad", "-b", "batch", *FAST, "-o", folder / "done.h5ad"]
    words += ["--n-components", 2, "--save-model", folder / "model.mnn"]
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.stderr
    assert not steers(done.stderr)
    return folder


@pytest.mark.parametrize(
    "words",
    [
        "info done.h5ad",
        "info done.h5ad --json",
        "info model.mnn",
        "pairs done.h5ad",
        "check in.h5ad",
        "check in.h5ad -b batch",
        "check in.h5ad -b batch --json",
        "check in.h5ad -b nothing",
        "check in.h5ad -b batch --subset batch=none",
        "evaluate done.h5ad -b batch --n-splits 0",
        "evaluate done.h5ad -b batch --n-splits 0 --format tsv",
        "correct in.h5ad -b nothing -o out.h5ad --debug",
        "correct in.h5ad -b batch -o out.h5ad --layer nothing",
        "correct in.h5ad -b batch -o out.h5ad --dry-run -v",
        "correct in.h5ad -b batch -o out.h5ad --merge-order a,b",
        "project in.h5ad --model model.mnn -b batch -o placed.h5ad -v",
    ],
)
def test_no_name_steers_a_terminal(words, cli, hostile, tmp_path, monkeypatch):
    monkeypatch.chdir(hostile)
    log = tmp_path / "log"
    done = cli(*words.split(), "--log-file", log)
    for text in (done.out, "\n".join(done.err), log.read_text()):
        assert not steers(text)
    if "--json" in words:
        json.loads(done.out)
    elif "pairs" in words or "tsv" in words:
        assert len({line.count("\t") for line in done.out.splitlines()}) == 1
    else:
        longest = max(map(len, [*done.out.splitlines(), *done.err, *log.read_text().splitlines()]))
        assert longest < 3000


def test_names_in_json_are_whole(cli, hostile):
    found = json.loads(cli("info", hostile / "done.h5ad", "--json").out)
    assert found["corrections"]["mnn"]["batches"] == [HOSTILE, LONG]


def test_a_hostile_file_name_is_told_on_one_line(cli, tmp_path):
    for words in (["info"], ["check"], ["pairs"]):
        done = cli(*words, tmp_path / "\x1b[2Jnone\n.h5ad")
        assert done.code != 0
        assert not steers("\n".join(done.err))


def test_long_text_is_cut_in_its_middle():
    assert streams.cut_in_middle("short") == "short"
    text = streams.cut_in_middle("a" * 100_000 + "the end")
    assert len(text) <= streams.LONGEST_LINE
    assert text.startswith("aaa")
    assert text.endswith("the end")
    left_out = int(text.partition("[")[2].partition(" more]")[0])
    assert left_out + len(text) - len(f"...[{left_out} more]...") == 100_007


def run(words, **how):
    return subprocess.run([*COMMAND, *map(str, words)], check=False, **how)


needs_full = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110


def code_of_process(words, stderr):
    return run(words, stderr=stderr, stdout=subprocess.DEVNULL).returncode


def code_of_fork(words, stderr):
    def redirect():
        os.dup2(stderr, 2)
        # Not another file object: the old one would close the descriptor, and the input take it.
        sys.stderr.reconfigure(line_buffering=True)

    return faulty.run(words, redirect).code


by_fork_and_process = pytest.mark.parametrize(
    "code_of", [code_of_fork, pytest.param(code_of_process, marks=pytest.mark.slow)]
)


@needs_full
@pytest.mark.filterwarnings("ignore:.*fork")
@by_fork_and_process
def test_a_full_disk_behind_stderr_ends_no_run(code_of, counts, tmp_path):
    out = tmp_path / "out.h5ad"
    with open("/dev/full", "w") as full:  # noqa: PTH123
        stderr = full.fileno()
        done = code_of(["correct", counts, "-b", "batch", *FAST, "-o", out, "-v"], stderr)
        failed = code_of(["correct", tmp_path / "none", "-b", "batch", "-o", out], stderr)
    assert done == 0
    assert anndata.read_h5ad(out).obsm["X_mnn"].shape[0] == 80
    assert failed == 1


@needs_full
def test_a_full_disk_behind_the_log_ends_no_run(cli, counts, tmp_path):
    out = tmp_path / "out.h5ad"
    done = cli("correct", counts, "-b", "batch", *FAST, "-o", out, "--log-file", "/dev/full")
    assert done.code == 0, done.err
    assert out.exists()
    assert sum("/dev/full" in line for line in done.err) == 1


@pytest.mark.filterwarnings("ignore:.*fork")
@pytest.mark.parametrize("dry", [True, False])
@by_fork_and_process
def test_a_reader_of_stderr_that_goes_away_ends_no_run(code_of, dry, counts, tmp_path):
    read, write = os.pipe()
    os.close(read)
    out = tmp_path / "out.h5ad"
    words = ["correct", counts, "-b", "batch", *FAST, "-o", out, "-v"]
    code = code_of([*words, *(["--dry-run"] if dry else [])], write)
    os.close(write)
    assert code == 0
    assert out.exists() != dry


@needs_full
@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        pytest.param(["info", "--environment"], marks=pytest.mark.slow),
        *(pytest.param([w], marks=pytest.mark.slow) for w in ("info", "pairs", "check")),
    ],
)
def test_a_stdout_that_cannot_be_written_is_one_error(words, corrected):
    words = [*words, corrected] if words[-1][0] != "-" else words
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = run(words, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "No space left" in done.stderr
    closed = subprocess.run(
        ["bash", "-c", '"$@" >&-', "-", *COMMAND, *map(str, words)],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert closed.returncode == 1
    assert len(closed.stderr.splitlines()) == 1, closed.stderr
    assert "cannot be written" in closed.stderr


@pytest.mark.slow  # the quick run closes them in a fork: robust/test_odd_calls.py
def test_a_run_that_prints_nothing_needs_no_stdout(counts, tmp_path):
    words = ["correct", counts, "-b", "batch", *FAST, "-o", tmp_path / "out.h5ad"]
    done = subprocess.run(
        ["bash", "-c", '"$@" >&- 2>&- <&-', "-", *COMMAND, *map(str, words)], check=False
    )
    assert done.returncode == 0
    assert (tmp_path / "out.h5ad").exists()
