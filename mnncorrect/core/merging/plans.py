"""Merge plans: which batches are merged with which, and in what order.

A plan is given as a sequence or a tree of names, or is made from the data.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import reduce
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Tree = int | tuple["Tree", "Tree"]
"""A merge plan: a batch number, or the merge of a left (reference) and a right plan."""

Order = Tree | Literal["balanced"] | None
"""The argument of a method: a plan, a request to make one from the data, or nothing."""

# Cells whose distances from the mean are held at a time.
SCATTER_BLOCK = 4096


def progressive(n_batches: int) -> Tree:
    """Plan to add the batches one after the other in their order."""
    return _chain(list(range(n_batches)))


def parse_merge_order(order: str | Sequence[Any] | None, names: Sequence[str]) -> Order:
    """Turn a merge order into a plan.

    ``None``: one batch after the other. A sequence of names: in that order. Nested sequences: a
    tree, in which inner groups are merged first, and the first child is the reference of the next.
    The command line takes the same as text; names with commas, brackets or quotes need double
    quotes. ``"balanced"``: see :func:`balanced`. Each of ``names`` must occur once.

    Examples
    --------
    >>> parse_merge_order("((c,a),b)", ["a", "b", "c"])
    ((2, 0), 1)
    """
    if order is None:
        return progressive(len(names))
    if isinstance(order, str):
        if order == "balanced":
            return "balanced"
        order = parse_nested(order)
    number = {str(name): at for at, name in enumerate(names)}
    leaves: list[str] = []
    tree = _build(order, number, leaves)
    seen = Counter(leaves)
    problems = [
        ("names {}, and there is no such batch", sorted(set(seen) - set(number))),
        ("leaves out {}", [name for name in number if name not in seen]),
        ("repeats {}", sorted(name for name, times in seen.items() if times > 1)),
    ]
    for problem, culprits in problems:
        if culprits:
            raise ValueError(
                f"the merge order {problem.replace('{}', _listing(culprits))}; name every batch "
                f"exactly once: {_listing(list(number))}"
            )
    return tree


def nested_plan(values: Sequence[Sequence[int]]) -> Tree:
    """Plan to merge within the innermost of several factors first.

    ``values`` has the codes of each batch, outermost factor first. Batches that share all values
    but the last are merged first, one after the other, then those that share all but the last two,
    and so on. Values keep the order of their first batches.

    Examples
    --------
    >>> nested_plan([(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)])
    ((0, 1), ((2, 3), 4))
    """
    nodes: dict[tuple[int, ...], Tree] = {tuple(value): at for at, value in enumerate(values)}
    for depth in range(len(values[0]) - 1, -1, -1):
        groups: dict[tuple[int, ...], list[Tree]] = {}
        for value, node in nodes.items():
            groups.setdefault(value[:depth], []).append(node)
        nodes = {value: _chain(group) for value, group in groups.items()}
    return nodes[()]


def nested_names(tree: Tree, names: Sequence[str]) -> Any:
    """Write a plan with batch names, in nested lists as :func:`parse_merge_order` reads them.

    Batches that are merged one after the other share one list: ``["a", "b", "c"]``, not
    ``[["a", "b"], "c"]``. So plans for many batches do not nest deeply.

    Examples
    --------
    >>> nested_names((((0, 1), 2), (3, 4)), "abcde")
    [['a', 'b', 'c'], ['d', 'e']]
    """
    written: list[Any] = []
    for node in postorder(tree):
        if isinstance(node, int):
            written.append(names[node])
            continue
        left, right = written.pop(), written.pop()
        # A list of batches goes on with a batch, a list of groups with a group.
        goes_on = isinstance(left, list) and isinstance(left[0], list) == isinstance(right, list)
        written.append([*left, right] if goes_on else [left, right])
    return written[0]


def plan_text(nested: Any) -> str:
    """Write nested names as text that :func:`parse_merge_order` reads.

    Examples
    --------
    >>> plan_text([["a", "b, c"], "d"])
    '((a,"b, c"),d)'
    """
    if isinstance(nested, list):
        return f"({','.join(map(plan_text, nested))})"
    plain = nested and nested == nested.strip() and not set(nested) & set('(),"\\')
    return nested if plain else json.dumps(nested, ensure_ascii=False)


def _chain(children: list[Tree]) -> Tree:
    return reduce(lambda left, right: (left, right), children)


def _build(order: Any, number: dict[str, int], leaves: list[str]) -> Tree:
    if isinstance(order, str) or not isinstance(order, Sequence | np.ndarray):
        leaves.append(str(order))
        return number.get(str(order), -1)
    if not len(order):
        raise ValueError(
            "the merge order has an empty group; every group needs at least one batch name"
        )
    return _chain([_build(child, number, leaves) for child in order])


def parse_nested(text: str, what: str = "the merge order") -> list[Any]:
    """Read ``((A,B),"C,D")`` into nested lists; ``what`` names the text in errors."""
    stack: list[list[Any]] = [[]]
    at = 0
    expect_name = True
    while at < len(text):
        sign = text[at]
        if sign.isspace():
            at += 1
        elif sign == "(" and expect_name:
            stack.append([])
            at += 1
        elif sign == ")" and not expect_name and len(stack) > 1:
            group = stack.pop()
            stack[-1].append(group)
            at += 1
        elif sign == "," and not expect_name:
            expect_name = True
            at += 1
        elif sign == '"' and expect_name:
            try:
                name, length = json.JSONDecoder().raw_decode(text[at:])
            except ValueError:
                break
            stack[-1].append(name)
            at += length
            expect_name = False
        elif expect_name and sign not in "),":
            end = min((p for p in (text.find(s, at) for s in "(),") if p >= 0), default=len(text))
            stack[-1].append(text[at:end].strip())
            at = end
            expect_name = False
        else:
            break
    if at < len(text) or len(stack) != 1 or expect_name:
        raise ValueError(
            f"{what} {text!r} cannot be read at character {at + 1}; write A,B,C or ((A,B),(C,D))"
        )
    return stack[0]


def _listing(names: list[str], most: int = 20) -> str:
    shown = ", ".join(repr(name) for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


def postorder(tree: Tree) -> Iterator[Tree]:
    """Go through a plan so that both children come before their merge, the right one first."""
    stack: list[tuple[Tree, bool]] = [(tree, False)]
    while stack:
        node, children_done = stack.pop()
        if isinstance(node, int) or children_done:
            yield node
        else:
            stack += [(node, True), (node[0], False), (node[1], False)]


def scatter(x: NDArray[Any]) -> float:
    """Sum the squared distances of cells from their mean, in float64.

    Among batches of equal size, the one that scatters most counts as the larger one, because it
    most probably has all populations. So the values of batches decide, and not their names.
    """
    mean = x.mean(0, dtype=np.float64)
    return sum(
        float(((x[at : at + SCATTER_BLOCK] - mean) ** 2).sum())
        for at in range(0, len(x), SCATTER_BLOCK)
    )


def balanced(
    centers: NDArray[np.float64],
    sizes: NDArray[np.integer[Any]],
    scatters: NDArray[np.float64],
) -> Tree:
    """Plan to merge similar batches first, in rounds that halve their number.

    Each cell then takes part in about log2(batches) merges; a chain searches the first batches
    again with every batch. In each round the two nodes with the nearest ``centers`` are merged,
    then the next two, and so on; an odd node waits. The larger side of a merge is its reference,
    and among equal ones the side with the larger :func:`scatter`. Without ties, the order of
    batches has no influence.

    Examples
    --------
    >>> balanced(np.array([[0.0], [9.0], [1.0], [8.0]]), np.array([5, 7, 5, 7]), np.arange(4.0))
    ((3, 1), (2, 0))
    """
    nodes = [
        JoinedBatches(number, np.asarray(center, np.float64), int(size), float(spread))
        for number, (center, size, spread) in enumerate(zip(centers, sizes, scatters, strict=True))
    ]
    while len(nodes) > 1:
        means = np.stack([node.mean for node in nodes])
        first, second = np.triu_indices(len(nodes), 1)
        distances = np.concatenate(
            [np.linalg.norm(means[at + 1 :] - means[at], axis=1) for at in range(len(nodes) - 1)]
        )
        free = set(range(len(nodes)))
        joined = []
        for at in np.argsort(distances, kind="stable"):
            i, j = int(first[at]), int(second[at])
            if i in free and j in free:
                free -= {i, j}
                joined.append(_join_batches(nodes[i], nodes[j]))
        nodes = joined + [nodes[at] for at in sorted(free)]
    return nodes[0].tree


class JoinedBatches(NamedTuple):
    """Mean and size of the nodes that :func:`balanced` has merged so far."""

    tree: Tree
    mean: NDArray[np.float64]
    size: int
    scatter: float


def _join_batches(one: JoinedBatches, other: JoinedBatches) -> JoinedBatches:
    ahead = (one.size, one.scatter) >= (other.size, other.scatter)
    left, right = (one, other) if ahead else (other, one)
    size = left.size + right.size
    mean = (left.mean * left.size + right.mean * right.size) / size
    return JoinedBatches((left.tree, right.tree), mean, size, left.scatter + right.scatter)


def plan_of_merges(sides: Sequence[tuple[tuple[int, ...], tuple[int, ...]]]) -> Tree:
    """Derive the plan from the left and right batches of the merges that were made."""
    trees: dict[tuple[int, ...], Tree] = {}
    for left, right in sides:
        joined = [trees.pop(side) if len(side) > 1 else side[0] for side in (left, right)]
        trees[left + right] = (joined[0], joined[1])
    return trees.popitem()[1]
