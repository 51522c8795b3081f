"""A UMAP of the uncorrected embedding, drawn as that of the result was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mnncorrect import tl

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mnncorrect.core.neighbors.sample import Sample
    from mnncorrect.report.collect.wanted import ReportOptions

# What of the recorded parameters draws the other map in the same way.
SAME_PARAMETERS = ("n_neighbors", "min_dist", "spread", "maxiter")


def draw_map(
    x: NDArray[Any], name: str, sample: Sample, params: Mapping[str, Any], wanted: ReportOptions
) -> NDArray[np.float32] | None:
    """Draw the sampled cells by UMAP with given or default parameters; ``None``: too few cells."""
    import anndata
    import pandas as pd

    cells = pd.DataFrame(index=pd.RangeIndex(len(sample.rows)).astype(str))
    small = anndata.AnnData(obs=cells, obsm={name: x[sample.rows]})
    options = {name: params[name] for name in SAME_PARAMETERS if params.get(name) is not None}
    try:
        tl.umap(
            small, use_rep=name, random_state=wanted.random_state, n_jobs=wanted.n_jobs, **options
        )
    except ValueError:
        return None
    return small.obsm["X_mnn_umap"]
