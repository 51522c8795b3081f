"""Places of cells that a join keeps: those of a correction, and of cells placed in its model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnncorrect._adata import Draft, Keys
from mnncorrect._adata.lookup import listed
from mnncorrect._adata.record import JOINED, entries, entry_of
from mnncorrect._adata.stored import is_stored
from mnncorrect._log import logger
from mnncorrect._prepare.reference import makes_model
from mnncorrect.core.model.fit import DIGEST_LETTERS
from mnncorrect.tl import fit_model

if TYPE_CHECKING:
    from anndata import AnnData

    from mnncorrect._adata.result_places import Place
    from mnncorrect._io.concat import Union
    from mnncorrect._io.input_parts import Part


@dataclass(frozen=True)
class KeptPlaces:
    """Results of one name that a join keeps: of each input, where its part of them is."""

    name: str
    digest: str  # Of the model.
    # Slot and name of a result, and the names that the inputs have it by.
    sources: Mapping[Place, Sequence[str]]

    @property
    def places(self) -> set[Place]:
        """All places of the inputs that are kept."""
        return {(slot, name) for (slot, _), names in self.sources.items() for name in names}


def kept_places(parts: Mapping[str, Part], gene_keys: Iterable[str | None]) -> list[KeptPlaces]:
    """Find the embeddings of cells that have one model, and log why others are not kept.

    These are the cells of a correction, and cells that :func:`mnncorrect.tl.project` placed in it.
    ``gene_keys``: columns of var that a model of the correction may name its genes by.
    """
    found = []
    named = (name for part in parts.values() for name in entries(part.adata.uns, "projection"))
    for name in dict.fromkeys(named):
        reason = _difference(parts, name, list(gene_keys))
        if reason:
            logger.warning(
                "embeddings of %r are left out: %s; place all new cells in one model", name, reason
            )
            continue
        keys = Keys(name)
        bases = [str(_entry(part, name)["params"]["adjusted_basis"]) for part in parts.values()]
        sources: dict[Place, Sequence[str]] = {("obsm", keys.embedding): bases}
        for place in (("obsm", keys.uncorrected), ("obs", keys.confidence)):
            if all(place[1] in getattr(part.adata, place[0]) for part in parts.values()):
                sources[place] = [place[1]] * len(parts)
        found.append(KeptPlaces(name, _digests(parts, name)[0], sources))
    return found


def keep_places(
    adata: AnnData, parts: Mapping[str, Part], union: Union, kept: Iterable[KeptPlaces]
) -> None:
    """Put the embeddings that are kept into a join of their cells."""
    models: dict[str, str] = {}
    for some in kept:
        draft = Draft(adata, JOINED)
        for (slot, target), names in some.sources.items():
            values = _joined(parts, union, slot, names)
            if values is not None:
                draft.put(slot, target, values)
        models[some.name] = some.digest
        draft.record({"models": models})
        draft.commit()
        logger.info(
            "obsm[%r] is kept: all cells have their places by model %s",
            Keys(some.name).embedding, some.digest[:DIGEST_LETTERS],
        )  # fmt: skip


def _entry(part: Part, name: str) -> Mapping[str, Any]:
    """Return what an input records of cells that were corrected or placed; empty: nothing."""
    return entry_of(part.adata.uns, name, "correction", "projection") or {}


def _digests(parts: Mapping[str, Part], name: str) -> list[str]:
    """Return the digests of the models that cells were placed in."""
    models = (_entry(part, name).get("model") for part in parts.values())
    return list(dict.fromkeys(str(model["digest"]) for model in models if model))


def _difference(parts: Mapping[str, Part], name: str, gene_keys: list[str | None]) -> str:
    """Say why the places of inputs cannot stand beside each other; empty: they can."""
    found = {part_name: _entry(part, name) for part_name, part in parts.items()}
    without = [part_name for part_name, entry in found.items() if not entry]
    if without:
        return f"{listed(without)} has no cells that were corrected or placed as {name!r}"
    digests = _digests(parts, name)
    if len(digests) > 1:
        told = ", ".join(digest[:DIGEST_LETTERS] for digest in digests)
        return f"cells were placed in several models ({told})"
    for part_name, entry in found.items():
        adata = parts[part_name].adata
        if "merges" in entry and not makes_model(
            fit_model, adata, digests[0], gene_keys, key_added=name
        ):
            return (
                f"{part_name} is not the correction that the model {digests[0][:DIGEST_LETTERS]} of"
                " the placed cells was made of"
            )
    lacking = [
        part_name
        for part_name, entry in found.items()
        if str(entry["params"].get("adjusted_basis")) not in parts[part_name].adata.obsm
    ]
    return f"{listed(lacking)} has no corrected embedding any more" if lacking else ""


def _joined(
    parts: Mapping[str, Part], union: Union, slot: str, names: Sequence[str]
) -> NDArray[Any] | None:
    """Put the values of inputs below each other, for the cells that are taken, if they fit."""
    values = []
    for (part_name, part), name in zip(parts.items(), names, strict=True):
        value = getattr(part.adata, slot)[name]
        array = np.asarray(value[...] if is_stored(value) else value)
        rows = union.rows[part_name]
        values.append(array if rows is None else array[rows])
    widths = {array.shape[1:] for array in values}
    return np.concatenate(values) if len(widths) == 1 else None
