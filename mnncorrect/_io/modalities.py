"""MuData files: several objects in one file, of which one is read: ``FILE::MODALITY``."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
from anndata.io import read_elem

from mnncorrect._adata.lookup import listed
from mnncorrect._adata.stored import refuse_hollow
from mnncorrect._io.read_places import SIGN

if TYPE_CHECKING:
    import pandas as pd

MODALITIES = "mod"


def modalities_of(path: Path, held: Collection[str]) -> list[str]:
    """Return the modalities of a file by the names in its root; none: it is no MuData file."""
    if MODALITIES not in held:
        return []
    with contextlib.suppress(Exception), h5py.File(path, "r") as file:
        return sorted(file[MODALITIES])
    return []


def chosen_modality(path: Path, wanted: str | None, there: Collection[str]) -> str:
    """Return the modality that is read; a file with one modality may be named alone."""
    if not there:
        raise ValueError(f"{path} is not a MuData file; leave out {SIGN}{wanted}")
    if wanted is None and len(there) == 1:
        (wanted,) = there
    if wanted is None or wanted not in there:
        problem = "holds several objects" if wanted is None else f"has no modality {wanted!r}"
        names = listed((f"{path}{SIGN}{name}" for name in sorted(there)), 8)
        raise ValueError(f"{path} {problem}; give one of {names}")
    return wanted


def common_columns(obs: pd.DataFrame, file: h5py.File) -> pd.DataFrame:
    """Return the columns of a file's common table of cells that a modality does not have."""
    if "obs" not in file:
        return obs[[]]
    refuse_hollow(file["obs"])
    table: pd.DataFrame = read_elem(file["obs"])
    if not table.index.is_unique or not obs.index.isin(table.index).all():
        return obs[[]]
    # Columns of one modality are there a second time, with its name before them.
    own = tuple(f"{name}:" for name in file[MODALITIES])
    more = [name for name in table if name not in obs and not str(name).startswith(own)]
    return table.loc[obs.index, more]


def is_modality(group: Any) -> bool:
    """Return whether an object lies in a MuData file."""
    return str(group.name).startswith(f"/{MODALITIES}/")
