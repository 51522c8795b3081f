"""Clusters by Gaussian mixture."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mnncorrect._adata import Draft, Keys, check_object, origin_of, take_embedding
from mnncorrect._adata.arguments import Seed, take_rep, take_seed
from mnncorrect._adata.lookup import what_there_is
from mnncorrect._adata.record import entry_of
from mnncorrect._adata.results import recorded_table
from mnncorrect._log import logger, warn_caller
from mnncorrect._prepare.parameter_texts import shared_parameters
from mnncorrect.core.runtime.unset import SEED, UNSET, Unset
from mnncorrect.tl._cluster_mixing import mixing_in_clusters

if TYPE_CHECKING:
    from anndata import AnnData

    from mnncorrect.core.matrix.gain import Dimensions
    from mnncorrect.core.matrix.mixture import Mixture
    from mnncorrect.core.runtime.threads import Progress
# What of the arguments the fit takes, and is recorded.
OF_THE_FIT = (
    "covariance_type", "criterion", "max_overlap", "n_init", "max_iter", "tol", "reg_covar",
    "max_fit",
)  # fmt: skip
# Numbers of components that are tried: every one where a single one matters.
NUMBERS = (*range(1, 11), 12, 15, 20, 25, 30)


@shared_parameters
def gmm(
    adata: AnnData,
    *,
    use_rep: str | None = None,
    use: str | None = None,
    n_dims: int | Literal["auto"] | None = "auto",
    n_components: int | Sequence[int] = NUMBERS,
    covariance_type: Literal["full", "tied", "diag", "spherical"] = "tied",
    criterion: Literal["icl", "bic"] = "icl",
    max_overlap: float = 0.03,
    n_init: int = 3,
    max_iter: int = 200,
    tol: float = 1e-3,
    reg_covar: float = 1e-6,
    max_fit: int = 50_000,
    key_added: str = "gmm",
    random_state: Seed = SEED,
    rng: Seed | Unset = UNSET,
    n_jobs: int | None = None,
    progress: Progress | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Cluster cells by a Gaussian mixture.

    The mixture is fitted by expectation maximization [1]_ from several starts. If one number of
    components is given, each is a cluster. Otherwise several numbers are tried, and components that
    overlap are merged into one cluster [3]_: a cluster need not be Gaussian. Fits are compared by
    their integrated completed likelihood (ICL) [2]_. Often several are equally good: their ICL is
    within five standard errors of the lowest. Of these, the fit is chosen whose clusters agree
    best with those of the others. Components of fewer than 5 cells are left out. Every cell keeps
    its probability in every cluster, so cells between clusters can be seen.

    Parameters
    ----------
    use_rep
        Embedding in ``obsm``. ``None``: ``X_mnn``, or else ``X_mnn_pca``.
    n_dims
        Number of leading dimensions to use. ``"auto"``: dimensions before the elbow of their
        variances [4]_, at least 5; or all if there are at most 10 or no elbow. With 1,000 cells or
        more, this number is doubled as long as more dimensions show clusters better: the gain of a
        mixture over one Gaussian in ICL, per cell and dimension, rises by more than five standard
        errors. It is not if one number of components is given. ``None``: all.
    n_components
        Number of clusters; or several numbers of components. Then overlapping components are
        merged, and ``criterion`` decides which fits are good.
    covariance_type
        ``"tied"``: all components share one covariance. ``"full"``: each has its own, with about
        ``n_dims**2 / 2`` parameters; this hides small clusters. ``"diag"``: diagonal covariances.
        ``"spherical"``: one variance for all dimensions.
    criterion
        Criterion for the number of components: ``"icl"``, or ``"bic"``, the Bayesian information
        criterion, which chooses more components.
    max_overlap
        Overlap above which two components are merged, 0 to 1: share of the cells of one that would
        be assigned to the other. Smaller gives fewer clusters; 1: none are merged. Ignored if one
        number of components is given.
    n_init
        Number of starts for each number of components. If one number is given, the start with the
        highest likelihood is used; otherwise all starts are compared.
    max_iter
        Largest number of iterations of a start.
    tol
        Change of the mean log-likelihood per cell below which a start has converged.
    reg_covar
        Number added to all variances, in squared units of the embedding. Larger is more stable.
    max_fit
        Number of cells above which the mixture is fitted to a sample of this size and applied to
        all cells.
    key_added
        Key in ``obs`` and ``uns``; in ``obsm`` with the suffix ``_proba``.
    random_state
        Random seed of the starts and of the sample.

    Returns
    -------
    ``None``, or the copy, with these fields:

    ``obs["gmm"]``
        Cluster of each cell: categories ``"0"``, ``"1"``, ..., the largest first.
    ``obsm["gmm_proba"]``
        Probability of each cell in each cluster, float32, columns as the categories.
    ``uns["gmm"]``
        ``bic``: a table of ``n_components``, ``bic``, ``icl``, ``log_likelihood`` per cell and
        ``converged``, for the best start of each number, and ``as_good``: whether a start of this
        number is as good as the one with the lowest criterion. ``agreement``: mean adjusted Rand
        index of the clusters with those of the other starts that are as good. ``overlap``: a table
        of ``n_clusters`` and the largest ``overlap`` between two of them, for each possible merge
        of components. ``dimensions``: a table of ``n_dims``, the ``gain`` per cell and dimension,
        and its rise over the number before in ``standard_errors``, if numbers of dimensions were
        compared. For the chosen fit: ``n_components``, ``n_clusters``, ``log_likelihood``
        (mean per cell, at each iteration), ``n_iter``, ``converged``, ``fitted_on`` (number of
        cells). ``params`` and ``provenance``. If the embedding is the result of a correction,
        ``mixing``: a table of ``cluster``, ``cells``, ``mixing`` of the batches, ``attainable``
        mixing and ``state``. The log names clusters whose state is ``"apart"``.

    Warns
    -----
    UserWarning
        If the chosen fit has not converged.

    Raises
    ------
    {errors of embeddings}; if the embedding has constant dimensions; if there are fewer distinct
        cells than clusters.

    References
    ----------
    .. [1] Dempster, Laird & Rubin (1977), doi:10.1111/j.2517-6161.1977.tb01600.x.
    .. [2] Biernacki, Celeux & Govaert (2000), doi:10.1109/34.865189.
    .. [3] Baudry et al. (2010), doi:10.1198/jcgs.2010.08111; Hennig (2010),
       doi:10.1007/s11634-010-0058-3.
    .. [4] Zhu & Ghodsi (2006), doi:10.1016/j.csda.2005.09.010.

    Examples
    --------
    >>> import anndata
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> adata = anndata.AnnData(np.zeros((90, 1)))
    >>> adata.obsm["X_mnn"] = rng.normal(size=(90, 2))
    >>> adata.obsm["X_mnn"][:30] += 20
    >>> gmm(adata, n_components=[1, 2, 3])
    >>> adata.obs["gmm"].value_counts().to_dict()
    {'0': 60, '1': 30}
    """
    from mnncorrect.core.matrix.mixture import fit_mixture

    fit: dict[str, Any] = {name: value for name, value in locals().items() if name in OF_THE_FIT}
    use_rep = take_rep(use_rep, use)
    random_state = take_seed(random_state, rng)
    check_object(adata)
    use_rep = representation(adata) if use_rep is None else use_rep
    x = take_embedding(adata, use_rep)
    n_used, dimensions = _number_of_dimensions(x, n_dims, use_rep), None
    if n_dims == "auto" and np.size(n_components) > 1:
        from mnncorrect.core.matrix.gain import more_dimensions

        dimensions = more_dimensions(
            x, n_used, n_init=n_init, reg_covar=reg_covar, random_state=random_state, n_jobs=n_jobs
        )
    x = x[:, : n_used if dimensions is None else dimensions.chosen]
    if x.shape[1] > n_used:
        logger.info(
            "%d dimensions show clusters better than the %d before the elbow", x.shape[1], n_used
        )
    mixture = fit_mixture(
        x, n_components, **fit, random_state=random_state, n_jobs=n_jobs, progress=progress
    )
    _report(mixture, use_rep, x.shape, max_iter, criterion)
    draft = Draft(adata, key_added, origin=origin_of(adata, "obsm", use_rep))
    _put_clusters(
        draft,
        mixture,
        key_added=key_added,
        params={
            "use_rep": use_rep,
            "n_dims": x.shape[1],
            "dims_chosen": _how_chosen(n_dims, more=x.shape[1] > n_used),
            "n_components": mixture.tried.tolist(),
            **fit,
        },
        random_state=random_state,
        dimensions=dimensions,
        mixing=mixing_in_clusters(
            adata, use_rep, mixture.labels, random_state=random_state, n_jobs=n_jobs
        ),
    )
    return draft.commit(copy=copy)


