"""The same correction on Dask: equal to one process, and whole or not there whatever fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from test_zarr_outputs import counts, read, same

import mnncorrect
from mnncorrect._wording import UsageError

HOW = {"gmm": False, "n_comps": 10, "memory_limit": "16M"}


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "in.h5ad"
    counts().write_h5ad(path)
    return path


def test_workers_without_dask_are_refused_with_the_extra(source, tmp_path, monkeypatch):
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"mnncorrect\[dask\]"):
        mnncorrect.run(source, "batch", output=tmp_path / "out.zarr", workers=2)


def test_what_dask_cannot_do_is_refused_before_work(source, tmp_path):
    zarr = tmp_path / "out.zarr"
    with pytest.raises(UsageError, match=r"\.zarr"):
        mnncorrect.run(source, "batch", output=tmp_path / "out.h5ad", workers=2)
    with pytest.raises(UsageError, match="paths of files"):
        mnncorrect.run(counts(), "batch", output=zarr, workers=2)
    with pytest.raises(UsageError, match="one of them"):
        mnncorrect.run(source, "batch", output=zarr, workers=2, scheduler="tcp://here:1")
    with pytest.raises(UsageError, match="tcp://"):
        mnncorrect.run(source, "batch", output=zarr, scheduler="nonsense")
    with pytest.raises(UsageError, match="from 1 up"):
        mnncorrect.run(source, "batch", output=zarr, workers=0)
    assert not zarr.exists()


def test_a_plan_names_the_workers(source, tmp_path):
    pytest.importorskip("distributed")
    planned = mnncorrect.plan(source, "batch", output=tmp_path / "out.zarr", workers=3, gmm=False)
    assert any("3 workers" in step for step in planned.describe())


@pytest.fixture
def tasks(tmp_path):
    """The numbers of blocks that were sent together, by a stand-in for a cluster of two threads."""
    pytest.importorskip("distributed")
    from types import SimpleNamespace

    from mnncorrect._distributed.stage import Stage
    from mnncorrect.core.runtime.threads import on_cluster

    sent = []

    def submit(function, *given, **_):
        sent.append(len(given[-1]))
        return SimpleNamespace(result=lambda: function(*given))

    client = SimpleNamespace(
        nthreads=lambda: {"a": 1, "b": 1}, submit=submit, cancel=lambda *_, **__: None
    )
    with on_cluster(Stage(client, tmp_path / "tasks", "here")):
        yield sent
    assert not list((tmp_path / "tasks").iterdir())


@pytest.mark.parametrize("n_blocks", [1, 5, 31, 70, 500])
def test_small_blocks_are_sent_together_and_results_keep_their_order(tasks, n_blocks):
    from mnncorrect.core.runtime.threads import each_block

    made = each_block(lambda n: n * n, range(n_blocks), n_jobs=1, pure=True)
    assert list(made) == [n * n for n in range(n_blocks)]
    assert sum(tasks) == (n_blocks if n_blocks > 1 else 0)
    assert max(tasks, default=1) == {31: 1, 70: 2, 500: 4}.get(n_blocks, 1)


def test_blocks_with_large_results_are_sent_alone(tasks, monkeypatch):
    from mnncorrect._distributed import stage
    from mnncorrect.core.runtime.threads import each_block

    monkeypatch.setattr(stage, "RESULT_BYTES", 1_000)
    for n_numbers, most in ((200, 1), (40, 2), (1, 4)):
        tasks.clear()
        made = each_block(lambda _, n=n_numbers: np.zeros(n), range(300), n_jobs=1, pure=True)
        assert sum(map(len, made)) == 300 * n_numbers
        assert max(tasks) == most


def test_a_task_starts_no_more_threads_than_its_worker_has():
    from mnncorrect.core.runtime.threads import at_most, each_block

    def threads(_):
        time.sleep(0.001)
        return threading.get_ident()

    with at_most(1):
        found = set(each_block(threads, range(20), n_jobs=4))
    assert found == {threading.get_ident()}


def small_blocks(monkeypatch):
    from mnncorrect._io import zarr_rows
    from mnncorrect._prepare import limits
    from mnncorrect.core.matrix import gram, pca, rows

    monkeypatch.setattr(limits, "LEAST_BLOCK_BYTES", 1 << 14)
    monkeypatch.setattr(limits, "LARGEST_BLOCK", 1 << 14)
    monkeypatch.setattr(zarr_rows, "ENTRY_CHUNK", 1000)
    for module in (gram, pca, rows):
        monkeypatch.setattr(module, "ROW_BLOCK", 64)
    monkeypatch.setattr(gram, "GRAM_BLOCK", 64)


@pytest.mark.slow
@pytest.mark.parametrize("choice", [{}, {"keep_normalized": False}, {"use_raw": True}])
def test_a_scheduler_gives_the_bits_of_one_process(source, tmp_path, cluster, monkeypatch, choice):
    small_blocks(monkeypatch)
    from mnncorrect._distributed import stage

    sent = []
    applied = stage.Stage._submit
    monkeypatch.setattr(stage.Stage, "_submit", lambda *given: sent.append(1) or applied(*given))
    address = cluster.scheduler_address
    mnncorrect.run(source, "batch", output=tmp_path / "one.zarr", **HOW, **choice)
    assert not sent
    mnncorrect.run(
        source, "batch", output=tmp_path / "two.zarr", scheduler=address, **HOW, **choice
    )
    assert len(sent) > 10
    same(read(tmp_path / "one.zarr"), read(tmp_path / "two.zarr"))
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ["in.h5ad", "one.zarr", "two.zarr"]


@pytest.mark.slow
def test_workers_map_components_that_take_much_memory(source, tmp_path, cluster, monkeypatch):
    from mnncorrect._prepare import limits
    from mnncorrect.core.runtime import mapped

    made, files = mapped.mapped_array, []

    def seen(*given, **more):
        x = made(*given, **more)
        files.append(mapped.file_of(x))
        return x

    monkeypatch.setattr(mapped, "mapped_array", seen)
    mnncorrect.run(source, "batch", output=tmp_path / "one.zarr", **HOW)
    assert not files
    monkeypatch.setattr(limits, "LARGE", 1 << 30)
    address = cluster.scheduler_address
    mnncorrect.run(source, "batch", output=tmp_path / "two.zarr", scheduler=address, **HOW)
    assert files[0] is not None
    same(read(tmp_path / "one.zarr"), read(tmp_path / "two.zarr"))
    assert not [path for path in (tmp_path / "two.zarr").iterdir() if "scratch" in path.name]


@pytest.mark.slow
def test_genes_that_do_not_fit_are_kept_where_workers_read_them(
    source, tmp_path, cluster, monkeypatch
):
    from mnncorrect._prepare import limits

    small_blocks(monkeypatch)
    made = limits.MemoryLimits

    def tight(block, gathered, *more):
        return made(block, 1000, *more)

    mnncorrect.run(source, "batch", output=tmp_path / "one.zarr", **HOW)
    monkeypatch.setattr(limits, "MemoryLimits", tight)
    for name in ("keep", "drop"):
        mnncorrect.run(
            source, "batch", output=tmp_path / f"{name}.zarr", keep_normalized=name == "keep",
            scheduler=cluster.scheduler_address, **HOW,
        )  # fmt: skip
        one, other = (read(tmp_path / f"{each}.zarr") for each in ("one", name))
        np.testing.assert_array_equal(one.obsm["X_mnn"], other.obsm["X_mnn"])


@pytest.mark.slow
def test_a_scheduler_that_is_not_there_is_an_error(source, tmp_path, monkeypatch):
    pytest.importorskip("distributed")
    from mnncorrect._distributed import cluster

    monkeypatch.setattr(cluster, "PATIENCE", 1)
    with pytest.raises(OSError, match=r"tcp://127\.0\.0\.1:9"):
        mnncorrect.run(
            source, "batch", output=tmp_path / "out.zarr", scheduler="tcp://127.0.0.1:9", **HOW
        )
    assert [p.name for p in tmp_path.iterdir()] == ["in.h5ad"]


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_the_run_ends_right(source, tmp_path, cluster, monkeypatch):
    small_blocks(monkeypatch)
    from mnncorrect._distributed import stage

    mnncorrect.run(source, "batch", output=tmp_path / "one.zarr", **HOW)
    taken, killed = stage.Stage._taken, []

    def taken_and_killed(self, future):
        result = taken(self, future)
        if len(killed) < 2:
            processes = [nanny.process.process for nanny in cluster.workers.values()]
            pids = [each.pid for each in processes if each is not None and each.pid is not None]
            if pids:
                killed.append(pids[0])
                os.kill(pids[0], signal.SIGKILL)
        return result

    monkeypatch.setattr(stage.Stage, "_taken", taken_and_killed)
    address = cluster.scheduler_address
    mnncorrect.run(source, "batch", output=tmp_path / "two.zarr", scheduler=address, **HOW)
    assert killed
    same(read(tmp_path / "one.zarr"), read(tmp_path / "two.zarr"))


@pytest.mark.slow
def test_a_scheduler_that_is_lost_is_an_error_and_leaves_nothing(source, tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed")
    small_blocks(monkeypatch)
    from mnncorrect._distributed import stage

    own = distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, dashboard_address=":0", silence_logs=50
    )
    taken = stage.Stage._taken

    def lost(self, future):
        result = taken(self, future)
        own.close()
        return result

    monkeypatch.setattr(stage.Stage, "_taken", lost)
    with pytest.raises(OSError, match="scheduler"):
        mnncorrect.run(
            source, "batch", output=tmp_path / "out.zarr", scheduler=own.scheduler_address, **HOW
        )
    assert [p.name for p in tmp_path.iterdir()] == ["in.h5ad"]


@pytest.mark.slow
def test_an_interrupted_run_closes_its_workers_and_leaves_nothing(source, tmp_path):
    pytest.importorskip("distributed")
    line = [sys.executable, "-m", "mnncorrect", "run", str(source), "-b", "batch"]
    line += ["-o", str(tmp_path / "out.zarr"), "--workers", "2"]
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True, start_new_session=True) as run:
        told = run.stderr.readline()
        while "workers" not in told:
            told = run.stderr.readline()
        group = os.getpgid(run.pid)
        run.send_signal(signal.SIGINT)
        timer = threading.Timer(60, run.kill)
        timer.start()
        told = run.stderr.read()
        code = run.wait()
        timer.cancel()
    assert code == 130, told
    assert "nothing was written" in told
    assert "Traceback" not in told
    assert [p.name for p in tmp_path.iterdir()] == ["in.h5ad"]
    for _ in range(50):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            break
        time.sleep(0.2)
    else:
        pytest.fail("processes of the cluster are left")


@pytest.mark.slow
def test_the_command_starts_workers(source, tmp_path):
    pytest.importorskip("distributed")
    line = [sys.executable, "-m", "mnncorrect", "run", str(source), "-b", "batch", "--no-gmm"]
    line += ["--n-comps", "10", "--workers", "2", "-o", str(tmp_path / "out.zarr")]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr
    mnncorrect.run(source, "batch", output=tmp_path / "one.h5ad", gmm=False, n_comps=10)
    same(read(tmp_path / "one.h5ad"), read(tmp_path / "out.zarr"))
