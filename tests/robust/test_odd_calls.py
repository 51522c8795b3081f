"""Absurd parameters, and places that are no files, end in one line before any work is done."""

from __future__ import annotations

import io
import os
import re
import shutil
import sys
from typing import TYPE_CHECKING, Any

import anndata
import h5py
import pytest
from robust import faulty, zoo

from mnncorrect.__main__ import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with an input in it and places of odd kinds."""
    zoo.clean().write_h5ad(tmp_path / "in.h5ad")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.chdir(tmp_path)
    return tmp_path


CORRECT = "correct in.h5ad -b batch --method fast --n-comps 4"
CALLS = {
    f"{CORRECT} -o out --seed -1": (2, r"--seed'.*\b0\b"),
    f"{CORRECT} -o out --seed 99999999999999999999": (2, r"--seed'.*\b4294967295\b"),
    f"{CORRECT} -o out --n-neighbors 99999999999999999999": (2, r"--n-neighbors'.*\b2147483647\b"),
    f"{CORRECT} -o loop": (1, "loop is a link to itself"),
    f"{CORRECT} -o loop --force": (1, "loop is a link to itself"),
    f"{CORRECT} -o {'x' * 250}": (1, "could not be written in .*: File name too long"),
    f"{CORRECT} -o pipe --force": (1, "pipe is not a regular file"),
    "info pipe": (1, "pipe is not a regular file"),
    "project in.h5ad --model pipe -o out": (1, "the model pipe is not a regular file"),
    "check /proc/self/mem": (1, "/proc/self/mem cannot be read: Input/output error"),
}


@pytest.mark.parametrize("call", CALLS)
def test_an_odd_call_is_one_line(call: str, folder: Path, cli: Callable[..., Any]) -> None:
    code, says = CALLS[call]
    if "/proc" in call and not os.path.exists("/proc/self/mem"):  # noqa: PTH110
        pytest.skip("needs /proc")
    before = set(folder.iterdir())
    done = cli(*call.split())
    assert done.code == code, done.err
    assert re.search(says, done.err[-1]), done.err
    assert set(folder.iterdir()) == before


def test_columns_of_one_name_are_refused(folder: Path, cli: Callable[..., Any]) -> None:
    with h5py.File("in.h5ad", "r+") as file:
        file["obs"].attrs["column-order"] = ["batch", "batch"]
    done = cli(*CORRECT.split(), "-o", "out")
    assert done.code == 1
    assert "obs of in.h5ad has two columns 'batch'" in done.err[-1]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110
@pytest.mark.filterwarnings("default")
def test_a_log_on_a_full_disk_is_said_once_and_ends_no_run(
    folder: Path, cli: Callable[..., Any]
) -> None:
    done = cli(*CORRECT.split(), "-o", "out", "--log-file", "/dev/full")
    assert done.code == 0, done.err
    assert [line for line in done.err if "/dev/full" in line] == [
        "warning: the log file /dev/full is not whole: No space left on device"
    ]
    assert (folder / "out").exists()


def test_names_that_the_encoding_has_no_letters_for_are_written_all_the_same(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "in.h5ad").rename(folder / "\u2603.h5ad")
    stdout = io.TextIOWrapper(io.BytesIO(), "latin-1")
    monkeypatch.setattr(sys, "stdout", stdout)
    monkeypatch.setattr(sys, "argv", ["mnncorrect", "info", "\u2603.h5ad"])
    with pytest.raises(SystemExit, match="0"):
        main()
    stdout.seek(0)
    assert stdout.read().startswith("\\u2603.h5ad: ")


@pytest.mark.skipif(sys.platform == "darwin", reason="names of files are UTF-8 there")
def test_a_name_of_any_bytes_names_a_batch(folder: Path, cli: Callable[..., Any]) -> None:
    name = os.fsdecode(b"\xff.h5ad")
    shutil.copy("in.h5ad", name)
    done = cli("concat", "in.h5ad", name, "-o", "out")
    assert done.code == 0, done.err
    assert set(anndata.read_h5ad("out").obs["mnn_file"]) == {"in", r"\xff"}


def _close(*numbers: int) -> None:
    for number in numbers:
        os.close(number)
        setattr(sys, ("stdin", "stdout", "stderr")[number], None)


@pytest.mark.filterwarnings("ignore:.*fork")
@pytest.mark.parametrize("closed", [(1,), (2,), (0, 1, 2)])
def test_a_run_whose_standard_streams_are_closed_is_as_any_other(
    closed: tuple[int, ...], folder: Path
) -> None:
    ended = faulty.run([*CORRECT.split(), "-o", "out"], lambda: _close(*closed))
    assert ended.code == 0, ended.err
    assert h5py.is_hdf5("out")
