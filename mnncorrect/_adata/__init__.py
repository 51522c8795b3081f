"""The way between AnnData and the arrays of ``core``: take them out, put results back.

Values may stay in a file, but nothing here opens one: that is the business of ``_io``.
``batches`` reads the batch columns, ``matrix`` the expression values and the choice of genes and
cells; ``results`` says where results live, ``corrections`` what a correction stores; ``draft`` puts
them there in one step, and ``record`` reads what was recorded.
"""

from __future__ import annotations

from mnncorrect._adata.batches import Batches as Batches
from mnncorrect._adata.batches import batch_names as batch_names
from mnncorrect._adata.batches import recorded_key as recorded_key
from mnncorrect._adata.batches import take_batches as take_batches
from mnncorrect._adata.batches import take_labels as take_labels
from mnncorrect._adata.corrections import note_expression as note_expression
from mnncorrect._adata.corrections import put_expression as put_expression
from mnncorrect._adata.draft import Draft as Draft
from mnncorrect._adata.matrix import describe_source as describe_source
from mnncorrect._adata.matrix import require_embedding as require_embedding
from mnncorrect._adata.matrix import take_embedding as take_embedding
from mnncorrect._adata.matrix import take_expression_rows as take_expression_rows
from mnncorrect._adata.matrix import take_gene_mask as take_gene_mask
from mnncorrect._adata.matrix import take_matrix as take_matrix
from mnncorrect._adata.numbers import as_floats as as_floats
from mnncorrect._adata.numbers import refuse_non_finite as refuse_non_finite
from mnncorrect._adata.objects import check_object as check_object
from mnncorrect._adata.record import origin_of as origin_of
from mnncorrect._adata.results import Keys as Keys
from mnncorrect._adata.results import as_params as as_params
from mnncorrect._adata.results import provenance as provenance
