"""Drawings in lines and letters, as SVG inside the page."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from mnncorrect.pl._colors import ALERT, EMPHASIS, QUIET
from mnncorrect.pl._embedding import shortened
from mnncorrect.pl._merges import MUCH_LOST, said_of
from mnncorrect.pl._tree import lay_out
from mnncorrect.report.draw.html import Html, joined, tag

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Distances in the tree, in pixels; how wide letters are about, capitals, and signs of the far east.
ROW, LETTER, CAPITAL, SIGN = 26, 7.2, 9.4, 13.5
# How wide a merge of a deep tree is, in pixels.
COLUMN = 28
MOST_LETTERS = 40
# A drawing beside text.
WIDTH, HEIGHT = 460, 240


def _line(x1: float, y1: float, x2: float, y2: float, **more: Any) -> Html:
    return tag("line", x1=f"{x1:.1f}", y1=f"{y1:.1f}", x2=f"{x2:.1f}", y2=f"{y2:.1f}", **more)


def _text(x: float, y: float, *words: str, **more: Any) -> Html:
    return tag("text", *words, x=f"{x:.1f}", y=f"{y:.1f}", **more)


def _width(text: str) -> float:
    """Guess how wide a text is, in pixels."""
    return sum(SIGN if char > "\u2e80" else CAPITAL if char.isupper() else LETTER for char in text)


def _svg(width: float, height: float, label: str, *parts: Html, fit: bool = False) -> Html:
    return tag(
        "svg",
        tag("title", label),
        *parts,
        viewBox=f"0 0 {width:.0f} {height:.0f}",
        width=f"{width:.0f}",
        height=f"{height:.0f}",
        role="img",
        class_="fit" if fit else None,
        aria_label=label,
    )


def tree(batches: Sequence[str], merges: Sequence[Mapping[str, Any]]) -> Html:
    """Draw the tree of merges, with pairs and what was lost."""
    from mnncorrect._adata.record import MergeRecord

    records = [
        MergeRecord(
            tuple(merge["left"]), tuple(merge["right"]), merge["pairs"], merge["skipped"],
            merge["lost_variance"], {},
        )
        for merge in merges
    ]  # fmt: skip
    laid = lay_out(batches, records)
    names = [shortened(name, MOST_LETTERS) for name in laid.leaves]
    left = 14 + max(map(_width, names))
    height = ROW * len(names) + 12
    labels = [said_of(record.pairs, record.lost, skipped=record.skipped) for record in records]
    longest = 20 + 0.85 * max(map(_width, labels), default=0)
    # Beside a deep tree stands a list, which the numbers of the merges refer to.
    column = COLUMN if laid.is_deep else longest

    def at(x: float, y: float) -> tuple[float, float]:
        return left + column * x, 6 + ROW * (y + 0.5)

    parts: list[Html] = []
    for joint in laid.joints:
        record = records[joint.merge]
        worst = max(record.lost.values(), default=0.0)
        color = QUIET if record.skipped else ALERT if worst > MUCH_LOST else EMPHASIS
        style = {
            "stroke": color,
            "stroke_width": "2",
            "stroke_dasharray": "5 4" if record.skipped else None,
        }
        x, y = at(joint.x, joint.y)
        ends = [at(*end) for end in joint.ends]
        parts += [_line(end_x, end_y, x, end_y, **style) for end_x, end_y in ends]
        parts.append(_line(x, min(end[1] for end in ends), x, max(end[1] for end in ends), **style))
        label = str(joint.merge + 1) if laid.is_deep else labels[joint.merge]
        parts.append(_text(x + 5, y - 5, label, class_="small"))
    for row, name in enumerate(names):
        _, y = at(0, row)
        whole = tag("title", laid.leaves[row])  # shown where the pointer rests
        parts.append(_text(left - 8, y + 4, name, whole, text_anchor="end"))
    width = left + column * (laid.depth + 1) + 10
    if laid.is_deep:
        for number, label in enumerate(labels):
            _, y = at(0, number)
            parts.append(_text(width, y + 4, f"{number + 1}: {label}", class_="small"))
        width += longest + 30
    return _svg(width, height, f"Tree of {len(merges)} merges of {len(batches)} batches", *parts)


def curve(table: Sequence[Mapping[str, Any]], chosen: int, criterion: str = "bic") -> Html:
    """Draw the criterion by number of components; the one that was taken is marked.

    The axis spans the better half of the numbers, so that near ties can be seen.
    """
    rows = sorted(table, key=lambda row: row["n_components"])
    rows = [row for row in rows if row[criterion] is not None]
    xs, ys = [row["n_components"] for row in rows], [row[criterion] for row in rows]
    most = statistics.median_high(ys)
    left = 28 + max(_width(f"{value:,.0f}") for value in (min(ys), most))
    right, top, bottom = WIDTH - 16, 12, HEIGHT - 62
    axis = bottom + 32  # what is chosen is named between the curve and the axis
    wide, high = max(xs) - min(xs) or 1, most - min(ys) or 1

    def at(x: float, y: float) -> tuple[float, float]:
        share = min((y - min(ys)) / high, 1.0)
        return left + (x - min(xs)) / wide * (right - left), bottom - share * (bottom - top)

    name = criterion.upper()
    shown = [y <= most for y in ys]
    places = [at(x, y) for x, y in zip(xs, ys, strict=True)]
    line = " ".join(
        f"{x:.1f},{y:.1f}"
        for number, (x, y) in enumerate(places)
        # What lies above the axis is left out, but for where the line leaves it.
        if any(shown[max(number - 1, 0) : number + 2])
    )
    parts = [
        _line(left - 10, axis, right, axis, stroke=QUIET),
        _line(left - 10, top, left - 10, axis, stroke=QUIET),
        tag("polyline", points=line, fill="none", stroke=EMPHASIS, stroke_width="2"),
    ]
    every = max(1, len(xs) // 12)
    for number, (row, (x, y)) in enumerate(zip(rows, places, strict=True)):
        is_chosen = row["n_components"] == chosen
        done = bool(row["converged"])
        if shown[number]:
            parts.append(
                tag(
                    "circle",
                    tag("title", f"{row['n_components']} components: {name} {row[criterion]:.0f}"),
                    cx=f"{x:.1f}",
                    cy=f"{y:.1f}",
                    r="7" if is_chosen else "4",
                    fill=(ALERT if is_chosen else EMPHASIS) if done else "#fff",
                    stroke=ALERT if is_chosen else EMPHASIS,
                )
            )
        if is_chosen:
            anchor = "end" if x > (left + right) / 2 else "start"
            parts.append(_text(x, y + 22, f"{chosen} components", text_anchor=anchor, fill=ALERT))
        if number % every == 0:
            parts.append(
                _text(x, axis + 16, str(row["n_components"]), text_anchor="middle", class_="small")
            )
    for value in (min(ys), most):
        _, y = at(xs[0], value)
        parts.append(_text(left - 14, y + 4, f"{value:,.0f}", text_anchor="end", class_="small"))
    label = f"{name} by number of components; the lowest is best"
    return _svg(WIDTH, HEIGHT, label, *parts, fit=True)


def bar(share: float, color: str, *, below: float = 0.0) -> Html:
    """Draw a bar as long as a share of its cell, from ``below`` on."""
    start, length = 100 * max(0.0, below), 100 * max(0.0, min(1.0, share))
    style = f"margin-left:{start:.1f}%;width:{length:.1f}%;background:{color}"
    return tag("span", tag("span", style=style), class_="bar")


def stacked(counts: Sequence[int], colors: Sequence[str], names: Sequence[str]) -> Html:
    """Draw the shares of a whole beside each other."""
    total = sum(counts) or 1
    parts = [
        tag(
            "span",
            style=f"width:{100 * count / total:.2f}%;background:{color}",
            title=f"{name}: {count:,} ({100 * count / total:.1f} %)",
        )
        for count, color, name in zip(counts, colors, names, strict=True)
        if count
    ]
    return tag("span", joined(parts), class_="stack")
