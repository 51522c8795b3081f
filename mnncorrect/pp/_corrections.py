"""What the corrections share on AnnData: what they are to do, the log of it, and its record."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnncorrect._adata.batches import Batches, take_batches
from mnncorrect._adata.features import genes_among
from mnncorrect._adata.lookup import MOST_LISTED, MOST_TOLD, in_short, leading, side, told_sizes
from mnncorrect._adata.matrix import describe_source, take_cell_mask, take_gene_mask, take_matrix
from mnncorrect._adata.objects import check_object
from mnncorrect._adata.results import Keys
from mnncorrect._log import logger
from mnncorrect._prepare.decide import recorded
from mnncorrect._prepare.steps import warn_of_few_genes
from mnncorrect.core.matrix.rows import MIN_NORM, row_norms
from mnncorrect.core.merging.plans import nested_names, parse_merge_order, plan_text
from mnncorrect.core.runtime.unset import UNSET
from mnncorrect.pp._checks import judge_and_warn

if TYPE_CHECKING:
    from anndata import AnnData

    from mnncorrect.core.matrix.value_kinds import Judged
    from mnncorrect.core.merging.loop import Correction
    from mnncorrect.core.merging.plans import Order


@dataclass(frozen=True)
class Task:
    """What is to be merged, in which order, by which cells."""

    batches: Batches  # Of all cells.
    order: Order  # Which merges to make.
    restrict: NDArray[np.bool_] | None  # Cells that pairs may be taken from; ``None``: all.
    params: dict[str, Any]  # What of it is recorded.


@dataclass(frozen=True)
class ExpressionInput:
    """The values of a correction from genes."""

    matrix: Any  # Cells x all genes, or rows of them.
    # Genes that distances are measured on, and genes that are corrected.
    used: NDArray[np.bool_]
    corrected: NDArray[np.bool_]
    params: dict[str, Any]  # What of it is recorded.
    judged: Judged | None = None  # What the values are; ``None``: they do not tell.

    @property
    def prepared(self) -> dict[str, Any]:
        """What is recorded of values that were prepared elsewhere, for ``uns``."""
        if self.judged is None:
            return {}
        return {"prepared": {"counts": False, **recorded(self.judged)}}

    @property
    def mask(self) -> NDArray[np.bool_] | None:
        """The genes used, where they are not all."""
        return None if self.used.all() else self.used

    @cached_property
    def lengths(self) -> NDArray[np.float64]:
        """Euclidean length of each cell over the genes used."""
        return row_norms(self.matrix, self.mask)

    @property
    def filled(self) -> NDArray[np.bool_]:
        """Which cells have values other than zero in the genes used."""
        return self.lengths > 0

    def norms(self) -> NDArray[np.float64]:
        """Length that each cell is divided by where cells are scaled to unit length."""
        return np.maximum(self.lengths, MIN_NORM)


def take_task(
    adata: AnnData,
    key: str | Sequence[str],
    *,
    merge_order: str | Sequence[Any] | None,
    chooses: bool = False,
    auto_merge: bool | None = None,
    restrict: Any = UNSET,
    reference: str | None = None,
    batches: Batches | None = None,
) -> Task:
    """Read from an object what is to be merged.

    ``chooses``: the method finds an order itself, whatever columns ``key`` names. ``batches``:
    where they are known already. ``None`` and unset: the method has no such parameter.
    """
    check_object(adata)
    if auto_merge and merge_order is not None:
        raise ValueError("auto_merge=True and a merge_order exclude one another; give one of them")
    batches = take_batches(adata, key) if batches is None else batches
    if reference is not None and str(reference) not in batches.names:
        raise ValueError(
            f"reference is {reference!r}; choose one of the batches {', '.join(batches.names)}"
        )
    plan = None if chooses else batches.plan
    if plan is not None and (auto_merge or merge_order is not None):
        given = "auto_merge" if auto_merge else "merge_order"
        raise ValueError(
            f"`key` names several columns, which decide the order of merges, as `{given}` does; "
            "name one column, or leave it out"
        )
    order: Order = plan
    if merge_order is not None or (order is None and not auto_merge and not chooses):
        order = parse_merge_order(merge_order, batches.names)
    kept = None if restrict is UNSET else take_cell_mask(adata, restrict, batches)

    params: dict[str, Any] = {"key": key if isinstance(key, str) else list(key)}
    if auto_merge is not None:
        params["auto_merge"] = auto_merge
    if restrict is not UNSET:
        params["restrict"] = _restriction_name(restrict, kept)
    return Task(batches, order, kept, params)


def log_task(task: Task) -> None:
    """Say what is corrected, and in which order where several columns decide it."""
    log_batches(task.batches)
    if task.batches.plan is not None and task.order is task.batches.plan:
        order_text = plan_text(nested_names(task.batches.plan, task.batches.names))
        logger.info("merge order: %s", in_short(order_text))


def log_batches(batches: Batches) -> None:
    """Say what is corrected."""
    sizes = dict(zip(batches.names, batches.sizes.tolist(), strict=True))
    each = ", ".join(f"{name}: {n}" for name, n in sizes.items())
    logger.info(
        "correcting %d cells in %d batches (%s)",
        len(batches.codes), len(sizes), each if len(sizes) <= MOST_TOLD else told_sizes(sizes),
    )  # fmt: skip


def _restriction_name(restrict: Any, kept: NDArray[np.bool_] | None) -> str | None:
    if kept is None:
        return None
    if isinstance(restrict, str):
        return restrict
    return f"a mask of {int(kept.sum())} of {len(kept)} cells"


def take_expression(
    adata: AnnData,
    batches: Batches,
    *,
    layer: str | None,
    use_raw: bool,
    mask_var: Any,
    correct_all: bool,
    key_added: str,
    to_layer: bool,
    for_all: str = "are corrected",
) -> ExpressionInput:
    """Read the values of a correction from genes, and say so in the log.

    ``to_layer``: whether corrected expression is written; ``for_all``: what happens to the genes
    that are corrected, in the log.
    """
    if to_layer and layer == Keys(key_added).layer:
        raise ValueError(
            f"the result would take the place of layers[{layer!r}], which it is made of; name "
            "another place: `key_added`"
        )
    genes = take_gene_mask(adata, mask_var)
    matrix = take_matrix(adata, layer=layer, use_raw=use_raw)
    found = judge_and_warn(
        matrix,
        describe_source(layer, use_raw=use_raw),
        batches,
        # What this package normalized was judged before; of a few genes of it, less can be told.
        warns=layer != Keys(key_added).normalized,
    )
    used = np.ones(adata.n_vars, dtype=bool) if genes.mask is None else genes.mask
    corrected = used
    if correct_all:
        all_genes = genes_among(adata.var)
        corrected = np.ones_like(used) if all_genes is None else all_genes | used
    where = "" if genes.column is None else f" (var[{genes.column!r}])"
    logger.info(
        "distances on %d of %d genes%s; %d genes %s",
        used.sum(), len(used), where, corrected.sum(), for_all,
    )  # fmt: skip
    params = {
        "layer": layer,
        "use_raw": use_raw,
        # A mask that is not a column is kept as one, under this name.
        "mask_var": genes.column or (None if genes.mask is None else f"{key_added}_genes"),
        "correct_all": correct_all,
    }
    warn_of_few_genes(int(used.sum()))
    return ExpressionInput(matrix, used, corrected, params, found)


def few_cells(task: Task, n_neighbors: int) -> str | None:
    """Say which batches have fewer cells than ``n_neighbors``; ``None``: none."""
    codes = task.batches.codes if task.restrict is None else task.batches.codes[task.restrict]
    sizes = np.bincount(codes, minlength=len(task.batches.names))
    return few_cells_text(task.batches.names, sizes, n_neighbors)


def few_cells_text(
    names: Sequence[str], sizes: NDArray[np.integer[Any]], n_neighbors: int
) -> str | None:
    """Say which batches have fewer cells than ``n_neighbors``; ``None``: none."""
    few = [
        f"{name} ({size})"
        for name, size in zip(names, sizes.tolist(), strict=True)
        if size < n_neighbors
    ]
    if not few:
        return None
    return (
        f"batches with fewer than n_neighbors={n_neighbors} cells: {leading(few, MOST_LISTED)}; "
        "all their cells count as neighbors; choose a smaller n_neighbors"
    )


def log_merges(correction: Correction, batches: Batches) -> None:
    """Say what was merged, and what it cost where that was measured.

    Of many merges, how they went on the whole; each is for ``--verbose`` then.
    """
    many = len(correction.merges) > MOST_TOLD
    level = logging.DEBUG if many else logging.INFO
    # Of many merges, to name the batches of each takes longer than to log it.
    for number, merge in enumerate(correction.merges if logger.isEnabledFor(level) else (), 1):
        left, right = (side([batches.names[b] for b in at]) for at in (merge.left, merge.right))
        told = ""
        if np.isfinite(merge.batch_size):
            told += f", batch size {merge.batch_size:.3g}"
        if not np.isnan(merge.evidence):
            told += f", evidence {merge.evidence:.3g}"
        lost = [merge.lost_variance[b] for b in merge.left + merge.right]
        if np.isfinite(lost).any():
            told += f", up to {100 * np.nanmax(lost):.1f} % of variance lost"
        if merge.skipped:
            told += ", skipped"
        if merge.pairs.guided and not len(merge.pairs):
            told += " (no pair is allowed between them)"
        logger.log(
            level,
            "merge %d: %s to %s by %d pairs%s", number, right, left, len(merge.pairs), told,
        )  # fmt: skip
    if many:
        logger.info("%s", _merges_in_short(correction, batches))
    logger.info("search for neighbors: %s", ", ".join(correction.engines))


def _merges_in_short(correction: Correction, batches: Batches) -> str:
    """Say how many merges there were, by how many pairs, and what stands out."""
    merges = correction.merges
    pairs = np.array([len(merge.pairs) for merge in merges])
    fewest = merges[int(pairs.argmin())]
    told = (
        f"{len(merges)} merges by {pairs.min()} to {pairs.max()} pairs (median "
        f"{np.median(pairs):.0f}), fewest of {side([batches.names[b] for b in fewest.right])}"
    )
    skipped = sum(merge.skipped for merge in merges)
    if skipped:
        told += f"; {skipped} skipped"
    lost = np.array([merge.lost_variance for merge in merges])
    if np.isfinite(lost).any():
        most = int(np.nanmax(np.where(np.isfinite(lost), lost, -np.inf), axis=0).argmax())
        told += f"; up to {100 * np.nanmax(lost):.1f} % of variance lost, of {batches.names[most]}"
    return told


def resolved(method: str, task: Task, correction: Correction, **params: Any) -> dict[str, Any]:
    """Gather the parameters of a correction as they were resolved."""
    plan = nested_names(correction.plan, task.batches.names)
    if "neighbors" in params and len(correction.engines) == 1:
        params["neighbors"] = correction.engines[0]
    return {"method": method, **task.params, "merge_order": plan, **params}
