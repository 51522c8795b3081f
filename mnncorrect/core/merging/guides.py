"""What is known of cells beforehand, and which of them may be a pair by it.

**Labels**, such as cell types, say what is alike. Of two cells whose labels differ, no pair is
made; a cell without a label may be paired with any cell (as in STACAS, Andreatta et al. 2024,
doi:10.1038/s41467-024-45240-z). Labels only take pairs away. So a wrong label costs the pairs of
its cells, and cannot make a match that the values do not show.

**Levels**, such as conditions, say what must not be removed. Pairs are sought within each level
alone. A difference between levels is then never the difference between the two ends of a pair.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnncorrect.core.neighbors.engines import nearest

from .pairs import Pairs

if TYPE_CHECKING:
    from mnncorrect.core.runtime.compute import ComputeOptions

# The code of a cell without a label.
UNKNOWN = -1
# Neighbors in its own batch that a cell without a label looks at.
N_VOTING = 30
# Share of the usual number of labeled cells among them that is enough, and the share of these that
# have to have the same label.
ENOUGH_LABELED, AGREEING = 0.5, 0.8


@dataclass(frozen=True)
class Guides:
    """What is known of all cells of the input."""

    # The label of each cell, as a number; :data:`UNKNOWN`: it has none. ``None``: no labels.
    labels: NDArray[np.int64] | None = None
    # The level of each cell, as a number from 0. ``None``: nothing is kept.
    levels: NDArray[np.int64] | None = None

    def agree(self, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tell which pairs the labels allow; ``left``, ``right``: rows of the input."""
        if self.labels is None:
            return np.ones(len(left), np.bool_)
        one, other = self.labels[left], self.labels[right]
        return (one == other) | (one == UNKNOWN) | (other == UNKNOWN)

    def of_cells(self, rows: NDArray[np.int64]) -> Guides:
        """Return what is known of some cells; ``rows``: their rows in the input."""
        labels, levels = (
            None if all_ is None else all_[rows] for all_ in (self.labels, self.levels)
        )
        return Guides(labels, levels)

    def completed(
        self, cells: Iterable[tuple[NDArray[np.int64], NDArray[Any]]], compute: ComputeOptions
    ) -> Guides:
        """Give cells without a label the one that labeled cells around them agree on.

        A cell takes a label if there are enough labeled cells among its neighbors in its own batch
        (:data:`ENOUGH_LABELED` of the usual share), and most of them have the same
        (:data:`AGREEING`). A population without any labels keeps none. ``cells``: rows and
        coordinates of each batch.
        """
        if self.labels is None or not (self.labels == UNKNOWN).any():
            return self
        labels = self.labels.copy()
        for rows, data in cells:
            labels[rows] = _labels_of_batch(labels[rows], data, compute)
        return replace(self, labels=labels)

    def alone(self, batch: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
        """Tell which cells may be paired with no cell of another batch; batch -1: left out."""
        zeros = np.zeros(len(batch), np.int64)
        labels = zeros if self.labels is None else self.labels
        levels = zeros if self.levels is None else self.levels
        found = np.zeros(len(batch), np.bool_)
        for level in np.unique(levels):
            there = (levels == level) & (batch >= 0)
            own = np.unique(np.stack([labels[there], batch[there]]), axis=1)
            free = own[1, own[0] == UNKNOWN]
            for label in np.unique(own[0]):
                may = own[1] if label == UNKNOWN else np.append(own[1, own[0] == label], free)
                if len(np.unique(may)) == 1:
                    found |= there & (labels == label)
        return found

    def strangers(self, batch: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
        """Tell, batches x batches, which have no level in common; batch -1: left out."""
        n = int(batch.max()) + 1
        if self.levels is None:
            return np.zeros((n, n), np.bool_)
        there = np.zeros((n, int(self.levels.max()) + 1), np.bool_)
        part = batch >= 0
        there[batch[part], self.levels[: len(batch)][part]] = True
        return ~(there @ there.T)

    def within(
        self, left: NDArray[np.int64], right: NDArray[np.int64]
    ) -> Iterator[tuple[NDArray[np.int64] | None, NDArray[np.int64] | None]]:
        """Yield the places of the cells of each level that both sides have."""
        if self.levels is None:
            yield None, None
            return
        one, other = self.levels[left], self.levels[right]
        for level in np.intersect1d(one, other):
            yield np.flatnonzero(one == level), np.flatnonzero(other == level)


def _labels_of_batch(
    labels: NDArray[np.int64], data: NDArray[Any], compute: ComputeOptions
) -> NDArray[np.int64]:
    """Complete the labels of one batch."""
    unknown = np.flatnonzero(labels == UNKNOWN)
    share = 1 - len(unknown) / len(labels)
    if not len(unknown) or not share:
        return labels
    k = min(N_VOTING + 1, len(labels))
    votes = labels[nearest(data[unknown], data, k, compute=compute).indices]
    n_votes = (votes != UNKNOWN).sum(1)
    # The most frequent label of each row, by runs in the sorted row.
    votes.sort(axis=1)
    best, most = np.full(len(votes), UNKNOWN), np.zeros(len(votes), np.int64)
    run = np.zeros(len(votes), np.int64)
    for at in range(k):
        again = votes[:, at] == votes[:, max(0, at - 1)]
        run = np.where(again, run + 1, 1)
        better = (votes[:, at] != UNKNOWN) & (run > most)
        best[better], most[better] = votes[better, at], run[better]
    sure = (n_votes >= ENOUGH_LABELED * share * k) & (most >= AGREEING * n_votes)
    out = labels.copy()
    out[unknown[sure]] = best[sure]
    return out


def guided_pairs(
    guides: Guides,
    rows: tuple[NDArray[np.int64], NDArray[np.int64]],
    restricted: Sequence[NDArray[np.int64] | None],
    search: Callable[..., Pairs],
) -> Pairs:
    """Find the pairs of two sides, left and right, that guides allow; there may be none.

    ``restricted`` are the places on each side that may form pairs; ``search`` finds pairs among
    those given as ``restrict_left`` and ``restrict_right``.
    """
    places = [
        np.arange(len(side)) if some is None else some
        for side, some in zip(rows, restricted, strict=True)
    ]
    found = []
    for one, other in guides.within(*(side[at] for side, at in zip(rows, places, strict=True))):
        left, right = (
            some if at is None else place[at]
            for some, place, at in zip(restricted, places, (one, other), strict=True)
        )
        found.append(search(restrict_left=left, restrict_right=right))
    if not found:
        none = np.empty(0, np.int64)
        return Pairs(none, none, guided=True)
    pairs = found[0] if len(found) == 1 else _together(found)
    allowed = guides.agree(rows[0][pairs.left], rows[1][pairs.right])
    return replace(pairs.only(allowed), guided=True)


def _together(found: Sequence[Pairs]) -> Pairs:
    """Put pairs of different left cells together, in the order of these."""
    left = np.concatenate([pairs.left for pairs in found])
    order = np.argsort(left, kind="stable")
    counts = [max(1, len(pairs)) for pairs in found]
    known = [pairs.weights for pairs in found if pairs.weights is not None]
    weights = np.concatenate(known)[order] if len(known) == len(found) else None
    return Pairs(
        left[order],
        np.concatenate([pairs.right for pairs in found])[order],
        found[0].engine,
        float(np.average([pairs.recall for pairs in found], weights=counts)),
        min(pairs.worst_recall for pairs in found),
        weights,
    )
