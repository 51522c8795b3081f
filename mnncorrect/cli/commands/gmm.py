"""``mnncorrect gmm``."""

from __future__ import annotations

from typing import Annotated, Literal

from typer import Option

from mnncorrect.cli.options.given import arguments_of
from mnncorrect.cli.options.shared import (
    ComputingOptions,
    Force,
    Input,
    NComponents,
    NDims,
    Output,
    Reporting,
    key_name,
    number_or_auto,
    whole_numbers,
)
from mnncorrect.cli.runtime.command import command


@command
def gmm(
    *,
    input: Input,  # noqa: A002
    output: Output,
    force: Force = False,
    use_rep: Annotated[
        str | None,
        Option(metavar="NAME", help="Embedding in obsm. Default: X_mnn, or else X_mnn_pca."),
    ] = None,
    n_dims: NDims = "auto",
    n_components: NComponents = "1-10,12,15,20,25,30",
    covariance_type: Annotated[
        Literal["full", "tied", "diag", "spherical"],
        Option(help="Shape of the components. tied: all components share one covariance."),
    ] = "tied",
    criterion: Annotated[
        Literal["icl", "bic"],
        Option(help="Criterion for the number of components. icl prefers separated components."),
    ] = "icl",
    max_overlap: Annotated[
        float,
        Option(
            min=0.0,
            max=1.0,
            help="Overlap (0 to 1) above which two components are merged into a cluster. 1: none"
            " are merged.",
        ),
    ] = 0.03,
    n_init: Annotated[int, Option(help="Number of starts for each number of components.")] = 3,
    max_iter: Annotated[int, Option(help="Largest number of iterations of a start.")] = 200,
    tol: Annotated[
        float,
        Option(help="Change of the log-likelihood per cell below which a start has converged."),
    ] = 1e-3,
    reg_covar: Annotated[
        float, Option(help="Number added to all variances. Larger is more stable.")
    ] = 1e-6,
    max_fit: Annotated[
        int, Option(help="Number of cells above which the mixture is fitted to a sample.")
    ] = 50_000,
    key_added: Annotated[
        str, Option(metavar="NAME", callback=key_name, help="Key of the clusters in obs.")
    ] = "gmm",
    computing: ComputingOptions,
    reporting: Reporting,
) -> None:
    """Cluster cells by a Gaussian mixture.

    Results: clusters in obs["gmm"], largest first; probabilities in obsm["gmm_proba"]; details of
    the fit in uns["gmm"].

    Example: mnncorrect gmm corrected.h5ad --n-components 5-20 -o clustered.h5ad
    """
    asked = locals()
    from mnncorrect import tl
    from mnncorrect._adata.result_places import places_of_clusters
    from mnncorrect._run.changing import changed_file
    from mnncorrect.cli.runtime.progress import bars

    numbers = whole_numbers("--n-components", n_components)
    dims = number_or_auto("--n-dims", n_dims)
    with (
        changed_file(input, output, places_of_clusters(key_added), force=force) as adata,
        bars(reporting) as progress,
    ):
        options = asked | {"n_dims": dims, "n_components": numbers}
        tl.gmm(adata, **arguments_of(tl.gmm, options), progress=progress)
