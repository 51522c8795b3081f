"""The classic method, in gene space, on AnnData."""

from __future__ import annotations

from collections.abc import Sequence
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
    from mnncorrect.core.methods.classic import mnn_classic as correct
    from mnncorrect.pp._adapter import Solution

    assert problem.genes is not None
    genes = problem.genes
    # Genes besides those of the mask are corrected where these are not all.
    every_gene = bool(genes.params["correct_all"])
    options = {**problem.own, **problem.merging}
    correction = correct(
        genes.matrix, problem.part.codes, mask=genes.mask, correct_all=every_gene, **options
    )
    return Solution(correction)


def _correct_halves(halves: Halves) -> tuple[NDArray[Any], NDArray[Any]]:
    """Correct expression of halves of a batch; principal components before and after."""
    import numpy as np

    from mnncorrect.core.matrix.pca import pca
    from mnncorrect.core.matrix.rows import MIN_NORM, row_norms
    from mnncorrect.core.methods.classic import mnn_classic as correct

    x = halves.x
    correction = correct(
        x,
        halves.codes,
        restrict=halves.restrict,
        compute=halves.compute,
        **halves.known_to(correct),
    )
    if halves.parameters.get("cosine_norm_out", True):
        x = x / np.maximum(row_norms(x), MIN_NORM)[:, None].astype(x.dtype)
    n_comps = min(halves.n_comps, min(x.shape) - 1)
    before, after = (
        pca(
            values, n_comps, random_state=halves.compute.random_state, n_jobs=halves.compute.n_jobs
        ).scores
        for values in (x, correction.corrected)
    )
    return before, after


# The time that it takes grows with the square of the number of cells.
@register(
    "classic",
    corrects="expression",
    solve=_solve,
    correct_halves=_correct_halves,
    described="mnnCorrect of batchelor, which corrects expression values",
    most_null_cells=2000,
)
@shared_parameters
def mnn_classic(
    adata: AnnData,
    key: str | Sequence[str],
    *,
    layer: str | None = None,
    use_raw: bool = False,
    mask_var: str | Sequence[bool] | NDArray[np.bool_] | Unset | None = UNSET,
    correct_all: bool = False,
    regress_out: str | Sequence[str] = (),
    n_neighbors: int = 20,
    prop_neighbors: float | None = None,
    sigma: float = 0.1,
    cosine_norm_in: bool = True,
    cosine_norm_out: bool = True,
    n_svd: int = 0,
    adjust_variance: bool = True,
    merge_order: str | Sequence[Any] | None = None,
    auto_merge: bool = False,
    restrict: str | Sequence[bool] | NDArray[np.bool_] | None = None,
    label_key: str | Sequence[Any] | NDArray[Any] | None = None,
    keep: str | Sequence[Any] | NDArray[Any] = (),
    smoothing: Literal["local", "global"] = "local",
    neighbors: Literal["auto", "exact", "partition", "pynndescent", "cuvs"] = "auto",
    recall: float = 0.995,
    key_added: str = "mnn",
    random_state: Seed = SEED,
    rng: Seed | Unset = UNSET,
    n_jobs: int | None = None,
    progress: Progress | None = None,
    copy: bool = False,
) -> AnnData | None:
    r"""Correct expression values by mutual nearest neighbors.

    Batches are merged two at a time [1]_. A reference cell and a target cell that are among each
    other's nearest neighbors are assumed to be of the same type, so the vector between them is an
    estimate of the batch effect. Each target cell moves by a mean of these vectors, weighted by the
    distance of their target cells. The reference does not move.

    The corrected values are for joint analysis: clustering, embedding, trajectories. Do **not** use
    them for differential expression, because the correction makes genes and cells dependent.

    Parameters
    ----------
    adata
        Log-normalized expression, in ``X``, ``layer`` or ``raw`` (``use_raw``).
    sigma
        Bandwidth of the Gaussian kernel, above 0. It divides the *squared* distance: with cosine
        normalization, squared distances are at most 2 between non-negative cells. Smaller makes
        corrections more local.
    cosine_norm_in
        Whether cells are scaled to unit length for pairs and distances.
    cosine_norm_out
        Whether cells are scaled to unit length in the values that are corrected.
    n_svd
        Number of leading directions of variation within each side that are removed from the
        corrections.
    adjust_variance
        Whether to scale corrections so that the target keeps its spread along them. This takes most
        of the time.
    smoothing
        ``"local"``: each cell by its own weights. ``"global"``: all cells of a batch by one mean
        vector.
    random_state
        Random seed of an approximate search.

    Returns
    -------
    ``None``, or the copy, with these fields; ``X``, ``raw`` and other layers are not changed.

    ``layers["mnn"]``
        Corrected values, dense, in the float type of the input (float32 for counts); cosine-
        normalized with ``cosine_norm_out``. Genes that were not corrected are zero.
    ``var["mnn_corrected"]``, ``var["mnn_genes"]``
        Genes that were corrected, and genes used for distances.
    ``obsp["mnn_pairs"]``
        Pairs, sparse cells x cells: row the corrected cell, column the reference cell, value 1.
    ``uns["mnn"]``
        ``merges``: a table with one row for each merge: ``left`` (reference) and ``right``
        (corrected) batches as JSON lists, number of ``pairs``, ``batch_size``, ``skipped``; after
        an approximate search, ``recall``, the share of true pairs found on a sample, and
        ``worst_recall``, the same in the worst tenth of it. ``lost_variance``: merges x
        ``batches``. (``batch_size`` and ``lost_variance`` are NaN: this method does not measure
        them.) ``params``, ``provenance``, and ``not_for_differential_expression``.

    Warns
    -----
    UserWarning
        If a batch has fewer cells than ``n_neighbors``; if values look like counts; if an
        approximate search finds few of the pairs.

    Raises
    ------
    {errors of batches}; if an approximate search finds no pairs.

    Notes
    -----
    With :math:`x_c` the target cells, :math:`J` those in a pair and :math:`a_j` the mean of
    the pair vectors of :math:`j \in J`, cell :math:`c` is moved by

    .. math::
        \frac{\sum_j w_{cj} a_j}{\sum_j w_{cj}}, \quad
        w_{cj} = \frac{e^{-\|x_c - x_j\|^2 / \sigma}}{\sum_{i \in J} e^{-\|x_i - x_j\|^2 / \sigma}}.

    Results are those of batchelor 1.14.1's ``mnnCorrect``, except where that fails or gives NaN: a
    zero correction is not scaled; with differing cosine flags and a gene mask, values are those of
    data cut to the mask beforehand; directions without variance are not removed; a merge order must
    name every batch.

    Time grows with target cells x all cells x genes. A dense copy of the used genes is in memory
    for input and result.

    References
    ----------
    .. [1] {Haghverdi}.

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
    >>> mnn_classic(adata, "batch", n_neighbors=5)
    >>> adata.layers["mnn"].shape
    (60, 10)
    >>> adata.uns["mnn"]["merges"][["left", "right", "skipped"]]
            left       right  skipped
    0  ["first"]  ["second"]    False
    """
    given = locals()
    from mnncorrect.pp._adapter import corrected

    return corrected("classic", given)
