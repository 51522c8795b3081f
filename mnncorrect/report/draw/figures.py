"""Plots of ``mnncorrect.pl`` as pictures inside a page."""

from __future__ import annotations

import base64
import io
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Pixels of a screen in an inch.
SCREEN_DPI = 96
# Letters stay letters, which are small and sharp; equal figures give equal text.
SVG_SETTINGS = {"svg.fonttype": "none", "svg.hashsalt": "mnncorrect"}


@dataclass(frozen=True)
class Picture:
    """A picture that needs no other file."""

    source: str  # Its data as an address.
    # In pixels of a screen.
    width: int
    height: int
    label: str  # What it shows, for those who cannot see it.


def picture(figure: Figure, label: str) -> Picture:
    """Draw a figure as SVG, and close it."""
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    file = io.StringIO()
    with mpl.rc_context(SVG_SETTINGS), warnings.catch_warnings():
        # The reader's browser has the letters that matplotlib's font lacks.
        warnings.filterwarnings("ignore", message="Glyph")
        figure.savefig(file, format="svg", metadata={"Date": None}, facecolor="white")
    width, height = (int(SCREEN_DPI * inches) for inches in figure.get_size_inches())
    plt.close(figure)
    data = base64.b64encode(file.getvalue().encode()).decode("ascii")
    return Picture(f"data:image/svg+xml;base64,{data}", width, height, label)
