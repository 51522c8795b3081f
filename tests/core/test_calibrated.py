"""The calibrated method: its parts against their oracles, and what it promises as properties."""

from __future__ import annotations

import naive
import numpy as np
import pytest
from naive import calibrated

from mnncorrect.core.calibrated import (
    agreement,
    displacement,
    evidence,
    linear_map,
    merge,
    neighborhoods,
    noise_scale,
    stands,
)
from mnncorrect.core.calibrated.confidence import SURE, UNSURE
from mnncorrect.core.calibrated.evidence import weigh_evidence
from mnncorrect.core.calibrated.method import calibrate
from mnncorrect.core.merging.pairs import find_pairs
from mnncorrect.core.neighbors.engines import nearest
from mnncorrect.core.runtime.compute import ComputeOptions

DIMS = 8


def search(query, reference, k):
    return nearest(query, reference, k, compute=ComputeOptions("exact"))


def side(x, k=4):
    around = neighborhoods.look_around(x, 12, 6, search, n_jobs=1)
    return displacement.MergeSide(x, around.listed(k), around.variance), around


@pytest.fixture
def shifted(rng):
    """Three well-separated populations; the second batch is shifted, the third as well."""
    centres = np.eye(DIMS)[:3] * 12
    truth = np.tile([0, 1, 2], 120)
    x = centres[truth] + rng.normal(size=(360, DIMS)) * 0.5
    batch = np.repeat([0, 1, 2], [150, 120, 90])
    x[batch == 1, 5] += 2.0
    x[batch == 2, 6] -= 1.5
    return x, batch, truth


@pytest.fixture
def unique(rng):
    """Two populations in both batches, one in each batch alone; the second batch is shifted."""
    centres = np.eye(DIMS)[:4] * 14
    truth = np.concatenate([np.repeat([0, 1, 2], 80), np.repeat([0, 1, 3], 70)])
    batch = np.repeat([0, 1], [240, 210])
    x = centres[truth] + rng.normal(size=(450, DIMS)) * 0.5
    x[batch == 1, 5] += 2.0
    return x, batch, truth


def gap(x, batch, truth, population, one=0, other=1):
    means = [x[(batch == b) & (truth == population)].mean(0) for b in (one, other)]
    return np.linalg.norm(means[0] - means[1])


# -- Parts --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_residuals_are_their_oracle(rng, dtype):
    x = rng.normal(size=(40, 5)).astype(dtype)
    found = neighborhoods.square_residuals(x, search(x, x, 12).indices, 7, n_jobs=1)
    np.testing.assert_allclose(found, naive.square_residuals(x, 7), rtol=1e-6)


def test_residuals_measure_the_variance_of_cells_without_bias(rng):
    # All others are neighbours, so that none is chosen for being near.
    x = np.vstack([rng.normal(size=(30, 200)) * 2])
    found = neighborhoods.square_residuals(x, search(x, x, 30).indices, 29, n_jobs=1)
    assert found.mean() == pytest.approx(4 * 200, rel=0.05)


@pytest.mark.parametrize("k", [5, 100])
def test_displacement_and_its_noise_are_those_of_the_dense_linear_map(rng, monkeypatch, k):
    monkeypatch.setattr(displacement, "N_SMOOTHED", k)
    left, right = rng.normal(size=(50, 4)), rng.normal(size=(40, 4)) + 0.5
    pairs = find_pairs(left, right, n_neighbors=6, compute=ComputeOptions("exact"))
    sides = side(left)[0], side(right)[0]
    found = displacement.displace(*sides, pairs, search, n_jobs=1)
    maps = naive.linear_displacement(
        left,
        right,
        list(zip(pairs.left.tolist(), pairs.right.tolist(), strict=True)),
        naive.own_average(left, 4),
        naive.own_average(right, 4),
        k,
    )
    np.testing.assert_allclose(found.vectors, maps[0] @ left - maps[1] @ right, atol=1e-12)
    noise = naive.noise_of(maps, [sides[0].variance, sides[1].variance])
    np.testing.assert_allclose(found.noise, noise, rtol=1e-10)


