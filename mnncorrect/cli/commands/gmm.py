"""``mnncorrect gmm``."""

from __future__ import annotations

from typing import Annotated, Literal

from typer import Option

from mnncorrect.cli.options.given import arguments_of
from mnncorrect.cli.options.shared import (
    ComputingOptions,
    Force,
    Input,
    NumberOrAuto,
    Numbers,
    Output,
    Reporting,
    key_name,
)
from mnncorrect.cli.runtime.command import command


@command
def gmm(
    *,
    input: Input,  # noqa: A002
    output: Output,
    force: Force = False,
    use_rep: str | None = None,
    n_dims: NumberOrAuto = "auto",
    n_components: Numbers = "1-10,12,15,20,25,30",
    covariance_type: Literal["full", "tied", "diag", "spherical"] = "tied",
    criterion: Literal["icl", "bic"] = "icl",
    max_overlap: Annotated[float, Option(min=0.0, max=1.0)] = 0.03,
    n_init: int = 3,
    max_iter: int = 200,
    tol: float = 1e-3,
    reg_covar: float = 1e-6,
    max_fit: int = 50_000,
    key_added: Annotated[str, Option(callback=key_name)] = "gmm",
    computing: ComputingOptions,
    reporting: Reporting,
) -> None:
    """Cluster cells by a Gaussian mixture.

    Results: clusters in obs["gmm"], largest first; probabilities in obsm["gmm_proba"]; details of
    the fit in uns["gmm"].

    Example: mnncorrect gmm corrected.h5ad --n-components 5-20 -o clustered.h5ad

    Parameters
    ----------
    use_rep : NAME
        Embedding in obsm. Default: X_mnn, or else X_mnn_pca.
    covariance_type
        Shape of the components. tied: all components share one covariance.
    criterion
        Criterion for the number of components. icl prefers separated components.
    max_overlap
        Overlap (0 to 1) above which two components are merged into a cluster. 1: none are merged.
    n_init
        Number of starts for each number of components.
    max_iter
        Largest number of iterations of a start.
    tol
        Change of the log-likelihood per cell below which a start has converged.
    reg_covar
        Number added to all variances. Larger is more stable.
    max_fit
        Number of cells above which the mixture is fitted to a sample.
    key_added : NAME
        Key of the clusters in obs.
    """
    asked = locals()
    from mnncorrect import tl
    from mnncorrect._adata.result_places import places_of_clusters
    from mnncorrect._run.changed_files import changed_file
    from mnncorrect.cli.runtime.progress import bars

    with (
        changed_file(input, output, places_of_clusters(key_added), force=force) as adata,
        bars(reporting) as progress,
    ):
        tl.gmm(adata, **arguments_of(tl.gmm, asked), progress=progress)
