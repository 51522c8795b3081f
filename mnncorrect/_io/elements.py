"""An object of what an open file holds: matrices stay in it, and so does what cannot be read.

Other packages store elements in ways that anndata here does not know, and files are damaged in
places that nobody asks for. Such elements are kept beside the object.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from anndata.io import read_elem, sparse_dataset

from mnncorrect._adata.stored import refuse_hollow
from mnncorrect._adata.stored_rows import refuse_odd_arrays
from mnncorrect._adata.unread import SOURCES, UNREAD, Unread
from mnncorrect._io.hdf5_filters import lacking_filter, refuse_packed
from mnncorrect._log import logger

# The places of an object whose elements stay in the file when it is only opened.
ALIGNED = ("layers", "obsm", "varm", "obsp", "varp")
# Matrices by encoding, and the version of it that is known.
MATRICES = {"array": "0.2.0", "csr_matrix": "0.1.0", "csc_matrix": "0.1.0"}
# Elements of uns above this size, in bytes, stay there too.
LARGE_UNS = 1 << 20
TABLE, TABLE_VERSION = "dataframe", "0.2.0"


def is_by_elements(file: Any) -> bool:
    """Return whether a file has elements that say what they are, rather than older content."""
    if file.attrs.get("encoding-type") == "anndata":
        return True
    tables = [file.get(name) for name in ("obs", "var")]
    named = all(getattr(table, "attrs", {}).get("encoding-type") == TABLE for table in tables)
    return named and not {"raw.X", "raw.var"} & set(file)


def object_of(file: Any) -> AnnData:
    """Make an object of what an open h5ad file or zarr folder holds; matrices stay in it.

    What cannot be read is left where it is, with a warning: see :mod:`mnncorrect._adata.unread`.
    """
    for table in ("obs", "var"):
        refuse_hollow(file[table])
    unread = Unread()
    sources: dict[str, tuple[Any, Any]] = {}
    obs, var = (read_table(file[name], name, unread) for name in ("obs", "var"))
    shape = {"obs": len(obs), "var": len(var)}

    def taken(slot: str, name: str, read: Callable[[Any], Any]) -> dict[str, Any]:
        """Read an element, or keep it as one that cannot be read."""
        path, source = f"{slot}/{name}", file[slot][name]
        value, error = _tried(lambda: _aligned(read(source), slot, shape))
        if error is not None:
            _keep_unread(unread, path, source, error)
            return {}
        if value is not source:
            sources[path] = value, source
        return {name: value}

    slots: dict[str, dict[str, Any]] = {slot: {} for slot in (*ALIGNED, "uns")}
    for slot, elements in slots.items():
        for name in file.get(slot, {}):
            elements |= taken(slot, name, _uns_element if slot == "uns" else handle)
    x = None
    if "X" in file:
        packed = lacking_filter(file["X"])
        if packed is None:
            x = handle(file["X"])
        else:
            _keep_unread(unread, "X", file["X"], ValueError(packed))
    adata = AnnData(X=x, obs=obs, var=var, **slots)
    raw = file.get("raw")
    # An object without raw may be written with an element that says so.
    if raw is not None and raw.attrs.get("encoding-type") != "null":
        found, error = _tried(lambda: _raw_of(raw, adata))
        if error is not None:
            _keep_unread(unread, "raw", raw, error)
        adata.raw = found
    setattr(adata, UNREAD, unread)
    setattr(adata, SOURCES, sources)
    return adata


def read_table(group: Any, where: str, unread: Unread) -> pd.DataFrame:
    """Read a table; its columns that cannot be read are put into ``unread``."""
    table, error = _tried(lambda: read_elem(group))
    if error is not None:
        if group.attrs.get("encoding-version") != TABLE_VERSION:
            raise error
        # What is wrong is looked for column by column.
        table = _read_columns(group, where, unread)
    return _native(table)


def _native(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose numbers have this machine's order of bytes, as pandas needs them."""
    native = {
        name: dtype.newbyteorder("=")
        for name, dtype in table.dtypes.items()
        if isinstance(dtype, np.dtype) and not dtype.isnative
    }
    for name, dtype in native.items():
        table[name] = table[name].to_numpy().astype(dtype)
    return table


