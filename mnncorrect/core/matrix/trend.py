"""The trend of variance with mean over genes (scran's ``fitTrendVar``, default settings).

The trend is a curve of three parameters that rises and falls, times the exponential of a smooth
curve through the residuals of the log-variances. Genes are weighted by their inverse density over
means, so that the many genes of low mean do not dominate the fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import lowess_kernels

if TYPE_CHECKING:
    from .rows import Values

MIN_MEAN = 0.1
MIN_VARIANCE = 1e-8
LEAST_GENES = 4

# Density estimate: points of the grid, and bandwidths that it extends beyond the data.
GRID = 512
REACH = 4

# Start values: genes of lowest mean for the slope at zero, and grid of exponents.
LEFT_GENES, LEFT_SHARE = 100, 0.1
GRID_B, GRID_N = np.linspace(-5, 5, 10), np.linspace(0, 10, 10)
# Gauss-Newton: rounds, smallest step, relative offset for convergence, and the share of its length
# below which a column is a linear combination of the columns before it.
MAX_ROUNDS, MIN_STEP, OFFSET, SINGULAR = 500, 1 / 1024, 1e-5, 1e-7

# Smooth curve: share of the weight in a window, points at which it is fitted, rounds, and the
# threshold for zero.
SPAN, TREND_SEEDS, TREND_ROUNDS, NEGLIGIBLE_TREND = 0.3, 200, 4, 1e-7

# Ratio of standard deviation to median absolute deviation in a normal distribution.
MAD_TO_SD = 1.4826


@dataclass(frozen=True)
class Trend:
    """Variance as a function of mean."""

    # A, B and N of the curve ``exp(A) m / (m^(1 + exp(N)) + exp(B))``.
    log_height: float
    log_midpoint: float
    log_power: float
    # Means of the genes, ascending, and the smooth curve of log-variance relative to the curve
    # above, at these means; constant outside.
    knots: Values
    log_ratio: Values
    scale: float  # Factor of both curves.
    residual_scale: float  # Spread of genes around the trend, relative to it.

    def predict(self, means: NDArray[Any]) -> Values:
        """Evaluate the trend; 0 at means of 0 and below."""
        parameters = np.array([self.log_height, self.log_midpoint, self.log_power])
        smooth = np.exp(np.interp(means, self.knots, self.log_ratio))
        return self.scale * smooth * _log_curve(parameters, np.asarray(means, np.float64))


def fit_trend(means: NDArray[Any], variances: NDArray[Any]) -> Trend:
    """Fit the trend of variances with means, over genes with a mean of at least 0.1 and a variance.

    Agrees with ``fitTrendVar`` of scran 1.26.2, which uses ``density`` and ``nls`` of R 4.2 and
    ``weightedLowess`` of limma, to about 1e-7 of the trend. If the curve cannot be fitted, its
    start values are used. Raises ``ValueError`` if fewer than 4 genes remain.
    """
    means, variances = np.asarray(means, np.float64), np.asarray(variances, np.float64)
    with np.errstate(invalid="ignore"):
        usable = (variances > MIN_VARIANCE) & (means >= MIN_MEAN)
    if usable.sum() < LEAST_GENES:
        raise ValueError(
            f"{usable.sum()} of {len(means)} genes have a mean of at least {MIN_MEAN} and a "
            f"variance; the trend needs {LEAST_GENES}; are these log-expression values?"
        )
    m, v = means[usable], variances[usable]
    weights = inverse_density_weights(m)
    parameters = _fit_curve(m, v, weights)
    smooth = weighted_lowess(m, np.log(v) - np.log(_log_curve(parameters, m)), weights)
    # At equal means, the smooth curve is averaged.
    knots, at = np.unique(m, return_inverse=True)
    log_ratio = np.bincount(at, smooth) / np.bincount(at)
    ratio = v / (np.exp(log_ratio[at]) * _log_curve(parameters, m))
    scale = weighted_median(ratio, weights)
    spread = MAD_TO_SD * weighted_median(np.abs(ratio / scale - 1), weights)
    a, b, n = map(float, parameters)
    return Trend(a, b, n, knots, log_ratio, scale, spread)


def inverse_density_weights(x: Values) -> Values:
    """Weight points by inverse density, with mean 1: all parts of the axis count equally.

    The density is that of R before 4.4: masses on a grid of 512 points are convolved with a normal
    curve on a slightly wider grid. The exact density differs by about 2e-3 of its value.
    """
    width = _bandwidth(x)
    low, high = x.min() - REACH * width, x.max() + REACH * width
    grid = np.linspace(low, high, GRID)
    position = (x - low) / (high - low) * (GRID - 1)
    left = np.clip(np.floor(position).astype(np.int64), 0, GRID - 2)
    share = position - left
    masses = np.bincount(left, 1 - share, 2 * GRID) + np.bincount(left + 1, share, 2 * GRID)
    lags = np.arange(GRID + 1) * (2 * (high - low) / (2 * GRID - 1))
    lags = np.concatenate([lags, lags[-2:0:-1]])
    curve = np.exp(-0.5 * (lags / width) ** 2) / (np.sqrt(2 * np.pi) * width)
    density = np.fft.irfft(np.fft.rfft(masses / len(x)) * np.fft.rfft(curve), 2 * GRID)[:GRID]
    points = np.linspace(x.min(), x.max(), GRID)
    weights = 1 / np.interp(x, points, np.interp(points, grid, np.maximum(density, 0)))
    return weights / weights.mean()


def _bandwidth(x: Values) -> float:
    """Silverman's rule, with the fallbacks of R for points that coincide."""
    deviation = float(x.std(ddof=1))
    lower, upper = map(float, np.quantile(x, [0.25, 0.75]))
    spread = min(deviation, (upper - lower) / 1.34)
    return 0.9 * (spread or deviation or abs(float(x[0])) or 1.0) / float(np.power(len(x), 0.2))


