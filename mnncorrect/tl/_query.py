"""New cells, brought to where those of a model lay before the correction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnncorrect._adata import take_embedding
from mnncorrect._adata.gene_names import NamedGenes, cleaned, difference, white_space
from mnncorrect._adata.lookup import listed
from mnncorrect._log import logger, warn_caller
from mnncorrect.tl._model import object_gene_names, refuse_doubled_genes

if TYPE_CHECKING:
    from anndata import AnnData

    from mnncorrect._io.scratch import Scratch
    from mnncorrect._prepare.count_survey import Survey
    from mnncorrect._prepare.decide import JudgedGroups
    from mnncorrect._prepare.expression_values import ExpressionValues
    from mnncorrect._prepare.steps import WantedSteps
    from mnncorrect.core.model.components import Matched
    from mnncorrect.core.model.fit import Model

# Share of the training data's genes that the totals of cells should be taken over at least.
ENOUGH_GENES = 0.5


@dataclass(frozen=True)
class Projected:
    """New cells on the components of a model."""

    scores: NDArray[np.float32]  # Cells x dimensions.
    counts: bool | None = None  # Whether they came as counts; ``None``: they came as an embedding.
    missing: tuple[str, ...] = ()  # Genes of the model that they lack.
    missing_share: float = 0.0  # Share of the components that these carry.
    # Which cells have no value above zero; ``None``: they came as an embedding.
    empty: NDArray[np.bool_] | None = None


def take_projected(adata: AnnData, model: Model, use_rep: str) -> Projected:
    """Take the embedding that a model was trained on, of new cells."""
    values = take_embedding(adata, use_rep)
    if values.shape[1] != model.corrected.shape[1]:
        raise ValueError(
            f"obsm[{use_rep!r}] has {values.shape[1]} dimensions and the model has "
            f"{model.corrected.shape[1]}; project new cells on the components of the training data"
        )
    return Projected(values.astype(np.float32))


def project_expression(
    adata: AnnData,
    model: Model,
    layer: str | None,
    gene_key: str | None,
    scratch: Scratch | None,
    block_bytes: int,
    n_jobs: int | None,
    *,
    use_raw: bool,
    strip_versions: bool,
    counts: bool | None,
    max_missing: float,
    groups: JudgedGroups,
) -> Projected:
    """Prepare the values of new cells as those of the training data, and project them.

    Parameters and errors as of :func:`mnncorrect.tl._project.project_stored`.
    """
    from mnncorrect._prepare import expression_values
    from mnncorrect._prepare.decide import described
    from mnncorrect._prepare.steps import WantedSteps
    from mnncorrect.core.model.components import embed, match_genes
    from mnncorrect.core.runtime.threads import each_block, resolve_n_jobs

    components, scaling = model.components, model.scaling
    assert components is not None
    names = object_gene_names(adata, gene_key)
    padded = white_space(names)
    if padded:
        warn_caller(f"{padded}, which is taken off to match them")
    names = cleaned(names, strip_versions=strip_versions)
    genes = cleaned(components.genes, strip_versions=strip_versions)
    _refuse_doubled(names, genes)
    refuse_doubled_genes(genes)
    matched = match_genes(components, names, genes)
    missing = tuple(np.array(components.genes, dtype=object)[~matched.present])
    why = difference(NamedGenes("the model", genes), NamedGenes("the new cells", names, adata.var))
    _tell_missing(missing, len(components.genes), matched.missing_share, max_missing, names, why)
    values = expression_values.take(
        adata, layer=layer, use_raw=use_raw, scratch=scratch, block_bytes=block_bytes
    )
    wanted = WantedSteps(
        counts,
        total=scaling is not None and scaling.total is not None,
        log1p=scaling is not None and scaling.log1p,
        genes=False,
    )
    found = _surveyed(values, wanted, groups, model, n_jobs)
    if found.verdict.judged.kind == "scaled values" and not found.verdict.told:
        raise ValueError(
            f"{values.where} holds scaled values, and the model was trained on others; read such "
            "values as it was trained on (`layer`, `use_raw=True`), or set `counts=False` to use "
            "these unchanged"
        )
    change = None if found.are_counts else _bridge(found, values.where, groups, model)
    if found.are_counts and scaling is None:
        raise ValueError(
            f"{values.where} holds counts, and the model was trained on values that were "
            "normalized before: normalize these in the same way; or set `counts=False` if they are "
            "not counts"
        )
    if found.are_counts and scaling is not None:
        total = "not scaled" if scaling.total is None else f"scaled to {scaling.total:.6g}"
        logger.info(
            "%s holds counts: %s%s, as the training data",
            values.where, total, " and log1p" if scaling.log1p else "",
        )  # fmt: skip
        if scaling.total is not None and len(names) < ENOUGH_GENES * scaling.n_genes:
            warn_caller(
                f"counts of {len(names)} genes are scaled to the total of {scaling.n_genes} in the "
                "training data; give the counts of all genes"
            )
    elif change is None:
        what = described(found.verdict.judged)
        logger.info("%s holds %s: used unchanged", values.where, what)
    n_empty = int(found.empty.sum())
    if n_empty:
        warn_caller(
            f"{n_empty} cells have no value above zero: they stay where they are projected, with "
            "confidence 0"
        )
    effects = _effects(adata, model, matched)
    blocks = values.blocks()
    totals = found.totals

    def made(rows: slice) -> NDArray[np.float32]:
        return embed(
            values[rows],
            components,
            matched,
            scaling=scaling if found.are_counts else None,
            totals=totals[rows] if found.total else None,
            change=None if change is None else partial(change, rows),
            effects=None if effects is None else effects(rows),
        )

    scores = np.concatenate(list(each_block(made, blocks, n_jobs=resolve_n_jobs(n_jobs))))
    return Projected(
        scores, found.are_counts, missing, matched.missing_share, found.empty if n_empty else None
    )


def _effects(
    adata: AnnData, model: Model, matched: Matched
) -> Callable[[slice], NDArray[np.float64]] | None:
    """Return the effects of covariates on genes of the model that are there; ``None``: none."""
    from mnncorrect._prepare.covariates import covariates_of

    regressed = model.regressed
    if regressed is None:
        return None
    design = covariates_of(adata, regressed.columns, regressed.values)
    genes = np.flatnonzero(matched.present)
    logger.info(
        "effects of %s are taken out, as in the training data",
        ", ".join(dict.fromkeys(regressed.columns)),
    )
    return lambda rows: regressed.regression.effects(design[rows], genes)


def _surveyed(
    values: ExpressionValues,
    wanted: WantedSteps,
    groups: JudgedGroups,
    model: Model,
    n_jobs: int | None,
) -> Survey:
    """Look at new values; unclear ones are treated like the training data."""
    from mnncorrect._prepare import count_survey
    from mnncorrect._prepare.decide import UnclearValues
    from mnncorrect._prepare.steps import Judge

    def survey(wanted: WantedSteps) -> Survey:
        judge = Judge(values.where, groups, wanted.counts, list(values.layers))
        return count_survey.survey(values, None, wanted, judge=judge, n_jobs=n_jobs)

    told = model.about.get("told")
    if wanted.counts is not None or told is None:
        return survey(wanted)
    try:
        found = survey(wanted)
        if found.verdict.judged.kind != model.about.get("values") or found.are_counts == told:
            return found
    except UnclearValues:
        pass
    logger.info(
        "%s is treated as %s, like the training data", values.where,
        "counts" if told else "values that are not counts",
    )  # fmt: skip
    return survey(replace(wanted, counts=bool(told)))


def _bridge(
    found: Survey, where: str, groups: JudgedGroups, model: Model
) -> Callable[[slice, Any], Any] | None:
    """Tell how log values become such as the training data were; ``None``: they are such.

    They are scaled to the total of the training data, and get their logarithm, where both are
    proven; where only one is, that is warned of.
    """
    from mnncorrect._prepare.decide import described
    from mnncorrect.core.matrix.block_counts import rescale
    from mnncorrect.core.matrix.value_kinds import ABOUT_SAME, Judged

    scaling, judged = model.scaling, found.verdict.judged
    base, total = model.about.get("log_base"), model.about.get("log_total")
    if scaling is not None and scaling.log1p:
        base, total = float(np.e), scaling.total
    if judged.kind != "log values" or judged.base is None or base is None or found.verdict.told:
        return None
    if total is not None and judged.total is None:
        logger.warning(
            "%s holds log values of an unknown total, and those of the training data were scaled to"
            " %g: cells are taken as they are",
            where, total,
        )  # fmt: skip
    totals = [found.verdict.groups[name].total for name in groups.names]
    each = [
        1.0 if own is None or total is None or abs(total / own - 1) < ABOUT_SAME else total / own
        for own in totals
    ]
    factors = np.array(each)[groups.codes]
    if base == judged.base and (factors == 1).all():
        return None
    logger.info(
        "%s holds %s: brought to %s, as the training data",
        where,
        described(judged),
        described(Judged("log values", base, total)),
    )

    def change(rows: slice, block: Any) -> Any:
        return rescale(block, factors[rows], judged.base, base)

    return change


def _refuse_doubled(names: list[str], wanted: Sequence[str]) -> None:
    """Refuse names of the model's genes that occur twice."""
    doubled = {name for name, n in Counter(names).items() if n > 1}.intersection(wanted)
    if doubled:
        raise ValueError(
            f"{len(doubled)} genes of the model occur more than once: {listed(sorted(doubled), 5)};"
            " leave out or add up the duplicates"
        )


def _tell_missing(
    missing: Sequence[str], n_genes: int, share: float, most: float, names: Sequence[str], why: str
) -> None:
    """Say which genes are missing, and why if that is known; refuse if they are too many."""
    if not missing:
        logger.info("all %d genes of the model are there", n_genes)
        return
    told = (
        f"{len(missing)} of the {n_genes} genes of the model are missing, which carry "
        f"{100 * share:.1f} % of its components: {listed(missing, 5)}"
    )
    if len(missing) == n_genes:
        raise ValueError(
            f"no gene of the model is there: it names genes as {listed(missing, 2)}, and the new "
            f"cells as {listed(names[:2])}; "
            f"{why or 'name the column of var that matches: `gene_key`'}"
        )
    if share > most:
        raise ValueError(
            f"{told}; at most {100 * most:g} % may be missing (`max_missing`); "
            f"{why or 'give values of all genes, or the matching column of var: `gene_key`'}"
        )
    told += "; they take the values that the others lead to expect"
    if why:
        warn_caller(f"{told}; {why}")
    else:
        logger.info("%s", told)
