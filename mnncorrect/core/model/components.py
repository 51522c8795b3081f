"""New cells on the components of a model, whatever genes they lack."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from mnncorrect.core.matrix.block_counts import normalize
from mnncorrect.core.matrix.pca import project_cells
from mnncorrect.core.matrix.rows import MIN_NORM, Rows, as_rows, row_norms
from mnncorrect.core.runtime.threads import single_blas

if TYPE_CHECKING:
    from .fit import Components, Scaling

# What components leave of a gene is at least this share of what one holds.
LEAST_LEFT = 1e-3
TINY = np.finfo(np.float64).tiny


@dataclass(frozen=True)
class Matched:
    """The genes of a model among those of new cells."""

    columns: NDArray[np.int64]  # Where those that are there stand, in the order of the model.
    present: NDArray[np.bool_]  # Which of the model's genes these are.
    missing_share: float  # Share of the components that the others carry, 0..1.
    # Loadings of the genes that are there, by which the others are expected as well.
    rotation: NDArray[np.float64]


def match_genes(
    components: Components, names: Sequence[str], genes: Sequence[str] | None = None
) -> Matched:
    """Find the genes of a model by name; of a name that occurs twice, the first is taken.

    ``genes``: what the model's genes are called here, if not as it has them.
    """
    where: dict[str, int] = {}
    for column, name in enumerate(names):
        where.setdefault(name, column)
    columns = np.array([where.get(name, -1) for name in genes or components.genes])
    present = columns >= 0
    missing = float(components.share[~present].sum())
    rotation = _completed(components, present)
    return Matched(columns[present].astype(np.int64), present, min(1.0, missing), rotation)


def embed(
    block: Any,
    components: Components,
    matched: Matched,
    *,
    scaling: Scaling | None = None,
    totals: NDArray[Any] | None = None,
    change: Callable[[Any], Any] | None = None,
    effects: NDArray[np.float64] | None = None,
) -> NDArray[np.float32]:
    r"""Project expression of some cells on the components of a model.

    ``matched`` has the model's genes among those of the cells. Counts are scaled by ``scaling`` and
    ``totals``; ``change`` is applied to other values. ``effects`` of covariates on the genes that
    are there are subtracted then.

    Genes that the cells lack take the values that the others lead to expect. With the loadings
    :math:`U_p` of the genes that are there, :math:`U_m` of the others, the variances
    :math:`\lambda` of the components and :math:`\sigma^2` of what they leave of a gene, a missing
    deviation from the center is expected to be :math:`U_m S z`, :math:`S = \mathrm{diag}(\lambda /
    (\lambda + \sigma^2))`, so that

    .. math:: z = U_p^T (x_p - \mu_p) + U_m^T U_m S z

    (probabilistic principal components, Tipping & Bishop 1999, Journal of the Royal Statistical
    Society B 61, 611-622). Lengths over the genes that are there are divided by :math:`\sqrt{1 -
    \sum_g \mu_g^2}`, because missing genes contribute as the center does.
    """
    part: Any = block[:, matched.columns]
    # Sums over a sparse row are of its entries, in order: the same for any block, dense or sparse.
    part = sp.csr_matrix(part)
    part.sort_indices()
    if scaling is not None:
        part = normalize(
            part,
            None if scaling.total is None else totals,
            1.0 if scaling.total is None else scaling.total,
            log1p=scaling.log1p,
        )
    if change is not None:
        part = change(part)
    if effects is not None:
        part = (part.toarray() - effects).astype(part.dtype)
    rows = as_rows(part)
    norms = None
    if components.cosine_norm:
        absent = float((components.center[~matched.present] ** 2).sum())
        norms = row_norms(rows) / np.sqrt(max(MIN_NORM, 1 - absent))
        norms = np.maximum(norms, MIN_NORM)
    there = components.center[matched.present]
    scores = project_cells(Rows(rows, norms), matched.rotation, there, n_jobs=1)
    return scores.astype(np.float32)


def _completed(components: Components, present: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Give loadings of the genes that are there, by which the others are expected as well."""
    there = components.rotation[present]
    if present.all():
        return there
    absent = components.rotation[~present]
    variance = components.variance
    left = max(components.residual, LEAST_LEFT * float(variance.mean()), TINY)
    with single_blas():
        expected = (absent.T @ absent) * (variance / (variance + left))
        solved = np.linalg.solve(np.eye(len(variance)) - expected, there.T)
    return np.ascontiguousarray(solved.T, np.float64)
