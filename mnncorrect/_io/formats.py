"""The kinds of input, each opened as an h5ad file is.

The kind is detected from the content of the file or folder, not from its name.
"""

from __future__ import annotations

import contextlib
import importlib.util
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata

from mnncorrect._adata.features import genes_among
from mnncorrect._adata.lookup import listed
from mnncorrect._adata.objects import doubled_names
from mnncorrect._io import foreign, h5ad
from mnncorrect._io.input_parts import Part
from mnncorrect._io.matrix_folder import is_matrix, layout_of, matrices_of, opened_folder
from mnncorrect._io.modalities import modalities_of
from mnncorrect._io.read_places import parted
from mnncorrect._io.tenx_file import matrix_group, opened_tenx
from mnncorrect._io.zarr_store import opened_zarr
from mnncorrect._io.zarr_tree import is_zarr

if TYPE_CHECKING:
    from anndata import AnnData

    from mnncorrect._io.scratch import Scratch

LOOM = {"matrix", "row_attrs", "col_attrs"}
READABLE = "h5ad, h5mu, loom, a 10x .h5 file, a folder with a matrix and its names, or zarr"
# So many folders deep is looked for what may be meant, and so much of it is listed.
SEARCH_DEPTH, INSIDE_LISTED = 3, 4


def kind_of_input(path: Path) -> str:
    """Detect what an input is; what is none of the others is taken for h5ad."""
    if is_zarr(path):
        return "zarr"
    if path.is_dir():
        return _kind_of_folder(path)
    path, modality = parted(path)
    if path.is_file() and is_matrix(path):
        return layout_of(path).kind
    held = h5ad.names_in(path)
    if modality is not None or modalities_of(path, held):
        return "h5mu"
    if held >= LOOM:
        return "loom"
    return "10x h5" if matrix_group(path) is not None else "h5ad"


def _kind_of_folder(path: Path) -> str:
    if matrices_of(path):
        return layout_of(path).kind
    inside = [str(place) for place in _inputs_in(path, SEARCH_DEPTH)]
    if inside:
        first = next((place for place in inside if "filtered" in place), inside[0])
        raise IsADirectoryError(
            f"{path} is a folder that holds inputs, but is none; give one of them, such as "
            f"{shlex.quote(first)} (it has {listed(inside, INSIDE_LISTED)})"
        )
    held = sorted(entry.name for entry in path.iterdir())
    hint = ""
    if "quants_mat.gz" in held:
        hint = "; alevin's own format is not read: run salmon alevin with --dumpMtx"
    raise IsADirectoryError(
        f"{path} is a folder without a matrix (.mtx) and without zarr data; it holds "
        f"{listed(held, 8) or 'nothing'}{hint or f'; give {READABLE}'}"
    )


def _inputs_in(folder: Path, deep: int) -> Iterator[Path]:
    """Yield what in a folder can be an input, filtered data first."""
    with contextlib.suppress(OSError):
        entries = sorted(folder.iterdir(), key=lambda entry: ("raw" in entry.name, entry.name))
        for entry in entries:
            if entry.is_dir() and not entry.is_symlink():
                if is_zarr(entry) or matrices_of(entry):
                    yield entry
                elif deep > 1:
                    yield from _inputs_in(entry, deep - 1)
            elif entry.suffix in {".h5ad", ".h5mu", ".loom"} or entry.name.endswith("matrix.h5"):
                yield entry


@contextlib.contextmanager
def opened_input(path: Path, scratch: Scratch) -> Iterator[Part]:
    """Open an input of any kind; its matrices stay in it until the block ends.

    Of MuData, the path is ``FILE::MODALITY``. Genes of 10x data are named by their symbols, as in
    scanpy, and ``var["gene_ids"]`` has their identifiers. Features that ``var["feature_types"]``
    says are no genes are marked. A matrix folder is read whole, and its matrix then stays in
    ``scratch``.
    """
    kind = kind_of_input(path)
    openers: dict[str, Any] = {
        "h5ad": h5ad.opened_h5ad,
        "zarr": opened_zarr,
        "10x h5": opened_tenx,
        "h5mu": h5ad.opened_h5ad,
        "loom": _opened_loom,
    }
    opener = openers.get(kind, lambda path: opened_folder(path, scratch))
    with doubled_names(), opener(path) as adata:
        h5ad.refuse_unfit_object(adata, path)
        is_annotated = kind in {"h5ad", "zarr", "loom", "h5mu"}
        genes = genes_among(adata.var, f"{path}: var", needed=not is_annotated)
        yield Part(adata, genes, kind=kind)


@contextlib.contextmanager
def _opened_loom(path: Path) -> Iterator[AnnData]:
    """Read a loom file whole, if loompy is installed."""
    if importlib.util.find_spec("loompy") is None:
        raise ValueError(foreign.what_hdf5_is(path, LOOM))
    with h5ad.reading(path, "a loom file"):
        adata: AnnData = anndata.io.read_loom(path)
    yield adata
