"""Defaults of arguments that differ from every value that a caller could give."""

from __future__ import annotations

import enum


class Unset(enum.Enum):
    """The type of a parameter that was not given, where ``None`` has a meaning of its own."""

    UNSET = "unset"

    def __repr__(self) -> str:
        return "<unset>"


UNSET = Unset.UNSET


class _DefaultSeed(int):
    """A seed that was not given, which equals 0 but is another object."""


SEED = _DefaultSeed(0)
