"""Representatives of large batches: against their oracles, and what the method promises."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import naive
import numpy as np
import pytest
from naive import calibrated

from mnncorrect.core.calibrated import (
    application,
    displacement,
    effort,
    fit,
    method,
    neighborhoods,
    representatives,
    stands,
)
from mnncorrect.core.calibrated.confidence import UNSURE
from mnncorrect.core.calibrated.method import calibrate
from mnncorrect.core.merging.guides import UNKNOWN, Guides
from mnncorrect.core.merging.pairs import find_pairs
from mnncorrect.core.neighbors.engines import grouped, nearest
from mnncorrect.core.runtime.compute import ComputeOptions

DIMS = 8


@pytest.fixture
def few(monkeypatch):
    """Let 150 representatives stand for a batch, and 200 of a node have pairs."""
    less = effort.Effort(150, 200, 200, 100, 5, 0, 0.2, 400)
    for module in (stands, fit):
        monkeypatch.setattr(module, "effort_for", lambda n: less)


@pytest.fixture
def shifted(rng):
    """Three populations in three batches, two of them shifted; the last batch is small."""
    truth = np.arange(1100) % 3
    x = (np.eye(DIMS) * 12)[truth] + rng.normal(size=(1100, DIMS)) * 0.5
    batch = np.repeat([0, 1, 2], [500, 430, 170])
    x[batch == 1, 5] += 2.0
    x[batch == 2, 6] -= 1.5
    return x, batch, truth


def exact(query, reference, k, **_):
    return nearest(query, reference, k, compute=ComputeOptions("exact"))


def represented(x, most=60):
    order, starts = grouped(x, ComputeOptions(random_state=0))
    x = x[order]
    return x, starts, representatives.represent(x, starts, most, 31, 30, exact, exact, n_jobs=1)


def gap(x, batch, truth, population, other):
    means = [x[(batch == b) & (truth == population)].mean(0) for b in (0, other)]
    return np.linalg.norm(means[0] - means[1])


def test_what_is_known_about_representatives_is_that_of_cells_among_all(rng):
    x, starts, found = represented(rng.normal(size=(500, 5)))
    assert found.cells.tolist() == [i * 500 // 60 for i in range(60)]
    # The groups of representatives are those of the cells, but for groups without any.
    group = np.searchsorted(starts, found.cells, side="right")
    assert np.diff(found.starts).tolist() == np.unique(group, return_counts=True)[1].tolist()
    averages = naive.own_average(x, 10)
    np.testing.assert_allclose(found.ends, (averages @ x)[found.cells])
    np.testing.assert_allclose(found.average(x, n_jobs=1), found.ends)
    squares = naive.square_residuals(x, 30)
    np.testing.assert_allclose(found.squares, squares[found.cells])
    near = naive.nearest(x[found.cells], x[found.cells], 31)[0]
    np.testing.assert_array_equal(found.neighborhoods.neighbors, near)
    np.testing.assert_allclose(
        found.neighborhoods.variance, squares[found.cells][near].mean(1) / 10
    )


def test_labels_are_completed_among_all_cells_of_a_batch_with_representatives(
    few, shifted, monkeypatch
):
    x, batch, truth = shifted
    labels = np.where(np.random.default_rng(2).random(len(truth)) < 0.2, truth, UNKNOWN)
    seen = []

    def spied(*given, guides, **more):
        seen.append(guides)
        return fit.fit_batches(*given, guides=guides, **more)

    monkeypatch.setattr(method, "fit_batches", spied)
    calibrate(x, batch, guides=Guides(labels=labels))
    (guides,) = seen
    known = guides.labels != UNKNOWN
    assert np.array_equal(guides.labels[known], truth[known])
    for number in range(3):  # of the first two, 150 cells are representatives
        assert known[batch == number].mean() > 0.8


def test_pieces_of_a_batch_are_corrected_as_the_whole_batch(few, shifted, monkeypatch):
    x, batch, _ = shifted
    whole = calibrate(x, batch, keep_weights=True)
    monkeypatch.setattr(application, "PIECE", 120)
    cut = calibrate(x, batch, keep_weights=True)
    np.testing.assert_allclose(cut.correction.corrected, whole.correction.corrected, atol=1e-9)
    np.testing.assert_allclose(cut.confidence, whole.confidence, atol=1e-9)
    for one, other in zip(cut.weights.transfers, whole.weights.transfers, strict=True):
        np.testing.assert_array_equal(one.taken.near, other.taken.near)


@pytest.mark.parametrize("groups", [[500], [1, 1, 498], [250, 250], [100] * 5, [499, 1]])
def test_pieces_hold_every_group_once(groups, monkeypatch):
    monkeypatch.setattr(application, "PIECE", 130)
    starts = np.concatenate([[0], np.cumsum(groups)])
    stand = SimpleNamespace(rows=np.arange(500), starts=starts, found=True)
    pieces = application._pieces(stand)
    assert [cells.start for cells, _ in pieces] == [0, *(cells.stop for cells, _ in pieces[:-1])]
    assert pieces[-1][0].stop == 500
    own = np.concatenate([one[:-1] + cells.start for cells, one in pieces])
    np.testing.assert_array_equal(own, starts[:-1])
    assert all(one[-1] == cells.stop - cells.start > 0 for cells, one in pieces)


def test_equal_cells_have_representatives_too():
    _, _, found = represented(np.ones((600, 3)))
    np.testing.assert_array_equal(found.ends, 1)
    np.testing.assert_array_equal(found.squares, 0)


def test_pairs_of_means_are_displaced_as_the_dense_map_says(rng):
    cells = [rng.normal(size=(300, 4)), rng.normal(size=(300, 4)) + 1]
    some = [represented(x, most=120) for x in cells]
    sides = []
    for x, _, found in some:
        around = neighborhoods.list_several([found.neighborhoods], 10)
        own = neighborhoods.list_several([found.neighborhoods], 10, ends=True)
        sides.append(
            displacement.MergeSide(
                x[found.cells], own, found.neighborhoods.variance, found.ends, around
            )
        )
    left, right = (side.data for side in sides)
    pairs = find_pairs(left, right, n_neighbors=6, compute=ComputeOptions("exact"))
    found = displacement.displace(*sides, pairs, exact, n_jobs=1)
    maps = naive.linear_displacement(
        left,
        right,
        list(zip(pairs.left.tolist(), pairs.right.tolist(), strict=True)),
        np.eye(120),
        naive.own_average(right, 10),
        100,
        end_of_own=np.eye(120),
    )
    ends = [side.ends for side in sides]
    np.testing.assert_allclose(found.vectors, maps[0] @ ends[0] - maps[1] @ ends[1], atol=1e-12)
    noise = naive.noise_of(maps, [side.variance for side in sides])
    np.testing.assert_allclose(found.noise, noise, rtol=1e-10)


def test_neighbors_of_several_batches_are_those_of_each_below_one_another(rng):
    several = [
        neighborhoods.look_around(rng.normal(size=(n, 4)), 12, 6, exact, n_jobs=1)
        for n in (50, 7, 70)
    ]
    several[2] = replace(several[2], averaged=True)
    cells, counts = neighborhoods.list_several(several, 10, ends=True)
    for start, one, k in zip((0, 50, 57), several, (10, 7, 1), strict=True):
        own = slice(start, start + len(one))
        assert (counts[own] == k).all()
        np.testing.assert_array_equal(cells[own, :k], one.neighbors[:, :k] + start)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_cells_take_what_is_known_at_representatives_as_the_oracle_does(rng, dtype):
    x, starts, found = represented(rng.normal(size=(700, 5)).astype(dtype))
    moved = rng.normal(size=(len(found), 5))
    sure, factor = rng.uniform(0.3, 1, len(found)), rng.uniform(0.5, 1, len(found))
    field = representatives.Field(found.ends, moved, sure, np.log(factor), found.starts)
    out, confidence, _ = representatives.apply(field, x, exact, starts=starts, n_jobs=1)
    known = np.column_stack([found.ends, moved, sure, np.log(factor)])
    sums = naive.taken(x, found.ends, known, representatives.N_TAKEN)
    residual = x - sums[:, :5]
    expected = x + sums[:, 5:10] + (np.exp(sums[:, 11]) - 1)[:, None] * residual
    assert out.dtype == dtype
    np.testing.assert_allclose(out, expected, atol=1e-5 if dtype == np.float32 else 1e-9)
    np.testing.assert_allclose(confidence, sums[:, 10], atol=1e-6)


def test_cells_without_displacement_stay_to_the_bit(rng):
    x, starts, found = represented(rng.normal(size=(700, 5)))
    still = np.zeros((len(found), 5))
    field = representatives.Field(
        found.ends, still, np.full(len(found), 0.05), np.zeros(len(found)), None
    )
    out, _, _ = representatives.apply(field, x, exact, starts=starts, n_jobs=1)
    np.testing.assert_array_equal(out, x)


@pytest.mark.usefixtures("few")
def test_a_shift_is_removed_by_representatives(shifted):
    x, batch, truth = shifted
    correction, confidence = calibrated(x, batch)
    for population in range(3):
        for other, before in ((1, 1.8), (2, 1.3)):
            assert gap(x, batch, truth, population, other) > before
            assert gap(correction.corrected, batch, truth, population, other) < 0.4
    assert np.median(confidence) > 0.8
    for merge in correction.merges:
        assert np.isin(batch[merge.pairs.left], merge.left).all()
        assert np.isin(batch[merge.pairs.right], merge.right).all()
        assert len(np.unique(merge.pairs.right)) <= 200


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("reference", [None, 1])
def test_neither_order_of_the_input_changes_a_bit_of_what_representatives_say(
    shifted, rng, reference
):
    x, batch, _ = shifted
    first, sure = calibrated(x, batch, names=["b", "a", "c"], reference=reference)
    order = rng.permutation(len(x))
    numbers = np.array([2, 0, 1])
    second, sure_too = calibrated(
        x[order],
        numbers[batch[order]],
        names=["a", "c", "b"],
        reference=None if reference is None else int(numbers[reference]),
        compute=ComputeOptions(n_jobs=2),
    )
    np.testing.assert_array_equal(second.corrected, first.corrected[order])
    np.testing.assert_array_equal(sure_too, sure[order])
    if reference is not None:
        own = batch == reference
        np.testing.assert_array_equal(first.corrected[own], x[own])


@pytest.mark.usefixtures("few")
def test_a_random_split_of_one_batch_is_left_alone_by_representatives(rng):
    x = rng.normal(size=(1200, DIMS))
    x[:600] += 2
    correction, confidence = calibrated(x, rng.integers(3, size=1200))
    np.testing.assert_array_equal(correction.corrected, x)
    assert np.median(confidence) > 0.5
    assert all(merge.skipped for merge in correction.merges)


@pytest.mark.usefixtures("few")
def test_populations_of_one_batch_are_unsure_by_representatives(rng):
    centres = np.eye(DIMS)[:4] * 14
    truth = np.concatenate([np.repeat([0, 1, 2], 200), np.repeat([0, 1, 3], 180)])
    batch = np.repeat([0, 1], [600, 540])
    x = centres[truth] + rng.normal(size=(1140, DIMS)) * 0.5
    x[batch == 1, 5] += 2.0
    correction, confidence = calibrated(x, batch)
    for population in (2, 3):
        assert np.median(confidence[truth == population]) < UNSURE
    for population in (0, 1):
        assert np.median(confidence[truth == population]) > 0.8
        # Of 2; each population has 50 representatives, among which pairs are sought.
        assert gap(correction.corrected, batch, truth, population, 1) < 1


@pytest.mark.usefixtures("few")
def test_weights_of_representatives_correct_any_values_as_they_correct_the_embedding(shifted):
    x, batch, _ = shifted
    found = calibrate(x, batch, keep_weights=True)
    assert len(found.weights.transfers) == 2
    added = found.weights.displacement(x, n_jobs=1)
    np.testing.assert_allclose(x + added, found.correction.corrected, atol=1e-9)
    # A linear map of the cells.
    half = found.weights.displacement(0.5 * x + 3, n_jobs=1)
    np.testing.assert_allclose(half, 0.5 * added, atol=1e-9)


def test_many_batches_are_merged_in_rounds_that_look_at_less(rng, monkeypatch):
    n_batches = 20
    truth = np.arange(60 * n_batches) % 3
    batch = np.repeat(np.arange(n_batches), 60)
    x = (np.eye(DIMS) * 12)[truth] + rng.normal(size=(len(truth), DIMS)) * 0.5
    x += rng.normal(size=(n_batches, DIMS))[batch]
    correction, confidence = calibrated(x, batch)
    assert max(len(merge.right) for merge in correction.merges) > 4
    for population in range(3):
        own = truth == population
        parts = [own & (batch == b) for b in range(n_batches)]
        spread, after = ([y[part].mean(0) for part in parts] for y in (x, correction.corrected))
        assert np.std(after, axis=0).mean() < 0.4 * np.std(spread, axis=0).mean()
    assert np.median(confidence) > 0.8
    # The merges of a round are made at once then.
    monkeypatch.setattr("mnncorrect.core.runtime.threads.available_cpus", lambda: 3)
    again, sure = calibrated(x, batch, compute=ComputeOptions(n_jobs=3))
    np.testing.assert_array_equal(again.corrected, correction.corrected)
    np.testing.assert_array_equal(sure, confidence)
    assert again.plan == correction.plan


def test_effort_falls_with_the_number_of_batches():
    efforts = [effort.effort_for(n) for n in (2, 10, 16, 100, 2000)]
    assert efforts[0] == efforts[1]
    for one, other in pairwise(efforts[1:]):
        assert one.paired >= other.paired
        assert one.representatives >= other.representatives
    # What all merges look at is bounded, until there is hardly anything to look at in each.
    assert 99 * efforts[3].paired ** 2 < 2 * efforts[1].paired ** 2
