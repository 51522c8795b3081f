"""Variance adjustment and removal of biological directions, against the formulas."""

from __future__ import annotations

import naive
import numpy as np
import pytest

from mnncorrect.core.merging import variance
from mnncorrect.core.merging.variance import biological_span, quantile_scaling, remove_span


@pytest.fixture
def sides(rng):
    """A reference, a target and corrections of the target that are neither equal nor parallel."""
    left, right = rng.normal(size=(14, 6)) + 1, rng.normal(size=(11, 6))
    return left, right, 0.2 * (1 + 0.3 * rng.normal(size=(11, 6)))


@pytest.mark.parametrize("sigma", [3.0, 30.0])
@pytest.mark.parametrize("restricted", ["none", "left", "right", "both"])
def test_scaling_is_that_of_the_formula(sides, sigma, restricted):
    rows_left = np.array([9, 1, 5, 12]) if restricted in ("left", "both") else None
    rows_right = np.array([8, 0, 3]) if restricted in ("right", "both") else None
    scaling = quantile_scaling(*sides, sigma, restrict_left=rows_left, restrict_right=rows_right)
    expected = naive.variance_scaling(*sides, sigma, rows_left, rows_right)
    np.testing.assert_allclose(scaling, expected, rtol=1e-10)
    assert (scaling > 1).any()


def test_scaling_of_float32_is_near_that_of_float64(sides):
    single = quantile_scaling(*(side.astype(np.float32) for side in sides), 3.0)
    np.testing.assert_allclose(single, quantile_scaling(*sides, 3.0), rtol=1e-4)


def test_scaling_does_not_change_with_a_common_offset(sides):
    left, right, corrections = sides
    moved = quantile_scaling(left + 1e3, right + 1e3, corrections, 3.0)
    np.testing.assert_allclose(moved, quantile_scaling(*sides, 3.0), rtol=1e-8)


def test_scaling_does_not_depend_on_how_it_is_cut(sides, monkeypatch):
    whole = quantile_scaling(*sides, 3.0)
    monkeypatch.setattr(variance, "rows_per_block", lambda n_columns, **_: 4)
    np.testing.assert_allclose(quantile_scaling(*sides, 3.0), whole, rtol=1e-12)


@pytest.mark.parametrize("length", [0.0, 1e-14])
def test_a_correction_of_negligible_length_keeps_scale_one(sides, length):
    left, right, corrections = sides
    corrections[4] *= length
    scaling = quantile_scaling(left, right, corrections, 3.0)
    assert scaling[4] == 1
    assert np.isfinite(scaling).all()


def test_corrections_that_are_all_zero_keep_scale_one(sides):
    left, right, corrections = sides
    np.testing.assert_array_equal(quantile_scaling(left, right, 0 * corrections, 3.0), 1)


def test_one_cell_on_each_side_is_moved_all_the_way():
    # Its quantile is 1 in its batch; the only reference cell stands 5 further along.
    left, right = np.array([[5.0, 0.0]]), np.array([[0.0, 0.0]])
    np.testing.assert_allclose(quantile_scaling(left, right, np.array([[2.0, 0.0]]), 1.0), [2.5])


@pytest.mark.parametrize("n_svd", [1, 3])
def test_span_holds_the_leading_directions(rng, n_svd):
    cells = rng.normal(size=(9, 6)) * [5, 4, 3, 2, 1, 0.5]
    span, expected = biological_span(cells, n_svd), naive.bio_span(cells, range(9), n_svd)
    np.testing.assert_allclose(span @ span.T, expected @ expected.T, atol=1e-12)
    np.testing.assert_allclose(span.T @ span, np.eye(n_svd), atol=1e-12)


def test_span_is_projected_onto_genes_outside_the_mask(rng):
    cells = rng.normal(size=(9, 8))
    mask = np.array([True, False, True, True, True, False, True, True])
    span = biological_span(cells, 2, mask)
    expected = naive.bio_span(cells, range(9), 2, mask)
    np.testing.assert_allclose(span @ span.T, expected @ expected.T, atol=1e-12)
    np.testing.assert_allclose(span[mask].T @ span[mask], np.eye(2), atol=1e-12)


@pytest.mark.parametrize(("n_cells", "rank"), [(1, 0), (2, 1), (4, 3)])
@pytest.mark.parametrize("mask", [None, np.arange(8) < 6])
def test_directions_without_variance_are_left_out(rng, n_cells, rank, mask):
    # Centred, n cells span n - 1 directions.
    cells = 10 + rng.normal(size=(n_cells, 8))
    span = biological_span(cells, 20, mask)
    assert span.shape == (8, rank)
    assert np.isfinite(span).all()


def test_identical_cells_span_nothing(rng):
    assert biological_span(np.tile(rng.normal(size=7), (5, 1)), 3).shape == (7, 0)


@pytest.mark.parametrize("mask", [None, np.arange(8) < 6])
def test_a_removed_span_is_gone_on_the_genes_that_it_was_measured_on(rng, mask):
    cells, corrections = rng.normal(size=(9, 8)), rng.normal(size=(12, 8))
    span = naive.bio_span(cells, range(9), 3, mask)
    expected = naive.remove_span(corrections, span, mask)
    remove_span(corrections, span, mask)
    np.testing.assert_allclose(corrections, expected, atol=1e-13)
    inside = slice(None) if mask is None else mask
    np.testing.assert_allclose(corrections[:, inside] @ span[inside], 0, atol=1e-13)


def test_removing_an_empty_span_changes_nothing(rng):
    corrections = rng.normal(size=(4, 6))
    before = corrections.copy()
    remove_span(corrections, np.empty((6, 0)))
    np.testing.assert_array_equal(corrections, before)
