"""How sure the place of a cell among those of other batches is.

Displacements say how far they are told apart from none, and whether they agree. Whether there is a
counterpart at all is told by pairs: cells of a population that the other batch does not have are
nobody's mutual neighbours, but at its rim, and so have few paired cells about them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from .evidence import N_NOISE
from .neighborhoods import average_over

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from mnncorrect.core.merging.pairs import Pairs

    from .neighborhoods import BatchNeighborhoods

# Cells no surer than the first stay; from the second on they move by all of their displacement.
UNSURE, SURE = 0.1, 0.2
# From here on residuals are contracted in full. Displacements are those of a neighbourhood, and to
# do them by halves shears it; a residual is a cell's own, and is noise only if the cell is of its
# neighbours' kind. Either number gives the same mean scores of seven data sets to 0.0001.
SURE_TO_CONTRACT = 0.4
# Share of the typical number of paired cells about a cell that is enough of them.
ENOUGH_PAIRED = 0.5
# Counted beside the paired cells, so that where few cells have pairs, as in a batch that is much
# larger than the other, a cell without any about it is not taken for one without a counterpart.
PRIOR_PAIRED = 0.5


def readiness(confidence: NDArray[np.float64], sure: float = SURE) -> NDArray[np.float64]:
    """Turn confidence into the share of what is worked out for a cell that is done to it."""
    ready: NDArray[np.float64] = np.clip((confidence - UNSURE) / (sure - UNSURE), 0, 1)
    return ready


class About(Protocol):
    """Counts what is about each cell of a side of a merge."""

    def count(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Add up values of cells over 30 of those about each cell."""

    def mean(self, values: NDArray[np.float64]) -> float:
        """Average values over the cells that may have pairs."""


@dataclass(frozen=True)
class Neighborhoods:
    """About a cell are its neighbours in its own batch; batches stand below one another."""

    batches: Sequence[BatchNeighborhoods]

    def count(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Add up values over the neighbours of each cell, as if there were enough of these."""
        ends = np.cumsum([len(one) for one in self.batches])[:-1]
        return np.concatenate(
            [
                average_over(own, one.neighbors[:, :N_NOISE]) * N_NOISE
                for own, one in zip(np.split(values, ends), self.batches, strict=True)
            ]
        )

    def mean(self, values: NDArray[np.float64]) -> float:
        """Average values over all cells."""
        return float(values.mean())


@dataclass(frozen=True)
class Restricted:
    """About a cell are the nearest of those cells of its side that may have pairs.

    Attributes
    ----------
    rows
        Those that may have pairs.
    near
        Of some cells, the nearest of these, as numbers among them.
    spread_out
        Turns what is known of those cells into that of all.
    """

    rows: NDArray[np.int64]
    near: NDArray[np.int32]
    spread_out: Callable[[NDArray[np.float64]], NDArray[np.float64]]

    def count(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Add up values over the nearest that may have pairs, as if there were enough of these."""
        return self.spread_out(average_over(values[self.rows], self.near) * N_NOISE)

    def mean(self, values: NDArray[np.float64]) -> float:
        """Average values over the cells that may have pairs."""
        return float(values[self.rows].mean())


def confidence_of_moved(
    sure: NDArray[np.float64], pairs: Pairs, about: About
) -> NDArray[np.float64]:
    """Tell the confidence of cells that move: less where few cells about them have pairs.

    Parameters
    ----------
    sure
        Shrinkage times agreement of the right cells, 0..1.
    pairs
        Of the merge.
    about
        What is about the right cells.
    """
    paired = np.zeros(len(sure))
    paired[pairs.right] = 1
    enough = _enough(about.mean(paired))
    found: NDArray[np.float64] = sure * np.minimum(
        1, (about.count(paired) + PRIOR_PAIRED) / (enough + PRIOR_PAIRED)
    )
    return found


def confidence_of_partners(
    confidence: NDArray[np.float64], pairs: Pairs, about: About, n: int
) -> NDArray[np.float64]:
    """Tell the confidence of cells that others are moved to: that of their neighbours' partners.

    Parameters
    ----------
    confidence
        Of the right cells.
    pairs
        Of the merge.
    about
        What is about the left cells.
    n
        How many left cells there are.
    """
    count = np.bincount(pairs.left, minlength=n)
    partners = np.bincount(pairs.left, confidence[pairs.right], minlength=n) / np.maximum(count, 1)
    paired = (count > 0).astype(np.float64)
    total = about.count(paired * partners) + PRIOR_PAIRED * float(partners[count > 0].mean())
    enough = _enough(about.mean(paired))
    return total / (np.maximum(about.count(paired), enough) + PRIOR_PAIRED)


def _enough(paired: float) -> float:
    """Choose how many paired cells about a cell are enough, where such a share of all is paired."""
    return float(ENOUGH_PAIRED * N_NOISE * paired)
