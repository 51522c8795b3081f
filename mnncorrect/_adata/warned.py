"""What was warned of about an input, beside the result that was made of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mnncorrect._adata.draft import Draft
from mnncorrect._adata.record import WARNINGS, as_warnings
from mnncorrect._log import noted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData


def note_warnings(adata: AnnData, entry: str, made: Mapping[str, Any] | None = None) -> None:
    """Record what has been warned of, if anything has been, in an entry of ``uns``.

    ``made``: the entry, where there is none yet.
    """
    with noted() as texts:
        told = as_warnings(adata.uns, texts)
    if told != as_warnings({}, ()):
        draft = Draft(adata, None)
        draft.amend(entry, {**(made or {}), WARNINGS: told})
        draft.commit()
