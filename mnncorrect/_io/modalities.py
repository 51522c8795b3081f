"""MuData files: several objects in one file, of which an input is one: ``FILE::MODALITY``."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from mnncorrect._adata.lookup import listed
from mnncorrect._adata.stored import refuse_hollow
from mnncorrect._io import h5ad
from mnncorrect._io.elements import object_of
from mnncorrect._io.read_places import SIGN, parted

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    import pandas as pd
    from anndata import AnnData

MODALITIES = "mod"


def modalities_of(path: Path, held: Collection[str]) -> list[str]:
    """Return the names of the objects of a file; none: it is no MuData file.

    ``held``: the names in its root.
    """
    import h5py

    if MODALITIES not in held:
        return []
    with contextlib.suppress(Exception), h5py.File(path, "r") as file:
        return sorted(file[MODALITIES])
    return []


@contextlib.contextmanager
def opened_modality(path: Path) -> Iterator[AnnData]:
    """Open one object of a MuData file; its matrices stay in the file.

    Columns of the file's common table of cells that the object does not have are added to it.

    ``path``: ``FILE::MODALITY``; a file with one modality may be named alone.
    Raises ``ValueError``: the file has no such modality, or several and none is named. Raises
    ``OSError``: the file is damaged.
    """
    path, wanted = parted(path)
    there = modalities_of(path, h5ad.names_in(path))
    if not there:
        msg = f"{path} is no MuData file, so {SIGN}{wanted} means nothing; leave it out"
        raise ValueError(msg)
    if wanted is None and len(there) == 1:
        (wanted,) = there
    if wanted not in there:
        said = "holds several objects" if wanted is None else f"has no modality {wanted!r}"
        names = listed((f"{path}{SIGN}{name}" for name in there), 8)
        msg = f"{path} {said}; give one of {names}"
        raise ValueError(msg)
    with h5ad.open_hdf5(path) as file:
        with h5ad.reading(path, "a whole MuData file"):
            adata = object_of(file[MODALITIES][wanted])
            if "obs" in file:
                adata.obs = _with_common(adata.obs, file["obs"], there)
        yield adata


def _with_common(obs: pd.DataFrame, common: Any, modalities: Collection[str]) -> pd.DataFrame:
    """Add to a table of cells what the table of all modalities says of them."""
    from anndata.io import read_elem

    refuse_hollow(common)
    table: pd.DataFrame = read_elem(common)
    if not table.index.is_unique or not obs.index.isin(table.index).all():
        return obs
    # Columns of one modality are there a second time, named by it.
    own = tuple(f"{name}:" for name in modalities)
    more = [name for name in table if name not in obs and not str(name).startswith(own)]
    return obs.join(table[more])
