"""Merge plans, and the order in which they are carried out."""

from __future__ import annotations

from types import SimpleNamespace

import naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnncorrect.core.merging.loop import Node, Outcome, carry_out
from mnncorrect.core.merging.pairs import Pairs
from mnncorrect.core.merging.plans import nested_names, parse_merge_order
from mnncorrect.core.runtime.compute import ComputeOptions

NAMES = ["a", "b", "c", "d"]


# -- Reading merge orders -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (None, (((0, 1), 2), 3)),
        (["c", "a", "b", "d"], (((2, 0), 1), 3)),
        (("c", "a", "b", "d"), (((2, 0), 1), 3)),
        (np.array(["c", "a", "b", "d"]), (((2, 0), 1), 3)),
        ([["a", "b"], ["c", "d"]], ((0, 1), (2, 3))),
        ([["a", ["b", "d"]], ["c"]], ((0, (1, 3)), 2)),
        ([["a", "b", "c"], "d"], (((0, 1), 2), 3)),
        ([[["a", "b", "c", "d"]]], (((0, 1), 2), 3)),
        ("c,a,b,d", (((2, 0), 1), 3)),
        (" c , a,b , d ", (((2, 0), 1), 3)),
        ("(c,a,b,d)", (((2, 0), 1), 3)),
        ("((a,b),(c,d))", ((0, 1), (2, 3))),
        ("(a,b),(c,d)", ((0, 1), (2, 3))),
        ('"a",(b,("c",d))', (0, (1, (2, 3)))),
    ],
)
def test_a_merge_order_becomes_a_plan(order, expected):
    assert parse_merge_order(order, NAMES) == expected


def test_names_with_commas_brackets_and_quotes_can_be_quoted():
    names = ["x, y", "f(x)", 'say "z"', "plain name"]
    order = '(("x, y","f(x)"),("say \\"z\\"",plain name))'
    assert parse_merge_order(order, names) == ((0, 1), (2, 3))


def test_batches_with_numbers_for_names_can_be_given_as_numbers():
    assert parse_merge_order([2, 10, 1], ["1", "2", "10"]) == ((1, 2), 0)


def test_a_single_batch_is_its_own_plan():
    assert parse_merge_order(None, ["only"]) == 0
    assert parse_merge_order(["only"], ["only"]) == 0


@pytest.mark.parametrize("order", [["a", "b", "c"], "a,b,c", [["a", "b"], "c"]])
def test_a_merge_order_that_leaves_out_a_batch_is_refused(order):
    with pytest.raises(ValueError, match=r"leaves out 'd'.*every batch exactly once"):
        parse_merge_order(order, NAMES)


@pytest.mark.parametrize("order", [["a", "b", "c", "d", "e"], "((a,b),(c,(d,e)))"])
def test_a_merge_order_with_an_unknown_batch_is_refused(order):
    with pytest.raises(ValueError, match=r"'e'.*'a', 'b', 'c', 'd'"):
        parse_merge_order(order, NAMES)


@pytest.mark.parametrize("order", [["a", "b", "c", "d", "a"], "((a,b),(c,(d,a)))"])
def test_a_merge_order_that_repeats_a_batch_is_refused(order):
    with pytest.raises(ValueError, match="repeats 'a'"):
        parse_merge_order(order, NAMES)


@pytest.mark.parametrize("order", [[], ["a", [], "b", "c", "d"]])
def test_an_empty_group_is_refused(order):
    with pytest.raises(ValueError, match="empty group"):
        parse_merge_order(order, NAMES)


@pytest.mark.parametrize(
    "order", ["", "a,", ",a", "((a,b),c", "a,b))", "()", "a b(c)", 'a,"b', "(a)(b)"]
)
def test_text_that_is_no_merge_order_is_refused(order):
    with pytest.raises(ValueError, match="merge order"):
        parse_merge_order(order, NAMES)


