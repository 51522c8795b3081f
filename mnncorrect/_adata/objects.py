"""What is taken for an object: one AnnData, in memory, with cells."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from mnncorrect._adata.lookup import listed
from mnncorrect._adata.other_arrays import in_memory
from mnncorrect._log import logger

if TYPE_CHECKING:
    from anndata import AnnData


def check_object(adata: AnnData) -> None:
    """Refuse what is not one object in memory with cells; log duplicate cell names.

    Of an object of :func:`anndata.experimental.read_lazy`, the tables and ``uns`` are read.
    """
    refuse_other(adata)
    read_lazy_tables(adata)
    if adata.isbacked:
        raise ValueError(
            f"the object is backed by the file {adata.filename}, so its values are not in memory; "
            "load them: adata = adata.to_memory()"
        )
    if not adata.n_obs:
        raise ValueError(f"the object has no cells ({adata.n_obs} cells x {adata.n_vars} genes)")
    if not adata.obs_names.is_unique:
        doubled = int(adata.obs_names.duplicated().sum())
        logger.info("%d cells have a duplicate name; rows identify cells", doubled)


def read_lazy_tables(adata: AnnData) -> None:
    """Read the tables of cells and genes of a lazy object, and ``uns``; matrices stay lazy."""
    tables: dict[str, Any] = {name: getattr(adata, name) for name in ("obs", "var")}
    lazy = {name: table for name, table in tables.items() if hasattr(table, "to_memory")}
    for name, table in lazy.items():
        setattr(adata, name, table.to_memory())
    if lazy:
        adata.uns = _read_lazy(adata.uns)


def _read_lazy(value: Any) -> Any:
    """Read a lazy element, and those inside it."""
    if hasattr(value, "to_memory"):
        return value.to_memory()
    if isinstance(value, Mapping):
        return {name: _read_lazy(inside) for name, inside in value.items()}
    return in_memory(value)


def refuse_other(given: Any) -> None:
    """Refuse what is no AnnData object, and say how to make one object of it."""
    from anndata import AnnData

    if isinstance(given, AnnData):
        return
    parts = list(given.values()) if isinstance(given, dict) else given
    if hasattr(given, "mod") and hasattr(given, "obs"):
        names = [str(name) for name in given.mod] or ["rna"]
        advice = f"give one modality, such as mdata[{names[0]!r}] (it has {listed(names)})"
    elif isinstance(parts, list | tuple) and any(isinstance(part, AnnData) for part in parts):
        advice = (
            f"join these {len(parts)} objects first: "
            'anndata.concat(objects, label="batch", index_unique="-"), and name the column "batch"'
        )
    elif isinstance(given, str):
        advice = f"read the file {given!r} first: anndata.read_h5ad({given!r})"
    else:
        advice = (
            "make one: anndata.AnnData(X, obs=...); to correct an embedding in an array, call "
            "mnn_integrate(array, labels)"
        )
    raise TypeError(
        f"adata is a {type(given).__name__}, but one AnnData object is needed; {advice}"
    )


@contextlib.contextmanager
def doubled_names() -> Iterator[None]:
    """Make objects in the block whose names are not unique; who needs unique ones warns of it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*names are not unique")
        yield
