"""The Dask cluster of a run: one that is started on this machine, or one that is there."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import logging
import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

from mnncorrect._distributed import files, stage
from mnncorrect._io.zarr_scratch import SCRATCH
from mnncorrect.core.runtime.threads import on_cluster, resolve_n_jobs

logger = logging.getLogger("mnncorrect")

# A worker has this memory at least: libraries and compiled loops take a third of it.
LEAST_WORKER_MEMORY = 1 << 30
# Seconds to wait for a scheduler, and for its first worker.
PATIENCE = 30
EXTRA = "pip install 'mnncorrect[dask]'"
TASKS = "tasks"
# Signals that end a run, besides that of Ctrl-C.
HELD = ("SIGTERM", "SIGHUP", "SIGXCPU")
SETTINGS = {
    # A lost scheduler is reported at once, not waited for.
    "distributed.comm.retry.count": 0,
    # A worker that needs more than its memory ends; otherwise it may wait for memory without end.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": 0.95,
    # Dask has workers return freed memory at once: each array then costs page faults, a third of
    # the time of a block. With its own rule, the allocator keeps 64 MB at most.
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None,
    # The components of a batch of 100,000 cells have 8 MB, of which Dask would warn.
    "distributed.admin.large-graph-warning-threshold": "1TB",
    # A thread that looks at all others a hundred times a second.
    "distributed.worker.profile.enabled": False,
}


@dataclass(frozen=True)
class Dask:
    """The Dask cluster that carries a run out."""

    workers: int | None  # How many processes are started; ``None``: there is a cluster.
    scheduler: str | None  # The address of its scheduler.

    @property
    def argument(self) -> str:
        """The argument that asks for it."""
        return "workers" if self.scheduler is None else "scheduler"

    @property
    def place(self) -> str:
        """Where it is, in words."""
        return "on this machine" if self.scheduler is None else f"at {self.scheduler}"


def refuse_without_dask(argument: str) -> None:
    """Refuse an argument that needs Dask where it is not installed."""
    if importlib.util.find_spec("distributed") is None:
        msg = f"`{argument}` needs Dask, which is not installed; {EXTRA}"
        raise ValueError(msg)


@contextlib.contextmanager
def workers_of(
    dask: Dask,
    folder: Path,
    inputs: Sequence[Path],
    *,
    memory: int,
    n_jobs: int | None,
) -> Iterator[None]:
    """Give blocks to the workers of a Dask cluster until the block ends.

    Workers start, or are connected to, when the first blocks are given to them.

    ``folder``: the folder of the output, which all workers write to. ``inputs``: the files that
    they read. ``memory``: bytes that a worker may take, where it is started here.
    """
    refuse_without_dask(dask.argument)
    from dask import config

    files.make_sendable()
    with contextlib.ExitStack() as stack:

        def start() -> stage.Stage:
            stack.enter_context(config.set(SETTINGS))
            stack.enter_context(_quiet())
            if dask.scheduler is not None:
                client = stack.enter_context(_connected_client(dask.scheduler))
            else:
                assert dask.workers is not None
                client = stack.enter_context(_started(dask.workers, memory, n_jobs))
            _refuse_unfit(client, dask, folder, inputs)
            return stage.Stage(client, folder / SCRATCH / TASKS, dask.place)

        with stage.lost_scheduler(dask.place), on_cluster(_WhenNeeded(functools.cache(start))):
            yield


@dataclass(frozen=True)
class _WhenNeeded:
    """A cluster that is started when the first blocks are given to it."""

    start: Callable[[], stage.Stage]

    def each_block(self, function: Callable[[Any], Any], blocks: list[Any]) -> Iterator[Any]:
        return self.start().each_block(function, blocks)


def end_if_imported_by_worker() -> None:
    """End this process if it is a worker that imports the script that starts the workers.

    Such a script calls `run` without asking whether it is the main one. The process that started
    the worker reports it.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise SystemExit(1)


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Have processes and threads that are started meanwhile never see Ctrl-C.

    A terminal sends it to all processes, and this one closes the others. If it falls meanwhile, it
    comes when the block ends.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    # It lets signals through again where it is started later.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _handlers_held() -> Iterator[None]:
    """Have signals that this process handles wait until the block ends, such as SIGTERM.

    Dask cannot close a cluster that has not started whole. Other processes see these signals.
    """
    came: list[int] = []
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for name in HELD:
            number = getattr(signal, name, None)
            if number is not None and callable(signal.getsignal(number)):
                before[number] = signal.signal(number, lambda found, _: came.append(found))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


