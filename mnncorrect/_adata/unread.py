"""What of a file an object stands for could not be read, kept beside the object.

Such elements are copied as they are stored when the object is written. So is what was read and has
not been replaced since.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mnncorrect._log import logger

if TYPE_CHECKING:
    from anndata import AnnData

# Attributes of an object: elements that were not read, and those that were with their values.
UNREAD, SOURCES = "_mnncorrect_unread", "_mnncorrect_sources"


class Unread(dict[str, Any]):
    """Elements that could not be read and are copied as they are stored, by path.

    ``reasons``: why, by path, also of those that are left out.
    """

    def __init__(self) -> None:
        super().__init__()
        self.reasons: dict[str, str] = {}


def unread_of(adata: AnnData) -> Mapping[str, Any]:
    """Return the elements of an object that could not be read, by their path in its file."""
    return getattr(adata, UNREAD, {})


def stored_of(adata: AnnData) -> Mapping[str, tuple[Any, Any]]:
    """Return what was read of a file: values and their elements, by their path in it."""
    return getattr(adata, SOURCES, {})


def share_unread(adata: AnnData, made: AnnData) -> None:
    """Have an object of the same tables know what could not be read, so that it is refused."""
    setattr(made, UNREAD, unread_of(adata))


def refuse_unread(adata: AnnData, slot: str, name: str = "") -> None:
    """Refuse to use an element that could not be read."""
    path = f"{slot}/{name}" if name else slot
    unread = unread_of(adata)
    if isinstance(unread, Unread) and path in unread.reasons:
        raise ValueError(
            f"/{path} cannot be read ({unread.reasons[path]}); name another, or write it anew"
        )


def carry_unread(adata: AnnData, made: AnnData, *, same_genes: bool) -> None:
    """Carry what could not be read over to an object of some of the cells, where it still fits."""
    fits = ("uns/", *(("var/", "varm/", "varp/") if same_genes else ()))
    kept = Unread()
    kept.update((path, at) for path, at in unread_of(adata).items() if path.startswith(fits))
    kept.reasons = getattr(unread_of(adata), "reasons", {})
    lost = [f"/{path}" for path in unread_of(adata) if path not in kept]
    if lost:
        logger.warning(
            "left out, because it cannot be read and so not be subset: %s", ", ".join(lost)
        )
    setattr(made, UNREAD, kept)
