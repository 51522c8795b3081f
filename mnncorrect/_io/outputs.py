"""The file of a result: h5ad, or a MuData file in which the result replaces the modality read."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from anndata.io import read_elem

from mnncorrect._io import h5ad
from mnncorrect._io.atomic import unwritten, whole_file
from mnncorrect._io.hdf5 import USER_BLOCK, hdf5_file
from mnncorrect._io.modalities import MODALITIES, chosen_modality, common_columns, modalities_of
from mnncorrect._io.read_places import MUDATA, parted

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

MAGIC = b"MuData"
# Names of outputs that end so promise another format than h5ad.
OTHER_FORMATS = (
    ".zarr", ".zip", ".gz", ".loom", ".mtx", ".rds", ".csv", ".tsv", ".txt", ".parquet", ".xlsx",
    ".json", ".html", ".pdf", ".png", ".mnn",
)  # fmt: skip
# Endings of the files that this package writes.
OWN_FORMATS = {".h5ad", MUDATA, ".zarr", ".html", ".mnn"}


@contextlib.contextmanager
def whole_output(target: Path, *, force: bool, inputs: Sequence[Path]) -> Iterator[Path]:
    """Give a temporary path for an h5ad file, which becomes the output when the block ends well.

    ``target``: the output. Its name ends in ``.h5mu``, or is ``FILE.h5mu::MODALITY``: the output is
    a copy of the MuData file that was read, in which the result replaces the modality. ``inputs``:
    files that are read, that of the cells first.
    """
    file, _ = parted(target)
    name = modality_of(target, inputs)
    with whole_file(file, force=force, inputs=inputs) as temporary:
        if name is not None:
            temporary.write_bytes(bytes(USER_BLOCK))  # keeps room for the line before HDF5
        yield temporary
        if name is not None:
            _put_into_copy(temporary, parted(inputs[0])[0], name)


def refuse_other_format(*, report: Path | None = None, model: Path | None = None) -> None:
    """Refuse names of a report or a model that promise another file of this package."""
    for path, what, ending in ((report, "a report", ".html"), (model, "a model", ".mnn")):
        if path is not None and path.suffix.lower() in OWN_FORMATS - {ending}:
            raise ValueError(
                f"the output {path} would be {what}; give a name that ends in {ending}"
            )


def modality_of(target: Path, inputs: Sequence[Path]) -> str | None:
    """Return the modality that a result replaces; ``None``: the output is h5ad."""
    file, wanted = parted(target)
    if file.suffix.lower() in OTHER_FORMATS:
        raise ValueError(
            f"the output {target} would be an h5ad file; give a name that ends in .h5ad"
        )
    if file.suffix != MUDATA:
        return None
    source, name = parted(inputs[0]) if inputs else (None, None)
    there = [] if source is None or source.is_dir() else modalities_of(source, _names(source))
    if source is None or not there:
        raise ValueError(
            f"the output {target} is MuData, but the input is not; give FILE{MUDATA}::MODALITY as "
            "the only input, or an output that ends in .h5ad"
        )
    name = chosen_modality(source, name, there)
    if wanted not in (None, name):
        raise ValueError(
            f"the output {target} names another modality than the input ({name!r}), whose place "
            f"the result takes; write to {file}::{name}"
        )
    return name


def _names(source: Path) -> set[str]:
    with contextlib.suppress(OSError, ValueError):
        return h5ad.names_in(source)
    return set()


def refuse_other_shape(target: Path | None, inputs: Sequence[Path], tables: AnnData) -> None:
    """Refuse MuData for a result with other cells or genes than the modality, before any work.

    What links modalities would not hold.
    """
    if target is None or modality_of(target, inputs) is None:
        return
    if len(inputs) > 1:
        raise ValueError(
            f"the output {target} is MuData, but {len(inputs)} inputs are joined; write h5ad"
        )
    found = h5ad.read_elements(inputs[0], ["obs", "var"])
    there = {"cells": (found["obs"], tables.obs_names), "genes": (found["var"], tables.var_names)}
    for what, (table, names) in there.items():
        if list(table.index) != list(names):
            raise ValueError(
                f"the result has other {what} ({len(names)}) than the modality ({len(table)}), "
                f"and the links between the modalities of {target} need the same; write an output "
                "that ends in .h5ad"
            )


def _put_into_copy(path: Path, source: Path, name: str) -> None:
    """Make an h5ad file the modality of a copy of the MuData file that it came from."""
    from mnncorrect._io.hdf5_copies import copy_elements

    place = f"{MODALITIES}/{name}"
    try:
        with h5ad.open_hdf5(source) as original, hdf5_file(path, "r+") as file:
            made = dict.fromkeys(file)
            attributes = dict(file.attrs)
            for each in attributes:
                del file.attrs[each]
            modality = file.create_group(place)
            for each in made:
                file.move(each, f"{place}/{each}")
            modality.attrs.update(attributes)
            before = original[place]
            _drop_common(modality["obs"], before["obs"], original)
            others = {key: value for key, value in original.items() if key != MODALITIES}
            for key, value in original[MODALITIES].items():
                if key != name:
                    others[f"{MODALITIES}/{key}"] = value
            others |= {f"{place}/{key}": value for key, value in before.items() if key not in made}
            copy_elements(others, file)
            file.attrs.update(original.attrs)
            file[MODALITIES].attrs.update(original[MODALITIES].attrs)
        with source.open("rb") as had, path.open("r+b") as has:
            block = had.read(USER_BLOCK)
            has.write(block if block.startswith(MAGIC) else MAGIC.ljust(USER_BLOCK, b"\0"))
    except (OSError, RuntimeError) as error:
        raise unwritten(path, error) from error


def _drop_common(table: h5py.Group, before: h5py.Group, original: h5py.File) -> None:
    """Remove the columns that were read from the common table of cells, and are unchanged."""
    common = common_columns(read_elem(before), original)
    now = read_elem(table)
    same = {
        name
        for name in common
        if name in now and _as_objects(now[name]).equals(_as_objects(common[name].loc[now.index]))
    }
    order = [column for column in table.attrs["column-order"] if column not in same]
    for column in same:
        del table[str(column)]
    table.attrs["column-order"] = np.array(order, dtype=h5py.string_dtype())


def _as_objects(column: pd.Series[Any]) -> pd.Series[Any]:
    return column.astype(object).where(column.notna(), None)
