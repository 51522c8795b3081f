"""``python -m mnncorrect``, and the entry point of the command ``mnncorrect``."""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import sys
from collections.abc import Sequence


def main() -> None:
    """Run the command line."""
    _open_standard()
    failed: list[int] = []
    # What is registered first is called last.
    atexit.register(_leave, failed)
    try:
        from mnncorrect.cli.runtime.interrupts import handle_signals

        handle_signals()
        from mnncorrect.cli.app import app

        # What the encoding of stdout has no letters for is written by its number, as on stderr.
        if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
            sys.stdout.reconfigure(errors="backslashreplace")
        app(prog_name="mnncorrect")
    except KeyboardInterrupt:  # before a command has taken over
        sys.exit(130)
    except SystemExit as end:
        if end.code:
            failed.append(end.code if isinstance(end.code, int) else 1)
        raise
    except OSError as error:  # the help, say, does not go where it is sent
        from mnncorrect.cli.streams import send_nowhere

        send_nowhere(sys.stdout)
        sys.exit(f"error: stdout or stderr cannot be written: {error.strerror}")


def _leave(failed: Sequence[int]) -> None:
    """End a process that failed and holds an HDF5 file: HDF5 crashes where it closes such."""
    h5py = sys.modules.get("h5py")
    if failed and h5py is not None and h5py.h5f.get_obj_count(types=h5py.h5f.OBJ_FILE) > 0:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
        os._exit(failed[-1])


def _open_standard() -> None:
    """Open what is closed of stdin, stdout and stderr, on nothing.

    A file would take its number otherwise, and libraries would write into it what they say.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            # It takes the least number that is free. A command that has something to say on a
            # stdout that was closed fails; what goes to stderr may be lost.
            os.open(os.devnull, os.O_RDONLY if name == "stdout" else os.O_RDWR)
            setattr(sys, name, os.fdopen(number, "w" if number else "r"))


if __name__ == "__main__":
    main()
