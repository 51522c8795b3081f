"""The process that tries HDF5 files: what it refuses, and that it goes on."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import warnings
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest
from robust import zoo

from mnncorrect._io import h5ad, probe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[probe._Worker]:
    """A process for each test, which remembers nothing of others."""
    made = probe._Worker()
    monkeypatch.setattr(probe, "_WORKER", made)
    probe._verdict_of.cache_clear()
    yield made
    made.end()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A small whole file."""
    zoo.clean().write_h5ad(tmp_path / "in.h5ad")
    return tmp_path / "in.h5ad"


@pytest.mark.slow
def test_many_keys_are_no_damage(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "SECONDS", 1)  # in all, they take longer
    with h5py.File(path, "r+") as file:
        for number in range(2500):
            made = file["uns"].create_dataset(f"key{number}", data=number)
            made.attrs.update({"encoding-type": "numeric-scalar", "encoding-version": "0.2.0"})
    probe.refuse_deadly(path)


@pytest.mark.slow
def test_large_chunks_that_pack_well_are_no_damage(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        zeros = np.zeros((1 << 11, 1 << 13), np.float32)  # 64 MB in one chunk
        file["obsm"].create_dataset("x", data=zeros, chunks=zeros.shape, compression="gzip")
    probe.refuse_deadly(path)


def forge_text(file: h5py.File, name: str, fill: bytes) -> None:
    """Let a column of text say that each of its texts is as long as two gigabytes, or four."""
    attributes = dict(file[name].attrs) if name in file else {}
    if name in file:
        del file[name]
    n = zoo.N_CELLS
    made = file.create_dataset(name, (n,), h5py.string_dtype(), chunks=(n,))
    made[...] = [f"c{i}" for i in range(n)]
    made.attrs.update(attributes)
    made.id.write_direct_chunk((0,), fill * (16 * n))


@pytest.mark.parametrize("fill", [b"\x78", b"\xff"])
@pytest.mark.parametrize("name", ["obs/_index", "uns/note", "obsm/x"])
def test_a_forged_length_of_text_is_refused_where_it_is(name: str, fill: bytes, path: Path) -> None:
    with h5py.File(path, "r+") as file:
        forge_text(file, name, fill)
    with pytest.raises(OSError, match=rf"damaged: /{name} .* more than the file"):
        h5ad.read(path)


def test_long_texts_are_no_damage(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["uns"].create_dataset("text", data="long " * 4_000_000, dtype=h5py.string_dtype())
        texts = ["x" * 1000] * 20_000
        file["uns"].create_dataset("texts", data=texts, dtype=h5py.string_dtype())
    probe.refuse_deadly(path)


ENDS = {
    "os.kill(os.getpid(), signal.SIGXCPU)": "hangs",
    "os.kill(os.getpid(), signal.SIGSEGV)": "crashes",
    "os.abort()": "crashes",
    "sys.exit(3)": "no process could be started",
}


@pytest.mark.parametrize("how", ENDS)
def test_how_the_process_ends_is_told(
    how: str, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "worker.py"
    program.write_text(f"import os, resource, signal, sys\nsys.stdin.readline()\n{how}\n")
    monkeypatch.setattr(probe, "WORKER", program)
    with pytest.raises(OSError, match=ENDS[how]):
        probe.refuse_deadly(path)


def test_an_endless_step_is_ended(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "worker.py"
    source = re.sub(r"(?m)^def _link_names\(", "def _no_names(", probe.WORKER.read_text())
    source = source.replace(
        "def main()", "def _link_names(*_):\n    while True:\n        pass\n\n\ndef main()"
    )
    program.write_text(source)
    monkeypatch.setattr(probe, "WORKER", program)
    monkeypatch.setattr(probe, "SECONDS", 1)
    with pytest.raises(OSError, match="hangs"):
        probe.refuse_deadly(path)


def test_the_process_is_started_again_where_it_has_ended(path: Path, worker: probe._Worker) -> None:
    probe.refuse_deadly(path)
    first = worker._process
    assert first is not None
    assert first.stdin is not None
    first.stdin.close()  # it ends as if it were idle
    first.wait()
    probe._verdict_of.cache_clear()
    probe.refuse_deadly(path)
    assert worker._process is not first


def test_one_process_serves_many_files_and_threads(path: Path, worker: probe._Worker) -> None:
    failed: list[Exception] = []
    copies = [path.with_name(f"{number}.h5ad") for number in range(12)]
    for copy in copies:
        copy.write_bytes(path.read_bytes())

    def ask(copy: Path) -> None:
        try:
            probe.refuse_deadly(copy)
            seen.add(worker._process)
        except (OSError, ValueError) as error:
            failed.append(error)

    seen: set[object] = set()
    threads = [threading.Thread(target=ask, args=(copy,)) for copy in copies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert len(seen) == 1


def test_a_fork_has_a_process_of_its_own(path: Path) -> None:
    before = probe._WORKER
    os.register_at_fork(after_in_child=before.forget)
    probe.refuse_deadly(path)
    with warnings.catch_warnings(action="ignore"):
        child = os.fork()
    if child == 0:
        probe._verdict_of.cache_clear()
        mine = before.ask(str(path))
        before.end()
        os._exit(0 if mine[0] == "fine" else 1)
    assert before.ask(str(path))[0] == "fine"
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_an_interrupt_while_it_is_asked_ends_the_process(
    path: Path, tmp_path: Path, worker: probe._Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "worker.py"
    program.write_text("import sys, time\nsys.stdin.readline()\ntime.sleep(60)\n")
    monkeypatch.setattr(probe, "WORKER", program)
    # To the process, as Ctrl-C: raise_signal would reach the timer's thread, and wake nobody.
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        probe.refuse_deadly(path)
    assert worker._process is None


def test_it_loads_nothing_of_the_environment(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (path.parent / "json.py").write_text("1 / 0")
    monkeypatch.chdir(path.parent)
    monkeypatch.setenv("PYTHONPATH", str(path.parent))
    monkeypatch.setenv("PYTHONOPTIMIZE", "2")
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    probe.refuse_deadly(path)
