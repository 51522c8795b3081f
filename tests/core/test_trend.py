"""The trend of variance with mean: each part against an independent way to the same numbers."""

from __future__ import annotations

import naive
import numpy as np
import pytest
from scipy import optimize, stats

from mnncorrect.core.matrix import lowess_kernels, trend
from mnncorrect.core.matrix.trend import (
    fit_trend,
    inverse_density_weights,
    weighted_lowess,
    weighted_median,
)


@pytest.fixture
def genes(rng):
    """Means, and variances that scatter about a curve with a hump."""
    m = rng.gamma(1, 1.5, 400)
    return m, 3 * m / (m**2 + 1.5) * np.exp(rng.normal(0, 0.3, 400))


# -- Weighted lowess ------------------------------------------------------------------------------


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("outliers", [False, True])
@pytest.mark.parametrize("n", [4, 60, 450])
def test_lowess_is_that_of_its_definition(rng, n, tied, outliers):
    x = rng.normal(size=n) * 3
    if tied:
        x = np.round(4 * x) / 4
    y, weights = np.sin(x) + rng.normal(0, 0.2, n), rng.uniform(0.2, 3, n)
    if outliers and n > 4:
        y[[5, 30, 31]] += 20
    expected = naive.weighted_lowess(x, y, weights)
    np.testing.assert_allclose(weighted_lowess(x, y, weights), expected, rtol=1e-9, atol=1e-9)


def test_lowess_gives_values_in_the_order_of_the_points(rng):
    x, y, weights = rng.normal(size=(3, 50))
    weights = np.abs(weights) + 0.1
    order = np.argsort(x)
    np.testing.assert_array_equal(
        weighted_lowess(x, y, weights)[order], weighted_lowess(x[order], y[order], weights[order])
    )


@pytest.mark.parametrize("n", [5, 150, 1000])
def test_lowess_reproduces_a_line(rng, n):
    x = rng.gamma(1, 2, n)
    smooth = weighted_lowess(x, 3 - 2 * x, rng.uniform(0.1, 5, n))
    np.testing.assert_allclose(smooth, 3 - 2 * x, atol=1e-9)


def test_lowess_is_not_drawn_to_outliers(rng):
    x = np.sort(rng.uniform(0, 10, 200))
    y = 2 * x + rng.normal(0, 0.1, 200)
    y[::20] += 50
    assert np.abs(weighted_lowess(x, y, np.ones(200)) - 2 * x).max() < 0.3


def test_a_point_of_weight_two_is_two_points(rng):
    # No more points than are all fitted; ties count as one point of their summed weight.
    x, y = np.sort(rng.normal(size=(2, 40)), axis=1)
    weights = np.ones(40)
    weights[10] = 2
    doubled = np.insert(np.arange(40), 10, 10)
    twice = weighted_lowess(x[doubled], y[doubled], np.ones(41))
    once = weighted_lowess(x, y, weights)
    np.testing.assert_allclose(np.delete(twice, 10), once, rtol=1e-9)


def test_many_points_are_fitted_at_about_two_hundred_seeds(rng):
    x = np.sort(rng.gamma(1, 2, 3000))
    seeds = trend._seeds(x)
    assert 150 < len(seeds) <= 202
    assert seeds[0] == 0
    assert seeds[-1] == 2999
    assert (np.diff(seeds) > 0).all()
    y = np.log1p(x) + rng.normal(0, 0.1, 3000)
    every, some = slow_window_fit(x, y), weighted_lowess(x, y, np.ones(3000))
    assert np.abs(every - some).max() < 1e-3


