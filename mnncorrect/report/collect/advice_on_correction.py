"""What to know about a correction: whether batches mix, what was left alone, what it cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mnncorrect._adata.lookup import side
from mnncorrect._prepare.method_registry import DEFAULT
from mnncorrect.core.merging.diagnostics import MUCH_LOST
from mnncorrect.core.metrics.kept import well_kept
from mnncorrect.report.collect.advice import (
    Advice,
    a_note,
    a_warning,
    percent,
    poorly_mixed,
    skipped_merges,
    some,
    without_counterpart,
)
from mnncorrect.report.collect.advice_on_cells import on_clusters, on_covariates, on_input, on_use
from mnncorrect.report.collect.mixing import mixing_text

# Fewer pairs than this share of the smaller side's cells, or than this number, carry a merge badly.
FEW_PAIRS_SHARE, FEW_PAIRS = 0.05, 20
LOW_RECALL = 0.95
# Of what was preserved where there was nothing to correct.
LESS_PRESERVED = 0.8
# Titles of the warnings that the verdict repeats.
STILL_APART, CHANGED = "Batches are still apart", "Neighborhoods changed"
VARIANCE_LOST, MIX_IN_PART = "Variance was lost", "Batches mix in part"


def advise(facts: Mapping[str, Any]) -> list[Advice]:
    """Judge what is known of a file; warnings first."""
    found = [
        *on_input(facts),
        *_on_mixing(facts),
        *_on_merges(facts),
        *_on_lost_variance(facts),
        *_on_kept(facts),
        *_on_confidence(facts),
        *_on_scores(facts),
        *on_covariates(facts),
        *on_clusters(facts),
        *on_use(facts),
    ]
    return sorted(found, key=lambda advice: advice.level != "warning")


def _on_mixing(facts: Mapping[str, Any]) -> Iterator[Advice]:
    mixing = facts["mixing"]
    if mixing is None:
        return
    apart, partly = poorly_mixed(mixing, "apart"), poorly_mixed(mixing, "partly")
    kind = {"label": "labels", "cluster": "clusters", "cell": "cells"}[mixing["kind"]]
    if (apart or partly) and mixing["key"] is None:
        now = mixing_text(mixing["after"], mixing["attainable"])
        yield (a_warning if apart else a_note)(
            STILL_APART if apart else MIX_IN_PART,
            f"Mixing of all cells is {now}. The file has neither clusters nor labels, so the "
            "report cannot name the populations that are apart.",
            "Add clusters (mnncorrect gmm), or name a column of labels (--label-key), and make the "
            "report again. Batches of different composition mix less than this even without a "
            "batch effect.",
        )
        return
    if apart:
        yield a_warning(
            STILL_APART,
            f"Cells of these {kind} still have mostly neighbors of their own batch: {some(apart)}. "
            f"They are {percent(mixing['apart'])} of all cells. In brackets: mixing, and that of "
            "shuffled batches.",
            "Look at them in the maps by batch and by mixing. If batches differ there by biology "
            "(a treatment, a state), keep that in mind when you compare them. If not, compare "
            "another method: mnncorrect report takes several files of the same cells.",
        )
    if partly:
        yield a_note(
            MIX_IN_PART,
            f"In these {kind} batches mix, but less than at random: {some(partly)}.",
            "Look at them in the maps before you compare batches within them.",
        )


def _on_merges(facts: Mapping[str, Any]) -> Iterator[Advice]:
    sizes = dict(zip(facts["batches"]["names"], facts["batches"]["sizes"], strict=True))
    apart, barred, alone = skipped_merges(facts)
    few: list[str] = []
    unsure: list[str] = []
    for merge in facts["merges"]:
        name = side(merge["right"])
        if merge["skipped"] or "clusters" in facts["parameters"]:
            continue  # pairs of clusters are few
        smaller = min(
            sum(sizes.get(batch, 0) for batch in merge[side]) for side in ("left", "right")
        )
        if merge["pairs"] < max(FEW_PAIRS, FEW_PAIRS_SHARE * smaller):
            few.append(f"{name} ({merge['pairs']:,})")
        recall = merge.get("recall")
        if recall is not None and recall < LOW_RECALL:
            unsure.append(f"{name} ({recall:.2f})")
    if few:
        yield a_warning(
            "Few pairs",
            f"These were merged by few mutual pairs: {some(few)}. A few pairs may join cells of "
            "different types, and the correction of all other cells is read off them.",
            "Check that these batches share a cell type with the others. Otherwise leave them out: "
            "--subset 'COLUMN!=BATCH'.",
        )
    if apart:
        yield a_warning(
            "Batches that share nothing",
            f"Not corrected: {some(apart)}. They differ from the other batches, but no population "
            "was recognized on both sides, so a batch effect is not distinguishable from "
            "a difference between cell types.",
            "Check with marker genes whether these batches have cell types in common with others. "
            "If they do, compare another method: --method fast.",
        )
    if barred:
        yield a_warning(
            "Batches that may have no pairs",
            f"Not merged: {some(barred)}. The labels, or the columns to keep, allow no pair of "
            "their cells.",
            "Where that is not wanted, correct again without --keep, or with labels that are "
            "written alike in all batches.",
        )
    if alone:
        yield a_note(
            "Batches left alone",
            f"Not corrected: {some(alone)}. Their difference is not distinguishable from "
            "that between cells assigned to batches at random, so nothing was changed.",
            "Nothing to do if these batches were processed together. If the maps show them apart, "
            "look at what differs: it may be biology, or too few cells to be sure.",
        )
    if unsure:
        yield a_warning(
            "Pairs were missed",
            f"The approximate search for neighbors found less than {percent(LOW_RECALL)} of the "
            f"pairs in: {some(unsure)}.",
            "Run again with --neighbors exact, or a higher --recall.",
        )


def much_lost(facts: Mapping[str, Any]) -> tuple[list[str], str]:
    """Name the batches that lost much variance, with the share, and where they lost it."""
    in_merges: dict[str, float] = {}
    for merge in facts["merges"]:
        for name, share in merge["lost_variance"].items():
            in_merges[name] = max(in_merges.get(name, 0.0), share)
    altogether = {
        str(row["batch"]): float(row["lost"])
        for row in facts["evaluation"].get("lost_variance") or ()
        if row.get("label") in (None, "") and row.get("lost") is not None
    }
    for worst, where in ((in_merges, "in one merge"), (altogether, "over all merges")):
        much = [f"{name} ({percent(share)})" for name, share in worst.items() if share > MUCH_LOST]
        if much:
            return much, where
    return [], ""


def _on_lost_variance(facts: Mapping[str, Any]) -> Iterator[Advice]:
    much, where = much_lost(facts)
    if not much:
        return
    default = facts["parameters"].get("method") == DEFAULT or facts["about"] == "embedding"
    instead = (
        "If they are not, leave out these batches (--subset 'COLUMN!=BATCH')."
        if default
        else f"If they are not, compare --method {DEFAULT}."
    )
    yield a_warning(
        VARIANCE_LOST,
        f"The correction removed more than {percent(MUCH_LOST)} of the variance within "
        f"these batches, {where}: {some(much)}. Differences between their cells may have "
        "been removed with the batch effect.",
        f"Look in the maps whether the cell types of these batches are still apart. {instead}",
    )


def _on_kept(facts: Mapping[str, Any]) -> Iterator[Advice]:
    changed = [
        f"{row['value']} in {row['batch']} ({row['kept']:.2f})"
        for row in facts["kept"] or ()
        if not well_kept(row["kept"])
    ]
    if changed:
        yield a_warning(
            "What was to be kept has changed",
            "The correction changed the difference of these values from the other cells of their "
            f"batch (1 is unchanged): {some(changed)}.",
            "Do not compare these values in the corrected data: compare them within each batch, "
            "on uncorrected values.",
        )


def _on_confidence(facts: Mapping[str, Any]) -> Iterator[Advice]:
    told = facts["confidence"]
    if told is None:
        return
    rows, lone = without_counterpart(facts)
    if rows:
        yield a_note(
            "Cells without a counterpart",
            f"In these batches many cells have a confidence below {told['threshold']:g} and have "
            f"no counterpart: {some(rows)}. After the correction, too few cells of another batch "
            "lie near them. They moved with the cells around them.",
            "Expected where a batch has cell types of its own. Otherwise look at these cells in "
            "the map by confidence: low quality, doublets, or a treatment that changed them.",
        )
    if lone:
        yield a_note(
            "Clusters without a counterpart",
            f"More than half of the cells of these clusters have no counterpart: {some(lone)}.",
            "Read them as populations of one batch, and do not compare batches within them.",
        )


def _on_scores(facts: Mapping[str, Any]) -> Iterator[Advice]:
    told = facts["evaluation"]
    if told["scores"] is None:
        yield a_note(
            "No scores",
            f"Mixing and preservation were not measured: {told['reason']}.",
            "Run mnncorrect evaluate on the file, and make the report again.",
        )
        return
    scores = {row["score"]: row for row in told["scores"]}
    kept = scores.get("preserved", {})
    after, null = kept.get("after"), kept.get("null")
    if after is not None and null is not None and after < LESS_PRESERVED * null:
        yield a_warning(
            CHANGED,
            f"Cells kept {percent(after)} of their neighbors within their batch, and "
            f"{percent(null)} where there was nothing to correct. Structure within batches was "
            "changed, not only their places.",
            "Compare clusters made within one batch before and after. If they differ, compare "
            "with another method: mnncorrect report takes several files of the same cells.",
        )
    if null is not None and null < LESS_PRESERVED:
        yield a_note(
            "The method changes what needs no change",
            f"Where there was nothing to correct, cells kept {percent(null)} of their neighbors "
            "within their batch after this correction.",
            "Prefer a method or parameters that leave such cells alone: compare several by "
            "mnncorrect report.",
        )
    for name in ("cilisi", "ilisi"):
        row = scores.get(name, {})
        if row.get("before") is not None and row.get("after") is not None:
            if row["after"] < row["before"]:
                yield a_warning(
                    "Batches mix less than before",
                    f"The mixing of batches ({name}) fell from {row['before']:.2f} to "
                    f"{row['after']:.2f}.",
                    "The batches may share no cell type. Check with mnncorrect check, and look at "
                    "the maps before trusting the result.",
                )
            break
