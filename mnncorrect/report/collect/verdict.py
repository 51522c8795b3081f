"""The verdict on a correction: did it work, what was left alone and why, whom not to trust."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mnncorrect._prepare.method_registry import recorded_method
from mnncorrect.core.metrics.mixing import APART, PARTLY
from mnncorrect.report.collect.advice import (
    percent,
    poorly_mixed,
    skipped_merges,
    some,
    without_counterpart,
)
from mnncorrect.report.collect.advice_on_correction import (
    CHANGED,
    LESS_PRESERVED,
    STILL_APART,
    VARIANCE_LOST,
    advise,
    much_lost,
)
from mnncorrect.report.collect.mixing import mixing_text

# A rise of mixing that is less than this is none.
LEAST_RISE = 0.05
# Shares of cells in groups where batches are apart that change the verdict.
MANY_APART, SOME_APART = 0.25, 0.05
# Warnings that the verdict has words of its own for.
TOLD_ABOVE = {STILL_APART, CHANGED, VARIANCE_LOST}
# Groups that are named in one sentence, and in the headline.
NAMED, NAMED_IN_HEADLINE = 4, 2
# By state: the color of the headline, and the verdict in one sentence.
HEADLINES = {
    "mixed": ("good", "The batches mix."),
    "partly": ("doubt", "The batches mix in part."),
    "apart": ("bad", "The batches are still apart."),
    "left alone": ("good", "Nothing was corrected: the batches mixed already."),
    "left apart": ("bad", "Nothing was corrected, and the batches are apart."),
    "unknown": ("unknown", "Whether the batches mix is not known."),
}


def verdict_on(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Judge a correction by its mixing, its merges, its confidence and its scores.

    Beside the state and the headline, sentences: whether batches mix, and what that cost
    (``worked``); what was ``left_alone``, and why; what not to trust, empty if nothing stands out.
    """
    state = _verdict_state(facts)
    return {
        "state": state,
        "level": HEADLINES[state][0],
        "headline": _verdict_headline(facts, state),
        "worked": _worked(facts),
        "left_alone": _alone(facts),
        "do_not_trust": _distrust(facts),
    }


def share_of_attainable(mixing: Mapping[str, Any] | None) -> float | None:
    """Return mixing as a share of what is attainable."""
    if mixing is None or mixing["after"] is None or not mixing["attainable"]:
        return None
    return float(mixing["after"] / mixing["attainable"])


def _verdict_state(facts: Mapping[str, Any]) -> str:
    merges = facts["merges"]
    nothing = bool(merges) and all(merge["skipped"] for merge in merges)
    share = share_of_attainable(facts["mixing"])
    if share is None:
        return "unknown"
    if nothing:
        return "left alone" if share >= APART else "left apart"
    apart = share < APART or facts["mixing"]["apart"] >= MANY_APART
    partly = share < PARTLY or facts["mixing"]["apart"] > SOME_APART
    return "apart" if apart else "partly" if partly else "mixed"


def _verdict_headline(facts: Mapping[str, Any], state: str) -> str:
    """Name the groups that are apart where the others are not."""
    groups = () if facts["mixing"] is None else facts["mixing"]["groups"]
    apart = [row["name"] for row in groups if row["state"] == "apart"]
    others = [row for row in groups if row["state"] in {"mixed", "partly"}]
    if state != "apart" or not apart or not others:
        return HEADLINES[state][1]
    kind, key = facts["mixing"]["kind"], facts["mixing"]["key"]
    if len(apart) > NAMED_IN_HEADLINE:
        return f"The batches are still apart in {len(apart)} of {len(groups)} {kind}s ({key})."
    return f"The batches are still apart in {_groups_named(kind, apart)} ({key})."


def _groups_named(kind: str, names: Sequence[str]) -> str:
    """List groups; clusters need the word, as their names are numbers."""
    listed = some(names, NAMED)
    return listed if kind != "cluster" else f"cluster{'s' * (len(names) > 1)} {listed}"


