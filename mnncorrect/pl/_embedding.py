"""Cells in two dimensions of an embedding, drawn by scanpy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mnncorrect._adata import check_object, take_embedding
from mnncorrect._adata.batches import as_categories
from mnncorrect._adata.lookup import listed
from mnncorrect._adata.presets import usual_preset
from mnncorrect._prepare.parameter_texts import shared_parameters
from mnncorrect.pl._axes import LETTER, check_size, finish
from mnncorrect.pl._colors import is_categorical, literal, values_of
from mnncorrect.pl.palettes import ABSENT, EMPHASIS, SEQUENTIAL, colors_of

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# What is drawn if no basis is named: the first that exists.
MAP_BASES = ("X_mnn_umap", "X_mnn", "X_mnn_pca", "X_umap", "umap", "X_pca", "pca")
# Columns whose names end so are shares of 1.
CONFIDENCE = "_confidence"


@shared_parameters
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

    ``scanpy.pl.embedding`` draws them. This function adds four defaults. Cells are shuffled, so
    that no batch hides another. Colors are color-blind safe, also for more than 10 categories.
    Confidence has a scale from 0 to 1. The embedding of a correction is found without its name. For
    other options, call the function of scanpy.

    Parameters
    ----------
    basis
        Embedding in ``obsm``, with or without the prefix ``X_``. ``None``: ``X_mnn_umap``, or else
        ``X_mnn``, ``X_mnn_pca``, ``X_umap`` or ``X_pca``, or scanpy 2's ``umap`` or ``pca``.
    color
        Column of ``obs`` or a gene; or several, with one plot for each. Text, categories, booleans
        and up to 12 different integers are drawn as categories, other numbers and genes on a scale.
        ``None``: all cells in one color.
    layer
        Layer with the expression of genes, such as ``"mnn_log1p"`` or ``"mnn"``; ``None``: ``X``.
    gene_key
        Column of ``var`` with the names of genes, such as symbols; ``None``: ``var_names``.
    dimensions
        The two dimensions to draw, from 0.
    size
        Area of a point, in square points; ``None``: chosen by scanpy from the number of cells.
    palette
        Colors by category. Other categories get color-blind safe colors. With more than 23
        categories, the smallest ones share one gray.
    cmap
        Name of matplotlib's color map for numbers; ``None``: viridis.
    vmin, vmax
        Ends of the scale of numbers; ``None``: the smallest and largest value, or 0 and 1 for a
        column of confidence.
    legend_loc
        Place of the legend: beside the plot, or on the cells at the median of each category;
        ``None``: no legend.
    title
        Title of the plot; ``None``: the name of the column, or of the gene and its layer.
    ncols
        Number of plots side by side.
    random_state
        Random seed of the order in which cells are drawn.
    ax
        Axes to draw on, for one plot.

    Returns
    -------
    The axes, or a list of them; the figure if ``return_fig``; ``None`` if it was shown or saved.

    Raises
    ------
    KeyError
        If the embedding, column, gene or layer does not exist.
    TypeError
        If the embedding or the expression does not contain numbers.
    ValueError
        If the embedding has too few dimensions or is not finite, or the expression is not; if
        several genes have the name; if the object has no cells; if ``size`` is not above 0; if
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
    check_size(size)
    basis = _basis(adata, basis)
    points = take_embedding(adata, basis)
    if min(dimensions) < 0 or max(dimensions) >= points.shape[1]:
        raise ValueError(
            f"dimensions is {tuple(dimensions)}; obsm[{basis!r}] has {points.shape[1]}, the first "
            "of which is 0"
        )
    names = [color] if color is None or isinstance(color, str) else list(color)
    if ax is not None and len(names) > 1:
        raise ValueError(
            f"ax is one pair of axes, and {len(names)} plots are asked for; draw them one by one"
        )
    order = np.random.default_rng(random_state).permutation(len(points))
    cells, titles, ends = _painted(adata, order, names, layer, gene_key, palette, (vmin, vmax))
    cells.obsm[basis] = points[order]
    import scanpy as sc

    with usual_preset():
        drawn = sc.pl.embedding(
            cells,
            basis,
            color=None if color is None else list(titles),
            dimensions=tuple(dimensions),
            size=size,
            color_map=cmap or SEQUENTIAL,
            vmin=[low for low, _ in ends],
            vmax=[high for _, high in ends],
            na_color=EMPHASIS if color is None else ABSENT,
            legend_loc=legend_loc,
            na_in_legend=legend_loc != "on data",
            title=title if title is not None else list(titles.values()),
            ncols=ncols,
            wspace=_legend_room(cells, titles, ncols) if legend_loc == "right margin" else None,
            ax=ax,
            show=False,
        )
    axes = drawn if isinstance(drawn, list) else [drawn]
    for one in axes:
        one.set_xlabel(f"{basis} {dimensions[0] + 1}")
        one.set_ylabel(f"{basis} {dimensions[1] + 1}")
    return finish(axes, given=ax, show=show, save=save, return_fig=return_fig)


def _legend_room(cells: AnnData, columns: Iterable[str], ncols: int) -> float | None:
    """Return the space between plots, as a share of their width, that holds the legends there.

    ``None``: what scanpy leaves is enough. Legends of the last plot of a row have room anyway.
    """
    import matplotlib.pyplot as plt

    inches = [0.0]
    for at, column in list(enumerate(columns))[:-1]:
        if (at + 1) % ncols and column in cells.obs and is_categorical(cells.obs[column]):
            names = list(cells.obs[column].cat.categories)
            n_side_by_side = 1 if len(names) <= 14 else 2 if len(names) <= 30 else 3  # as scanpy
            inches.append(n_side_by_side * (0.4 + LETTER * max(map(len, names), default=0)))
    room = (max(inches) + 0.4) / plt.rcParams["figure.figsize"][0]
    return room if max(inches) > 0.75 else None


def _painted(
    adata: AnnData,
    order: NDArray[np.int64],
    names: Sequence[str | None],
    layer: str | None,
    gene_key: str | None,
    palette: Mapping[str, str] | None,
    given: tuple[float | None, float | None],
) -> tuple[AnnData, dict[str, str], list[tuple[float | None, float | None]]]:
    """Make an object with the colors of cells in an order; return it, titles, ends of scales."""
    import anndata

    cells = anndata.AnnData(obs=pd.DataFrame(index=adata.obs_names[order].astype(str)))
    titles, ends = {}, []
    for at, name in enumerate(names):
        low, high = given
        if name is None:
            titles["none"] = ""
        else:
            values, source = values_of(adata, name, layer=layer, gene_key=gene_key)
            column = f"color {at}"
            titles[column] = literal(name if source == "obs" else f"{name} ({source})")
            if is_categorical(values):
                codes, known = as_categories(values)
                sizes = np.bincount(codes[codes >= 0], minlength=len(known))
                # Names that are cut to the same text stay different categories.
                shown = _different([literal(one) for one in known])
                cells.obs[column] = pd.Categorical.from_codes(codes[order], pd.Index(shown))
                by_name = colors_of(known, sizes.tolist(), palette)
                cells.uns[f"{column}_colors"] = list(by_name.values())
            else:
                cells.obs[column] = values.to_numpy(dtype=np.float64)[order]
                if source == "obs" and str(name).endswith(CONFIDENCE):
                    low = 0.0 if low is None else low
                    high = 1.0 if high is None else high
        ends.append((low, high))
    return cells, titles, ends


def _different(names: Sequence[str]) -> list[str]:
    """Give names that occur twice a number."""
    return [
        f"{name} ({at})" if name in names[: at - 1] else name for at, name in enumerate(names, 1)
    ]


def _basis(adata: AnnData, basis: str | None) -> str:
    if basis is None:
        found = [name for name in MAP_BASES if name in adata.obsm]
        if not found:
            raise KeyError(
                f"obsm has none of {', '.join(MAP_BASES)}; name an embedding by basis (there are: "
                f"{listed(adata.obsm) or 'none'})"
            )
        return found[0]
    return basis if basis in adata.obsm or f"X_{basis}" not in adata.obsm else f"X_{basis}"
