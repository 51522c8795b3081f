"""Which names can be written on the cells of a map, and where."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# Room left at the edge, as a share of a map.
EDGE = 0.01


def uncovered(
    names: Sequence[str],
    sizes: Sequence[int],
    places: Sequence[tuple[float, float] | None],
    *,
    letter: float,
    line: float,
) -> list[tuple[int, float, float]]:
    """Choose where names stand: inside the map, those that would cover a larger group's nowhere.

    ``places``: where each belongs, as shares from the left and the top (or the bottom); ``None``:
    nowhere. ``letter, line``: about how wide a letter and how high a line is, as shares of the map.
    Returns number of each name that is written, and where its middle is.

    Examples
    --------
    >>> uncovered(["T", "B"], [10, 20], [(0.5, 0.5), (0.51, 0.5)], letter=0.02, line=0.05)
    [(1, 0.51, 0.5)]
    """
    free: list[tuple[int, float, float, float]] = []
    for at in sorted(range(len(names)), key=lambda at: (-sizes[at], at)):
        place = places[at]
        half = 0.5 * letter * len(names[at])
        if place is None or half >= 0.5:
            continue
        left, top = min(max(place[0], half + EDGE), 1 - half - EDGE), place[1]
        if not any(abs(left - x) < half + other and abs(top - y) < line for _, x, y, other in free):
            free.append((at, left, top, half))
    return [(at, left, top) for at, left, top, _ in free]
