"""The collector of cyclic garbage rests while own loops are compiled, and only then."""

from __future__ import annotations

import gc
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from numba import njit  # noqa: TID251
from numba.core import event
from numba.core.errors import TypingError

import mnncorrect.core.runtime.kernels  # noqa: F401

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager


@pytest.fixture(autouse=True, params=[True, False], ids=["on", "off"])
def was_on(request: pytest.FixtureRequest) -> Iterator[bool]:
    """Whether the collector is on before; it is the same after each test."""
    before = gc.isenabled()
    (gc.enable if request.param else gc.disable)()
    yield request.param
    after = gc.isenabled()
    (gc.enable if before else gc.disable)()
    assert after == request.param


def compiling(module: str = "mnncorrect.core.some_kernels") -> AbstractContextManager[Any]:
    dispatcher = SimpleNamespace(py_func=SimpleNamespace(__module__=module))
    return event.trigger_event("numba:compile", data={"dispatcher": dispatcher})


def test_it_rests_until_the_outermost_loop_is_compiled(was_on: bool) -> None:
    with compiling():
        assert not gc.isenabled()
        with compiling(), compiling("numba.np.arrayobj"):
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled() == was_on


def test_it_goes_on_after_a_loop_that_cannot_be_compiled(was_on: bool) -> None:
    seen = []

    def broken(x: Any) -> Any:
        return x.no_such_thing

    class Look(event.Listener):  # type: ignore[misc]
        def on_start(self, _: Any) -> None:
            seen.append(gc.isenabled())

        def on_end(self, _: Any) -> None:
            pass

    broken.__module__ = "mnncorrect.core.some_kernels"
    with event.install_listener("numba:compile", Look()), pytest.raises(TypingError):
        njit(broken)(1.0)
    assert seen == [False]
    assert gc.isenabled() == was_on


def test_loops_of_others_do_not_stop_it(was_on: bool) -> None:
    for other in ("scanpy.some", "mnncorrections"):
        with compiling(other):
            assert gc.isenabled() == was_on
            with compiling():
                assert not gc.isenabled()
            assert gc.isenabled() == was_on


def test_it_goes_on_after_two_threads_compiled(was_on: bool) -> None:
    def doubled(x: Any) -> Any:
        return 2 * x

    doubled.__module__ = "mnncorrect.core.some_kernels"
    loops = [njit(doubled) for _ in range(2)]
    threads = [threading.Thread(target=loop, args=(value,)) for loop in loops for value in (1, 1.0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(len(loop.signatures) == 2 for loop in loops)
    assert gc.isenabled() == was_on