# Any nesting of batches, as lists; every inner list has children.
orders = st.integers(2, 7).flatmap(
    lambda n: st.permutations(list(range(n))).flatmap(
        lambda leaves: st.lists(st.integers(0, 10), min_size=n, max_size=n).map(
            lambda cuts: nest(leaves, cuts)
        )
    )
)


def nest(leaves, cuts):
    """Group neighbouring entries until one is left."""
    entries = list(leaves)
    for cut in cuts:
        if len(entries) > 2:
            at = cut % (len(entries) - 1)
            entries[at : at + 2] = [[entries[at], entries[at + 1]]]
    return entries


def as_names(order):
    return f"batch {order}" if isinstance(order, int) else [as_names(child) for child in order]


def as_text(order):
    return str(order) if isinstance(order, str) else f"({','.join(map(as_text, order))})"


@given(order=orders)
def test_lists_text_and_written_plans_are_read_as_the_same_plan(order):
    names = [f"batch {number}" for number in range(len(leaves_of(order)))]
    tree = parse_merge_order(as_names(order), names)
    assert tree == naive.binary_tree(order)
    assert parse_merge_order(as_text(as_names(order)), names) == tree
    assert parse_merge_order(nested_names(tree, names), names) == tree


def leaves_of(order):
    return [order] if isinstance(order, int) else [b for child in order for b in leaves_of(child)]


# -- Carrying them out ----------------------------------------------------------------------------


def one_cell_nodes(n):
    return [Node((b,), np.array([b]), np.zeros((1, 1))) for b in range(n)]


class Recorder:
    """A method that moves nothing and writes down which nodes were aligned and merged."""

    def __init__(self):
        self.merged = []

    def align(self, left, right):
        return left, right

    def merge(self, left, right, find_pairs):
        self.merged.append((left.batches, right.batches))
        return Outcome(left, right, find_pairs(left, right))


def one_pair(left, right):
    return Pairs(np.array([0]), np.array([0]))


@given(order=orders)
def test_a_tree_is_carried_out_right_subtree_first(order):
    n = len(leaves_of(order))
    expected = []

    def merge(left, right):
        expected.append((tuple(left.index), tuple(right.index)))
        return SimpleNamespace(index=left.index + right.index)

    naive.run_tree(naive.binary_tree(order), [SimpleNamespace(index=[b]) for b in range(n)], merge)
    recorder = Recorder()
    node, merges = carry_out(one_cell_nodes(n), naive.binary_tree(order), recorder, one_pair)
    assert recorder.merged == expected
    assert [(merge.left, merge.right) for merge in merges] == expected
    assert node.batches == expected[-1][0] + expected[-1][1]


@given(n=st.integers(2, 6), seed=st.integers(0, 10**6))
def test_automatic_order_takes_most_pairs_and_breaks_ties_by_column(n, seed):
    # Few different counts, so that ties are common.
    def count(left, right):
        return int(np.random.default_rng([seed, *left, 99, *right]).integers(1, 4))

    expected = []

    def merge(left, right):
        expected.append((tuple(left.index), tuple(right.index)))
        return SimpleNamespace(index=left.index + right.index)

    naive.run_automatic(
        [SimpleNamespace(index=[b]) for b in range(n)],
        lambda left, rights: [count(left.index, right.index) for right in rights],
        merge,
    )

    def counted_pairs(left, right):
        nothing = np.zeros(count(left.batches, right.batches), np.int64)
        return Pairs(nothing, nothing)

    recorder = Recorder()
    carry_out(one_cell_nodes(n), None, recorder, counted_pairs, auto_merge=True)
    assert recorder.merged == expected


def test_of_two_batches_the_automatic_order_takes_the_second_as_reference():
    recorder = Recorder()
    carry_out(one_cell_nodes(2), None, recorder, one_pair, auto_merge=True)
    assert recorder.merged == [((1,), (0,))]


