"""Signals that ask a run to end: each raises one KeyboardInterrupt, wherever it falls."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

# Seconds until an interrupt that Python could not raise where it fell comes again. Without the
# timer it would be lost, and a scheduler sends SIGTERM once, before it kills.
AGAIN = 0.05
# Ctrl-C; what cluster schedulers send, also where CPU time is up; the end of a terminal.
ENDING = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGXCPU")
    if hasattr(signal, name)
)


def end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    """Raise KeyboardInterrupt for a signal, unless one is on its way up already."""
    if not _is_ending():
        raise KeyboardInterrupt


def handle_signals() -> None:
    """Have the signals that ask a process to end do so in order, from its first step to its last.

    For a process of this program only: `interruptible` leaves them ignored once one of them came.
    """
    for number in ENDING:
        if signal.getsignal(number) in {signal.SIG_DFL, signal.default_int_handler}:
            signal.signal(number, end)


@contextlib.contextmanager
def interruptible() -> Iterator[list[int]]:
    """Raise KeyboardInterrupt for the signals that ask a run to end.

    An interrupt that falls into a callback from C, as when a loop is compiled, or into the end of
    an object's life is no exception that anybody sees: Python hands it to `sys.unraisablehook` and
    goes on, or something fails of what it left half done. It is raised again a little later then.

    A signal that comes while one is on its way up is not raised: it would end what cleans up.

    Yields the numbers of the signals that came so far: where there are any, what fails fails of
    them.
    """
    came: list[int] = []
    again: list[threading.Timer] = []
    hook = sys.unraisablehook

    def interrupt(number: int, frame: FrameType | None) -> None:
        came.append(number)
        end(number, frame)

    def unraisable(lost: sys.UnraisableHookArgs) -> None:
        if issubclass(lost.exc_type, KeyboardInterrupt):
            again.append(threading.Timer(AGAIN, _interrupt_main))
            again[-1].daemon = True
            again[-1].start()
        else:
            hook(lost)

    # What is ignored, as by nohup, stays so.
    ours = {signal.SIG_DFL, signal.default_int_handler, end}
    before = {
        number: signal.signal(number, interrupt)
        for number in ENDING
        if signal.getsignal(number) in ours
    }
    sys.unraisablehook = unraisable
    try:
        yield came
    finally:
        for timer in again:
            timer.cancel()
        sys.unraisablehook = hook
        for number, handler in before.items():
            # The process is ending, with the exit code that says why: no signal may change that.
            ends = bool(came) and handler is end
            signal.signal(number, signal.SIG_IGN if ends else handler)


def _is_ending() -> bool:
    """Return whether a KeyboardInterrupt is being handled where the signal fell."""
    error = sys.exc_info()[1]
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__context__
    return False


def _interrupt_main() -> None:
    """Send Ctrl-C to the main thread, which wakes it if it waits, where the system can do that."""
    main = threading.main_thread().ident
    if hasattr(signal, "pthread_kill") and main is not None:
        signal.pthread_kill(main, signal.SIGINT)
    else:
        signal.raise_signal(signal.SIGINT)