def _log_curve(parameters: Values, m: Values) -> Values:
    """``exp(A) m / (m^(1 + exp(N)) + exp(B))``, in logarithms so that no power overflows."""
    a, b, n = parameters
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        log_m = np.log(np.maximum(m, 0.0))
        values: Values = np.exp(a + log_m - np.logaddexp((1 + np.exp(n)) * log_m, b))
    return values


def _gradient(parameters: Values, m: Values) -> Values:
    """Differentiate the curve by A, B and N, one column each."""
    _, b, n = parameters
    value, log_m = _log_curve(parameters, m), np.log(m)
    with np.errstate(over="ignore", invalid="ignore"):
        share = 1 / (1 + np.exp(np.clip(b - (1 + np.exp(n)) * log_m, -700, 700)))
        by_n = -value * share * log_m * np.exp(n)
    return np.column_stack([value, -value * (1 - share), by_n])


def _grid_start(m: Values, v: Values) -> Values:
    """Search start values on a grid: the least-squares curve ``g b m / (m^n + b)``."""
    lowest = np.argsort(m, kind="stable")[: max(1, int(min(LEFT_GENES, LEFT_SHARE * len(m))))]
    slope = float((m[lowest] @ v[lowest]) / (m[lowest] @ m[lowest]))
    best, start = np.inf, np.zeros(3)
    for n in np.exp2(GRID_N).tolist():
        with np.errstate(over="ignore"):
            power = m**n
        for b in np.exp2(GRID_B).tolist():
            squares = float(np.square(v - slope * b * m / (power + b)).sum())
            if squares < best:
                best = squares
                start = np.log([b * slope, b, n - 1 if n > 1 else 1e-8])
    return start