def test_counting_pairs_keeps_the_left_node_as_it_was_aligned_before():
    # The reference's quirk: what was done to the left node for one candidate stays for the next.
    seen = []

    class Aligner(Recorder):
        def align(self, left, right):
            seen.append((float(left.data[0, 0]), right.batches))
            return Node(left.batches, left.rows, left.data + 1), right

    carry_out(one_cell_nodes(4), None, Aligner(), one_pair, auto_merge=True)
    assert seen[:6] == [(0, (0,)), (0, (0,)), (1, (1,)), (0, (0,)), (1, (1,)), (2, (2,))]


def test_pairs_are_remembered_in_rows_of_the_input():
    nodes = [
        Node((0,), np.array([1, 4]), np.zeros((2, 1))),
        Node((1,), np.array([0, 2]), np.ones((2, 1))),
        Node((2,), np.array([3]), np.ones((1, 1))),
    ]

    def last_of_both(left, right):
        return Pairs(np.array([len(left.rows) - 1]), np.array([len(right.rows) - 1]))

    node, merges = carry_out(nodes, ((0, 1), 2), Recorder(), last_of_both)
    assert [(m.pairs.left.tolist(), m.pairs.right.tolist()) for m in merges] == [
        ([4], [2]),
        ([2], [3]),
    ]
    np.testing.assert_array_equal(node.rows, [1, 4, 0, 2, 3])


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        (None, None, None),
        ([2, 0], None, [2, 0, 3, 4]),
        (None, [1], [0, 1, 2, 4]),
        ([1], [0], [1, 3]),
    ],
)
def test_restrictions_are_joined_only_where_there_is_one(left, right, expected):
    def rows(entry):
        return None if entry is None else np.array(entry)

    nodes = [
        Node((0,), np.arange(3), np.zeros((3, 1)), restrict=rows(left)),
        Node((1,), np.arange(3, 5), np.zeros((2, 1)), restrict=rows(right)),
    ]
    node, _ = carry_out(nodes, (0, 1), Recorder(), one_pair)
    assert (node.restrict is None) if expected is None else node.restrict.tolist() == expected


def test_batch_vectors_are_stored_left_first_then_right_then_the_new_one():
    class Vectors(Recorder):
        def merge(self, left, right, find_pairs):
            outcome = super().merge(left, right, find_pairs)
            vector = np.array([len(self.merged)])
            return Outcome(outcome.left, outcome.right, outcome.pairs, vector=vector)

    node, _ = carry_out(one_cell_nodes(4), ((0, 1), (2, 3)), Vectors(), one_pair)
    # 2 + 3 comes first, then 0 + 1, which is left of the last merge.
    assert [int(v[0]) for v in node.vectors] == [2, 1, 3]


def test_lost_variance_is_zero_for_batches_that_took_no_part():
    class Losing(Recorder):
        def merge(self, left, right, find_pairs):
            return Outcome(left, right, find_pairs(left, right), lost_variance={1: 0.25, 2: 0.5})

    _, merges = carry_out(one_cell_nodes(3), (0, (1, 2)), Losing(), one_pair)
    np.testing.assert_array_equal(merges[0].lost_variance, [0, 0.25, 0.5])
    _, merges = carry_out(one_cell_nodes(3), (0, (1, 2)), Recorder(), one_pair)
    assert np.isnan(merges[0].lost_variance).all()


def test_a_merge_without_pairs_is_refused():
    nothing = np.empty(0, np.int64)
    with pytest.raises(ValueError, match=r'no mutual nearest pairs.*neighbors="exact"'):
        carry_out(
            one_cell_nodes(2), (0, 1), Recorder(), lambda left, right: Pairs(nothing, nothing)
        )


def test_a_single_batch_makes_no_merge():
    node, merges = carry_out(one_cell_nodes(1), 0, Recorder(), one_pair)
    assert node.batches == (0,)
    assert merges == ()


def test_progress_counts_merges():
    told = []
    carry_out(
        one_cell_nodes(3),
        ((0, 1), 2),
        Recorder(),
        one_pair,
        compute=ComputeOptions(progress=lambda *s: told.append(s)),
    )
    assert told == [("merges", 0.5), ("merges", 1.0)]
