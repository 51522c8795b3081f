"""The batch of each cell, read from the names of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mnncorrect._adata import Draft, check_object
from mnncorrect._adata.libraries import LIBRARY_KEY, add_libraries

if TYPE_CHECKING:
    from anndata import AnnData


def batch_from_barcode(
    adata: AnnData, *, key_added: str = LIBRARY_KEY, copy: bool = False
) -> AnnData | None:
    """Read the library of each cell from the prefix or suffix of its barcode.

    ``cellranger aggr`` names cells ``AAACCTGAGAAACCAT-1`` and ``AAACCTGAGAAACCAT-2``, other
    programs ``sample1_AAACCTGAGAAACCAT-1``. Parts that all names share are ignored.

    Parameters
    ----------
    adata
        The object; cells are named by ``obs_names``.
    key_added
        Column of ``obs`` to write.
    copy
        Whether to return a changed copy instead of changing ``adata``.

    Returns
    -------
    ``None``, or the copy, with this field:

    ``obs["mnn_library"]``
        The library of each cell; categories in the order of their numbers. Corrections take the
        column as ``key``.

    Raises
    ------
    ValueError
        If names contain no barcode, if there is only one library, or nearly one for each cell; if
        the object is backed or empty.

    Examples
    --------
    >>> import anndata
    >>> import numpy as np
    >>> adata = anndata.AnnData(np.ones((4, 1)))
    >>> adata.obs_names = ["ACGTACGT-1", "TTGTACGT-1", "ACGTACGT-2", "GGGTACGT-2"]
    >>> batch_from_barcode(adata)
    >>> adata.obs["mnn_library"].tolist()
    ['1', '1', '2', '2']
    """
    check_object(adata)
    obs = adata.obs[[]].copy()
    add_libraries(obs, key_added=key_added)
    draft = Draft(adata, None, replacing=key_added == LIBRARY_KEY)
    draft.put("obs", key_added, obs[key_added])
    return draft.commit(copy=copy)
