"""Cells in the first two dimensions of an embedding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from mnncorrect._adata import check_object, take_embedding
from mnncorrect._adata.lookup import listed
from mnncorrect.pl._axes import figure_of, finish, new_axes
from mnncorrect.pl._colors import ABSENT, EMPHASIS, MOST, OTHER, SEQUENTIAL, colors_of
from mnncorrect.pl._labels import uncovered
from mnncorrect.pl._values import values_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

# What is drawn if no basis is named: the first that exists.
BASES = ("X_mnn_umap", "X_mnn", "X_mnn_pca", "X_umap", "umap", "X_pca", "pca")
# More points than these become pixels, as a file of so many shapes would be slow to look at.
RASTER_ABOVE = 5_000
# Area of the points in square points: as much paint for many cells as for few, within limits.
PAINT, LEAST_POINT, LARGEST_POINT = 60_000.0, 0.6, 30.0
FEW_VALUES = 12
# How wide and high a plot is without its legend, how wide a scale is, and about how large letters
# are, in inches: on the cells, where they are bold, and in a legend.
WIDTH, HEIGHT, SCALE = 4.6, 3.8, 0.8
LETTER, LINE, LEGEND_LETTER = 0.1, 0.17, 0.08
MOST_ON_CELLS = 24
# Columns whose names end so are shares of 1.
CONFIDENCE = "_confidence"


def embedding(
    adata: AnnData,
    *,
    basis: str | None = None,
    color: str | Sequence[str] | None = None,
    layer: str | None = None,
    gene_key: str | None = None,
    dimensions: tuple[int, int] = (0, 1),
    size: float | None = None,
    palette: Mapping[str, str] | None = None,
    cmap: str | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    legend_loc: Literal["right margin", "on data"] | None = "right margin",
    title: str | None = None,
    ncols: int = 4,
    random_state: int = 0,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
    return_fig: bool = False,
) -> Axes | list[Axes] | Figure | None:
    """Draw the cells in two dimensions of an embedding, colored by columns of ``obs`` or genes.

    Parameters
    ----------
    adata
        The object.
    basis
        Embedding in ``obsm``, with or without ``X_`` before it. ``None``: ``X_mnn_umap``, or else
        ``X_mnn``, ``X_mnn_pca``, ``X_umap`` or ``X_pca``, or scanpy 2's ``umap`` or ``pca``.
    color
        Column of ``obs``, or else a gene; or several, each of which becomes a plot. Text,
        categories, truth values and up to 12 different integers are drawn as categories, other
        numbers and genes on a scale. ``None``: all cells in one color.
    layer
        Layer with the expression of genes, such as ``"mnn_log1p"`` or ``"mnn"``; ``None``: ``X``.
        The scale names it.
    gene_key
        Column of ``var`` with the names of genes, such as symbols; ``None``: ``var_names``.
    dimensions
        Which two, from 0 up.
    size
        Area of a point, in square points; ``None``: by the number of cells.
    palette
        Colours by category. Those not named have colours that are told apart whatever the
        reader's colour vision; of more than 23 categories the smallest share one grey.
    cmap
        Name of matplotlib's map for numbers; ``None``: viridis.
    vmin, vmax
        Ends of the scale of numbers; ``None``: the least and largest value, but 0 and 1 for a
        column of confidence.
    legend_loc
        Beside the plot; on the cells, at the median place of each category, where names that
        would cover that of a larger category are left out; ``None``: nowhere.
    title
        Above the plot; ``None``: the name of the column.
    ncols
        Plots side by side.
    random_state
        Seed of the order in which points are drawn, so that no category lies above another.
    ax
        Axes to draw on, for one plot.
    show
        Whether the figure is shown; ``None``: unless it is drawn on ``ax``, saved or returned.
    save
        File to write the figure to, of the kind that its name ends in. More than 5,000 points are
        drawn as pixels in a file of shapes.
    return_fig
        Whether to return the figure.

    Returns
    -------
    The axes, or a list of them; the figure if ``return_fig``; ``None`` if it was shown or saved.

    Raises
    ------
    KeyError
        If there is no such embedding, column, gene or layer.
    TypeError
        If the embedding or the expression does not hold numbers.
    ValueError
        If the embedding has too few dimensions or is not finite, or the expression is not; if
        several genes have the name; if the object has no cells; if
        ``ax`` is given and several plots are asked for.

    Examples
    --------
    >>> import anndata
    >>> import numpy as np
    >>> adata = anndata.AnnData(np.zeros((4, 1)), obsm={"X_mnn": np.eye(4)})
    >>> adata.obs["batch"] = ["a", "b", "a", "b"]
    >>> ax = embedding(adata, color="batch", show=False)
    >>> ax.get_xlabel(), [text.get_text() for text in ax.get_legend().get_texts()]
    ('X_mnn 1', ['a', 'b'])
    """
    check_object(adata)
    basis = _basis(adata, basis)
    points = take_embedding(adata, basis)
    if min(dimensions) < 0 or max(dimensions) >= points.shape[1]:
        msg = (
            f"dimensions is {tuple(dimensions)}; obsm[{basis!r}] has {points.shape[1]}, the first "
            "of which is 0"
        )
        raise ValueError(msg)
    points = points[:, list(dimensions)]
    colors = [color] if color is None or isinstance(color, str) else list(color)
    shown = [
        (None, "") if name is None else values_of(adata, name, layer=layer, gene_key=gene_key)
        for name in colors
    ]
    beside = [_room_beside(values, legend_loc) for values, _ in shown]
    # All axes get the same size, whatever stands beside them.
    in_columns = [max(beside[at::ncols]) for at in range(min(ncols, len(colors)))]
    width = WIDTH + sum(in_columns) / len(in_columns)
    axes = new_axes(ax, len(colors), size=(width, HEIGHT), ncols=ncols)
    order = np.random.default_rng(random_state).permutation(len(points))
    area = point_area(len(points)) if size is None else size
    for one, name, (values, source) in zip(axes, colors, shown, strict=True):
        if values is None:
            _scatter(one, points[order], EMPHASIS, area)
        elif is_categorical(values):
            _categories(one, points, order, values, palette, legend_loc, area)
        else:
            ends = (vmin, vmax)
            if source == "obs" and str(name).endswith(CONFIDENCE):
                ends = (0.0 if vmin is None else vmin, 1.0 if vmax is None else vmax)
            label = "" if source == "obs" else source
            _numbers(one, points, order, values, cmap or SEQUENTIAL, ends, area, label)
        one.set_title(title if title is not None else (name or ""))
        one.set_xlabel(f"{basis} {dimensions[0] + 1}")
        one.set_ylabel(f"{basis} {dimensions[1] + 1}")
        one.set_xticks([])
        one.set_yticks([])
    return finish(axes, given=ax, show=show, save=save, return_fig=return_fig)


def point_area(n: int) -> float:
    """Choose the area of a point by the number of points, in square points."""
    return float(np.clip(PAINT / max(n, 1), LEAST_POINT, LARGEST_POINT))


def is_categorical(values: pd.Series[Any]) -> bool:
    """Return whether a column is drawn as categories: all but numbers that are many."""
    if isinstance(values.dtype, pd.CategoricalDtype) or values.dtype.kind not in "iufc":
        return True
    return values.dtype.kind in "iu" and values.nunique() <= FEW_VALUES


def as_categories(values: pd.Series[Any]) -> tuple[NDArray[np.int64], list[str]]:
    """Return the number of each cell's category, -1 for none, and the names of those that occur."""
    column = values.astype("category").cat.remove_unused_categories()
    codes: NDArray[np.int64] = column.cat.codes.to_numpy().astype(np.int64)
    return codes, [str(name) for name in column.cat.categories]


