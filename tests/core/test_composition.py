"""How clusters are shared out over batches, against the formulas and scipy."""

from __future__ import annotations

import naive
import numpy as np
import pytest
from scipy import stats

from mnncorrect.core.metrics.composition import (
    abundance_table,
    abundance_test,
    abundance_variance,
)


@pytest.fixture
def labels(rng):
    """Clusters and batches of 80 cells; every one occurs."""
    clusters, batch = rng.integers(0, 4, 80), rng.choice(3, 80, p=[0.5, 0.3, 0.2])
    clusters[:12], batch[:12] = np.divmod(np.arange(12), 3)
    return clusters, batch


def test_cells_are_counted_by_cluster_and_batch(labels):
    expected, _ = naive.contingency(*labels)
    np.testing.assert_array_equal(abundance_table(*labels), expected)


def test_p_values_are_those_of_the_formula_and_of_scipy(labels):
    table = abundance_table(*labels)
    p_values = abundance_test(table)
    np.testing.assert_allclose(p_values, naive.abundance_test(*labels)[1], rtol=1e-12)
    for row, p in zip(table, p_values, strict=True):
        expected = row.sum() * table.sum(0) / table.sum()
        assert stats.chisquare(row, expected).pvalue == pytest.approx(p, rel=1e-9)


def test_variances_are_those_of_the_formula(labels):
    variance = abundance_variance(abundance_table(*labels))
    np.testing.assert_allclose(variance, naive.abundance_variance(*labels)[1], rtol=1e-12)


def test_even_clusters_do_not_stand_out():
    table = np.outer([3, 5, 20], [10, 40])
    np.testing.assert_allclose(abundance_test(table), 1)
    np.testing.assert_allclose(abundance_variance(table), 0, atol=1e-25)


def test_a_cluster_of_one_batch_stands_out():
    table = np.array([[50, 50], [40, 0], [10, 50]])
    p_values = abundance_test(table)
    assert p_values.argmin() == 1
    assert p_values[1] < 1e-8
