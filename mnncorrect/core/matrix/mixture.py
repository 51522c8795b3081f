"""Gaussian mixtures: EM by scikit-learn, their number by ICL, one cluster where they overlap.

scikit-learn fits the mixtures. What it lacks is here or beside this: the integrated completed
likelihood, starts on threads with equal bits, components that are merged (``overlap.py``), and the
choice between fits that are equally good (``choosing.py``).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from mnncorrect.core.matrix.choosing import as_good_as_best, most_typical
from mnncorrect.core.matrix.overlap import Merged, merge_overlapping
from mnncorrect.core.runtime.threads import (
    Progress,
    map_blocks,
    resolve_n_jobs,
    row_blocks,
    single_blas,
)

Covariance = Literal["full", "tied", "diag", "spherical"]
COVARIANCES: tuple[str, ...] = get_args(Covariance)
Criterion = Literal["icl", "bic"]
CRITERIA: tuple[str, ...] = get_args(Criterion)
# A component of fewer cells is no cluster where their number is not given: its cells are outliers.
LEAST_COMPONENT_CELLS = 5
# Rows whose probabilities are worked out together.
ROW_BLOCK = 8192


@dataclass(frozen=True)
class Mixture:
    """A fitted Gaussian mixture, and the clusters it makes."""

    labels: NDArray[np.int64]  # Cluster of each cell: 0 is the largest.
    # Posterior probability of each cell (row) in each cluster (column), float32.
    proba: NDArray[np.float32]
    n_components: int  # Number of components of the fit that was chosen.
    # The largest overlap of two clusters while there are as many clusters as components of at least
    # 5 cells, one fewer, ... and two; empty where the number of clusters was given.
    overlaps: NDArray[np.float64]
    tried: NDArray[np.int64]  # Numbers of components that were tried, ascending.
    # For each of them, of its best start: Bayesian information criterion and integrated completed
    # likelihood (lower is better), mean log-likelihood per cell, and whether EM converged.
    bic: NDArray[np.float64]
    icl: NDArray[np.float64]
    final_log_likelihood: NDArray[np.float64]
    tried_converged: NDArray[np.bool_]
    # For each of them, whether a start of it is as good as the start of the lowest criterion.
    as_good: NDArray[np.bool_]
    # Mean adjusted Rand index of the clusters with those of the other starts that are as good.
    agreement: float
    # Mean log-likelihood per cell at each iteration of the chosen start.
    log_likelihood: NDArray[np.float64]
    converged: bool  # Whether that start converged.
    n_iter: int  # Its number of iterations.
    fitted_on: int  # Number of cells the mixture was fitted on.
    means: NDArray[np.float64]  # Center of each cluster, in the order of the labels.


def fit_mixture(
    x: NDArray[Any],
    n_components: int | Sequence[int],
    *,
    covariance_type: Covariance = "tied",
    criterion: Criterion = "icl",
    max_overlap: float = 0.03,
    n_init: int = 3,
    max_iter: int = 200,
    tol: float = 1e-3,
    reg_covar: float = 1e-6,
    max_fit: int = 50_000,
    random_state: int = 0,
    n_jobs: int | None = None,
    progress: Progress | None = None,
) -> Mixture:
    """Fit a mixture of Gaussians by expectation maximization, and assign every cell to a component.

    Parameters are explained at :func:`mnncorrect.tl.gmm`. BIC is ``-2 log L + p log n`` with ``p``
    free parameters and ``n`` cells fitted on. ICL is BIC plus twice the entropy of the assignment,
    ``-sum(proba * log(proba))``. Where several numbers are tried, components of fewer than 5 cells
    are left out before components are merged. The log-likelihood of an iteration is that of the
    parameters which it starts from.
    """
    x = np.ascontiguousarray(x, dtype=np.float64)
    tried = _checked_numbers(n_components)
    _check_parameters(
        covariance_type, criterion, max_overlap, n_init=n_init, max_iter=max_iter, max_fit=max_fit
    )
    for name, value in {"tol": tol, "reg_covar": reg_covar}.items():
        if not 0 <= value < np.inf:
            raise ValueError(f"{name} is {value}; it must be 0 or more, and finite")
    is_given = len(tried) == 1
    rng = np.random.default_rng(random_state)
    sample = x
    if len(x) > max_fit:
        sample = x[np.sort(rng.choice(len(x), max_fit, replace=False))]
    tried = _possible_numbers(sample, tried, covariance_type)

    def start(task: tuple[int, int]) -> Any:
        return fit_start(
            sample, *task, covariance_type=covariance_type, max_iter=max_iter, tol=tol,
            reg_covar=reg_covar,
        )  # fmt: skip

    n_jobs = resolve_n_jobs(n_jobs)
    seeds = rng.integers(2**31, size=n_init).tolist()
    with warnings.catch_warnings(action="ignore"):
        # Whether each start converged is recorded; the caller warns if the one that counts did not.
        starts = map_blocks(
            start,
            [(number, seed) for number in tried for seed in seeds],
            n_jobs=n_jobs,
            progress=progress,
            stage="mixture",
        )
    # The first start of the highest likelihood, for each number of components.
    best = [
        max(range(at, at + n_init), key=lambda number: starts[number].lower_bound_)
        for at in range(0, len(starts), n_init)
    ]
    judged = map_blocks(
        lambda model: criteria(model, sample, criterion),
        [starts[number] for number in best] if is_given else starts,
        n_jobs=n_jobs,
    )
    if is_given:
        starts, best = [starts[number] for number in best], [0]
    scores = np.array([score for score, _ in judged])
    bic, icl, final = scores[best].T
    as_good, chosen, agreement = [0], 0, 1.0
    merged = [Merged(np.arange(len(starts[0].weights_)), np.empty(0))]
    if not is_given:
        as_good = as_good_as_best(
            scores[:, 1 if criterion == "icl" else 0], np.array([by_cell for _, by_cell in judged])
        )
        found = map_blocks(
            lambda number: _clusters(starts[number], sample, max_overlap), as_good, n_jobs=n_jobs
        )
        merged = [one for one, _ in found]
        chosen, agreement = most_typical([labels for _, labels in found])
    model, clusters = starts[as_good[chosen]], merged[chosen]
    labels, proba, order = _assign(model, clusters.cluster, x, n_jobs)
    return Mixture(
        labels=labels,
        proba=proba,
        n_components=int(model.n_components),
        overlaps=clusters.overlaps,
        tried=np.array(tried, dtype=np.int64),
        bic=bic,
        icl=icl,
        final_log_likelihood=final,
        tried_converged=np.array([bool(starts[number].converged_) for number in best]),
        as_good=np.isin(tried, [starts[number].n_components for number in as_good]),
        agreement=agreement,
        log_likelihood=np.array(model.lower_bounds_, dtype=np.float64),
        converged=bool(model.converged_),
        n_iter=int(model.n_iter_),
        fitted_on=len(sample),
        means=_centers(model, clusters.cluster)[order],
    )


def fit_start(
    x: NDArray[np.float64],
    n_components: int,
    seed: int,
    *,
    covariance_type: Covariance = "tied",
    max_iter: int = 200,
    tol: float = 1e-3,
    reg_covar: float = 1e-6,
) -> Any:
    """Fit one mixture from one start; raise ``ValueError`` if a covariance cannot be inverted."""
    from sklearn.mixture import GaussianMixture

    model = GaussianMixture(
        n_components, covariance_type=covariance_type, max_iter=max_iter, tol=tol,
        reg_covar=reg_covar, random_state=seed,
    )  # fmt: skip
    # OpenMP keeps its limit by thread, so the one set outside does not hold in here.
    with single_blas():
        try:
            model.fit(x)
        except ValueError as error:
            raise ValueError(
                f"a mixture of {n_components} components could not be fitted, as a covariance "
                f"cannot be inverted; use fewer components, a reg_covar above {reg_covar:g}, "
                'or covariance_type="diag"'
            ) from error
    return model


def criteria(
    model: Any, x: NDArray[np.float64], criterion: str
) -> tuple[tuple[float, float, float], NDArray[np.float64]]:
    """Return BIC, ICL and the mean log-likelihood per cell; and what each cell adds to one."""
    with single_blas():
        bic, proba, densities = float(model.bic(x)), model.predict_proba(x), model.score_samples(x)
    entropy = -(proba * np.log(np.where(proba > 0, proba, 1))).sum(axis=1)
    by_cell = -2 * densities
    if criterion == "icl":
        by_cell += 2 * entropy
    return (bic, bic + 2 * float(entropy.sum()), float(densities.mean())), by_cell


def _clusters(
    model: Any, x: NDArray[np.float64], max_overlap: float
) -> tuple[Merged, NDArray[np.int64]]:
    """Merge the components of a start that overlap; return them, and the cluster of each cell."""
    _leave_out_outliers(model, len(x))
    with single_blas():
        proba = model.predict_proba(x)
    merged = merge_overlapping(proba, max_overlap)
    return merged, (proba @ _members(merged.cluster)).argmax(axis=1)


def _members(cluster: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mark, components x clusters, which component belongs to which cluster."""
    return (cluster[:, None] == np.arange(cluster.max() + 1)).astype(float)


