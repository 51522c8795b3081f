"""The h5ad file: read with errors that say what is wrong with it, and written.

That a written file appears whole or not at all is the business of ``_atomic``.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from typing import TYPE_CHECKING, Any

from mnncorrect._adata.slots import elements_of
from mnncorrect._adata.stored import ERRNO, element, hdf5_file, is_stored, refuse_hollow
from mnncorrect._io.failures import of_environment
from mnncorrect._io.foreign import HDF5, what_hdf5_is, what_it_is
from mnncorrect._io.probe import refuse_deadly

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import h5py
    from anndata import AnnData

# Level 1: corrected values hardly compress further, and each further level costs time.
COMPRESSION = {"compression": "gzip", "compression_opts": 1}
# The places of an object whose elements stay in the file when it is only opened.
ALIGNED = ("layers", "obsm", "varm", "obsp", "varp")
# Matrices by encoding, and the version of it that is known.
MATRICES = {"array": "0.2.0", "csr_matrix": "0.1.0", "csc_matrix": "0.1.0"}
# Elements of uns above this size, in bytes, stay there too.
LARGE = 1 << 20


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

    check_readable(path)
    # Doubled names are said once, by those whom they concern.
    with _open(path), reading(path), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*names are not unique")
        warnings.filterwarnings("ignore", category=anndata.OldFormatWarning)
        adata: AnnData = anndata.read_h5ad(path)
    refuse_unfit(adata, path)
    return adata


@contextlib.contextmanager
def opened(path: Path) -> Iterator[AnnData]:
    """Open an h5ad file: as :func:`read`, but matrices stay in the file.

    Parameters
    ----------
    path
        The file. One that an early version of anndata has written is read instead.

    Yields
    ------
    An object with ``obs`` and ``var`` in memory. Where it has a matrix stands what h5py or
    ``anndata.io.sparse_dataset`` give of it, until the block ends; :func:`write` copies such
    elements as they are.

    Raises
    ------
    OSError, ValueError
        As `read`.
    """
    check_readable(path)
    with _open(path) as file:
        if file.attrs.get("encoding-type") != "anndata":
            yield read(path)
            return
        with reading(path), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*names are not unique")
            adata = object_of(file)
        refuse_unfit(adata, path)
        yield adata


def object_of(file: Any) -> AnnData:
    """Make an object of what an open h5ad file or zarr folder holds; matrices stay in it."""
    import anndata
    from anndata.io import read_elem

    for table in ("obs", "var"):
        refuse_hollow(file[table])
    slots = {
        slot: {name: _handle(file[slot][name]) for name in file[slot]}
        for slot in ALIGNED
        if slot in file
    }
    uns = file.get("uns", {})
    adata = anndata.AnnData(
        X=_handle(file["X"]) if "X" in file else None,
        obs=read_elem(file["obs"]),
        var=read_elem(file["var"]),
        uns={name: uns[name] if _stays(uns[name]) else read_elem(uns[name]) for name in uns},
        **slots,
    )
    raw = file.get("raw")
    # An object without raw may be written with an element that says so.
    if raw is not None and raw.attrs.get("encoding-type") != "null":
        adata.raw = anndata.AnnData(
            X=_handle(raw["X"]),
            obs=adata.obs[[]],
            var=read_elem(raw["var"]),
            varm=read_elem(raw["varm"]) if "varm" in raw else None,
        )
    return adata


def _handle(value: Any) -> Any:
    """Return a matrix as it is in the file; anything else is read."""
    from anndata.io import read_elem, sparse_dataset

    kind, version = (value.attrs.get(f"encoding-{name}") for name in ("type", "version"))
    if kind not in MATRICES or MATRICES[kind] != version:
        return read_elem(value)
    if kind == "array":
        return value
    for part in ("data", "indices", "indptr"):
        _ = value[part].shape[0]  # one that is damaged is refused here, with the name of its file
    return sparse_dataset(value)


def _stays(value: Any) -> bool:
    """Return whether an element of uns is left in the file: a large one, not of this package."""
    is_record = not hasattr(value, "dtype") and "provenance/software" in value
    return _size(value) > LARGE and not is_record


def _size(value: Any) -> int:
    """Count the bytes of an element of a file."""
    if hasattr(value, "dtype"):
        return int(value.nbytes)
    return sum(_size(value[name]) for name in value)


def refuse_unfit(adata: AnnData, path: Path) -> None:
    """Refuse an object read from a file that has no cells, no genes, or columns of one name."""
    if adata.n_obs == 0:
        msg = f"{path} holds no cells (0 cells x {adata.n_vars} genes)"
        raise ValueError(msg)
    if adata.n_vars == 0:
        msg = f"{path} holds no genes ({adata.n_obs} cells x 0 genes)"
        raise ValueError(msg)
    for name, table in {"obs": adata.obs, "var": adata.var}.items():
        doubled = table.columns[table.columns.duplicated()]
        if len(doubled):
            msg = f"{name} of {path} has two columns {doubled[0]!r}; rename or drop one of them"
            raise ValueError(msg)


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

    check_readable(path)
    with _open(path) as file, reading(path):
        held = [name for name in names if name in file]
        for name in held:
            refuse_hollow(file[name])
        return {name: read_elem(file[name]) for name in held}


def write(adata: AnnData, path: Path) -> None:
    """Write an object as an h5ad file, compressed.

    Equal objects give equal files.

    Parameters
    ----------
    adata
        The object. Its columns of strings become categories, as the format has it. What of it is
        still in a file is copied as it is there, packed as it is and a piece at a time.
    path
        The file, replaced where it exists.

    Raises
    ------
    OSError
        The disk is full, or fails.
    ValueError
        The object holds something that an h5ad file cannot.
    """
    from anndata.io import write_elem

    from mnncorrect._adata.copies import copy_elements

    try:
        adata.strings_to_categoricals()
        if adata.raw is not None:
            adata.strings_to_categoricals(adata.raw.var)
        # HDF5's own lock would meet the one held on the temporary file.
        held, stored = _split(adata)
        with hdf5_file(path) as file:
            for name, value in _elements(held).items():
                write_elem(file, name, value, dataset_kwargs=COMPRESSION)
            file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
            copy_elements(stored, file)
    except (OSError, RuntimeError) as error:
        msg = f"the output could not be written in {path.parent}: {_reason(error)}"
        raise OSError(msg) from error
    # Each kind of content has its own writer, which fails in its own way.
    except Exception as error:
        msg = f"the output cannot be written as h5ad: {_reason(error)}"
        raise ValueError(msg) from error


def _elements(adata: AnnData) -> dict[str, Any]:
    """Name what an h5ad file of an object has.

    Not by anndata's writer of whole objects: of one without `raw` it writes that there is none,
    in a way that anndata 0.11 cannot read.
    """
    slots = {slot: elements_of(adata, slot) for slot in (*ALIGNED, "uns")}
    maybe = {"X": adata.X, "raw": adata.raw}
    there = {name: value for name, value in maybe.items() if value is not None}
    return {"obs": adata.obs, "var": adata.var, **slots, **there}


def _split(adata: AnnData) -> tuple[AnnData, dict[str, Any]]:
    """Part what of an object is in memory from what is in a file, by its place."""
    import anndata
    import numpy as np
    import scipy.sparse

    stored: dict[str, Any] = {}

    def held(slot: str, elements: Mapping[str, Any]) -> dict[str, Any]:
        stored.update(
            {f"{slot}/{name}": element(v) for name, v in elements.items() if is_stored(v)}
        )
        return {name: value for name, value in elements.items() if not is_stored(value)}

    slots = {slot: held(slot, elements_of(adata, slot)) for slot in (*ALIGNED, "uns")}
    if is_stored(adata.X):
        stored["X"] = element(adata.X)
    raw = adata.raw
    if raw is not None and is_stored(raw.X):
        # The whole of raw, if it is from a file; its values only, if they were written elsewhere.
        whole = element(raw.X).parent
        stored |= {"raw": whole} if "var" in whole else {"raw/X": element(raw.X)}
    if not stored:
        return adata, stored
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*names are not unique")
        rest = anndata.AnnData(
            X=None if "X" in stored else adata.X, obs=adata.obs, var=adata.var, **slots
        )
    if "raw/X" in stored:
        nothing = scipy.sparse.csr_matrix(raw.shape, dtype=np.float32)
        rest.raw = anndata.AnnData(nothing, obs=adata.obs[[]], var=raw.var, varm=dict(raw.varm))
    elif raw is not None and "raw" not in stored:
        rest.raw = raw.to_adata()
    return rest, stored


def check_readable(path: Path) -> None:
    """Refuse what is no HDF5 file, with what it is instead.

    Raises
    ------
    OSError
        It is missing, a folder, a pipe or a device, or not to be read by this user.
    ValueError
        It is empty, or holds something else.
    """
    if path.is_dir():
        msg = f"{path} is a folder; give an h5ad file"
        raise IsADirectoryError(msg)
    # To open a pipe is to wait for someone who writes to it.
    if path.exists() and not path.is_file():
        msg = f"{path} is not a regular file; write what it gives to one, and name that"
        raise OSError(msg)
    try:
        with path.open("rb") as file:
            start = file.read(len(HDF5))
    except FileNotFoundError:
        msg = f"the input file {path} does not exist"
        raise FileNotFoundError(msg) from None
    except PermissionError:
        msg = f"no permission to read {path}"
        raise PermissionError(msg) from None
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror}"
        raise OSError(msg) from error
    if start != HDF5:
        raise ValueError(what_it_is(path))
    refuse_deadly(path)


def names_in(path: Path) -> set[str]:
    """Return the names in the root of an HDF5 file.

    Raises
    ------
    OSError, ValueError
        It is missing, damaged, or no HDF5 file.
    """
    check_readable(path)
    with open_hdf5(path) as file, reading(path, "a whole HDF5 file"):
        return set(file)


@contextlib.contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file to read from it, with errors that say why it cannot be opened."""
    import h5py

    try:
        file = h5py.File(path, "r")
    except OSError as error:
        if "unable to lock file" in str(error):
            msg = (
                f"{path} is open elsewhere for writing; wait until that has ended, or set "
                "HDF5_USE_FILE_LOCKING=FALSE where it is the file system that refuses"
            )
        elif "truncated" in str(error):
            msg = f"{path} is truncated: its end is missing; copy or make it again"
        else:
            msg = f"{path} is damaged and cannot be opened: {_reason(error)}"
        raise OSError(msg) from error
    with file:
        yield file


