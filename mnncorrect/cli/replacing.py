"""What is looked at before any work: can the result be written, and what would it replace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData

    from mnncorrect._adata.record import Place
    from mnncorrect.cli.options.correction import Correction, Expression


def of_correction(
    correction: Correction, expression: Expression, source: Mapping[str, Any], *, keep: bool
) -> list[Place]:
    """Return where a correction puts its results; ``keep``: what was normalised as well."""
    from mnncorrect._adata import Keys
    from mnncorrect._adata.record import places_of_correction
    from mnncorrect._prepare.methods import method_named
    from mnncorrect.cli.methods import embedding_of

    keys, embeds = Keys(correction.key_added), method_named(correction.method).embeds
    places = places_of_correction(keys, embedding_of(correction) if embeds else None)
    if expression.write_expression or not embeds:
        places.append(("layers", keys.layer))
    if keep and correction.use_rep is None and source["layer"] != keys.normalized:
        places.append(("layers", keys.normalized))
    return places


def of_steps(correction: Correction, *, pca: bool, gmm: bool, umap: bool) -> list[Place]:
    """Return where the steps after a correction put their results."""
    from mnncorrect._adata import Keys
    from mnncorrect._adata.record import (
        places_of_clusters,
        places_of_components,
        places_of_map,
    )

    return [
        *(places_of_components(f"{correction.key_added}_pca") if pca else []),
        *(places_of_clusters("gmm") if gmm else []),
        *(places_of_map(Keys(correction.key_added)) if umap else []),
    ]


def refuse(adata: AnnData, places: Sequence[Place], *, force: bool) -> None:
    """Refuse, before any work, what cannot be written, and to replace what others have made.

    Raises
    ------
    ValueError
        If a table of the input cannot be written; if something that this package has not made
        would be replaced, and ``force`` is not set.
    """
    from mnncorrect._adata.draft import refuse_foreign
    from mnncorrect._io.h5ad import refuse_unwritable

    refuse_unwritable(adata)
    if force:
        return
    steps = "leave out the step that writes it (--no-gmm), " if ("obs", "gmm") in places else ""
    remedy = f"rename it, {steps}choose another --key-added, or replace it with --force"
    refuse_foreign(adata, places, remedy)
