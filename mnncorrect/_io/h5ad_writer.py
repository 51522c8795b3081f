"""The h5ad file, written: tried before any work is done for it, and copied where it is not changed.

That a written file appears whole or not at all is the business of ``atomic``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import scipy.sparse
from anndata import AnnData
from anndata.io import write_elem

from mnncorrect._adata.objects import doubled_names
from mnncorrect._adata.slots import elements_of
from mnncorrect._adata.stored import element, is_stored
from mnncorrect._adata.unread import stored_of, unread_of
from mnncorrect._io.atomic import unwritten
from mnncorrect._io.elements import ALIGNED
from mnncorrect._io.failures import reason_of
from mnncorrect._io.hdf5 import hdf5_file
from mnncorrect._log import logger

# Level 1: corrected values hardly compress further, and each further level costs time.
COMPRESSION = {"compression": "gzip", "compression_opts": 1}
# Rows of a table that are written to try whether it can be.
FIRST_ROWS = 100


def write(adata: AnnData, path: Path) -> None:
    """Write an object as an h5ad file, compressed; equal objects give equal files.

    Columns of strings become categories, as the format has it. What is still in a file is copied,
    packed as it is and a piece at a time.
    """
    from mnncorrect._io.hdf5_copies import copy_elements

    try:
        # HDF5's own lock would meet the one held on the temporary file.
        held, stored = split_by_place(with_categories(adata))
        with hdf5_file(path) as file, nullable_texts():
            for name, value in elements_written(held).items():
                write_elem(file, name, value, dataset_kwargs=COMPRESSION)
            file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
            copy_elements(stored | _unread(adata), file)
            _order_columns(adata, file)
    except (OSError, RuntimeError) as error:
        raise unwritten(path, error) from error
    # Each kind of content has its own writer, which fails in its own way.
    except Exception as error:
        raise ValueError(f"the output cannot be written as h5ad: {reason_of(error)}") from error


def with_categories(adata: AnnData) -> AnnData:
    """Turn columns of strings into categories, as the format has it."""
    adata.strings_to_categoricals()
    if adata.raw is not None:
        adata.strings_to_categoricals(adata.raw.var)
    return adata


def _portable(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose texts are stored as every version of anndata reads them.

    pandas 3 has a type of text that anndata stores as one that may be missing, also where none is.
    """
    made = table.copy(deep=False)
    made.index = _plain_texts(table.index)
    for name in table:
        column = table[name]
        if isinstance(column.dtype, pd.CategoricalDtype):
            plain = _plain_texts(column.cat.categories)
            if plain is not column.cat.categories:
                made[name] = column.cat.rename_categories(plain.tolist())
        elif isinstance(column.dtype, pd.StringDtype) and not column.isna().any():
            made[name] = column.astype(object)
    return made


def _portable_inside(elements: Mapping[str, Any]) -> dict[str, Any]:
    """Return elements whose tables, also those inside them, are portable, and maps plain arrays."""
    return {
        name: _portable(value)
        if isinstance(value, pd.DataFrame)
        else _portable_inside(value)
        if isinstance(value, dict)
        else np.asarray(value)  # which anndata does not write
        if isinstance(value, np.memmap)
        else value
        for name, value in elements.items()
    }


def _plain_texts(index: pd.Index[Any]) -> pd.Index[Any]:
    is_text = isinstance(index.dtype, pd.StringDtype)
    return index.astype(object) if is_text and not index.hasnans else index


@contextlib.contextmanager
def nullable_texts() -> Iterator[None]:
    """Let anndata write texts that may be missing, as it reads them; it refuses to if not told."""
    if not hasattr(anndata.settings, "allow_write_nullable_strings"):
        yield
        return
    with anndata.settings.override(allow_write_nullable_strings=True):
        yield


def refuse_unwritable(adata: AnnData) -> None:
    """Try to write the tables of an object, before any work is done for it."""
    with doubled_names():
        copied = anndata.AnnData(obs=adata.obs.copy(deep=False), var=adata.var.copy(deep=False))
    copied.strings_to_categoricals()
    tables = {"obs": _portable(copied.obs), "var": _portable(copied.var)}
    held = split_by_place(adata)[0]
    if held.raw is not None:
        tables["raw/var"] = held.raw.var.copy(deep=False)
        copied.strings_to_categoricals(tables["raw/var"])
    for slot in ("obsm", "varm", "uns"):
        there = elements_of(held, slot).items()
        tables |= {f"{slot}/{name}": value for name, value in there if _is_tabular(value)}
    for place, table in tables.items():
        problem = _why_unwritable(_looked_at(table))
        if problem is None:
            continue
        columns = list(table) if hasattr(table, "columns") else []
        for column in columns:
            alone = _why_unwritable(_looked_at(table[[column]]))
            if alone is not None:
                place, problem = f"{place}/{column}", alone
                break
        raise ValueError(
            f"/{place} of the input cannot be written as h5ad ({problem}); rename, convert or "
            "remove it in Python, and write the input anew"
        )


