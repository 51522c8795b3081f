"""No Ctrl-C is lost, wherever it falls."""

from __future__ import annotations

import ctypes
import signal
import sys
import threading
import time

import pytest
import typer

from mnncorrect.cli.runtime.command import INTERRUPTED, command
from mnncorrect.cli.runtime.interrupts import interruptible

LONG = 60.0


def _interrupt_inside_a_callback() -> None:
    ctypes.CFUNCTYPE(None)(lambda: signal.raise_signal(signal.SIGINT))()


def test_an_interrupt_inside_a_callback_from_c_comes_again() -> None:
    def work() -> None:
        with interruptible() as came:
            signals.append(came)
            _interrupt_inside_a_callback()
            threading.Event().wait(LONG)

    signals: list[list[int]] = []
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        work()
    assert signals == [[signal.SIGINT, signal.SIGINT]]
    assert time.monotonic() - start < LONG


def test_what_fails_of_an_interrupt_is_told_as_one(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        _interrupt_inside_a_callback()  # as where a loop is compiled
        msg = "no compiled object yet"
        raise RuntimeError(msg)

    with pytest.raises(typer.Exit) as ended:
        command(work)(verbose=False, quiet=False, debug=False, log_file=None)
    assert ended.value.exit_code == INTERRUPTED
    assert capsys.readouterr().err == "error: interrupted; nothing was written\n"


def test_an_ignored_interrupt_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interruptible() as signals:
            signal.raise_signal(signal.SIGINT)
        assert signals == []
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_handlers_are_put_back() -> None:
    handlers = (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))
    hook = sys.unraisablehook
    with interruptible():
        assert signal.getsignal(signal.SIGTERM) is not handlers[1]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    assert sys.unraisablehook is hook
