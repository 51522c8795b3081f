"""What a report is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mnncorrect._prepare.before_and_after import LABEL_CLUSTERS

if TYPE_CHECKING:
    from anndata import AnnData

    from mnncorrect.core.model.fit import Model
    from mnncorrect.core.runtime.threads import Progress


@dataclass(frozen=True)
class ReportOptions:
    """What a report is asked for."""

    # Column of ``obs`` that names the batch, or several; ``None``: as the correction recorded it.
    key: str | list[str] | None = None
    label_key: str | None = None  # Column of ``obs`` with known labels of cells, if there is one.
    key_added: str = "mnn"  # What the names of the correction's results begin with.
    clusters: str = LABEL_CLUSTERS  # Key of the clusters, as ``tl.gmm`` made them.
    # Column of ``var`` with the names of genes that are shown; ``None``: symbols where
    # ``var_names`` are Ensembl ids and ``var`` has symbols.
    gene_key: str | None = None
    # Embeddings in ``obsm`` of other tools, which the correction is compared with.
    compare_rep: tuple[str, ...] = ()
    evaluate: bool = True  # Whether scores are computed where the file has none.
    # Whether UMAPs are drawn that the file lacks; ``None``: that before the correction, where the
    # file has the one after it.
    umap: bool | None = None
    # The correction that new cells were placed in, or its model; ``None``: not known.
    reference: AnnData | Model | None = None
    markers: bool = True  # Whether markers of clusters are found.
    # Seed and threads of what is computed for it.
    random_state: int = 0
    n_jobs: int | None = None
    progress: Progress | None = None  # Told how far that is.