def _looked_at(value: Any) -> Any:
    """Return the part of a table that tells whether it can be written.

    The first rows, if the type of each column says what is in it; all of them, if a column may
    hold anything.
    """
    if not isinstance(value, pd.DataFrame):
        return value
    anything: list[Any] = [value.index, *(value[name] for name in value)]
    plain = all(
        part.dtype != object or pd.api.types.infer_dtype(part, skipna=False) == "string"
        for part in anything
    )
    return value.iloc[:FIRST_ROWS] if plain else value


def _is_tabular(value: Any) -> bool:
    """Return whether a value is small, and of parts that may not be writable."""
    is_numbers = isinstance(value, np.ndarray) and value.dtype != object
    return not is_numbers and not scipy.sparse.issparse(value)


def _why_unwritable(value: Any) -> str | None:
    """Say why a value cannot be written; ``None``: it can be."""
    with h5py.File("trial", "w", driver="core", backing_store=False) as file, nullable_texts():
        try:
            write_elem(file, "tried", value)
        # Each kind of content has its own writer, which fails in its own way.
        except Exception as error:  # noqa: BLE001
            return reason_of(error)
    return None


def _unread(adata: AnnData) -> dict[str, Any]:
    """Return elements that could not be read, and that no result has taken the place of."""
    found = {}
    for path, source in unread_of(adata).items():
        slot, _, name = path.partition("/")
        there = getattr(adata, slot, None)
        if name and there is not None and name in there:
            continue
        if name == "" and there is not None:  # raw
            continue
        found[path] = source
    return found


def warn_of_unread(adata: AnnData) -> None:
    """Warn of elements that could not be read, and that zarr therefore does not have."""
    lost = [f"/{path}" for path in _unread(adata)]
    if lost:
        logger.warning("left out, because it cannot be read: %s", ", ".join(lost))


def _order_columns(adata: AnnData, file: h5py.File) -> None:
    """Name the columns that could not be read among the others of their table, in their order."""
    for table in ("obs", "var"):
        unread = [path for path in _unread(adata) if path.startswith(f"{table}/")]
        if not unread:
            continue
        written = [str(name) for name in file[table].attrs["column-order"]]
        source = unread_of(adata)[unread[0]]
        order = [str(name) for name in source.parent.attrs["column-order"]]
        there = {*written, *(path.partition("/")[2] for path in unread)}
        names = [name for name in order if name in there]
        names += [name for name in written if name not in names]
        file[table].attrs["column-order"] = np.array(names, dtype=h5py.string_dtype())


def elements_written(adata: AnnData) -> dict[str, Any]:
    """Name what an h5ad file of an object has.

    Not by anndata's writer of whole objects: of one without `raw` it writes that there is none,
    in a way that anndata 0.11 cannot read.
    """
    slots = {slot: _portable_inside(elements_of(adata, slot)) for slot in (*ALIGNED, "uns")}
    maybe = {"X": adata.X, "raw": adata.raw}
    there = {name: value for name, value in maybe.items() if value is not None}
    return {"obs": _portable(adata.obs), "var": _portable(adata.var), **slots, **there}


def split_by_place(adata: AnnData) -> tuple[AnnData, dict[str, Any]]:
    """Part what of an object is in memory from what is in a file, by its place."""
    stored: dict[str, Any] = {}

    sources = stored_of(adata)

    def in_memory(slot: str, elements: Mapping[str, Any]) -> dict[str, Any]:
        """Leave out what is in a file, or as it was read: both are copied as they are stored.

        The rows of a table are named as those of obs and var are, which are written anew.
        """
        rest = {}
        for name, value in elements.items():
            read, source = sources.get(f"{slot}/{name}", (None, None))
            is_named = slot != "uns" and isinstance(value, pd.DataFrame)
            if is_stored(value):
                stored[f"{slot}/{name}"] = element(value)
            elif source is not None and read is value and not is_named:
                stored[f"{slot}/{name}"] = source
            else:
                rest[name] = value
        return rest

    slots = {slot: in_memory(slot, elements_of(adata, slot)) for slot in (*ALIGNED, "uns")}
    if is_stored(adata.X):
        stored["X"] = element(adata.X)
    raw = adata.raw
    if raw is not None and is_stored(raw.X):
        # The whole of raw, if it is from a file; its values only, if they were written elsewhere.
        whole = getattr(element(raw.X), "parent", ())  # an element of zarr knows none
        stored |= {"raw": whole} if "var" in whole else {"raw/X": element(raw.X)}
    if not stored:
        return adata, stored
    with doubled_names():
        rest = anndata.AnnData(
            X=None if "X" in stored else adata.X, obs=adata.obs, var=adata.var, **slots
        )
    if "raw/X" in stored:
        nothing = scipy.sparse.csr_matrix(raw.shape, dtype=np.float32)
        rest.raw = anndata.AnnData(nothing, obs=adata.obs[[]], var=raw.var, varm=dict(raw.varm))
    elif raw is not None and "raw" not in stored:
        rest.raw = raw.to_adata()
    return rest, stored
