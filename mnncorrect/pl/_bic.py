"""How the number of clusters was chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mnncorrect._adata.lookup import listed
from mnncorrect._adata.record import entries, entry_of
from mnncorrect.pl._axes import finish, new_axes, tidy
from mnncorrect.pl._colors import ALERT, EMPHASIS

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def bic(
    adata: AnnData,
    *,
    key: str = "gmm",
    title: str | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
    return_fig: bool = False,
) -> Axes | list[Axes] | Figure | None:
    """Draw the Bayesian information criterion of each number of clusters that was tried.

    The lowest is best, and marked. A curve that still falls at its end asks for larger numbers.
    Fits that have not converged are hollow.

    Parameters
    ----------
    adata
        An object with clusters by ``tl.gmm``.
    key
        Key in ``uns``.
    title
        Above the plot.
    ax
        Axes to draw on.
    show
        Whether the figure is shown; ``None``: unless it is drawn on ``ax``, saved or returned.
    save
        File to write the figure to, of the kind that its name ends in.
    return_fig
        Whether to return the figure.

    Returns
    -------
    The axes; the figure if ``return_fig``; ``None`` if it was shown or saved.

    Raises
    ------
    KeyError
        If there are no clusters of this name.

    Examples
    --------
    >>> import anndata
    >>> import mnncorrect
    >>> import numpy as np
    >>> adata = anndata.AnnData(np.zeros((90, 1)))
    >>> adata.obsm["X_mnn"] = np.random.default_rng(0).normal(size=(90, 2))
    >>> mnncorrect.tl.gmm(adata, n_components=[1, 2, 3])
    >>> ax = bic(adata, show=False)
    >>> ax.get_xlabel(), ax.get_ylabel()
    ('number of clusters', 'BIC')
    """
    stored = entry_of(adata.uns, key, "clusters")
    if stored is None:
        there = entries(adata.uns, "clusters")
        msg = f"uns has no clusters {key!r}; find some by tl.gmm (uns has: {listed(there, 8)})"
        raise KeyError(msg)
    table = stored["bic"].sort_values("n_components")
    tried, values = table["n_components"].to_numpy(), table["bic"].to_numpy()
    done = table["converged"].to_numpy(dtype=bool)
    (one,) = new_axes(ax, size=(4.8, 3.4))
    one.plot(tried, values, color=EMPHASIS, linewidth=1.2, zorder=1)
    one.scatter(tried[done], values[done], color=EMPHASIS, s=24, zorder=2)
    one.scatter(tried[~done], values[~done], facecolor="white", edgecolor=EMPHASIS, s=24, zorder=2)
    chosen = tried == int(stored["n_components"])
    one.scatter(tried[chosen], values[chosen], color=ALERT, s=60, zorder=3)
    for x, y in zip(tried[chosen], values[chosen], strict=True):
        one.annotate(
            f"{x} clusters", (x, y), xytext=(0, -9), textcoords="offset points", ha="center",
            va="top", color=ALERT,  # below the lowest point, where no line is
        )  # fmt: skip
    one.set_xlabel("number of clusters")
    one.set_ylabel("BIC")
    one.set_title(title or "")
    one.margins(y=0.2)
    one.xaxis.get_major_locator().set_params(integer=True)
    tidy(one)
    return finish([one], given=ax, show=show, save=save, return_fig=return_fig)
