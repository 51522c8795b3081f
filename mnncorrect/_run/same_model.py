"""Places of cells that a join keeps: those of a correction, and of cells placed in its model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mnncorrect._adata import Draft, Keys, as_params, provenance
from mnncorrect._adata.lookup import listed
from mnncorrect._adata.record import JOINED, entries, entry_of, kind_of_entry
from mnncorrect._adata.stored import is_stored
from mnncorrect._log import logger
from mnncorrect._prepare.reference import makes_model
from mnncorrect.core.model.fit import DIGEST_LETTERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from anndata import AnnData
    from numpy.typing import NDArray

    from mnncorrect._io.concat import Union
    from mnncorrect._io.input_parts import Part


def keep_places(
    adata: AnnData, parts: Mapping[str, Part], union: Union, gene_keys: Iterable[str | None]
) -> None:
    """Put into a join the embeddings of cells that have one model, and log why others are not.

    These are the cells of a correction, and cells that :func:`mnncorrect.tl.project` placed in it.
    ``gene_keys``: columns of var that a model of the correction may name its genes by.
    """
    models: dict[str, str] = {}
    for name in _names_of_projections(parts):
        reason = _difference(parts, name, list(gene_keys))
        if reason:
            logger.warning(
                "embeddings of %r are left out: %s; place all new cells in one model", name, reason
            )
            continue
        entry = _entry(parts, name)
        keys = Keys(name)
        bases = [str(entry(part)["params"]["adjusted_basis"]) for part in parts]
        places = {keys.embedding: [("obsm", basis) for basis in bases]}
        places[keys.uncorrected] = [("obsm", keys.uncorrected)] * len(parts)
        draft = Draft(adata, JOINED)
        for target, sources in places.items():
            values = _joined(parts, union, sources)
            if values is not None:
                draft.put("obsm", target, values)
        confidence = _joined(parts, union, [("obs", keys.confidence)] * len(parts))
        if confidence is not None:
            draft.put("obs", keys.confidence, confidence)
        digest = _placed_in(parts, name)[0]
        models[name] = digest
        params = {"models": models}
        draft.put("uns", JOINED, {"params": as_params(params), "provenance": provenance(0)})
        draft.commit()
        logger.info(
            "obsm[%r] is kept: all cells have their places by model %s",
            keys.embedding, digest[:DIGEST_LETTERS],
        )  # fmt: skip


def _names_of_projections(parts: Mapping[str, Part]) -> list[str]:
    """Return the names of results of which some input has projected cells."""
    found: dict[str, None] = {}
    for part in parts.values():
        for name, entry in entries(part.adata.uns, "projection").items():
            found |= {name: None} if kind_of_entry(entry) == "projection" else {}
    return list(found)


def _entry(parts: Mapping[str, Part], name: str) -> Any:
    def entry(part: str) -> Mapping[str, Any]:
        found = entry_of(parts[part].adata.uns, name, "correction", "projection")
        return {} if found is None else found

    return entry


def _placed_in(parts: Mapping[str, Part], name: str) -> list[str]:
    """Return the digests of the models that cells were placed in."""
    entry = _entry(parts, name)
    models = (entry(part).get("model") for part in parts)
    return list(dict.fromkeys(str(model["digest"]) for model in models if model))


def _difference(parts: Mapping[str, Part], name: str, gene_keys: list[str | None]) -> str:
    """Say why the places of inputs cannot stand beside each other; empty: they can."""
    from mnncorrect.tl import fit_model

    entry = _entry(parts, name)
    without = [part for part in parts if not entry(part)]
    if without:
        return f"{listed(without)} has no cells that were corrected or placed as {name!r}"
    digests = _placed_in(parts, name)
    if len(digests) > 1:
        told = ", ".join(digest[:DIGEST_LETTERS] for digest in digests)
        return f"cells were placed in several models ({told})"
    corrections = [part for part in parts if "merges" in entry(part)]
    for part in corrections:
        if not makes_model(fit_model, parts[part].adata, digests[0], gene_keys, key_added=name):
            return (
                f"{part} is not the correction that the model {digests[0][:DIGEST_LETTERS]} of the "
                "placed cells was made of"
            )
    lacking = [
        part
        for part in parts
        if str(entry(part)["params"].get("adjusted_basis")) not in parts[part].adata.obsm
    ]
    return f"{listed(lacking)} has no corrected embedding any more" if lacking else ""


def _joined(
    parts: Mapping[str, Part], union: Union, places: list[tuple[str, str]]
) -> NDArray[Any] | None:
    """Put the values of inputs below each other, for the cells that are taken, if all have them."""
    values = []
    for (part_name, part), (slot, name) in zip(parts.items(), places, strict=True):
        held = getattr(part.adata, slot)
        if name not in held:
            return None
        value = held[name]
        array = np.asarray(value[...] if is_stored(value) else value)
        rows = union.rows[part_name]
        values.append(array if rows is None else array[rows])
    widths = {array.shape[1:] for array in values}
    return np.concatenate(values) if len(widths) == 1 else None
