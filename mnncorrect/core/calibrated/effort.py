"""How much each merge looks at, by the number of batches.

**Many batches.** Of more than 10 batches, each merge looks at less (:func:`effort_for`), so that
the price of all merges does not grow with their number, down to some hundred cells a merge; and the
noise of a batch is compared with that of the calmest others only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .evidence import MOST_TESTED, N_DEALT

# Batches up to which merges look at the most; of more batches each looks at less, as there are more
# merges: representatives of a batch, and what is paired, compared and worked out in a merge.
FEW_BATCHES = 10
MOST_REPRESENTATIVES, LEAST_REPRESENTATIVES, LEAST_TESTED = 4_000, 400, 150
LEAST_SHARE = 0.3
# How often cells are dealt out at random, in all merges and in each.
MOST_DEALINGS, LEAST_DEALT = 100, 2


@dataclass(frozen=True)
class Effort:
    """How much is looked at, so that a price does not grow with the number of batches.

    Attributes
    ----------
    representatives
        Of a batch, where it has more than twice as many cells.
    paired
        Cells or representatives of a node that pairs are made of.
    tested, looked
        Of each side of a merge, how many are compared with random parts, and of how many of these
        the displacement is looked at.
    times
        How often cells are dealt out at random.
    share
        Of the points where displacements and their noise are worked out in few batches.
    """

    representatives: int
    paired: int
    tested: int
    looked: int
    times: int
    share: float


def effort_for(n_batches: int) -> Effort:
    """Choose how much is looked at in each of the merges of so many batches."""
    few = FEW_BATCHES / max(n_batches, FEW_BATCHES)
    tested = max(LEAST_TESTED, round(MOST_TESTED * few))
    return Effort(
        max(LEAST_REPRESENTATIVES, round(MOST_REPRESENTATIVES * few)),
        max(LEAST_REPRESENTATIVES, round(2 * MOST_REPRESENTATIVES * few**2)),
        tested,
        max(LEAST_TESTED // 2, tested // 4),
        int(np.clip(MOST_DEALINGS // n_batches, LEAST_DEALT, N_DEALT)),
        max(LEAST_SHARE, few),
    )
