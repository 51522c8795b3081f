"""Maps of the cells with their legends: what a page shows side by side, on one scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnncorrect._adata.lookup import shortened
from mnncorrect.pl.palettes import ABSENT, OTHER, SEQUENTIAL, colors_of
from mnncorrect.report.draw import maps

if TYPE_CHECKING:
    from mnncorrect.report.collect.groups import CellGroups

# More names than these would cover each other on the cells.
MOST_ON_CELLS = 40
# Longer names are shortened on the cells and beside a color.
MOST_LABEL_LETTERS = 40
# About how wide a letter and how high a line is, as shares of a map.
LETTER_WIDTH, LINE_HEIGHT = 0.031, 0.055
# Room left at the edge for names, as a share of a map.
EDGE = 0.01


@dataclass(frozen=True)
class MapPoints:
    """Where cells are on one map."""

    caption: str  # What the map shows.
    axes: str  # What its axes are.
    points: NDArray[Any]  # Cells x 2 or more; the first two are drawn.
    rows: NDArray[np.int64] | None = None  # Which cells of the file these are; ``None``: all.
    # Where cells of the reference are, which are drawn gray beneath; ``None``: there are none.
    beneath: NDArray[Any] | None = None

    def of(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return the values of the cells that are drawn."""
        return values if self.rows is None else values[self.rows]

    def all_points(self) -> NDArray[np.float64]:
        """Return where all cells are drawn, those of the reference first."""
        groups = [self.points] if self.beneath is None else [self.beneath, self.points]
        return np.concatenate([plane(points) for points in groups])

    def with_beneath(self, values: NDArray[Any], other: int) -> NDArray[Any]:
        """Put the value of the cells of the reference before those of the others."""
        n = 0 if self.beneath is None else len(self.beneath)
        return np.concatenate([np.full(n, other, values.dtype), values])

    def painted(
        self, what: str, numbers: NDArray[np.int64], pale: NDArray[np.bool_], colors: list[str]
    ) -> CellMap:
        """Paint the cells in colors by number from 1, pale ones and the reference below others."""
        image = maps.paint(
            self.all_points(),
            self.with_beneath(numbers, colors.index(ABSENT) + 1),
            self.with_beneath(pale, True),
        )
        label = f"{self.caption}: {len(numbers):,} cells colored by {what}"
        return CellMap(self.caption, self.axes, label, maps.png_source(image, colors))


@dataclass(frozen=True)
class CellMap:
    """One map."""

    caption: str  # What it shows.
    axes: str  # What its axes are.
    label: str  # What it shows, for those who cannot see it.
    source: str  # The image.
    # Texts on the cells: text, share from the left, share from the top.
    names: list[tuple[str, float, float]] = field(default_factory=list)


@dataclass(frozen=True)
class LegendEntry:
    """A color and what it means."""

    name: str
    color: str
    size: int


@dataclass(frozen=True)
class MapSet:
    """Maps of the same colors, side by side, with their legend."""

    # What colors are, and what to see.
    title: str
    note: str
    maps: list[CellMap]
    legend: list[LegendEntry] = field(default_factory=list)  # Of groups.
    # Of numbers: colors from the least to the largest; what the ends mean.
    ramp: list[str] = field(default_factory=list)
    ends: tuple[str, str] = ("", "")

    @property
    def gradient(self) -> str:
        """The ramp in steps, as CSS has it: each color has its share, the last one too."""
        n = len(self.ramp)
        steps = [
            f"{color} {100 * at / n:.3g}% {100 * (at + 1) / n:.3g}%"
            for at, color in enumerate(self.ramp)
        ]
        return f"linear-gradient(to right, {', '.join(steps)})"


def color_by_group(
    places: list[MapPoints], groups: CellGroups, title: str, *, names: bool = False
) -> MapSet:
    """Draw cells colored by group on each map, with the names of the groups if wanted."""
    by_name = colors_of(groups.names, groups.sizes)
    palette = list(dict.fromkeys([*by_name.values(), OTHER, ABSENT]))
    number_of = np.array(
        [palette.index(by_name[name]) + 1 for name in groups.names] + [len(palette)]
    )
    pale = [palette.index(OTHER) + 1, palette.index(ABSENT) + 1]
    drawn = []
    for one in places:
        codes = one.of(groups.codes)
        numbers = number_of[codes]
        made = one.painted(title, numbers, np.isin(numbers, pale), palette)
        if names and len(groups.names) <= MOST_ON_CELLS:
            short = [shortened(name, MOST_LABEL_LETTERS) for name in groups.names]
            around = maps.middles(one.all_points(), one.with_beneath(codes, -1), len(groups.names))
            found = uncovered(short, groups.sizes, around, letter=LETTER_WIDTH, line=LINE_HEIGHT)
            made = replace(made, names=[(short[at], left, top) for at, left, top in found])
        drawn.append(made)
    n_beneath = 0 if places[0].beneath is None else len(places[0].beneath)
    return MapSet(title, "", drawn, legend(groups, n_beneath))


def color_by_number(
    places: list[MapPoints],
    values: Sequence[NDArray[np.floating]],
    title: str,
    *,
    note: str,
    ends: tuple[str, str],
) -> MapSet:
    """Draw cells colored by a number from 0 to 1, on one scale for all maps.

    ``values``: for each map, of the cells that it shows. ``ends``: what 0 and 1 mean.
    """
    colors = [*maps.scale_colors(SEQUENTIAL), ABSENT]
    drawn = []
    for one, numbers in zip(places, values, strict=True):
        steps = maps.steps(numbers, 0.0, 1.0)
        unknown = steps == 0
        steps[unknown] = len(colors)
        drawn.append(one.painted(title, steps, unknown, colors))
    return MapSet(title, note, drawn, [], colors[:-1], ends)


def legend(groups: CellGroups, n_beneath: int = 0) -> list[LegendEntry]:
    """List which color is which group; ``n_beneath``: how many cells of the reference are gray."""
    by_name = colors_of(groups.names, groups.sizes)
    sizes = dict(zip(groups.names, groups.sizes, strict=True))
    own = {name: color for name, color in by_name.items() if color != OTHER}
    entries = [LegendEntry(name, color, sizes[name]) for name, color in own.items()]
    if len(own) < len(by_name):
        rest = sum(size for name, size in sizes.items() if name not in own)
        entries.append(LegendEntry(f"{len(by_name) - len(own)} others", OTHER, rest))
    without = int((groups.codes < 0).sum())
    if without:
        entries.append(LegendEntry("no value", ABSENT, without))
    if n_beneath:
        entries.append(LegendEntry("reference cells", ABSENT, n_beneath))
    return entries


def plane(points: NDArray[Any]) -> NDArray[np.float64]:
    """Take the first two dimensions; of one, the second is 0."""
    flat = np.zeros((len(points), 2))
    flat[:, : min(2, points.shape[1])] = points[:, :2]
    return flat


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
    Returns the number of each name that is written, and where its middle is.
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
