"""The h5ad file: read with errors that say what is wrong with it, and written.

That a written file appears whole or not at all is the business of ``_atomic``.
"""

from __future__ import annotations

import contextlib
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import h5py
    from anndata import AnnData

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
GZIP_SIGNATURE = b"\x1f\x8b"
# Level 1: corrected values hardly compress further, and each further level costs time.
COMPRESSION = {"compression": "gzip", "compression_opts": 1}


def read(path: Path) -> AnnData:
    """Read an h5ad file into memory.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    The object of the file, at least one cell by one gene.

    Raises
    ------
    OSError
        The file is missing, a folder, empty, not to be read by this user, or truncated.
    ValueError
        The file is not an h5ad file, or it holds no cells or no genes.
    """
    import anndata

    _check_readable(path)
    # Doubled names are said once, by those whom they concern.
    with _open(path), _reading(path), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*names are not unique")
        warnings.filterwarnings("ignore", category=anndata.OldFormatWarning)
        adata: AnnData = anndata.read_h5ad(path)
    if adata.n_obs == 0:
        msg = f"{path} holds no cells (0 cells x {adata.n_vars} genes)"
        raise ValueError(msg)
    if adata.n_vars == 0:
        msg = f"{path} holds no genes ({adata.n_obs} cells x 0 genes)"
        raise ValueError(msg)
    return adata


def read_elements(path: Path, names: Sequence[str]) -> dict[str, Any]:
    """Read some elements of an h5ad file, and leave the rest of it where it is.

    Parameters
    ----------
    path
        The file.
    names
        Paths of the elements inside the file, such as ``"obs"`` or ``"uns/mnn"``.

    Returns
    -------
    The elements by name; those that the file does not have are left out.

    Raises
    ------
    OSError, ValueError
        As `read`.
    """
    from anndata.io import read_elem

    _check_readable(path)
    with _open(path) as file, _reading(path):
        return {name: read_elem(file[name]) for name in names if name in file}


def write(adata: AnnData, path: Path) -> None:
    """Write an object as an h5ad file, compressed.

    Equal objects give equal files.

    Parameters
    ----------
    adata
        The object. Its columns of strings become categories, as the format has it.
    path
        The file, replaced where it exists.

    Raises
    ------
    OSError
        The disk is full, or fails.
    ValueError
        The object holds something that an h5ad file cannot.
    """
    import h5py
    from anndata.io import write_elem

    try:
        adata.strings_to_categoricals()
        if adata.raw is not None:
            adata.strings_to_categoricals(adata.raw.var)
        # HDF5's own lock would meet the one held on the temporary file.
        with h5py.File(path, "w", locking=False) as file:
            write_elem(file, "/", adata, dataset_kwargs=COMPRESSION)
    except (OSError, RuntimeError) as error:
        msg = f"the output could not be written in {path.parent}: {_reason(error)}"
        raise OSError(msg) from error
    # Each kind of content has its own writer, which fails in its own way.
    except Exception as error:
        msg = f"the output cannot be written as h5ad: {_reason(error)}"
        raise ValueError(msg) from error


def _check_readable(path: Path) -> None:
    """Refuse what is no HDF5 file, with what it is instead."""
    if path.is_dir():
        msg = f"{path} is a folder; give an h5ad file"
        raise IsADirectoryError(msg)
    try:
        with path.open("rb") as file:
            start = file.read(len(HDF5_SIGNATURE))
    except FileNotFoundError:
        msg = f"the input file {path} does not exist"
        raise FileNotFoundError(msg) from None
    except PermissionError:
        msg = f"no permission to read {path}"
        raise PermissionError(msg) from None
    if start == b"":
        msg = f"{path} is empty (0 bytes); an h5ad file was expected"
        raise ValueError(msg)
    if start.startswith(GZIP_SIGNATURE):
        msg = f"{path} is compressed by gzip; unpack it first: gunzip {path}"
        raise ValueError(msg)
    if start != HDF5_SIGNATURE:
        msg = (
            f"{path} is not an h5ad file (it does not begin as HDF5 does); read it with scanpy "
            "and write it with .write_h5ad()"
        )
        raise ValueError(msg)


@contextlib.contextmanager
def _open(path: Path) -> Iterator[h5py.File]:
    import h5py

    try:
        file = h5py.File(path, "r")
    except OSError as error:
        if "truncated" in str(error):
            msg = f"{path} is truncated: its end is missing; copy or make it again"
        else:
            msg = f"{path} is damaged and cannot be opened: {_reason(error)}"
        raise OSError(msg) from error
    with file:
        with _reading(path):
            held = sorted(file)
            is_h5ad = file.attrs.get("encoding-type") == "anndata" or {"obs", "var"} <= set(held)
        if not is_h5ad:
            inside = ", ".join(held[:8]) or "nothing"
            hint = "; read it with scanpy.read_10x_h5" if "matrix" in held else ""
            msg = f"{path} is HDF5, but no h5ad file: it holds {inside}, not obs and var{hint}"
            raise ValueError(msg)
        yield file


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn what goes wrong inside a file that opens into one error about the file."""
    try:
        yield
    # Damaged bytes can make the readers below fail in any way.
    except Exception as error:
        msg = f"{path} is damaged, or not a whole h5ad file: {_reason(error)}"
        raise OSError(msg) from error


def _reason(error: BaseException) -> str:
    """Return the first cause of an error, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = str(error.args[0]) if error.args else ""
    if isinstance(error, OSError) and error.strerror:
        text = error.strerror
    return " ".join(text.split()) or type(error).__name__
