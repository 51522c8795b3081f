"""How far few cells may move: a batch effect and another population look alike to them."""

from __future__ import annotations

import numpy as np
import pytest

from mnncorrect.core.calibrated.method import calibrate
from mnncorrect.core.calibrated.shift import limit_of_shift, relative_shift

DIMS = 20


def populations(rng, counts, *, distance=4.0, noise=0.4):
    """Cells of populations, of which each lies along a dimension of its own."""
    truth = np.repeat(list(counts), list(counts.values()))
    return np.eye(DIMS)[truth] * distance + rng.normal(size=(len(truth), DIMS)) * noise


def scatter(cells):
    middle = np.mean(cells, 0)
    return np.sqrt(np.mean([np.sum((cell - middle) ** 2) for cell in cells]))


def test_a_displacement_that_all_share_is_measured_in_scatters(rng):
    cells = populations(rng, {0: 30, 1: 20})
    vector = np.linspace(0, 1, DIMS)
    found = relative_shift(cells, np.tile(vector, (50, 1)))
    assert found == pytest.approx(np.linalg.norm(vector) / scatter(cells))


def test_the_limit_for_few_cells_is_in_scatters_of_the_wider_side(rng):
    wide = populations(rng, {0: 100, 1: 60, 2: 60})
    sorted_cells = populations(rng, {0: 40}, noise=0.6)
    few = populations(rng, {0: 20, 1: 20})
    ratio = scatter(wide) / scatter(sorted_cells)
    assert 1 < ratio < 2 / 1.2
    assert limit_of_shift(wide, sorted_cells) == pytest.approx(1.2 * ratio)
    assert limit_of_shift(sorted_cells, wide) == pytest.approx(1.2)
    assert limit_of_shift(wide, few * 0.1) == 2
    assert limit_of_shift(wide, wide) == 2


@pytest.mark.parametrize("n", [8, 20])
@pytest.mark.parametrize("seed", [0, 1])
def test_few_cells_without_a_common_population_stay(n, seed):
    rng = np.random.default_rng(seed)
    for left in ({0: n, 1: n}, {0: 150, 1: 150, 2: 150}):
        right = {3: n, 4: n}
        x = np.concatenate([populations(rng, left), populations(rng, right)])
        batch = np.repeat([0, 1], [sum(left.values()), sum(right.values())])
        made = calibrate(x, batch)
        np.testing.assert_array_equal(made.correction.corrected, x)
        assert made.confidence.mean() < 0.2


@pytest.mark.parametrize("n", [20, 40])
def test_a_sorted_batch_moves_farther_than_its_own_cells_scatter(n):
    rng = np.random.default_rng(n)
    effect = np.where(np.arange(DIMS) >= DIMS - 4, 1.2, 0.0)
    large, few = populations(rng, {0: 150, 1: 150, 2: 150}), populations(rng, {0: n}) + effect
    assert np.linalg.norm(effect) > 1.2 * scatter(few)
    x = np.concatenate([large, few])
    made = calibrate(x, np.repeat([0, 1], [len(large), n]))
    away = made.correction.corrected[len(large) :].mean(0) - large[:150].mean(0)
    assert np.linalg.norm(away) < 0.3 * np.linalg.norm(effect)


@pytest.mark.parametrize("n", [2, 3, 5])
def test_the_confidence_of_a_handful_of_cells_has_no_unit(n):
    rng = np.random.default_rng(n)
    large, few = populations(rng, {0: 60, 1: 60}), populations(rng, {0: n}) + 1
    x, batch = np.concatenate([large, few]), np.repeat([0, 1], [120, n])
    one, other = (calibrate(x * unit, batch) for unit in (0.01, 100.0))
    np.testing.assert_allclose(one.confidence, other.confidence, atol=1e-9)
    np.testing.assert_allclose(one.correction.corrected * 1e4, other.correction.corrected)