@contextlib.contextmanager
def _started(workers: int, memory: int, n_jobs: int | None) -> Iterator[Any]:
    """Start a cluster on this machine, and close it at the end whatever comes."""
    from distributed import Client, LocalCluster

    threads = max(1, resolve_n_jobs(n_jobs) // workers)
    limit = max(memory, LEAST_WORKER_MEMORY)
    with contextlib.ExitStack() as stack:
        try:
            with _handlers_held(), _interrupts_held():
                cluster = stack.enter_context(
                    LocalCluster(
                        n_workers=workers,
                        threads_per_worker=threads,
                        memory_limit=limit,
                        dashboard_address=":0",
                        silence_logs=logging.CRITICAL,
                    )
                )
        except RuntimeError:
            msg = (
                "the Dask workers did not start; a script calls `run` below "
                '`if __name__ == "__main__":`, since workers import the script'
            )
            raise OSError(msg) from None
        # Results come from the workers, not by way of the scheduler, which is in this process too.
        client = Client(cluster, set_as_default=False, direct_to_workers=True)
        try:
            logger.info(
                "Dask: %d workers of %d threads, %.1f GB each", workers, threads, limit / 2**30
            )
            yield client
        finally:
            client.close(timeout=5)


@contextlib.contextmanager
def _connected_client(address: str) -> Iterator[Any]:
    """Connect to a scheduler, and leave its workers as they are at the end."""
    from distributed import Client

    try:
        client = Client(address, timeout=PATIENCE, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        reason = " ".join(str(error).split())
        msg = (
            f"no Dask scheduler answers at {address} ({reason}); start one with `dask scheduler`, "
            "or give another address: `scheduler`"
        )
        raise OSError(msg) from error
    try:
        yield client
    finally:
        client.close(timeout=5)


def _refuse_unfit(client: Any, dask: Dask, folder: Path, inputs: Sequence[Path]) -> None:
    """Refuse workers that lack this package, another version of it, or the files."""
    place = dask.place
    try:
        client.wait_for_workers(1, timeout=PATIENCE)
    except TimeoutError as error:
        msg = f"the Dask scheduler {place} has no workers; start some with `dask worker`"
        raise OSError(msg) from error
    import mnncorrect
    from mnncorrect._io.read_places import parted

    here = mnncorrect.__version__
    paths = [str(folder), *(str(parted(path)[0].absolute()) for path in inputs)]
    try:
        seen = client.run(files.seen_by_worker(paths))
    # What a worker lacks shows in many ways.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise OSError(
            f"the Dask workers {place} cannot carry out a first task ({reason}); install the same "
            "versions of Python, Dask and mnncorrect for all workers"
        ) from error
    for worker, (version, missing) in seen.items():
        if version != here:
            has = "no mnncorrect" if version is None else f"mnncorrect {version}"
            msg = (
                f"the Dask worker {worker} has {has}, and this is {here}; install the same version "
                "for all workers"
            )
            raise ValueError(msg)
        if missing:
            msg = (
                f"the Dask worker {worker} cannot see {missing[0]}; workers read the inputs and "
                "write the output themselves: use a folder that all machines share"
            )
            raise OSError(msg)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what Dask logs of lost workers out of the log of the run."""
    names = ("distributed", "distributed.nanny", "distributed.scheduler", "distributed.core")
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
