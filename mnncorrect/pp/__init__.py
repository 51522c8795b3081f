"""Floor 2, preprocessing: correct the batches of an AnnData object, and what goes around it."""

from __future__ import annotations

from mnncorrect.pp._calibrated import mnn_calibrated
from mnncorrect.pp._classic import mnn_classic
from mnncorrect.pp._cluster import mnn_cluster
from mnncorrect.pp._compat import mnn_correct
from mnncorrect.pp._expression import mnn_expression
from mnncorrect.pp._fast import mnn_fast
from mnncorrect.pp._integrate import mnn_integrate
from mnncorrect.pp._libraries import batch_from_barcode
from mnncorrect.pp._linear import regress_batches, rescale_batches
from mnncorrect.pp._multibatch_pca import multibatch_pca
from mnncorrect.pp._normalize import multibatch_normalize
from mnncorrect.pp._prepare import cosine_normalize, pca

__all__ = [
    "batch_from_barcode",
    "cosine_normalize",
    "mnn_calibrated",
    "mnn_classic",
    "mnn_cluster",
    "mnn_correct",
    "mnn_expression",
    "mnn_fast",
    "mnn_integrate",
    "multibatch_normalize",
    "multibatch_pca",
    "pca",
    "regress_batches",
    "rescale_batches",
]
