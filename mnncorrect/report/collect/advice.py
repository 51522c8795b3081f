"""What a reader should know before trusting a result, in plain words, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from mnncorrect._adata.lookup import leading, shortened

# Names in a list, letters of a name.
N_NAMED, MOST_NAME_LETTERS = 8, 60


@dataclass(frozen=True)
class Advice:
    """One thing to know."""

    level: str  # ``"warning"``: it may spoil conclusions; ``"note"``: it is good to know.
    title: str  # In a few words.
    text: str  # What was found.
    remedy: str  # What to do.


a_warning, a_note = partial(Advice, "warning"), partial(Advice, "note")


def some(names: Sequence[str], most: int = N_NAMED) -> str:
    """List names, long ones shortened; of many, the first.

    Examples
    --------
    >>> some(["a", "b"]), some(list("abcd"), most=2)
    ('a, b', 'a, b and 2 more')
    """
    return leading([shortened(name, MOST_NAME_LETTERS) for name in names], most)


def percent(share: float) -> str:
    """Write a share in per cent.

    Examples
    --------
    >>> percent(0.3), percent(0.004), percent(0.0004)
    ('30 %', '0.4 %', 'below 0.1 %')
    """
    if 0 < share < 0.001:
        return "below 0.1 %"
    return f"{100 * share:.0f} %" if share >= 0.1 or share == 0 else f"{100 * share:.1f} %"
