"""A small batch beside a large one: where its cells come to lie."""

from __future__ import annotations

import numpy as np
import pytest

from mnncorrect.core.calibrated import effort, small_sides
from mnncorrect.core.calibrated.displacement import MergeSide
from mnncorrect.core.calibrated.merge import Parts
from mnncorrect.core.calibrated.merge_order import chain
from mnncorrect.core.calibrated.method import calibrate
from mnncorrect.core.calibrated.neighborhoods import look_around
from mnncorrect.core.calibrated.small_sides import least_compared, small_batches
from mnncorrect.core.merging.loop import Node
from mnncorrect.core.merging.pairs import find_pairs
from mnncorrect.core.neighbors.engines import nearest
from mnncorrect.core.runtime.compute import ComputeOptions

DIMS = 20


def search(query, reference, k):
    return nearest(query, reference, k, compute=ComputeOptions("exact"))


def beside(seed, n_small, n_large=400, distance=4.0, lone=0, effect=0.6):
    """Populations of a large and a small batch, of which ``lone`` cells have one for themselves."""
    rng = np.random.default_rng(seed)
    truth = np.concatenate(
        [rng.integers(3, size=n_large), np.arange(n_small) % 3, np.full(lone, 3)]
    )
    batch = np.repeat([0, 1], [n_large, n_small + lone])
    x = np.eye(DIMS)[truth] * distance + rng.normal(size=(len(truth), DIMS)) * 0.4
    shift = np.where(np.arange(DIMS) >= DIMS - 4, effect, 0.0)
    x[batch == 1] += shift
    return x, batch, truth, shift


@pytest.mark.parametrize(("n_small", "seed"), [(24, 0), (24, 1), (40, 0), (40, 1)])
def test_populations_of_a_small_batch_land_on_their_counterparts(n_small, seed):
    x, batch, truth, shift = beside(seed, n_small, effect=1.0)
    after = calibrate(x, batch).correction.corrected
    size = np.linalg.norm(shift)
    for one in range(3):
        there = x[(batch == 0) & (truth == one)].mean(0)
        here = after[(batch == 1) & (truth == one)].mean(0)
        assert np.linalg.norm(here - there) < 0.4 * size
    moved = (after - x)[batch == 1].mean(0)
    assert np.linalg.norm(moved + shift) < 0.3 * size


def test_populations_of_a_small_batch_stay_apart():
    x, batch, truth, _ = beside(0, 40)
    after = calibrate(x, batch).correction.corrected

    def apart(cells):
        means = [cells[(batch == 1) & (truth == one)].mean(0) for one in range(3)]
        return np.linalg.norm(means[0] - means[1])

    assert apart(after) > 0.95 * apart(x)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_lone_population_of_a_small_batch_follows_the_others(seed):
    x, batch, truth, shift = beside(seed, 24, lone=6, effect=1.0)
    moved = calibrate(x, batch).correction.corrected - x
    assert np.linalg.norm(moved[truth == 3].mean(0) + shift) < 0.4 * np.linalg.norm(shift)


def test_the_shared_displacement_is_the_weighted_mean_of_the_vectors(rng):
    left, right = rng.normal(size=(200, 5)), rng.normal(size=(20, 5)) + 0.5
    sides = []
    for cells in (left, right):
        around = look_around(cells, 12, 6, search, n_jobs=1)
        sides.append(MergeSide(cells, around.listed(1), around.variance))
    pairs = find_pairs(left, right, n_neighbors=5)
    found = small_sides.displace_alike(*sides, pairs, search, n_jobs=1)
    votes = 1 / np.maximum(np.bincount(pairs.left, minlength=200), 1)
    anchors = np.unique(pairs.right)
    vectors = np.array(
        [
            np.average(left[own := pairs.left[pairs.right == cell]], axis=0, weights=votes[own])
            - right[cell]
            for cell in anchors
        ]
    )
    weights = found.weights.weights[0]
    np.testing.assert_allclose(weights.sum(), 1)
    np.testing.assert_allclose(found.vectors, np.tile(weights @ vectors, (20, 1)))
    away = ((vectors - small_sides.geometric_median(vectors)) ** 2).sum(1)
    assert (np.diff(weights[np.argsort(away)]) <= 0).all()


def test_cells_are_drawn_in_as_far_as_their_residuals_exceed_those_around_them(rng):
    left, right = rng.normal(size=(300, 6)), rng.normal(size=(20, 6)) * 1.5
    chance = rng.random(20)
    nodes = [Node((at,), np.arange(len(cells)), cells) for at, cells in enumerate((left, right))]
    _, by = small_sides.draw_in(*nodes, chance, search, n_jobs=1)
    k = small_sides.N_BESIDE

    def ordered(cell):
        return np.argsort(((left - cell) ** 2).sum(1), kind="stable")

    def square(cell, near):
        return ((cell - left[near].mean(0)) ** 2).sum() * k / (k + 1)

    near = [ordered(cell)[:k] for cell in right]
    here = np.array([square(cell, some) for cell, some in zip(right, near, strict=True)])
    there = np.array(
        [np.mean([square(left[at], ordered(left[at])[1 : k + 1]) for at in some]) for some in near]
    )
    chance = chance * np.clip(2 - here / (3 * np.median(here)), 0, 1)
    kept = min(1, (chance @ there) / (chance @ here))
    assert kept < 1
    toward = np.array([left[some].mean(0) for some in near]) - right
    np.testing.assert_allclose(by, (1 - kept) * chance[:, None] * toward)


def test_other_values_of_a_small_batch_are_corrected_by_the_same_weights():
    x, batch, _, _ = beside(1, 20)
    made = calibrate(x, batch, keep_weights=True)
    np.testing.assert_allclose(
        x + made.weights.displacement(x, n_jobs=1), made.correction.corrected, atol=1e-10
    )


def moved_alike_without(few, *large):
    """Large batches come to lie in the same places with and without a small one."""
    both = np.concatenate(large)
    numbers = np.repeat([0, 1], [len(cells) for cells in large])
    alone = calibrate(both, numbers).correction.corrected
    beside_it = calibrate(
        np.concatenate([both, few]), np.append(numbers, np.full(len(few), 2))
    ).correction.corrected
    np.testing.assert_allclose(alone, beside_it[: len(both)], atol=1e-3)


def test_small_batches_are_merged_last_and_leave_the_noise_of_the_others(rng):
    x, batch, _, _ = beside(2, 20)
    third = x[:150] + 0.5
    assert chain([x[batch == 0], x[batch == 1], third], list("abc"), None, {1}) == ((0, 2), 1)
    moved_alike_without(x[batch == 1], x[batch == 0], third)


def test_a_small_batch_leaves_the_noise_of_batches_with_representatives(monkeypatch):
    monkeypatch.setattr(effort, "MOST_REPRESENTATIVES", 300)
    x, batch, _, _ = beside(2, 60, n_large=900)
    moved_alike_without(x[batch == 1], x[batch == 0], x[batch == 0][:700] * 1.01 + 0.5)


def test_without_the_noise_scale_all_cells_of_a_small_batch_move_alike():
    x, batch, _, _ = beside(3, 20)
    moved = calibrate(x, batch, parts=Parts(noise_scale=False)).correction.corrected - x
    assert np.abs(moved[batch == 1].std(0)).max() < 1e-6


def test_batches_are_small_beside_a_large_one_only():
    assert small_batches([100] * 10) == frozenset()
    assert small_batches([700, 139, 141]) == {1}
    assert small_batches([5000, 149, 150]) == {1}
    assert least_compared([5000, 149, 150]) == 150
