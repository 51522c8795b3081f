"""Models and the place of new cells in them: against an oracle, and what is promised."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from naive import calibrated

from mnncorrect.core.model.fit import N_TRAINING, fit
from mnncorrect.core.model.projection import FAMILIAR, LEAST_NEW, USUAL, place
from mnncorrect.core.runtime.compute import ComputeOptions

DIMS = 8


def make_cells(rng, n, shift, populations=(0, 1, 2)):
    centres = np.eye(DIMS)[:4] * 12
    truth = np.resize(populations, n)
    x = centres[truth] + rng.normal(size=(n, DIMS)) * 0.5
    x[:, 5] += shift
    return x.astype(np.float32), truth


@pytest.fixture(scope="module")
def trained():
    """Two batches, the second shifted, and their model."""
    rng = np.random.default_rng(4)
    parts = [make_cells(rng, 150, 0.0)[0], make_cells(rng, 120, 2.0)[0]]
    x, batch = np.concatenate(parts), np.repeat([0, 1], [150, 120])
    correction, confidence = calibrated(x, batch, names=["one", "two"])
    model = fit(x, correction.corrected, batch, ["one", "two"], confidence=confidence)
    return x, batch, correction.corrected, confidence, model


def naive_near(cell, before, skip=0):
    """The nearest of some cells, their weights by the formula of the module, squared distances."""
    squares = ((before - cell) ** 2).sum(1)
    near = np.argsort(squares, kind="stable")[skip : N_TRAINING + skip]
    u = squares[near] / squares[near].mean()
    w = np.exp(-u) / u
    return near, w / w.sum(), squares[near]


def naive_limit(before, spacing):
    """How far cells may be, over what is usual about them: at least as nine in ten of these are."""
    away = []
    for cell in before:
        near, w, squares = naive_near(cell, before, skip=1)
        away.append(squares.mean() / (w @ spacing[near]))
    return max(FAMILIAR, sorted(away)[int(np.ceil(USUAL * len(away))) - 1])


def naive_place(cell, before, after, spacing, confidence):
    """One cell by the formulas of the module: nearest, weights, local regression, familiarity."""
    near, w, squares = naive_near(cell, before)
    moved = (after - before)[near]
    x_mean, moved_mean = w @ before[near], w @ moved
    a, b = before[near] - x_mean, moved - moved_mean
    slope = (w * (a * b).sum(1)).sum() / (w * (a**2).sum(1)).sum()
    away = squares.mean() / (w @ spacing[near])
    familiar = np.clip(2 - away / naive_limit(before, spacing), 0, 1)
    ready = np.clip((familiar - 0.1) / 0.1, 0, 1)
    placed = cell + ready * (moved_mean + np.clip(slope, -1, 1) * (cell - x_mean))
    return placed, familiar * (w @ confidence[near])


def test_cells_of_a_known_batch_are_placed_as_the_oracle_does(trained):
    _, _, _, _, model = trained
    rng = np.random.default_rng(5)
    new = make_cells(rng, 12, 2.0)[0]
    new[-1, 6] += 3.0  # hardly familiar
    new[-2, 6] += 40.0  # not at all
    found = place(model, new, np.zeros(12, int), ["two"])
    at = model.rows(1)
    arrays = (model.uncorrected, model.corrected, model.spacing, model.confidence)
    want = [naive_place(cell, *(a[at].astype(float) for a in arrays)) for cell in new.astype(float)]
    # float32 coordinates up to 50
    np.testing.assert_allclose(found.corrected, [place for place, _ in want], atol=1e-5)
    np.testing.assert_allclose(found.confidence, [sure for _, sure in want], atol=1e-6)
    np.testing.assert_array_equal(found.corrected[-2], new[-2])
    assert found.confidence[-2] == 0


def test_training_cells_come_out_where_they_were_put(trained):
    x, batch, corrected, confidence, model = trained
    found = place(model, x, batch, ["one", "two"])
    # The pole is not infinite: 1e-12 of the weight is elsewhere.
    np.testing.assert_allclose(found.corrected, corrected, atol=1e-5)
    np.testing.assert_allclose(found.confidence, confidence, atol=1e-6)
    assert all(how.known and how.familiar == 1 for how in found.by_batch.values())


def test_cells_of_a_batch_that_scatters_unevenly_are_familiar():
    rng = np.random.default_rng(7)
    # Every fifth cell scatters five times as much as the others of its batch.
    sizes = np.where(np.arange(300) % 5, 1.0, 5.0)[:, None]
    x = (rng.normal(size=(300, DIMS)) * sizes).astype(np.float32)
    model = fit(x[:250], x[:250] + 1, np.zeros(250, int), ["one"])
    found = place(model, x[250:], np.zeros(50, int), ["one"])
    moved = np.linalg.norm(found.corrected - x[250:], axis=1)
    assert (moved > 0).mean() > 0.9
    assert (found.confidence > 0.5).mean() > 0.9
    # A cell far from all of it is none of them.
    far = place(model, x[250:] + 60, np.zeros(50, int), ["one"])
    assert not far.confidence.any()


@pytest.mark.parametrize("n", [2, 3, 40])
@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_few_cells_and_cells_in_one_place_have_their_place(n, spread):
    x = (np.random.default_rng(1).normal(size=(n, 4)) * spread).astype(np.float32)
    model = fit(x, x + 1, np.zeros(n, int), ["one"])
    new = np.concatenate([x[:2], x[:1] + 20])
    found = place(model, new, np.zeros(3, int), ["one"])
    moved = np.array([1, 1, 0])[:, None]
    np.testing.assert_allclose(found.corrected, new + moved, atol=1e-5)
    np.testing.assert_allclose(found.confidence, [1, 1, 0])


def test_training_cells_that_are_left_out_are_met(trained):
    x, batch, corrected, confidence, _ = trained
    out = np.arange(len(x)) % 5 == 0
    some = fit(x[~out], corrected[~out], batch[~out], ["one", "two"], confidence=confidence[~out])
    found = place(some, x[out], batch[out], ["one", "two"])
    error = np.sqrt(((found.corrected - corrected[out]) ** 2).sum(1).mean())
    moved = np.sqrt(((corrected[batch == 0] - x[batch == 0]) ** 2).sum(1).mean())
    moved = max(moved, np.sqrt(((corrected[batch == 1] - x[batch == 1]) ** 2).sum(1).mean()))
    assert error < 0.1 * moved


def test_a_new_batch_is_merged_onto_cells_that_stay(trained):
    _, _, _, _, model = trained
    rng = np.random.default_rng(6)
    before = model.corrected.copy()
    new, truth = make_cells(rng, 90, -1.5)
    found = place(model, new, np.zeros(90, int), ["three"])
    how = found.by_batch["three"]
    assert (how.known, how.skipped) == (False, False)
    assert how.evidence > 2
    assert how.pairs > 90
    np.testing.assert_array_equal(model.corrected, before)
    for population in range(3):
        mean = np.eye(DIMS)[population] * 12
        gap = found.corrected[truth == population].mean(0) - mean
        assert np.linalg.norm(gap) < 0.45  # 1.5 before; means of 30 cells scatter by 0.26
    assert np.median(found.confidence) > 0.8


def test_a_new_batch_without_an_effect_stays(trained):
    _, _, _, _, model = trained
    new, _ = make_cells(np.random.default_rng(3), 150, 0.0)
    found = place(model, new, np.zeros(150, int), ["three"])
    assert found.by_batch["three"].skipped
    np.testing.assert_array_equal(found.corrected, new)
    assert np.median(found.confidence) > 0.5


def test_a_population_that_the_model_lacks_moves_with_its_batch_and_is_not_sure(trained):
    _, _, _, _, model = trained
    new, truth = make_cells(np.random.default_rng(8), 120, -1.5, (0, 1, 2, 3))
    found = place(model, new, np.zeros(120, int), ["three"])
    own = truth == 3
    assert np.median(found.confidence[own]) < 0.1
    moved = [(found.corrected - new)[some].mean(0) for some in (own, ~own)]
    assert np.linalg.norm(moved[0] - moved[1]) < 0.3 * np.linalg.norm(moved[1])


@pytest.mark.parametrize("size", [1, 2, LEAST_NEW - 1])
def test_a_new_batch_of_few_cells_is_left_as_it_is(trained, size):
    _, _, _, _, model = trained
    new, _ = make_cells(np.random.default_rng(9), size, 2.0)
    found = place(model, new, np.zeros(size, int), ["three"])
    np.testing.assert_array_equal(found.corrected, new)
    assert not found.confidence.any()
    assert found.by_batch["three"].skipped


def test_one_cell_of_a_known_batch_is_placed_as_among_others(trained):
    _, _, _, _, model = trained
    new, _ = make_cells(np.random.default_rng(10), 20, 2.0)
    together = place(model, new, np.zeros(20, int), ["two"])
    for row in (0, 13):
        alone = place(model, new[[row]], np.zeros(1, int), ["two"])
        np.testing.assert_array_equal(alone.corrected[0], together.corrected[row])
        assert alone.confidence[0] == together.confidence[row]


def test_places_depend_on_no_order_and_no_other_batch(trained):
    _, _, _, _, model = trained
    rng = np.random.default_rng(11)
    new = np.concatenate([make_cells(rng, n, s)[0] for n, s in ((60, 2.0), (70, -1.5), (50, 3.0))])
    batch, names = np.repeat([0, 1, 2], [60, 70, 50]), ["two", "x", "y"]
    once = place(model, new, batch, names)
    order = rng.permutation(len(new))
    again = place(
        model, new[order], 2 - batch[order], names[::-1], compute=ComputeOptions(n_jobs=2)
    )
    np.testing.assert_array_equal(again.corrected, once.corrected[order])
    np.testing.assert_array_equal(again.confidence, once.confidence[order])
    assert again.by_batch["x"].evidence == once.by_batch["x"].evidence
    for number, name in enumerate(names):
        rows = batch == number
        alone = place(model, new[rows], np.zeros(rows.sum(), int), [name])
        np.testing.assert_array_equal(alone.corrected, once.corrected[rows])


def test_a_batch_of_a_known_name_can_be_taken_for_new(trained):
    _, _, _, _, model = trained
    new, _ = make_cells(np.random.default_rng(12), 90, -1.5)
    found = place(model, new, np.zeros(90, int), ["two"], as_new=True)
    assert not found.by_batch["two"].known
    assert found.by_batch["two"].pairs > 0
    # Taken for the known batch, they lie where nothing of it does, and differ from it.
    how = place(model, new, np.zeros(90, int), ["two"]).by_batch["two"]
    assert how.familiar < 0.5
    assert how.evidence > 4
    more, _ = make_cells(np.random.default_rng(12), 90, 2.0)
    assert place(model, more, np.zeros(90, int), ["two"]).by_batch["two"].evidence < 2


def test_a_model_is_the_same_for_any_order_of_cells(trained):
    x, batch, corrected, confidence, model = trained
    order = np.random.default_rng(13).permutation(len(x))
    again = fit(
        x[order],
        corrected[order],
        1 - batch[order],
        ["two", "one"],
        confidence=confidence[order],
        n_jobs=2,
    )
    assert again.digest == model.digest
    assert replace(model, spacing=model.spacing * 2).digest != model.digest


def test_a_model_of_many_cells_keeps_a_share_of_each_batch(trained):
    x, batch, corrected, confidence, _ = trained
    small = fit(x, corrected, batch, ["one", "two"], confidence=confidence, max_cells=90)
    assert np.bincount(small.codes).tolist() == [50, 40]
    assert small.about["n_obs"] == 270
    kept = {row.tobytes() for row in small.uncorrected}
    assert kept <= {row.tobytes() for row in x}
