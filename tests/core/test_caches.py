"""Processes that share a cache of compiled loops never take each other's code for their own."""

from __future__ import annotations

from types import SimpleNamespace

from mnncorrect.core import caches, kernels, sparse_kernels


def test_processes_name_their_files_differently() -> None:
    names = set()
    for _ in range(2):
        file = SimpleNamespace(_data_name_pattern="loop.{number:d}.nbc")
        caches.own_files([SimpleNamespace(_cache=SimpleNamespace(_cache_file=file)), 1, None])
        names.add(file._data_name_pattern.format(number=1))
    assert len(names) == 2


def test_every_compiled_loop_has_files_of_its_own_process() -> None:
    for module in (kernels, sparse_kernels):
        loops = [f for f in vars(module).values() if hasattr(f, "_cache")]
        names = [
            f._cache._cache_file._data_name(1) for f in loops if hasattr(f._cache, "_cache_file")
        ]
        assert len(names) > 2
        assert all(".1-" in name for name in names), names
