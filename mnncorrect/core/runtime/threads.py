"""How many threads, and how work is dealt to them.

Work is cut into blocks whose shape depends on the data's shape only; Python threads carry the
blocks out in compiled pieces that release the interpreter lock, and BLAS is held to one thread
inside. So the same input gives the same bits on any number of threads, and the two thread pools
never compete for the same cores.
Blocks can be given to other processes as well (:func:`on_cluster`).
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from functools import cache
from itertools import islice
from threading import Lock, local
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from .mapped import MappedFile, file_of, let_go, mapping_of, near_rows

Progress = Callable[[str, float], None]
"""Told the name of a stage and the share of it that is done, 0..1."""

BLAS_USERS = ("numpy", "scipy.linalg", "scipy.sparse.linalg", "sklearn")
"""Modules that bring a BLAS, LAPACK or OpenMP library with them."""

TAKEN_ROWS = 32768  # Rows that are copied at a time.

SHARES = 8
"""Blocks, at least, that rows are cut into where threads should have equal shares of them."""

Block = TypeVar("Block")
Result = TypeVar("Result")


def available_cpus() -> int:
    """Count the CPUs this process may run on (its affinity mask, where the system has one)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def resolve_n_jobs(n_jobs: int | None) -> int:
    """Return the number of threads, at most all CPUs that are allowed (``None`` or -1: all)."""
    cpus = available_cpus()
    if n_jobs is None or n_jobs == -1:
        return cpus
    if n_jobs < 1:
        raise ValueError(f"n_jobs is {n_jobs}; use 1 or more, or -1 for all CPUs")
    return min(n_jobs, cpus)


