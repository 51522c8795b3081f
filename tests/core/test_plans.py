"""Merge plans made from the data, and plans read off merges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnncorrect.core.fast import mnn_reduced
from mnncorrect.core.plans import balanced, parse_merge_order, postorder


def depth(tree):
    return 0 if isinstance(tree, int) else 1 + max(depth(child) for child in tree)


def named(tree, names):
    return names[tree] if isinstance(tree, int) else tuple(named(child, names) for child in tree)


@given(n=st.integers(1, 40), seed=st.integers(0, 10**6))
def test_a_balanced_plan_holds_every_batch_in_few_rounds(n, seed):
    rng = np.random.default_rng(seed)
    tree = balanced(rng.normal(size=(n, 3)), rng.integers(1, 100, size=n))
    assert sorted(node for node in postorder(tree) if isinstance(node, int)) == list(range(n))
    assert depth(tree) <= np.ceil(np.log2(max(n, 1)))


@given(n=st.integers(2, 12), seed=st.integers(0, 10**6))
def test_a_balanced_plan_follows_the_data_and_not_the_order_of_batches(n, seed):
    rng = np.random.default_rng(seed)
    centers, sizes = rng.normal(size=(n, 3)), rng.permutation(1000)[:n] + 1
    order = rng.permutation(n)
    one = named(balanced(centers, sizes), list(range(n)))
    other = named(balanced(centers[order], sizes[order]), order.tolist())
    # What is joined with what; which is left is open where two sums of sizes are equal.
    assert {frozenset(_leaves(t)) for t in _inner(one)} == {
        frozenset(_leaves(t)) for t in _inner(other)
    }


def _leaves(tree):
    return [tree] if not isinstance(tree, tuple) else [x for child in tree for x in _leaves(child)]


def _inner(tree):
    if not isinstance(tree, tuple):
        return []
    return [tree, *(t for child in tree for t in _inner(child))]


def test_the_larger_side_of_a_balanced_merge_is_the_reference():
    centers = np.array([[0.0], [1.0], [10.0], [11.0]])
    assert balanced(centers, np.array([1, 2, 9, 3])) == ((2, 3), (1, 0))


@pytest.mark.parametrize("order", ["((a,b),(c,d))", "d,a,c,b", "balanced", None])
def test_the_plan_is_read_off_the_merges(rng, order):
    x, batch = rng.normal(size=(40, 4)), np.repeat(np.arange(4), 10)
    plan = parse_merge_order(order, ["a", "b", "c", "d"])
    correction = mnn_reduced(x, batch, merge_order=plan, n_neighbors=3)
    if order == "balanced":
        means = np.stack([x[batch == b].mean(0) for b in range(4)])
        plan = balanced(means, np.full(4, 10))
    assert correction.plan == plan


def test_the_automatic_plan_is_read_off_the_merges(rng):
    x, batch = rng.normal(size=(40, 4)), np.repeat(np.arange(4), 10)
    correction = mnn_reduced(x, batch, auto_merge=True, n_neighbors=3)
    again = mnn_reduced(x, batch, merge_order=correction.plan, n_neighbors=3)
    # The automatic run makes its merges in another sequence; what is merged with what is the same.
    assert {(m.left, m.right) for m in again.merges} == {
        (m.left, m.right) for m in correction.merges
    }
