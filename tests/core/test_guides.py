"""Labels and levels decide which cells may be a pair, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mnncorrect.core.calibrated.method import calibrate
from mnncorrect.core.merging.guides import UNKNOWN, Guides
from mnncorrect.core.methods.classic import mnn_classic
from mnncorrect.core.methods.fast import mnn_reduced
from mnncorrect.core.metrics.kept import kept_differences
from mnncorrect.core.runtime.compute import ComputeOptions

METHODS = {
    "calibrated": lambda x, batch, **more: calibrate(x, batch, **more).correction,
    "fast": mnn_reduced,
    "classic": mnn_classic,
}


@pytest.fixture
def cells(rng):
    """Two batches of three populations; of the third, the second batch has one that is like it."""
    batch = np.repeat([0, 1], 150)
    kind = np.tile([0, 1, 2], 100)
    x = np.eye(8)[kind] * 8 + rng.normal(size=(300, 8)) * 0.6
    x[batch == 1, 6] += 2.0
    own = np.where((batch == 1) & (kind == 2), 3, kind)
    x[own == 3, 7] += 3.0
    return x, batch, own


def pairs_of(correction):
    merge = correction.merges[0]
    return merge.pairs.left, merge.pairs.right


@pytest.mark.parametrize("method", METHODS)
def test_pairs_that_contradict_labels_are_rejected(cells, method):
    x, batch, kind = cells
    left, right = pairs_of(METHODS[method](x, batch))
    assert (kind[left] != kind[right]).any()
    left, right = pairs_of(METHODS[method](x, batch, guides=Guides(labels=kind)))
    assert len(left)
    assert (kind[left] == kind[right]).all()


@pytest.mark.parametrize("method", METHODS)
def test_guides_that_say_nothing_change_nothing(cells, method):
    x, batch, _ = cells
    usual = METHODS[method](x, batch)
    for guides in (
        Guides(labels=np.full(300, UNKNOWN)),
        Guides(labels=np.zeros(300, np.int64)),
        Guides(levels=np.zeros(300, np.int64)),
    ):
        guided = METHODS[method](x, batch, guides=guides)
        np.testing.assert_array_equal(guided.corrected, usual.corrected)


def test_a_cell_without_a_label_may_be_paired_with_any(cells):
    x, batch, kind = cells
    labels = np.where((batch == 0) & (kind == 2), UNKNOWN, kind)
    left, right = pairs_of(calibrate(x, batch, guides=Guides(labels=labels)).correction)
    assert {UNKNOWN, 3} in [
        {one, other} for one, other in zip(labels[left], labels[right], strict=True)
    ]


def test_sparse_labels_are_completed_within_a_batch_and_no_population_is_named_anew(cells):
    x, batch, kind = cells
    some = np.random.default_rng(1).random(300) < 0.3
    labels = np.where(some & (kind != 1), kind, UNKNOWN)
    rows = [np.flatnonzero(batch == number) for number in (0, 1)]
    found = Guides(labels=labels).completed(((own, x[own]) for own in rows), ComputeOptions())
    assert found.labels is not None
    known = found.labels != UNKNOWN
    np.testing.assert_array_equal(found.labels[known], kind[known])
    assert known[kind != 1].mean() > 0.9
    assert not known[kind == 1].any()


@pytest.mark.parametrize("method", METHODS)
def test_pairs_stay_within_a_level(cells, method):
    x, batch, _ = cells
    levels = (np.arange(300) // 3) % 2
    left, right = pairs_of(METHODS[method](x, batch, guides=Guides(levels=levels)))
    assert len(left)
    assert (levels[left] == levels[right]).all()
    if method != "calibrated":  # which has an order of its own
        assert (np.diff(left) >= 0).all()


@pytest.mark.parametrize("method", METHODS)
def test_batches_that_share_no_level_are_not_corrected_onto_each_other(rng, method):
    batch, kind = np.repeat([0, 1, 2, 3], 60), rng.integers(0, 3, 240)
    x = np.eye(8)[kind] * 8 + rng.normal(size=(240, 8)) * 0.6
    x[:, 6] += 2.0 * batch
    found = METHODS[method](x, batch, guides=Guides(levels=batch // 2))
    skipped = {merge.right: merge.skipped for merge in found.merges}
    assert sum(skipped.values()) == 1
    for merge in found.merges:
        assert merge.skipped == (not len(merge.pairs))
        assert (batch[merge.pairs.left] // 2 == batch[merge.pairs.right] // 2).all()
    assert np.isfinite(found.corrected).all()


def test_a_condition_is_kept_in_batches_that_all_have_it(rng):
    """Without being told, it is kept where it is small; told, also where each batch has a share."""
    n = 120
    batch, level = np.repeat([0, 1], 2 * n), np.tile(np.repeat([0, 1], n), 2)
    kind = rng.integers(0, 3, 4 * n)
    x = np.eye(10)[kind] * 10 + rng.normal(size=(4 * n, 10)) * 0.6
    x[:, 7] += 2.5 * batch
    x[:, 8] += 3.0 * level
    # The first batch has hardly any cells of the second level.
    some = np.flatnonzero((batch == 1) | (level == 0) | (np.arange(4 * n) % 6 == 0))
    x, batch, level = x[some], batch[some], level[some]
    for method in ("calibrated", "fast"):
        after = METHODS[method](x, batch, guides=Guides(levels=level)).corrected
        found = kept_differences(x, after, batch, level)
        assert {(one.batch, one.level) for one in found} == {(0, 0), (0, 1), (1, 0), (1, 1)}
        assert min(one.share for one in found) > 0.9
        apart = [after[(batch == number) & (level == 1), 7].mean() for number in (0, 1)]
        assert abs(apart[0] - apart[1]) < 0.5


def test_merges_are_the_same_whatever_the_order_of_labels(cells):
    x, batch, kind = cells
    one = calibrate(x, batch, guides=Guides(labels=kind))
    other = calibrate(x, batch, guides=Guides(labels=3 - kind))
    np.testing.assert_array_equal(one.correction.corrected, other.correction.corrected)


def test_kept_differences_need_cells_on_both_sides():
    x = np.arange(24.0)[:, None]
    batch, level = np.repeat([0, 1], 12), np.repeat([0, 1, 0, 1], [6, 6, 1, 11])
    assert kept_differences(x, x, batch, level) == []
    batch = np.where(np.arange(24) < 22, 0, -1)
    found = kept_differences(x, -x, batch, np.arange(24) // 11)
    assert [one.share for one in found] == [-1.0, -1.0]


def test_differences_that_chance_explains_are_not_measured(rng):
    x = rng.normal(size=(400, 10))
    level = rng.integers(0, 2, 400)
    assert kept_differences(x, x, np.zeros(400, int), level) == []
    x[:, 0] += level
    assert len(kept_differences(x, x, np.zeros(400, int), level)) == 2


def test_cells_that_may_not_be_paired_have_no_confidence(cells):
    x, batch, kind = cells
    found = calibrate(x, batch, guides=Guides(labels=kind))
    lone = kind >= 2
    np.testing.assert_array_equal(Guides(labels=kind).alone(batch), lone)
    assert (found.confidence[lone] == 0).all()
    assert found.confidence[~lone].mean() > 0.5
    # One cell without a label may be of any type.
    labels = np.where(np.arange(300) == 0, UNKNOWN, kind)
    assert not Guides(labels=labels).alone(batch)[(batch == 1) & (kind == 3)].any()
    assert Guides(labels=labels).alone(batch)[(batch == 0) & (kind == 2)].all()
    np.testing.assert_array_equal(Guides(levels=batch).alone(batch), np.ones(300, bool))


def test_many_batches_meet_those_of_their_level_first(rng):
    """Fourteen batches whose levels differ less than the batches do; seven are an odd number."""
    n = 40
    batch, kind = np.repeat(np.arange(14), n), rng.integers(0, 3, 14 * n)
    levels = batch % 2
    x = np.eye(8)[kind] * 8 + rng.normal(size=(14 * n, 8)) * 0.6
    x[:, 5:] += rng.normal(size=(14, 3))[batch] * 1.5
    found = calibrate(x, batch, guides=Guides(levels=levels)).correction
    for merge in found.merges[:-1]:
        assert len({number % 2 for number in merge.left + merge.right}) == 1
    assert found.merges[-1].skipped


def test_only_some_pairs_keep_their_weights(cells):
    from mnncorrect.core.merging.pairs import find_pairs

    x, batch, _ = cells
    pairs = find_pairs(x[batch == 0], x[batch == 1], weighted=True)
    some = np.arange(len(pairs)) % 2 == 0
    assert pairs.weights is not None
    np.testing.assert_array_equal(pairs.only(some).weights, pairs.weights[some])
    assert replace(pairs, weights=None).only(some).weights is None
