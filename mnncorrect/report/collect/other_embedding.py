"""An embedding of another tool, judged as a correction is."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mnncorrect._adata import Keys, take_embedding
from mnncorrect.report.collect import measured
from mnncorrect.report.collect.advice import as_facts
from mnncorrect.report.collect.advice_on_correction import advise
from mnncorrect.report.collect.facts import Gathered, draw_map
from mnncorrect.report.collect.mixing import draw_cells, local_mixing, of_mixing
from mnncorrect.report.collect.verdict import verdict_on

if TYPE_CHECKING:
    from anndata import AnnData

    from mnncorrect.report.collect.report_options import ReportOptions

# What the names of scores begin with that are computed for an embedding, and not kept.
COMPARED_KEY = "mnn_report_compared"


def gather_other(adata: AnnData, first: Gathered, use_rep: str, wanted: ReportOptions) -> Gathered:
    """Collect what a comparison says of an embedding beside its correction, ``first``."""
    after = take_embedding(adata, use_rep)
    batches, groups = first.batches, first.labels or first.clusters
    sample = draw_cells(batches, groups, wanted)
    kind = ("cluster" if first.labels is None else "label", groups)
    facts: dict[str, Any] = {
        **first.facts,
        "about": "embedding",
        "file": f"{first.facts['file']}: {use_rep}",
        "parameters": {"embedding": use_rep},
        "command": {"text": "", "notes": []},
        "input_warnings": [],
        "merges": [],
        "confidence": None,
        "covariates": [],
        "genes": {"table": None, "reason": "another tool made it"},
        "evaluation": _scores_of(adata, first, use_rep, wanted),
        "mixing": of_mixing(first.before, after, batches, kind, None, sample, wanted),
    }
    facts |= {"verdict": verdict_on(facts), "advice": as_facts(advise(facts))}
    umap = None
    if first.umap is not None and wanted.umap is not False:
        umap = draw_map(after, use_rep, sample, first.facts["umap"] or {}, wanted)
    return replace(
        first,
        facts=facts,
        after=after,
        umap=umap,
        umap_rows=sample.rows,
        confidence=None,
        mixing=local_mixing(first.before, after, batches, sample, wanted),
        sample=sample,
    )


def _scores_of(
    adata: AnnData, first: Gathered, use_rep: str, wanted: ReportOptions
) -> dict[str, Any]:
    assert first.key is not None
    if not wanted.evaluate:
        return {"scores": None, "reason": "scores were not asked for"}
    before = first.before_name if first.before_name in adata.obsm else None
    keys = Keys(COMPARED_KEY)
    found = measured.computed_scores(adata, first.key, keys, wanted, use_rep=use_rep, before=before)
    adata.uns.pop(keys.evaluation, None)
    return found
