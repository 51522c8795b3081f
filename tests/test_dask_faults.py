"""What fails on Dask is reported once, in one sentence, or ends in the right result."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from test_dask import HOW, small_blocks
from test_zarr_outputs import counts, read, same

import mnncorrect

distributed = pytest.importorskip("distributed")

from mnncorrect._distributed import cluster as clusters  # noqa: E402
from mnncorrect._distributed import files, stage  # noqa: E402
from mnncorrect._distributed.cluster import Dask  # noqa: E402


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "in.h5ad"
    counts().write_h5ad(path)
    return path


def test_no_worker_starts_before_the_columns_are_found(source, tmp_path, monkeypatch):
    def started(*_):
        pytest.fail("workers were started")

    monkeypatch.setattr(clusters, "_started", started)
    for wrong in ({"key": "bacth"}, {"key": "batch", "layer": "none"}):
        with pytest.raises(KeyError, match=wrong.get("layer", "bacth")):
            mnncorrect.run(source, output=tmp_path / "out.zarr", workers=2, **HOW, **wrong)
    assert [p.name for p in tmp_path.iterdir()] == ["in.h5ad"]


class Client:
    """A stand-in for a cluster whose workers give chosen answers to the first task."""

    def __init__(self, answer):
        self.answer = answer

    def wait_for_workers(self, *_, **__):
        pass

    def run(self, _):
        if isinstance(self.answer, Exception):
            raise self.answer
        return {"tcp://there:1": self.answer}


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ((None, []), "tcp://there:1 has no mnncorrect"),
        (("0.0.1", []), "tcp://there:1 has mnncorrect 0.0.1"),
        ((mnncorrect.__version__, ["/shared/in"]), "tcp://there:1 cannot see /shared/in"),
        (ModuleNotFoundError("No module\nnamed x"), r"first task \(No module named x\)"),
    ],
)
def test_workers_that_cannot_do_the_work_are_named(answer, told, tmp_path):
    dask = Dask(None, "tcp://there:0")
    with pytest.raises((OSError, ValueError), match=told):
        clusters._refuse_unfit(Client(answer), dask, tmp_path, [])


def test_a_worker_without_the_package_can_be_asked_for_it():
    """What is sent is code, and names nothing of the package."""
    cloudpickle = pytest.importorskip("cloudpickle")
    sent = cloudpickle.dumps(files.seen_by_worker(["/not/there"]))
    program = (
        "import sys, pickle\n"
        "class Missing:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name.startswith('mnncorrect'):\n"
        "            raise ModuleNotFoundError(name)\n"
        "import importlib.util as util\n"
        "sys.meta_path.insert(0, Missing())\n"
        "found = util.find_spec\n"
        "util.find_spec = lambda name: None if name == 'mnncorrect' else found(name)\n"
        f"print(pickle.loads({sent!r})())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "(None, [])", done.stderr


def test_a_script_that_a_worker_imports_ends_there(source, tmp_path, monkeypatch):
    process = clusters.multiprocessing.current_process()
    monkeypatch.setattr(process, "_inheriting", True, raising=False)
    with pytest.raises(SystemExit):
        mnncorrect.run(source, "batch", output=tmp_path / "out.zarr", workers=2)


@pytest.mark.slow
def test_an_error_of_a_block_is_not_tried_again(cluster, tmp_path):
    tried = tmp_path / "tried"

    def wrong(block):
        with tried.open("a") as file:
            file.write("x")
        raise ValueError(f"/obs/x of block {block} is wrong")

    with distributed.Client(cluster, set_as_default=False) as client:
        engine = stage.Stage(client, tmp_path / "tasks", "there")
        with pytest.raises(ValueError, match="/obs/x of block 7 is wrong"):
            list(engine.each_block(wrong, [7]))
    assert tried.read_text() == "x"


@pytest.mark.slow
def test_a_worker_that_lacks_memory_is_an_error_that_names_the_option(monkeypatch, tmp_path):
    def hungry(_):
        held = np.ones(1 << 27)  # 1 GB
        time.sleep(20)
        return len(held)

    monkeypatch.setattr(clusters, "LEAST_WORKER_MEMORY", 1)
    with ExitStack() as stack:
        stack.enter_context(clusters._quiet())
        from dask import config

        rules = clusters.SETTINGS | {"distributed.scheduler.allowed-failures": 0}
        stack.enter_context(config.set(rules))
        client = stack.enter_context(clusters._started(1, 500 << 20, 1))
        engine = stage.Stage(client, tmp_path / "tasks", "there")
        with pytest.raises(MemoryError, match=r"memory_limit"):
            list(engine.each_block(hungry, [0]))


@pytest.mark.slow
def test_a_worker_killed_in_each_stage_changes_nothing(source, tmp_path, cluster, monkeypatch):
    small_blocks(monkeypatch)
    mnncorrect.run(source, "batch", output=tmp_path / "one.zarr", **HOW)
    began, killed = stage.Stage.each_block, []

    def each_block(self, function, blocks):
        results = began(self, function, blocks)
        for number, result in enumerate(results):
            if number == 0:
                processes = [nanny.process for nanny in cluster.workers.values()]
                pids = [each.process.pid for each in processes if each is not None]
                alive = [pid for pid in pids if pid is not None]
                if alive:
                    os.kill(alive[len(killed) % len(alive)], signal.SIGKILL)
                    killed.append(type(function).__qualname__)
            yield result

    monkeypatch.setattr(stage.Stage, "each_block", each_block)
    mnncorrect.run(
        source, "batch", output=tmp_path / "two.zarr", scheduler=cluster.scheduler_address, **HOW
    )
    assert len(killed) >= 4
    same(read(tmp_path / "one.zarr"), read(tmp_path / "two.zarr"))
    assert not list(tmp_path.rglob("*.partial"))


@pytest.mark.slow
def test_ctrl_c_of_a_terminal_gives_one_line(source, tmp_path):
    """A terminal sends it to the workers as well."""
    line = [sys.executable, "-m", "mnncorrect", "run", str(source), "-b", "batch"]
    line += ["-o", str(tmp_path / "out.zarr"), "--workers", "2"]
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True, start_new_session=True) as run:
        told = run.stderr.readline()
        while told and "workers" not in told:
            told = run.stderr.readline()
        os.killpg(run.pid, signal.SIGINT)
        told = run.stderr.read()
        assert run.wait() == 130, told
    assert "interrupted" in told.splitlines()[-1]
    assert "Traceback" not in told
    assert [p.name for p in tmp_path.iterdir()] == ["in.h5ad"]


@pytest.mark.slow
def test_a_script_without_guard_gets_one_error(source, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import mnncorrect\n"
        f"mnncorrect.run({str(source)!r}, 'batch', output={str(tmp_path / 'out.zarr')!r}, "
        "workers=1, gmm=False, n_comps=10)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("Traceback") == 1, done.stderr
    assert "__main__" in done.stderr.splitlines()[-1]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.h5ad", "script.py"]


def test_threads_and_processes_started_meanwhile_do_not_see_ctrl_c():
    if not hasattr(signal, "pthread_sigmask"):
        pytest.skip("needs signal masks")
    with clusters._interrupts_held():
        status = "/proc/self/status"
        if not Path(status).exists():
            pytest.skip("needs /proc")
        done = subprocess.run(["cat", status], capture_output=True, text=True, check=True)
    blocked = next(line for line in done.stdout.splitlines() if line.startswith("SigBlk"))
    assert int(blocked.split()[1], 16) >> (signal.SIGINT - 1) & 1
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, set())


def test_a_signal_while_workers_start_comes_when_they_have_started():
    came = []
    before = signal.signal(signal.SIGTERM, lambda number, _: came.append(number))
    try:
        with clusters._handlers_held():
            signal.raise_signal(signal.SIGTERM)
            assert came == []
        assert came == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)
