"""Corrections of AnnData objects, one file each, and what comes before them.

All go the way of `_adapter`: `_arguments` reads what is asked, `_corrections` what is corrected.
Each call is imported when it is first used, so that the help of the command line answers at once.
What a correction computes with is imported together with it, so that no call waits for that.
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

_MODULES = {
    "batch_from_barcode": "_libraries",
    "cosine_normalize": "_prepare",
    "mnn_calibrated": "_calibrated",
    "mnn_classic": "_classic",
    "mnn_cluster": "_cluster",
    "mnn_correct": "_compat",
    "mnn_expression": "_expression",
    "mnn_fast": "_fast",
    "mnn_integrate": "_integrate",
    "multibatch_normalize": "_normalize",
    "multibatch_pca": "_multibatch_pca",
    "pca": "_prepare",
    "prepare": "_prepare",
    "regress_batches": "_linear",
    "rescale_batches": "_linear",
}
# What corrections compute with, and with what they look up the methods that there are.
_LOADED = {
    "mnn_calibrated": ("core.calibrated.method", "pp._adapter"),
    "mnn_classic": ("core.methods.classic", "pp._adapter"),
    "mnn_cluster": ("core.methods.cluster", "pp._adapter"),
    "mnn_fast": ("core.methods.fast", "pp._adapter"),
    "mnn_integrate": (
        "core.calibrated.method", "core.methods.fast", "pp._adapter", "pp._calibrated",
        "pp._classic", "pp._cluster", "pp._fast",
    ),
}  # fmt: skip
__all__ = list(_MODULES)


if not TYPE_CHECKING:  # type checkers find the names above, and no others

    def __getattr__(name: str) -> Any:
        if name in _MODULES:
            if name in _LOADED:
                for module in _LOADED[name]:
                    import_module(f"mnncorrect.{module}")
                import_module("mnncorrect.core.runtime.kernels").load_compiler()
                with import_module("mnncorrect.core.runtime.threads").single_blas():
                    pass  # Its libraries are looked for once, for which no call waits then.
            return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
