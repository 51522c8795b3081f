"""An object that is corrected in place, or not at all."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from mnncorrect._adata import Draft

if TYPE_CHECKING:
    from anndata import AnnData

SLOTS = ("uns", "layers", "obsm", "varm", "obsp", "varp")
TABLES = ("obs", "var")


def shallow(adata: AnnData) -> AnnData:
    """Return an object of its own with the values of another, none of which is copied."""
    import anndata

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*names are not unique")
        made = anndata.AnnData(
            adata.X,
            **{name: getattr(adata, name).copy(deep=False) for name in TABLES},
            **{name: dict(getattr(adata, name)) for name in SLOTS},
        )
        if adata.raw is not None:
            made.raw = anndata.AnnData(
                adata.raw.X, obs=made.obs[[]], var=adata.raw.var, varm=dict(adata.raw.varm)
            )
    return made


def adopt_results(adata: AnnData, made: AnnData) -> None:
    """Put into an object what another one, made of it, has besides; or nothing, if that fails."""
    draft = Draft(adata, None, replacing=True)
    for slot in (*TABLES, *SLOTS):
        before, now = getattr(adata, slot), getattr(made, slot)
        draft.remove((slot, name) for name in before if name not in now)
        for name in now:
            if name not in before or not _unchanged(before[name], now[name]):
                draft.put(slot, name, now[name])
    draft.commit()


def _unchanged(before: Any, now: Any) -> bool:
    return before is now or (hasattr(before, "equals") and bool(before.equals(now)))
