"""Loadings of components, and whose they are.

A correction and ``multibatch_pca`` of the same name keep theirs in one place, the later in that of
the earlier. So ``multibatch_pca`` says in its entry of ``uns`` whether they are its own, and what
follows from those of a correction is refused where they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mnncorrect._adata.lookup import require
from mnncorrect._adata.record import fields_of

if TYPE_CHECKING:
    from anndata import AnnData

    from mnncorrect._adata.draft import Draft
    from mnncorrect._adata.results import Keys
    from mnncorrect.core.matrix.pca import PCA

# The word of ``multibatch_pca`` for it.
OWN = "loadings_in_varm"


def put_loadings(
    draft: Draft, keys: Keys, components: PCA, genes: NDArray[np.bool_], *, of_correction: bool
) -> None:
    """Store loadings and center of ``genes``, of a correction or else of ``multibatch_pca``."""
    loadings = np.zeros((len(genes), components.rotation.shape[1]))
    loadings[genes] = components.rotation
    center = np.zeros(len(genes))
    center[genes] = components.center
    draft.put("varm", keys.loadings, loadings)
    draft.put("var", keys.center, center)
    if fields_of(draft.adata.uns, keys.multibatch_pca) or not of_correction:
        draft.amend(keys.multibatch_pca, {OWN: not of_correction})


def are_of_multibatch_pca(adata: AnnData, keys: Keys) -> bool:
    """Return whether the loadings that are stored are those of ``multibatch_pca``."""
    return bool(fields_of(adata.uns, keys.multibatch_pca).get(OWN, False))


def take_loadings(adata: AnnData, keys: Keys) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Read the loadings and the center of a correction, of all genes."""
    require(keys.loadings, adata.varm, "varm")
    require(keys.center, adata.var.columns, "var")
    if are_of_multibatch_pca(adata, keys):
        raise ValueError(
            f"varm[{keys.loadings!r}] is of multibatch_pca, which was called after the correction; "
            "correct again, and give multibatch_pca another key_added"
        )
    rotation = np.asarray(adata.varm[keys.loadings], np.float64)
    return rotation, adata.var[keys.center].to_numpy(np.float64)
