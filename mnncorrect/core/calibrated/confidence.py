"""What is done to a cell by its confidence, the chance that it has a counterpart.

Confidence is worked out in :mod:`mnncorrect.core.calibrated.counterparts`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Cells below the first have no counterpart that the method can see. A projected cell that is that
# unfamiliar stays; from the second on it moves by all of its displacement.
UNSURE, SURE = 0.1, 0.2
# From here on residuals are contracted in full: a residual is noise only if the cell is of its
# neighbors' kind.
SURE_TO_CONTRACT = 0.4


def readiness(confidence: NDArray[np.float64], sure: float = SURE) -> NDArray[np.float64]:
    """Turn confidence into the share of what is worked out for a cell that is done to it."""
    ready: NDArray[np.float64] = np.clip((confidence - UNSURE) / (sure - UNSURE), 0, 1)
    return ready
