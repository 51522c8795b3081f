"""Loom files, which loompy reads."""

from __future__ import annotations

import contextlib
import importlib.util
from typing import TYPE_CHECKING

from mnncorrect._io import h5ad
from mnncorrect._io.foreign import what_hdf5_is

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from anndata import AnnData


@contextlib.contextmanager
def opened_loom(path: Path) -> Iterator[AnnData]:
    """Read a loom file whole.

    Raises
    ------
    ValueError
        loompy is not installed.
    OSError
        The file is damaged.
    """
    import anndata

    if importlib.util.find_spec("loompy") is None:
        raise ValueError(what_hdf5_is(path, {"matrix", "row_attrs", "col_attrs"}))
    with h5ad.reading(path, "a loom file"):
        adata: AnnData = anndata.io.read_loom(path)
    yield adata
