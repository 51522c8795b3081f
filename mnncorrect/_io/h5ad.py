"""The h5ad file, read with errors that say what is wrong with it."""

from __future__ import annotations

import contextlib
import shlex
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata
import h5py
from anndata.io import read_elem
from h5py import h5f

from mnncorrect._adata.numbers import refuse_inconsistent
from mnncorrect._adata.objects import doubled_names
from mnncorrect._adata.record import RecordError
from mnncorrect._adata.stored import refuse_hollow
from mnncorrect._adata.unread import Unread
from mnncorrect._io.atomic import put_aside
from mnncorrect._io.elements import is_by_elements, object_of, read_table
from mnncorrect._io.failures import LibraryError, of_environment, place_of, reason_of
from mnncorrect._io.foreign import concat_command, has_hdf5, what_hdf5_is, what_it_is
from mnncorrect._io.h5ad_writer import COMPRESSION, refuse_unwritable, write
from mnncorrect._io.hdf5 import UNWRITTEN
from mnncorrect._io.hdf5_filters import lacking_filter, use_filters
from mnncorrect._io.modalities import MODALITIES, chosen_modality, common_columns, is_modality
from mnncorrect._io.probe import refuse_deadly
from mnncorrect._io.read_places import parted

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = [
    "COMPRESSION",
    "check_readable",
    "opened_h5ad",
    "read",
    "read_elements",
    "reading",
    "refuse_unfit_object",
    "refuse_unwritable",
    "write",
]


def read(path: Path) -> AnnData:
    """Read an h5ad file of at least one cell and one gene into memory."""
    check_readable(path)
    # Whoever needs unique names warns of duplicates.
    with _open(path), reading(path), doubled_names():
        warnings.filterwarnings("ignore", category=anndata.OldFormatWarning)
        adata: AnnData = anndata.read_h5ad(path)
    refuse_unfit_object(adata, path)
    return adata


@contextlib.contextmanager
def opened_h5ad(path: Path) -> Iterator[AnnData]:
    """Open an h5ad file: as :func:`read`, but matrices stay in the file until the block ends.

    They are what h5py or ``anndata.io.sparse_dataset`` give; :func:`write` copies such elements as
    they are. A file of an early version of anndata is read instead. Of MuData (``FILE::MODALITY``),
    columns of the common table of cells are added to ``obs``.
    """
    check_readable(path)
    with _open(path) as file:
        is_part = is_modality(file)
        if not is_part and not is_by_elements(file):
            yield read(path)
            return
        with reading(path), doubled_names():
            adata = object_of(file)
            if is_part:
                adata.obs = adata.obs.join(common_columns(adata.obs, file.file))
        refuse_unfit_object(adata, path)
        yield adata


def refuse_unfit_object(adata: AnnData, path: Path) -> None:
    """Refuse an object read from a file that has no cells, no values, or columns of one name."""
    if adata.n_obs == 0:
        raise ValueError(f"{path} holds no cells (0 cells x {adata.n_vars} genes)")
    if adata.n_vars == 0 and not len(adata.obsm):
        raise ValueError(f"{path} holds no genes ({adata.n_obs} cells x 0 genes)")
    for name, table in {"obs": adata.obs, "var": adata.var}.items():
        doubled = table.columns[table.columns.duplicated()]
        if len(doubled):
            raise ValueError(
                f"{name} of {path} has two columns {doubled[0]!r}; rename or drop one of them"
            )


def read_elements(path: Path, names: Sequence[str]) -> dict[str, Any]:
    """Read elements of an h5ad file by their paths, such as ``"uns/mnn"``, those that it has."""
    check_readable(path)
    with _open(path) as file, reading(path):
        held = [name for name in names if name in file]
        for name in held:
            refuse_hollow(file[name])
        found = {name: _element(file[name], name) for name in held}
        if "obs" in found and is_modality(file):
            found["obs"] = found["obs"].join(common_columns(found["obs"], file.file))
        return found


def _element(value: Any, place: str) -> Any:
    """Read an element; of a table or a group of them, what can be read."""
    kind = value.attrs.get("encoding-type")
    if kind == "dataframe":
        return read_table(value, value.name, Unread())
    if place == "uns":
        found = {}
        for name in value:
            with contextlib.suppress(Exception):
                found[name] = read_elem(value[name])
        return found
    read = read_elem(value)
    if hasattr(read, "check_format"):
        refuse_inconsistent(read, value.name)
    return read


