"""Number of cells that each merge uses, by the number of batches.

**Many batches.** With more than 10 batches, each merge uses fewer cells (:func:`effort_for`), down
to a few hundred. So the total time does not grow with the number of merges. The chance of a
counterpart is computed at the points of a node, and other cells take their mean. The noise of a
batch is compared with the calmest other batches only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mnncorrect.core.runtime.compute import FEW_BATCHES

from .evidence import MOST_TESTED, N_DEALT, N_DEALT_FEW

# Numbers for up to FEW_BATCHES batches, and for very many. With more batches, each merge uses fewer
# representatives, paired cells, compared cells and points.
MOST_REPRESENTATIVES, LEAST_REPRESENTATIVES, LEAST_TESTED = 4_000, 400, 150
LEAST_SHARE = 0.2
# Cells whose chance of a counterpart is computed, relative to those in random splits, and at least.
# In 96 real batches 300 cells at least gave the same mixing and purity.
ASKED, LEAST_ASKED = 2, 200
# Number of random splits, in all merges together and in each.
MOST_DEALINGS, LEAST_DEALT = 100, 2
# The number in all merges together if all of them have a small side.
MOST_DEALINGS_FEW = 800


@dataclass(frozen=True)
class Effort:
    """Numbers of cells, chosen so that time does not grow with the number of batches."""

    representatives: int  # Representatives of a batch, if it has more than twice as many cells.
    paired: int  # Cells or representatives of a node for pairs.
    # Cells of each side of a merge that are compared with random splits, and how many of their
    # displacements are used.
    tested: int
    looked: int
    times: int  # Number of random splits.
    times_few: int  # The same in merges with a small side.
    share: float  # Share of the points for displacements and noise, relative to few batches.
    asked: int  # Cells of each side of a merge whose chance of a counterpart is computed.


def effort_for(n_batches: int) -> Effort:
    """Choose the numbers of cells for each merge of ``n_batches`` batches."""
    few = FEW_BATCHES / max(n_batches, FEW_BATCHES)
    tested = max(LEAST_TESTED, round(MOST_TESTED * few))
    return Effort(
        max(LEAST_REPRESENTATIVES, round(MOST_REPRESENTATIVES * few)),
        max(LEAST_REPRESENTATIVES, round(2 * MOST_REPRESENTATIVES * few**2)),
        tested,
        max(LEAST_TESTED // 2, tested // 4),
        int(np.clip(MOST_DEALINGS // n_batches, LEAST_DEALT, N_DEALT)),
        min(MOST_DEALINGS_FEW // n_batches, N_DEALT_FEW),
        max(LEAST_SHARE, few),
        max(LEAST_ASKED, round(ASKED * MOST_TESTED * few**2)),
    )
