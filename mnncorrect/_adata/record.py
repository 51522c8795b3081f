"""What a correction recorded of itself, read back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mnncorrect._adata.batches import recorded_key
from mnncorrect._adata.lookup import listed
from mnncorrect._adata.results import Keys

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray


@dataclass(frozen=True)
class MergeRecord:
    """One merge.

    Attributes
    ----------
    left, right
        Names of the batches on the side of the reference and of the target.
    pairs
        Number of mutual pairs.
    skipped
        Whether it was left alone.
    lost
        Share of the variance within each batch that it took away, by name of the batch; empty
        where the method does not measure it.
    more
        What else the table says of it, such as ``evidence`` or ``recall``.
    """

    left: tuple[str, ...]
    right: tuple[str, ...]
    pairs: int
    skipped: bool
    lost: Mapping[str, float]
    more: Mapping[str, float]


@dataclass(frozen=True)
class Record:
    """A correction, as ``uns`` has it.

    Attributes
    ----------
    key
        Column of ``obs`` that names the batches, or several.
    batches
        Their names, in their order.
    params
        Parameters as resolved; JSON text where they were sequences.
    merges
        The merges in the order they were carried out.
    lost_variance
        Merges x batches; NaN where it was not measured.
    stored
        All of it, as it is in ``uns``.
    """

    key: str | list[str]
    batches: tuple[str, ...]
    params: Mapping[str, Any]
    merges: tuple[MergeRecord, ...]
    lost_variance: NDArray[np.float64]
    stored: Mapping[str, Any]


def is_record(entry: Any) -> bool:
    """Return whether an entry of ``uns`` is the record of a correction."""
    return isinstance(entry, Mapping) and {"merges", "params", "batches"} <= set(entry)


def is_projection(entry: Any) -> bool:
    """Return whether an entry of ``uns`` is the record of projected cells."""
    return isinstance(entry, Mapping) and {"projected", "params", "model", "batches"} <= set(entry)


def take_batch_key(
    adata: AnnData, key_added: str
) -> tuple[str | list[str] | None, tuple[str, ...]]:
    """Read which columns name the batches of a correction or a projection, and their order.

    Returns
    -------
    A column of ``obs``, or several; ``None`` where all cells were projected as one batch. Names of
    the batches.

    Raises
    ------
    KeyError
        If there is neither of this name.
    """
    stored = adata.uns.get(Keys(key_added).uns)
    if not is_projection(stored):
        record = take_record(adata, key_added)
        return record.key, record.batches
    key = stored["params"].get("key")
    names = tuple(str(batch) for batch in stored["batches"])
    return None if key is None else recorded_key(str(key), adata.obs.columns), names


def take_record(adata: AnnData, key_added: str) -> Record:
    """Read the record of a correction.

    Raises
    ------
    KeyError
        If there is none of this name.
    """
    name = Keys(key_added).uns
    stored = adata.uns.get(name)
    if not is_record(stored):
        others = [other for other, entry in adata.uns.items() if is_record(entry)]
        hint = (
            f"name one of these by key_added: {listed(others)}"
            if others
            else "correct it first, by mnncorrect run or a function of mnncorrect.pp"
        )
        if isinstance(stored, Mapping) and "projected" in stored:
            hint = "what is there is of cells that were projected, and has no merges"
        msg = f"uns has no correction {name!r}; {hint}"
        raise KeyError(msg)
    batches = tuple(str(batch) for batch in stored["batches"])
    table: pd.DataFrame = stored["merges"]
    lost = np.full((len(table), len(batches)), np.nan)
    measured = np.asarray(stored.get("lost_variance", lost), dtype=np.float64)
    if measured.shape == lost.shape:
        lost = measured
    params = dict(stored["params"])
    return Record(
        key=recorded_key(str(params["key"]), adata.obs.columns),
        batches=batches,
        params=params,
        merges=tuple(
            _merge(row, dict(zip(batches, shares.tolist(), strict=True)))
            for row, shares in zip(table.to_dict("records"), lost, strict=True)
        ),
        lost_variance=lost,
        stored=stored,
    )


def _merge(row: Mapping[Any, Any], lost: Mapping[str, float]) -> MergeRecord:
    told = {"left", "right", "pairs", "skipped"}
    more = {
        str(name): float(value)
        for name, value in row.items()
        if name not in told and np.isreal(value) and np.isfinite(value)
    }
    return MergeRecord(
        left=tuple(json.loads(row["left"])),
        right=tuple(json.loads(row["right"])),
        pairs=int(row["pairs"]),
        skipped=bool(row["skipped"]),
        lost={name: share for name, share in lost.items() if np.isfinite(share)},
        more=more,
    )