def test_the_noise_is_the_variance_over_repeated_draws(rng):
    # The map is held, the cells are drawn anew.
    left, right = rng.normal(size=(50, 4)), rng.normal(size=(40, 4))
    pairs = find_pairs(left, right, n_neighbors=6, compute=ComputeOptions("exact"))
    sides = side(left)[0], side(right)[0]
    ones = [one._replace(variance=np.ones(len(one.data))) for one in sides]
    noise = displacement.displace(*ones, pairs, search, n_jobs=1).noise
    maps = naive.linear_displacement(
        left,
        right,
        list(zip(pairs.left.tolist(), pairs.right.tolist(), strict=True)),
        naive.own_average(left, 4),
        naive.own_average(right, 4),
        100,
    )
    draws = maps[0] @ rng.normal(size=(50, 20000)) - maps[1] @ rng.normal(size=(40, 20000))
    # 20,000 draws: a standard error of 1 %.
    np.testing.assert_allclose(draws.var(1), noise, rtol=0.06)


def test_many_cells_take_the_mean_of_what_is_known_at_points_near_them(rng, monkeypatch):
    monkeypatch.setattr(neighborhoods, "MOST_DIRECT", 50)
    monkeypatch.setattr(neighborhoods, "LEAST_POINTS", 30)
    left, right = rng.normal(size=(300, 4)), rng.normal(size=(300, 4)) + 1
    pairs = find_pairs(left, right, compute=ComputeOptions("exact"))
    sides = side(left)[0], side(right)[0]
    each = displacement.displace(*sides, pairs, search, n_jobs=1)
    points = neighborhoods.look_around(right, 50, 30, search, n_jobs=1).points(60)
    some = displacement.displace(*sides, pairs, search, most_anchors=150, at=points.rows, n_jobs=1)
    vectors, noise = (
        neighborhoods.mix(points.near, points.weights, values, n_jobs=1)
        for values in (some.vectors, some.noise[:, None])
    )
    assert np.linalg.norm(vectors - each.vectors) < 0.4 * np.linalg.norm(each.vectors)
    assert np.corrcoef(noise[:, 0], each.noise)[0, 1] > 0.5