class _HeldBlas:
    """The BLAS and LAPACK of this process, held to one thread while anybody needs that.

    Their number of threads is one for the whole process. Calls may overlap in several threads of
    the caller: the first call sets it, and the last one to end restores it.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._users = 0
        self._loaded: frozenset[str] = frozenset()
        # Libraries, with the number of threads that each had, in the order of holding.
        self._before: list[tuple[Any, int]] = []

    @contextmanager
    def held(self, loaded: frozenset[str]) -> Iterator[None]:
        with self._lock:
            # What was loaded since the first call has to be held too.
            if self._users == 0 or loaded != self._loaded:
                libraries = _controllers(loaded)["blas"].lib_controllers
                self._before += [(each, each.num_threads) for each in libraries]
                for each in libraries:
                    _set_threads(each, 1)
                self._loaded = loaded
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                while self._users == 0 and self._before:
                    _set_threads(*self._before.pop())


_BLAS = _HeldBlas()
_here = local()


def _set_threads(library: Any, number: int) -> None:
    """Set the number of threads of a library from whatever thread this is.

    threadpoolctl 3.8 ignores all threads but the first one that has set a number.
    """
    release = getattr(library, "clear_controlling_thread", lambda **_: None)
    release(force=True)
    library.set_num_threads(number)
    release(force=True)


def _loaded_blas() -> frozenset[str]:
    """Return which libraries are loaded, which decides what must be held."""
    return frozenset(filter(sys.modules.__contains__, BLAS_USERS))


@contextmanager
def single_blas() -> Iterator[None]:
    """Hold BLAS, LAPACK and OpenMP to one thread: their sums depend on the number of threads.

    Calls may be nested, and made from several threads at once.
    """
    loaded = _loaded_blas()
    if getattr(_here, "held", None) == loaded:
        # By this thread already, whose first call lets go.
        yield
        return
    before, _here.held = getattr(_here, "held", None), loaded
    try:
        # Each thread has a number of OpenMP threads of its own.
        with _controllers(loaded)["openmp"].limit(limits=1), _BLAS.held(loaded):
            yield
    finally:
        _here.held = before


@contextmanager
def _having(variable: ContextVar[Any], value: Any) -> Iterator[None]:
    """Give a variable a value in the block."""
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


_pool: ContextVar[tuple[int, ThreadPoolExecutor] | None] = ContextVar("_pool", default=None)


@contextmanager
def one_pool(n_jobs: int) -> Iterator[None]:
    """Let all blocks that are carried out meanwhile share one pool, and hold BLAS throughout.

    Threads of the pool itself do not see it: what they cut into blocks starts threads of its own.
    """
    with single_blas(), ThreadPoolExecutor(n_jobs) as pool, _having(_pool, (n_jobs, pool)):
        yield


@contextmanager
def _some_pool(n_jobs: int) -> Iterator[ThreadPoolExecutor]:
    """Take the pool that is shared, if it has as many threads, or start one."""
    shared = _pool.get()
    if shared is not None and shared[0] == n_jobs:
        yield shared[1]
    else:
        with ThreadPoolExecutor(n_jobs) as pool:
            yield pool


@cache
def _controllers(_: frozenset[str]) -> dict[str, Any]:
    from threadpoolctl import ThreadpoolController

    # A limit restores all that its controller knows, so each kind has its own.
    known = ThreadpoolController()
    return {kind: known.select(user_api=kind) for kind in ("blas", "openmp")}


class Cluster(Protocol):
    """Other processes, which can apply a function to blocks."""

    def each_block(self, function: Callable[[Any], Any], blocks: list[Any]) -> Iterator[Any] | None:
        """Apply a function to every block and yield the results in the order of the blocks.

        ``None``: the function cannot leave this process.
        """


_cluster: ContextVar[Cluster | None] = ContextVar("_cluster", default=None)


def on_cluster(cluster: Cluster) -> AbstractContextManager[None]:
    """Apply functions that may leave this process to blocks in other processes."""
    return _having(_cluster, cluster)


def has_cluster() -> bool:
    """Return whether there are other processes that blocks are given to."""
    return _cluster.get() is not None


_most_threads: ContextVar[int | None] = ContextVar("_most_threads", default=None)


def at_most(n_threads: int) -> AbstractContextManager[None]:
    """Start no more threads than this for blocks, whatever ``n_jobs`` says."""
    return _having(_most_threads, n_threads)


def row_blocks(n_rows: int, size: int) -> list[slice]:
    """Cut ``n_rows`` rows into slices of at most ``size``."""
    return [slice(start, min(start + size, n_rows)) for start in range(0, n_rows, size)]


def rows_per_block(
    n_columns: int, *, n_rows: int | None = None, cells: int = 1 << 22, least: int = 64
) -> int:
    """Choose how many rows of a tile with ``n_columns`` columns hold about ``cells`` numbers.

    No more than an eighth of ``n_rows``, if they are given, so that threads have equal shares.
    """
    size = cells // max(1, n_columns)
    if n_rows is not None:
        size = min(size, -(-n_rows // SHARES))
    return max(least, size)


def even_blocks(n_rows: int, most: int) -> list[slice]:
    """Cut rows into slices of at most ``most``, shorter ones where threads share few rows."""
    return row_blocks(n_rows, min(most, rows_per_block(1, n_rows=n_rows)))


def map_blocks(
    function: Callable[[Block], Result],
    blocks: Iterable[Block],
    *,
    n_jobs: int,
    progress: Progress | None = None,
    stage: str = "",
    pure: bool = False,
) -> list[Result]:
    """Apply a function to every block and return the results in the order of the blocks.

    Parameters as in :func:`each_block`.
    """
    blocks = list(blocks)
    if progress is None and (len(blocks) == 1 or (n_jobs == 1 and not pure)):
        if getattr(_here, "held", None) == _loaded_blas():
            # Without a context, which takes as long as few cells.
            return [function(block) for block in blocks]
        with single_blas():
            return [function(block) for block in blocks]
    threads = min(n_jobs, _most_threads.get() or n_jobs, len(blocks))
    if progress is None and threads > 1 and not (pure and has_cluster()):
        return _map_together(function, blocks, threads, n_jobs)
    how: Any = {"progress": progress, "stage": stage, "pure": pure}
    return list(each_block(function, blocks, n_jobs=n_jobs, **how))


def _map_together(
    function: Callable[[Block], Result], blocks: list[Block], threads: int, n_jobs: int
) -> list[Result]:
    """Apply a function to every block in this thread and in others of the pool.

    Each takes the next block when it is done with one. So short blocks wait for no other thread to
    wake up, and none is woken for each block.
    """
    results: dict[int, Result] = {}
    numbers = iter(range(len(blocks)))

    def work() -> None:
        try:
            for number in numbers:
                results[number] = function(blocks[number])
        finally:
            deque(numbers, maxlen=0)  # After an error, nothing more is begun.

    with single_blas(), _some_pool(n_jobs) as pool:
        others: list[Future[None]] = []
        try:
            others.extend(pool.submit(work) for _ in range(threads - 1))
            work()
        finally:
            deque(numbers, maxlen=0)  # An interrupt may come before any work does.
            late = [other for other in others if not other.cancel()]
            wait(late)
        for other in late:
            other.result()
    return [results[number] for number in range(len(blocks))]


def each_block(
    function: Callable[[Block], Result],
    blocks: Iterable[Block],
    *,
    n_jobs: int,
    progress: Progress | None = None,
    stage: str = "",
    pure: bool = False,
) -> Iterator[Result]:
    """Apply a function to every block and yield the results in the order of the blocks.

    The function should spend its time where the interpreter lock is released. No more than two
    results of each thread wait to be taken, so that sums over blocks need no more memory than that.
    After each block, ``progress`` is called with the share of ``stage`` that is done.

    ``pure``: the function changes nothing, and reads nothing large but from files. Then other
    processes may apply it (:func:`on_cluster`), with the same results.
    """
    blocks = list(blocks)
    cluster = _cluster.get()
    if pure and cluster is not None and len(blocks) > 1:
        elsewhere = cluster.each_block(function, blocks)
        if elsewhere is not None:
            for number, result in enumerate(elsewhere, 1):
                yield result
                if progress is not None:
                    progress(stage, number / len(blocks))
            return
    n_jobs = min(n_jobs, _most_threads.get() or n_jobs)
    with single_blas():
        if n_jobs == 1 or len(blocks) == 1:
            for number, block in enumerate(blocks, 1):
                yield function(block)
                if progress is not None:
                    progress(stage, number / len(blocks))
            return
        with _some_pool(n_jobs) as pool:
            waiting: deque[Future[Result]] = deque()
            ahead = iter(blocks)
            try:
                for block in islice(ahead, 2 * n_jobs):
                    waiting.append(pool.submit(function, block))
                for number in range(1, len(blocks) + 1):
                    result = waiting[0].result()
                    waiting.popleft()
                    for block in islice(ahead, 1):
                        waiting.append(pool.submit(function, block))
                    yield result
                    if progress is not None:
                        progress(stage, number / len(blocks))
            except BaseException:
                # An interrupt or an error ends the run after the blocks now under way.
                for future in waiting:
                    future.cancel()
                wait(waiting)
                raise


def sum_blocks(
    function: Callable[[Block], NDArray[Any]],
    blocks: Iterable[Block],
    *,
    n_jobs: int,
    pure: bool = False,
) -> NDArray[Any]:
    """Add up a function's results over blocks, in the order of the blocks."""
    results = each_block(function, blocks, n_jobs=n_jobs, pure=pure)
    total = next(results).copy()
    for result in results:
        total += result
    return total


