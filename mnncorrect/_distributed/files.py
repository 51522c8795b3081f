"""Matrices in files, sent to other processes by their path and opened there."""

from __future__ import annotations

import copyreg
import os
from collections.abc import Callable
from functools import cache
from typing import Any


def make_sendable() -> None:
    """Have datasets and groups of HDF5 sent by their path; arrays of zarr are so already."""
    from mnncorrect._io.hdf5 import element_kinds

    for kind in element_kinds():
        copyreg.pickle(kind, _sent)


def seen_by_worker(paths: list[str]) -> Callable[[], tuple[str | None, list[str]]]:
    """Give a function that returns the version of this package, and which paths cannot be seen.

    ``None``: the package is not there. The function is sent as it is, not by its name, so that a
    worker without the package can apply it.
    """

    def look() -> tuple[str | None, list[str]]:
        from importlib import import_module
        from importlib.util import find_spec
        from os.path import exists

        if find_spec("mnncorrect") is None:
            return None, []
        version: str = import_module("mnncorrect").__version__
        return version, [path for path in paths if not exists(path)]  # noqa: PTH110

    return look


def _sent(element: Any) -> tuple[Any, tuple[str, str]]:
    path = os.path.abspath(element.file.filename)  # noqa: PTH100
    return _opened_element, (path, element.name)


def _opened_element(path: str, name: str) -> Any:
    return _opened(path, os.stat(path).st_mtime_ns)[name]  # noqa: PTH116


@cache
def _opened(path: str, _: int) -> Any:
    from mnncorrect._io.hdf5 import kept_open

    return kept_open(path)