def _basis(adata: AnnData, basis: str | None) -> str:
    if basis is None:
        found = [name for name in BASES if name in adata.obsm]
        if not found:
            msg = (
                f"obsm has none of {', '.join(BASES)}; name an embedding by basis (there are: "
                f"{listed(adata.obsm) or 'none'})"
            )
            raise KeyError(msg)
        return found[0]
    return basis if basis in adata.obsm or f"X_{basis}" not in adata.obsm else f"X_{basis}"


def _scatter(ax: Any, points: NDArray[Any], colors: Any, area: float, **more: Any) -> Any:
    return ax.scatter(
        points[:, 0],
        points[:, 1],
        s=area,
        c=colors,
        linewidths=0,
        rasterized=len(points) > RASTER_ABOVE,
        **more,
    )


def _categories(
    ax: Any,
    points: NDArray[Any],
    order: NDArray[np.int64],
    values: pd.Series[Any],
    palette: Mapping[str, str] | None,
    legend_loc: str | None,
    area: float,
) -> None:
    codes, names = as_categories(values)
    sizes = np.bincount(codes[codes >= 0], minlength=len(names))
    colors = colors_of(names, sizes.tolist(), palette)
    by_code = np.array([*colors.values(), ABSENT])  # -1, for no category, is the last
    # What has no colour of its own lies beneath.
    beneath = np.isin(by_code[codes[order]], [ABSENT, OTHER])
    order = np.concatenate([order[beneath], order[~beneath]])
    _scatter(ax, points[order], by_code[codes[order]], area)
    if legend_loc == "right margin":
        _legend(ax, colors, missing=bool((codes < 0).any()))
    elif legend_loc == "on data":
        _on_cells(ax, points, codes, names, sizes.tolist())


