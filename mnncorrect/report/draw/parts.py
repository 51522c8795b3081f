"""Pieces that pages are made of: maps with their legends, tables of numbers."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from mnncorrect._adata.lookup import in_short
from mnncorrect.pl._colors import ABSENT, OTHER, SEQUENTIAL, colors_of
from mnncorrect.pl._embedding import shortened
from mnncorrect.pl._labels import uncovered
from mnncorrect.report.draw import maps
from mnncorrect.report.draw.html import Html, joined, tag

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from mnncorrect.report.collect.groups import Groups

# More names than these are counted instead; on the cells, they would cover each other.
MOST_CHIPS, MOST_ON_DATA = 60, 40
# Longer names are shortened where they stand beside a colour.
MOST_LETTERS = 40
# A table of more rows is folded, of more columns has fewer of them.
MANY_ROWS, MANY_COLUMNS = 40, 12
# About how wide a letter and how high a line is, as shares of a map.
LETTER_WIDTH, LINE_HEIGHT = 0.024, 0.05


def number(value: float | None, digits: int = 3) -> str:
    """Write a number; a dash for none.

    Examples
    --------
    >>> number(0.12345), number(None), number(1234567.0), number(-0.0001)
    ('0.123', '-', '1,234,567', '0.000')
    """
    if value is None:
        return "-"
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.{digits}f}"
    return text.lstrip("-") if float(text.replace(",", "")) == 0 else text


def said(value: Any) -> str:
    r"""Write the value of a parameter; of a long one, the beginning.

    Examples
    --------
    >>> said(True), said(0.1), said('["a", "\u00e9"]'), said(None)
    ('yes', '0.1', '["a", "é"]', '-')
    """
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str) and value.startswith("["):
        with contextlib.suppress(ValueError):  # what is JSON has signs written as numbers
            value = json.dumps(json.loads(value), ensure_ascii=False)
    return f"{value:g}" if isinstance(value, float) else in_short(str(value))


def plane(points: NDArray[Any]) -> NDArray[np.float64]:
    """Take the first two dimensions; of one, the second is 0."""
    flat = np.zeros((len(points), 2))
    flat[:, : min(2, points.shape[1])] = points[:, :2]
    return flat


def group_map(
    points: NDArray[Any], groups: Groups, caption: str, *, label: str, names: bool = False
) -> Html:
    """Draw cells coloured by group.

    Parameters
    ----------
    points
        Their places; the first two dimensions are drawn.
    groups
        Their groups.
    caption
        What is shown, above the map.
    label
        The same for those who cannot see it.
    names
        Whether the names of the groups stand on the cells.
    """
    flat = plane(points)
    by_name = colors_of(groups.names, groups.sizes)
    palette = list(dict.fromkeys([*by_name.values(), OTHER, ABSENT]))
    number_of = np.array(
        [palette.index(by_name[name]) + 1 for name in groups.names] + [len(palette)]
    )
    numbers = number_of[groups.codes]
    grey = np.isin(numbers, [palette.index(OTHER) + 1, palette.index(ABSENT) + 1])
    image = maps.png(maps.paint(flat, numbers, grey), palette)
    on_cells: list[Html] = []
    if names and len(groups.names) <= MOST_ON_DATA:
        places = maps.middles(flat, groups.codes, len(groups.names))
        placed = uncovered(
            groups.names, groups.sizes, places, letter=LETTER_WIDTH, line=LINE_HEIGHT
        )
        on_cells = [
            tag(
                "span",
                groups.names[at],
                class_="name",
                style=f"left:{100 * left:.1f}%;top:{100 * top:.1f}%",
            )
            for at, left, top in placed
        ]
    return _figure(image, caption, label, on_cells)


def number_map(
    points: NDArray[Any],
    values: NDArray[np.floating],
    caption: str,
    *,
    label: str,
    ends: tuple[float, float],
) -> Html:
    """Draw cells coloured by a number between two ends."""
    colors = [*maps.scale_colors(SEQUENTIAL), ABSENT]
    numbers = maps.steps(values, *ends)
    unknown = numbers == 0
    numbers[unknown] = len(colors)
    image = maps.png(maps.paint(plane(points), numbers, unknown), colors)
    return _figure(image, caption, label, [])


def _figure(image: bytes, caption: str, label: str, on_cells: Sequence[Html]) -> Html:
    picture = tag(
        "img",
        src=maps.as_source(image),
        alt=label,
        width=str(maps.PIXELS),
        height=str(maps.PIXELS),
    )
    return tag(
        "figure",
        tag("figcaption", caption),
        tag("div", picture, *on_cells, class_="canvas"),
    )


def legend(groups: Groups) -> Html:
    """Say which colour is which group."""
    by_name = colors_of(groups.names, groups.sizes)
    own = {name: color for name, color in by_name.items() if color != OTHER}
    sizes = dict(zip(groups.names, groups.sizes, strict=True))
    entries = [(name, color, sizes[name]) for name, color in own.items()]
    if len(own) < len(by_name):
        rest = sum(size for name, size in sizes.items() if name not in own)
        entries.append((f"{len(by_name) - len(own)} others", OTHER, rest))
    without = int((groups.codes < 0).sum())
    if without:
        entries.append(("no value", ABSENT, without))
    return tag(
        "ul",
        *(
            tag(
                "li",
                tag("span", class_="chip", style=f"background:{color}"),
                f"{shortened(name, MOST_LETTERS)} ",
                tag("span", f"({size:,})", class_="dim"),
                title=name,
            )
            for name, color, size in entries
        ),
        class_="legend",
    )


def scale(least: str, most: str) -> Html:
    """Say which colours are which numbers."""
    ramp = ", ".join(maps.scale_colors(SEQUENTIAL))
    return tag(
        "div",
        least,
        tag("span", class_="ramp", style=f"background:linear-gradient(to right, {ramp})"),
        most,
        class_="scale",
    )


def score_rows(
    scores: Sequence[tuple[str, Sequence[float | None]]],
    *,
    strong: Callable[[Sequence[float | None], float], int | None],
) -> list[list[Any]]:
    """Make the rows of a table of scores.

    Parameters
    ----------
    scores
        Name of each score and its values; those without any are left out.
    strong
        Given the values and the ideal one, the place of the one that stands out.
    """
    from mnncorrect.core.metrics.embedding import SCORES

    rows = []
    for name, values in scores:
        if all(value is None for value in values):
            continue
        known = SCORES.get(name)
        out = strong(values, 1.0 if known is None else known.ideal)
        cells = [
            tag("strong", number(value)) if at == out else number(value)
            for at, value in enumerate(values)
        ]
        words = "" if known is None else f"{known.meaning} (ideal: {known.ideal:g})"
        rows.append([name, *cells, tag("span", words, class_="meaning")])
    return rows


def definitions(entries: Sequence[tuple[str, Any]]) -> Html:
    """List a few numbers that matter."""
    return tag(
        "dl",
        *(tag("div", tag("dt", name), tag("dd", value)) for name, value in entries),
        class_="numbers",
    )


def heat(value: float | None, most: float) -> Html:
    """Make a cell of a table whose ground is the darker, the larger the number."""
    if value is None:
        return Html("-")
    share = 0.0 if most <= 0 else max(0.0, min(1.0, value / most))
    # From white to orange; letters stay black on every step.
    part = [round(255 - share * (255 - full)) for full in (230, 159, 0)]
    style = f"display:block;padding:0 .3rem;background:rgb({part[0]},{part[1]},{part[2]})"
    return tag("span", f"{value:.3f}", style=style)


def folded(summary: str, content: Html, *, fold: bool) -> Html:
    """Put what is long where a click opens it."""
    return tag("details", tag("summary", summary), content) if fold else content


def command_line(text: str) -> Html:
    """Show a command, whose words are not torn at their hyphens where the line ends."""
    words = [tag("span", word, class_="word") for word in text.split(" ")]
    return tag("pre", tag("code", Html(" ".join(words))))


def together(parts: Sequence[Html | None]) -> Html:
    """Put maps beside each other, as many as the page is wide for."""
    return tag("div", joined(parts), class_="maps")
