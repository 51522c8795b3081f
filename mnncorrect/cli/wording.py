"""What the package says, in the words of the command line.

Options stand for arguments, and paths inside a file for places of an object: ``/obs/donor`` for
``obs['donor']``. Messages are written in Python's words; this is the only place that changes them.
"""

from __future__ import annotations

import ast
import contextlib
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, TypeAlias

from mnncorrect._log import words
from mnncorrect._wording import for_shell

Options: TypeAlias = Mapping[str, tuple[str, str | None]]

# Options that have another name as arguments; arguments that have another one as options.
ARGUMENTS = {"batch_key": "key"}
RENAMED = {"key": "--batch-key", "n_jobs": "--threads"}
# Options that say what None says to an argument; other options are left out instead.
NOTHING = {"mask_var": "none"}
NAME = r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*"
LITERAL = r"\"[^\"]*\"|'(?:[^'\\]|\\.)*'|True|False|-?\d+(?:\.\d+)?"
# `name` or `name=value` in backticks; name=value; a name that a sentence begins with; a name of
# several words, not quoted, not a path.
ARGUMENT = re.compile(
    rf"`(?P<marked>{NAME})(?:=(?P<marked_value>{LITERAL}|None))?`"
    rf"|(?<![\w'\"\[./=-])(?P<name>{NAME})=(?P<value>{LITERAL})(?![\w.])"
    r"|(?:^|(?<=; ))(?P<first>[a-z]+)(?= is )"
    r"|(?<![\w'\"\[./=-])(?P<plain>[a-z][a-z0-9]*(?:_[a-z0-9]+)+)(?![\w'\"\](./=-])"
)
SLOT_NAMES = "obs|var|obsm|varm|obsp|varp|layers|uns"
# An element, raw's too, with its name in quotes; raw.X; a slot that lacks a name, and X, which says
# something. Not those of an object in code: adata.obs['donor'].
PLACE = re.compile(
    rf"(?<![\w./])(?P<raw>raw\.)?(?P<slot>{SLOT_NAMES})"
    r"\[(?P<name>'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")\]"
    r"|(?<![\w./])raw\.(?P<of_raw>X|var)\b"
    rf"|(?<![\w./'\"])(?P<whole>{SLOT_NAMES})(?= has no (?:'|correction))"
    r"|(?<![\w./'\"])(?P<values>X)(?= (?:of \S+ )?(?:holds|has) )"
)
# What sets an argument of the command that runs, and what unsets it.
_known: ContextVar[Options] = ContextVar("options", default=MappingProxyType({}))


def on_shell(text: str) -> str:
    """Write a message for the command that runs: arguments as its options, places as paths.

    Arguments in backticks are written so whether the command has them or not: another may.

    Examples
    --------
    >>> on_shell("name a column: `gene_key='gene ids'`, or say `counts=False`")
    "name a column: --gene-key 'gene ids', or say --no-counts"
    >>> on_shell("`mask_var=None` uses all genes")
    '--mask-var none uses all genes'
    >>> on_shell("obs['donor'] is missing for 3 cells; raw.X holds counts")
    '/obs/donor is missing for 3 cells; /raw/X holds counts'
    """
    options = _known.get()

    def written(found: re.Match[str]) -> str:
        name = found["marked"] or found["name"] or found["first"] or found["plain"]
        if name not in options and found["marked"] is None:
            return found[0]
        value = found["marked_value"] or found["value"]
        return _option_name(name, value, options)

    return in_file(ARGUMENT.sub(written, text))


def in_file(text: str) -> str:
    """Write the places of an object in a text as paths inside a file."""

    def path(found: re.Match[str]) -> str:
        if found["slot"] is None:
            raw = "/raw" if found["of_raw"] else ""
            return f"{raw}/{found['of_raw'] or found['whole'] or found['values']}"
        name = ast.literal_eval(found["name"])
        return f"{'/raw' if found['raw'] else ''}/{found['slot']}/{name}"

    return PLACE.sub(path, text)


@contextlib.contextmanager
def options_of(parameters: Iterable[Any]) -> Iterator[None]:
    """Have messages name the options of a command, for the time of the block."""
    found = {}
    for parameter in parameters:
        on, off = (
            next((name for name in names if name.startswith("--")), None)
            for names in (parameter.opts, parameter.secondary_opts)
        )
        if on is not None:
            found[parameter.name] = (RENAMED.get(parameter.name, on), off)
    found |= {name: found[option] for option, name in ARGUMENTS.items() if option in found}
    before = _known.set(found), words.set(lambda message: on_shell(for_shell(message)))
    try:
        yield
    finally:
        _known.reset(before[0])
        words.reset(before[1])


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def _option_name(name: str, value: str | None, options: Options) -> str:
    usual = RENAMED.get(name, f"--{_dashed(name)}"), f"--no-{_dashed(name)}"
    on, off = options.get(name, usual)
    if value is None or value == "True":
        return on
    if value == "None" and name in NOTHING:
        return f"{on} {NOTHING[name]}"
    if value == "None":
        return f"without {on}"
    if value == "False":
        return off or f"without {on}"
    text = str(ast.literal_eval(value))
    joint = "=" if text.startswith("-") else " "
    return f"{on}{joint}{shlex.quote(text)}"
