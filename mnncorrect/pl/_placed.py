"""New cells over the cells of the correction that they were placed in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mnncorrect._adata import Keys, check_object
from mnncorrect._adata.record import fields_of
from mnncorrect._prepare.parameter_texts import shared_parameters
from mnncorrect._prepare.reference import placed_basis, take_reference
from mnncorrect.pl._axes import check_size, finish, new_axes
from mnncorrect.pl._colors import literal
from mnncorrect.pl._embedding import embedding
from mnncorrect.pl.palettes import ABSENT

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mnncorrect.core.model.fit import Model

# Area of all points together, as scanpy has it, and the largest of one, in square points.
INK, LARGEST_POINT = 120_000, 30.0


@shared_parameters
def placed(
    adata: AnnData,
    reference: AnnData | Model,
    *,
    color: str | None = None,
    palette: Mapping[str, str] | None = None,
    size: float | None = None,
    key_added: str = "mnn",
    random_state: int = 0,
    title: str | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
    return_fig: bool = False,
) -> Axes | list[Axes] | Figure | None:
    """Draw new cells in color over the gray cells of the correction that they were placed in.

    The map is the UMAP of the reference, if both objects have it; ``tl.umap`` places new cells on
    it with its parameter ``reference``. Otherwise, it is the first two corrected components.

    Parameters
    ----------
    adata
        The new cells, placed by :func:`mnncorrect.tl.project`.
    reference
        The corrected object, or its model, that they were placed in. A model has no UMAP.
    color
        Column of ``obs`` of the new cells, or a gene. ``None``: the labels from the model
        (``mnn_label``), if they were transferred, or else the confidence (``mnn_confidence``).
    palette
        Colors by category. Other categories get color-blind safe colors.
    size
        Area of a point, in square points; ``None``: chosen from the number of cells.
    key_added
        Prefix of the keys of both.
    random_state
        Random seed of the order in which cells are drawn.
    title
        Title of the plot; ``None``: the name of the column, and what is gray.

    Returns
    -------
    The axes; the figure if ``return_fig``; ``None`` if it was shown or saved.

    Raises
    ------
    KeyError
        If the column or an embedding does not exist.
    ValueError
        If the cells were not placed, or not in this correction; if ``size`` is not above 0.

    Examples
    --------
    >>> import anndata
    >>> import mnncorrect
    >>> import numpy as np
    >>> cells = np.repeat(np.eye(10)[:2] * 9, 60, axis=0)
    >>> cells += np.random.default_rng(0).normal(size=(120, 10))
    >>> cells[1::2] += 1.0
    >>> adata = anndata.AnnData(np.zeros((120, 1)), obsm={"X_pca": cells})
    >>> adata.obs["batch"] = ["a", "b"] * 60
    >>> new = adata[::3].copy()
    >>> mnncorrect.pp.mnn_calibrated(adata, "batch", use_rep="X_pca")
    >>> mnncorrect.tl.project(new, adata)
    >>> ax = placed(new, adata, show=False)
    >>> [len(points.get_offsets()) for points in ax.collections[:2]]
    [120, 40]
    """
    check_object(adata)
    check_size(size)
    keys = Keys(key_added)
    known = take_reference(adata, reference, key_added)
    # A map of the new cells alone has other axes.
    on_map = fields_of(adata.uns, keys.map).get("params", {}).get("on_reference", False)
    drawn = known.drawn is not None and keys.drawn in adata.obsm and bool(on_map)
    basis = keys.drawn if drawn else placed_basis(adata, key_added)
    points = known.drawn if drawn else known.corrected
    assert points is not None
    if color is None:
        color = keys.label if keys.label in adata.obs else keys.confidence
    one = new_axes(ax, size=(5.6, 4.8))
    order = np.random.default_rng(random_state).permutation(len(points))
    area = min(INK / (len(points) + adata.n_obs), LARGEST_POINT) if size is None else size
    one.scatter(
        points[order, 0], points[order, min(1, points.shape[1] - 1)], s=area, c=ABSENT,
        marker=".", linewidths=0, rasterized=True,
    )  # fmt: skip
    embedding(
        adata,
        basis=basis,
        color=color,
        palette=palette,
        size=area,
        random_state=random_state,
        title=f"{literal(color)} (gray: reference)" if title is None else title,
        ax=one,
        show=False,
    )
    return finish([one], given=ax, show=show, save=save, return_fig=return_fig)
