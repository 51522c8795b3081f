"""What this package recorded of its results in ``uns``: written, recognized and read here alone.

An entry of ``uns`` is this package's if its provenance says so; what merely has the same name or
the same fields belongs to somebody else, and is neither read nor removed. Each entry lists the
results that belong to it. A correction and a projection carry a digest of what they wrote, and
what is derived from them, such as clusters or a map, carries the digest of its origin.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from mnncorrect._adata.batches import recorded_key
from mnncorrect._adata.lookup import listed
from mnncorrect._adata.result_places import Place, results_of
from mnncorrect._adata.results import Keys
from mnncorrect._adata.validity import check_entry
from mnncorrect._wording import Worded, for_shell
from mnncorrect.core.runtime.mapped import let_go, mapped_blocks

if TYPE_CHECKING:
    from anndata import AnnData


Kind: TypeAlias = Literal[
    "correction", "projection", "components", "clusters", "evaluation", "other"
]

SOFTWARE = "mnncorrect"
# Steps of a preparation by the names that older files have for them.
RENAMED_STEPS = {"normalise": "normalize"}
# Fields of an entry: the digest of a correction; that of the correction it is derived from.
DIGEST, ORIGIN = "digest", "correction"
# What was warned of about the input, as a JSON list; of a join of several inputs, the entry is by
# the name.
WARNINGS, JOINED = "warnings", "mnn_concat"
# The command that made a result, and the arguments that were given, as JSON; what stands there for
# an array.
CALL, ARRAY = "call", "an array"
# The fields that an entry of a kind has.
RECORD_FIELDS: Mapping[Kind, frozenset[str]] = {
    "correction": frozenset({"merges", "batches"}),
    "projection": frozenset({"projected", "model", "batches"}),
    "components": frozenset({"variance", "variance_ratio"}),
    "clusters": frozenset({"bic", "n_components"}),
    "evaluation": frozenset({"scores", "lost_variance"}),
}


class RecordError(ValueError):
    """An entry of ``uns`` that says it is of this package is not as this package writes it."""


@dataclass(frozen=True)
class MergeRecord:
    """One merge."""

    # Names of the batches on the side of the reference and of the target.
    left: tuple[str, ...]
    right: tuple[str, ...]
    pairs: int  # Number of mutual pairs.
    skipped: bool  # Whether it was left alone.
    # Share of the variance within each batch that it took away, by name of the batch; empty where
    # the method does not measure it.
    lost: Mapping[str, float]
    more: Mapping[str, float]  # What else the table says of it, such as ``evidence`` or ``recall``.


@dataclass(frozen=True)
class Record:
    """A correction, as ``uns`` has it."""

    key: str | list[str]  # Column of ``obs`` that names the batches, or several.
    batches: tuple[str, ...]  # Their names, in their order.
    params: Mapping[str, Any]  # Parameters as resolved; JSON text where they were sequences.
    merges: tuple[MergeRecord, ...]  # The merges in the order they were carried out.
    lost_variance: NDArray[np.float64]  # Merges x batches; NaN where it was not measured.
    stored: Mapping[str, Any]  # All of it, as it is in ``uns``.


def is_ours(entry: Any) -> bool:
    """Return whether an entry of ``uns`` was made by this package."""
    if not isinstance(entry, Mapping):
        return False
    made = entry.get("provenance")
    return (
        isinstance(made, Mapping)
        and isinstance(entry.get("params"), Mapping)
        and isinstance(made.get("software"), str)
        and made["software"] == SOFTWARE
    )


def kind_of_entry(entry: Any) -> Kind | None:
    """Say what an entry of ``uns`` is; ``None``: it is not this package's."""
    if not is_ours(entry):
        return None
    kinds = (kind for kind, fields in RECORD_FIELDS.items() if fields <= set(entry))
    return next(kinds, "other")


def is_leiden(entry: Mapping[str, Any]) -> bool:
    """Return whether an entry of this package is of Leiden clusters."""
    return {"resolution", "flavor"} <= set(entry["params"])


def entries(uns: Mapping[str, Any], *kinds: Kind) -> dict[str, Mapping[str, Any]]:
    """Return the entries of some kinds, by name."""
    return {
        str(name): checked_entry(str(name), entry)
        for name, entry in uns.items()
        if kind_of_entry(entry) in kinds
    }


