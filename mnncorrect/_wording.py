"""Messages in the words of who reads them: arguments in Python, options at the command line.

Messages name arguments as Python does. The command line writes those that it knows as its options:
``merge_order``, ``neighbors="exact"``, and single words in backticks, such as `` `layer` ``. Where
the advice itself differs, a message is :class:`Worded`.
"""

from __future__ import annotations

import shlex


class Worded(str):
    """A message for Python that has other words for the command line.

    Examples
    --------
    >>> told = Worded("leave it out: del adata.raw", command_line="leave out --use-raw")
    >>> told, told.command_line
    ('leave it out: del adata.raw', 'leave out --use-raw')
    """

    __slots__ = ("command_line",)

    command_line: str  # The words for the command line.

    def __new__(cls, text: str, *, command_line: str) -> Worded:
        made = super().__new__(cls, text)
        made.command_line = command_line
        return made


class UsageError(ValueError):
    """Arguments that exclude one another, or that have no use for what is asked for.

    At the command line that is wrong usage, with an exit code of its own.
    """


def for_shell(message: object) -> str:
    """Return the words for the command line, of a message, a warning or an error."""
    if isinstance(message, BaseException):
        message = message.args[0] if len(message.args) == 1 else message
    return message.command_line if isinstance(message, Worded) else str(message)


def option(name: str, value: object) -> str:
    """Write an option of the command line and its value, quoted for a shell."""
    text = str(value)
    # What begins like an option would be taken for one.
    joint = "=" if text.startswith("-") else " "
    return f"--{name.replace('_', '-')}{joint}{shlex.quote(text)}"