def _tried(read: Callable[[], Any]) -> tuple[Any, Exception | None]:
    """Return what is read, or why it cannot be."""
    try:
        return read(), None
    except MemoryError:
        raise
    # Each kind of content has its own reader, which fails in its own way.
    except Exception as error:  # noqa: BLE001
        return None, error


def _read_columns(group: Any, where: str, unread: Unread) -> pd.DataFrame:
    key = str(group.attrs["_index"])
    if key not in group:
        raise ValueError(f"/{where.strip('/')}/{key}, the names of its rows, is missing")
    refuse_packed(group[key])
    index = pd.Index(read_elem(group[key]), name=None if key == "_index" else key)
    columns = {}
    for name in map(str, group.attrs["column-order"]):
        values, error = _tried(partial(_column, group, name, len(index)))
        if error is None:
            columns[name] = values
        else:
            _keep_unread(unread, f"{where.strip('/')}/{name}", group.get(name), error)
    return pd.DataFrame(columns, index=index)


def _column(group: Any, name: str, n_rows: int) -> Any:
    values = read_elem(group[name])
    if len(values) != n_rows:
        raise ValueError(f"it has {len(values)} values for {n_rows} rows")
    return values


def _keep_unread(unread: Unread, path: str, source: Any, error: Exception) -> None:
    """Keep an element that could not be read, and say so."""
    told = lacking_filter(source) or " ".join(str(error).split())[:200]
    reason = told or type(error).__name__
    unread.reasons[path] = reason
    if source is None:
        logger.warning("/%s is missing, and is left out: %s", path, reason)
        return
    if not hasattr(source, "id"):  # of zarr, whose elements cannot be copied as they are
        logger.warning("/%s cannot be read, and is left out: %s", path, reason)
        return
    from mnncorrect._io.hdf5_copies import refuse_uncopyable, why_not_copied

    refuse_uncopyable(source)
    damage = why_not_copied(source)
    if damage is not None:
        logger.warning("/%s can neither be read nor copied, and is left out: %s", path, damage)
        return
    logger.warning("/%s cannot be read, and is copied unchanged: %s", path, reason)
    unread[path] = source


def _raw_of(raw: Any, adata: AnnData) -> AnnData:
    return AnnData(
        X=handle(raw["X"]),
        obs=adata.obs[[]],
        var=read_elem(raw["var"]),
        varm=read_elem(raw["varm"]) if "varm" in raw else None,
    )


def _aligned(value: Any, slot: str, shape: Mapping[str, int]) -> Any:
    """Return a value; refuse one of other rows or columns than its place in an object has."""
    axes = {"layers": ("obs", "var"), "obsm": ("obs",), "varm": ("var",)}
    axes |= {"obsp": ("obs", "obs"), "varp": ("var", "var"), "uns": ()}
    wanted = tuple(shape[axis] for axis in axes[slot])
    found = tuple(getattr(value, "shape", wanted))[: len(wanted)]
    if found != wanted:
        raise ValueError(f"it has shape {found}, where {wanted} belongs")
    return value


def _uns_element(value: Any) -> Any:
    return value if _stays(value) else read_elem(value)


def handle(value: Any) -> Any:
    """Return a matrix as it is in the file; anything else is read."""
    kind, version = (value.attrs.get(f"encoding-{name}") for name in ("type", "version"))
    if kind not in MATRICES or MATRICES[kind] != version:
        found = read_elem(value)
        return _native(found) if isinstance(found, pd.DataFrame) else found
    refuse_packed(value)
    if kind == "array":
        return value
    refuse_odd_arrays(value, value.name)  # here, where the name of its file is known
    return sparse_dataset(value)


def _stays(value: Any) -> bool:
    """Return whether an element of uns is left in the file: a large one, not of this package."""
    is_record = not hasattr(value, "dtype") and "provenance/software" in value
    return _stored_bytes(value) > LARGE_UNS and not is_record


def _stored_bytes(value: Any) -> int:
    """Count the bytes of an element of a file."""
    if hasattr(value, "dtype"):
        return int(value.nbytes)
    return sum(_stored_bytes(value[name]) for name in value)
