"""Use of the confidence of a cell, its chance of a counterpart.

:mod:`mnncorrect.core.calibrated.counterparts` computes the confidence.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Cells below the first number have no counterpart that the method can see. A projected cell with a
# familiarity below it does not move; above the second number it moves by its whole displacement.
UNSURE, SURE = 0.1, 0.2


def readiness(confidence: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn confidence into the share of its computed change that a cell gets."""
    return np.clip((confidence - UNSURE) / (SURE - UNSURE), 0, 1)
