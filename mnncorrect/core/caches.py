"""Caches of compiled loops that runs side by side may share."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

NUMBER = "{number:d}"


def own_files(functions: Iterable[Any]) -> None:
    """Let this process name the files of compiled code that it writes as no other does.

    numba counts them, from an index that it reads before it writes it anew. Two processes that
    compile one loop for different types at the same time take the same number: the index then
    says of one's code that it is the other's, and every later run reads wrong numbers or fails.
    With names of their own the worst is that one of them is compiled again.

    Parameters
    ----------
    functions
        Objects of any kind; those that are no compiled loops with a cache are left as they are.
    """
    token = secrets.token_hex(4)
    for function in functions:
        file = getattr(getattr(function, "_cache", None), "_cache_file", None)
        pattern = getattr(file, "_data_name_pattern", None)
        if isinstance(pattern, str):
            file._data_name_pattern = pattern.replace(NUMBER, f"{NUMBER}-{token}")  # type: ignore[union-attr]
