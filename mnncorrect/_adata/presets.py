"""The names and defaults of scanpy, which from version 1.13 on depend on a setting of the user."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from mnncorrect._log import logger

if TYPE_CHECKING:
    from anndata import AnnData

# Where scanpy keeps principal components: usually, and with the preset ScanpyV2Preview.
PCA_KEYS = ("X_pca", "pca")


def pca_key(adata: AnnData, basis: str) -> str:
    """Return `basis`; but ``"pca"``, which is logged, for ``"X_pca"`` if only this exists."""
    usual, preview = PCA_KEYS
    if basis == usual and usual not in adata.obsm and preview in adata.obsm:
        logger.info("obsm has no %r; using scanpy's principal components in %r", usual, preview)
        return preview
    return basis


@contextlib.contextmanager
def usual_preset() -> Iterator[None]:
    """Call scanpy with its usual defaults, whatever preset the user has chosen."""
    import scanpy

    if not hasattr(scanpy, "Preset"):
        yield
        return
    with scanpy.settings.preset.override(scanpy.Preset.ScanpyV1):
        yield
