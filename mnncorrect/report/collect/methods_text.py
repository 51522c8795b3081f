"""A paragraph for the methods section of a paper, with what to cite."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping
from typing import Any

from mnncorrect._prepare.method_registry import RegisteredMethod, recorded_method
from mnncorrect._prepare.removed_cells import removed_by_batch

# By the words that cite them in the text.
CITATIONS = {
    "Haghverdi et al. 2018": "Haghverdi L, Lun ATL, Morgan MD, Marioni JC (2018). Batch effects "
    "in single-cell RNA-sequencing data are corrected by matching mutual nearest neighbors. "
    "Nature Biotechnology 36, 421-427. doi:10.1038/nbt.4091",
    "Wolf et al. 2018": "Wolf FA, Angerer P, Theis FJ (2018). SCANPY: large-scale single-cell "
    "gene expression data analysis. Genome Biology 19, 15. doi:10.1186/s13059-017-1382-0",
    "McInnes et al. 2018": "McInnes L, Healy J, Melville J (2018). UMAP: Uniform Manifold "
    "Approximation and Projection for dimension reduction. arXiv:1802.03426",
    "Satija et al. 2015": "Satija R, Farrell JA, Gennert D, Schier AF, Regev A (2015). Spatial "
    "reconstruction of single-cell gene expression data. Nature Biotechnology 33, 495-502. "
    "doi:10.1038/nbt.3192",
    "Korsunsky et al. 2019": "Korsunsky I et al. (2019). Fast, sensitive and accurate integration "
    "of single-cell data with Harmony. Nature Methods 16, 1289-1296. doi:10.1038/s41592-019-0619-0",
    "Andreatta et al. 2024": "Andreatta M et al. (2024). Semi-supervised integration of "
    "single-cell transcriptomics data. Nature Communications 15, 872. "
    "doi:10.1038/s41467-024-45240-z",
}
# Parameters that a sentence of their own tells, or that only say where results are.
TOLD_ELSEWHERE = frozenset(
    {"key", "method", "layer", "use_raw", "mask_var", "n_comps", "n_neighbors", "use_rep",
     "adjusted_basis", "merge_order", "batch_weights", "n_jobs", "key_added", "regress_out",
     "cosine_norm", "neighbors", "recall", "label_key", "keep", "reference"}
)  # fmt: skip
# Batches whose order is written out.
MOST_IN_ORDER = 10


def methods_text(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Write what was done as a methods section does, with the papers that it cites."""
    params, made = facts["parameters"], facts["provenance"]
    method = recorded_method(params)
    batches = facts["batches"]
    described = "" if method is None else f": {method.described}"
    first = (
        f"{facts['n_cells']:,} cells of {len(batches['names'])} batches "
        f"(column {batches['key'] or '-'} of obs) were corrected by matching mutual nearest "
        f"neighbors (Haghverdi et al. 2018) with mnncorrect {made.get('version', '?')}, method "
        f"{params.get('method')}{described}."
    )
    text = " ".join(
        [
            first,
            *_values_sentences(facts),
            *_pairs_sentences(params, method),
            _merges_sentence(facts),
            *_clusters_sentences(facts["clusters"]),
            *_map_sentence(facts["umap"]),
            *_mixing_sentence(facts["mixing"]),
            f"Random seed: {made.get('random_state', 0)}.",
        ]
    )
    cited = sorted((name for name in CITATIONS if name in text), key=text.index)
    return {"text": text, "citations": [CITATIONS[name] for name in cited]}


def _values_sentences(facts: Mapping[str, Any]) -> Iterator[str]:
    """Say which values were corrected, and how they were made."""
    params, prepared = facts["parameters"], facts["prepared"]
    if params.get("use_rep") is not None:
        yield f"The embedding {params['use_rep']} was corrected."
        return
    if "n_removed" in prepared:
        yield _removed_sentence(prepared)
    steps = []
    if prepared.get("counts"):
        if prepared.get("normalize", True):
            steps.append("scaled to the median total of cells")
        if prepared.get("log1p", True):
            steps.append("transformed by log(1 + x)")
    if steps:
        yield f"Counts were {' and '.join(steps)}."
    else:
        what = prepared.get("values", "values")
        yield f"The {what} of {_values_place(params)} were used as given."
    n_genes = facts["n_genes_used"]
    if n_genes is not None and prepared.get("hvg"):
        yield f"{n_genes:,} genes that vary highly within batches were used (Satija et al. 2015)."
    elif n_genes is not None:
        mask = params.get("mask_var")
        yield f"{n_genes:,} genes were used{f' (column {mask} of var)' if mask else ''}."
    if params.get("regress_out") is not None:
        yield (
            f"Effects of {_columns_listed(params['regress_out'])} were regressed out of each gene "
            "by least squares within batches."
        )
    if params.get("cosine_norm"):
        yield "Cells were scaled to unit length."
    if params.get("n_comps") is not None:
        weights = params.get("batch_weights")
        of_batches = "equal weight" if weights is None else f"the weights {weights}"
        n_comps = params["n_comps"]
        yield f"{n_comps} principal components were used; batches have {of_batches} in them."


def _values_place(params: Mapping[str, Any]) -> str:
    if params.get("use_raw"):
        return "raw"
    return "X" if params.get("layer") is None else f"the layer {params['layer']}"


