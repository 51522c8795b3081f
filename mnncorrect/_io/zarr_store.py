"""Zarr folders and archives of anndata, opened after their metadata were looked at."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anndata
from anndata import AnnData

from mnncorrect._adata.lookup import listed
from mnncorrect._adata.objects import doubled_names
from mnncorrect._adata.stored import is_stored
from mnncorrect._io import h5ad
from mnncorrect._io.elements import object_of
from mnncorrect._io.zarr_chunks import refuse_lost_chunks
from mnncorrect._io.zarr_tree import refuse_cut, refuse_unsafe, tree_of

WHAT = "zarr data of anndata"


@contextlib.contextmanager
def opened_zarr(path: Path) -> Iterator[AnnData]:
    """Open zarr data of anndata, in a folder or a zip archive; matrices stay there.

    Data that anndata wrote before version 0.8 are read whole.
    """
    try:
        import zarr
        from zarr.storage import ZipStore
    except ImportError:
        raise ValueError(
            f"{path} is zarr data, and zarr is not installed; pip install zarr"
        ) from None

    tree = tree_of(path)
    refuse_unsafe(tree)
    refuse_cut(tree)
    with contextlib.ExitStack() as stack:
        with h5ad.reading(path, WHAT):
            # What is consolidated was not looked at, and may say something else.
            how: Any = {} if zarr.__version__.startswith("2.") else {"use_consolidated": False}
            store: Any = path
            if path.is_file():
                store = stack.enter_context(contextlib.closing(ZipStore(str(path), mode="r")))
            group: Any = zarr.open_group(store, mode="r", path=tree.root or None, **how)
            refuse_lost_chunks(tree, group)
            adata = _object_of(group, path)
        yield adata


def _object_of(group: Any, path: Path) -> AnnData:
    held = sorted(group)
    if group.attrs.get("encoding-type") == "anndata":
        adata = object_of(group)
        # A zarr folder's elements cannot be copied as they are: what is no matrix is read.
        for name, value in list(adata.uns.items()):
            if is_stored(value):
                adata.uns[name] = anndata.io.read_elem(value)
        return adata
    if not {"obs", "var"} <= set(held):
        raise ValueError(_described(group, held, path))
    # What anndata wrote before version 0.8 does not name the whole.
    with doubled_names():
        warnings.filterwarnings("ignore", category=anndata.OldFormatWarning)
        older: AnnData = anndata.io.read_zarr(group)
    return older


def _described(group: Any, held: list[str], path: Path) -> str:
    """Say what zarr data are that anndata did not write as one object."""
    told = f"{path} holds {listed(held, 8) or 'nothing'}, and was not written by anndata"
    for place, what in (("mod", "MuData"), ("tables", "SpatialData")):
        if place in held:
            inside = [f"{path}/{place}/{name}" for name in sorted(group[place])]
            return f"{path} holds {what}; give one of its tables: {listed(inside, 5)}"
    return f"{told}; read it where it was made, and write it with anndata's .write_h5ad()"
