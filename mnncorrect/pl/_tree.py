"""Where the batches and merges of a tree are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mnncorrect._adata.record import MergeRecord


# Merges above each other that texts have room beside.
DEEP_TREE = 5


@dataclass(frozen=True)
class Joint:
    """A merge in the tree."""

    merge: int  # Number of the merge, from 0.
    x: float  # Larger, the more merges lie before it.
    y: float  # Middle of what it joins.
    ends: tuple[tuple[float, float], ...]  # Places of what it joins.


@dataclass(frozen=True)
class MergeTree:
    """Batches at x = 0, one below the other from y = 0 on, and the merges that join them."""

    leaves: tuple[str, ...]
    joints: tuple[Joint, ...]

    @property
    def is_deep(self) -> bool:
        """Whether texts at the merges would make the tree too wide: number the merges instead."""
        return self.depth > DEEP_TREE

    @property
    def depth(self) -> float:
        """Place of the last merge."""
        return max((joint.x for joint in self.joints), default=0.0)


def lay_out(batches: Sequence[str], merges: Sequence[MergeRecord]) -> MergeTree:
    """Place batches so that those merged lie together, and merges between them."""
    # Nodes: batches by number, then merges; children of each merge.
    children: list[list[int]] = []
    node_of = {name: number for number, name in enumerate(batches)}
    for number, merge in enumerate(merges):
        joined = [node_of[name] for name in (*merge.left, *merge.right)]
        children.append(list(dict.fromkeys(joined)))
        whole = set(joined)
        node = len(batches) + number
        node_of = {name: node if at in whole else at for name, at in node_of.items()}
    place: dict[int, tuple[float, float]] = {}
    leaves: list[str] = []
    for root in dict.fromkeys(node_of.values()):
        for leaf in _leaves(root, children, len(batches)):
            place[leaf] = (0.0, float(len(leaves)))
            leaves.append(batches[leaf])
    joints = []
    for number, below in enumerate(children):
        ends = tuple(place[node] for node in below)
        x = 1 + max(end[0] for end in ends)
        y = sum(end[1] for end in ends) / len(ends)
        place[len(batches) + number] = (x, y)
        joints.append(Joint(number, x, y, ends))
    return MergeTree(tuple(leaves), tuple(joints))


def _leaves(root: int, children: Sequence[Sequence[int]], n_leaves: int) -> list[int]:
    found, waiting = [], [root]
    while waiting:
        node = waiting.pop()
        if node < n_leaves:
            found.append(node)
        else:
            waiting += reversed(children[node - n_leaves])
    return found
