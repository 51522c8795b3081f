"""The genes that distinguish clusters, found by scanpy on values that were not corrected."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mnncorrect._adata import Keys, describe_source, take_expression_rows
from mnncorrect._adata.gene_names import kind_of_names
from mnncorrect._adata.lookup import require
from mnncorrect._io.scratch import scratch_when_needed
from mnncorrect._prepare.decide import COUNTED
from mnncorrect.core.matrix.value_kinds import Statistics, judge, look
from mnncorrect.core.neighbors.sample import draw

if TYPE_CHECKING:
    from anndata import AnnData

    from mnncorrect.core.matrix.rows import RowSource
    from mnncorrect.report.collect.groups import CellGroups
    from mnncorrect.report.collect.report_options import ReportOptions

# Cells that are looked at, of all clusters, and rows of a file that are read at a time.
MOST_MARKER_CELLS, ROW_BLOCK = 4_000, 4_096
# Where fewer rows than one in so many are wanted, they are read one by one.
SPARSELY = 50
# Markers of each cluster; clusters of fewer cells have no markers.
N_MARKERS, FEWEST_MARKED = 10, 3
# The total that counts are scaled to, as scanpy's tutorials do.
TOTAL = 1e4
# Columns of var that may hold the symbols of genes, best first.
SYMBOL_COLUMNS = (
    "symbol", "gene_symbol", "gene_symbols", "gene_name", "gene_names", "feature_name",
    "gene_short_name", "hgnc_symbol", "Symbol", "SYMBOL", "name",
)  # fmt: skip


def gene_symbols(adata: AnnData, column: str | None) -> list[str]:
    """Name genes by their symbols where ``var_names`` are Ensembl ids and ``var`` has symbols.

    ``column``: column of ``var`` to take instead.
    """
    ids = [str(name) for name in adata.var_names]
    if column is not None:
        require(column, adata.var.columns, "var")
    elif kind_of_names(ids) == "Ensembl ids":
        column = next((name for name in SYMBOL_COLUMNS if name in adata.var.columns), None)
    if column is None:
        return ids
    told = adata.var[column].astype(object)
    return [
        gene if pd.isna(name) or not str(name).strip() else str(name)
        for name, gene in zip(told, ids, strict=True)
    ]


def of_markers(
    adata: AnnData,
    params: Mapping[str, Any],
    groups: CellGroups | None,
    symbols: list[str],
    wanted: ReportOptions,
) -> dict[str, Any]:
    """Find the markers of each group, best first, on uncorrected log values; or a ``reason``."""
    of = None if groups is None else groups.name
    try:
        return {"of": of, **_marker_facts(adata, params, groups, symbols, wanted)}
    except (KeyError, ValueError, TypeError) as error:
        return {"of": of, "genes": None, "reason": str(error.args[0] if error.args else error)}


def _marker_facts(
    adata: AnnData,
    params: Mapping[str, Any],
    groups: CellGroups | None,
    symbols: list[str],
    wanted: ReportOptions,
) -> dict[str, Any]:
    """Find the markers; what keeps them from being found is raised."""
    import anndata

    if not wanted.markers:
        raise ValueError("they were not asked for")
    if groups is None:
        raise ValueError("the file has no clusters; find some with mnncorrect gmm")
    large = [code for code, size in enumerate(groups.sizes) if size >= FEWEST_MARKED]
    if len(large) < 2:
        raise ValueError("there are no two clusters to compare")
    inside = np.flatnonzero(np.isin(groups.codes, large))
    sample = draw(groups.codes[inside], MOST_MARKER_CELLS, random_state=wanted.random_state)
    rows = inside[sample.rows]
    where = _source(adata, params, wanted.key_added)
    with scratch_when_needed() as scratch:
        matrix = _rows_as_csr(take_expression_rows(adata, **where, scratch=scratch), rows)
    seen = Statistics()
    seen.add(0, look(matrix))
    (judged,) = judge(seen)
    if judged.kind not in {*COUNTED, "log values"}:
        raise ValueError(
            f"{describe_source(**where)} holds {judged.kind}, not counts or log values"
        )
    small = anndata.AnnData(matrix, obs=pd.DataFrame(index=pd.RangeIndex(len(rows)).astype(str)))
    small.obs["group"] = pd.Categorical.from_codes(
        groups.codes[rows], pd.Index([str(code) for code in range(len(groups.names))])
    ).remove_unused_categories()
    with warnings.catch_warnings(action="ignore"):
        import scanpy as sc

        if judged.kind in COUNTED:
            sc.pp.normalize_total(small, target_sum=TOTAL)
            sc.pp.log1p(small)
        # scanpy asks uns for the base of the logarithm.
        small.uns["log1p"] = {"base": judged.base if judged.kind == "log values" else None}
        sc.tl.rank_genes_groups(
            small, "group", method="t-test", n_genes=min(N_MARKERS, small.n_vars)
        )
    ranked = small.uns["rank_genes_groups"]
    at = {name: number for number, name in enumerate(small.var_names)}
    genes: dict[str, list[str]] = {}
    for code in ranked["names"].dtype.names:
        up = [
            symbols[at[gene]]
            for gene, score in zip(ranked["names"][code], ranked["scores"][code], strict=True)
            if score > 0
        ]
        genes[groups.names[int(code)]] = list(dict.fromkeys(up))
    return {
        "genes": genes,
        "where": describe_source(**where),
        "n_cells": len(rows),
        "test": "t-test of each cluster against all other cells (scanpy.tl.rank_genes_groups)",
    }


def _source(adata: AnnData, params: Mapping[str, Any], key_added: str) -> dict[str, Any]:
    """Say where uncorrected values are: what was normalized, or else what was read."""
    normalized = Keys(key_added).normalized
    if normalized in adata.layers:
        return {"layer": normalized}
    layer, use_raw = params.get("layer"), bool(params.get("use_raw", False))
    return {"use_raw": True} if use_raw else {"layer": layer}


def _rows_as_csr(values: RowSource, rows: NDArray[np.int64]) -> Any:
    """Read some rows, ascending, as CSR."""
    import scipy.sparse as sp

    n = values.shape[0]
    block = 1 if len(rows) * SPARSELY < n else ROW_BLOCK
    starts = np.unique(rows // block) * block
    parts = []
    for start in starts.tolist():
        stop = min(start + block, n)
        at = rows[(rows >= start) & (rows < stop)] - start
        parts.append(sp.csr_matrix(values[slice(start, stop)][at]))
    return sp.vstack(parts, format="csr")