def check_readable(path: Path) -> None:
    """Refuse what is no HDF5 file or cannot be read, and name its format."""
    if path.is_dir():
        raise IsADirectoryError(
            f"{path} is a folder, and no zarr data; give an h5ad file, which concat makes: "
            f"{concat_command(path)}"
        )
    path, _ = parted(path)
    # To open a pipe is to wait for someone who writes to it.
    if path.exists() and not path.is_file():
        raise OSError(f"{path} is not a regular file; write what it gives to one, and name that")
    try:
        is_hdf5 = has_hdf5(path)
    except FileNotFoundError:
        aside = put_aside(path)
        hint = ""
        if aside:
            move = shlex.join(["mv", str(aside[-1]), str(path)])
            hint = f"; a run that was killed has put it aside: {move}"
        raise FileNotFoundError(f"the file {path} does not exist{hint}") from None
    except PermissionError:
        raise PermissionError(f"no permission to read {path}") from None
    except OSError as error:
        raise OSError(f"{path} cannot be read: {error.strerror}") from error
    if not is_hdf5:
        raise ValueError(what_it_is(path))
    refuse_deadly(path)


def names_in(path: Path) -> set[str]:
    """Return the names in the root of an HDF5 file."""
    check_readable(path)
    with open_hdf5(path) as file, reading(path, "a whole HDF5 file"):
        return set(file)


@contextlib.contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file to read from it, with errors that say why it cannot be opened."""
    use_filters()
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
            msg = f"{path} is damaged and cannot be opened: {reason_of(error)}"
        raise OSError(msg) from error
    try:
        yield file
    except BaseException:
        # HDF5 crashes where it closes a file after it has failed to write another one: this one
        # is closed where it is let go.
        if not _is_writing():
            file.close()
        raise
    file.close()


def _is_writing() -> bool:
    """Return whether an HDF5 file is open that is written, or could not be."""
    if UNWRITTEN:
        return True
    opened = h5f.get_obj_ids(types=h5f.OBJ_FILE)
    return any(each.get_intent() != h5f.ACC_RDONLY for each in opened)


@contextlib.contextmanager
def _open(path: Path) -> Iterator[h5py.Group]:
    """Open an h5ad file, or a modality of MuData; refuse HDF5 of other kinds with a command."""
    path, modality = parted(path)
    with open_hdf5(path) as file:
        with reading(path):
            held = sorted(file)
            encoding = file.attrs.get("encoding-type")
            is_h5ad = encoding == "anndata" or ({"obs", "var"} <= set(held) and "mod" not in held)
        if modality is not None or (not is_h5ad and MODALITIES in held):
            there = list(file[MODALITIES]) if MODALITIES in held else []
            yield file[MODALITIES][chosen_modality(path, modality, there)]
            return
        if not is_h5ad:
            raise ValueError(what_hdf5_is(path, held))
        yield file


@contextlib.contextmanager
def reading(path: Path, what: str = "a whole h5ad file") -> Iterator[None]:
    """Turn what goes wrong inside a file that opens into one error about the file."""
    try:
        yield
    except (MemoryError, LibraryError, RecordError):
        raise
    # Damaged bytes can make the readers below fail in any way.
    except Exception as error:
        if str(path) in str(error) and isinstance(error, ValueError | OSError):
            raise  # a refusal of ours, which names the file
        environment = of_environment(error)
        if environment is not None:
            raise LibraryError(environment) from error
        packed = _lacking_filter(path)
        if packed is not None:
            raise ValueError(packed) from error
        place = place_of(error)
        where = "" if place is None else f"{place} cannot be read: "
        raise OSError(f"{path} is damaged, or not {what}: {where}{reason_of(error)}") from error


def _lacking_filter(path: Path) -> str | None:
    """Say which element of a file that could not be read is packed by a filter that is missing."""
    # A damaged file tells nothing.
    with contextlib.suppress(Exception), h5py.File(path, "r") as file:
        return lacking_filter(file)
    return None
