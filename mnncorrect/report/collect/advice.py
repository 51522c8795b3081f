"""What a reader should know before trusting a result, in plain words, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, NamedTuple

from mnncorrect._adata.lookup import leading, shortened, side
from mnncorrect.core.metrics.mixing import MANY_ALONE

# Names in a list, letters of a name.
N_NAMED, MOST_NAME_LETTERS = 8, 60
# More of a batch's cells than this share without a counterpart are worth a word.
MANY_UNSURE = 0.25


@dataclass(frozen=True)
class Advice:
    """One thing to know."""

    level: str  # ``"warning"``: it may spoil conclusions; ``"note"``: it is good to know.
    title: str  # In a few words.
    text: str  # What was found.
    remedy: str  # What to do.


a_warning, a_note = partial(Advice, "warning"), partial(Advice, "note")


def as_facts(advice: Sequence[Advice]) -> list[dict[str, str]]:
    """Return what to know as JSON has it."""
    return [asdict(one) for one in advice]


def some(names: Sequence[str], most: int = N_NAMED) -> str:
    """List names, long ones shortened; of many, the first.

    Examples
    --------
    >>> some(["a", "b"]), some(list("abcd"), most=2)
    ('a, b', 'a, b and 2 more')
    """
    return leading([shortened(name, MOST_NAME_LETTERS) for name in names], most)


def percent(share: float) -> str:
    """Write a share in per cent.

    Examples
    --------
    >>> percent(0.3), percent(0.004), percent(0.0004)
    ('30 %', '0.4 %', 'below 0.1 %')
    """
    if 0 < share < 0.001:
        return "below 0.1 %"
    return f"{100 * share:.0f} %" if share >= 0.1 or share == 0 else f"{100 * share:.1f} %"


class SkippedMerges(NamedTuple):
    """The merges that were skipped, by the reason: what was to be merged."""

    apart: list[str]  # It differs, and nothing was found that both sides share.
    barred: list[str]  # Labels, or what is kept, allow no pair; and with what.
    alone: list[str]  # The difference is not distinguishable from noise.


def skipped_merges(facts: Mapping[str, Any]) -> SkippedMerges:
    """Part the merges that were skipped by the reason."""
    found = SkippedMerges([], [], [])
    for merge in facts["merges"]:
        name = side(merge["right"])
        if merge["skipped"] and merge.get("barred"):
            found.barred.append(f"{name} with {side(merge['left'])}")
        elif merge["skipped"]:
            (found.apart if merge.get("apart") else found.alone).append(name)
    return found


def poorly_mixed(mixing: Mapping[str, Any], *states: str) -> list[str]:
    """Name the groups of some states with their mixing, the worst first."""
    rows = [row for row in mixing["groups"] if row["state"] in states]
    rows.sort(key=lambda row: (row["state"] != "apart", row["after"] / row["attainable"]))
    return [f"{row['name']} ({row['after']:.2f} of {row['attainable']:.2f})" for row in rows]


def without_counterpart(facts: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Name batches that were merged, and clusters, of which many cells have no counterpart."""
    told, merges = facts["confidence"], facts["merges"]
    if told is None:
        return [], []
    done = [merge for merge in merges if not merge["skipped"]]
    merged = {name for merge in done for name in (*merge["left"], *merge["right"])}
    merged -= {name for merge in merges if merge["skipped"] for name in merge["right"]}
    batches = [
        f"{row['name']} ({percent(row['below'])})"
        for row in told["by_batch"]
        if row["name"] in merged and (row["below"] or 0) > MANY_UNSURE
    ]
    clusters = [row["name"] for row in told["by_cluster"] or () if (row["below"] or 0) > MANY_ALONE]
    return batches, clusters