def representation(adata: AnnData, key_added: str = "mnn") -> str:
    """Name the corrected embedding of a correction, or else its components."""
    keys = Keys(key_added)
    record = entry_of(adata.uns, keys.uns, "correction", "projection")
    basis = keys.embedding if record is None else record["params"].get("adjusted_basis")
    names = [str(basis or keys.embedding), f"X_{key_added}_pca"]
    for name in names:
        if name in adata.obsm:
            return name
    raise KeyError(
        f"obsm has no {' or '.join(map(repr, names))}; "
        f"{what_there_is(adata.obsm)}; correct first, or name another embedding with `use_rep`"
    )


def _number_of_dimensions(x: NDArray[Any], n_dims: int | str | None, use_rep: str) -> int:
    """Return how many leading dimensions are used; warn if the embedding has fewer than asked."""
    if n_dims is None:
        return int(x.shape[1])
    if n_dims == "auto":
        from mnncorrect.core.matrix.elbow import leading_dimensions

        return leading_dimensions(np.var(x, axis=0, dtype=np.float64))
    if isinstance(n_dims, str) or n_dims < 1:
        raise ValueError(
            f'n_dims is {n_dims!r}; it must be from 1 up, "auto", or None for all dimensions'
        )
    if n_dims > x.shape[1]:
        warn_caller(
            f"`n_dims` is {n_dims}, and obsm[{use_rep!r}] has {x.shape[1]} dimensions; all of them "
            "are used"
        )
    return min(n_dims, int(x.shape[1]))


