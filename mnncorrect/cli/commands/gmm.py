"""``mnncorrect gmm``."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import Annotated, Literal

from typer import Option

from mnncorrect.cli.options.shared import (
    Computing,
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

logger = logging.getLogger("mnncorrect")


@command
def gmm(
    *,
    input: Input,  # noqa: A002
    output: Output,
    force: Force = False,
    use_rep: Annotated[
        str | None,
        Option(
            "--use-rep",
            metavar="NAME",
            help="The embedding in obsm; X_mnn, or else X_mnn_pca, if unset.",
        ),
    ] = None,
    n_dims: NDims = "auto",
    n_components: NComponents = "1-10,12,15,20,25,30",
    covariance_type: Annotated[
        Literal["full", "tied", "diag", "spherical"],
        Option("--covariance-type", help="The shapes that components may have; tied: all one."),
    ] = "tied",
    criterion: Annotated[
        Literal["icl", "bic"],
        Option(
            "--criterion",
            help="What chooses the number of components; icl prefers those that are apart.",
        ),
    ] = "icl",
    max_overlap: Annotated[
        float,
        Option(
            "--max-overlap",
            min=0.0,
            max=1.0,
            help="Clusters that share more than this (0 to 1) are merged; 1 merges none.",
        ),
    ] = 0.03,
    n_init: Annotated[int, Option("--n-init", help="Starts for each number of components.")] = 3,
    max_iter: Annotated[
        int, Option("--max-iter", help="Iterations after which a start is given up.")
    ] = 200,
    tol: Annotated[
        float,
        Option("--tol", help="Converged is when the log-likelihood per cell changes by less."),
    ] = 1e-3,
    reg_covar: Annotated[
        float, Option("--reg-covar", help="Added to all variances; larger is more stable.")
    ] = 1e-6,
    max_fit: Annotated[
        int, Option("--max-fit", help="On more cells than this a sample is fitted.")
    ] = 50_000,
    key_added: Annotated[
        str,
        Option(
            "--key-added",
            metavar="NAME",
            callback=key_name,
            help="Clusters are stored in obs['NAME'].",
        ),
    ] = "gmm",
    computing: Computing,
    reporting: Reporting,
) -> None:
    """Cluster cells by a Gaussian mixture.

    Clusters are written to obs["gmm"], the largest first, probabilities to obsm["gmm_proba"], and
    how the fit went to uns["gmm"].

    Example: mnncorrect gmm corrected.h5ad --n-components 5-20 -o clustered.h5ad
    """
    from mnncorrect import tl
    from mnncorrect._adata import record
    from mnncorrect._io import atomic, h5ad
    from mnncorrect.cli import replacing
    from mnncorrect.cli.runtime.progress import bars

    numbers = whole_numbers("--n-components", n_components)
    dims = number_or_auto("--n-dims", n_dims)
    with (
        atomic.whole_file(output, force=force, inputs=[input]) as temporary,
        h5ad.opened(input) as adata,
    ):
        replacing.refuse(adata, record.places_of_clusters(key_added), force=force)
        with bars(reporting) as progress:
            tl.gmm(
                adata,
                use_rep=use_rep,
                n_dims=dims,
                n_components=numbers,
                covariance_type=covariance_type,
                criterion=criterion,
                max_overlap=max_overlap,
                n_init=n_init,
                max_iter=max_iter,
                tol=tol,
                reg_covar=reg_covar,
                max_fit=max_fit,
                key_added=key_added,
                progress=progress,
                **asdict(computing),
            )
        h5ad.write(adata, temporary)
    logger.info("wrote %s", output)
