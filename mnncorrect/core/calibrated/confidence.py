"""How sure the place of a cell among those of other batches is.

Displacements say how far they are told apart from none, and whether they agree. Whether there is a
counterpart at all is told by pairs: cells of a population that the other batch does not have are
nobody's mutual neighbours, but at its rim, and so have few paired cells about them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .evidence import N_NOISE
from .neighborhoods import average_over

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mnncorrect.core.merging.pairs import Pairs

    from .neighborhoods import Local

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


def confidence_of_moved(
    sure: NDArray[np.float64], pairs: Pairs, batches: Sequence[Local]
) -> NDArray[np.float64]:
    """Tell the confidence of cells that move: less where few cells about them have pairs.

    Parameters
    ----------
    sure
        Shrinkage times agreement of the right cells, 0..1.
    pairs
        Of the merge.
    batches
        Neighbourhoods of the right batches, whose cells stand below one another.
    """
    paired = np.zeros(len(sure))
    paired[pairs.right] = 1
    about = (_count(paired, batches) + PRIOR_PAIRED) / (_enough(paired) + PRIOR_PAIRED)
    found: NDArray[np.float64] = sure * np.minimum(1, about)
    return found


def confidence_of_partners(
    confidence: NDArray[np.float64], pairs: Pairs, batches: Sequence[Local]
) -> NDArray[np.float64]:
    """Tell the confidence of cells that others are moved to: that of their neighbours' partners.

    Parameters
    ----------
    confidence
        Of the right cells.
    pairs
        Of the merge.
    batches
        Neighbourhoods of the left batches, whose cells stand below one another.
    """
    n = sum(map(len, batches))
    count = np.bincount(pairs.left, minlength=n)
    partners = np.bincount(pairs.left, confidence[pairs.right], minlength=n) / np.maximum(count, 1)
    paired = (count > 0).astype(np.float64)
    total = _count(paired * partners, batches) + PRIOR_PAIRED * float(partners[count > 0].mean())
    return total / (np.maximum(_count(paired, batches), _enough(paired)) + PRIOR_PAIRED)


def _count(values: NDArray[np.float64], batches: Sequence[Local]) -> NDArray[np.float64]:
    """Add up values over the neighbours of each cell, as if there were enough of these."""
    ends = np.cumsum([len(one) for one in batches])[:-1]
    return np.concatenate(
        [
            average_over(own, one.neighbors[:, :N_NOISE]) * N_NOISE
            for own, one in zip(np.split(values, ends), batches, strict=True)
        ]
    )


def _enough(paired: NDArray[np.float64]) -> float:
    """Choose how many paired cells about a cell are enough."""
    return float(ENOUGH_PAIRED * N_NOISE * paired.mean())
