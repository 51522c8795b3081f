"""Smoothing of pair vectors, against the formulas and at its limits."""

from __future__ import annotations

import naive
import numpy as np
import pytest

from mnncorrect.core.merging import smoothing
from mnncorrect.core.merging.smoothing import gaussian, global_mean, log_densities, tricube


@pytest.fixture
def target(rng):
    """Cells of a target with anchors among them, duplicates and a zero cell included."""
    data = rng.normal(size=(30, 6))
    data[4] = 0
    data[[9, 12]] = data[7]
    anchors = np.array([0, 4, 7, 9, 15, 16, 28])
    return data, anchors, rng.normal(size=(len(anchors), 6))


def one(function, data, anchors, vectors, *args, **options):
    """Smooth a single set of vectors."""
    (correction,) = function(data, anchors, [vectors], *args, **options)
    return correction


@pytest.mark.parametrize("sigma", [1e-3, 0.1, 5.0, 1e6])
def test_gaussian_smoothing_is_that_of_the_formula(target, sigma):
    expected = naive.gaussian(*target, sigma)
    np.testing.assert_allclose(one(gaussian, *target, sigma), expected, atol=1e-9)


@pytest.mark.parametrize("sigma", [0.1, 5.0])
def test_gaussian_smoothing_of_float32_stays_float32_and_near(target, sigma):
    data, anchors, vectors = target
    single = one(gaussian, data.astype(np.float32), anchors, vectors.astype(np.float32), sigma)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, naive.gaussian(data, anchors, vectors, sigma), atol=2e-3)


def test_a_common_offset_does_not_change_gaussian_weights(target):
    data, anchors, vectors = target
    expected = naive.gaussian(data, anchors, vectors, 0.1)
    np.testing.assert_allclose(
        one(gaussian, data + 1e4, anchors, vectors, 0.1), expected, atol=1e-6
    )


@pytest.mark.parametrize("sigma", [1e-6, 1e-3])
def test_far_cells_take_the_vector_of_their_nearest_anchor(rng, sigma):
    # exp(-d^2 / sigma) is zero for every anchor here.
    data = np.vstack([rng.normal(size=(5, 4)), 100 + rng.normal(size=(3, 4))])
    anchors = np.arange(5)
    vectors = rng.normal(size=(5, 4))
    correction = one(gaussian, data, anchors, vectors, sigma)
    closest = naive.nearest(data, data[anchors], 1)[0][:, 0]
    np.testing.assert_allclose(correction, vectors[closest], atol=1e-12)


def test_a_narrow_kernel_of_float32_cells_still_finds_the_right_anchor(rng):
    # Products in float32 would be off by more than the bandwidth here.
    centre = 50 + 10 * rng.normal(size=6)
    data = (centre + 0.01 * rng.normal(size=(20, 6))).astype(np.float32)
    anchors = np.arange(0, 20, 3)
    vectors = rng.normal(size=(7, 6)).astype(np.float32)
    expected = naive.gaussian(data.astype(float), anchors, vectors, 1e-4)
    np.testing.assert_allclose(one(gaussian, data, anchors, vectors, 1e-4), expected, atol=1e-3)


def test_several_sets_of_vectors_share_their_weights(target, rng):
    data, anchors, vectors = target
    others = rng.normal(size=(len(anchors), 11))
    first, second = gaussian(data, anchors, [vectors, others], 0.5)
    np.testing.assert_array_equal(first, one(gaussian, data, anchors, vectors, 0.5))
    np.testing.assert_allclose(
        second, naive.gaussian_weights(data, anchors, 0.5) @ others, atol=1e-12
    )


def test_a_single_anchor_moves_all_cells_alike(target):
    data, _, vectors = target
    for function in (gaussian, global_mean):
        correction = one(function, data, np.array([3]), vectors[:1], 0.1)
        np.testing.assert_allclose(
            np.broadcast_to(correction, data.shape), np.tile(vectors[0], (30, 1)), rtol=1e-14
        )


@pytest.mark.parametrize("sigma", [1e-3, 0.1, 5.0])
def test_log_densities_are_those_of_the_formula(target, sigma):
    data, anchors, _ = target
    expected = naive.log_density(data[anchors], sigma)
    np.testing.assert_allclose(log_densities(data, anchors, sigma), expected, atol=1e-9)


@pytest.mark.parametrize("sigma", [1e-3, 0.1, 5.0, 1e6])
def test_the_global_mean_weighs_anchors_by_one_over_their_density(target, sigma):
    correction = one(global_mean, *target, sigma)
    expected = naive.global_mean(*target, sigma)
    np.testing.assert_allclose(np.broadcast_to(correction, (30, 6)), expected, atol=1e-9)


def test_the_global_mean_of_float32_stays_float32(target):
    data, anchors, vectors = target
    correction = one(global_mean, data.astype(np.float32), anchors, vectors.astype(np.float32), 0.1)
    assert correction.dtype == np.float32


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("ndist", [1.5, 3.0])
@pytest.mark.parametrize("k", [1, 2, 5, 50])
def test_tricube_smoothing_is_that_of_the_formula(target, k, ndist, dtype):
    data, anchors, vectors = target
    data, vectors = data.astype(dtype), vectors.astype(dtype)
    correction = tricube(data, anchors, vectors, k=k, ndist=ndist)
    expected = naive.tricube(data.astype(float), anchors, vectors.astype(float), k, ndist)
    np.testing.assert_allclose(correction, expected, atol=16 * np.finfo(dtype).eps)
    assert correction.dtype == dtype


def test_tricube_with_one_neighbour_gives_every_cell_the_vector_of_its_nearest_anchor(target):
    data, anchors, vectors = target
    closest = naive.nearest(data, data[anchors], 1)[0][:, 0]
    np.testing.assert_array_equal(tricube(data, anchors, vectors, k=1), vectors[closest])


def test_tricube_without_any_weight_is_not_a_number(rng):
    # At half the distance of the middle neighbour, no neighbour of a far cell is within reach.
    data = np.vstack([np.zeros((1, 3)), 100 + rng.normal(size=(4, 3))])
    correction = tricube(data, np.arange(1, 5), rng.normal(size=(4, 3)), k=3, ndist=0.5)
    assert np.isnan(correction[0]).all()


def test_smoothing_does_not_depend_on_how_it_is_cut(target, monkeypatch):
    whole = one(gaussian, *target, 0.3)
    spread = tricube(*target, k=3)
    monkeypatch.setattr(smoothing, "rows_per_block", lambda n_columns, **_: 7)
    monkeypatch.setattr(smoothing, "TRICUBE_BLOCK", 7)
    # Products of another shape are summed in another order.
    np.testing.assert_allclose(one(gaussian, *target, 0.3), whole, atol=1e-13)
    np.testing.assert_array_equal(tricube(*target, k=3), spread)
