"""Scores against the formulas written out, against scib-metrics, and what they must say."""

from __future__ import annotations

import naive
import numpy as np
import pytest

from mnncorrect.core.metrics import evaluation as metrics
from mnncorrect.core.metrics import scores
from mnncorrect.core.metrics.evaluation import score_embedding
from mnncorrect.core.neighbors.sample import Sample, draw

# Entropies are met to 1e-5; what follows from them agrees to a little more than that.
BY_ENTROPY = 1e-4


@pytest.fixture
def cells(rng):
    """120 cells in three labels and three batches of unequal shares; one label is of one batch."""
    label = np.repeat([0, 1, 2], [60, 38, 22])
    batch = rng.choice(3, 120, p=[0.5, 0.3, 0.2])
    batch[label == 2] = 1
    x = rng.normal(size=(120, 5)) + 2.5 * rng.normal(size=(3, 5))[label]
    return x + 0.7 * rng.normal(size=(3, 5))[batch], batch, label


@pytest.fixture
def corrected(cells, rng):
    x, batch, _ = cells
    return x - 0.5 * rng.normal(size=(3, 5))[batch] + 0.2 * rng.normal(size=x.shape)


def everyone(n):
    return Sample(np.arange(n), np.ones(n))


# -- Against the formulas -------------------------------------------------------------------------


def test_mixing_is_that_of_the_formulas(cells):
    x, batch, label = cells
    found = score_embedding(x, batch, everyone(120), label=label)
    assert found["ilisi"] == pytest.approx(naive.ilisi(x, batch), abs=BY_ENTROPY)
    assert found["cilisi"] == pytest.approx(naive.cilisi(x, batch, label), abs=1e-12)
    assert found["bras"] == pytest.approx(naive.bras(x, batch, label), abs=1e-12)
    assert found["purity"] == pytest.approx(naive.purity(x, label), abs=1e-12)


@pytest.mark.parametrize("n", [5, 12])
def test_few_cells_are_scored_by_those_there_are(rng, n):
    x, batch = rng.normal(size=(n, 3)), np.arange(n) % 2
    found = scores.ilisi(x, batch, everyone(n))
    assert found == pytest.approx(naive.ilisi(x, batch), abs=BY_ENTROPY)
    assert scores.purity(x, batch, everyone(n)) == pytest.approx(naive.purity(x, batch))


def test_silhouettes_are_those_of_scikit_learn(cells):
    from sklearn.metrics import silhouette_score

    x, _, label = cells
    label[0] = 3  # alone in its group
    expected = (silhouette_score(x, label) + 1) / 2
    assert scores.silhouette(x, label, everyone(120)) == pytest.approx(expected, abs=1e-12)
    found = score_embedding(x, label, everyone(120), clusters=label)
    assert found["silhouette_clusters"] == pytest.approx(expected, abs=1e-12)
    assert "purity" not in found


def test_changes_are_those_of_the_formulas(cells, corrected):
    x, batch, _ = cells
    found = metrics.compare_embeddings(x, corrected, batch, everyone(120))
    assert found["preserved"] == pytest.approx(naive.preserved(x, corrected, batch), abs=1e-12)
    assert found["moved"] == pytest.approx(naive.moved(x, corrected), abs=1e-12)
    within = [
        sum(((y[batch == b] - y[batch == b].mean(0)) ** 2).sum() for b in range(3))
        for y in (x, corrected)
    ]
    assert found["lost_variance"] == pytest.approx(1 - within[1] / within[0], abs=1e-12)


def test_lost_variance_is_that_of_each_group(cells, corrected):
    x, _, label = cells
    groups = np.where(label == 1, -1, label)
    before, after, lost = scores.variance_lost(x, corrected, groups)
    for at, number in enumerate((0, 2)):
        of_group = [y[label == number].var(0, ddof=1).sum() for y in (x, corrected)]
        np.testing.assert_allclose([before[at], after[at]], of_group, rtol=1e-12)
        assert lost[at] == pytest.approx(1 - of_group[1] / of_group[0], abs=1e-12)


def test_float32_gives_what_float64_does(cells, corrected):
    x, batch, label = cells
    same = everyone(120)
    small = [y.astype(np.float32) for y in (x, corrected)]
    large = [y.astype(np.float64) for y in small]
    for name, value in score_embedding(large[0], batch, same, label=label).items():
        # Distances are measured in float64 either way.
        found = score_embedding(small[0], batch, same, label=label)[name]
        assert found == pytest.approx(value, abs=1e-9), name
    for name, value in metrics.compare_embeddings(*large, batch, same).items():
        assert metrics.compare_embeddings(*small, batch, same)[name] == pytest.approx(value)


# -- Against scib-metrics -------------------------------------------------------------------------


@pytest.mark.slow
def test_scores_are_those_of_scib_metrics(blobs):
    reason = "compares with scib-metrics, which is not installed (it needs jax)"
    scib = pytest.importorskip("scib_metrics", reason=reason)
    from scib_metrics.nearest_neighbors import NeighborsResults
    from sklearn.neighbors import NearestNeighbors

    x, batch, label = blobs(sizes=(120, 90, 60), missing={(2, 1)}, shift=2.0)
    distances, indices = NearestNeighbors(n_neighbors=90).fit(x).kneighbors(x)
    near = NeighborsResults(indices=indices, distances=distances)
    found = score_embedding(x, batch, everyone(len(x)), label=label)
    # jax counts in float32.
    assert found["ilisi"] == pytest.approx(scib.ilisi_knn(near, batch), abs=1e-4)
    assert found["bras"] == pytest.approx(scib.bras(x, label, batch), abs=1e-5)
    assert found["silhouette"] == pytest.approx(scib.silhouette_label(x, label), abs=1e-5)


