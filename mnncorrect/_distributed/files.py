"""Matrices in files, sent to other processes by their path and opened there."""

from __future__ import annotations

import copyreg
import os
from functools import cache
from typing import Any


def make_sendable() -> None:
    """Have datasets and groups of HDF5 sent by their path; arrays of zarr are so already."""
    from mnncorrect._io.hdf5 import element_kinds

    for kind in element_kinds():
        copyreg.pickle(kind, _sent)


def looked_at(paths: list[str]) -> tuple[str, list[str]]:
    """Return the version of this package, and which of some paths cannot be seen."""
    import mnncorrect

    return mnncorrect.__version__, [path for path in paths if not os.path.exists(path)]  # noqa: PTH110


def _sent(element: Any) -> tuple[Any, tuple[str, str]]:
    path = os.path.abspath(element.file.filename)  # noqa: PTH100
    return _opened_element, (path, element.name)


def _opened_element(path: str, name: str) -> Any:
    return _opened(path, os.stat(path).st_mtime_ns)[name]  # noqa: PTH116


@cache
def _opened(path: str, _: int) -> Any:
    from mnncorrect._io.hdf5 import kept_open

    return kept_open(path)
