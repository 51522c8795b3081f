"""The partition engine: bounded cells, recall as promised, the same bits on any threads."""

from __future__ import annotations

import numpy as np
import pytest

from mnncorrect.core.merging import pairs as pairs_module
from mnncorrect.core.merging.pairs import find_pairs
from mnncorrect.core.neighbors import partition
from mnncorrect.core.neighbors.engines import grouped, groups_left, nearest, nearest_both
from mnncorrect.core.runtime.compute import ComputeOptions


def two_sides(shift, n=3000, dims=20, seed=0):
    """Clustered cells of low intrinsic dimension, the second side shifted along every dimension."""
    rng = np.random.default_rng(seed)
    centers, bases = rng.normal(size=(6, dims)) * 2, rng.normal(size=(6, 4, dims)) / 2
    kinds = rng.integers(6, size=2 * n)
    x = centers[kinds] + np.einsum("nl,nld->nd", rng.normal(size=(2 * n, 4)), bases[kinds])
    x += 0.2 * rng.normal(size=x.shape)
    x[n:] += shift * x.std(0).mean()
    return x[:n].astype(np.float32), x[n:].astype(np.float32)


def pair_set(pairs):
    return set(zip(pairs.left.tolist(), pairs.right.tolist(), strict=True))


@pytest.mark.parametrize("shift", [0, 1, 5])
def test_most_true_neighbours_and_pairs_are_found_at_any_shift(shift):
    left, right = two_sides(shift)
    found = nearest(left, right, 10, compute=ComputeOptions("partition")).indices
    true = nearest(left, right, 10, compute=ComputeOptions("exact")).indices
    share = np.mean([np.isin(a, b).mean() for a, b in zip(found, true, strict=True)])
    # The probes are chosen for 0.99 on a sample of 256 points; 0.97 leaves room for its error.
    assert share >= 0.97
    some, all_ = (
        pair_set(find_pairs(left, right, n_neighbors=10, compute=ComputeOptions(engine)))
        for engine in ("partition", "exact")
    )
    # What is asked for is 0.995; the sample that it is read off and chance leave it above 0.98.
    assert len(some & all_) / len(all_) >= 0.98
    assert len(some & all_) / len(some) >= 0.95


def test_a_pair_is_found_if_either_direction_sees_it(monkeypatch):
    left, right = two_sides(0)
    monkeypatch.setattr(partition, "choose_probes", lambda *_, **__: partition.Probes(3, 2))
    monkeypatch.setattr(pairs_module, "RECALL_WARNED_OF", 0)
    true = pair_set(find_pairs(left, right, n_neighbors=10, compute=ComputeOptions("exact")))
    found = pair_set(find_pairs(left, right, n_neighbors=10, compute=ComputeOptions("partition")))
    one_way = [
        nearest(a, b, 10, compute=ComputeOptions("partition"))
        for a, b in ((right, left), (left, right))
    ]
    both_ways = pair_set(pairs_module.mutual_pairs(*one_way))
    # The error is more than halved: what is lost both ways is less than what is lost in either.
    assert len(true - found) < len(true - both_ways) / 2


def test_full_recall_is_exact_when_every_cell_is_probed(monkeypatch):
    left, right = two_sides(0, n=700)
    monkeypatch.setattr(partition, "LEAST_PROBES", 10**6)
    found, true = (
        nearest(left, right, 10, compute=ComputeOptions(engine))
        for engine in ("partition", "exact")
    )
    np.testing.assert_array_equal(found.indices, true.indices)
    np.testing.assert_array_equal(found.distances, true.distances)


def test_one_and_two_threads_give_the_same_bits():
    left, right = two_sides(1)
    one, two = (
        nearest_both(left, right, 7, 9, compute=ComputeOptions("partition", n_jobs=n))
        for n in (1, 2)
    )
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a.indices, b.indices)
        np.testing.assert_array_equal(a.distances, b.distances)


@pytest.mark.parametrize("distinct", [1, 3, 4000])
def test_cells_are_bounded_however_many_points_coincide(distinct):
    rng = np.random.default_rng(0)
    points = rng.normal(size=(distinct, 5))[rng.integers(distinct, size=4000)].astype(np.float32)
    parts = partition.build(points, random_state=0, n_jobs=1)
    assert np.diff(parts.starts).max() <= 2 * partition.CELL
    np.testing.assert_array_equal(np.sort(parts.rows), np.arange(4000))


def test_the_recall_on_a_sample_is_that_on_all_pairs():
    left, right = two_sides(0)
    pairs = find_pairs(left, right, n_neighbors=10, compute=ComputeOptions("partition"))
    true = pair_set(find_pairs(left, right, n_neighbors=10, compute=ComputeOptions("exact")))
    whole = len(pair_set(pairs) & true) / len(true)
    # 64 sampled cells with some five pairs each: a standard error below 0.01.
    assert pairs.recall == pytest.approx(whole, abs=0.03)
    assert pairs.worst_recall <= pairs.recall


def test_low_recall_is_warned_of(monkeypatch):
    left, right = two_sides(0)
    monkeypatch.setattr(partition, "choose_probes", lambda *_, **__: partition.Probes(1, 1))
    with pytest.warns(UserWarning, match="raise recall"):
        find_pairs(left, right, n_neighbors=10, compute=ComputeOptions("partition"))


def test_groups_that_lost_most_of_their_rows_are_not_searched_in():
    starts = np.array([0, 200, 400, 600])
    np.testing.assert_array_equal(groups_left(starts, np.arange(0, 600, 2)), [0, 100, 200, 300])
    np.testing.assert_array_equal(groups_left(starts, np.arange(250, 600)), [0, 150, 350])
    assert groups_left(starts, np.arange(0, 600, 20)) is None


def test_a_side_that_is_searched_in_itself_is_cut_once(monkeypatch):
    left, _ = two_sides(0, n=1500)
    other = nearest(left, left.copy(), 10, compute=ComputeOptions("partition"))
    build, calls = partition.build, []
    monkeypatch.setattr(partition, "build", lambda *a, **k: calls.append(a) or build(*a, **k))
    found = nearest(left, left, 10, compute=ComputeOptions("partition"))
    assert len(calls) == 1
    # Both are cut alike, but for the rounding of the mean that is taken off first.
    assert (found.indices == other.indices).mean() > 0.99


def test_known_groups_serve_as_well_as_a_partition_of_the_query():
    left, right = two_sides(1)
    order, starts = grouped(left, ComputeOptions(random_state=0))
    found = nearest(
        left[order], right, 10, compute=ComputeOptions("partition"), groups=(starts, None)
    ).indices
    true = nearest(left[order], right, 10, compute=ComputeOptions("exact")).indices
    share = np.mean([np.isin(a, b).mean() for a, b in zip(found, true, strict=True)])
    assert share >= 0.97


@pytest.mark.parametrize("recall", [0, -1, 1.5])
def test_an_impossible_recall_is_refused(recall):
    left, right = two_sides(0, n=50)
    with pytest.raises(ValueError, match="recall is"):
        nearest(left, right, 3, compute=ComputeOptions("partition", recall=recall))
