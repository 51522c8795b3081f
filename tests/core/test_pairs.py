"""Mutual pairs and the vectors between their ends, against the formulas."""

from __future__ import annotations

import naive
import numpy as np
import pytest

from mnncorrect.core.merging import pairs as pairs_module
from mnncorrect.core.merging.pairs import (
    Pairs,
    average_vectors,
    choose_k,
    find_pairs,
    mutual_pairs,
)
from mnncorrect.core.neighbors.engines import Neighbors


def as_list(pairs):
    return list(zip(pairs.left.tolist(), pairs.right.tolist(), strict=True))


def as_pairs(couples):
    left, right = np.array(couples, dtype=np.int64).reshape(-1, 2).T
    return Pairs(left, right)


@pytest.mark.parametrize(
    ("n_neighbors", "prop_neighbors", "n", "expected"),
    [
        (20, None, 5, 20),
        (20, None, 1000, 20),
        (3, 0.1, 1000, 100),
        (20, 0.1, 100, 20),
        (20, 0.5, 10, 10),
        (1, 0.1, 25, 2),  # 2.5, rounded to even
        (1, 0.1, 35, 4),  # 3.5, rounded to even
    ],
)
def test_number_of_neighbours_follows_the_share_of_cells(n_neighbors, prop_neighbors, n, expected):
    assert choose_k(n_neighbors, prop_neighbors, n) == expected
    assert naive.choose_k(n_neighbors, prop_neighbors, n) == expected


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("n_left", "n_right", "n_neighbors"),
    [(17, 23, 3), (9, 4, 2), (1, 6, 1), (1, 1, 1), (12, 12, 12)],
)
def test_pairs_are_those_of_the_definition_in_its_order(rng, n_left, n_right, n_neighbors, dtype):
    left = rng.normal(size=(n_left, 5)).astype(dtype)
    right = rng.normal(size=(n_right, 5)).astype(dtype)
    found = find_pairs(left, right, n_neighbors=n_neighbors)
    assert as_list(found) == naive.find_pairs(left, right, n_neighbors)
    assert found.left.dtype == found.right.dtype == np.int64


def test_a_share_of_neighbours_is_taken_of_each_side(rng):
    left, right = rng.normal(size=(40, 4)), rng.normal(size=(20, 4))
    found = find_pairs(left, right, n_neighbors=2, prop_neighbors=0.2)
    assert as_list(found) == naive.find_pairs(left, right, 2, 0.2)


def test_pairs_come_from_restricted_cells_in_the_order_of_the_restriction(rng):
    left, right = rng.normal(size=(15, 4)), rng.normal(size=(12, 4))
    rows_left, rows_right = np.array([9, 2, 11, 4, 5]), np.array([0, 7, 3, 10])
    found = find_pairs(
        left, right, n_neighbors=2, restrict_left=rows_left, restrict_right=rows_right
    )
    assert as_list(found) == naive.find_pairs(left, right, 2, None, rows_left, rows_right)
    assert set(found.left) <= set(rows_left)
    assert set(found.right) <= set(rows_right)


def test_restriction_of_one_side_leaves_the_other_free(rng):
    left, right = rng.normal(size=(15, 4)), rng.normal(size=(12, 4))
    rows = np.array([1, 8, 3])
    found = find_pairs(left, right, n_neighbors=2, restrict_left=rows)
    assert as_list(found) == naive.find_pairs(left, right, 2, None, rows, None)


def test_duplicated_cells_pair_by_lowest_row(rng):
    x = np.repeat(rng.normal(size=(4, 5)), 3, axis=0)
    assert as_list(find_pairs(x, x, n_neighbors=2)) == naive.find_pairs(x, x, 2)


def test_there_is_always_a_pair(rng):
    for _ in range(5):
        left, right = rng.normal(size=(8, 3)), 50 + rng.normal(size=(6, 3))
        assert len(find_pairs(left, right, n_neighbors=1)) >= 1


def test_pairs_are_never_listed_twice(rng):
    found = find_pairs(rng.normal(size=(30, 3)), rng.normal(size=(25, 3)), n_neighbors=6)
    assert len(set(as_list(found))) == len(found) == len(found.left)


def test_one_sided_neighbours_are_no_pair():
    in_right = Neighbors(np.array([[0], [0]], np.int32), np.zeros((2, 1)))
    in_left = Neighbors(np.array([[1], [1]], np.int32), np.zeros((2, 1)))
    assert as_list(mutual_pairs(in_left, in_right)) == [(1, 0)]


def test_no_mutual_neighbours_are_no_pairs():
    in_right = Neighbors(np.array([[0], [0]], np.int32), np.zeros((2, 1)))
    in_left = Neighbors(np.array([[-1], [1]], np.int32), np.zeros((2, 1)))
    assert len(mutual_pairs(in_left, in_right)) == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_vectors_are_averaged_over_the_pairs_of_each_anchor(rng, dtype):
    left, right = rng.normal(size=(17, 5)).astype(dtype), rng.normal(size=(23, 5)).astype(dtype)
    couples = naive.find_pairs(left, right, 4)
    anchors, vectors = average_vectors(left, right, as_pairs(couples))
    expected_anchors, expected = naive.average_vectors(left, right, couples)
    np.testing.assert_array_equal(anchors, expected_anchors)
    np.testing.assert_allclose(vectors, expected, atol=8 * np.finfo(dtype).eps)
    assert vectors.dtype == dtype


def test_the_vector_of_a_single_pair_is_left_minus_right(rng):
    left, right = rng.normal(size=(2, 4, 3))
    anchors, vectors = average_vectors(left, right, as_pairs([(2, 1)]))
    np.testing.assert_array_equal(anchors, [1])
    np.testing.assert_array_equal(vectors, [left[2] - right[1]])


def test_averages_do_not_depend_on_the_order_of_pairs_or_on_blocks(rng, monkeypatch):
    left, right = rng.normal(size=(17, 5)), rng.normal(size=(23, 5))
    couples = naive.find_pairs(left, right, 4)
    _, whole = average_vectors(left, right, as_pairs(couples))
    monkeypatch.setattr(pairs_module, "ANCHOR_BLOCK", 3)
    _, cut = average_vectors(left, right, as_pairs(couples))
    np.testing.assert_array_equal(cut, whole)
    _, shuffled = average_vectors(left, right, as_pairs(couples[::-1]))
    np.testing.assert_allclose(shuffled, whole, atol=1e-14)


def test_no_pairs_give_no_anchors(rng):
    nothing = Pairs(np.empty(0, np.int64), np.empty(0, np.int64))
    anchors, vectors = average_vectors(rng.normal(size=(3, 4)), rng.normal(size=(2, 4)), nothing)
    assert anchors.shape == (0,)
    assert vectors.shape == (0, 4)
