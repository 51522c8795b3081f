"""Color-blind safe palettes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

# Okabe & Ito (2008), "Color universal design", without black, and yellow last: it is faint on
# white.
GREY = "#7F7F7F"
BASE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", GREY, "#F0E442")
# Mixed with black, then with white, where there are more categories than these.
TIERS = ((0.0, 0.0), (0.45, 0.0), (0.0, 0.55))
# Cells without a value, and those of categories beyond the colors.
ABSENT, OTHER = "#D9D9D9", "#BDBDBD"
# Light gray is what has no color of its own.
MOST_COLORS = len(BASE) * len(TIERS) - 1
# Sequential maps, of even lightness steps in every kind of color vision.
SEQUENTIAL = "viridis"
EMPHASIS, QUIET, ALERT = BASE[0], "#8C8C8C", BASE[5]


def palette(n: int) -> list[str]:
    """Return ``n`` colors, at most 23, the most different ones first.

    Examples
    --------
    >>> palette(3)
    ['#0072B2', '#E69F00', '#009E73']
    >>> len(set(palette(23)))
    23
    """
    colors = [_mixed(color, *tier) for tier in TIERS for color in BASE]
    colors.remove(_mixed(GREY, *TIERS[-1]))
    return colors[:n]


def _mixed(color: str, black: float, white: float) -> str:
    parts = [int(color[at : at + 2], 16) for at in (1, 3, 5)]
    mixed = [round((part * (1 - black)) * (1 - white) + 255 * white) for part in parts]
    return "#" + "".join(f"{part:02X}" for part in mixed)


def colors_of(
    names: Sequence[str], sizes: Sequence[int], given: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Give each category its ``given`` color, or one of the palette.

    Where there are more categories than colors, the largest have their own; the others are gray.
    """
    largest = list(names)
    if len(largest) > MOST_COLORS:
        order = sorted(range(len(names)), key=lambda at: (-sizes[at], at))
        kept = set(order[: MOST_COLORS - 1])
        largest = [name for at, name in enumerate(names) if at in kept]
    own = dict(zip(largest, palette(len(largest)), strict=True))
    return {name: (given or {}).get(name, own.get(name, OTHER)) for name in names}
