"""The ranges of parameters, in one place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

RANGES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "n_neighbors": (lambda v: v >= 1, "it must be at least 1"),
    "prop_neighbors": (lambda v: 0 < v <= 1, "it must be above 0 and at most 1"),
    "sigma": (lambda v: 0 < v < np.inf, "it must be above 0 and finite"),
    "n_svd": (lambda v: v >= 0, "it must be 0 or more"),
    "smoothing": (lambda v: v in ("local", "global"), "choose 'local' or 'global'"),
    "ndist": (lambda v: 0 < v < np.inf, "it must be above 0 and finite"),
    "min_batch_size": (lambda v: v >= 0, "it must be 0 or more, or None"),
    "sketch": (lambda v: v >= 1, "it must be at least 1"),
    "recall": (lambda v: 0 < v <= 1, "it must be above 0 and at most 1"),
    "n_comps": (lambda v: v >= 1, "it must be at least 1"),
}


def check_ranges(given: Mapping[str, Any]) -> None:
    """Refuse arguments out of their range; ``None`` stands for a parameter that is not used."""
    for name, (allowed, rule) in RANGES.items():
        value = given.get(name)
        if value is not None and not allowed(value):
            raise ValueError(f"{name} is {value!r}; {rule}")


def check_count(name: str, value: float | str, least: int) -> None:
    """Refuse what is not a whole number from ``least`` up."""
    if isinstance(value, str) or value != int(value) or value < least:
        raise ValueError(f"{name} is {value!r}; it must be a whole number from {least} up")
