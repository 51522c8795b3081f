"""How far covariates can be told apart from batches."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import contingency, f_oneway

from mnncorrect.core.metrics.confounding import of_categories, of_numbers


def test_categories_are_compared_by_cramers_v(rng):
    batches = rng.integers(0, 3, 500)
    values = (batches + rng.integers(0, 3, 500)) % 4
    table = np.zeros((4, 3), int)
    np.add.at(table, (values, batches), 1)
    found = of_categories(values, batches)
    assert found.strength == pytest.approx(contingency.association(table, "cramer"))
    assert not found.fixed


def test_numbers_are_compared_by_the_variance_between_batches(rng):
    batches = np.repeat([0, 1, 2], [30, 40, 50])
    values = batches + rng.normal(size=120)
    groups = [values[batches == b] for b in range(3)]
    # eta squared from the F statistic of an analysis of variance with 2 and 117 degrees of freedom
    f = f_oneway(*groups).statistic
    found = of_numbers(values, batches)
    assert found.strength == pytest.approx(np.sqrt(f * 2 / (f * 2 + 117)))
    assert not found.fixed


@pytest.mark.parametrize("kind", [np.int64, np.float64])
def test_what_has_one_value_in_each_batch_is_the_batch_to_a_correction(kind):
    compare = of_categories if kind is np.int64 else of_numbers
    batches = np.repeat([0, 1, 2], 4)
    nested = compare(np.repeat([0, 1, 1], 4).astype(kind), batches)
    assert (nested.strength, nested.fixed, nested.identical) == (1, True, False)
    renamed = compare(np.repeat([5, 7, 6], 4).astype(kind), batches)
    assert (renamed.strength, renamed.fixed, renamed.identical) == (1, True, True)


def test_what_is_the_same_for_all_cells_or_not_known_says_nothing():
    batches = np.array([0, 0, 1, 1])
    for found in (
        of_categories(np.zeros(4, int), batches),
        of_categories(np.full(4, -1), batches),
        of_numbers(np.ones(4), batches),
        of_numbers(np.full(4, np.nan), batches),
        of_categories(np.array([0, 1, -1, -1]), batches),
    ):
        assert (found.strength, found.fixed, found.identical) == (0, False, False)


def test_cells_without_a_value_do_not_count():
    batches = np.array([0, 0, 0, 1, 1, 1])
    assert of_categories(np.array([0, 0, -1, 1, 1, -1]), batches).identical
    assert of_numbers(np.array([0, 0, np.nan, 1, 1, np.nan]), batches).identical


@pytest.mark.parametrize("power", [-1000, -300, 300, 1000])
def test_the_strength_does_not_depend_on_the_unit(power):
    values = np.array([1.0, 3.0, 2.0, 4.0, 5.0, 7.0])
    batches = np.array([0, 0, 0, 1, 1, 1])
    assert of_numbers(np.ldexp(values, power), batches) == of_numbers(values, batches)
