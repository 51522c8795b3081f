"""A file of results, read and written in its format: h5ad, MuData or zarr."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnncorrect._adata.stored import is_stored, load
from mnncorrect._io import h5ad, outputs, zarr_output
from mnncorrect._io.zarr_store import opened_zarr
from mnncorrect._io.zarr_tree import is_zarr

if TYPE_CHECKING:
    from anndata import AnnData

    from mnncorrect._io.zarr_scratch import ZarrScratch


@contextlib.contextmanager
def opened_result(path: Path) -> Iterator[AnnData]:
    """Open a file of results; matrices stay in it until the block ends."""
    if not is_zarr(path):
        with h5ad.opened_h5ad(path) as adata:
            yield adata
        return
    with opened_zarr(path) as adata:
        h5ad.refuse_unfit_object(adata, path)
        yield adata


def read_result_elements(path: Path, names: Sequence[str]) -> dict[str, Any]:
    """Read elements by their paths, such as ``"uns/mnn"``, those that the file has."""
    if not is_zarr(path):
        return h5ad.read_elements(path, names)
    found = {}
    with opened_zarr(path) as adata:
        for place in names:
            slot, _, name = place.partition("/")
            value = getattr(adata, slot)
            if name and name not in value:
                continue
            value = value[name] if name else value
            found[place] = load(value) if is_stored(value) else value
    return found


@contextlib.contextmanager
def whole_result(target: Path, *, force: bool, inputs: Sequence[Path]) -> Iterator[Path]:
    """Give a temporary path that becomes the output when the block ends well.

    A folder, if the name of the output ends in ``.zarr``.
    """
    whole = zarr_output.whole_folder if zarr_output.is_zarr_name(target) else outputs.whole_output
    with whole(target, force=force, inputs=inputs) as temporary:
        yield temporary


def write(
    adata: AnnData,
    temporary: Path,
    shared: ZarrScratch | None = None,
    more: Mapping[str, Any] | None = None,
) -> None:
    """Write an object as h5ad, or as zarr into the folder that ``shared`` lies in.

    ``more``: elements of ``shared`` that the output has besides, by their place.
    """
    if shared is None:
        h5ad.write(adata, temporary)
    else:
        zarr_output.write(adata, temporary, shared, more or {})
