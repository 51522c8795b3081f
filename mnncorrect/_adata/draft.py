"""Results on their way into an object: gathered, checked, and put there in one step.

Whatever fails before or in this step leaves the object as it was. Here is also the one gate that
no result passes whose numbers are not finite, and that tells what of the user's is replaced.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from mnncorrect._adata.lookup import listed
from mnncorrect._adata.numbers import non_finite
from mnncorrect._adata.record import (
    DIGEST,
    ORIGIN,
    WARNINGS,
    as_warnings,
    derived,
    digest_of,
    is_ours,
    owned,
)
from mnncorrect._adata.result_places import RESULTS, Place, as_results, results_of
from mnncorrect._adata.results import as_params, provenance
from mnncorrect._adata.unread import unread_of
from mnncorrect._log import logger, noted, warn_caller

if TYPE_CHECKING:
    from anndata import AnnData


# Slots whose numbers are finite in every result; NaN in the others means "not measured".
FINITE = ("X", "layers", "obsm", "obsp", "obs")
_ABSENT = object()


class Draft:
    """Results that belong together, before they are in the object.

    ``entry`` in ``uns`` records them, if one does. ``origin`` is the digest of the correction that
    they are derived from. ``replacing``: the caller asked for it, so no warning is needed.
    """

    def __init__(
        self,
        adata: AnnData,
        entry: str | None,
        *,
        origin: str | None = None,
        replacing: bool = False,
    ) -> None:
        self.adata = adata
        self.entry = entry
        self.origin = origin
        self.replacing = replacing
        self.puts: dict[Place, Any] = {}
        self.removed: dict[Place, None] = {}
        self.claimed: list[Place] = []

    def put(self, slot: str, name: str, value: Any) -> None:
        """Have a value put into a slot, such as ``obsm``."""
        self.puts[slot, name] = value

    def amend(self, name: str, fields: Mapping[str, Any]) -> None:
        """Have fields added to an entry of ``uns``: the drafted one, or the one that is there."""
        there = self.puts.get(("uns", name), self.adata.uns.get(name, {}))
        self.puts["uns", name] = {**there, **fields}

    def record(self, params: Mapping[str, Any], random_state: int = 0, **fields: Any) -> None:
        """Have the entry say how its results were made, beside fields of its own."""
        assert self.entry is not None
        made = {"params": as_params(params), "provenance": provenance(random_state)}
        self.put("uns", self.entry, fields | made)

    def claim(self, slot: str, name: str) -> None:
        """Have the entry list a result that is written by other means."""
        self.claimed.append((slot, name))

    def remove(self, places: Iterable[Place]) -> None:
        """Have values removed, where they are there and nothing is put in their place."""
        self.removed |= dict.fromkeys(place for place in places if _has(self.adata, place))

    def sign(self, *values: Any) -> None:
        """Give the entry the digest of its parameters and some values; remove what is stale.

        Stale is what is derived from an earlier result of the same name, unless that was the same
        to the last bit.
        """
        assert self.entry is not None
        digest = digest_of(self.puts["uns", self.entry]["params"], *values)
        self.amend(self.entry, {DIGEST: digest})
        earlier = self.adata.uns.get(self.entry)
        if not is_ours(earlier) or str(earlier.get(DIGEST, "")) == digest:
            return
        stale = derived(self.adata.uns, str(earlier.get(DIGEST)))
        for name, places in stale.items():
            self.remove([*places, ("uns", name)])
        if stale:
            logger.info(
                "removing results that were derived from the earlier correction: %s", listed(stale)
            )

    def commit(self, *, copy: bool = False) -> AnnData | None:
        """Put everything into the object, or into a copy of it, which is returned.

        Refuses results that are not finite; warns if values of others are replaced.
        """
        for (slot, name), value in self.puts.items():
            if slot in FINITE:
                refuse_non_finite_result(value, place_name(slot, name))
        foreign = [] if self.replacing else self._lost()
        self._note_results()
        adata = self.adata.copy() if copy else self.adata
        if adata.is_view:
            logger.info("the object is a view; it is copied")
            adata._init_as_actual(adata.copy())
        removed = [place for place in self.removed if place not in self.puts]
        _apply(adata, removed, self.puts)
        if foreign:
            warn_caller(
                f"replaced, although mnncorrect did not write it: {_as_text(foreign)}; to keep it, "
                "rename it first, or choose another `key_added`"
            )
        return adata if copy else None

    def _lost(self) -> list[Place]:
        """Return the places of what would be lost and was not made by this package."""
        foreign = foreign_among(self.adata, self.puts)
        return [at for at in foreign if not _equal_arrays(_get(self.adata, at), self.puts[at])]

    def _note_results(self) -> None:
        """Have the entry list the results, and say what they are derived from."""
        if self.entry is None:
            return
        kept = [
            place
            for place in earlier_results(self.adata, self.entry)
            if place not in self.removed and _has(self.adata, place)
        ]
        puts = [place for place in self.puts if place != ("uns", self.entry)]
        places = [*kept, *self.claimed, *puts]
        self.amend(self.entry, {RESULTS: as_results(places)})
        if self.origin is not None:
            self.amend(self.entry, {ORIGIN: self.origin})


def foreign_among(adata: AnnData, places: Iterable[Place]) -> list[Place]:
    """Return which places hold something that this package has not made."""
    ours = owned(adata.uns)
    return [place for place in places if _has(adata, place) and place not in ours]


def earlier_results(adata: AnnData, name: str) -> list[Place]:
    """Return where the results of this package are that an entry of ``uns`` records."""
    entry = adata.uns.get(name)
    return results_of(entry) if is_ours(entry) else []


def refuse_foreign(adata: AnnData, places: Iterable[Place], remedy: str) -> None:
    """Refuse to replace what this package has not made."""
    foreign = foreign_among(adata, places)
    if foreign:
        raise ValueError(f"the input has {_as_text(foreign)}, not made by mnncorrect; {remedy}")


def refuse_non_finite_result(value: Any, where: str) -> None:
    """Refuse a result that has numbers which are not finite."""
    numbers: Any = value
    if not (isinstance(value, np.ndarray) or sp.issparse(value)) or numbers.dtype.kind != "f":
        return
    whole = numbers if sp.issparse(value) else numbers.reshape(len(numbers), -1)
    rows, _, found = non_finite(whole)
    if len(found):
        at = f", the first in row {rows.min()}"
        raise ValueError(
            f"{where} would hold {len(found)} numbers that are not finite{at}, so nothing was "
            "written; look for very large numbers in the values that are corrected, and make a "
            "model that is used again"
        )


def place_name(slot: str, name: str) -> str:
    """Name a place as Python has it."""
    return slot if slot == "X" else f"{slot}[{name!r}]"


def _as_text(places: Collection[Place]) -> str:
    return ", ".join(place_name(*place) for place in places)


def _has(adata: AnnData, place: Place) -> bool:
    slot, name = place
    if slot == "X":
        return adata.X is not None
    if f"{slot}/{name}" in unread_of(adata):
        return True
    return name in (
        getattr(adata, slot).columns if slot in ("obs", "var") else getattr(adata, slot)
    )


def _apply(adata: AnnData, removed: Collection[Place], puts: Mapping[Place, Any]) -> None:
    """Remove and put values; if that fails, the object is as it was before."""
    tables = {slot: getattr(adata, slot).copy(deep=False) for slot in ("obs", "var")}
    before = {place: _get(adata, place) for place in (*removed, *puts) if place[0] not in tables}
    try:
        for place in removed:
            _delete(adata, place)
        for place, value in puts.items():
            _set_place(adata, place, value)
    except BaseException:
        adata.obs, adata.var = tables["obs"], tables["var"]
        for place, value in before.items():
            if value is not _ABSENT:
                _set_place(adata, place, value)
            elif _has(adata, place):
                _delete(adata, place)
        raise


def _equal_arrays(before: Any, now: Any) -> bool:
    """Return whether a value is the same as another, where that is quickly told: arrays."""
    if sp.issparse(before) or isinstance(before, Mapping):
        return False
    one, two = np.asarray(before), np.asarray(now)
    return one.dtype == two.dtype and np.array_equal(one, two)


def _get(adata: AnnData, place: Place) -> Any:
    slot, name = place
    if slot == "X":
        return adata.X
    there = getattr(adata, slot)
    return there.get(name, _ABSENT)


def _set_place(adata: AnnData, place: Place, value: Any) -> None:
    slot, name = place
    if slot == "X":
        adata.X = value
    else:
        getattr(adata, slot)[name] = value


def _delete(adata: AnnData, place: Place) -> None:
    slot, name = place
    del getattr(adata, slot)[name]


def note_warnings(adata: AnnData, entry: str, made: Mapping[str, Any] | None = None) -> None:
    """Record what has been warned of, if anything, in an entry of ``uns``, if need be a new one."""
    with noted() as texts:
        told = as_warnings(adata.uns, texts)
    if told != as_warnings({}, ()):
        draft = Draft(adata, None)
        draft.amend(entry, {**(made or {}), WARNINGS: told})
        draft.commit()
