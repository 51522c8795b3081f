"""Scores of a correction, before and after, and where nothing should happen, on AnnData."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mnncorrect._adata import Batches, Draft, Keys, check_object, origin_of, take_batches
from mnncorrect._adata.arguments import Seed, take_rep, take_seed
from mnncorrect._log import logger
from mnncorrect._prepare.before_and_after import (
    Compared,
    CorrectionValues,
    LabelGroups,
    take_compared,
    take_label_groups,
)
from mnncorrect._prepare.parameter_texts import shared_parameters
from mnncorrect.core.runtime.unset import SEED, UNSET, Unset
from mnncorrect.tl._null import LEAST_HALVED_CELLS, Null, Scores, take_null

if TYPE_CHECKING:
    from anndata import AnnData

    from mnncorrect.core.neighbors.sample import Sample
    from mnncorrect.core.runtime.threads import Progress


@shared_parameters
def evaluate(
    adata: AnnData,
    key: str | Sequence[str],
    *,
    label_key: str | None = None,
    use_rep: str | None = None,
    use: str | None = None,
    before: str | None = None,
    n_splits: int = 5,
    max_cells: int = 10_000,
    key_added: str = "mnn",
    random_state: Seed = SEED,
    rng: Seed | Unset = UNSET,
    n_jobs: int | None = None,
    progress: Progress | None = None,
    copy: bool = False,
) -> AnnData | None:
    r"""Score a correction: before, after, and on a null without a batch effect.

    Scores measure how well batches mix, how much of the biology is left, and how far cells moved.
    Each score is given before and after the correction, and for the null. The null is the largest
    batch, whose cells are assigned at random to two halves. The halves are corrected by the same
    method with the same parameters. Before the correction, the scores of the null show what
    perfect mixing looks like in these data. After it, they show what the correction does to cells
    that it should leave alone.

    Parameters
    ----------
    adata
        Object with an embedding in ``obsm``, from this package or another.
    key
        Column of ``obs`` that names the batches, or several: batches are the combinations.
    label_key
        Column of ``obs`` with groups that should stay apart, such as known cell types. Scores of
        labels ignore cells without a label: missing values, and words such as ``"unassigned"`` or
        ``"unknown"``. ``None``: scores that need labels are skipped.
    use_rep
        Corrected embedding in ``obsm``. ``None``: result of the correction ``key_added``; for
        corrected expression its principal components, ``X_mnn_pca``.
    before
        Uncorrected embedding in ``obsm``. ``None``: input of the correction; for corrected
        expression, principal components of its input, with the same scaling. If there is none,
        scores before the correction and scores of the change are missing.
    n_splits
        Number of random splits for the null; 0: no null. Only corrections of this package can be
        repeated. For other tools, the null has scores before the correction only.
    max_cells
        Number of cells above which neighbors and silhouettes are computed on a sample of about this
        size, drawn from every batch and label. Larger is more precise and slower.
    key_added
        Prefix of the keys of the correction, and of the new key.
    random_state
        Random seed of the sample, and first seed of the random splits.

    Returns
    -------
    ``None``, or the copy, with this field:

    ``uns["mnn_evaluation"]``
        ``scores``: a table with one row for each score, with columns ``before``, ``after`` and
        ``null``: the mean over random splits after their correction. NaN if a score is undefined or
        unknown. ``null``: a table with one row for each split: its ``seed``, each score after the
        correction under its name, and before it with the suffix ``_before``. ``lost_variance``: a
        table of the variance within each ``batch``, and within each ``label`` of a batch (rows with
        an empty label are of all cells of the batch): number of ``cells``, variance ``before``,
        ``after``, and the share that is ``lost``. ``params`` and ``provenance``.

        The scores. Mixing of batches, larger is better: ``ilisi``, ``cilisi``, ``bras``. Separation
        of labels, larger is better: ``purity``, ``silhouette``. Without labels,
        ``silhouette_clusters`` uses the clusters in ``obs["gmm"]``; these were found after the
        correction and so favor it. Changes: ``preserved`` neighbors within batches (ideal 1),
        distance that cells ``moved``, and ``lost_variance`` within batches (ideal 0).

    Warns
    -----
    UserWarning
        If there is no uncorrected embedding to compare with.

    Raises
    ------
    KeyError
        If a column or embedding does not exist.
    TypeError
        If values are not numbers.
    ValueError
        If the object is backed or empty; if a cell has no batch; if only one batch exists, or one
        has a single cell; if almost no two cells have the same label; if an embedding is not
        finite; if a parameter is out of range.

    Notes
    -----
    Scores of neighbors use the 30 nearest cells (``ilisi``: 89) by exact search.
    :mod:`mnncorrect.core.metrics.scores` has the formulas, after [1]_ [2]_ [3]_ [4]_. ``ilisi``,
    ``bras`` and ``silhouette`` are those of scib-metrics; ``cilisi`` weights neighbors equally and
    is scaled by the shares of the batches in a label.

    For random splits, ``preserved`` and ``lost_variance`` refer to the whole batch. Splits have at
    most 5,000 cells (2,000 for ``mnn_classic``), and their neighbors are searched exactly.
    ``moved`` is NaN if the axes before and after differ, as for corrected expression. ``moved`` and
    ``lost_variance`` are NaN if ``before`` is not the embedding that was corrected, or has another
    number of dimensions. An embedding of another tool is assumed to have the axes of ``before`` if
    it has the same number of dimensions.

    References
    ----------
    .. [1] Korsunsky et al. (2019), *Fast, sensitive and accurate integration of single-cell data
       with Harmony*, Nature Methods 16, 1289-1296, doi:10.1038/s41592-019-0619-0.
    .. [2] Luecken et al. (2022), *Benchmarking atlas-level data integration in single-cell
       genomics*, Nature Methods 19, 41-50, doi:10.1038/s41592-021-01336-8.
    .. [3] Andreatta et al. (2024), *Semi-supervised integration of single-cell transcriptomics
       data*, Nature Communications 15, 872, doi:10.1038/s41467-024-45240-z.
    .. [4] Rautenstrauch & Ohler (2025), *Shortcomings of silhouette in single-cell integration
       benchmarking*, Nature Biotechnology, doi:10.1038/s41587-025-02743-4.

    Examples
    --------
    >>> import anndata
    >>> import mnncorrect
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> cells = np.repeat(rng.normal(size=(2, 10)) * 4, 100, axis=0) + rng.normal(size=(200, 10))
    >>> cells[1::2] += 2.0  # every other cell is in a second batch
    >>> adata = anndata.AnnData(np.ones((200, 1)), obsm={"X_pca": cells})
    >>> adata.obs["batch"] = ["first", "second"] * 100
    >>> adata.obs["cell_type"] = ["B"] * 100 + ["T"] * 100
    >>> mnncorrect.pp.mnn_fast(adata, "batch", use_rep="X_pca")
    >>> evaluate(adata, "batch", label_key="cell_type", n_splits=2)
    >>> adata.uns["mnn_evaluation"]["scores"].loc[["cilisi", "purity", "preserved"]].round(2)
               before  after  null
    cilisi       0.03   0.92   0.9
    purity       1.00   1.00   1.0
    preserved     NaN   0.92   0.9
    """
    from mnncorrect.core.neighbors.sample import draw
    from mnncorrect.core.runtime.checks import check_count
    from mnncorrect.core.runtime.threads import resolve_n_jobs

    use_rep = take_rep(use_rep, use)
    random_state = take_seed(random_state, rng)
    check_count("n_splits", n_splits, 0)
    check_count("max_cells", max_cells, LEAST_HALVED_CELLS)
    threads = resolve_n_jobs(n_jobs)
    check_object(adata)
    batches = take_batches(adata, key)
    groups = take_label_groups(adata, label_key)
    strata = batches.codes
    if groups is not None:
        strata = batches.codes * (len(groups.names) + 1) + groups.codes + 1
    sample = draw(strata, max_cells, random_state=random_state)
    with contextlib.ExitStack() as stack:
        values = CorrectionValues(adata, Keys(key_added), stack, random_state, threads)
        compared = take_compared(adata, use_rep, before, values)
        _log_scored(compared, batches, groups, len(sample.rows))
        # Under the name that scores take them by.
        kind = "clusters" if label_key is None else "label"
        given = {} if groups is None else {kind: groups.codes}
        found = _score_both(compared, batches, sample, given, threads, progress)
        null = take_null(
            adata, compared, batches, given, values,
            n_splits=n_splits, max_cells=max_cells, progress=progress,
        )  # fmt: skip

    params = {
        "key": key if isinstance(key, str) else list(key),
        "label_key": label_key,
        "clusters": None if groups is None or label_key is not None else groups.column,
        **_without_label(groups, label_key),
        "use_rep": compared.after_name,
        "before": compared.before_name,
        "method": None if compared.params is None else str(compared.params["method"]),
        "n_cells": adata.n_obs,
        "n_sampled": len(sample.rows),
        "max_cells": max_cells,
        "n_splits": len(null.scores),
        "null_batch": null.batch,
        "null_cells": null.n_cells,
        "null_left_out": null.left_out,
    }
    entry = Keys(key_added).evaluation
    draft = Draft(adata, entry, origin=origin_of(adata, "obsm", compared.after_name))
    draft.record(
        params,
        random_state,
        scores=_score_table(*found, null),
        lost_variance=_lost_table(compared, batches, groups),
        **({"null": _null_table(null, random_state)} if null.scores else {}),
    )
    return draft.commit(copy=copy)


def _without_label(groups: LabelGroups | None, label_key: str | None) -> dict[str, Any]:
    """Return what is recorded of cells without a label, which scores by label leave out."""
    n_unlabeled = 0 if groups is None or label_key is None else int((groups.codes < 0).sum())
    if groups is None or not n_unlabeled:
        return {}
    return {"n_unlabeled": n_unlabeled, "no_labels": groups.no_labels or None}


def _score_both(
    compared: Compared,
    batches: Batches,
    sample: Sample,
    given: Mapping[str, NDArray[np.int64]],
    n_jobs: int,
    progress: Progress | None,
) -> tuple[Scores, Scores]:
    """Score the embedding before and after."""
    from mnncorrect.core.metrics import evaluation as metrics

    def scored(x: NDArray[Any], share: float) -> Scores:
        found = metrics.score_embedding(x, batches.codes, sample, **given, n_jobs=n_jobs)
        if progress is not None:
            progress("scores", share)
        return found

    before = {} if compared.before is None else scored(compared.before, 1 / 3)
    after = scored(compared.after, 2 / 3)
    if compared.before is not None:
        after |= metrics.compare_embeddings(
            compared.before,
            compared.after,
            batches.codes,
            sample,
            same_axes=compared.same_axes,
            same_scale=compared.same_scale,
            n_jobs=n_jobs,
        )
    if progress is not None:
        progress("scores", 1.0)
    return before, after


def _score_table(before: Scores, after: Scores, null: Null) -> pd.DataFrame:
    from mnncorrect.core.metrics.evaluation import SCORES

    names = [name for name in SCORES if name in after]
    nulls = {name: _mean([one.get(name, np.nan) for _, one in null.scores]) for name in names}
    return pd.DataFrame(
        {
            "before": [before.get(name, np.nan) for name in names],
            "after": [after[name] for name in names],
            "null": [nulls[name] for name in names],
        },
        index=pd.Index(names),
        dtype=np.float64,
    )


def _mean(values: list[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else np.nan


def _null_table(null: Null, first_seed: int) -> pd.DataFrame:
    rows = [
        {"seed": first_seed + number, **after}
        | {f"{name}_before": value for name, value in before.items()}
        for number, (before, after) in enumerate(null.scores)
    ]
    return pd.DataFrame(rows, index=[str(row) for row in range(len(rows))])


def _lost_table(compared: Compared, batches: Batches, groups: LabelGroups | None) -> pd.DataFrame:
    """Tabulate the variance within batches, and within labels of batches."""
    from mnncorrect.core.metrics.scores import variance_lost

    after = compared.after
    before = after if compared.before is None else compared.before
    parts = []
    for number, name in enumerate(batches.names):
        cells = np.flatnonzero(batches.codes == number)
        codes = [np.zeros(len(cells), np.int64)]
        labels = [""]
        if groups is not None:
            codes.append(groups.codes[cells])
            labels += [groups.names[code] for code in np.unique(codes[1][codes[1] >= 0])]
        found = [variance_lost(before[cells], after[cells], one) for one in codes]
        one, two, lost = (np.concatenate(column) for column in zip(*found, strict=True))
        sizes = [np.unique(one[one >= 0], return_counts=True)[1] for one in codes]
        parts.append(
            pd.DataFrame(
                {
                    "batch": name,
                    "label": labels,
                    "cells": np.concatenate(sizes),
                    "before": one,
                    "after": two,
                    "lost": lost,
                }
            )
        )
    table = pd.concat(parts, ignore_index=True)
    if compared.before is None:
        table[["before", "lost"]] = np.nan
    elif compared.before.shape != after.shape or not compared.same_scale:
        table["lost"] = np.nan
    table.index = table.index.astype(str)
    return table


def _log_scored(
    compared: Compared, batches: Batches, groups: LabelGroups | None, n_sampled: int
) -> None:
    n_cells = len(compared.after)
    logger.info(
        "scoring %s%s: %d cells in %d batches%s",
        f"obsm[{compared.after_name!r}]",
        "" if compared.before_name is None else f" against {compared.before_name}",
        n_cells, len(batches.names),
        "" if groups is None else f", {len(groups.names)} groups in obs[{groups.column!r}]",
    )  # fmt: skip
    if n_sampled < n_cells:
        logger.info("neighbors and silhouettes are computed on a sample of %d cells", n_sampled)