def _fit_curve(m: Values, v: Values, weights: Values) -> Values:
    """Fit the curve by Gauss-Newton with step halving; return the start values if that fails.

    It fails if the gradient is singular, a step becomes too short, or rounds run out.
    """
    start = parameters = _grid_start(m, v)
    root = np.sqrt(weights)
    step = 1.0
    residual = root * (v - _log_curve(parameters, m))
    for _ in range(MAX_ROUNDS):
        gradient = root[:, None] * _gradient(parameters, m)
        if not np.isfinite(gradient).all():
            return start
        q, r = np.linalg.qr(gradient)
        if (np.abs(np.diag(r)) <= SINGULAR * np.linalg.norm(gradient, axis=0)).any():
            return start
        along = q.T @ residual
        rest = np.linalg.norm(residual - q @ along)
        if np.linalg.norm(along) <= OFFSET * rest:
            return parameters
        increment = np.linalg.solve(r, along)
        while True:
            if step < MIN_STEP:
                return start
            tried = parameters + step * increment
            left = root * (v - _log_curve(tried, m))
            if left @ left <= residual @ residual:
                break
            step /= 2
        parameters, residual, step = tried, left, min(2 * step, 1.0)
    return start


def weighted_median(x: Values, weights: Values) -> float:
    """Find the first value beyond half of the weight; at exactly half, average with the next."""
    order = np.argsort(x, kind="stable")
    share = np.cumsum(weights[order]) / weights.sum()
    at = min(int(np.searchsorted(share, 0.5)), len(x) - 1)
    if share[at] == 0.5 and at + 1 < len(x):
        return float(x[order[at]] + x[order[at + 1]]) / 2
    return float(x[order[at]])


def weighted_lowess(x: Values, y: Values, weights: Values) -> Values:
    """Smooth points by robust local lines (``weightedLowess`` of limma), in the order of the input.

    Lines are fitted at up to about 200 points, each to the nearest points that hold 0.3 of the
    weight. Points in between are interpolated. In each of four rounds, points far from the curve
    get less weight. If all points of a window are far from it, their line is fitted as in the first
    round; limma divides by zero.
    """
    order = np.argsort(x, kind="stable")
    x, y, weights = x[order], y[order], weights[order]
    seeds = _seeds(x)
    starts, ends = np.empty_like(seeds), np.empty_like(seeds)
    reach = np.empty(len(seeds))
    lowess_kernels.lowess_windows(x, weights, seeds, SPAN * weights.sum(), starts, ends, reach)
    at_seeds, robustness = np.empty(len(seeds)), np.ones(len(x))
    fitted = np.empty(len(x))
    for _ in range(TREND_ROUNDS):
        lowess_kernels.lowess_lines(
            x, y, weights, robustness, seeds, starts, ends, reach, NEGLIGIBLE_TREND, at_seeds
        )
        fitted = _between_seeds(x, seeds, at_seeds)
        residual = np.abs(y - fitted)
        limit = 6 * weighted_median(residual, weights)
        if limit <= NEGLIGIBLE_TREND * residual.mean():
            break
        robustness = np.where(residual < limit, (1 - np.square(residual / limit)) ** 2, 0.0)
    out = np.empty(len(x))
    out[order] = fitted
    return out


def _seeds(x: Values) -> NDArray[np.int64]:
    """Choose the points for local lines: about evenly spaced, including the first and the last."""
    n, spacing = len(x), 0.0
    if n > TREND_SEEDS:
        gaps = np.cumsum(np.sort(np.diff(x)))
        left_out = np.arange(TREND_SEEDS)
        spacing = float((gaps[n - 2 - left_out] / (TREND_SEEDS - left_out)).min())
    seeds = [0]
    for at in range(1, n - 1):
        if x[at] - x[seeds[-1]] > spacing:
            seeds.append(at)
    return np.array([*seeds, n - 1], np.int64)


def _between_seeds(x: Values, seeds: NDArray[np.int64], values: Values) -> Values:
    """Interpolate between seeds; average both if they nearly coincide."""
    fitted = np.empty(len(x))
    fitted[seeds] = values
    close = NEGLIGIBLE_TREND * (x[-1] - x[0]) / len(x)
    for i in range(len(seeds) - 1):
        a, b = seeds[i], seeds[i + 1]
        width = x[b] - x[a]
        share = (x[a + 1 : b] - x[a]) / width if width > close else 0.5
        fitted[a + 1 : b] = values[i] + share * (values[i + 1] - values[i])
    return fitted
