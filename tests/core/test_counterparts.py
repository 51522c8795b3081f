"""The chance of a counterpart: promises on made data."""

from __future__ import annotations

import numpy as np
import pytest
from naive import calibrated

from mnncorrect.core.calibrated.counterparts import Facing, look_at, to_probabilities, trust_in
from mnncorrect.core.calibrated.displacement import MergeSide, displace
from mnncorrect.core.calibrated.evidence import ENOUGH_EVIDENCE
from mnncorrect.core.calibrated.neighborhoods import Listed, Points, look_around, median
from mnncorrect.core.merging.pairs import Pairs
from mnncorrect.core.neighbors.engines import nearest
from mnncorrect.core.runtime.compute import ComputeOptions

DIMS = 20


def made(seed, left, right, shift=2.0, n=70):
    """Populations of two batches, each of a shape of its own; the second batch is shifted."""
    rng, shapes = np.random.default_rng(seed), np.random.default_rng(99)
    centers = shapes.normal(size=(8, DIMS)) * 2
    factors = shapes.normal(size=(8, 3, DIMS))
    truth = np.concatenate([np.repeat(left, n), np.repeat(right, n)]).astype(int)
    batch = np.repeat([0, 1], [n * len(left), n * len(right)])
    own = np.einsum("ij,ijk->ik", rng.normal(size=(len(truth), 3)), factors[truth])
    x = centers[truth] + own + rng.normal(size=(len(truth), DIMS)) * 0.4
    x[batch == 1] += shift * np.eye(DIMS)[0]
    return x, batch, truth


@pytest.mark.parametrize(("left", "right"), [((0, 1, 2), (3, 4, 5)), ((0, 1, 2, 3), (4, 5, 6, 7))])
@pytest.mark.parametrize("shift", [0.0, 2.0])
def test_batches_without_a_common_population_are_left_alone_and_unsure(left, right, shift):
    x, batch, _ = made(1, left, right, shift)
    correction, confidence = calibrated(x, batch)
    np.testing.assert_array_equal(correction.corrected, x)
    (merge,) = correction.merges
    assert merge.skipped
    assert merge.evidence > ENOUGH_EVIDENCE
    assert merge.shared < 0.1
    assert confidence.mean() < 0.2


def test_confidence_tells_cells_with_a_counterpart_from_cells_without():
    sure, known = [], []
    for seed in range(4):
        lone = [seed, seed + 4]
        left = [kind for kind in range(8) if kind != lone[0]]
        right = [kind for kind in range(8) if kind != lone[1]]
        x, batch, truth = made(seed, left, right)
        sure.append(calibrated(x, batch)[1])
        known.append(~np.isin(truth, lone))
    confidence, counterpart = np.concatenate(sure), np.concatenate(known)
    assert counterpart[confidence < 0.1].mean() < 0.15
    assert counterpart[confidence > 0.8].mean() > 0.97
    assert confidence[counterpart].mean() > 0.7
    assert confidence[~counterpart].mean() < 0.15


def test_populations_of_one_batch_follow_the_cells_around_them_and_keep_to_themselves():
    x, batch, truth = made(5, (0, 1, 2, 3), (0, 1, 2, 4))
    correction, _ = calibrated(x, batch, reference=0)
    went = correction.corrected - x
    lone = truth == 4
    assert np.linalg.norm(went[lone].mean(0) - went[(batch == 1) & ~lone].mean(0)) < 1
    distances = np.linalg.norm(correction.corrected[lone][:, None] - correction.corrected, axis=2)
    assert lone[np.argsort(distances, axis=1)[:, :10]].mean() > 0.95


def test_halves_of_one_batch_are_sure_and_composition_is_not_an_effect():
    rng = np.random.default_rng(3)
    x, _, truth = made(3, range(8), (), n=90)
    batch = rng.integers(2, size=len(x))
    kept = ~((truth == 0) & (batch == 0)) & ~((truth == 5) & (batch == 1))
    correction, confidence = calibrated(x[kept], batch[kept])
    np.testing.assert_array_equal(correction.corrected, x[kept])
    lone = np.isin(truth[kept], [0, 5])
    assert confidence[~lone].mean() > 0.7
    assert confidence[lone].mean() < 0.2