class RowsOf:
    """Some rows of an array, which are copied when they are taken.

    Another process gets the rows, or, of an array that is mapped from a named file, their numbers.
    """

    def __init__(self, x: NDArray[Any] | MappedFile, rows: NDArray[np.int64] | None) -> None:
        self._x, self._rows = x, rows

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        if self._rows is None or isinstance(self._x, MappedFile):
            return RowsOf, (self._x, self._rows)
        file = file_of(self._x)
        if file is not None:
            return RowsOf, (file, self._rows)
        return RowsOf, (self.take(n_jobs=1), None)

    def take(self, *, n_jobs: int) -> NDArray[Any]:
        """Return the rows, in the order given."""
        x = self._x.open() if isinstance(self._x, MappedFile) else self._x
        return x if self._rows is None else copy_rows(x, self._rows, n_jobs=n_jobs)


def copy_rows(x: NDArray[Any], rows: NDArray[np.int64], *, n_jobs: int) -> NDArray[Any]:
    """Copy some rows of an array, in the order given."""
    out = np.empty((len(rows), *x.shape[1:]), x.dtype)
    if mapping_of(x) is None:

        def take(block: slice) -> None:
            np.take(x, rows[block], axis=0, out=out[block], mode="clip")

        map_blocks(take, row_blocks(len(rows), TAKEN_ROWS), n_jobs=n_jobs)
        return out
    for some in near_rows(x, rows):
        out[some] = x[rows[some]]
        let_go(x)
    return out
