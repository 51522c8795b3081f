"""New cells on the map of the correction that they were placed in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mnncorrect._adata import Draft, Keys, origin_of, take_embedding
from mnncorrect._log import logger
from mnncorrect._prepare.reference import placed_basis, same_reference
from mnncorrect.tl._model import fit_model

if TYPE_CHECKING:
    from anndata import AnnData


def put_on_map(
    adata: AnnData,
    reference: AnnData,
    *,
    n_neighbors: int,
    neighbors: str,
    recall: float,
    key_added: str,
    random_state: int,
    n_jobs: int | None,
    copy: bool,
) -> AnnData | None:
    """Place new cells on the UMAP of the correction that they were placed in."""
    from mnncorrect.core.model.maps import place_on_map
    from mnncorrect.core.runtime.compute import compute_options

    keys = Keys(key_added)
    if n_neighbors < 1:
        raise ValueError(f"n_neighbors is {n_neighbors}; it must be from 1 up")
    found = same_reference(fit_model, adata, reference, key_added)
    if found.drawn is None:
        raise KeyError(
            f"the reference has no map: its obsm has no {keys.drawn!r}; draw it first with "
            "mnncorrect umap (tl.umap)"
        )
    basis = placed_basis(adata, key_added)
    options: dict[str, Any] = {"neighbors": neighbors, "recall": recall, "n_jobs": n_jobs}
    compute = compute_options(random_state=random_state, progress=None, **options)
    places = place_on_map(
        found.corrected,
        found.drawn,
        take_embedding(adata, basis),
        n_neighbors=n_neighbors,
        compute=compute,
    )
    logger.info(
        "placed %d cells on the map of %d cells of the reference, each among its %d nearest",
        len(places), len(found.drawn), min(n_neighbors, len(found.drawn)),
    )  # fmt: skip
    draft = Draft(adata, keys.map, origin=origin_of(adata, "obsm", basis))
    draft.put("obsm", keys.drawn, places)
    params = {"use_rep": basis, "n_neighbors": n_neighbors, "neighbors": neighbors}
    draft.record(params | {"recall": recall, "on_reference": True}, random_state)
    return draft.commit(copy=copy)
