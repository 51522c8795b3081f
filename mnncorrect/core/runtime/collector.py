"""Python's collector of cyclic garbage rests while loops of this package are compiled."""

from __future__ import annotations

import gc
from typing import Any

PACKAGE = __name__.partition(".")[0]


def pause_collector(events: Any) -> None:
    """Stop the collector at the start of each compilation, and start it again at the end.

    numba makes many objects that live until a loop is compiled. The collector looks through them
    again and again, for an eighth of the time of the first call. ``events`` is numba's module of
    events. numba compiles in one thread at a time, so counting needs no lock, and it reports the
    end of a failed compilation too. A collector that is off already stays off. The loops of other
    packages are compiled as before, unless a loop of this package calls them.
    """

    class Pause(events.Listener):  # type: ignore[misc]
        def __init__(self) -> None:
            self.depth, self.stopped = 0, False

        def on_start(self, event: Any) -> None:
            if _is_own(event):
                self.depth += 1
                if self.depth == 1 and gc.isenabled():
                    gc.disable()
                    self.stopped = True

        def on_end(self, event: Any) -> None:
            if _is_own(event):
                self.depth -= 1
                if self.depth == 0 and self.stopped:
                    self.stopped = False
                    gc.enable()

    events.register("numba:compile", Pause())


def _is_own(event: Any) -> bool:
    return str(event.data["dispatcher"].py_func.__module__).partition(".")[0] == PACKAGE
