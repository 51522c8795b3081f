"""A paragraph for the methods section of a paper, with what to cite."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mnncorrect._prepare.methods import recorded_method
from mnncorrect._prepare.removed_cells import removed_by_batch

if TYPE_CHECKING:
    from collections.abc import Mapping

CITATIONS = {
    "mnn": "Haghverdi L, Lun ATL, Morgan MD, Marioni JC (2018). Batch effects in single-cell "
    "RNA-sequencing data are corrected by matching mutual nearest neighbors. Nature Biotechnology "
    "36, 421-427. doi:10.1038/nbt.4091",
    "scanpy": "Wolf FA, Angerer P, Theis FJ (2018). SCANPY: large-scale single-cell gene "
    "expression data analysis. Genome Biology 19, 15. doi:10.1186/s13059-017-1382-0",
    "umap": "McInnes L, Healy J, Melville J (2018). UMAP: Uniform Manifold Approximation and "
    "Projection for dimension reduction. arXiv:1802.03426",
    "cilisi": "Andreatta M et al. (2024). Semi-supervised integration of single-cell "
    "transcriptomics data. Nature Communications 15, 872. doi:10.1038/s41467-024-45240-z",
}
# Parameters that a sentence of their own tells, or that only say where values are.
TOLD_ELSEWHERE = frozenset(
    {"key", "method", "layer", "use_raw", "mask_var", "n_comps", "n_neighbors", "use_rep",
     "adjusted_basis", "merge_order", "batch_weights", "n_jobs", "key_added", "regress_out"}
)  # fmt: skip


def methods_text(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Write what was done as a methods section does, with citations."""
    params, made = facts["parameters"], facts["provenance"]
    known = recorded_method(params)
    described = str(params.get("method", "")) if known is None else known.described
    batches = facts["batches"]
    cited = ["mnn", "scanpy"]
    first = (
        f"{facts['n_cells']:,} cells of {len(batches['names'])} batches "
        f"(column {batches['key'] or '-'} of obs) were corrected for batch effects with mnncorrect "
        f"{made.get('version', '?')}, by {described} (Haghverdi et al. 2018)."
    )
    said = [first, *_values_sentence(facts)]
    if params.get("n_neighbors") is not None:
        said.append(
            f"Mutual nearest neighbors were searched among {params['n_neighbors']} neighbors in "
            "each direction."
        )
    skipped = sum(merge["skipped"] for merge in facts["merges"])
    n_merges = len(facts["merges"])
    n_pairs = sum(merge["pairs"] for merge in facts["merges"])
    said.append(
        f"{skipped} of {n_merges} merges {'was' if skipped == 1 else 'were'} skipped."
        if skipped
        else f"{n_merges} {'merge was' if n_merges == 1 else 'merges were'} carried out"
        f" ({n_pairs:,} pairs)."
    )
    clusters = facts["clusters"]
    if clusters is not None and clusters["n_clusters"] is not None:
        said.append(
            f"A Gaussian mixture on the corrected values gave {clusters['n_clusters']} clusters "
            f"(number chosen by {str(clusters['criterion']).upper()})."
        )
    if facts["umap"] is not None:
        cited.append("umap")
        said.append(
            f"The map was drawn by UMAP (McInnes et al. 2018; {facts['umap'].get('n_neighbors')} "
            f"neighbors, minimum distance {facts['umap'].get('min_dist')})."
        )
    mixing = facts["mixing"]
    if mixing is not None and mixing["after"] is not None:
        cited.append("cilisi")
        before = "" if mixing["before"] is None else f"{mixing['before']:.2f} before, "
        said.append(
            f"Mixing of batches (CiLISI, Andreatta et al. 2024) was {before}{mixing['after']:.2f} "
            f"after the correction; shuffled batches score {mixing['attainable']:.2f}."
        )
    others = [f"{name} {value}" for name, value in params.items() if name not in TOLD_ELSEWHERE]
    if others:
        said.append(f"Other parameters: {', '.join(others)}.")
    said.append(f"Random seed: {made.get('random_state', 0)}.")
    return {"text": " ".join(said), "citations": [CITATIONS[name] for name in cited]}


def _values_sentence(facts: Mapping[str, Any]) -> list[str]:
    """Say which values were corrected."""
    params, prepared = facts["parameters"], facts["prepared"]
    if params.get("use_rep") is not None:
        return [f"The embedding {params['use_rep']} was corrected."]
    said = [*_removed_sentence(prepared)]
    if prepared.get("counts"):
        steps = []
        if prepared.get("normalize", True):
            steps.append("scaled to the median total of cells")
        if prepared.get("log1p", True):
            steps.append("transformed by log(1 + x)")
        if steps:
            said.append(f"Counts were {' and '.join(steps)}.")
    n_genes = facts["n_genes_used"]
    if n_genes is not None:
        chosen = "highly variable genes" if prepared.get("hvg") else "genes"
        said.append(f"Distances were measured on {n_genes:,} {chosen}.")
    if params.get("regress_out") is not None:
        columns = [str(name) for name in json.loads(params["regress_out"])]
        said.append(
            f"Effects of {' and '.join(columns)} were regressed out of each gene by least squares "
            "within batches."
        )
    if params.get("n_comps") is not None:
        said.append(f"{params['n_comps']} principal components were computed.")
    return said


def _removed_sentence(prepared: Mapping[str, Any]) -> list[str]:
    """Say which cells were removed before."""
    if "n_removed" not in prepared:
        return []
    rules = {
        "min_counts": "fewer than {:g} counts",
        "min_genes": "fewer than {:g} genes",
        "max_mito": "more than {:g} % mitochondrial counts",
    }
    told = [text.format(prepared[name]) for name, text in rules.items() if name in prepared]
    by_batch = removed_by_batch(prepared)
    where = f" ({by_batch})" if by_batch else ""
    n_removed = f"{prepared['n_removed']:,} cells{where}"
    return [f"Cells with {' or '.join(told)} were removed: {n_removed}."]
