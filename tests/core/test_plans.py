"""Merge plans made from the data, and plans read off merges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnncorrect.core.merging.plans import balanced, parse_merge_order, postorder, scatter
from mnncorrect.core.methods.fast import mnn_reduced


def depth(tree):
    return 0 if isinstance(tree, int) else 1 + max(depth(child) for child in tree)


def named(tree, names):
    return names[tree] if isinstance(tree, int) else tuple(named(child, names) for child in tree)


@given(n=st.integers(1, 40), seed=st.integers(0, 10**6))
def test_a_balanced_plan_holds_every_batch_in_few_rounds(n, seed):
    rng = np.random.default_rng(seed)
    tree = balanced(rng.normal(size=(n, 3)), rng.integers(1, 100, size=n), np.zeros(n))
    assert sorted(node for node in postorder(tree) if isinstance(node, int)) == list(range(n))
    assert depth(tree) <= np.ceil(np.log2(max(n, 1)))


@given(n=st.integers(2, 12), seed=st.integers(0, 10**6))
def test_a_balanced_plan_follows_the_data_and_not_the_order_of_batches(n, seed):
    rng = np.random.default_rng(seed)
    # Many sizes are equal; batches of one size scatter differently.
    centers, sizes, scatters = rng.normal(size=(n, 3)), rng.integers(1, 4, n), rng.random(n)
    order = rng.permutation(n)
    one = named(balanced(centers, sizes, scatters), list(range(n)))
    other = named(balanced(centers[order], sizes[order], scatters[order]), order.tolist())
    assert one == other


def test_scatter_is_that_about_the_mean_however_far_that_is(rng):
    x = rng.normal(size=(9000, 3)).astype(np.float32)
    assert scatter(x) == pytest.approx(x.var(0, dtype=float).sum() * len(x))
    assert scatter(x.astype(float) + 1e6) == pytest.approx(scatter(x), rel=1e-6)


def test_the_larger_side_of_a_balanced_merge_is_the_reference():
    centers = np.array([[0.0], [1.0], [10.0], [11.0]])
    assert balanced(centers, np.array([1, 2, 9, 3]), np.zeros(4)) == ((2, 3), (1, 0))


@pytest.mark.parametrize("order", ["((a,b),(c,d))", "d,a,c,b", "balanced", None])
def test_the_plan_is_read_off_the_merges(rng, order):
    x, batch = rng.normal(size=(40, 4)), np.repeat(np.arange(4), 10)
    plan = parse_merge_order(order, ["a", "b", "c", "d"])
    correction = mnn_reduced(x, batch, merge_order=plan, n_neighbors=3)
    if order == "balanced":
        means = np.stack([x[batch == b].mean(0) for b in range(4)])
        plan = balanced(means, np.full(4, 10), np.array([scatter(x[batch == b]) for b in range(4)]))
    assert correction.plan == plan


def test_the_automatic_plan_is_read_off_the_merges(rng):
    x, batch = rng.normal(size=(40, 4)), np.repeat(np.arange(4), 10)
    correction = mnn_reduced(x, batch, auto_merge=True, n_neighbors=3)
    again = mnn_reduced(x, batch, merge_order=correction.plan, n_neighbors=3)
    # The automatic run makes its merges in another sequence; what is merged with what is the same.
    assert {(m.left, m.right) for m in again.merges} == {
        (m.left, m.right) for m in correction.merges
    }
