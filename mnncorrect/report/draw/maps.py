"""Maps of cells as small images: every cell is painted, however many there are."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# Wide and high, in pixels: twice what they are shown at, for sharp screens and for print.
PIXELS = 840
# Half the width of a dot, in pixels, by the number of cells.
PAINT, LEAST_RADIUS, LARGEST_RADIUS = 160.0, 1.0, 9.0
MARGIN = 14
# Of so many points, this share at either end of an axis is drawn at the edge.
MANY_POINTS, OUTERMOST = 2_000, 0.0005
# Squares along an axis in which cells are counted, to place labels.
COARSE = 16
# A label stands only where its group has this share of the cells around it.
LEAST_OWN = 0.25
# Steps of a scale of numbers.
SCALE_STEPS = 32
ORDER_SEED = 0


def paint(
    points: NDArray[np.floating],
    numbers: NDArray[np.integer],
    beneath: NDArray[np.bool_] | None = None,
) -> NDArray[np.uint8]:
    """Paint each point, in the color of its number from 1 up, as a dot; return color numbers.

    Where dots overlap, that of one drawn at random is seen, so that no color lies above another.
    Points ``beneath``, such as those without a color of their own, lie below all others.
    """
    radius = float(np.clip(PAINT / np.sqrt(len(points)), LEAST_RADIUS, LARGEST_RADIUS))
    reach = int(radius)
    dots = np.array(
        [
            (dy, dx)
            for dy in range(-reach, reach + 1)
            for dx in range(-reach, reach + 1)
            if dy * dy + dx * dx <= radius * radius
        ]
    )
    at = _pixels(points)
    order = np.random.default_rng(ORDER_SEED).permutation(len(points))
    if beneath is not None:
        order = np.concatenate([order[beneath[order]], order[~beneath[order]]])
    image = np.zeros((PIXELS, PIXELS), np.uint8)
    # What is written last stays.
    places = at[order][:, None, :] + dots[None]
    image[places[..., 0], places[..., 1]] = numbers[order][:, None]
    return image


def _pixels(points: NDArray[np.floating]) -> NDArray[np.int64]:
    """Place points in the image, both axes on their own scale: row and column.

    Of many points, the few that lie far from all others would leave no room for these: they are
    put at the edge.
    """
    outer = OUTERMOST if len(points) >= MANY_POINTS else 0.0
    least, most = np.quantile(points.astype(np.float64), [outer, 1 - outer], axis=0)
    spread = np.where(most > least, most - least, 1.0)
    room = PIXELS - 1 - 2 * MARGIN
    shares = np.clip((points.astype(np.float64) - least) / spread, 0, 1)
    columns = MARGIN + shares[:, 0] * room
    rows = MARGIN + (1 - shares[:, 1]) * room
    at: NDArray[np.int64] = np.rint(np.stack([rows, columns], 1)).astype(np.int64)
    return at


def middles(
    points: NDArray[np.floating], codes: NDArray[np.integer], n: int
) -> list[tuple[float, float] | None]:
    """Find where labels belong, as shares from left and top: where most cells of a group are.

    A median may lie between two clouds of a group, where there are no cells. Places that mostly
    have cells of other groups count less. A group that is scattered among others gets no label.
    """
    at = _pixels(points)
    everyone = _cells_around(at)
    found: list[tuple[float, float] | None] = []
    for code in range(n):
        inside = at[codes == code]
        around = _cells_around(inside)
        own = around / np.maximum(everyone, 1)
        row, column = np.unravel_index(int(np.argmax(around * own)), (COARSE, COARSE))
        if own[row, column] < LEAST_OWN:
            found.append(None)
            continue
        cells = inside * COARSE // PIXELS
        near = (np.abs(cells[:, 0] - row) <= 1) & (np.abs(cells[:, 1] - column) <= 1)
        # The mean of a few cells may lie between them: the name stands on one of them.
        there = inside[near]
        nearest = ((there - there.mean(0)) ** 2).sum(1).argmin()
        top, left = there[nearest] / PIXELS
        found.append((float(left), float(top)))
    return found


def _cells_around(at: NDArray[np.int64]) -> NDArray[np.float64]:
    """Count the cells of each square and its neighbors, so that clouds win over chance peaks."""
    cells = at * COARSE // PIXELS
    counts = np.zeros((COARSE + 2, COARSE + 2))
    np.add.at(counts, (cells[:, 0] + 1, cells[:, 1] + 1), 1.0)
    total = np.zeros((COARSE, COARSE))
    for dy in range(3):
        for dx in range(3):
            total += counts[dy : COARSE + dy, dx : COARSE + dx]
    return total


def steps(values: NDArray[np.floating], least: float, most: float) -> NDArray[np.int64]:
    """Find the step of a scale that each value lies in, from 1; 0: no value."""
    share = (values.astype(np.float64) - least) / (most - least)
    known = np.isfinite(share)
    out = np.zeros(len(values), np.int64)
    out[known] = 1 + np.clip(share[known] * SCALE_STEPS, 0, SCALE_STEPS - 1).astype(np.int64)
    return out


def scale_colors(name: str) -> list[str]:
    """Return the colors of the steps of a scale, from least to most."""
    import matplotlib as mpl
    from matplotlib.colors import to_hex

    cmap = mpl.colormaps[name].resampled(SCALE_STEPS)
    return [to_hex(cmap(step)) for step in range(SCALE_STEPS)]


def png_source(image: NDArray[np.uint8], colors: Sequence[str]) -> str:
    """Write an image of color numbers as the source of an element; number 0 is transparent."""
    from PIL import Image  # comes with matplotlib

    height, width = image.shape
    made = Image.frombytes("P", (width, height), image.tobytes())
    made.putpalette(bytes.fromhex("ffffff" + "".join(color.lstrip("#") for color in colors)))
    file = io.BytesIO()
    made.save(file, "PNG", transparency=0)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
