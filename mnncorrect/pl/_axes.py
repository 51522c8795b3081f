"""Where a plot is drawn, and what becomes of it: scanpy's ``ax``, ``show``, ``save``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PLOT_DPI = 150
# Room for a letter, and the most that a figure may be high, in inches.
LETTER, HIGHEST = 0.085, 40.0


def check_size(size: Any) -> None:
    """Refuse an area of points that cannot be drawn."""
    if size is None:
        return
    if isinstance(size, bool) or not isinstance(size, Real) or not 0 < float(size) < math.inf:
        raise ValueError(
            f"`size` is {size!r}; give the area of a point as a number above 0, or None"
        )


def new_axes(ax: Axes | None, *, size: tuple[float, float]) -> Any:
    """Return the axes that were given, or new ones."""
    import matplotlib.pyplot as plt

    if ax is not None:
        return ax
    return plt.subplots(figsize=size, layout="constrained")[1]


def finish(
    axes: Sequence[Any],
    *,
    given: Axes | None,
    show: bool | None,
    save: str | Path | None,
    return_fig: bool,
) -> Axes | list[Axes] | Figure | None:
    """Save, show or return a plot: the figure if ``return_fig``, else the axes if not shown."""
    import matplotlib.pyplot as plt

    figure = figure_of(axes[0])
    if save is not None:
        figure.savefig(save, dpi=PLOT_DPI, bbox_inches="tight")
    if show is None:
        show = given is None and save is None and not return_fig
    if show:
        _show(figure)
    if return_fig:
        return figure
    if save is not None and given is None and not show:
        plt.close(figure)
    if show or (save is not None and given is None):
        return None
    return axes[0] if len(axes) == 1 else list(axes)


def figure_of(ax: Axes) -> Figure:
    """Return the whole figure of axes, even if they lie in a part of it."""
    # Not get_figure(root=True), which needs matplotlib 3.10.
    return ax.figure.figure


def _show(figure: Figure) -> None:
    """Show a figure where there is something to show it with."""
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    if mpl.get_backend().lower() in {"agg", "cairo", "pdf", "pgf", "ps", "svg", "template"}:
        # Nothing can be shown; asking would only warn, and a figure that nobody holds is closed.
        plt.close(figure)
        return
    plt.show()


def tidy(ax: Any) -> None:
    """Leave out the lines of the frame that carry nothing."""
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
