"""Ctrl-C and SIGTERM: heard wherever they fall, and never lost."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

# Seconds until an interrupt that Python could not raise where it fell comes again.
AGAIN = 0.05


@contextlib.contextmanager
def heard() -> Iterator[list[int]]:
    """Raise KeyboardInterrupt for Ctrl-C and for SIGTERM, as cluster schedulers send it.

    An interrupt that falls into a callback from C, as when a loop is compiled, or into the end of
    an object's life is no exception that anybody sees: Python hands it to `sys.unraisablehook` and
    goes on, or something fails of what it left half done. It is raised again a little later then.

    Yields
    ------
    The numbers of the signals that came so far: where there are any, what fails fails of them.
    """
    came: list[int] = []
    again: list[threading.Timer] = []
    hook = sys.unraisablehook

    def interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        came.append(number)
        raise KeyboardInterrupt

    def unraisable(lost: sys.UnraisableHookArgs) -> None:
        if issubclass(lost.exc_type, KeyboardInterrupt):
            again.append(threading.Timer(AGAIN, _interrupt_main))
            again[-1].daemon = True
            again[-1].start()
        else:
            hook(lost)

    before = {signal.SIGTERM: signal.signal(signal.SIGTERM, interrupt)}
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not ignored, as by nohup
        before[signal.SIGINT] = signal.signal(signal.SIGINT, interrupt)
    sys.unraisablehook = unraisable
    try:
        yield came
    finally:
        for timer in again:
            timer.cancel()
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt_main() -> None:
    """Send Ctrl-C to the main thread, which wakes it if it waits, where the system can do that."""
    main = threading.main_thread().ident
    if hasattr(signal, "pthread_kill") and main is not None:
        signal.pthread_kill(main, signal.SIGINT)
    else:
        signal.raise_signal(signal.SIGINT)
