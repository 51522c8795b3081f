"""Calls written as commands of the shell: the only place that turns arguments into options.

What ``check`` proposes and what the report says would do a run again are both written here, from
the arguments of :func:`mnncorrect.run`, so that no argument is lost on the way.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from mnncorrect._adata.record import ARRAY
from mnncorrect._prepare.steps import ALL_GENES

# Arguments whose options have another name.
OPTIONS = {"key": "-b", "output": "-o", "n_jobs": "--threads", "random_state": "--seed"}
# Below this, all whole numbers are exact.
MOST_EXACT = 1e15
# Arguments whose options are given once for each value.
REPEATED = frozenset({"key", "keep", "subset", "covariate", "regress_out"})


def command_line(program: str, inputs: Sequence[Any], arguments: Mapping[str, Any]) -> str:
    """Write a command, quoted for a shell."""
    words = [path_word(path) for path in inputs]
    for name, value in arguments.items():
        words += option_words(name, value)
    return shlex.join(["mnncorrect", program, *words])


def option_words(name: str, value: Any) -> list[str]:
    """Write an argument as an option and its value; nothing where an option cannot say it.

    Examples
    --------
    >>> option_words("merge_order", [["a", "b"], "c"]), option_words("layer", None)
    (['--merge-order', '((a,b),c)'], [])
    """
    option = OPTIONS.get(name, f"--{name.replace('_', '-')}")
    if isinstance(value, bool):
        return [option if value else f"--no-{option[2:]}"]
    if name == "mask_var" and value is None:
        return [option, ALL_GENES]
    if value is None or (isinstance(value, str) and value == ARRAY):
        return []
    if (name, value) == ("hvg", "counts"):
        return []
    if name in REPEATED:
        each = [value] if isinstance(value, str) else value
        return [word for one in each for word in _with_value(option, str(one))]
    if name == "batch_weights" and isinstance(value, list) and not isinstance(value[0], str | list):
        return []  # options name the batches
    if isinstance(value, float) and value.is_integer() and abs(value) < MOST_EXACT:
        value = int(value)  # as it is typed
    if isinstance(value, dict):
        value = ",".join(f"{batch}={weight}" for batch, weight in value.items())
    if isinstance(value, list):
        nested = any(isinstance(part, list) for part in value)
        value = _tree_text(value) if nested else ",".join(map(str, value))
    return _with_value(option, str(value))


def path_word(path: Any) -> str:
    """Write a path so that it is not taken for an option."""
    text = str(path)
    return f"./{text}" if text.startswith("-") else text


def _with_value(option: str, text: str) -> list[str]:
    """Write an option and its value, in one word where the value could be taken for an option."""
    if text.startswith("-"):
        return [f"{option}={text}"] if option.startswith("--") else [f"{option}{text}"]
    return [option, text]


def _tree_text(part: Any) -> str:
    return f"({','.join(map(_tree_text, part))})" if isinstance(part, list) else str(part)
