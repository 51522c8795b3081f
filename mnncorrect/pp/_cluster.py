"""Correction by the centroids of given clusters, on AnnData."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mnncorrect._prepare.method_registry import register
from mnncorrect._prepare.parameter_texts import shared_parameters
from mnncorrect.core.runtime.unset import SEED, UNSET, Unset

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

    from mnncorrect._adata.arguments import Seed
    from mnncorrect.core.merging.loop import Correction, Merge
    from mnncorrect.core.methods.cluster import Clusters
    from mnncorrect.core.metrics.null import Halves
    from mnncorrect.core.runtime.threads import Progress
    from mnncorrect.pp._adapter import Problem, Solution


def _solve(problem: Problem) -> Solution:
    from mnncorrect.core.methods.cluster import mnn_cluster as correct
    from mnncorrect.pp._adapter import Solution

    assert problem.genes is not None
    assert problem.labels is not None
    genes, (codes, labels), part = problem.genes, problem.labels, problem.part
    correction, components, found = correct(
        genes.matrix,
        part.codes,
        codes,
        mask=genes.mask,
        correct_all=bool(genes.params["correct_all"]),
        cosine_norm=problem.norms is not None,
        norms=problem.norms,
        **problem.own,
        **problem.merging,
    )
    found = replace(found, batch=part.kept[found.batch])
    restrict, batches = problem.task.restrict, problem.task.batches
    kept = part.cells if restrict is None else restrict & part.cells

    def tables(correction: Correction) -> dict[str, Any]:
        of_clusters = _cluster_table(found, batches.names, labels, batches.codes[kept], codes[kept])
        return {"clusters": of_clusters, "cluster_pairs": _pair_table(correction.merges)}

    return Solution(correction, components=components, tables=tables, pairs_of_cells=False)


def _correct_halves(halves: Halves) -> tuple[NDArray[Any], NDArray[Any]]:
    """Correct halves of a batch, from the embedding before, which holds all that was matched.

    The embedding before and after spans the centroids of the halves' clusters.
    """
    from mnncorrect.core.methods.cluster import mnn_cluster as correct

    assert halves.clusters is not None
    correction, components, _ = correct(
        halves.x,
        halves.codes,
        halves.clusters,
        cosine_norm=False,
        # What is not recorded was None: the size of batches is not measured.
        min_batch_size=halves.parameters.get("min_batch_size"),
        restrict=halves.restrict,
        compute=halves.compute,
    )
    return components.scores, correction.corrected


@register(
    "cluster",
    corrects="components",
    solve=_solve,
    correct_halves=_correct_halves,
    described="clusterMNN of batchelor, which pairs clusters",
)
@shared_parameters
def mnn_cluster(
    adata: AnnData,
    key: str | Sequence[str],
    *,
    clusters: str,
    layer: str | None = None,
    use_raw: bool = False,
    mask_var: str | Sequence[bool] | NDArray[np.bool_] | Unset | None = UNSET,
    correct_all: bool = False,
    regress_out: str | Sequence[str] = (),
    cosine_norm: bool = True,
    min_batch_size: float | None = 0.0,
    merge_order: str | Sequence[Any] | None = None,
    auto_merge: bool = False,
    restrict: str | Sequence[bool] | NDArray[np.bool_] | None = None,
    key_added: str = "mnn",
    adjusted_basis: str | None = None,
    random_state: Seed = SEED,
    rng: Seed | Unset = UNSET,
    n_jobs: int | None = None,
    progress: Progress | None = None,
    copy: bool = False,
) -> AnnData | None:
    r"""Correct batches by the mutual nearest centroids of their clusters.

    Clusters of each batch are the input. Their centroids are matched between batches, with one
    neighbor in each direction, and corrected as :func:`mnn_fast` corrects cells [1]_. Each cell
    then moves with the centroids of its batch, weighted by distance. Clusters of different batches
    that are connected by pairs form a meta-cluster. Suitable for a few well separated clusters: all
    cells of a cluster move nearly alike.

    Parameters
    ----------
    adata
        Log-normalized expression, in ``X``, ``layer`` or ``raw`` (``use_raw``).
    clusters
        Column of ``obs`` with the cluster of each cell within its batch. Labels are not compared
        between batches.
    restrict
        Cells for the centroids: a boolean column of ``obs``, or a mask; ``None``: all. All cells
        are corrected.
    random_state
        Seed of the truncated solver for components, which is used for large data.

    Returns
    -------
    ``None``, or the copy, with these fields; ``X``, ``raw`` and layers are not changed.

    ``obsm["X_mnn"]``
        Corrected components: one fewer than there are clusters in all batches; in the float type
        of the input.
    ``obsm["X_mnn_uncorrected"]``
        The components before the correction.
    ``varm["mnn_loadings"]``, ``var["mnn_center"]``
        Loadings of the components, genes x components, and the center that was subtracted from each
        gene; zero for genes without loadings.
    ``var["mnn_genes"]``
        Genes used for distances.
    ``obs["mnn_norm"]``
        Length that each cell was divided by, with ``cosine_norm``.
    ``uns["mnn"]["clusters"]``
        A table with one row for each cluster: ``batch``, ``cluster``, ``n_cells`` in its centroid,
        and ``meta``, the number of its meta-cluster.
    ``uns["mnn"]["cluster_pairs"]``
        A table with one row for each pair of clusters: number of the ``merge`` from 0, and rows of
        ``left`` (reference) and ``right`` (corrected) in the table of clusters. There are no pairs
        of cells, so there is no ``obsp["mnn_pairs"]``.
    ``uns["mnn"]["components"]``
        ``variance`` of each component before the correction, and ``variance_ratio`` to the total;
        of centroids.
    ``uns["mnn"]``
        ``merges``: a table with one row for each merge: ``left`` (reference) and ``right``
        (corrected) batches as JSON lists, number of ``pairs``, ``batch_size``, ``skipped``.
        ``lost_variance``: share of the variance between each batch's centroids that a merge
        removed, merges x ``batches``. ``params``, ``provenance``.

    Warns
    -----
    UserWarning
        If values look like counts.

    Raises
    ------
    {errors of batches}; if a cell has no cluster.

    See Also
    --------
    mnn_expression : Corrected expression from the result.

    Notes
    -----
    With :math:`m_j` the centroids of a batch, :math:`\delta_j` their displacements, and :math:`s`
    the median distance of its cells to their nearest centroid, a cell at :math:`y` moves by

    .. math::
        \frac{\sum_j w_j \delta_j}{\sum_j w_j}, \quad w_j = e^{-\|y - m_j\|^2 / s^2}.

    Results are those of batchelor 1.14.1's ``clusterMNN``, up to the signs of components, except
    that ``min_batch_size`` takes effect here, and that cells follow their nearest centroid where
    :math:`s` is 0. A centroid that was matched lands on its partner, so which of the two is in a
    later pair is arbitrary; meta-clusters do not depend on it.

    References
    ----------
    .. [1] Lun & Marioni, ``clusterMNN`` in the Bioconductor package batchelor,
       doi:10.18129/B9.bioc.batchelor.

    Examples
    --------
    >>> import anndata
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> expression = np.tile(np.repeat(rng.gamma(2.0, size=(2, 10)), 2, axis=0), (15, 1))
    >>> expression += rng.gamma(1.0, 0.1, size=expression.shape)
    >>> expression[1::2] += rng.gamma(2.0, 0.2, size=10)  # every other cell is in a second batch
    >>> adata = anndata.AnnData(expression)
    >>> adata.obs["batch"] = ["first", "second"] * 30
    >>> adata.obs["cluster"] = ["x", "x", "y", "y"] * 15
    >>> mnn_cluster(adata, "batch", clusters="cluster")
    >>> adata.obsm["X_mnn"].shape
    (60, 3)
    >>> adata.uns["mnn"]["clusters"]
        batch cluster  n_cells  meta
    0   first       x       15     0
    1   first       y       15     1
    2  second       x       15     0
    3  second       y       15     1
    """
    given = locals()
    from mnncorrect.pp._adapter import corrected

    return corrected("cluster", given)


def _cluster_table(
    found: Clusters,
    names: Sequence[str],
    labels: Sequence[Any],
    batch: NDArray[np.int64],
    cluster: NDArray[np.int64],
) -> pd.DataFrame:
    """Make the table of clusters; ``batch`` and ``cluster`` of the cells that count."""
    import numpy as np

    from mnncorrect._adata.results import recorded_table

    sizes = np.zeros((len(names), len(labels)), np.int64)
    np.add.at(sizes, (batch, cluster), 1)
    return recorded_table(
        {
            "batch": [names[b] for b in found.batch],
            "cluster": [str(labels[number]) for number in found.label],
            "n_cells": sizes[found.batch, found.label],
            "meta": found.meta,
        }
    )


def _pair_table(merges: Sequence[Merge]) -> pd.DataFrame:
    import numpy as np

    from mnncorrect._adata.results import recorded_table

    numbers = [len(merge.pairs) for merge in merges]
    return recorded_table(
        {
            "merge": np.repeat(np.arange(len(merges)), numbers),
            "left": np.concatenate([merge.pairs.left for merge in merges]),
            "right": np.concatenate([merge.pairs.right for merge in merges]),
        }
    )
