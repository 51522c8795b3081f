"""Variance of differences over pairs, against the formulas."""

from __future__ import annotations

import naive
import numpy as np
import pytest
from scipy import sparse

from mnncorrect.core.merging.pairs import Pairs
from mnncorrect.core.metrics import delta_variance as module
from mnncorrect.core.metrics.delta_variance import delta_variance, scale_to_mean_length

SIZES = (14, 10, 12)
CODES = np.repeat(np.arange(3), SIZES)
CONTAINERS = [np.asarray, np.asfortranarray, sparse.csr_matrix, sparse.csc_array]


@pytest.fixture
def x(rng):
    """Log-expression of genes of all means; one gene in three is off in half of the cells."""
    x = np.log2(rng.poisson(rng.gamma(2, 3, size=(1, 30)), size=(36, 30)) + 1.0)
    x[rng.random(36) < 0.5, ::3] = 0
    return x


@pytest.fixture
def pairs(rng):
    """Pairs of three merges; cells occur more than once."""

    def draw(n, left, right):
        chosen = rng.choice(left, n), rng.choice(right, n)
        return Pairs(*(np.asarray(cells, np.int64) for cells in chosen))

    cells = [np.flatnonzero(code == CODES) for code in range(3)]
    both = np.concatenate(cells[:2])
    return [draw(25, cells[0], cells[1]), draw(40, both, cells[2]), draw(2, both, cells[2])]


@pytest.fixture
def mask():
    return np.arange(30) % 4 != 1


COLUMNS = ("mean", "total", "trend", "adjusted")


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("cosine_norm", [False, True])
@pytest.mark.parametrize("masked", ["no", "some", "all"])
def test_each_merge_is_that_of_the_formula(x, pairs, mask, container, cosine_norm, masked):
    chosen = None if masked == "no" else mask
    result = delta_variance(
        container(x), CODES, pairs[:2], cosine_norm=cosine_norm, mask=chosen,
        all_genes=masked == "all",
    )  # fmt: skip
    expected = naive.delta_variance(
        np.split(x, np.cumsum(SIZES)[:-1]), [tables(merge) for merge in pairs[:2]],
        cosine_norm=cosine_norm, mask=chosen, compute_all=masked == "all",
    )  # fmt: skip
    found = [*result.per_merge, result.combined]
    for one, other in zip(found, [*expected.per_step, expected], strict=True):
        for column in COLUMNS:
            np.testing.assert_allclose(
                getattr(one, column), getattr(other, column), rtol=1e-7, atol=1e-9
            )
    scales = [trend.residual_scale for trend in result.trends]
    np.testing.assert_allclose(scales, [step.scale for step in expected.per_step], rtol=1e-6)


def tables(merge):
    return np.column_stack([merge.left, merge.right])


def test_merges_of_fewer_than_two_pairs_do_not_count(x, pairs):
    one = Pairs(pairs[0].left[:1], pairs[0].right[:1])
    none = Pairs(pairs[0].left[:0], pairs[0].right[:0])
    result = delta_variance(x, CODES, [one, pairs[0], none])
    alone = delta_variance(x, CODES, [pairs[0]])
    for column in COLUMNS:
        np.testing.assert_allclose(
            getattr(result.combined, column), getattr(alone.per_merge[0], column), rtol=1e-14
        )
        assert np.isnan(getattr(result.per_merge[0], column)).all()
        assert np.isnan(getattr(result.per_merge[2], column)).all()
    assert [trend is None for trend in result.trends] == [True, False, True]
    with pytest.raises(ValueError, match="none of 2 merges has two pairs"):
        delta_variance(x, CODES, [one, none])


def test_a_constant_shift_between_batches_has_no_effect(x, pairs):
    shifted = x + 1000 * np.eye(3)[CODES] @ np.ones((3, 30)) * (CODES == 1)[:, None]
    plain, moved = (delta_variance(data, CODES, pairs[:1]).combined for data in (x, shifted))
    np.testing.assert_allclose(moved.total, plain.total, rtol=1e-9)


def test_a_gene_whose_shift_depends_on_the_state_stands_out(rng):
    n = 200
    state = rng.integers(0, 2, n)
    means = np.linspace(0.5, 8, 60)
    left = means + rng.normal(0, 0.3, (n, 60))
    right = means + 1 + rng.normal(0, 0.3, (n, 60))
    right[:, 17] += 3 * state
    pairs = Pairs(np.arange(n), np.arange(n, 2 * n))
    found = delta_variance(np.vstack([left, right]), np.repeat([0, 1], n), [pairs]).combined
    assert found.adjusted.argmax() == 17


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix])
def test_blocks_and_threads_do_not_change_results(x, pairs, container, monkeypatch):
    whole = delta_variance(container(x), CODES, pairs[:2], n_jobs=1).combined
    monkeypatch.setattr(module, "rows_per_block", lambda n_columns, **_: 7)
    one = delta_variance(container(x), CODES, pairs[:2], n_jobs=1).combined
    two = delta_variance(container(x), CODES, pairs[:2], n_jobs=2).combined
    for column in COLUMNS:
        np.testing.assert_array_equal(getattr(one, column), getattr(two, column))
    np.testing.assert_allclose(one.total, whole.total, rtol=1e-12)
    np.testing.assert_allclose(one.mean, whole.mean, rtol=1e-12)


def test_lengths_are_brought_to_their_mean_over_batches(x, mask):
    scale = scale_to_mean_length(x, CODES, mask)
    scaled = np.linalg.norm((x / scale[:, None])[:, mask], axis=1)
    lengths = np.linalg.norm(x[:, mask], axis=1)
    typical = np.mean([lengths[code == CODES].mean() for code in range(3)])
    np.testing.assert_allclose(scaled, typical)
    assert (scale_to_mean_length(0 * x, CODES) == 1e-8).all()


def test_too_few_genes_are_refused(x, pairs):
    with pytest.raises(ValueError, match="the trend needs 4"):
        delta_variance(x[:, :3], CODES, pairs)
