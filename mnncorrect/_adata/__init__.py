"""The way between AnnData and the arrays of ``core``: take them out, put results back.

Values may stay in a file, but nothing here opens one: that is the business of ``_io``.
``batches`` reads the batch columns, ``matrix`` the expression values and the choice of genes and
cells; ``results`` says where results live, ``corrections`` what a correction stores; ``draft`` puts
them there in one step, and ``record`` reads what was recorded.
"""

from __future__ import annotations

from mnncorrect._adata.batches import (
    Batches,
    batch_names,
    recorded_key,
    take_batches,
    take_labels,
)
from mnncorrect._adata.corrections import (
    note_expression,
    put_components,
    put_correction,
    put_expression,
)
from mnncorrect._adata.draft import Draft
from mnncorrect._adata.matrix import (
    GeneMask,
    describe_source,
    take_cell_mask,
    take_embedding,
    take_expression_rows,
    take_finite,
    take_gene_mask,
    take_matrix,
)
from mnncorrect._adata.objects import check_object
from mnncorrect._adata.record import origin_of
from mnncorrect._adata.results import (
    Keys,
    as_params,
    provenance,
    put_clusters,
    put_pca,
)
from mnncorrect._adata.values import as_floats, refuse_non_finite
from mnncorrect.core.runtime.unset import UNSET, Unset

__all__ = [
    "UNSET",
    "Batches",
    "Draft",
    "GeneMask",
    "Keys",
    "Unset",
    "as_floats",
    "as_params",
    "batch_names",
    "check_object",
    "describe_source",
    "note_expression",
    "origin_of",
    "provenance",
    "put_clusters",
    "put_components",
    "put_correction",
    "put_expression",
    "put_pca",
    "recorded_key",
    "refuse_non_finite",
    "take_batches",
    "take_cell_mask",
    "take_embedding",
    "take_expression_rows",
    "take_finite",
    "take_gene_mask",
    "take_labels",
    "take_matrix",
]