def test_the_chance_does_not_depend_on_which_side_is_left(rng):
    one, other = rng.normal(size=(120, 6)), rng.normal(size=(150, 6)) + 0.2
    there = Facing.of(one, other, 100, n_jobs=1).compare(other).chance()
    back = Facing.of(other, one, 100, n_jobs=1).compare(one).chance()
    np.testing.assert_array_equal(there[0], back[1])
    np.testing.assert_array_equal(there[1], back[0])
    assert [len(some) for some in there] == [120, 150]


def test_a_middling_score_means_more_where_most_cells_have_a_counterpart():
    middling = np.full(20, 0.3)
    shared = to_probabilities([np.append(np.full(200, 0.9), middling), np.full(200, 0.9)])
    apart = to_probabilities([np.append(np.full(200, 0.01), middling), np.full(200, 0.01)])
    assert (shared[0][200:] > 0.8).all()
    assert (apart[0][200:] < 0.2).all()
    for found in (*shared, *apart):
        assert ((found >= 0) & (found <= 1)).all()


def test_scores_keep_their_order_as_probabilities(rng):
    scores = np.sort(rng.uniform(size=300))
    scores[[0, -1]] = 0, 1
    found = to_probabilities([scores, rng.uniform(size=50)])[0]
    assert (np.diff(found) >= 0).all()
    assert np.isfinite(found).all()


def test_cells_take_their_chance_from_the_points_near_them(rng):
    left, right = rng.normal(size=(2, 400, 6)).astype(np.float32)
    left[:200] += 9
    right[:100] -= 9  # a population of the right side alone
    points = [look_around(cells, 40, 30, nearest, n_jobs=1).points(80) for cells in (left, right)]
    at_all = Facing.of(left, right, 100, n_jobs=1).compare(right).chance()
    at_points = Facing.of(left, right, 100, tuple(points), n_jobs=1).compare(right).chance()
    for some, every in zip(at_points, at_all, strict=True):
        assert len(some) == len(every)
        assert np.abs(some - every).mean() < 0.05
    assert at_points[1][:100].max() < 0.2 < 0.8 < np.median(at_points[1][100:])


def test_doubtful_pairs_count_less_than_certain_ones_beside_them(rng):
    right = rng.normal(size=(120, 4))
    right[60:, 0] += 3
    left = right.copy()
    left[:, 1] += 1
    left[60:, 2] += 2
    rows = np.arange(120)
    sides = [
        MergeSide(
            side, Listed(rows[:, None].astype(np.int32), np.ones(120, np.int64)), np.ones(120)
        )
        for side in (left, right)
    ]

    def search(query, reference, k):
        return nearest(query, reference, k, compute=ComputeOptions("exact", n_jobs=1))

    def effect(trust):
        found = displace(*sides, Pairs(rows, rows), search, trust=trust, n_jobs=1)
        return found.vectors[60:, 2].mean()

    even, same = np.ones(120), np.full(120, 0.3)
    doubt = np.where(rows < 60, 1.0, 0.1)
    assert effect((same, even)) == pytest.approx(effect(None))
    assert effect((even, same)) == pytest.approx(effect(None))
    assert effect((even, doubt)) < 0.7 * effect(None)
    assert effect((doubt, even)) == pytest.approx(effect((even, doubt)))


def test_trust_rises_with_high_chances_and_is_never_zero():
    left, right = trust_in((np.array([0.0, 0.5, 0.97, 1.0]), np.array([0.99])))
    assert 0 < left[0] == left[1] < left[2] < left[3] == 1
    assert left[2] < right[0] < 1


@pytest.mark.parametrize("with_points", [True, False])
def test_values_of_some_rows_are_those_of_all_rows(rng, with_points):
    cells = rng.normal(size=(60, 4))
    points = None
    if with_points:
        near = rng.integers(0, 15, (60, 3)).astype(np.int32)
        points = Points(np.arange(0, 60, 4), near, rng.dirichlet(np.ones(3), 60))
    side = look_at(cells, 20, points, n_jobs=1)
    values, rows = rng.random(20), rng.integers(5, 40, 200)
    np.testing.assert_array_equal(side.spread_out(values, rows), side.spread_out(values)[rows])


@pytest.mark.parametrize("shape", [(1,), (2,), (7, 3), (8, 3)])
def test_the_median_is_that_of_numpy(rng, shape):
    values = rng.normal(size=shape)
    before = values.copy()
    np.testing.assert_array_equal(median(values), np.median(values, axis=0))
    np.testing.assert_array_equal(values, before)