def _how_chosen(n_dims: int | str | None, *, more: bool) -> str:
    if n_dims != "auto":
        return "as given"
    return "by gain" if more else "by elbow"


def _put_clusters(
    draft: Draft,
    mixture: Mixture,
    *,
    key_added: str,
    params: Mapping[str, Any],
    random_state: int,
    dimensions: Dimensions | None = None,
    mixing: pd.DataFrame | None = None,
) -> None:
    """Store the clusters of a Gaussian mixture, and how batches mix in each."""
    n_used = int(mixture.labels.max()) + 1
    clusters = pd.Categorical.from_codes(
        mixture.labels, categories=pd.Index([str(label) for label in range(n_used)])
    )
    draft.put("obs", key_added, clusters)
    draft.put("obsm", Keys(key_added).proba, mixture.proba)
    record: dict[str, Any] = {
        "bic": recorded_table(
            {
                "n_components": mixture.tried,
                "bic": mixture.bic,
                "icl": mixture.icl,
                "log_likelihood": mixture.final_log_likelihood,
                "converged": mixture.tried_converged,
                "as_good": mixture.as_good,
            }
        ),
        "converged": mixture.converged,
        "fitted_on": mixture.fitted_on,
        "log_likelihood": mixture.log_likelihood,
        "n_clusters": mixture.proba.shape[1],
        "n_components": mixture.n_components,
        "n_iter": mixture.n_iter,
    }
    if len(mixture.tried) > 1:
        record["agreement"] = mixture.agreement
    if len(mixture.overlaps):
        counts = np.arange(len(mixture.overlaps) + 1, 1, -1)
        record["overlap"] = recorded_table({"n_clusters": counts, "overlap": mixture.overlaps})
    if dimensions is not None and len(dimensions.compared):
        record["dimensions"] = recorded_table(
            {
                "n_dims": dimensions.compared,
                "gain": dimensions.gain,
                "standard_errors": dimensions.rise,
            }
        )
    if mixing is not None:
        record["mixing"] = mixing
    draft.record(params, random_state, **record)


def _report(
    mixture: Mixture, use_rep: str, shape: tuple[int, ...], max_iter: int, criterion: str
) -> None:
    if mixture.fitted_on < shape[0]:
        logger.info("fitted on a sample of %d of %d cells", mixture.fitted_on, shape[0])
    from mnncorrect.core.matrix.mixture import LEAST_COMPONENT_CELLS

    how = ", as asked"
    n_clusters = mixture.proba.shape[1]
    if len(mixture.tried) > 1:
        how = (
            f": {criterion.upper()} chose {mixture.n_components} components from "
            f"{len(mixture.tried)} numbers tried ({mixture.tried[0]} to {mixture.tried[-1]}"
        )
        n_good = int(mixture.as_good.sum())
        how += f"; {n_good} are equally good)" if n_good > 1 else ")"
        if n_clusters < mixture.n_components:
            small = mixture.n_components - 1 - len(mixture.overlaps)
            how += f"; {mixture.n_components - n_clusters - small} overlapping ones were merged"
            have = "has" if small == 1 else "have"
            how += f"; {small} {have} fewer than {LEAST_COMPONENT_CELLS} cells" if small else ""
    logger.info(
        "%d clusters in %d dimensions of obsm[%r]%s; %d EM iterations",
        n_clusters, shape[1], use_rep, how, mixture.n_iter,
    )  # fmt: skip
    if len(mixture.tried) > 1 and n_clusters == mixture.tried[-1]:
        logger.info("this is the largest number tried; try larger ones with n_components")
    if not mixture.converged:
        warnings.warn(
            f"the mixture of {mixture.n_components} components has not converged in {max_iter} "
            "iterations; raise max_iter, or use fewer components, a larger tol or reg_covar, or "
            'covariance_type="diag"',
            stacklevel=3,
        )