def slow_window_fit(x, y):
    """Lowess with a line at every one of many points, in one round: only the spacing differs."""
    n = len(x)
    seeds = np.arange(n)
    starts, ends, reach, out = np.empty(n, int), np.empty(n, int), np.empty(n), np.empty(n)
    lowess_kernels.lowess_windows(x, np.ones(n), seeds, 0.3 * n, starts, ends, reach)
    lowess_kernels.lowess_lines(x, y, np.ones(n), np.ones(n), seeds, starts, ends, reach, 1e-7, out)
    limit = 6 * np.median(np.abs(y - out))
    for _ in range(3):
        robust = np.maximum(0, 1 - ((y - out) / limit) ** 2) ** 2
        lowess_kernels.lowess_lines(x, y, np.ones(n), robust, seeds, starts, ends, reach, 1e-7, out)
        limit = 6 * np.median(np.abs(y - out))
    return out


def test_points_that_all_coincide_have_their_mean():
    y, weights = np.array([1.0, 2.0, 3.0]), np.ones(3)
    np.testing.assert_allclose(weighted_lowess(np.ones(3), y, weights), 2)


@pytest.mark.parametrize("kernel", ["lowess_windows", "lowess_lines"])
def test_compiled_loops_equal_plain_python(rng, kernel):
    n = 30
    x, y, robust = np.sort(rng.normal(size=n)), rng.normal(size=n), rng.random(n)
    robust[:5] = 0
    weights, seeds = rng.random(n) + 0.1, np.arange(0, n, 3)

    def outputs(get):
        starts, ends = np.empty(10, np.int64), np.empty(10, np.int64)
        reach, out = np.empty(10), np.zeros(10)
        get("lowess_windows")(x, weights, seeds, 5.0, starts, ends, reach)
        get("lowess_lines")(x, y, weights, robust, seeds, starts, ends, reach, 1e-7, out)
        return starts, ends, reach, out

    def plainly(name):
        loop = getattr(lowess_kernels, name)
        return getattr(loop, "py_func", loop)

    compiled, plain = outputs(lambda name: getattr(lowess_kernels, name)), outputs(plainly)
    for one, other in zip(compiled, plain, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


def test_a_window_of_outliers_only_still_has_a_line():
    x, y = np.arange(6.0), np.arange(6.0) ** 2
    whole = np.array([0]), np.array([6]), np.array([5.0])
    zero, first = np.empty(1), np.empty(1)
    ones = np.ones(6)
    lowess_kernels.lowess_lines(x, y, ones, np.zeros(6), np.array([0]), *whole, 1e-7, zero)
    lowess_kernels.lowess_lines(x, y, ones, ones, np.array([0]), *whole, 1e-7, first)
    assert zero == first


# -- Weights and medians --------------------------------------------------------------------------


@pytest.mark.parametrize("n", [5, 100, 2000])
def test_weights_are_one_over_the_density(rng, n):
    x = rng.gamma(1, 1.5, n) + 0.1
    lower, upper = np.quantile(x, [0.25, 0.75])
    width = 0.9 * min(x.std(ddof=1), (upper - lower) / 1.34) * n**-0.2
    density = stats.gaussian_kde(x, bw_method=width / x.std(ddof=1))(x)
    weights = inverse_density_weights(x)
    # R's grid, which is copied, differs from the exact density by about 2e-3.
    np.testing.assert_allclose(weights, 1 / density / np.mean(1 / density), rtol=6e-3)
    np.testing.assert_allclose(weights.mean(), 1)


def test_weights_are_those_of_the_grid_that_r_uses(rng):
    x = rng.gamma(1, 1.5, 60) + 0.1
    np.testing.assert_allclose(
        inverse_density_weights(x), naive.inverse_density_weights(x), rtol=1e-9
    )


@pytest.mark.parametrize(
    ("x", "spread"),
    [
        ([0.0, 5.0, 5.0, 5.0, 5.0, 9.0], 2.0 * np.sqrt(41 / 20)),
        ([3.0, 3.0], 3.0),
        ([0.0, 0.0], 1.0),
    ],
)
def test_bandwidth_has_ways_out_for_points_that_coincide(x, spread):
    x = np.array(x)
    spread = x.std(ddof=1) or spread
    np.testing.assert_allclose(trend._bandwidth(x), 0.9 * spread * len(x) ** -0.2)


def test_weighted_median_is_that_of_its_definition(rng):
    for n in (1, 2, 7, 30):
        x, weights = rng.normal(size=n), rng.integers(1, 5, n).astype(float)
        assert weighted_median(x, weights) == naive.weighted_median(x, weights)


def test_weighted_median_at_exactly_half_is_the_mean_with_the_next():
    assert weighted_median(np.array([4.0, 1.0, 2.0]), np.array([1.0, 1.0, 2.0])) == 2
    assert weighted_median(np.array([4.0, 1.0, 2.0]), np.array([2.0, 1.0, 1.0])) == 3


# -- The curve ------------------------------------------------------------------------------------


def test_gradient_is_that_of_finite_differences(rng):
    m = rng.gamma(1, 2, 30) + 0.1
    at = np.array([1.2, 0.4, 0.3])
    numeric = [
        (trend._log_curve(at + 1e-6 * e, m) - trend._log_curve(at - 1e-6 * e, m)) / 2e-6
        for e in np.eye(3)
    ]
    np.testing.assert_allclose(trend._gradient(at, m), np.transpose(numeric), atol=1e-8)


def test_curve_is_that_of_the_formula_and_zero_at_zero(rng):
    m = rng.gamma(1, 2, 30)
    a, b, n = 1.2, 0.4, 0.3
    expected = np.exp(a) * m / (m ** (1 + np.exp(n)) + np.exp(b))
    np.testing.assert_allclose(trend._log_curve(np.array([a, b, n]), m), expected, rtol=1e-12)
    np.testing.assert_array_equal(trend._log_curve(np.array([a, b, n]), np.array([0.0, -1.0])), 0)
    assert np.isfinite(trend._log_curve(np.array([800.0, 800.0, 9.0]), m)).all()


def test_start_is_the_best_point_of_the_grid(genes):
    m, v = genes
    lowest = np.argsort(m)[:40]
    slope = (m[lowest] * v[lowest]).sum() / (m[lowest] ** 2).sum()
    with np.errstate(over="ignore"):
        best = min(
            (((v - slope * b * m / (m**n + b)) ** 2).sum(), n, b)
            for n in 2 ** (np.arange(10) * 10 / 9)
            for b in 2 ** (np.arange(10) * 10 / 9 - 5)
        )
    expected = [np.log(best[2] * slope), np.log(best[2]), np.log(max(1e-8, best[1] - 1))]
    np.testing.assert_allclose(trend._grid_start(m, v), expected, rtol=1e-10)


def test_curve_is_fitted_by_weighted_least_squares(genes):
    m, v = (entry[genes[0] >= 0.1] for entry in genes)
    weights = inverse_density_weights(m)
    found = trend._fit_curve(m, v, weights)
    best = optimize.least_squares(
        lambda p: np.sqrt(weights) * (v - trend._log_curve(p, m)), trend._grid_start(m, v),
        xtol=1e-14, ftol=1e-14, gtol=1e-14,
    )  # fmt: skip
    # Convergence is at a relative offset of 1e-5, so sums of squares agree to its square.
    cost = (weights * (v - trend._log_curve(found, m)) ** 2).sum()
    np.testing.assert_allclose(cost, 2 * best.cost, rtol=1e-9)
    np.testing.assert_allclose(trend._log_curve(found, m), trend._log_curve(best.x, m), rtol=1e-3)


def test_start_values_stand_if_the_curve_cannot_be_fitted():
    # Four genes of one mean: no more than the height can be told from them.
    m, v = np.full(4, 2.0), np.array([1.0, 2.0, 3.0, 4.0])
    np.testing.assert_array_equal(trend._fit_curve(m, v, np.ones(4)), trend._grid_start(m, v))


def test_start_values_stand_if_rounds_run_out_or_numbers_overflow(genes, monkeypatch):
    m, v = (entry[genes[0] >= 0.1] for entry in genes)
    monkeypatch.setattr(trend, "MAX_ROUNDS", 1)
    np.testing.assert_array_equal(trend._fit_curve(m, v, np.ones(len(m))), trend._grid_start(m, v))
    monkeypatch.setattr(trend, "_grid_start", lambda m, v: np.array([800.0, 0.0, 0.0]))
    np.testing.assert_array_equal(trend._fit_curve(m, v, np.ones(len(m))), [800, 0, 0])


# -- The trend ------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [40, 100, 600])
@pytest.mark.parametrize("seed", range(3))
def test_trend_is_that_of_the_formulas(n, seed):
    rng = np.random.default_rng(seed)
    m = rng.gamma(1, 1.5, n)
    v = 3 * m / (m**2 + 1.5) * np.exp(rng.normal(0, 0.3, n))
    expected, scale = naive.fit_trend(m, v)
    fit = fit_trend(m, v)
    at = np.linspace(0, 2 * m.max(), 50)
    np.testing.assert_allclose(fit.predict(at), expected(at), rtol=1e-7, atol=1e-10)
    np.testing.assert_allclose(fit.residual_scale, scale, rtol=1e-6, atol=1e-12)


def test_genes_on_a_curve_are_reproduced(rng):
    # Not exactly on it: the relative offset that tells convergence has no meaning there.
    m = np.sort(rng.gamma(1, 1.5, 300)) + 0.1
    v = 4 * m / (m**2.5 + 2)
    fit = fit_trend(m, v * np.exp(rng.normal(0, 1e-3, 300)))
    np.testing.assert_allclose(fit.predict(m), v, rtol=2e-3)
    found = [fit.log_height, fit.log_midpoint, fit.log_power]
    np.testing.assert_allclose(found, np.log([4, 2, 1.5]), atol=5e-3)
    assert fit.residual_scale < 2e-3


def test_half_of_the_weight_lies_above_the_trend(genes):
    m, v = genes
    used = m >= 0.1
    fit = fit_trend(m, v)
    ratio = (v / fit.predict(m))[used]
    np.testing.assert_allclose(
        weighted_median(ratio, inverse_density_weights(m[used])), 1, rtol=1e-12
    )
    # The scatter that went in is log-normal with deviation 0.3.
    assert 0.2 < fit.residual_scale < 0.35


def test_trend_scales_with_the_variances(genes):
    m, v = genes
    np.testing.assert_allclose(
        fit_trend(m, 7 * v).predict(m), 7 * fit_trend(m, v).predict(m), rtol=1e-5
    )


def test_genes_of_low_mean_or_no_variance_do_not_count(genes):
    m, v = genes
    more_m = np.concatenate([m, [0.05, 1.0, 2.0, 3.0]])
    more_v = np.concatenate([v, [100.0, 0.0, 1e-9, np.nan]])
    np.testing.assert_array_equal(fit_trend(more_m, more_v).predict(m), fit_trend(m, v).predict(m))


def test_trend_is_zero_at_zero_and_positive_elsewhere(genes):
    fit = fit_trend(*genes)
    assert fit.predict(np.array([0.0])) == 0
    assert (fit.predict(np.array([1e-6, 0.01, 1.0, 50.0])) > 0).all()


def test_genes_of_equal_mean_are_allowed(rng):
    m = np.repeat([0.5, 1.0, 2.0, 4.0], 10)
    fit = fit_trend(m, rng.gamma(5, 1, 40))
    assert np.isfinite(fit.predict(m)).all()


def test_too_few_genes_are_refused():
    with pytest.raises(ValueError, match=r"3 of 5 genes .*at least 0.1"):
        fit_trend([1.0, 2.0, 3.0, 0.01, 2.0], [1.0, 1.0, 1.0, 1.0, 0.0])
