"""The calibrated method, from genes or from an embedding, on AnnData."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from mnncorrect._log import logger
from mnncorrect._prepare.method_registry import register
from mnncorrect._prepare.parameter_texts import shared_parameters
from mnncorrect.core.runtime.unset import SEED, UNSET, Unset

if TYPE_CHECKING:
    import numpy as np
    from anndata import AnnData
    from numpy.typing import NDArray

    from mnncorrect._adata import Batches
    from mnncorrect._adata.arguments import Seed
    from mnncorrect.core.merging.loop import Correction, Merge
    from mnncorrect.core.metrics.null import Halves
    from mnncorrect.core.runtime.threads import Progress
    from mnncorrect.pp._adapter import Problem, Solution


def _solve(problem: Problem) -> Solution:
    from mnncorrect.core.calibrated.expression import correct_expression
    from mnncorrect.core.calibrated.method import calibrate
    from mnncorrect.pp._adapter import Solution

    part, batches, reference = problem.part, problem.task.batches, problem.own["reference"]
    found = calibrate(
        problem.values,
        part.codes,
        names=part.names(batches.names),
        cells=problem.adata.obs_names,
        reference=None if reference is None else part.number(batches.names.index(str(reference))),
        keep_weights=problem.keep_weights,
        **problem.merging,
    )
    return Solution(
        found.correction,
        confidence=found.confidence,
        log=partial(_log_confidence, confidence=found.confidence, batches=batches),
        correct_expression=None
        if found.weights is None
        else partial(correct_expression, found.weights),
    )


def _correct_halves(halves: Halves) -> tuple[NDArray[Any], NDArray[Any]]:
    """Correct halves of a batch from the embedding that was corrected."""
    from mnncorrect.core.calibrated.method import calibrate

    found = calibrate(
        halves.x,
        halves.codes,
        reference=0 if "reference" in halves.parameters else None,
        compute=halves.compute,
    )
    return halves.x, found.correction.corrected


@register(
    "calibrated",
    corrects="components",
    solve=_solve,
    correct_halves=_correct_halves,
    described="displacements are shrunk by their noise, and a merge is skipped if the batch effect "
    "is not distinguishable from random splits of the cells",
    has_confidence=True,
    orders_merges=True,
    out_of_core=True,
)
@shared_parameters
def mnn_calibrated(
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
    n_comps: int | Literal["auto"] | None = "auto",
    batch_weights: str | bool | Mapping[str, float] | Sequence[Any] | None = None,
    write_expression: bool = False,
    merge_order: str | Sequence[Any] | None = None,
    reference: str | None = None,
    label_key: str | Sequence[Any] | NDArray[Any] | None = None,
    keep: str | Sequence[Any] | NDArray[Any] = (),
    neighbors: Literal["auto", "exact", "partition", "pynndescent", "cuvs"] = "auto",
    recall: float = 0.995,
    key_added: str = "mnn",
    adjusted_basis: str | None = None,
    random_state: Seed = SEED,
    rng: Seed | Unset = UNSET,
    n_jobs: int | None = None,
    progress: Progress | None = None,
    copy: bool = False,
) -> AnnData | None:
    r"""Correct principal components where the batch effect is distinguishable from noise.

    Batches are merged two at a time, as in [1]_. A merge is skipped if no batch effect is
    distinguishable from noise, or if no population is recognized in both batches. Otherwise each
    cell moves by the displacement of its paired neighbors, shrunk by its noise. Cells of a
    population without a counterpart move with the cells around them. They are not matched to
    another population. Each cell gets a confidence. The result depends neither on the order of
    cells nor on the order of batches.

    Parameters
    ----------
    adata
        Log-normalized expression in ``X``, ``layer`` or ``raw`` (``use_raw``); or an embedding
        (``use_rep``).
    key
        Column of ``obs`` with the batches: integer, boolean, string or categorical. For several
        columns, each combination that occurs is a batch.
    write_expression
        Whether to correct expression too, with the weights that correct its components. Applies to
        the genes of ``mask_var``, or to all genes with ``correct_all``; not to an embedding. The
        new layer is dense, cells x genes.
    merge_order
        ``None``: for up to 10 batches, start with the reference or the largest batch, then always
        add the most similar batch; for more batches, as ``"balanced"``. ``"balanced"``: similar
        batches first, in rounds that halve their number. Or batch names in the order of merging,
        the reference first; or nested lists for a tree; or the same as text, ``"A,B,C"`` or
        ``"((A,B),(C,D))"``. The order is recorded.
    random_state
        Random seed of the random splits, of the approximate search, and of the truncated solver
        for components of large data.

    Returns
    -------
    ``None``, or the copy, with these fields. ``X``, ``raw`` and other layers are not changed.

    ``obsm["X_mnn"]``
        Corrected components, cells x components, in the float type of the input.
    ``obs["mnn_confidence"]``
        Probability that a cell has a counterpart in another batch, 0 to 1, estimated from the
        positions of the batches after the correction. Measured on seven data sets, with each type
        taken out of all batches but one in turn: of cells below 0.1, 6 % had a counterpart; from
        0.1 to 0.5, 49 %; from 0.5 to 0.8, 84 %; from 0.8 to 0.9, 94 %; above, 98 %. Values from
        0.1 to 0.5 are rare (3 % of cells) and mean doubt. Cells of skipped merges have a confidence
        as well.
    ``obsp["mnn_pairs"]``
        Pairs, sparse cells x cells: row the corrected cell, column the reference cell, value 1.
    ``uns["mnn"]``
        ``merges``: a table with one row for each merge. Columns: ``left`` (reference) and ``right``
        (corrected) batches as JSON lists; number of ``pairs``; ``skipped``; ``evidence``, the ratio
        of signal to noise divided by the largest ratio among random splits (with fewer than 150
        cells on a side, the size of the common displacement relative to random splits); and
        ``shared``, the share of pairs whose two ends are likely to have a counterpart. A merge is
        skipped if the evidence is below 2, or if hardly any pair is likely. Also ``params`` and
        ``provenance``.
    ``obsm["X_mnn_uncorrected"]``, ``varm["mnn_loadings"]``
        From genes only, as in :func:`mnn_fast`, with ``var["mnn_center"]``, ``var["mnn_genes"]``,
        ``obs["mnn_norm"]`` and ``uns["mnn"]["components"]``.
    ``layers["mnn"]``, ``var["mnn_corrected"]``
        With ``write_expression``. The layer is the input expression plus smoothed differences
        between cells, on the same log scale; values may be below 0. ``var["mnn_corrected"]`` marks
        its genes; the other genes are zero. Cells that did not move keep their exact values. Do
        **not** use the layer for differential expression, because the correction makes genes and
        cells dependent. ``uns["mnn"]["not_for_differential_expression"]`` records this.

    Warns
    -----
    UserWarning
        If fewer components than requested exist; if values look like counts; if an approximate
        search finds few of the pairs.

    Raises
    ------
    {errors of batches}; if ``reference`` is not a batch.

    See Also
    --------
    mnn_expression : Expression from the corrected components: low rank, smooth over cells.
    mnn_fast : The method of batchelor's ``fastMNN``.

    Notes
    -----
    The displacement of a cell is a Gaussian-weighted mean over the 100 nearest paired cells. Each
    of these contributes the difference between means of 10 neighbors at both ends of its pairs. The
    variance of the displacement follows from the weights. Batches of fewer than 150 cells beside
    larger ones have simpler displacements.
    :mod:`mnncorrect.core.calibrated.merge` explains each step and lists what is not proven. An
    effect on one population only, stronger than on all others, is treated as a wrong match.

    The correction is a linear map of cells, :math:`y_c = x_c + \sum_i w_{ci} x_i` with
    :math:`\sum_i w_{ci} = 0`. Only the weights of each step are stored. Corrected expression is the
    same map of expression: each cell is divided by its length first and multiplied by it
    afterwards. So the components of corrected expression are the corrected components.

    References
    ----------
    .. [1] {Haghverdi}.

    Examples
    --------
    >>> import anndata
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> cells = np.repeat(rng.normal(size=(2, 10)) * 4, 60, axis=0) + rng.normal(size=(120, 10))
    >>> cells[1::2] += 1.0   # every other cell is in a second batch
    >>> adata = anndata.AnnData(np.ones((120, 1)), obsm={"X_pca": cells})
    >>> adata.obs["batch"] = ["first", "second"] * 60
    >>> mnn_calibrated(adata, "batch", use_rep="X_pca", reference="first")
    >>> adata.uns["mnn"]["merges"][["left", "right", "skipped"]]
            left       right  skipped
    0  ["first"]  ["second"]    False
    >>> bool((adata.obsm["X_mnn"][::2] == cells[::2]).all())
    True
    """
    given = locals()
    from mnncorrect.pp._adapter import corrected

    return corrected("calibrated", given)


def _log_confidence(
    correction: Correction, confidence: NDArray[np.float64], batches: Batches
) -> None:
    """Log the skipped batches with the reason, and the number of cells without a counterpart."""
    import numpy as np

    from mnncorrect.core.calibrated.confidence import UNSURE
    from mnncorrect.core.calibrated.evidence import ENOUGH_EVIDENCE
    from mnncorrect.core.calibrated.fit import merged_batches

    alone = [merge for merge in correction.merges if merge.skipped and len(merge.pairs)]
    alike = [merge for merge in alone if merge.evidence < ENOUGH_EVIDENCE]
    apart = [merge for merge in alone if merge.evidence >= ENOUGH_EVIDENCE]
    if alike:
        logger.info(
            "not corrected, because no batch effect is distinguishable from noise (evidence): %s",
            _with_evidence(alike, batches),
        )
    if apart:
        logger.warning(
            "not corrected, because no cell type was recognized both in them and in the others"
            " (evidence): %s; a batch effect would look like a difference between cell types there",
            _with_evidence(apart, batches),
        )
    live = merged_batches(correction.merges)
    if live:
        among = np.isin(batches.codes, sorted(live))
        low, n = int((confidence[among] < UNSURE).sum()), int(among.sum())
        of_whom = "cells" if among.all() else "cells of the other batches"
        if low:
            logger.info(
                "%d of %d %s have no counterpart in other batches (confidence below %g) and moved"
                " with the cells around them",
                low, n, of_whom, UNSURE,
            )  # fmt: skip
        else:
            logger.info(
                "all %d %s may have a counterpart in other batches (confidence of %g or more)",
                n, of_whom, UNSURE,
            )  # fmt: skip


def _with_evidence(merges: Sequence[Merge], batches: Batches) -> str:
    """List the right sides of merges, with their evidence."""
    from mnncorrect._adata.lookup import MOST_TOLD, leading, side

    told = [
        f"{side([batches.names[b] for b in merge.right])} ({merge.evidence:.3g})"
        for merge in merges
    ]
    return leading(told, MOST_TOLD)
