"""How a correction is stored: its record, the same for all methods, and the values it made."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from mnncorrect._adata.draft import Draft, earlier_results, place_name
from mnncorrect._adata.loadings import are_of_multibatch_pca, put_loadings
from mnncorrect._adata.record import WARNINGS, as_warnings, entry_of, fields_of, warnings_of
from mnncorrect._adata.results import Keys, as_params, provenance, recorded_table
from mnncorrect._log import logger, noted

if TYPE_CHECKING:
    import pandas as pd

    from mnncorrect._adata.batches import Batches
    from mnncorrect.core.matrix.pca import PCA
    from mnncorrect.core.merging.loop import Correction, Merge

# A dense layer of more values than this (1 GB as float32), less than half of which are corrected,
# is stored sparse instead.
DENSE_VALUES = 1 << 28
EXACT = "exact"


def put_correction(
    draft: Draft,
    correction: Correction,
    batches: Batches,
    *,
    key_added: str,
    params: Mapping[str, Any],
    random_state: int,
    genes: NDArray[np.bool_] | None = None,
    embedding: str | None = None,
    pairs_of_cells: bool = True,
    more: Mapping[str, Any] | None = None,
) -> None:
    """Store the record of a correction: its pairs, merges and parameters, and the genes used.

    Results of an earlier correction under these names, and what was derived from them, are removed
    first, but not what this one has read. ``genes`` are those that distances were measured on,
    ``embedding`` is the place of the result in ``obsm``, if it is one; ``more`` goes to ``uns``.
    """
    keys = Keys(key_added)
    remove_earlier(draft, keys, params)
    if genes is not None:
        draft.put("var", keys.genes, genes)
    pairs = _pair_matrix(correction.merges, draft.adata.n_obs) if pairs_of_cells else None
    if pairs is not None:
        draft.put("obsp", keys.pairs, pairs)
    if embedding is not None:
        draft.put("obsm", embedding, correction.corrected)
    record = {
        "batches": np.array(batches.names, dtype=object),
        "merges": _table_of_merges(correction.merges, batches.names),
        "lost_variance": np.array([merge.lost_variance for merge in correction.merges]),
        **(more or {}),
        **_input_record(draft.adata.uns, keys, params),
        "params": as_params(params),
        "provenance": provenance(random_state, engines=json.dumps(list(correction.engines))),
    }
    draft.put("uns", keys.uns, record)
    draft.sign(correction.corrected, *([] if pairs is None else [pairs]))


def _input_record(uns: Mapping[str, Any], keys: Keys, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is recorded of the input: how it was prepared, and what was warned of."""
    before = entry_of(uns, keys.uns, "other") or {}
    found, texts = {}, []
    if "prepared" in before and params.get("layer") == before["params"].get("layer_added"):
        found, texts = {"prepared": before["prepared"]}, warnings_of(uns, keys.uns)
    with noted() as more:
        told = as_warnings(uns, [*texts, *more])
    return found if told == as_warnings({}, ()) else {**found, WARNINGS: told}


def put_expression(
    draft: Draft,
    values: NDArray[Any],
    *,
    key_added: str,
    genes: NDArray[np.bool_],
    how: Mapping[str, Any] | None = None,
    layer: str | None = None,
) -> None:
    """Store corrected expression of some genes, and that it is not for everything."""
    draft.put("layers", layer or Keys(key_added).layer, _among_all_genes(values, genes))
    note_expression(draft, key_added=key_added, genes=genes, how=how)


def note_expression(
    draft: Draft, *, key_added: str, genes: NDArray[np.bool_], how: Mapping[str, Any] | None = None
) -> None:
    """Record which genes a layer of corrected expression has, how it was made, and a caution."""
    keys = Keys(key_added)
    draft.put("var", keys.corrected, genes)
    made = {} if how is None else {"expression": dict(how)}
    draft.amend(keys.uns, {"not_for_differential_expression": True, **made})


def put_components(
    draft: Draft,
    components: PCA,
    *,
    key_added: str,
    genes: NDArray[np.bool_],
    norms: NDArray[np.float64] | None,
) -> None:
    """Store the components that a correction moved, and how they follow from expression."""
    keys = Keys(key_added)
    draft.put("obsm", keys.uncorrected, components.scores)
    put_loadings(draft, keys, components, genes, of_correction=True)
    if norms is not None:
        draft.put("obs", keys.norm, norms)
    shares = {"variance": components.variance, "variance_ratio": components.variance_ratio}
    draft.amend(keys.uns, {"components": shares})


def remove_earlier(draft: Draft, keys: Keys, params: Mapping[str, Any]) -> None:
    """Remove what an earlier result of the same name has stored, except what this one has read."""
    adata = draft.adata
    places = earlier_results(adata, keys.uns)
    if not places:
        return
    before = fields_of(adata.uns, keys.uns).get("params", {})
    read = {of.get(name) for of in (params, before) for name in ("layer", "use_rep", "mask_var")}
    if are_of_multibatch_pca(adata, keys):
        read |= {keys.loadings, keys.center}
    draft.remove(place for place in places if place[1] not in read)
    told = ", ".join(place_name(*place) for place in draft.removed)
    logger.info("replacing results of an earlier correction: %s", told)


def _among_all_genes(values: NDArray[Any], genes: NDArray[np.bool_]) -> Any:
    """Put the corrected genes among all genes; the others are zero."""
    if genes.all():
        return values
    n_cells, n_genes = len(values), len(genes)
    if n_cells * n_genes > DENSE_VALUES and 2 * genes.sum() < n_genes:
        logger.info(
            "the layer of corrected values is stored sparse, because most genes are not corrected"
        )
        # Numbers of genes as small as they may be: there are as many as values.
        number = np.int32 if values.size <= np.iinfo(np.int32).max else np.int64
        indices = np.tile(np.flatnonzero(genes).astype(number), n_cells)
        indptr = (np.arange(n_cells + 1) * values.shape[1]).astype(number)
        return sp.csr_matrix((values.ravel(), indices, indptr), shape=(n_cells, n_genes))
    layer = np.zeros((n_cells, n_genes), values.dtype)
    layer[:, genes] = values
    return layer


def _pair_matrix(merges: Iterable[Merge], n_cells: int) -> sp.csr_matrix:
    """Gather the pairs of all merges: row the corrected cell, column the reference cell."""
    merges = list(merges)
    rows = np.concatenate([merge.pairs.right for merge in merges])
    columns = np.concatenate([merge.pairs.left for merge in merges])
    ones = np.ones(len(rows), np.float32)
    return sp.csr_matrix((ones, (rows, columns)), shape=(n_cells, n_cells))


def _table_of_merges(merges: Sequence[Merge], names: Sequence[str]) -> pd.DataFrame:
    """Make the table of merges in their order; with the recall of pairs, where it was measured."""
    measured = any(merge.pairs.engine != EXACT for merge in merges)
    rows = [
        {
            "left": _as_json(merge.left, names),
            "right": _as_json(merge.right, names),
            "pairs": len(merge.pairs),
            "batch_size": float(merge.batch_size),
            "skipped": bool(merge.skipped),
        }
        | ({} if np.isnan(merge.evidence) else {"evidence": float(merge.evidence)})
        | ({} if np.isnan(merge.shared) else {"shared": float(merge.shared)})
        | (
            {"recall": merge.pairs.recall, "worst_recall": merge.pairs.worst_recall}
            if measured
            else {}
        )
        for merge in merges
    ]
    return recorded_table(rows)


def _as_json(batches: Iterable[int], names: Sequence[str]) -> str:
    return json.dumps([names[b] for b in batches], ensure_ascii=False)
