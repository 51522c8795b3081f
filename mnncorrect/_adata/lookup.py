"""How names are looked up and listed in messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

# A message is one line: more names than this are counted instead.
MOST_LISTED = 20
# Messages list each of up to so many inputs or batches; of more, only the extremes.
MOST_TOLD = 20
# Batches of a side of a merge that are all named; letters of a text that is printed whole.
MOST_OF_SIDE, MOST_LETTERS = 3, 300
# A name is proposed for a misspelled one if so much of both is alike.
NEAR_NAMES = 0.75


def listed(names: Iterable[Any], most: int = MOST_LISTED) -> str:
    """Write names after each other; of many, the first and how many more there are."""
    return leading([repr(str(name)) for name in names], most)


def leading(texts: Sequence[str], most: int, joint: str = ", ") -> str:
    """Write texts after each other; of many, the first and how many more there are."""
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return joint.join(texts[:most]) + more


def side(names: Sequence[str]) -> str:
    """Name the batches of one side of a merge; of more than a few, the first.

    Examples
    --------
    >>> side(["a", "b"]), side(list("abcdef"))
    ('a + b', 'a and 5 more')
    """
    if len(names) <= MOST_OF_SIDE:
        return " + ".join(names)
    return f"{names[0]} and {len(names) - 1} more"


def in_short(text: str) -> str:
    """Cut a text that no one would read to its end, and say how long it is.

    Examples
    --------
    >>> in_short("A,B,C"), in_short("A," * 300)[-25:]
    ('A,B,C', 'A,A, ... (600 characters)')
    """
    if len(text) <= MOST_LETTERS:
        return text
    return f"{text[: MOST_LETTERS // 2]} ... ({len(text)} characters)"


def shortened(name: str, most: int) -> str:
    """Leave out the middle of a long name: names of one study often begin or end alike.

    Examples
    --------
    >>> shortened("sample 1 of the second visit", 14)
    'sample… visit'
    """
    part = (most - 1) // 2
    return name if len(name) <= most else f"{name[:part]}…{name[-part:]}"


def printable(text: str) -> str:
    """Replace control characters and lone surrogates, which pages and plots cannot show."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in "\n\t" else "\ufffd" for char in text)


def what_there_is(names: Iterable[Any]) -> str:
    """Say which names a place has, or that it is empty.

    Examples
    --------
    >>> what_there_is(["X_pca"]), what_there_is([])
    ("it has: 'X_pca'", 'it is empty')
    """
    known = list(names)
    return f"it has: {listed(known)}" if known else "it is empty"


def require(name: str, there: Iterable[Any], place: str, remedy: str = "") -> None:
    """Raise KeyError if a name is not among those of a place; say which are, and what to do."""
    names = list(there)
    if name not in names:
        near = difflib.get_close_matches(str(name), map(str, names), 1, NEAR_NAMES)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise KeyError(
            f"{place} has no {name!r}{hint}; {what_there_is(names)}{remedy and f'; {remedy}'}"
        )


def told_sizes(sizes: Mapping[str, int]) -> str:
    """Tell how many cells each batch has; of many batches, the fewest and the most.

    Examples
    --------
    >>> told_sizes({"a": 3, "b": 5})
    'a 3, b 5'
    >>> told_sizes({f"b{i}": 30 + i for i in range(400)})
    '30 cells in b0 to 429 in b399'
    """
    if len(sizes) <= MOST_TOLD:
        return ", ".join(f"{name} {size}" for name, size in sizes.items())
    fewest, most = (end(sizes, key=lambda name: sizes[name]) for end in (min, max))
    if sizes[fewest] == sizes[most]:
        return f"{sizes[most]} cells in each"
    return f"{sizes[fewest]} cells in {fewest} to {sizes[most]} in {most}"
