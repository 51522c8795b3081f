"""Floor 2, preprocessing: correct the batches of an AnnData object, and what goes around it.

Each call is imported when it is first used, so that the help of the command line answers at once.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mnncorrect.pp._calibrated import mnn_calibrated as mnn_calibrated
    from mnncorrect.pp._classic import mnn_classic as mnn_classic
    from mnncorrect.pp._cluster import mnn_cluster as mnn_cluster
    from mnncorrect.pp._compat import mnn_correct as mnn_correct
    from mnncorrect.pp._expression import mnn_expression as mnn_expression
    from mnncorrect.pp._fast import mnn_fast as mnn_fast
    from mnncorrect.pp._integrate import mnn_integrate as mnn_integrate
    from mnncorrect.pp._libraries import batch_from_barcode as batch_from_barcode
    from mnncorrect.pp._linear import regress_batches as regress_batches
    from mnncorrect.pp._linear import rescale_batches as rescale_batches
    from mnncorrect.pp._multibatch_pca import multibatch_pca as multibatch_pca
    from mnncorrect.pp._normalize import multibatch_normalize as multibatch_normalize
    from mnncorrect.pp._prepare import cosine_normalize as cosine_normalize
    from mnncorrect.pp._prepare import pca as pca
    from mnncorrect.pp._prepare import prepare as prepare

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
    "prepare",
    "regress_batches",
    "rescale_batches",
]

_MODULES = {
    "mnn_calibrated": "_calibrated",
    "mnn_classic": "_classic",
    "mnn_cluster": "_cluster",
    "mnn_correct": "_compat",
    "mnn_expression": "_expression",
    "mnn_fast": "_fast",
    "mnn_integrate": "_integrate",
    "batch_from_barcode": "_libraries",
    "regress_batches": "_linear",
    "rescale_batches": "_linear",
    "multibatch_pca": "_multibatch_pca",
    "multibatch_normalize": "_normalize",
    "cosine_normalize": "_prepare",
    "pca": "_prepare",
    "prepare": "_prepare",
}


if not TYPE_CHECKING:  # type checkers find the names above, and no others

    def __getattr__(name: str) -> Any:
        if name in _MODULES:
            return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
