"""Batch correction of single-cell data by mutual nearest neighbors.

``run`` does all that the command line does, and ``plan`` says what it would do.
``pp`` holds the corrections and what prepares for them, ``tl`` what works on their results, ``pl``
what draws them.
Each is imported when it is first used, so that the command line answers at once.
``scanpy.settings.verbosity`` decides which lines of the log are shown.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mnncorrect._log import follow_scanpy

if TYPE_CHECKING:
    import mnncorrect.pl as pl
    import mnncorrect.pp as pp
    import mnncorrect.tl as tl
    from mnncorrect._run.public import plan, run

__version__ = "0.1.0"
__all__ = ["__version__", "pl", "plan", "pp", "run", "tl"]


follow_scanpy()


if not TYPE_CHECKING:  # type checkers find the names above, and no others

    def __getattr__(name: str) -> Any:
        if name in ("pl", "pp", "tl"):
            return import_module(f"{__name__}.{name}")
        if name in ("plan", "run"):
            return getattr(import_module(f"{__name__}._run.public"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
