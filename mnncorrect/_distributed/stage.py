"""Functions applied to blocks by the workers of a Dask cluster."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import deque
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

# Tasks that wait for each thread of a worker, besides the one that it works on.
AHEAD = 2
# Blocks of a task at most, and tasks that each thread has before a task takes several blocks. A
# task costs some milliseconds of the process that starts the run.
MOST_BLOCKS, ENOUGH_TASKS = 4, 16
# Bytes that the results of a task should have at most: they wait in the memory of a worker.
RESULT_BYTES = 1 << 24


class Stage:
    """Applies functions to blocks, as :class:`mnncorrect.core.runtime.threads.Cluster` says.

    A function is written to a file that every worker reads once. Workers that die are replaced by
    Dask, and their blocks are given to others: a block reads files only, or writes its own chunks.
    """

    def __init__(self, client: Any, folder: Path, place: str) -> None:
        self.client, self.folder, self.place = client, folder, place
        self._number = itertools.count()
        folder.mkdir(parents=True, exist_ok=True)

    def each_block(self, function: Callable[[Any], Any], blocks: list[Any]) -> Iterator[Any]:
        """Apply a function to every block and yield the results in the order of the blocks."""
        import cloudpickle

        path = self.folder / str(next(self._number))
        path.write_bytes(cloudpickle.dumps(function))
        each = self.client.nthreads().values()
        threads = max(1, sum(each))
        # What is left where there are fewer blocks than threads.
        own = max(1, min(threads // len(blocks), max(each, default=1)))
        size = max(1, min(MOST_BLOCKS, len(blocks) // (ENOUGH_TASKS * threads)))
        return self._results((str(path), own), deque(blocks), threads, size)

    def _results(
        self, how: tuple[str, int], blocks: deque[Any], threads: int, most: int
    ) -> Iterator[Any]:
        waiting = deque[Any]()

        def submit(size: int) -> None:
            some = [blocks.popleft() for _ in range(min(size, len(blocks)))]
            if some:
                waiting.append(self._submit(how, some))

        try:
            for _ in range((1 + AHEAD) * threads):
                submit(1)  # How much a result takes is not known yet.
            while waiting:
                results = self._taken(waiting[0])
                waiting.popleft()
                submit(1 if most == 1 else _fitting(results, most))
                yield from results
        finally:
            with contextlib.suppress(Exception):
                self.client.cancel(list(waiting), force=True)
            Path(how[0]).unlink(missing_ok=True)

    def _submit(self, how: tuple[str, int], blocks: list[Any]) -> Any:
        return self.client.submit(_applied, *how, blocks, pure=False)

    def _taken(self, future: Any) -> Any:
        """Take a result, and say in words what was wrong with its worker."""
        from distributed import KilledWorker

        with lost_scheduler(self.place):
            try:
                return future.result()
            except KilledWorker as error:
                msg = (
                    f"for a block of cells: a Dask worker {self.place} died "
                    f"{error.allowed_failures + 1} times at it, probably for lack of memory; give "
                    "workers more memory (`memory_limit`), or start fewer"
                )
                raise MemoryError(msg) from error


def _fitting(results: list[Any], most: int) -> int:
    """Return for how many blocks results like these fit into a task; one at least."""
    import cloudpickle

    arrays: list[Any] = []
    rest = len(cloudpickle.dumps(results, protocol=5, buffer_callback=arrays.append))
    each = (rest + sum(array.raw().nbytes for array in arrays)) // len(results)
    return max(1, min(most, RESULT_BYTES // max(1, each)))


@contextlib.contextmanager
def lost_scheduler(place: str) -> Iterator[None]:
    """Turn the errors of a connection that broke into one that says so."""
    from distributed.client import FutureCancelledError
    from distributed.comm.core import CommClosedError

    try:
        yield
    except (CommClosedError, FutureCancelledError, asyncio.CancelledError) as error:
        msg = (
            f"the Dask scheduler {place} was lost; nothing was written: start it again, and then "
            "the run"
        )
        raise OSError(msg) from error


def _applied(path: str, threads: int, blocks: list[Any]) -> list[Any]:
    """Apply a function to some blocks in a worker, with so many threads."""
    from mnncorrect.core.runtime.threads import at_most, single_blas

    with single_blas(), at_most(threads):
        return [_function(path)(block) for block in blocks]


@lru_cache(maxsize=1)
def _function(path: str) -> Callable[[Any], Any]:
    import cloudpickle

    function: Callable[[Any], Any] = cloudpickle.loads(Path(path).read_bytes())
    return function