def _columns_listed(recorded: Any) -> str:
    """List names that are recorded as JSON, or one name."""
    try:
        names = json.loads(recorded)
    except ValueError:
        names = recorded
    return " and ".join(map(str, names)) if isinstance(names, list) else str(names)


def _pairs_sentences(params: Mapping[str, Any], method: RegisteredMethod | None) -> Iterator[str]:
    """Say how pairs were found, and which were not allowed."""
    if params.get("n_neighbors") is not None:
        yield (
            f"Mutual nearest neighbors were searched among {params['n_neighbors']} neighbors in "
            "each direction."
        )
    search = params.get("neighbors")
    if search == "exact":
        yield "The search for neighbors was exact."
    elif search is not None:
        recall = f", recall {params['recall']}" if search == "partition" else ""
        yield f"The search for neighbors was approximate ({search}{recall})."
    if params.get("label_key") is not None:
        yield f"Cells whose labels differ ({params['label_key']}) formed no pairs."
    if params.get("keep") is not None:
        yield f"Only cells with the same {_columns_listed(params['keep'])} formed pairs."
    if params.get("reference") is not None:
        yield f"Batch {params['reference']} was the reference and did not move."
    known = {} if method is None else method.parameters
    others = [
        f"{name} {value}"
        for name, value in params.items()
        if name not in TOLD_ELSEWHERE
        and value != getattr(known.get(name), "default", inspect.Parameter.empty)
    ]
    if others:
        yield f"Other parameters: {', '.join(others)}."


def _merges_sentence(facts: Mapping[str, Any]) -> str:
    """Say how many merges were carried out, and in which order."""
    merges = facts["merges"]
    done = [merge for merge in merges if not merge["skipped"]]
    pairs = sum(merge["pairs"] for merge in done)
    if not done:
        return f"No batch effect was corrected: {_merges_counted(len(merges))} skipped."
    kinds = "pairs of clusters" if "clusters" in facts["parameters"] else "pairs"
    text = f"{_merges_counted(len(done))} carried out ({pairs:,} {kinds})"
    if len(merges) > len(done):
        text += f", and {_merges_counted(len(merges) - len(done))} skipped"
    order = facts["parameters"].get("merge_order")
    if order is None or len(facts["batches"]["names"]) > MOST_IN_ORDER:
        return f"{text}."
    return f"{text}, in the order {_order_text(json.loads(order))}."


def _merges_counted(n: int) -> str:
    return f"{n} {'merge was' if n == 1 else 'merges were'}"


def _order_text(given: Any, *, inside: bool = False) -> str:
    """Write an order of merges: names, and brackets around what is merged first."""
    if not isinstance(given, list):
        return str(given)
    text = ", ".join(_order_text(one, inside=True) for one in given)
    return f"({text})" if inside else text


def _clusters_sentences(clusters: Mapping[str, Any] | None) -> Iterator[str]:
    """Say how clusters were found; nothing of clusters that another tool made."""
    params = None if clusters is None else clusters["parameters"]
    if clusters is None or not params:
        return
    if "resolution" in params:
        yield f"Cells were clustered by Leiden at resolution {params['resolution']:g}."
        return
    if clusters["n_components"] is None:
        return
    text = (
        f"Cells were clustered by a Gaussian mixture ({params['covariance_type']} covariances) of "
        f"{clusters['n_components']} components in {params['n_dims']} dimensions of "
        f"{params['use_rep']}"
    )
    tried = [row["n_components"] for row in clusters["bic"] or ()]
    if len(tried) > 1:
        text += f"; {str(clusters['criterion']).upper()} chose among {min(tried)} to {max(tried)}"
    if clusters["n_clusters"] < clusters["n_components"]:
        text += f". Components that overlap were merged into {clusters['n_clusters']} clusters"
    yield f"{text}."


def _map_sentence(params: Mapping[str, Any] | None) -> Iterator[str]:
    if params is not None:
        yield (
            f"The map was computed by UMAP (McInnes et al. 2018; {params.get('n_neighbors')} "
            f"neighbors, minimum distance {params.get('min_dist')}) in scanpy (Wolf et al. 2018)."
        )


def _mixing_sentence(mixing: Mapping[str, Any] | None) -> Iterator[str]:
    """Say how batches mix, by the measure of the verdict."""
    if mixing is None or mixing["after"] is None:
        return
    what = f"within {mixing['key']} (CiLISI, Andreatta et al. 2024)"
    if mixing["key"] is None:
        what = "among all cells (LISI, Korsunsky et al. 2019, scaled from 0 to 1)"
    before = "" if mixing["before"] is None else f"{mixing['before']:.2f} before and "
    yield (
        f"Mixing of batches {what} was {before}{mixing['after']:.2f} after the correction; "
        f"shuffled batches score {mixing['attainable']:.2f}."
    )


def _removed_sentence(prepared: Mapping[str, Any]) -> str:
    """Say which cells were removed before."""
    rules = {
        "min_counts": "fewer than {:g} counts",
        "min_genes": "fewer than {:g} genes",
        "max_mito": "more than {:g} % mitochondrial counts",
    }
    told = [text.format(prepared[name]) for name, text in rules.items() if name in prepared]
    by_batch = removed_by_batch(prepared)
    where = f" ({by_batch})" if by_batch else ""
    n_removed = f"{prepared['n_removed']:,} cells{where}"
    return f"Cells with {' or '.join(told)} were removed: {n_removed}."
