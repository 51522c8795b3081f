"""``python -m mnncorrect``, and the entry point of the command ``mnncorrect``."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line."""
    try:
        from mnncorrect.cli.app import app

        app(prog_name="mnncorrect")
    except KeyboardInterrupt:  # before a command has taken over
        sys.exit(130)


if __name__ == "__main__":
    main()
