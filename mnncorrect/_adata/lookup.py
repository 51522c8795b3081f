"""How names are looked up and listed in messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

# A message is one line: more names than this are counted instead.
LISTED = 20


def listed(names: Iterable[Any], most: int = LISTED) -> str:
    """Write names after each other; of many, the first and how many more there are."""
    names = [str(name) for name in names]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(repr(name) for name in names[:most]) + more


def require(name: str, there: Iterable[Any], place: str, remedy: str = "") -> None:
    """Raise KeyError if a name is not among those of a place; say which are, and what to do."""
    names = list(there)
    if name not in names:
        has = f"it has: {listed(names)}" if names else "it is empty"
        msg = f"{place} has no {name!r}; {has}{remedy and f'; {remedy}'}"
        raise KeyError(msg)
