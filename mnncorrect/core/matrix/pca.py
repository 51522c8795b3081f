"""Principal components of one batch or of several, and projection on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnncorrect.core.runtime.mapped import large_array, let_go, write_out
from mnncorrect.core.runtime.threads import (
    each_block,
    map_blocks,
    resolve_n_jobs,
    row_blocks,
    single_blas,
    sum_blocks,
)

from .gram import block_rows, gram, has_few_values, weighted_mean
from .rows import Matrix, Rows, RowSource, as_rows, rows_of

# Cells up to which a matrix is decomposed directly, and genes up to which the Gram matrix of the
# genes is; both are exact. Beyond, that would not fit, and Lanczos' method is quicker.
SVD_CELLS = 1000
GRAM_GENES = 4000
# Cells of a block of up to 4,000 genes.
ROW_BLOCK = 4096
# Singular values below this share of the largest are rounding of the Gram matrix.
NEGLIGIBLE_SINGULAR = 1e-7


@dataclass(frozen=True)
class PCA:
    """Principal components."""

    # Cells x components, in the input's float type; of the leading components, if so many were
    # asked for.
    scores: NDArray[Any]
    # Loadings, genes x components, float64, of the same components. The entry of largest magnitude
    # of each component is positive.
    rotation: NDArray[np.float64]
    center: NDArray[np.float64]  # What was subtracted from each gene.
    variance: NDArray[np.float64]  # Explained by each component that was found.
    total_variance: float  # Of all genes together.

    @property
    def variance_ratio(self) -> NDArray[np.float64]:
        """Share of the total that each component explains; 0 where there is no variance."""
        total = self.total_variance
        return self.variance / total if total > 0 else np.zeros(len(self.variance))


def pca(
    x: Matrix | RowSource,
    n_comps: int,
    *,
    mask: NDArray[np.bool_] | None = None,
    random_state: int = 0,
    n_jobs: int | None = None,
) -> PCA:
    """Find the principal components of a matrix; sparse input is centered implicitly.

    Exact with at most 1,000 cells (a full decomposition) or 4,000 genes (eigenvalues of their Gram
    matrix); beyond, by Lanczos' method to rounding, whose starting vector ``random_state`` draws. A
    source of rows is read several times. ``rotation`` and ``center`` have a row for each gene of
    ``mask``. Raises ``ValueError`` if fewer than ``n_comps`` exist.
    """
    rows = Rows(as_rows(x), None, None if mask is None else np.flatnonzero(mask))
    n_cells, n_genes = rows.shape
    most = min(n_cells, n_genes) - 1
    if not 1 <= n_comps <= most:
        raise ValueError(
            f"n_comps is {n_comps}; a matrix of {n_cells} cells x {n_genes} genes has 1 to "
            f"{most} components"
        )
    rotation, center, squares, total = _decompose(
        rows, np.ones(n_cells), n_comps, random_state, resolve_n_jobs(n_jobs)
    )
    rotation = _fix_signs(rotation)
    scores = project_cells(rows, rotation, center, n_jobs=n_jobs)
    return PCA(scores, rotation, center, squares / (n_cells - 1), total / (n_cells - 1))


def multibatch_pca(
    x: Matrix | RowSource,
    batch: NDArray[np.integer[Any]],
    n_comps: int | None = 50,
    *,
    weights: NDArray[np.float64] | None = None,
    mask: NDArray[np.bool_] | None = None,
    all_genes: bool = False,
    scale: NDArray[np.float64] | None = None,
    leading: Callable[[NDArray[np.float64]], int] | None = None,
    random_state: int = 0,
    n_jobs: int | None = None,
) -> PCA:
    r"""Find components to which every batch contributes by its weight, not by its size.

    Cells of batch -1 do not count. ``n_comps`` is capped at the number that exists; with ``None``
    the centered values are not rotated. Each cell is first divided by its ``scale``. Loadings are
    of the genes of ``mask``, or by projection of all with ``all_genes``. ``variance`` is over the
    number of batches, whatever the weights. ``leading`` is given the variances, and returns how
    many components have scores and loadings; default: all.

    The center is the weighted mean of the batch means; each centered cell is scaled by
    :math:`\sqrt{w_b / n_b}`, and the left singular vectors of the result are the loadings. As
    batchelor's ``multiBatchPCA``, but without components the subtracted center is reported, not
    zeros.
    """
    n_jobs = resolve_n_jobs(n_jobs)
    batch = np.asarray(batch)
    sizes = np.bincount(batch[batch >= 0])
    share = np.ones(len(sizes)) if weights is None else np.asarray(weights, np.float64)
    cells = np.where(batch >= 0, (share / sizes)[batch], 0.0)
    rows = Rows(as_rows(x), scale, None if mask is None else np.flatnonzero(mask))
    every = Rows(rows.x, scale) if all_genes else rows
    n_genes = rows.shape[1]
    if n_comps is None:
        center = weighted_mean(every, cells, n_jobs)
        mean = center[rows.genes] if all_genes and rows.genes is not None else center
        scores = _centered_rows(rows, mean, n_jobs)
        squares, total = _gene_squares(rows, cells, mean, n_jobs)
        rotation = np.eye(n_genes)
    else:
        n_comps = min(n_comps, *rows.shape)
        rotation, mean, squares, total = _decompose(rows, cells, n_comps, random_state, n_jobs)
        rotation = _fix_signs(rotation)
        center = mean
        kept = None if leading is None else leading(squares / len(sizes))
        scores = project_cells(rows, rotation, mean, leading=kept, n_jobs=n_jobs)
        rotation = np.ascontiguousarray(rotation[:, :kept])
    if all_genes and rows.genes is not None:
        center = weighted_mean(every, cells, n_jobs)
        center[rows.genes] = mean
        whole = np.zeros((every.shape[1], rotation.shape[1]))
        if n_comps is not None:
            some = squares[: scores.shape[1]]
            whole = _loadings_by_projection(every, center, cells, scores, some, n_jobs)
        whole[rows.genes] = rotation
        rotation = whole
    return PCA(scores, rotation, center, squares / len(sizes), total / len(sizes))


def batch_weights(
    weights: bool | Sequence[Any] | Mapping[str, float] | NDArray[Any] | None,  # noqa: FBT001
    names: Sequence[str],
    sizes: NDArray[np.integer[Any]],
) -> NDArray[np.float64]:
    """Compute the weight of each batch in a multi-batch PCA.

    ``None`` or ``True``: equal weights. ``False``: numbers of cells. Numbers in the order of the
    batches, or by name. Nested sequences of names: a tree, in which 1 is divided equally among the
    children at each level.
    """
    if weights is None or weights is True:
        return np.ones(len(names))
    if weights is False:
        return sizes.astype(np.float64)
    if isinstance(weights, Mapping):
        given = {str(name): float(weight) for name, weight in weights.items()}
    else:
        flat = list(weights)
        if all(isinstance(w, int | float | np.number) for w in flat) and len(flat) == len(names):
            given = {name: float(w) for name, w in zip(names, flat, strict=True)}
        else:
            given = {}
            _share_out(flat, 1.0, given)
    if set(given) != set(names) or not all(0 < w < np.inf for w in given.values()):
        raise ValueError(
            f"batch_weights give {given}; every batch needs one positive weight: {', '.join(names)}"
        )
    return np.array([given[name] for name in names])


def _share_out(children: Any, total: float, given: dict[str, float]) -> None:
    for child in children:
        if isinstance(child, str) or not isinstance(child, Sequence | np.ndarray):
            if str(child) in given:
                raise ValueError(
                    f"batch_weights name {str(child)!r} twice; name every batch exactly once"
                )
            given[str(child)] = total / len(children)
        else:
            _share_out(child, total / len(children), given)


def project_cells(
    x: Matrix | RowSource | Rows,
    rotation: NDArray[np.float64],
    center: NDArray[np.float64],
    *,
    leading: int | None = None,
    n_jobs: int | None = None,
) -> NDArray[Any]:
    """Center cells and project them on loadings; in the float type of ``x``.

    ``leading``: how many of the components are wanted; default: all.
    """
    rows = x if isinstance(x, Rows) else Rows(as_rows(x))

    sparse = has_few_values(rows)
    shift = (center @ rotation)[:leading]
    # Sparse products are made component by component. A dense product of fewer components would
    # be rounded otherwise.
    loadings = np.ascontiguousarray(rotation[:, :leading]) if sparse else rotation

    def scores(some: Rows, block: slice, _: None) -> NDArray[Any]:
        if sparse:
            projected: NDArray[Any] = some.stored(block) @ loadings - shift
        else:
            projected = ((some[block] - center) @ loadings)[:, :leading]
        return projected.astype(some.dtype)

    blocks = row_blocks(rows.shape[0], block_rows(rows.shape[1], ROW_BLOCK))
    of_block, each = rows.each(scores, blocks)
    made = each_block(of_block, each, n_jobs=resolve_n_jobs(n_jobs), pure=rows.shared)
    out = large_array((rows.shape[0], len(shift)), rows.dtype)
    for block, some in zip(blocks, made, strict=True):
        out[block] = some
        let_go(out)
    write_out(out)
    return out


def _centered_rows(rows: Rows, mean: NDArray[np.float64], n_jobs: int) -> NDArray[Any]:
    """Center cells; in the float type of the matrix."""
    out = np.empty(rows.shape, rows.dtype)

    def centre(block: slice) -> None:
        out[block] = rows[block] - mean

    map_blocks(
        centre, row_blocks(rows.shape[0], block_rows(rows.shape[1], ROW_BLOCK)), n_jobs=n_jobs
    )
    return out


def _gene_squares(
    rows: Rows, cells: NDArray[np.float64], mean: NDArray[np.float64], n_jobs: int
) -> tuple[NDArray[np.float64], float]:
    """Weighted sum of squares about the mean, by gene and in total."""
    blocks = row_blocks(rows.shape[0], block_rows(rows.shape[1], ROW_BLOCK))
    squares = sum_blocks(
        lambda block: cells[block] @ (rows[block] - mean) ** 2, blocks, n_jobs=n_jobs
    )
    return squares, float(squares.sum())


def _decompose(
    x: Any, cells: NDArray[np.float64], n_comps: int, random_state: int, n_jobs: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], float]:
    """Find the leading right singular vectors of ``sqrt(cells) * (x - mean)``.

    Returns them, the mean, the squared singular values and the sum of all of these.
    """
    rows = x if isinstance(x, Rows) else Rows(x)
    n_cells, n_genes = rows.shape
    mean = weighted_mean(rows, cells, n_jobs)
    root = np.sqrt(cells)[:, None]
    if n_cells <= SVD_CELLS:
        z = root * (rows[slice(0, n_cells)] - mean)
        with single_blas():
            _, values, vectors = np.linalg.svd(z, full_matrices=False)
        return vectors[:n_comps].T, mean, values[:n_comps] ** 2, float((values**2).sum())
    if n_genes <= GRAM_GENES:
        product = gram(rows, cells, mean, n_jobs)
        squares, vectors = _leading(product, n_comps)
        return vectors, mean, squares, float(np.trace(product))
    return _lanczos(rows, root, mean, n_comps, random_state, n_jobs)


def _lanczos(
    rows: Rows,
    root: NDArray[np.float64],
    mean: NDArray[np.float64],
    n_comps: int,
    random_state: int,
    n_jobs: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], float]:
    """As :func:`_decompose` for matrices large on both sides: products only, never centred.

    Each product goes once over the cells, of which there are some hundreds for 50 components.
    """
    from scipy.sparse.linalg import LinearOperator, eigsh

    weight = root[:, 0] if rows.scale is None else root[:, 0] / rows.scale
    n_genes = rows.shape[1]
    unscaled = replace(rows, scale=None)
    if rows.genes is not None and not isinstance(rows.x, RowSource):
        unscaled = Rows(rows.x[:, rows.genes])
    beside = np.column_stack([weight, root])
    blocks = row_blocks(rows.shape[0], block_rows(n_genes, ROW_BLOCK))

    def summed(function: Callable[[Any, Any, Any], Any]) -> NDArray[np.float64]:
        """Add up what a function makes of values, not scaled yet, weights and roots of cells."""

        def of_block(some: Rows, block: slice, own: NDArray[np.float64]) -> NDArray[np.float64]:
            values = rows_of(some.x, block, some.genes).astype(np.float64)
            result: NDArray[np.float64] = function(values, *np.ascontiguousarray(own.T))
            return result

        made, each = unscaled.each(of_block, blocks, beside)
        return sum_blocks(made, each, n_jobs=n_jobs, pure=rows.shared)

    def product(v: NDArray[np.float64]) -> NDArray[np.float64]:
        """Multiply with the Gram matrix, in one pass over the cells."""
        v = v.ravel()
        shift = float(mean @ v)

        def share(some: Any, weight: NDArray[np.float64], root: NDArray[np.float64]) -> Any:
            along = weight * (some @ v) - root * shift
            return np.append(some.T @ (weight * along), root @ along)

        sums = summed(share)
        return sums[:-1] - mean * sums[-1]

    def square(some: Any, weight: NDArray[np.float64], _: Any) -> Any:
        numbers = some.multiply(some) if hasattr(some, "multiply") else some * some
        return weight**2 @ numbers

    operator = LinearOperator((n_genes, n_genes), matvec=product, dtype=np.float64)
    start = np.random.default_rng(random_state).standard_normal(n_genes)
    with single_blas():
        squares, vectors = eigsh(operator, k=n_comps, v0=start)
    order = np.argsort(-squares, kind="stable")
    each = summed(square) - (root[:, 0] @ root[:, 0]) * mean**2
    return vectors[:, order], mean, np.maximum(squares[order], 0.0), float(each.sum())


def _leading(gram: NDArray[np.float64], n: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Find the ``n`` largest eigenvalues of a symmetric matrix, descending, and their vectors."""
    from scipy.linalg import eigh

    size = len(gram)
    with single_blas():
        values, vectors = eigh(gram, subset_by_index=(size - n, size - 1))
    return np.maximum(values[::-1], 0.0), vectors[:, ::-1]


def _fix_signs(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Make the entry of largest magnitude of each component positive."""
    largest = np.abs(rotation).argmax(0)
    signs = np.sign(rotation[largest, np.arange(rotation.shape[1])])
    return rotation * np.where(signs == 0, 1.0, signs)


def _loadings_by_projection(
    every: Rows,
    center: NDArray[np.float64],
    cells: NDArray[np.float64],
    scores: NDArray[Any],
    squares: NDArray[np.float64],
    n_jobs: int,
) -> NDArray[np.float64]:
    """Give all genes loadings on the components of some: ``Z V D^-1``."""

    def products(block: slice) -> NDArray[np.float64]:
        weighted = cells[block][:, None] * scores[block]
        return (every[block] - center).T @ weighted

    blocks = row_blocks(every.shape[0], block_rows(every.shape[1], ROW_BLOCK))
    total = sum_blocks(products, blocks, n_jobs=n_jobs)
    usable = squares > squares.max(initial=0) * NEGLIGIBLE_SINGULAR**2
    return np.where(usable, total / np.where(usable, squares, 1.0), 0.0)