def _on_cells(
    ax: Any, points: NDArray[Any], codes: NDArray[np.int64], names: list[str], sizes: list[int]
) -> None:
    """Write names at the median place of their cells, those that do not cover a larger one's."""
    import matplotlib.patheffects as effects

    halo = [effects.withStroke(linewidth=3, foreground="white")]
    ends = np.array([ax.get_xlim(), ax.get_ylim()]).T
    span = ends[1] - ends[0]
    places = [
        tuple(((np.median(points[codes == code], axis=0) - ends[0]) / span).tolist())
        for code in range(len(names))
    ]
    wide, high = ax.get_window_extent().size / figure_of(ax).dpi
    short = [shortened(name, MOST_ON_CELLS) for name in names]
    for code, *place in uncovered(short, sizes, places, letter=LETTER / wide, line=LINE / high):
        x, y = ends[0] + np.array(place) * span
        ax.text(
            x, y, literal(short[code]), ha="center", va="center", weight="bold", path_effects=halo
        )


def _room_beside(values: pd.Series[Any] | None, legend_loc: str | None) -> float:
    """Guess how wide what stands beside a plot is, in inches: its legend, or its scale."""
    if values is None:
        return 0.0
    if not is_categorical(values):
        return SCALE
    if legend_loc != "right margin":
        return 0.0
    names = as_categories(values)[1]
    columns = 1 if len(names) <= MOST / 2 else 2
    return columns * (0.5 + LEGEND_LETTER * max((len(literal(name)) for name in names), default=0))


def _legend(ax: Any, colors: Mapping[str, str], *, missing: bool) -> None:
    from matplotlib.lines import Line2D

    shown = {literal(name): color for name, color in colors.items() if color != OTHER}
    if len(shown) < len(colors):
        shown[f"{len(colors) - len(shown)} others"] = OTHER
    if missing:
        shown["no value"] = ABSENT
    handles = [
        Line2D([], [], marker="o", linestyle="", color=color, label=name)
        for name, color in shown.items()
    ]
    ax.legend(
        handles=handles,
        loc="center left",
        bbox_to_anchor=(1, 0.5),
        frameon=False,
        ncols=1 if len(handles) <= MOST / 2 else 2,
    )


def shortened(name: str, most: int) -> str:
    """Leave out the middle of a long name: names of one study often begin or end alike.

    Examples
    --------
    >>> shortened("sample 1 of the second visit", 14)
    'sample… visit'
    """
    part = (most - 1) // 2
    return name if len(name) <= most else f"{name[:part]}…{name[-part:]}"


def literal(name: str, most: int = 40) -> str:
    """Write a name as it is, long ones shortened: not as mathematics, which ``$`` begins."""
    return shortened(name, most).replace("$", r"\$")


def _numbers(
    ax: Any,
    points: NDArray[Any],
    order: NDArray[np.int64],
    values: pd.Series[Any],
    cmap: str,
    ends: tuple[float | None, float | None],
    area: float,
    label: str,
) -> None:
    numbers = values.to_numpy(dtype=np.float64)
    known = np.isfinite(numbers[order])
    if not known.all():
        _scatter(ax, points[order[~known]], ABSENT, area)
    order = order[known]
    drawn = _scatter(ax, points[order], numbers[order], area, cmap=cmap, vmin=ends[0], vmax=ends[1])
    bar = figure_of(ax).colorbar(drawn, ax=ax, label=label)
    if bar.solids is not None:
        bar.solids.set_rasterized(True)
