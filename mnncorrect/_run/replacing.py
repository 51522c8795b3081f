"""What is looked at before any work: can the result be written, and what would it replace."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mnncorrect._adata.draft import refuse_foreign
from mnncorrect._adata.result_places import Place, places_of_correction
from mnncorrect._io.h5ad import refuse_unwritable

if TYPE_CHECKING:
    from anndata import AnnData

    from mnncorrect._run.request import Request


def places_of_request(request: Request) -> list[Place]:
    """Return where a correction puts its results."""
    keys = request.keys
    places = places_of_correction(keys, request.embedding if request.embeds else None)
    if request.expression is not None:
        places.append(("layers", request.expression.layer(keys)))
    if not request.embeds:
        places.append(("layers", keys.layer))
    # What is normalized is a layer for a while, also where it is not kept.
    if request.use_rep is None and request.selection.layer != keys.normalized:
        places.append(("layers", keys.normalized))
    return places


def refuse(adata: AnnData, places: Sequence[Place], *, force: bool, written: bool = True) -> None:
    """Refuse, before any work, tables that cannot be written, and to replace others' results."""
    if written:
        refuse_unwritable(adata)
    if force:
        return
    steps = "leave out the step that writes it (`gmm=False`), " if ("obs", "gmm") in places else ""
    remedy = f"rename it, {steps}choose another `key_added`, or replace it with `force=True`"
    refuse_foreign(adata, places, remedy)