@pytest.mark.parametrize(("n", "k"), [(200, 30), (200, 3), (11, 5), (400, 8)])
def test_points_are_those_nearest_among_the_neighbours_of_each_cell(rng, n, k):
    x = rng.normal(size=(n, 3))
    neighbors = search(x, x, k).indices
    points = neighborhoods.BatchNeighborhoods(neighbors, np.ones(n)).points(n // 10)
    assert points.rows.tolist() == [i * n // (n // 10) for i in range(n // 10)]
    np.testing.assert_allclose(points.weights.sum(1), 1)
    for cell in range(n):
        expected = [j for j in neighbors[cell] if j in points.rows][: neighborhoods.N_BETWEEN]
        found = points.rows[points.near[cell][points.weights[cell] > 0]]
        if expected:
            assert found.tolist() == expected
        else:
            assert len(found)


def test_the_geometric_median_has_the_smallest_sum_of_distances(rng):
    vectors = np.vstack([rng.normal(size=(60, 3)), rng.normal(size=(25, 3)) + 40])
    median = agreement.geometric_median(vectors)
    least = naive.sum_of_distances(median, vectors)
    for _ in range(30):
        other = median + rng.normal(size=3) * 0.05
        assert naive.sum_of_distances(other, vectors) > least
    assert np.linalg.norm(median) < 1
    np.testing.assert_array_equal(agreement.geometric_median(np.zeros((9, 3))), 0)


def test_agreement_is_its_oracle(rng):
    vectors = np.vstack([rng.normal(size=(60, 3)) + 2, rng.normal(size=(25, 3)) * 6 - 5])
    median = agreement.geometric_median(vectors)
    weights = agreement.agreement(vectors, median)
    np.testing.assert_allclose(
        weights, naive.agreement(vectors, median, agreement.OUTLYING), atol=1e-12
    )
    assert (weights[:60] == 1).mean() > 0.9
    assert (weights == 0).any()
    assert ((weights > 0) & (weights < 1)).any()


@pytest.fixture
def folding(rng):
    """Three populations of 50, 40 and 20 cells that are to move alike, the last on the second."""
    truth = np.repeat([0, 1, 2], [50, 40, 20])
    x = np.eye(DIMS)[truth] * 6 + rng.normal(size=(110, DIMS))
    vectors = np.tile(np.eye(DIMS)[4] * 3, (110, 1)) + rng.normal(size=(110, DIMS)) * 0.2
    vectors[truth == 2] += 6 * (np.eye(DIMS)[1] - np.eye(DIMS)[2])
    return x, vectors, truth


def unfolded(x, vectors, weights):
    common = agreement.geometric_median(vectors)
    return agreement.unfolded(x, vectors, weights, search, common=common, n_jobs=1)


def test_unfolding_is_its_oracle(folding, rng):
    x, vectors, truth = folding
    weights = np.where(truth == 2, rng.uniform(size=110), 1)
    median = agreement.geometric_median(vectors)
    found = unfolded(x, vectors, weights)
    k, folded = agreement.N_OWN, agreement.FOLDED
    np.testing.assert_allclose(
        found, naive.unfolded(x, vectors, weights, median, k, folded), atol=1e-9
    )
    assert ((found > 0) & (found < 1)).any()


def test_of_populations_that_would_come_together_the_one_that_goes_astray_is_taken_back(folding):
    x, vectors, truth = folding
    found = unfolded(x, vectors, np.ones(110))
    assert found[truth == 2].max() == 0
    assert found[truth == 0].min() == 1
    assert found[truth == 1].mean() > 0.9


def test_of_many_cells_some_are_looked_at_and_others_take_the_mean_of_those(folding, monkeypatch):
    x, vectors, truth = folding
    monkeypatch.setattr(neighborhoods, "MOST_DIRECT", 50)
    monkeypatch.setattr(neighborhoods, "LEAST_POINTS", 55)
    found = unfolded(x, vectors, np.ones(110))
    assert found[truth == 2].max() < 0.1
    assert found[truth == 0].min() == pytest.approx(1)
    assert found[truth == 1].mean() > 0.9


def test_what_moves_alike_is_not_taken_back_however_far(folding):
    x, vectors, truth = folding
    alike = 50 * vectors[:1] + 0.1 * vectors * (truth < 2)[:, None]
    assert unfolded(x, alike, np.ones(110)).min() == 1
    few = unfolded(x[:5], vectors[105:], np.ones(5))
    np.testing.assert_array_equal(few, 1)
    copies = unfolded(np.zeros((40, DIMS)), alike[:40], np.ones(40))
    assert np.isfinite(copies).all()


def test_noise_is_brought_towards_that_of_the_calmer_batch_and_no_further(rng):
    data = {0: rng.normal(size=(300, 30)), 1: rng.normal(size=(300, 30)) * 1.5}
    around = {n: neighborhoods.look_around(x, 50, 30, search, n_jobs=1) for n, x in data.items()}
    weights = {n: np.ones(300) for n in data}
    noise = {n: one.variance.mean() for n, one in around.items()}
    factors = noise_scale.noise_factors(data, around, weights, search)
    np.testing.assert_array_equal(factors[0], 1)
    listed, everyone = around[1].neighbors, np.ones(300)
    out = noise_scale.contract(data[1], listed, factors[1], everyone, n_jobs=1)
    after = neighborhoods.square_residuals(out, listed, 30, n_jobs=1).mean()
    assert noise[1] > 2 * noise[0]
    # Part of a residual lies in the local mean already, and stays.
    assert noise[0] < after < 0.8 * noise[1]
    none = noise_scale.noise_factors(data, around, dict.fromkeys(data, np.zeros(300)), search)
    np.testing.assert_array_equal(none[1], 1)


def test_noise_of_a_lone_population_follows_its_batch(rng):
    data = {n: rng.normal(size=(300, 30)) * (1 + n) for n in range(2)}
    # Only the noisy batch has the last hundred cells, and the calm cells near them are as noisy.
    data[0][200:] = rng.normal(size=(100, 30)) * 2 + 20
    data[1][200:] = rng.normal(size=(100, 30)) * 2 + 22
    around = {n: neighborhoods.look_around(x, 50, 30, search, n_jobs=1) for n, x in data.items()}
    chance = {0: np.ones(300), 1: np.repeat([1.0, 0.0], [200, 100])}
    alone = noise_scale.noise_factors(data, around, chance, search)[1]
    matched = noise_scale.noise_factors(data, around, {n: np.ones(300) for n in data}, search)[1]
    np.testing.assert_array_equal(alone[:200], matched[:200])
    assert matched[200:].mean() > 0.95
    np.testing.assert_allclose(alone[200:], np.exp(np.log(alone[:200]).mean()))


def test_a_mean_leaves_out_unwanted_cells_except_its_own():
    listed = neighborhoods.Listed(np.array([[0, 2, 1], [1, 0, 2], [2, 1, 1]]), np.array([3, 3, 2]))
    only = listed.only(np.array([True, False, True]))
    found = [row[:count].tolist() for row, count in zip(*only, strict=True)]
    assert found == [[0, 2], [1, 0, 2], [2]]


def test_noise_is_brought_to_that_of_a_reference_be_it_more(rng):
    data = {n: rng.normal(size=(300, 30)) * size for n, size in enumerate((1, 1.5, 1.5))}
    around = {n: neighborhoods.look_around(x, 50, 30, search, n_jobs=1) for n, x in data.items()}
    weights = {n: np.ones(300) for n in data}
    for targets, factor in (((0,), 1 / 1.5), ((1,), 1.5), ((1, 2), 1.5)):
        factors = noise_scale.noise_factors(data, around, weights, search, targets=targets)
        assert set(factors) == set(data) - set(targets)
        changed = factors[1 if targets == (0,) else 0]
        assert changed.mean() == pytest.approx(factor, rel=0.1)
        assert changed.max() <= 2


def test_the_calmest_of_many_batches_alike_is_not_taken_for_calmer(rng):
    data = {n: rng.normal(size=(150, 20)) for n in range(12)}
    around = {n: neighborhoods.look_around(x, 50, 30, search, n_jobs=1) for n, x in data.items()}
    weights = {n: np.ones(150) for n in data}
    factors = noise_scale.noise_factors(data, around, weights, search)
    assert np.mean([factor < 1 for factor in factors.values()]) < 0.1
    assert np.mean(list(factors.values())) > 0.995


def test_contraction_is_its_oracle(rng):
    x = rng.normal(size=(30, 4))
    neighbors = search(x, x, 9).indices
    factors = np.linspace(0.2, 1, 30)
    every = np.ones(30)
    out = noise_scale.contract(x, neighbors, factors, every, n_jobs=1)
    np.testing.assert_allclose(out, naive.contracted(x, neighbors, factors), atol=1e-12)
    np.testing.assert_array_equal(out[-1], x[-1])
    # Cells without a counterpart do not draw those with one to them.
    far = np.vstack([x, x[:5] + 1e6])
    listed = np.hstack([neighbors, np.arange(30, 35)[np.arange(30) % 5][:, None]])
    listed = np.vstack([listed, listed[:5]]).astype(np.int32)
    some = noise_scale.contract(far, listed, np.full(35, 0.5), (np.arange(35) < 30) * 1.0, n_jobs=1)
    assert np.abs(some[:30] - x).max() < 10


def test_the_nearest_of_the_batches_is_added_next(rng):
    x = rng.normal(size=(300, DIMS))
    batch = np.repeat([0, 1, 2], [120, 90, 90])
    x[batch == 1] += 4
    x[batch == 2] += 2
    correction, _ = calibrated(x, batch)
    assert correction.plan == ((0, 2), 1)
    assert calibrated(x, batch, reference=1)[0].plan == ((1, 2), 0)


def test_a_balanced_plan_joins_similar_batches_first_and_follows_the_data(rng):
    x = rng.normal(size=(600, DIMS))
    batch = np.repeat([0, 1, 2, 3], [180, 150, 150, 120])
    x[batch == 1] += 6
    # As large as the one before, and wider.
    x[batch == 2] = x[batch == 2] * 1.2 + 6.5
    x[batch == 3] += 0.5
    options = {"merge_order": "balanced"}
    names = ["d", "c", "b", "a"]
    correction, sure = calibrated(x, batch, names=names, **options)
    assert correction.plan == ((0, 3), (2, 1))
    order = rng.permutation(600)
    numbers = np.array([2, 0, 3, 1])
    again, sure_too = calibrated(
        x[order], numbers[batch[order]], names=["c", "a", "d", "b"], **options
    )
    np.testing.assert_array_equal(again.corrected, correction.corrected[order])
    np.testing.assert_array_equal(sure_too, sure[order])
    # The reference is on the right of no merge, and stays.
    fixed, _ = calibrated(x, batch, names=names, reference=1, **options)
    assert fixed.plan == ((1, 2), (0, 3))
    np.testing.assert_array_equal(fixed.corrected[batch == 1], x[batch == 1])


@pytest.mark.parametrize("merge_order", ["balanced", ((2, 0), (1, 3))])
def test_any_tree_removes_a_shift(rng, merge_order):
    truth = np.arange(480) % 3
    x = (np.eye(DIMS) * 12)[truth] + rng.normal(size=(480, DIMS)) * 0.5
    batch = np.repeat([0, 1, 2, 3], 120)
    shifts = rng.normal(size=(4, DIMS))
    x += shifts[batch]
    correction, confidence = calibrated(x, batch, merge_order=merge_order)
    for population in range(3):
        for other in (1, 2, 3):
            assert gap(correction.corrected, batch, truth, population, other=other) < 0.5
    assert np.median(confidence) > 0.8
    if merge_order != "balanced":
        assert correction.plan == merge_order


def test_an_order_that_does_not_start_with_the_reference_is_refused(shifted):
    x, batch, _ = shifted
    with pytest.raises(ValueError, match="merge_order starts with '0', and reference is '1'"):
        calibrated(x, batch, merge_order=((0, 1), 2), reference=1)


# -- Properties ---------------------------------------------------------------------------------


def test_a_shift_of_separate_populations_is_removed(shifted):
    x, batch, truth = shifted
    correction, confidence = calibrated(x, batch)
    for population in range(3):
        for other, before in ((1, 1.8), (2, 1.3)):
            assert gap(x, batch, truth, population, other=other) > before
            assert gap(correction.corrected, batch, truth, population, other=other) < 0.4
    assert all(one.evidence > evidence.ENOUGH_EVIDENCE for one in correction.merges)
    assert not any(one.skipped for one in correction.merges)
    assert confidence.min() >= 0
    assert confidence.max() <= 1
    assert np.median(confidence) > 0.8


@pytest.mark.parametrize("reference", [None, 2])
def test_neither_order_of_the_input_changes_a_bit(shifted, rng, reference):
    x, batch, _ = shifted
    names = ["b", "a", "c"]
    first, sure = calibrated(x, batch, names=names, reference=reference)
    order = rng.permutation(len(x))
    numbers = np.array([2, 0, 1])
    second, sure_too = calibrated(
        x[order],
        numbers[batch[order]],
        names=[names[np.flatnonzero(numbers == number)[0]] for number in range(3)],
        reference=None if reference is None else numbers[reference],
    )
    np.testing.assert_array_equal(second.corrected, first.corrected[order])
    np.testing.assert_array_equal(sure_too, sure[order])
    for one, other in zip(first.merges, second.merges, strict=True):
        assert one.evidence == other.evidence
        assert numbers[list(one.right)] == other.right
        np.testing.assert_array_equal(order[other.pairs.left], one.pairs.left)
        np.testing.assert_array_equal(order[other.pairs.right], one.pairs.right)


@pytest.mark.parametrize("merge_order", [None, "balanced"])
def test_new_names_for_batches_of_equal_size_change_nothing(rng, merge_order):
    truth, batch = np.tile([0, 1, 2], 80), np.repeat(np.arange(4), 60)
    x = np.eye(DIMS)[truth] * 9 + rng.normal(size=(240, DIMS)) + rng.normal(size=(4, DIMS))[batch]
    one, sure = calibrated(x, batch, names=list("abcd"), merge_order=merge_order)
    for names in ("dcba", "bdac"):
        # As take_batches does: numbered in the order of the names.
        codes = np.array([sorted(names).index(name) for name in names])[batch]
        other, as_sure = calibrated(x, codes, names=sorted(names), merge_order=merge_order)
        np.testing.assert_array_equal(other.corrected, one.corrected)
        np.testing.assert_array_equal(as_sure, sure)


def test_equal_cells_are_ordered_by_the_names_of_their_batch_and_their_own(rng):
    x = np.repeat(rng.normal(size=(2, 3)), 3, axis=0)
    x[:, 0] = 1.0
    batch = np.array([0, 0, 1, 1, 1, 0])
    cells = np.array(["f", "e", "d", "c", "b", "a"])
    order = neighborhoods.canonical_order(x, batch, ["z", "y"], cells)
    keys = [(tuple(x[i]), ["z", "y"][batch[i]], cells[i]) for i in range(6)]
    assert order.tolist() == sorted(range(6), key=lambda i: keys[i])


@pytest.mark.parametrize("neighbors", ["exact", "partition"])
def test_threads_do_not_change_a_bit(shifted, neighbors, monkeypatch):
    monkeypatch.setattr("mnncorrect.core.runtime.threads.available_cpus", lambda: 3)
    x, batch, _ = shifted
    one, two = (
        calibrated(x, batch, compute=ComputeOptions(neighbors, n_jobs=n_jobs)) for n_jobs in (1, 3)
    )
    np.testing.assert_array_equal(one[0].corrected, two[0].corrected)
    np.testing.assert_array_equal(one[1], two[1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("reference", [0, 1, 2])
def test_the_reference_does_not_move_at_all(shifted, reference, dtype):
    x, batch, _ = shifted
    x = x.astype(dtype)
    correction, _ = calibrated(x, batch, reference=reference)
    assert correction.corrected.dtype == dtype
    own = batch == reference
    np.testing.assert_array_equal(correction.corrected[own], x[own])
    assert (correction.corrected[~own] != x[~own]).any()


@pytest.mark.parametrize(
    ("n_dims", "n", "n_batches"), [(2, 80, 2), (8, 400, 2), (8, 400, 4), (20, 300, 3)]
)
def test_a_random_split_of_one_batch_is_left_alone(n_dims, n, n_batches):
    for seed in range(5):
        rng = np.random.default_rng(seed)
        x, batch = rng.normal(size=(n, n_dims)), rng.integers(n_batches, size=n)
        x[: n // 2] += 2
        correction, confidence = calibrated(x, batch)
        np.testing.assert_array_equal(correction.corrected, x)
        assert np.median(confidence) > 0.5
        assert all(one.skipped for one in correction.merges)
        assert all(one.evidence < evidence.ENOUGH_EVIDENCE for one in correction.merges)


@pytest.mark.parametrize("n", [100, 200])  # With and without enough cells for the noise.
def test_evidence_compares_the_batches_with_random_parts(rng, n):
    x = rng.normal(size=(2 * n, 30))
    none = weigh_evidence(x[:n], x[n:], random_state=0, n_jobs=1)
    some = weigh_evidence(x[:n], x[n:] + 0.5, random_state=0, n_jobs=1)
    assert none.ratio < 1.5 < 5 < some.ratio
    assert 1 <= none.dispersion < 3
    again = weigh_evidence(x[:n], x[n:] + 0.5, random_state=1, n_jobs=1)
    assert again != some


def _small_part(seed, small, n_large=300, n_dims=12):
    """Three populations; the last ``small`` cells are a batch of their own."""
    rng = np.random.default_rng(seed)
    centers = 6 * np.eye(3, n_dims)
    x = np.concatenate([centers[rng.integers(3, size=n)] for n in (n_large, small)])
    x += rng.normal(size=x.shape)
    return x, np.repeat([0, 1], [n_large, small])


@pytest.mark.parametrize("small", [25, 60])
def test_a_small_random_part_is_left_alone(small):
    for seed in range(5):
        x, batch = _small_part(seed, small)
        correction, _ = calibrated(x, batch)
        np.testing.assert_array_equal(correction.corrected, x)


@pytest.mark.parametrize("small", [25, 60])
def test_a_small_batch_with_an_effect_is_corrected(small):
    for seed in range(3):
        x, batch = _small_part(seed, small)
        effect = np.random.default_rng(10 + seed).normal(size=x.shape[1])
        x[batch == 1] += effect
        correction, _ = calibrated(x, batch)
        (one,) = correction.merges
        assert not one.skipped
        left = (correction.corrected - x)[batch == 1].mean(0) + effect
        assert (left**2).sum() < 0.25 * (effect**2).sum()


def test_a_side_of_enough_cells_is_compared_with_the_usual_number_of_splits():
    x, batch = _small_part(0, 150)
    sides = (x[batch == 0], x[batch == 1])
    results = {
        weigh_evidence(*sides, times_few=times, random_state=0, n_jobs=1) for times in (0, 40)
    }
    assert len(results) == 1


def test_noise_of_a_small_batch_is_that_within_its_populations(rng):
    centers = 20 * np.eye(3, 10)
    x = np.repeat(centers, 12, axis=0) + rng.normal(size=(36, 10))
    found = neighborhoods.look_around(x, 31, 30, search, n_jobs=1).variance.mean()
    assert 5 < found < 20
    assert neighborhoods.reduce_for_noise(30, 150) == 30


@pytest.mark.parametrize(("n_left", "n_right"), [(90, 90), (170, 30), (12, 150), (2, 40)])
def test_dealt_cells_have_the_neighbours_and_pairs_of_a_search_among_them(rng, n_left, n_right):
    x = rng.normal(size=(n_left + n_right, 3))
    chosen = np.zeros(len(x), np.bool_)
    chosen[rng.choice(len(x), n_left, replace=False)] = True
    # So few that most rows have enough of one side, and some have not.
    pooled = search(x, x, 75).indices
    parts, around, pairs = evidence._deal_out(x, chosen, pooled)
    for one, cells, expected in zip(around, parts, (x[chosen], x[~chosen]), strict=True):
        np.testing.assert_array_equal(cells, expected)
        local = neighborhoods.look_around(cells, 31, 30, search, n_jobs=1)
        np.testing.assert_array_equal(one.neighbors, local.neighbors)
        np.testing.assert_array_equal(one.variance, local.variance)
    expected = find_pairs(*parts, n_neighbors=20, compute=ComputeOptions("exact"))
    np.testing.assert_array_equal(pairs.left, expected.left)
    np.testing.assert_array_equal(pairs.right, expected.right)


@pytest.mark.parametrize("n", [30, 400])
def test_dense_rows_give_the_noise_of_sparse_ones(rng, monkeypatch, n):
    (left, _), (right, _) = side(rng.normal(size=(n, 4))), side(rng.normal(size=(n + 9, 4)))
    pairs = find_pairs(left.data, right.data, compute=ComputeOptions("exact"))
    noises = []
    for most in (0, 1 << 20):
        monkeypatch.setattr(linear_map, "MOST_DENSE", most)
        monkeypatch.setattr(linear_map, "DENSER", most)
        noises.append(displacement.displace(left, right, pairs, search, n_jobs=2).noise)
    np.testing.assert_allclose(noises[0], noises[1], rtol=1e-10)


def test_cells_whose_squares_overflow_are_no_rows_beyond_the_side(rng):
    cells, chosen = 1e200 * rng.normal(size=(80, 4)), np.arange(80) < 40
    parts, around, _ = evidence._deal_out(cells, chosen, np.zeros((80, 2), np.int32))
    for side_cells, one in zip(parts, around, strict=True):
        assert one.neighbors.min() >= 0
        assert one.neighbors.max() < len(side_cells)


def test_evidence_is_the_same_where_squares_overflow_single_precision(rng):
    x = rng.normal(size=(120, 5))
    x[60:] += 1
    small = weigh_evidence(x[:60], x[60:], random_state=0, n_jobs=1)
    large = (x * 1e20).astype(np.float32)
    np.testing.assert_allclose(
        weigh_evidence(large[:60], large[60:], random_state=0, n_jobs=2), small, rtol=1e-4
    )


def test_populations_of_one_batch_are_unsure_on_both_sides_and_follow_their_batch(unique):
    x, batch, truth = unique
    correction, confidence = calibrated(x, batch)
    went = (correction.corrected - x)[batch == 1].mean(0)
    for population in (2, 3):
        own = truth == population
        assert np.median(confidence[own]) < UNSURE
        moved = (correction.corrected - x)[own].mean(0)
        assert np.linalg.norm(moved - (went if population == 3 else 0)) < 0.4
        # No neighbour of another population.
        near = naive.nearest(correction.corrected[own], correction.corrected, 10)[0]
        assert (truth[near] == population).all()
    for population in (0, 1):
        assert np.median(confidence[truth == population]) > 0.8
        assert gap(correction.corrected, batch, truth, population) < 0.3


def test_cells_that_would_fold_their_batch_stay(shifted, monkeypatch):
    x, batch, truth = shifted
    third = (truth == 2) & (batch > 0)
    monkeypatch.setattr(merge, "unfolded", lambda cells, *_, **__: (cells[:, 2] < 6).astype(float))
    correction, _ = calibrated(x, batch, reference=0)
    went = np.linalg.norm(correction.corrected - x, axis=1)
    assert went[third].max() < 0.5
    assert went[(truth < 2) & (batch > 0)].min() > 1


def test_a_batch_much_larger_than_its_reference_moves_as_a_whole(rng):
    centres = np.eye(DIMS)[:2] * 12
    truth = np.arange(1600) % 2
    batch = np.repeat([0, 1], [100, 1500])
    x = centres[truth] + rng.normal(size=(1600, DIMS)) * 0.5
    x[batch == 1, 5] += 2.0
    correction, confidence = calibrated(x, batch, reference=0)
    assert (confidence[batch == 1] < SURE).mean() < 0.05
    for population in (0, 1):
        assert gap(correction.corrected, batch, truth, population) < 0.5


@pytest.mark.parametrize("small", [1, 2, 3, 5])
@pytest.mark.parametrize("reference", [None, 1])
def test_batches_of_a_few_cells_do_no_harm(rng, small, reference):
    x = rng.normal(size=(60 + small, DIMS))
    batch = np.repeat([0, 1], [60, small])
    correction, confidence = calibrated(x, batch, reference=reference)
    assert np.isfinite(correction.corrected).all()
    assert np.isfinite(confidence).all()
    if small < displacement.LEAST_ANCHORS and reference is None:
        np.testing.assert_array_equal(correction.corrected, x)


def test_a_batch_alone_comes_back_as_it_was(rng):
    x = rng.normal(size=(20, 3))
    correction, confidence = calibrated(x, np.zeros(20, int))
    np.testing.assert_array_equal(correction.corrected, x)
    assert correction.corrected is not x
    assert correction.merges == ()
    np.testing.assert_array_equal(confidence, 0)


def test_batches_that_are_the_same_stay(rng):
    x = np.tile(rng.normal(size=(80, DIMS)), (2, 1))
    correction, _ = calibrated(x, np.repeat([0, 1], 80))
    np.testing.assert_array_equal(correction.corrected, x)


def test_duplicated_cells_and_no_variance_at_all_stay_finite(rng):
    x = np.repeat(rng.normal(size=(8, 3)), 20, axis=0)
    batch = np.tile([0, 1], 80)
    shifted = x + batch[:, None] * 0.1
    for values in (x, np.ones((160, 3)), shifted):
        correction, confidence = calibrated(values, batch)
        assert np.isfinite(correction.corrected).all()
        assert np.isfinite(confidence).all()
    np.testing.assert_array_equal(
        calibrated(np.ones((160, 3)), batch)[0].corrected, np.ones((160, 3))
    )


def test_the_input_is_not_changed(shifted):
    x, batch, _ = shifted
    before = x.copy()
    calibrated(x, batch)
    np.testing.assert_array_equal(x, before)


def test_thinned_pairs_and_parts_lead_to_the_same_place(shifted, monkeypatch):
    x, batch, truth = shifted
    monkeypatch.setattr(merge, "EARLY_PAIRED", 0.1)
    monkeypatch.setattr(merge, "LEAST_PAIRED", 60)
    monkeypatch.setattr(stands, "MANY", 60)
    monkeypatch.setattr(neighborhoods, "MOST_DIRECT", 60)
    monkeypatch.setattr(neighborhoods, "LEAST_POINTS", 12)
    monkeypatch.setattr(noise_scale, "MOST_LOOKED_FOR_NOISE", 30)
    monkeypatch.setattr(merge, "MOST_ANCHORS", 50)
    monkeypatch.setattr(neighborhoods, "SEARCH_BLOCK", 40)
    monkeypatch.setattr(noise_scale, "SEARCH_BLOCK", 40)
    monkeypatch.setattr(noise_scale, "MOST_COMPARED", 100)
    correction, _ = calibrated(x, batch)
    for population in range(3):
        assert gap(correction.corrected, batch, truth, population) < 0.4


def test_progress_is_told(shifted):
    x, batch, _ = shifted
    told = []
    calibrated(
        x, batch, compute=ComputeOptions(progress=lambda stage, done: told.append((stage, done)))
    )
    assert ("merges", 1.0) in told
    assert ("neighborhoods", 1.0) in told


@pytest.mark.parametrize("sizes", [(5, 5), (3, 5), (2, 8)])
def test_a_few_distinct_points_are_left_alone_and_stay_finite(sizes: tuple[int, int]) -> None:
    # Without noise of their own, any parts of them differ for sure.
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x = rng.choice([0.0, 1.0], size=(sum(sizes), 1))
        batch = np.repeat([0, 1], sizes)
        correction, confidence = calibrated(x, batch)
        assert np.isfinite(correction.corrected).all()
        assert np.isfinite(confidence).all()


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"counterparts": False},
        {"evidence": False},
        {"averaging": False},
        {"shrinkage": False},
        {"agreement": False},
        {"folding": False},
        {"noise_scale": False},
        {"rounds": 1},
        {"pair_weight": "softmax"},
    ],
)
def test_each_part_of_the_method_can_be_left_out(parts, unique):
    x, batch, truth = unique
    found = calibrate(x, batch, parts=merge.Parts(**parts)).correction
    assert gap(x, batch, truth, 0) > 1.5
    # One round takes three quarters of the shift.
    assert gap(found.corrected, batch, truth, 0) < gap(x, batch, truth, 0) / 3
