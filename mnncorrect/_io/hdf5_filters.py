"""Filters of HDF5: those of hdf5plugin are used where it is installed, and named where not."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import h5py


def use_filters() -> None:
    """Let HDF5 use the filters of hdf5plugin, where it is installed."""
    if importlib.util.find_spec("hdf5plugin") is not None:
        importlib.import_module("hdf5plugin")


def lacking_filter(value: Any) -> str | None:
    """Say which part of an element of an HDF5 file is packed by a filter that is not installed."""
    if isinstance(value, h5py.Group):
        parts = (lacking_filter(value[name]) for name in value)
        return next((part for part in parts if part is not None), None)
    if not isinstance(value, h5py.Dataset):
        return None
    made = value.id.get_create_plist()
    for at in range(made.get_nfilters()):
        code, _, _, name = made.get_filter(at)
        if not h5py.h5z.filter_avail(code):
            called = name.decode("utf-8", "replace")
            return (
                f"{value.name} of {value.file.filename} is packed by filter {code}"
                f"{called and f' ({called})'}, which is not installed; pip install hdf5plugin, or "
                "write the file with gzip"
            )
    return None


def refuse_packed(value: Any) -> None:
    """Refuse an element that is packed by a filter that is not installed."""
    msg = lacking_filter(value)
    if msg is not None:
        raise ValueError(msg)