@contextlib.contextmanager
def _open(path: Path) -> Iterator[h5py.File]:
    """Open an h5ad file; refuse HDF5 of other kinds, with the command that makes h5ad of it."""
    with open_hdf5(path) as file:
        with reading(path):
            held = sorted(file)
            encoding = file.attrs.get("encoding-type")
            is_h5ad = encoding == "anndata" or ({"obs", "var"} <= set(held) and "mod" not in held)
        if not is_h5ad:
            raise ValueError(what_hdf5_is(path, held))
        yield file


@contextlib.contextmanager
def reading(path: Path, what: str = "a whole h5ad file") -> Iterator[None]:
    """Turn what goes wrong inside a file that opens into one error about the file."""
    try:
        yield
    except MemoryError:
        raise
    # Damaged bytes can make the readers below fail in any way.
    except Exception as error:
        if str(path) in str(error) and isinstance(error, ValueError | OSError):
            raise  # a refusal of ours, which names the file
        environment = of_environment(error)
        if environment is not None:
            raise OSError(environment) from error
        msg = f"{path} is damaged, or not {what}: {_reason(error)}"
        raise OSError(msg) from error


def _reason(error: BaseException) -> str:
    """Return the first cause of an error, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = str(error.args[0]) if error.args else ""
    if isinstance(error, OSError) and error.strerror:
        text = error.strerror
    number = ERRNO.search(text)
    if number is not None:
        text = os.strerror(int(number[1]))
    return " ".join(text.split()) or type(error).__name__
