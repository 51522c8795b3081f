"""Dimensions with signal, and the noise that is compared between neighbors in them."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from mnncorrect.core.calibrated import fit, neighborhoods, noise_scale
from mnncorrect.core.calibrated.method import calibrate
from mnncorrect.core.calibrated.signal_columns import by_signal, signal_columns
from mnncorrect.core.neighbors.engines import nearest
from mnncorrect.core.runtime.compute import ComputeOptions

search = partial(nearest, compute=ComputeOptions("exact", n_jobs=1))
N_SIGNAL, N_DIMS = 7, 30


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def cells(rng, n, noise=1.0):
    """Draw cells that differ in seven of 30 dimensions, and have noise in all."""
    x = rng.normal(size=(n, N_DIMS)) * noise
    x[:, :N_SIGNAL] += 5 * rng.normal(size=(n, N_SIGNAL))
    return x


def around(x):
    return neighborhoods.look_around(x, 50, 30, search, n_jobs=1)


def test_dimensions_that_stand_out_from_noise_have_signal(rng):
    batches = [cells(rng, n) for n in (400, 300)]
    np.testing.assert_array_equal(signal_columns(batches), np.arange(N_SIGNAL))
    # In any order of the dimensions.
    order = rng.permutation(N_DIMS)
    found = signal_columns([x[:, order] for x in batches])
    np.testing.assert_array_equal(np.sort(order[found]), np.arange(N_SIGNAL))


@pytest.mark.parametrize("n_dims", [30, 12, 3])
def test_dimensions_that_count_alike_are_all_kept(rng, n_dims):
    data = {0: rng.normal(size=(400, n_dims)), 1: rng.normal(size=(300, n_dims))}
    local = {number: around(x) for number, x in data.items()}
    seen, nearby = by_signal(data, local, search)
    assert all(seen[number] is x for number, x in data.items())
    assert all(nearby[number] is each for number, each in local.items())


@pytest.mark.parametrize("x", [np.zeros((200, 40)), np.arange(200.0)[:, None], np.eye(200)])
def test_batches_without_structure_have_columns(x):
    local = {0: around(x)}
    seen, nearby = by_signal({0: x}, local, search)
    assert seen[0].shape[1] >= 1
    assert nearby[0].neighbors.shape == local[0].neighbors.shape


def test_small_batches_are_compared_in_all_dimensions(rng):
    data = {0: cells(rng, 600), 1: cells(rng, 60)}
    local = {number: around(x) for number, x in data.items()}
    seen, nearby = by_signal(data, local, search)
    assert all(seen[number] is x for number, x in data.items())
    assert all(nearby[number] is each for number, each in local.items())


@pytest.mark.parametrize("noise", [1.0, 1.2, 1.4])
def test_noise_is_compared_more_exactly_between_neighbors_by_signal(rng, noise):
    data = {number: cells(rng, 600, size) for number, size in enumerate((1.0, noise))}
    local = {number: around(x) for number, x in data.items()}
    chance = {number: np.ones(600) for number in data}
    seen, nearby = by_signal(data, local, search)
    found = noise_scale.noise_factors(data, nearby, chance, search, seen=seen)
    whole = noise_scale.noise_factors(data, local, chance, search)
    assert found[0].mean() > 0.995
    away, before = (abs(np.log(factors[1].mean() * noise)) for factors in (found, whole))
    assert away < max(before, 0.01)


@pytest.mark.parametrize("reference", [None, 1])
def test_a_correction_by_signal_keeps_its_promises(rng, reference, monkeypatch):
    seen = []

    def spy(*args):
        seen.append(by_signal(*args))
        return seen[-1]

    monkeypatch.setattr(fit, "by_signal", spy)
    sizes = (300, 200, 170)
    batch = np.repeat(np.arange(3), sizes)
    x = np.concatenate([cells(rng, n, noise) for n, noise in zip(sizes, (1, 1.5, 1), strict=True)])
    x += 2 * rng.normal(size=(3, N_DIMS))[batch]
    order = rng.permutation(len(x))
    first, second = (
        calibrate(
            x[rows], batch[rows], reference=reference, compute=ComputeOptions(n_jobs=n_jobs),
            keep_weights=True,
        )
        for rows, n_jobs in ((np.arange(len(x)), 1), (order, 3))
    )  # fmt: skip
    assert not any(one.skipped for one in first.correction.merges)
    assert all(each.shape[1] < N_DIMS for found, _ in seen for each in found.values())
    corrected = first.correction.corrected
    np.testing.assert_array_equal(second.correction.corrected, corrected[order])
    np.testing.assert_array_equal(second.confidence, first.confidence[order])
    np.testing.assert_allclose(x + first.weights.displacement(x, n_jobs=1), corrected, atol=1e-9)
    if reference is not None:
        np.testing.assert_array_equal(corrected[batch == reference], x[batch == reference])
