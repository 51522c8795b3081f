"""The elements of an object by slot and name, the same for every version of anndata."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anndata import AnnData


def elements_of(adata: AnnData, slot: str) -> dict[str, Any]:
    """Return the elements of a slot by name, in its order, without ``X``.

    From version 0.13, anndata lists ``X`` among the layers, under the key ``None``. ``X`` is an
    element of its own here, so all code that lists layers goes through this function.
    """
    return {name: value for name, value in getattr(adata, slot).items() if name is not None}
