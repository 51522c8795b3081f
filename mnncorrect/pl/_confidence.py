"""How sure the places of cells are, by batch or by another column."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mnncorrect._adata import Keys, check_object
from mnncorrect._adata.batches import as_categories, batches_in_order
from mnncorrect._adata.lookup import listed, require
from mnncorrect._adata.record import take_batch_key, take_record
from mnncorrect._prepare.parameter_texts import shared_parameters
from mnncorrect.pl._axes import HIGHEST, LETTER, finish, new_axes, tidy
from mnncorrect.pl._colors import literal
from mnncorrect.pl.palettes import EMPHASIS, QUIET

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BINS = 40
# Room for a row, in inches.
CONFIDENCE_ROW = 0.45


@shared_parameters
def confidence(
    adata: AnnData,
    *,
    groupby: str | None = None,
    key_added: str = "mnn",
    title: str | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
    return_fig: bool = False,
) -> Axes | list[Axes] | Figure | None:
    """Draw the distribution of confidence in each batch or group.

    For cells that were corrected by ``mnn_calibrated``, or placed by ``tl.project``.

    Each row is a histogram of its cells. The text beside it is the share of cells below 0.1, which
    have no counterpart in another batch.

    Parameters
    ----------
    groupby
        Column of ``obs`` for the rows, such as clusters or cell types; ``None``: the batches.
    key_added
        Prefix of the keys of the correction.
    title
        Title of the plot; ``None``: a description.

    Returns
    -------
    The axes; the figure if ``return_fig``; ``None`` if it was shown or saved.

    Raises
    ------
    KeyError
        If the correction or the column does not exist, or the method has no confidence.
    ValueError
        If the object has no cells.

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
    >>> mnncorrect.pp.mnn_calibrated(adata, "batch", use_rep="X_pca")
    >>> ax = confidence(adata, show=False)
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['a', 'b']
    """
    from mnncorrect.core.calibrated.confidence import UNSURE

    check_object(adata)
    name = Keys(key_added).confidence
    if name not in adata.obs:
        record = take_record(adata, key_added)
        raise KeyError(
            f"obs has no {name!r}: method {record.params.get('method')} has no confidence, "
            f"mnn_calibrated has (obs has: {listed(adata.obs.columns, 8)})"
        )
    values = adata.obs[name].to_numpy(dtype=np.float64)
    codes, names = as_categories(_grouping_column(adata, key_added, groupby))
    height = min(HIGHEST, 1.2 + CONFIDENCE_ROW * len(names))
    longest = max((len(literal(group)) for group in names), default=0)
    one = new_axes(ax, size=(4.6 + LETTER * longest, height))
    edges = np.linspace(0, 1, BINS + 1)
    for row in range(len(names)):
        inside = values[codes == row]
        counts = np.histogram(inside[np.isfinite(inside)], edges)[0]
        # A square root keeps the few visible beside the many that are alike.
        heights = 0.85 * np.sqrt(counts / max(1, counts.max()))
        one.fill_between(
            edges, row + 0.4, row + 0.4 - np.append(heights, heights[-1]), step="post",
            color=EMPHASIS, linewidth=0,
        )  # fmt: skip
        low = 100 * float((inside < UNSURE).mean()) if len(inside) else 0.0
        one.text(1.02, row, f"{low:.0f} % below {UNSURE:g}", va="center", fontsize="small")
    one.axvline(UNSURE, color=QUIET, linestyle=":", linewidth=1)
    one.set_yticks(range(len(names)), [literal(group) for group in names])
    one.set_ylim(len(names) - 0.4, -0.6)
    one.set_xlim(0, 1)
    one.set_xlabel("confidence (heights: square root of the number of cells)")
    one.set_title("confidence of cells" if title is None else title)
    tidy(one)
    return finish([one], given=ax, show=show, save=save, return_fig=return_fig)


def _grouping_column(adata: AnnData, key_added: str, groupby: str | None) -> pd.Series[Any]:
    """Return the column that cells are grouped by; batches in the order of the correction."""
    if groupby is not None:
        require(groupby, adata.obs.columns, "obs")
        return adata.obs[groupby]
    key, batches = take_batch_key(adata, key_added)
    if key is None:
        return pd.Series(np.repeat(batches[:1], adata.n_obs), dtype="category")
    return batches_in_order(adata.obs, key, batches)
