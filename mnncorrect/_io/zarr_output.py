"""A zarr folder of a result, written by rows, which appears when it is complete."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anndata.io import read_elem, write_elem

from mnncorrect._io import h5ad_writer
from mnncorrect._io.atomic import (
    MACHINE,
    PUT_ASIDE,
    SUFFIX,
    check_target,
    hold,
    refuse_changed,
    remove_dead,
    restore_put_aside,
    states_of,
    unwritten,
)
from mnncorrect._io.failures import reason_of
from mnncorrect._io.zarr_rows import RowsToWrite, all_chunks, write_rows
from mnncorrect._io.zarr_scratch import SCRATCH, ZarrScratch, copy_into, open_zarr, stored_in
from mnncorrect.core.runtime.mapped import let_go, mapping_of

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray


# Chunks that zarr has not written to their end.
UNFINISHED = "*.partial"
# Errors of a folder that takes the place of another, where there is one again.
TAKEN = (errno.ENOTEMPTY, errno.EEXIST)
# Seconds to wait for zarr's thread, which may write on for a moment in a folder to be removed.
PAUSES = (0.1, 0.4, 0.0)
ROWS_ENCODINGS = ("array", "csr_matrix", "csc_matrix")


def is_zarr_name(path: Path | None) -> bool:
    """Return whether an output is a folder of zarr by its name."""
    return path is not None and path.name.lower().endswith(".zarr")


@contextlib.contextmanager
def whole_folder(target: Path, *, force: bool, inputs: Sequence[Path]) -> Iterator[Path]:
    """Give a temporary folder that becomes ``target`` when the block ends well.

    If the block fails, the folder is removed and the target stays as it was.
    """
    real = Path(os.path.realpath(target))
    restore_put_aside(real)
    check_target(target, force=force)
    states = states_of(inputs)
    temporary = real.with_name(f".{real.name}.{MACHINE}{secrets.token_hex(4)}{SUFFIX}")
    remove_dead(real)
    try:
        temporary.mkdir()
        descriptor = os.open(temporary, os.O_RDONLY)
    except OSError as error:
        raise unwritten(target, error) from error
    try:
        hold(descriptor)
        yield temporary
        refuse_changed(states)
        check_target(target, force=force)
        while force and not _has_replaced(real, temporary):
            pass
        if not force:
            try:
                temporary.replace(real)
            except OSError:
                check_target(target)
                raise
    finally:
        _remove(temporary)
        os.close(descriptor)


def _has_replaced(real: Path, temporary: Path) -> bool:
    """Put a folder in the place of another; False if yet another has taken it meanwhile."""
    before = temporary.with_name(f"{temporary.name}{PUT_ASIDE}")
    try:
        with contextlib.suppress(FileNotFoundError):
            real.replace(before)
        temporary.replace(real)
    except BaseException as error:
        if not (isinstance(error, OSError) and error.errno in TAKEN):
            if before.exists() and not real.exists():
                before.replace(real)
            raise
    _remove(before)
    if temporary.exists() and before.exists():  # which no other folder can be put aside as
        raise OSError(
            f"{real} cannot be replaced: {before} is in the way and cannot be removed; remove it"
        )
    return not temporary.exists()


def _remove(path: Path) -> None:
    if path.is_dir():
        for pause in PAUSES:
            shutil.rmtree(path, ignore_errors=True)
            if not path.exists():
                break
            time.sleep(pause)
    else:
        path.unlink(missing_ok=True)


def write(adata: AnnData, folder: Path, store: ZarrScratch, more: Mapping[str, Any]) -> None:
    """Write an object as zarr; what lies in a file is copied by rows.

    ``more``: elements of ``store`` that the output has besides, by their place.
    """
    import zarr

    try:
        held, stored = h5ad_writer.split_by_place(h5ad_writer.with_categories(adata))
        group = open_zarr(folder, "a")
        elements = h5ad_writer.elements_written(held)
        obsm = elements["obsm"]
        maps = {name: value for name, value in obsm.items() if mapping_of(value) is not None}
        in_memory = {name: value for name, value in obsm.items() if name not in maps}
        with h5ad_writer.nullable_texts(), all_chunks():
            for name, value in {**elements, "obsm": in_memory}.items():
                write_elem(group, name, value)
            for name, value in maps.items():
                _write_map(group["obsm"], name, value, store)
            group.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
            for place, value in (stored | {**more}).items():
                _copy(group, place, value, folder, store)
        _remove(folder / SCRATCH)
        for path in folder.rglob(UNFINISHED):  # of a worker that was killed
            path.unlink()
        zarr.consolidate_metadata(group.store)
    except OSError as error:
        raise unwritten(folder, error) from error
    except (MemoryError, ValueError):
        raise
    # Each kind of content has its own writer, which fails in its own way.
    except Exception as error:
        raise ValueError(f"the output cannot be written as zarr: {reason_of(error)}") from error
    h5ad_writer.warn_of_unread(adata)


def _write_map(group: Any, name: str, value: NDArray[Any], store: ZarrScratch) -> None:
    """Write a mapped array by rows, which memory holds no longer than it takes."""

    def read(block: slice, _: None) -> NDArray[Any]:
        return value[block]

    rows = RowsToWrite(read, value.shape, value.dtype, shared=False, sparse=False)
    for _ in write_rows(group, name, rows, block_bytes=store.block_bytes, n_jobs=1):
        let_go(value)


def _copy(group: Any, place: str, value: Any, folder: Path, store: ZarrScratch) -> None:
    """Copy an element of another file, or move it where it was written for this output."""
    parent, _, name = place.rpartition("/")
    above = group[parent] if parent else group
    if name in above:
        del above[name]  # what stood for it
    own = folder / SCRATCH / value.name.strip("/")
    if not hasattr(value, "id") and _is_in(value, folder) and own.is_dir():
        own.rename(folder / place)
        return
    kind = value.attrs.get("encoding-type")
    if place == "raw" and not hasattr(value, "dtype"):
        above.create_group(name).attrs.update(dict(value.attrs))
        for key in value:
            _copy(group, f"raw/{key}", value[key], folder, store)
    elif kind in ROWS_ENCODINGS and len(stored_in(value).shape) == 2 and _is_numeric(value):
        copy_into(above, name, stored_in(value), store, f"/{place}")
    else:
        write_elem(above, name, read_elem(value))


def _is_numeric(value: Any) -> bool:
    dtype = value.dtype if hasattr(value, "dtype") else value["data"].dtype
    return dtype.kind in "fiub"


def _is_in(value: Any, folder: Path) -> bool:
    """Return whether an element of zarr lies in a folder."""
    store = value.store_path.store if hasattr(value, "store_path") else value.store
    root = getattr(store, "root", None) or getattr(store, "path", "")
    return Path(str(root)).is_relative_to(folder)
