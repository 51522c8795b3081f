"""The tree of merges, and the variance that each took away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnncorrect._adata import Keys
from mnncorrect._adata.lookup import side
from mnncorrect._adata.record import MergeRecord, Record, entry_of, is_derived, take_record
from mnncorrect._prepare.parameter_texts import shared_parameters
from mnncorrect.core.merging.diagnostics import MUCH_LOST
from mnncorrect.pl._axes import HIGHEST, LETTER, figure_of, finish, new_axes, tidy
from mnncorrect.pl._colors import literal
from mnncorrect.pl.palettes import ABSENT, ALERT, EMPHASIS, QUIET, SEQUENTIAL

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Room for a batch and for a letter of the text at a merge, and the most that a figure may be wide,
# in inches.
MERGE_ROW, SMALL_LETTER, WIDEST = 0.32, 0.073, 24.0
# How wide a merge of a deep tree is.
COLUMN = 0.3
# A larger table has colors only: its numbers could not be read.
MOST_NUMBERS = 400
# Merges above each other that texts have room beside.
DEEP_TREE = 5


@shared_parameters
def merges(
    adata: AnnData,
    *,
    key_added: str = "mnn",
    title: str | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
    return_fig: bool = False,
) -> Axes | list[Axes] | Figure | None:
    """Draw the tree of merges, with the pairs and the lost variance of each.

    Skipped merges are dashed. Merges in which a batch lost more than a tenth of its variance have
    another color, because they may have removed biology. In a tree with more than 5 levels, merges
    have numbers, and a list beside the tree explains them.

    Parameters
    ----------
    adata
        Corrected object.
    key_added
        Prefix of the keys of the correction.

    Returns
    -------
    The axes; the figure if ``return_fig``; ``None`` if it was shown or saved.

    Raises
    ------
    KeyError
        If the correction does not exist.

    Examples
    --------
    >>> import anndata
    >>> import mnncorrect
    >>> import numpy as np
    >>> cells = np.random.default_rng(0).normal(size=(90, 3))
    >>> adata = anndata.AnnData(np.zeros((90, 1)), obsm={"X_pca": cells})
    >>> adata.obs["batch"] = ["a", "b", "c"] * 30
    >>> mnncorrect.pp.mnn_fast(adata, "batch", use_rep="X_pca")
    >>> ax = merges(adata, show=False)
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['a', 'b', 'c']
    """
    record = take_record(adata, key_added)
    tree = lay_out(record.batches, record.merges)
    height = min(HIGHEST, 1.2 + MERGE_ROW * len(tree.leaves))
    said = [said_of(merge.pairs, merge.lost, skipped=merge.skipped) for merge in record.merges]
    longest = 0.2 + SMALL_LETTER * max(map(len, said), default=0)
    names = [literal(name) for name in tree.leaves]
    # Beside a deep tree stands a list: one column more, as wide as its texts.
    columns = COLUMN * (tree.depth + 1) + longest if tree.is_deep else longest * (tree.depth + 1)
    width = 0.3 + LETTER * max(map(len, names), default=0) + columns
    one = new_axes(ax, size=(min(WIDEST, width), height))
    for joint in tree.joints:
        merge = record.merges[joint.merge]
        worst = max(merge.lost.values(), default=0.0)
        style = {
            "color": QUIET if merge.skipped else ALERT if worst > MUCH_LOST else EMPHASIS,
            "linestyle": "--" if merge.skipped else "-",
            "linewidth": 1.5,
        }
        for x, y in joint.ends:
            one.plot([x, joint.x], [y, y], **style)
        heights = [y for _, y in joint.ends]
        one.plot([joint.x, joint.x], [min(heights), max(heights)], **style)
        one.text(
            joint.x + 0.04,
            joint.y - 0.06,  # above the line that leads on
            str(joint.merge + 1) if tree.is_deep else said[joint.merge],
            va="bottom",
            fontsize="small",
        )
    last = tree.depth + 1
    if tree.is_deep:
        for at, text in enumerate(said):
            one.text(last, at, f"{at + 1}: {text}", va="center", fontsize="small")
        last += longest / COLUMN
    one.set_yticks(range(len(tree.leaves)), names)
    one.set_ylim(len(tree.leaves) - 0.5, -0.5)
    one.set_xlim(0, last)
    one.set_xticks([])
    one.tick_params(axis="y", length=0)
    tidy(one)
    for edge in ("left", "bottom"):
        one.spines[edge].set_visible(False)
    one.set_title(title or "")
    return finish([one], given=ax, show=show, save=save, return_fig=return_fig)


def said_of(pairs: int, lost: Any, *, skipped: bool) -> str:
    """Write what a joint of the tree is labelled with."""
    words = f"{pairs:,} pairs"
    if skipped:
        return f"{words}, skipped"
    return f"{words}, lost {100 * max(lost.values()):.1f} %" if lost else words


@shared_parameters
def lost_variance(
    adata: AnnData,
    *,
    key_added: str = "mnn",
    cmap: str | None = None,
    title: str | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    save: str | Path | None = None,
    return_fig: bool = False,
) -> Axes | list[Axes] | Figure | None:
    """Draw the share of the variance within each batch that each merge removed.

    Variance along the direction of a merge may be biology: look at merges above 0.1. The scale ends
    at 0.1, or at the largest share if that is more. Batches outside a merge have no value.
    ``mnn_calibrated`` and ``mnn_classic`` do not measure it for each merge. For them, the total
    loss is drawn if ``tl.evaluate`` has scored the result; below 0, the variance has grown.

    Parameters
    ----------
    adata
        Corrected object.
    key_added
        Prefix of the keys of the correction.
    cmap
        Name of matplotlib's map; ``None``: viridis.
    title
        Title of the plot; ``None``: a description.

    Returns
    -------
    The axes; the figure if ``return_fig``; ``None`` if it was shown or saved.

    Raises
    ------
    KeyError
        If the correction does not exist.
    ValueError
        If neither its method nor ``tl.evaluate`` has measured the lost variance.

    Examples
    --------
    >>> import anndata
    >>> import mnncorrect
    >>> import numpy as np
    >>> cells = np.random.default_rng(0).normal(size=(90, 3))
    >>> adata = anndata.AnnData(np.zeros((90, 1)), obsm={"X_pca": cells})
    >>> adata.obs["batch"] = ["a", "b", "c"] * 30
    >>> mnncorrect.pp.mnn_fast(adata, "batch", use_rep="X_pca")
    >>> ax = lost_variance(adata, show=False)
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['1: b', '2: c']
    """
    record = take_record(adata, key_added)
    shares, labels, what = _shares(adata, record, key_added)
    rows, columns = shares.shape
    names = [literal(name, 24) for name in record.batches]
    height = 1.0 + MERGE_ROW * rows + LETTER * max(map(len, names), default=0)
    size = (3.0 + min(20.0, 0.45 * columns), min(HIGHEST, height))
    one = new_axes(ax, size=size)
    most = max(MUCH_LOST, float(np.nanmax(shares)))
    drawn = one.imshow(shares, cmap=cmap or SEQUENTIAL, vmin=0, vmax=most, aspect="auto")
    one.set_facecolor(ABSENT)
    one.set_xticks(range(columns), names, rotation=90)
    one.set_yticks(range(rows), labels)
    one.set_ylabel(what)
    one.set_title("lost variance" if title is None else title)
    if rows * columns <= MOST_NUMBERS:
        for row, column in np.argwhere(np.isfinite(shares)).tolist():
            dark = shares[row, column] < 0.6 * most
            one.text(
                column,
                row,
                f"{shares[row, column]:.2f}",
                ha="center",
                va="center",
                fontsize="x-small",
                color="white" if dark else "black",
            )
    figure_of(one).colorbar(drawn, ax=one)
    return finish([one], given=ax, show=show, save=save, return_fig=return_fig)


def _shares(
    adata: AnnData, record: Record, key_added: str
) -> tuple[NDArray[np.float64], list[str], str]:
    """Find what was lost, rows x batches, what the rows are, and what they are called together."""
    if np.isfinite(record.lost_variance).any():
        shares = np.array(
            [[merge.lost.get(name, np.nan) for name in record.batches] for merge in record.merges]
        )
        for row, merge in zip(shares, record.merges, strict=True):
            joined = {*merge.left, *merge.right}
            row[[name not in joined for name in record.batches]] = np.nan
        labels = [f"{n}: {literal(side(merge.right))}" for n, merge in enumerate(record.merges, 1)]
        return shares, labels, "merge: batches joined"
    name = Keys(key_added).evaluation
    found = entry_of(adata.uns, name, "evaluation")
    if found is None or not is_derived(adata.uns, name, key_added):
        raise ValueError(
            f"method {record.params.get('method')} measures no lost variance; mnn_fast and "
            "mnn_cluster do; tl.evaluate (mnncorrect evaluate -o) does for every method"
        )
    table = found["lost_variance"]
    whole = table[table["label"].astype(str) == ""]
    lost = dict(zip(whole["batch"].astype(str), whole["lost"].astype(float), strict=True))
    return np.array([[lost.get(name, np.nan) for name in record.batches]]), ["altogether"], ""


@dataclass(frozen=True)
class Joint:
    """A merge in the tree."""

    merge: int  # Number of the merge, from 0.
    x: float  # Larger, the more merges lie before it.
    y: float  # Middle of what it joins.
    ends: tuple[tuple[float, float], ...]  # Places of what it joins.


@dataclass(frozen=True)
class MergeTree:
    """Batches at x = 0, one below the other from y = 0 on, and the merges that join them."""

    leaves: tuple[str, ...]
    joints: tuple[Joint, ...]

    @property
    def is_deep(self) -> bool:
        """Whether texts at the merges would make the tree too wide: number the merges instead."""
        return self.depth > DEEP_TREE

    @property
    def depth(self) -> float:
        """Place of the last merge."""
        return max((joint.x for joint in self.joints), default=0.0)


def lay_out(batches: Sequence[str], merges: Sequence[MergeRecord]) -> MergeTree:
    """Place batches so that those merged lie together, and merges between them."""
    # Nodes: batches by number, then merges; children of each merge.
    children: list[list[int]] = []
    node_of = {name: number for number, name in enumerate(batches)}
    for number, merge in enumerate(merges):
        joined = [node_of[name] for name in (*merge.left, *merge.right)]
        children.append(list(dict.fromkeys(joined)))
        whole = set(joined)
        node = len(batches) + number
        node_of = {name: node if at in whole else at for name, at in node_of.items()}
    place: dict[int, tuple[float, float]] = {}
    leaves: list[str] = []
    for root in dict.fromkeys(node_of.values()):
        for leaf in _leaves(root, children, len(batches)):
            place[leaf] = (0.0, float(len(leaves)))
            leaves.append(batches[leaf])
    joints = []
    for number, below in enumerate(children):
        ends = tuple(place[node] for node in below)
        x = 1 + max(end[0] for end in ends)
        y = sum(end[1] for end in ends) / len(ends)
        place[len(batches) + number] = (x, y)
        joints.append(Joint(number, x, y, ends))
    return MergeTree(tuple(leaves), tuple(joints))


def _leaves(root: int, children: Sequence[Sequence[int]], n_leaves: int) -> list[int]:
    found, waiting = [], [root]
    while waiting:
        node = waiting.pop()
        if node < n_leaves:
            found.append(node)
        else:
            waiting += reversed(children[node - n_leaves])
    return found
