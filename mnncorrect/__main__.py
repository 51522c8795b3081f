"""``python -m mnncorrect``, and the entry point of the command ``mnncorrect``."""

from __future__ import annotations

import io
import sys


def main() -> None:
    """Run the command line."""
    try:
        from mnncorrect.cli.app import app

        # What the encoding of stdout has no letters for is written by its number, as on stderr.
        if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
            sys.stdout.reconfigure(errors="backslashreplace")
        app(prog_name="mnncorrect")
    except KeyboardInterrupt:  # before a command has taken over
        sys.exit(130)


if __name__ == "__main__":
    main()