# -- What scores must say -------------------------------------------------------------------------


def test_batches_that_mix_at_random_score_best(rng):
    x, batch, label = rng.normal(size=(600, 4)), np.arange(600) % 2, np.arange(600) // 300
    x[label == 1] += 9
    found = score_embedding(x, batch, everyone(600), label=label)
    # 30 neighbours at random have an effective number of batches of 1.94 in the mean.
    assert found["cilisi"] == pytest.approx(0.94, abs=0.02)
    assert min(found["ilisi"], found["bras"], found["purity"]) > 0.9
    apart = score_embedding(x + 20 * batch[:, None], batch, everyone(600), label=label)
    assert apart["ilisi"] == pytest.approx(0, abs=1e-9)
    assert apart["cilisi"] == pytest.approx(0, abs=1e-9)
    assert apart["bras"] < 0.5


def test_what_does_not_move_is_preserved(cells):
    x, batch, _ = cells
    found = metrics.compare_embeddings(x, x + 3.0, batch, everyone(120))
    assert found["preserved"] == 1
    assert found["lost_variance"] == pytest.approx(0, abs=1e-12)
    # A shift of all is a move.
    assert found["moved"] == pytest.approx(naive.moved(x, x + 3.0))


def test_order_of_cells_and_numbers_of_groups_do_not_matter(cells, corrected, rng):
    x, batch, label = cells
    order = rng.permutation(120)
    same = everyone(120)
    expected = score_embedding(x, batch, same, label=label)
    found = score_embedding(x[order], 7 - batch[order], same, label=label[order] * 3 + 1)
    assert found == pytest.approx(expected, abs=1e-12)
    expected = metrics.compare_embeddings(x, corrected, batch, same)
    found = metrics.compare_embeddings(x[order], corrected[order], batch[order], same)
    assert found == pytest.approx(expected, abs=1e-12)


def test_scores_do_not_depend_on_threads(cells):
    x, batch, label = cells
    same = everyone(120)
    assert score_embedding(x, batch, same, label=label, n_jobs=2) == score_embedding(
        x, batch, same, label=label, n_jobs=1
    )


def test_cells_without_a_label_do_not_count(cells):
    x, batch, label = cells
    hidden = np.arange(120) % 5 == 0
    found = score_embedding(x, batch, everyone(120), label=np.where(hidden, -1, label))
    kept = ~hidden
    expected = score_embedding(x[kept], batch[kept], everyone(kept.sum()), label=label[kept])
    del found["ilisi"], expected["ilisi"]  # which knows no labels
    assert found == pytest.approx(expected, abs=1e-12)


def test_duplicated_cells_are_no_trouble():
    x = np.zeros((40, 3))
    batch, label = np.arange(40) % 2, np.arange(40) // 20
    found = score_embedding(x, batch, everyone(40), label=label)
    assert all(np.isfinite(value) for value in found.values())
    assert found["bras"] == 1
    assert metrics.compare_embeddings(x, x, batch, everyone(40))["preserved"] == 1
    assert np.isnan(metrics.compare_embeddings(x, x, batch, everyone(40))["moved"])


def test_a_score_without_a_meaning_is_not_a_number(rng):
    x = rng.normal(size=(30, 3))
    found = score_embedding(x, np.zeros(30, int), everyone(30), label=np.zeros(30, int))
    assert np.isnan([found[name] for name in ("ilisi", "cilisi", "bras", "silhouette")]).all()
    found = metrics.compare_embeddings(x, x[:, :2], np.zeros(30, int), everyone(30))
    assert np.isnan(found["moved"])
    assert np.isnan(found["lost_variance"])
    assert 0 < found["preserved"] < 1


# -- Samples --------------------------------------------------------------------------------------


def test_a_sample_has_every_stratum_and_stands_for_all():
    strata = np.repeat([3, 1, 8], [900, 95, 5])
    sample = draw(strata, 100, random_state=1)
    taken = np.bincount(strata[sample.rows])
    assert (taken[[3, 1, 8]] == [61, 21, 5]).all()
    assert (np.diff(sample.rows) > 0).all()
    stands = np.bincount(strata[sample.rows], sample.weights)
    np.testing.assert_allclose(stands[[3, 1, 8]], [900, 95, 5])
    np.testing.assert_array_equal(sample.rows, draw(strata, 100, random_state=1).rows)
    assert not np.array_equal(sample.rows, draw(strata, 100, random_state=2).rows)
    whole = draw(strata, 1000)
    np.testing.assert_array_equal(whole.rows, np.arange(1000))
    assert (whole.weights == 1).all()


def test_scores_of_a_sample_are_near_those_of_all(blobs):
    x, batch, label = blobs(sizes=(500, 400, 300), shift=2.0, spread=1.5)
    after = x + 0.5 * np.sin(3 * x)
    strata = batch * 3 + label
    same = everyone(len(x))
    exact = score_embedding(x, batch, same, label=label) | metrics.compare_embeddings(
        x, after, batch, same
    )
    samples = [draw(strata, 300, random_state=seed) for seed in range(3)]
    found = [
        score_embedding(x, batch, one, label=label)
        | metrics.compare_embeddings(x, after, batch, one)
        for one in samples
    ]
    for name, value in exact.items():
        mean = np.mean([one[name] for one in found])
        # Three samples of 300 cells, whose values vary by 0.3 at most.
        assert mean == pytest.approx(value, abs=0.03), name


def test_every_score_has_a_meaning(cells, corrected):
    x, batch, label = cells
    found = score_embedding(x, batch, everyone(120), label=label)
    found |= score_embedding(x, batch, everyone(120), clusters=label)
    found |= metrics.compare_embeddings(x, corrected, batch, everyone(120))
    assert set(found) == set(metrics.SCORES)
