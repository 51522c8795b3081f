"""The way of every correction: arrays out of AnnData, a method of ``core``, results into AnnData.

A method is a function that turns a :class:`Problem` into a :class:`Solution`. All else is the same
for all methods and stands here: which values are read and how, components, the log, and the record.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnncorrect._adata.arguments import take_rep, take_seed
from mnncorrect._adata.corrections import (
    note_expression,
    put_components,
    put_correction,
    put_expression,
)
from mnncorrect._adata.draft import Draft, place_name, refuse_non_finite_result
from mnncorrect._adata.matrix import take_embedding
from mnncorrect._adata.other_arrays import as_given, is_dask, is_on_card
from mnncorrect._adata.results import Keys
from mnncorrect._log import logger, noted, warn_caller
from mnncorrect._prepare.method_registry import RegisteredMethod, method_named, with_defaults
from mnncorrect.core.matrix.elbow import MOST_COMPONENTS, components_above_noise
from mnncorrect.core.runtime.checks import check_count
from mnncorrect.core.runtime.compute import ComputeOptions, compute_options
from mnncorrect.core.runtime.unset import UNSET
from mnncorrect.pp._arguments import OF_EXPRESSION, log_arguments, take_arguments
from mnncorrect.pp._checks import possible_comps, refuse_about_genes
from mnncorrect.pp._corrections import ExpressionInput, Task, log_merges, resolved, take_expression
from mnncorrect.pp._kept import kept_table
from mnncorrect.pp._taking_part import TakingPart, taking_part

if TYPE_CHECKING:
    from anndata import AnnData

    from mnncorrect._prepare.covariates import Covariates
    from mnncorrect._prepare.guides import Known
    from mnncorrect.core.matrix.covariates import Regression
    from mnncorrect.core.matrix.pca import PCA
    from mnncorrect.core.merging.loop import Correction

    Allocate = Callable[[tuple[int, int], Any], Any]

# The number of components that is chosen by their variances.
AUTO = "auto"
# What of these is recorded as it was given.
RECORDED = ("clusters", "neighbors", "recall")


@dataclass(frozen=True)
class Problem:
    """What a method is given."""

    adata: AnnData  # The object, for the names of its cells.
    task: Task  # Batches of all cells, the order of merges, and cells that pairs may be taken from.
    part: TakingPart  # Which cells take part, and the number of their batches among those that do.
    values: Any  # What is corrected: an embedding, or expression of all genes.
    genes: ExpressionInput | None  # Expression, where it was read.
    norms: NDArray[np.float64] | None  # What each cell is divided by, if it is.
    # The cluster of each cell, and the names of the clusters, where the method has them.
    labels: tuple[NDArray[np.int64], Sequence[Any]] | None
    own: Mapping[str, Any]  # The method's own parameters.
    known: Known  # What is known of the cells beforehand.
    # What all methods of the core take: ``merge_order`` and ``compute``; ``auto_merge``,
    # ``restrict`` and ``guides`` where the method has them.
    merging: Mapping[str, Any]
    keep_weights: bool  # Whether expression is to be corrected by the same weights.
    # Covariates whose effects were taken out of the values, and these effects.
    covariates: Covariates | None = None
    regression: Regression | None = None


@dataclass(frozen=True)
class Solution:
    """What a method found."""

    # What was corrected, and the merges; batches are numbered as those that take part.
    correction: Correction
    confidence: NDArray[np.float64] | None = None  # Of each cell, if the method gives one.
    components: PCA | None = None  # Of the embedding before, where the method finds them itself.
    # What it adds to ``uns``, given batches that are numbered as all.
    tables: Callable[[Correction], dict[str, Any]] | None = None
    pairs_of_cells: bool = True  # Whether pairs are of cells.
    # Says in the log what it found, given the correction of all batches.
    log: Callable[[Correction], None] | None = None
    # Corrects expression: given the values, where to write those of the corrected genes, which
    # genes these are, and what each cell is divided by.
    correct_expression: Callable[..., None] | None = None


def corrected(name: str, given: dict[str, Any]) -> AnnData | None:
    """Correct an object by a method, in place or in a copy; ``given``: all parameters."""
    allocate = np.empty if given.get("write_expression") else None
    draft, values = corrected_draft(name, given, allocate)
    if values is not None:
        keys = Keys(given["key_added"])
        genes = draft.puts["var", keys.corrected]
        put_expression(draft, values, key_added=given["key_added"], genes=genes)
    _give_back(draft, given)
    return draft.commit(copy=given["copy"])


def _give_back(draft: Draft, given: Mapping[str, Any]) -> None:
    """Put the corrected embedding in the kind of array that the given one is."""
    use_rep = take_rep(given.get("use_rep"), given.get("use"))
    if use_rep is None:
        return
    place = "obsm", Keys(given["key_added"]).basis(given["adjusted_basis"], use_rep)
    made, source = draft.puts[place], given["adata"].obsm[use_rep]
    if is_dask(source) or is_on_card(source):
        refuse_non_finite_result(made, place_name(*place))
        draft.puts[place] = as_given(made, source)


def draft_by(
    name: str, adata: AnnData, key: str | Sequence[str], *, allocate: Allocate | None, **some: Any
) -> tuple[Draft, Any]:
    """Correct an object as the public call does with these options, but put nothing into it.

    ``allocate`` is given cells and corrected genes, and a float type, and makes what corrected
    expression is written to. Returns the results, to be committed, and what was allocated, filled.
    """
    given = with_defaults(method_named(name).function, {"adata": adata, "key": key} | some)
    return corrected_draft(name, given, allocate)


@noted()  # for the record of the correction
def corrected_draft(
    name: str, given: Mapping[str, Any], allocate: Allocate | None
) -> tuple[Draft, Any]:
    """Correct an object; return the results to commit, and what ``allocate`` gave, filled."""
    method = method_named(name)
    given = {
        **given,
        "use_rep": take_rep(given.get("use_rep"), given.get("use")),
        "random_state": take_seed(given["random_state"], given.get("rng", UNSET)),
    }
    if given["use_rep"] is not None:
        about_genes = {each: given[each] for each in OF_EXPRESSION if each in given}
        refuse_about_genes(method.function, given["use_rep"], about_genes)
    elif given.get("n_comps") not in (None, AUTO):
        check_count("n_comps", given["n_comps"], 1)
    compute = compute_options(
        **{each: given[each] for each in ("neighbors", "recall") if each in given},
        random_state=given["random_state"],
        n_jobs=given["n_jobs"],
        progress=given["progress"],
    )
    problem, components, recorded = _read_problem(method, given, compute, keep=allocate is not None)
    assert method.solve is not None
    solution: Solution = method.solve(problem)
    correction = problem.part.restored(solution.correction)
    batches = problem.task.batches
    log_merges(correction, batches)
    if solution.log is not None:
        solution.log(correction)
    made = _correct_expression(solution, problem, allocate, compute)

    keys, genes = Keys(given["key_added"]), problem.genes
    draft = Draft(given["adata"], keys.uns)
    tables = {} if solution.tables is None else solution.tables(correction)
    if method.embeds:
        part = problem.part
        tables |= kept_table(
            problem.known, part.names(batches.names), part.codes, problem.values,
            correction.corrected,
        )  # fmt: skip
    put_correction(
        draft,
        correction,
        batches,
        key_added=given["key_added"],
        params=resolved(name, problem.task, correction, **recorded),
        random_state=given["random_state"],
        genes=None if genes is None else genes.used,
        embedding=recorded.get("adjusted_basis"),
        pairs_of_cells=solution.pairs_of_cells,
        more=tables if genes is None else genes.prepared | tables,
    )
    if problem.covariates is not None and problem.regression is not None:
        draft.put("varm", keys.regressed, problem.regression.coefficients.T.copy())
        draft.amend(keys.uns, {"regressed": problem.covariates.table(problem.regression)})
    if solution.confidence is not None:
        draft.put("obs", keys.confidence, solution.confidence)
    if genes is None:
        return draft, made
    if not method.embeds:
        put_expression(
            draft, correction.corrected, key_added=given["key_added"], genes=genes.corrected
        )
    components = components if solution.components is None else solution.components
    if components is not None:
        put_components(
            draft,
            components,
            key_added=given["key_added"],
            genes=genes.corrected,
            norms=problem.norms,
        )
    if made is not None:
        how = {"scale": "log", "made_by": "weights"}
        note_expression(draft, key_added=given["key_added"], genes=genes.corrected, how=how)
    return draft, made


def _read_problem(
    method: RegisteredMethod, given: Mapping[str, Any], compute: ComputeOptions, *, keep: bool
) -> tuple[Problem, PCA | None, dict[str, Any]]:
    """Read what is corrected; return it with its components and what is recorded of it."""
    adata, use_rep = given["adata"], given["use_rep"]
    arguments = take_arguments(method, given)
    log_arguments(arguments)
    task, known, own = arguments.task, arguments.known, arguments.own
    recorded: dict[str, Any] = {}
    if method.embeds:
        basis = Keys(given["key_added"]).basis(given["adjusted_basis"], use_rep)
        recorded |= {"adjusted_basis": basis}
    if "use_rep" in method.parameters:
        recorded |= {"use_rep": use_rep}
    recorded |= {**own} | {each: given[each] for each in RECORDED if each in given}
    recorded |= known.params

    genes = components = norms = None
    if use_rep is not None:
        values: Any = take_embedding(adata, use_rep)
        logger.info("distances in %d dimensions of obsm[%r]", values.shape[1], use_rep)
    else:
        genes = take_expression(
            adata,
            task.batches,
            **{each: given[each] for each in ("layer", "use_raw", "mask_var", "correct_all")},
            key_added=given["key_added"],
            to_layer=keep or not method.embeds,
            for_all="have loadings" if method.embeds else "are corrected",
        )
        values = genes.matrix
        recorded |= genes.params
    for doubt in arguments.doubts:
        warn_caller(doubt)
    part = taking_part(task.batches, None if genes is None else genes.filled)
    covariates, regression = arguments.covariates, None
    if genes is not None and covariates is not None:
        genes, regression = _without_covariates(genes, part, covariates, compute)
        values = genes.matrix
        recorded |= {"regress_out": list(dict.fromkeys(covariates.columns))}
    if genes is not None and "cosine_norm" in given:
        norms = genes.norms() if given["cosine_norm"] else None
        recorded |= {"cosine_norm": given["cosine_norm"]}
    if genes is not None and "n_comps" in given:
        most, chosen = (int(part.cells.sum()), int(genes.used.sum())), given["n_comps"] == AUTO
        n_comps = min(MOST_COMPONENTS, *most) if chosen else possible_comps(given["n_comps"], *most)
        components = _batch_components(
            genes, part, n_comps, arguments.weights, norms, compute, chosen=chosen,
            all_genes=given["correct_all"],
        )  # fmt: skip
        n_comps = len(components.variance) if chosen else n_comps
        recorded |= {"n_comps": n_comps, "batch_weights": arguments.recorded_weights}
        values = components.scores
    merging: dict[str, Any] = {"merge_order": part.order(task.order), "compute": compute}
    merging |= {"auto_merge": given["auto_merge"]} if "auto_merge" in given else {}
    merging |= {"restrict": task.restrict} if "restrict" in given else {}
    merging |= {} if known.guides is None else {"guides": known.guides}
    problem = Problem(
        adata, task, part, values, genes, norms, arguments.labels, own, known, merging, keep,
        covariates, regression,
    )  # fmt: skip
    return problem, components, recorded


def _without_covariates(
    genes: ExpressionInput, part: TakingPart, covariates: Covariates, compute: ComputeOptions
) -> tuple[ExpressionInput, Regression]:
    """Take the effects of covariates out of expression; fitted on the cells that take part."""
    from mnncorrect.core.matrix.covariates import regress, without_covariates

    found = regress(
        genes.matrix,
        covariates.design,
        part.codes,
        genes=None if genes.corrected.all() else genes.corrected,
        n_jobs=compute.n_jobs,
    )
    return replace(genes, matrix=without_covariates(genes.matrix, covariates.design, found)), found


def _batch_components(
    genes: ExpressionInput,
    part: TakingPart,
    n_comps: int | None,
    weights: NDArray[np.float64] | None,
    norms: NDArray[np.float64] | None,
    compute: ComputeOptions,
    *,
    chosen: bool,
    all_genes: bool,
) -> PCA:
    """Find the components to which every batch contributes equally, or as its weight says.

    ``chosen``: only those are kept that stand out from noise.
    """
    from mnncorrect.core.matrix.pca import multibatch_pca

    components = multibatch_pca(
        genes.matrix,
        part.codes,
        n_comps,
        weights=part.weights(weights),
        mask=genes.mask,
        all_genes=all_genes,
        scale=norms,
        leading=components_above_noise if chosen else None,
        random_state=compute.random_state,
        n_jobs=compute.n_jobs,
    )
    n, most = components.rotation.shape[1], len(components.variance)
    logger.info(
        "%d components hold %.1f %% of the variance", most, 100 * components.variance_ratio.sum()
    )
    if chosen:
        logger.info(
            "%d of %d components are used: the others are not distinguishable from noise", n, most
        )
    return replace(components, variance=components.variance[:n]) if chosen else components


def _correct_expression(
    solution: Solution, problem: Problem, allocate: Allocate | None, compute: ComputeOptions
) -> Any:
    """Correct expression by the weights of the correction, where there is room for it."""
    genes = problem.genes
    if genes is None or allocate is None or solution.correct_expression is None:
        return None
    made = allocate((problem.adata.n_obs, int(genes.corrected.sum())), genes.matrix.dtype)
    solution.correct_expression(
        genes.matrix,
        made,
        genes=None if genes.corrected.all() else genes.corrected,
        scale=problem.norms,
        n_dims=problem.values.shape[1],
        n_jobs=compute.n_jobs,
        progress=compute.progress,
    )
    logger.info(
        "corrected expression of %d of %d genes by the same weights",
        genes.corrected.sum(), len(genes.corrected),
    )  # fmt: skip
    return made