def entry_of(uns: Mapping[str, Any], name: str, *kinds: Kind) -> Mapping[str, Any] | None:
    """Return the entry of a name, if it is of one of these kinds; otherwise ``None``."""
    entry = uns.get(name)
    return checked_entry(name, entry) if kind_of_entry(entry) in kinds else None


def fields_of(uns: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return the fields of an entry of this package, unchecked; none if there is no such entry."""
    return _current(_ours(uns).get(name, {}))


def checked_entry(name: str, entry: Any) -> Mapping[str, Any]:
    """Return an entry of this package whose fields are what they should be."""
    kind = kind_of_entry(entry)
    try:
        check_entry(kind or "other", entry)
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        reason = " ".join(str(error).split())
        what = "result of mnncorrect" if kind == "other" else f"record of {kind}"
        raise RecordError(
            f"uns[{name!r}] is no valid {what} ({reason}); it was changed since it was written: "
            "remove it from uns, and compute it again"
        ) from error
    return dict(_current(entry))


def origin_of(adata: AnnData, slot: str, name: str) -> str | None:
    """Return the digest of the correction that a result is of, or is derived from."""
    for entry in _ours(adata.uns).values():
        if (slot, name) in results_of(entry):
            found = entry.get(DIGEST, entry.get(ORIGIN))
            return str(found) if isinstance(found, str) else None
    return None


def correction_of(adata: AnnData, slot: str, name: str) -> str | None:
    """Return the name of the correction that a result is of."""
    for entry_name, entry in _ours(adata.uns).items():
        if kind_of_entry(entry) == "correction" and (slot, name) in results_of(entry):
            return entry_name
    return None


def is_current(uns: Mapping[str, Any], name: str, key_added: str) -> bool:
    """Return whether an entry is this package's, and of no other than the correction of a name."""
    ours = _ours(uns)
    entry, correction = ours.get(name), ours.get(Keys(key_added).uns)
    if entry is None or correction is None:
        return entry is not None
    origin, digest = entry.get(ORIGIN), correction.get(DIGEST)
    return origin is None or digest is None or str(origin) == str(digest)


def is_derived(uns: Mapping[str, Any], name: str, key_added: str) -> bool:
    """Return whether an entry is this package's, and derived from the correction of a name."""
    known = DIGEST in _ours(uns).get(Keys(key_added).uns, {})
    return is_current(uns, name, key_added) and (not known or ORIGIN in uns[name])


def warnings_of(uns: Mapping[str, Any], name: str) -> list[str]:
    """Return what was warned of about the input when an entry of this package was made."""
    entry = _ours(uns).get(name)
    if entry is None:
        return []
    try:
        return [str(text) for text in json.loads(str(entry.get(WARNINGS, "[]")))]
    except (ValueError, TypeError):
        return []


def as_warnings(uns: Mapping[str, Any], texts: Iterable[str]) -> str:
    """Return warnings as an entry has them, after those of the join that an input is of."""
    all_of_them = dict.fromkeys([*warnings_of(uns, JOINED), *texts])
    return json.dumps(list(all_of_them), ensure_ascii=False)


def as_call(
    command: str, arguments: Mapping[str, Any], usual: Mapping[str, Any], n_inputs: int = 1
) -> str:
    """Return a call as an entry has it, without the arguments that are as ``usual``."""
    told = {}
    for name, value in arguments.items():
        plain, default = _plain_argument(value), usual.get(name, ARRAY)
        if value is not default and (plain == ARRAY or plain != _plain_argument(default)):
            told[name] = plain
    call = {"command": command, "inputs": n_inputs, "arguments": told}
    return json.dumps(call, ensure_ascii=False)


def call_of(entry: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the call that made a result; ``None``: it was not recorded, or is none."""
    try:
        call = json.loads(str(entry[CALL]))
        return {name: call[name] for name in ("command", "inputs", "arguments")}
    except (KeyError, ValueError, TypeError):
        return None


def _plain_argument(value: Any) -> Any:
    """Return an argument as JSON has it; of an array, that it is one."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, list | tuple | range):
        is_mask = any(isinstance(one, bool) for one in value)
        return ARRAY if is_mask else [_plain_argument(one) for one in value]
    if isinstance(value, Mapping):
        return {str(name): _plain_argument(one) for name, one in value.items()}
    return value if value is None or isinstance(value, bool | int | float | str) else ARRAY


def owned(uns: Mapping[str, Any]) -> set[Place]:
    """Return the places of all that this package has put into an object."""
    ours = _ours(uns)
    return {("uns", name) for name in ours}.union(*map(results_of, ours.values()))


def derived(uns: Mapping[str, Any], digest: str) -> dict[str, list[Place]]:
    """Return the results derived from a correction, by the names of their entries."""
    return {
        name: results_of(entry)
        for name, entry in _ours(uns).items()
        if str(entry.get(ORIGIN, "")) == digest
    }


def digest_of(params: Mapping[str, Any], *values: Any) -> str:
    """Return the digest of a result: of its parameters and of every bit of its values."""
    found = hashlib.blake2b(digest_size=16)
    found.update(json.dumps(dict(params), sort_keys=True, default=str).encode())
    parts = ("data", "indices", "indptr")
    for value in values:
        arrays = [getattr(value, part) for part in parts] if sp.issparse(value) else [value]
        for array in map(np.ascontiguousarray, arrays):
            found.update(f"{array.dtype.str}{array.shape}".encode())
            for rows in mapped_blocks(array):
                found.update(array[rows].data)
                let_go(array)
    return found.hexdigest()


def take_batch_key(
    adata: AnnData, key_added: str
) -> tuple[str | list[str] | None, tuple[str, ...]]:
    """Read which columns name the batches of a correction or a projection, and their order.

    The columns are ``None`` where all cells were projected as one batch.
    """
    stored = entry_of(adata.uns, Keys(key_added).uns, "projection")
    if stored is None:
        record = take_record(adata, key_added)
        return record.key, record.batches
    key = stored["params"].get("key")
    names = tuple(str(batch) for batch in stored["batches"])
    return None if key is None else recorded_key(str(key), adata.obs.columns), names


def take_record(adata: AnnData, key_added: str) -> Record:
    """Read the record of a correction; refuse one that is missing or was changed afterwards."""
    name = Keys(key_added).uns
    stored = entry_of(adata.uns, name, "correction")
    if stored is None:
        others = [
            other for other, entry in adata.uns.items() if kind_of_entry(entry) == "correction"
        ]
        hint: str = Worded(
            "correct it first with mnncorrect.run or a function of mnncorrect.pp",
            command_line="correct it first with mnncorrect run",
        )
        if others:
            hint = f"name one of these by key_added: {listed(others)}"
        if kind_of_entry(adata.uns.get(name)) == "projection":
            hint = "it holds projected cells, which have no merges"
        lacks = f"uns has no correction {name!r}"
        raise KeyError(Worded(f"{lacks}; {hint}", command_line=f"{lacks}; {for_shell(hint)}"))
    batches = tuple(str(batch) for batch in stored["batches"])
    lost = _lost(stored)
    params = dict(stored["params"])
    return Record(
        key=recorded_key(str(params["key"]), adata.obs.columns),
        batches=batches,
        params=params,
        merges=tuple(
            _merge(row, dict(zip(batches, shares.tolist(), strict=True)))
            for row, shares in zip(stored["merges"].to_dict("records"), lost, strict=True)
        ),
        lost_variance=lost,
        stored=stored,
    )


def _current(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an entry with the names that its fields have now."""
    done = entry.get("prepared")
    if not isinstance(done, Mapping) or not RENAMED_STEPS.keys() & done.keys():
        return entry
    return {**entry, "prepared": {RENAMED_STEPS.get(step, step): done[step] for step in done}}


def _ours(uns: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {str(name): entry for name, entry in uns.items() if is_ours(entry)}


def _lost(stored: Mapping[str, Any]) -> NDArray[np.float64]:
    """Return the variance lost, merges x batches; NaN where it was not measured."""
    lost = np.full((len(stored["merges"]), len(stored["batches"])), np.nan)
    measured = np.asarray(stored.get("lost_variance", lost), dtype=np.float64)
    return measured if measured.shape == lost.shape else lost


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
