"""Processes that share a cache of compiled loops never take each other's code for their own."""

from __future__ import annotations

import ast
import importlib
import shutil
import sys
from pathlib import Path
from pkgutil import walk_packages
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

import mnncorrect
from mnncorrect import core
from mnncorrect.core.runtime import caches

if TYPE_CHECKING:
    from collections.abc import Callable


def test_processes_name_their_files_differently() -> None:
    names = set()
    for _ in range(2):
        file = SimpleNamespace(_data_name_pattern="loop.{number:d}.nbc")
        cache = SimpleNamespace(_cache_file=file, load_overload=None, save_overload=None)
        caches.own_files([SimpleNamespace(_cache=cache), 1, None])
        names.add(file._data_name_pattern.format(number=1))
    assert len(names) == 2


def kernel_rooms() -> list[Any]:
    rooms = [
        importlib.import_module(module.name)
        for module in walk_packages(core.__path__, "mnncorrect.core.")
        if module.name.endswith("kernels")
    ]
    assert len(rooms) > 1
    return rooms


def test_every_compiled_loop_has_files_of_its_own_process() -> None:
    for module in kernel_rooms():
        loops = [f for f in vars(module).values() if hasattr(f, "_cache")]
        names = [
            f._cache._cache_file._data_name(1) for f in loops if hasattr(f._cache, "_cache_file")
        ]
        assert names
        assert all(".1-" in name for name in names), names


def test_python_calls_no_part_of_a_loop() -> None:
    """It has no entry to them, and the process would crash."""
    parts = {
        name
        for room in kernel_rooms()
        for name, f in vars(room).items()
        if getattr(f, "targetoptions", {}).get("no_cpython_wrapper")
    }
    assert parts
    for path in Path(mnncorrect.__path__[0]).rglob("*.py"):
        text = path.read_text()
        if path.name.endswith("kernels.py") or "kernels" not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and str(node.module).endswith("kernels"):
                assert not parts & {alias.name for alias in node.names}, path
            if isinstance(node, ast.Attribute) and ast.unparse(node.value).endswith("kernels"):
                assert node.attr not in parts, path


MODULE = """
from numba import config, njit
from caches import find_place, own_files
find_place(njit, config)
@njit(cache=True)
def doubled(x):
    return 2 * x
own_files(globals().values())
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """Function that imports a module with a compiled loop anew; it is kept in a folder `cache`."""
    from numba import config

    (tmp_path / "loops.py").write_text(MODULE)
    (tmp_path / "caches.py").write_text(Path(caches.__file__).read_text())
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path / "cache"))

    def imported() -> Any:
        for name in ("loops", "caches"):
            monkeypatch.delitem(sys.modules, name, raising=False)
        return importlib.import_module("loops")

    return imported


def test_a_damaged_cache_is_begun_anew(module: Callable[[], Any], tmp_path: Path) -> None:
    assert module().doubled(3.0) == 6.0
    files = list((tmp_path / "cache").rglob("*.nb?"))
    assert len(files) == 2
    for file in files:
        file.write_bytes(b"")
    assert module().doubled(3.0) == 6.0
    loops = module()
    assert loops.doubled(3.0) == 6.0
    assert sum(loops.doubled.stats.cache_hits.values()) == 1


def test_a_cache_that_cannot_be_written_is_done_without(
    module: Callable[[], Any], tmp_path: Path
) -> None:
    loops = module()
    shutil.rmtree(tmp_path / "cache")
    (tmp_path / "cache").write_text("no folder")
    with pytest.warns(UserWarning, match="cannot be kept in .*Not a directory.* make room there"):
        assert loops.doubled(3.0) == 6.0


def test_where_no_folder_may_be_written_to_one_is_made_for_the_process(
    module: Callable[[], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from numba import config

    monkeypatch.setattr(config, "CACHE_DIR", "")
    for name in ("__pycache__", "home"):
        (tmp_path / name).write_text("no folder")
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    with pytest.warns(UserWarning, match="each run compiles again; set NUMBA_CACHE_DIR"):
        loops = module()
    assert loops.doubled(3.0) == 6.0
    assert list(Path(config.CACHE_DIR).rglob("*.nbi"))
