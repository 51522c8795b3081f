"""How the number of clusters was chosen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnncorrect._adata.lookup import listed
from mnncorrect._adata.record import entries, entry_of
from mnncorrect._prepare.parameter_texts import shared_parameters
from mnncorrect.pl._axes import finish, new_axes, tidy
from mnncorrect.pl.palettes import ALERT, EMPHASIS, QUIET

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@shared_parameters
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
    """Draw the criteria for each number of components.

    The criterion that chose the number is bold (ICL by default), the other thin. Lower is better.
    Rings mark numbers that are as good as the lowest, and the large dot the one that was chosen.
    The axis spans the better half of the values, so near ties are visible. If a curve still falls
    at its end, try larger numbers. Hollow dots are fits that have not converged. If numbers of
    dimensions were compared, a line below the axis lists them with the gain per dimension.

    Parameters
    ----------
    adata
        Object with clusters from ``tl.gmm``.
    key
        Key in ``uns``.

    Returns
    -------
    The axes; the figure if ``return_fig``; ``None`` if it was shown or saved.

    Raises
    ------
    KeyError
        If the clusters do not exist.

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
    ('number of components', 'ICL, BIC')
    """
    stored = entry_of(adata.uns, key, "clusters")
    if stored is None:
        there = listed(entries(adata.uns, "clusters"), 8) or "none"
        raise KeyError(f"uns has no clusters {key!r}; find some by tl.gmm (uns has: {there})")
    table = stored["bic"].sort_values("n_components")
    # Files of earlier releases have BIC alone.
    criterion = str(stored["params"].get("criterion", "bic"))
    other = {"icl": "bic", "bic": "icl"}[criterion]
    tried, values = table["n_components"].to_numpy(), table[criterion].to_numpy()
    done = table["converged"].to_numpy(dtype=bool)
    one = new_axes(ax, size=(4.8, 3.4))
    one.plot(tried, values, color=EMPHASIS, linewidth=1.6, zorder=2, label=criterion.upper())
    drawn = [criterion.upper()]
    if other in table:
        drawn.append(other.upper())
        one.plot(tried, table[other], color=QUIET, linewidth=1, zorder=1, label=other.upper())
        one.legend(
            frameon=False, fontsize="small", loc="lower left", bbox_to_anchor=(0, 1), ncols=2
        )
    one.scatter(tried[done], values[done], color=EMPHASIS, s=24, zorder=3)
    one.scatter(tried[~done], values[~done], facecolor="white", edgecolor=EMPHASIS, s=24, zorder=3)
    if "as_good" in table:  # files of earlier releases have none
        good = table["as_good"].to_numpy(dtype=bool)
        ring = {"facecolor": "none", "edgecolor": ALERT, "linewidth": 1.2, "zorder": 3.5}
        one.scatter(tried[good], values[good], s=60, **ring)
    n_components = int(stored["n_components"])
    chosen = tried == n_components
    one.scatter(tried[chosen], values[chosen], color=ALERT, s=60, zorder=4)
    n_clusters = int(stored.get("n_clusters", n_components))
    told = f"{n_components} components"
    told += f", {n_clusters} clusters" if n_clusters < n_components else ""
    one.set_xlabel("number of components" + _compared_dimensions(stored.get("dimensions")))
    one.set_ylabel(", ".join(drawn))
    one.set_title(title or "")
    one.margins(x=0.12)
    lowest = _frame(one, values, table[other].to_numpy() if other in table else values)
    for x, y in zip(tried[chosen], values[chosen], strict=True):
        # Below all curves, where no line is.
        one.annotate(
            told, (x, y), xytext=(x, lowest), ha="center", va="top", color=ALERT,
            arrowprops={"arrowstyle": "-", "color": ALERT, "linewidth": 0.6},
        )  # fmt: skip
    one.xaxis.get_major_locator().set_params(integer=True)
    tidy(one)
    return finish([one], given=ax, show=show, save=save, return_fig=return_fig)


def _compared_dimensions(table: Any) -> str:
    """Return a second line of the label: the gain per dimension of the numbers compared."""
    if table is None:
        return ""
    ordered = table.sort_values("n_dims")
    gains = [
        f"{n_dims}: {gain:.2f}"
        for n_dims, gain in zip(ordered["n_dims"], ordered["gain"], strict=True)
    ]
    return f"\ngain per dimension of {', '.join(gains)}"


def _frame(ax: Axes, values: NDArray[Any], others: NDArray[Any]) -> float:
    """Show the better half of the numbers; return the height below all of them, for a note."""
    low, high = float(min(values.min(), others.min())), float(np.median(values))
    room = (high - low) or 1.0
    ax.set_ylim(low - 0.25 * room, high + 0.1 * room)
    return low - 0.1 * room
