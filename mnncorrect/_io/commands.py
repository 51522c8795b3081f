"""Commands that messages give to a user, quoted so that a shell takes them as they are."""

from __future__ import annotations

import re
import shlex

# What means nothing to a shell between double quotes.
PLAIN = re.compile(r"[\w\s./,:;()='*+%@-]*")


def python_command(code: str) -> str:
    r"""Return the command that runs a line of Python.

    Examples
    --------
    >>> print(python_command("print('a b')"))
    python -c "print('a b')"
    >>> print(python_command("print('$HOME')"))
    python -c 'print('"'"'$HOME'"'"')'
    """
    quoted = f'"{code}"' if PLAIN.fullmatch(code) else shlex.quote(code)
    return f"python -c {quoted}"