def _worked(facts: Mapping[str, Any]) -> list[str]:
    mixing = facts["mixing"]
    told = []
    if mixing is None:
        told.append("There is one batch, so nothing can mix.")
    elif mixing["after"] is None:
        told.append("No group of cells has enough cells of two batches to measure how they mix.")
    else:
        within = "of all cells" if mixing["key"] is None else f"within {mixing['key']}"
        now, before = mixing_text(mixing["after"], mixing["attainable"]), mixing["before"]
        if before is None:
            told.append(f"Mixing {within} is {now}.")
        elif abs(mixing["after"] - before) < LEAST_RISE:
            told.append(f"Mixing {within} was {before:.2f}, and is {now}.")
        else:
            rose = "rose" if mixing["after"] > before else "fell"
            told.append(f"Mixing {within} {rose} from {before:.2f} to {now}.")
    kept = _score_row(facts, "preserved")
    if kept.get("after") is not None:
        null = kept.get("null")
        beside = "" if null is None else f" ({percent(null)} where nothing needs correction)"
        told.append(f"Cells kept {percent(kept['after'])} of their neighbors{beside}.")
    if mixing is not None and mixing["of_one_batch"] > 0:
        told.append(
            f"{percent(mixing['of_one_batch'])} of the cells lie in a {mixing['kind']} of one "
            "batch, where nothing can mix."
        )
    return told


def _alone(facts: Mapping[str, Any]) -> list[str]:
    if facts["about"] == "embedding":
        return ["Not known: another tool made this embedding."]
    told = []
    apart, barred, alone = skipped_merges(facts)
    if apart:
        told.append(
            f"{some(apart, NAMED)}: differs from the other batches, and no population was "
            "recognized on both sides."
        )
    if barred:
        told.append(
            f"{some(barred, NAMED)}: the labels, or the columns to keep, allow no pair of their "
            "cells."
        )
    if alone and len(alone) == len(facts["merges"]):
        told.append("All batches: their differences are not distinguishable from noise.")
    elif alone:
        told.append(
            f"{some(alone, NAMED)}: the difference from the other batches is not distinguishable "
            "from noise."
        )
    confidence = facts["confidence"]
    if confidence is not None and confidence["below"] and not told:
        told.append(
            f"{percent(confidence['below'])} of the cells have no counterpart in another batch; "
            "they move with the cells around them."
        )
    if confidence is None:
        told = told or ["Nothing. Every merge was corrected."]
        method = recorded_method(facts["parameters"])
        told.append(
            "Cells without a counterpart are not known: the file has no confidence."
            if method is None or method.has_confidence
            else f"Method {method.name} does not detect cells without a counterpart: they move "
            "like all others."
        )
    return told or ["Nothing. Every merge was corrected, and every cell has a counterpart."]


def _distrust(facts: Mapping[str, Any]) -> list[str]:
    told = []
    mixing = facts["mixing"]
    if mixing is not None:
        names = poorly_mixed(mixing, "apart", "partly")
        if names and mixing["key"] is None:
            told.append(
                "Batches mix poorly, and the file has no clusters or labels that show where. The "
                "map by mixing shows the cells."
            )
        elif names:
            told.append(
                f"Batches mix poorly in {_groups_named(mixing['kind'], names)}: look there first."
            )
    if not all(merge["skipped"] for merge in facts["merges"]):
        unsure, lone = without_counterpart(facts)
        if lone:
            told.append(
                f"Most cells of {_groups_named('cluster', lone)} have no counterpart in another "
                "batch: do not compare batches there."
            )
        elif unsure:
            told.append(f"Many cells without a counterpart: {some(unsure, NAMED)}.")
    kept = _score_row(facts, "preserved")
    after, null = kept.get("after"), kept.get("null")
    if after is not None and null is not None and after < LESS_PRESERVED * null:
        told.append(
            "Neighborhoods within batches changed: compare clusters of one batch before and after."
        )
    lost = much_lost(facts)[0]
    if lost:
        told.append(
            f"Differences between cells of {some(lost, NAMED)}: the correction removed this share "
            "of the variance within the batch."
        )
    others = [
        one.title for one in advise(facts) if one.level == "warning" and one.title not in TOLD_ABOVE
    ]
    if others:
        told.append(f"Read the warnings below: {'; '.join(others)}.")
    return told


def _score_row(facts: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    rows = facts["evaluation"]["scores"] or ()
    return next((row for row in rows if row["score"] == name), {})
