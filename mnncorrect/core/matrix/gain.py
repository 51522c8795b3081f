"""Whether more dimensions than those before the elbow show clusters better."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnncorrect.core.matrix.choosing import STANDARD_ERRORS
from mnncorrect.core.matrix.mixture import criteria, fit_start
from mnncorrect.core.runtime.threads import map_blocks, resolve_n_jobs

# Components of the mixtures whose criterion is compared with that of one Gaussian.
COMPARED_NUMBERS = (10, 30)
# With fewer different cells the elbow decides alone, as the gain then depends on the seed. If there
# are more than the second number, a sample of so many decides.
FEWEST_CELLS, MOST_COMPARED_CELLS = 1000, 5000


@dataclass(frozen=True)
class Dimensions:
    """How many leading dimensions are used, and the numbers that were compared."""

    chosen: int
    compared: NDArray[np.int64]  # Ascending; empty if there was nothing to compare.
    gain: NDArray[np.float64]  # Of each number: the mean gain per cell and dimension.
    # Of each number: rise of the gain over the number before, in standard errors; first: NaN.
    rise: NDArray[np.float64]


def more_dimensions(
    x: NDArray[Any],
    n_dims: int,
    *,
    n_init: int = 3,
    reg_covar: float = 1e-6,
    random_state: int = 0,
    n_jobs: int | None = None,
) -> Dimensions:
    """Double the number of leading dimensions as long as each of them then shows clusters better.

    The gain is how much lower the integrated completed likelihood (ICL) of a mixture is than that
    of one Gaussian in the same dimensions. The mixture is the best of 10 or 30 components with a
    shared covariance, from ``n_init`` starts. The number is doubled while the gain per cell and
    dimension rises by more than five standard errors. If it falls by more than these after one
    start, the others are not made. Nothing is compared if there are fewer than 1,000 different
    cells. Without a gain in the first ``n_dims`` they are kept, as one Gaussian describes them.
    """
    n_jobs = resolve_n_jobs(n_jobs)
    rng = np.random.default_rng(random_state)
    if len(x) > MOST_COMPARED_CELLS:
        x = x[np.sort(rng.choice(len(x), MOST_COMPARED_CELLS, replace=False))]
    x = np.ascontiguousarray(x, dtype=np.float64)
    if n_dims == x.shape[1] or len(np.unique(x[:, :n_dims], axis=0)) < FEWEST_CELLS:
        return Dimensions(n_dims, *_as_arrays({}))
    # The fit that follows refuses a number below 1.
    seeds = rng.integers(2**31, size=max(n_init, 1)).tolist()
    fits: dict[tuple[int, int, int], NDArray[np.float64] | None] = {}

    def gain_in(n: int, seeds: list[int]) -> NDArray[np.float64] | None:
        part = np.ascontiguousarray(x[:, :n])
        tasks = [(n, number, seed) for number in COMPARED_NUMBERS for seed in seeds]
        new = [task for task in ((n, 1, seeds[0]), *tasks) if task not in fits]
        with warnings.catch_warnings(action="ignore"):  # of starts that have not converged
            found = map_blocks(
                lambda task: _icl_by_cell(part, *task[1:], reg_covar=reg_covar), new, n_jobs=n_jobs
            )
        fits.update(zip(new, found, strict=True))
        one = fits[n, 1, seeds[0]]
        mixtures = [fit for fit in map(fits.get, tasks) if fit is not None]
        return None if one is None or not mixtures else (one - min(mixtures, key=np.mean)) / n

    chosen, compared = n_dims, dict[int, tuple[float, float]]()
    while chosen < x.shape[1]:
        twice = min(2 * chosen, x.shape[1])
        for starts in (seeds[:1], seeds):  # one is enough where the gain clearly falls
            here = gain_in(chosen, starts)
            if here is None:
                return Dimensions(chosen, *_as_arrays(compared))
            compared[chosen] = float(here.mean()), compared.get(chosen, (0, np.nan))[1]
            there = gain_in(twice, starts) if here.mean() > 0 else None
            if there is None:
                return Dimensions(chosen, *_as_arrays(compared))
            rise = _in_standard_errors(there - here)
            compared[twice] = float(there.mean()), rise
            if rise < -STANDARD_ERRORS:
                break
        if rise <= STANDARD_ERRORS:
            break
        chosen = twice
    return Dimensions(chosen, *_as_arrays(compared))


def _as_arrays(compared: Mapping[int, tuple[float, float]]) -> tuple[NDArray[Any], ...]:
    gain, rise = np.array(list(compared.values()), dtype=np.float64).reshape(-1, 2).T
    return np.array(list(compared), dtype=np.int64), gain, rise


def _in_standard_errors(by_cell: NDArray[np.float64]) -> float:
    """Return the mean over its standard error."""
    error = max(float(by_cell.std()) / len(by_cell) ** 0.5, np.finfo(np.float64).tiny)
    return float(by_cell.mean()) / error


def _icl_by_cell(
    x: NDArray[np.float64], n_components: int, seed: int, *, reg_covar: float
) -> NDArray[np.float64] | None:
    """Return what each cell adds to the ICL of one start, with an equal share of the penalty.

    ``None`` if the covariance cannot be inverted.
    """
    try:
        model = fit_start(x, n_components, seed, reg_covar=reg_covar)
    except ValueError:
        return None
    (_, icl, _), by_cell = criteria(model, x, "icl")
    return by_cell + (icl - by_cell.sum()) / len(x)