def _leave_out_outliers(model: Any, n: int) -> None:
    """Take components of very few cells out of a mixture; their cells go to the next ones."""
    kept = np.flatnonzero(model.weights_ * n >= LEAST_COMPONENT_CELLS)
    if 0 < len(kept) < len(model.weights_):
        model.weights_ = model.weights_[kept] / model.weights_[kept].sum()
        model.means_ = model.means_[kept]
        if model.covariance_type != "tied":
            model.precisions_cholesky_ = model.precisions_cholesky_[kept]


def _centers(model: Any, cluster: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the center of each cluster: the mean of its components by their weights."""
    share = np.zeros((cluster.max() + 1, len(cluster)))
    share[cluster, np.arange(len(cluster))] = model.weights_
    return share @ model.means_ / share.sum(axis=1, keepdims=True)


def _assign(
    model: Any, cluster: NDArray[np.int64], x: NDArray[np.float64], n_jobs: int
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
    """Give each cell to its most probable cluster; number clusters by decreasing size."""
    members = _members(cluster)
    blocks = map_blocks(
        lambda rows: model.predict_proba(x[rows]) @ members,
        row_blocks(len(x), ROW_BLOCK),
        n_jobs=n_jobs,
    )
    proba = np.concatenate(blocks)
    found = proba.argmax(axis=1)
    sizes = np.bincount(found, minlength=proba.shape[1])
    order = np.argsort(-sizes, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return rank[found], proba[:, order].astype(np.float32), order


def _checked_numbers(n_components: int | Sequence[int]) -> list[int]:
    """Return the numbers of components to try, ascending and without repeats."""
    several = isinstance(n_components, Sequence | np.ndarray)
    numbers: Any = n_components if several else [n_components]
    if not len(numbers) or any(
        isinstance(number, bool) or not isinstance(number, Real) or number % 1 or number < 1
        for number in numbers
    ):
        raise ValueError(
            f"n_components is {n_components!r}; give a whole number from 1 up, or several"
        )
    return sorted({int(number) for number in numbers})


def _check_parameters(
    covariance_type: str, criterion: str, max_overlap: float, **at_least_one: int
) -> None:
    if covariance_type not in COVARIANCES:
        raise ValueError(
            f"covariance_type is {covariance_type!r}; choose one of {', '.join(COVARIANCES)}"
        )
    if criterion not in CRITERIA:
        raise ValueError(f"criterion is {criterion!r}; choose one of {', '.join(CRITERIA)}")
    if not 0 <= max_overlap <= 1:
        raise ValueError(f"max_overlap is {max_overlap}; it must be from 0 to 1")
    for name, value in at_least_one.items():
        if value < 1:
            raise ValueError(f"{name} is {value}; it must be at least 1")


def _most_components(n: int, n_dims: int, covariance_type: str) -> int:
    """Return how many components so many different cells tell the covariances of.

    With more, cells lie on their centers or in a plane with them, and the likelihood has no bound.
    """
    if covariance_type == "full":
        return n // (2 * (n_dims + 1))
    return min(n // 2, n - 2 * n_dims) if covariance_type == "tied" else n // 2


def _possible_numbers(x: NDArray[np.float64], tried: list[int], covariance_type: str) -> list[int]:
    """Leave out, of several numbers of components, what the cells are too few for."""
    n_distinct = len(np.unique(x, axis=0))
    possible = [number for number in tried if n_distinct >= max(number, 2)]
    if not possible:
        raise ValueError(
            f"{tried[0]} components need at least {max(tried[0], 2)} different cells, and there "
            f"are {n_distinct}; use fewer components"
        )
    most = max(possible[0], _most_components(n_distinct, x.shape[1], covariance_type))
    possible = [number for number in possible if number <= most]
    if len(possible) < len(tried):
        warnings.warn(
            f"there are {n_distinct} different cells in {x.shape[1]} dimensions: no more than "
            f"{possible[-1]} components are tried, as their covariances could not be estimated",
            stacklevel=3,
        )
    constant = np.flatnonzero((x == x[0]).all(axis=0))
    if len(constant):
        raise ValueError(
            f"{len(constant)} of {x.shape[1]} dimensions are constant, the first is number "
            f"{constant[0]}; a mixture has no covariance along them: leave them out"
        )
    return possible
