"""The fast method, from genes or from an embedding, on AnnData."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from mnncorrect._prepare.method_registry import register
from mnncorrect._prepare.parameter_texts import shared_parameters
from mnncorrect.core.runtime.unset import SEED, UNSET, Unset

if TYPE_CHECKING:
    import numpy as np
    from anndata import AnnData
    from numpy.typing import NDArray

    from mnncorrect._adata.arguments import Seed
    from mnncorrect.core.metrics.null import Halves
    from mnncorrect.core.runtime.threads import Progress
    from mnncorrect.pp._adapter import Problem, Solution


def _solve(problem: Problem) -> Solution:
    from mnncorrect.core.methods.fast import mnn_reduced
    from mnncorrect.pp._adapter import Solution

    options = {**problem.own, **problem.merging}
    return Solution(mnn_reduced(problem.values, problem.part.codes, **options))


def _correct_halves(halves: Halves) -> tuple[NDArray[Any], NDArray[Any]]:
    """Correct halves of a batch from the embedding that was corrected."""
    from mnncorrect.core.methods.fast import mnn_reduced

    options = halves.known_to(mnn_reduced)
    # What is not recorded was None: the size of batches is not measured.
    options["min_batch_size"] = halves.parameters.get("min_batch_size")
    correction = mnn_reduced(
        halves.x, halves.codes, restrict=halves.restrict, compute=halves.compute, **options
    )
    return halves.x, correction.corrected


@register(
    "fast",
    corrects="components",
    solve=_solve,
    correct_halves=_correct_halves,
    described="fastMNN of batchelor, which corrects principal components",
)
@shared_parameters
def mnn_fast(
    adata: AnnData,
    key: str | Sequence[str],
    *,
    layer: str | None = None,
    use_raw: bool = False,
    use_rep: str | None = None,
    use: str | None = None,
    mask_var: str | Sequence[bool] | NDArray[np.bool_] | Unset | None = UNSET,
    correct_all: bool = False,
    regress_out: str | Sequence[str] = (),
    cosine_norm: bool = True,
    n_comps: int | Literal["auto"] | None = 50,
    batch_weights: str | bool | Mapping[str, float] | Sequence[Any] | None = None,
    n_neighbors: int = 20,
    prop_neighbors: float | None = None,
    ndist: float = 3.0,
    min_batch_size: float | None = 0.0,
    merge_order: str | Sequence[Any] | None = None,
    auto_merge: bool = False,
    restrict: str | Sequence[bool] | NDArray[np.bool_] | None = None,
    label_key: str | Sequence[Any] | NDArray[Any] | None = None,
    keep: str | Sequence[Any] | NDArray[Any] = (),
    neighbors: Literal["auto", "exact", "partition", "pynndescent", "cuvs"] = "auto",
    recall: float = 0.995,
    sketch: int | str = "auto",
    key_added: str = "mnn",
    adjusted_basis: str | None = None,
    random_state: Seed = SEED,
    rng: Seed | Unset = UNSET,
    n_jobs: int | None = None,
    progress: Progress | None = None,
    copy: bool = False,
) -> AnnData | None:
    r"""Correct principal components by mutual nearest neighbors.

    Cells are scaled to unit length and projected on components to which each batch contributes
    equally. Batches are merged two at a time [1]_ [2]_. A reference cell and a target cell that are
    among each other's nearest neighbors are assumed to be of the same type, so the vector between
    them is an estimate of the batch effect. Variation along the mean of these vectors is removed
    from both sides. Each target cell then moves by a weighted mean of the vectors of the nearest
    paired cells.

    This method is fast. :func:`mnn_expression` computes corrected expression from its result.

    Parameters
    ----------
    adata
        Log-normalized expression, in ``X``, ``layer`` or ``raw`` (``use_raw``); or an embedding.
    random_state
        Seed of an approximate search, of a sketch, and of the truncated solver for components,
        which is used for large data.

    Returns
    -------
    ``None``, or the copy, with these fields; ``X``, ``raw`` and layers are not changed.

    ``obsm["X_mnn"]``
        Corrected components, cells x components, in the float type of the input.
    ``obsm["X_mnn_uncorrected"]``
        Components before the correction. From genes only.
    ``obsp["mnn_pairs"]``
        Pairs, sparse cells x cells: row the corrected cell, column the reference cell, value 1.
    ``varm["mnn_loadings"]``, ``var["mnn_center"]``
        Loadings of the components, genes x components, and the center that was subtracted from each
        gene; zero for genes without loadings. From genes only, as the next three.
    ``var["mnn_genes"]``
        Genes used for distances.
    ``obs["mnn_norm"]``
        Length that each cell was divided by, with ``cosine_norm``.
    ``uns["mnn"]["components"]``
        ``variance`` of each component before the correction, and ``variance_ratio`` to the total.
    ``uns["mnn"]``
        ``merges``: a table with one row for each merge: ``left`` (reference) and ``right``
        (corrected) batches as JSON lists, number of ``pairs``, ``batch_size``, ``skipped``; after
        an approximate search, ``recall``, the share of true pairs found on a sample, and
        ``worst_recall``, the same in the worst tenth of it. ``lost_variance``: share of each
        batch's variance that a merge removed, merges x ``batches``. ``params``, ``provenance``.

    Warns
    -----
    UserWarning
        If a batch has fewer cells than ``n_neighbors``; if fewer components exist than requested;
        if values look like counts; if an approximate search finds few of the pairs.

    Raises
    ------
    {errors of batches}; if an approximate search finds no pairs.

    See Also
    --------
    mnn_expression : Corrected expression from the result.
    mnn_integrate : The same from ``obsm["X_pca"]``, in scanpy's form of call.

    Notes
    -----
    With :math:`a_j` the mean of the pair vectors of target cell :math:`j`, the relative batch size
    of a merge is :math:`\|\bar a\| / \sqrt{\overline{\|a_j\|^2}}`: 1 if all vectors agree, near 0
    if they point in all directions. With distances :math:`d_1 \le \dots \le d_k` of a cell to its
    nearest paired cells, their vectors have the weights :math:`(1 - \min(1, d_i / h)^3)^3`, where
    :math:`h` is ``ndist`` times the median distance.

    All batches move, the reference too: variation along batch vectors is removed from both sides.
    ``lost_variance`` is the share of the variance of a batch that this removed. Shares above 0.1
    may mean that biology was removed.

    Results are those of batchelor 1.14.1's ``fastMNN`` and, with ``use_rep``, ``reducedMNN``, up to
    the signs of components, except where these fail: if all paired cells coincide, nothing moves; a
    merge order must name every batch; without components, the subtracted center is reported.

    References
    ----------
    .. [1] {Haghverdi}.
    .. [2] Lun & Marioni, ``fastMNN`` in the Bioconductor package batchelor,
       doi:10.18129/B9.bioc.batchelor.

    Examples
    --------
    >>> import anndata
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> expression = np.repeat(rng.gamma(2.0, size=(2, 10)), 30, axis=0)
    >>> expression += rng.gamma(1.0, 0.1, size=expression.shape)
    >>> expression[1::2] += rng.gamma(2.0, 0.5, size=10)  # every other cell is in a second batch
    >>> adata = anndata.AnnData(expression)
    >>> adata.obs["batch"] = ["first", "second"] * 30
    >>> mnn_fast(adata, "batch", n_neighbors=5, n_comps=4)
    >>> adata.obsm["X_mnn"].shape, adata.varm["mnn_loadings"].shape
    ((60, 4), (10, 4))
    >>> adata.uns["mnn"]["merges"][["left", "right", "skipped"]]
            left       right  skipped
    0  ["first"]  ["second"]    False
    """
    given = locals()
    from mnncorrect.pp._adapter import corrected

    return corrected("fast", given)
