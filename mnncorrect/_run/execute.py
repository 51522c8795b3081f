"""A plan carried out: inputs are opened, corrected, and written, or nothing is changed."""

from __future__ import annotations

import contextlib
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnncorrect import _adata
from mnncorrect._adata.draft import note_warnings, place_name
from mnncorrect._adata.numbers import ValuesWarning
from mnncorrect._adata.objects import doubled_names
from mnncorrect._adata.record import CALL
from mnncorrect._adata.stored import is_stored, is_stored_sparse
from mnncorrect._io import atomic, h5ad, outputs
from mnncorrect._io.result_file import whole_result
from mnncorrect._io.scratch import mapped_rows
from mnncorrect._log import logger, noted, without
from mnncorrect._prepare import count_survey, expression_values
from mnncorrect._prepare.first_look import judge_inputs
from mnncorrect._prepare.inputs import JoinedInputs, opened_inputs
from mnncorrect._prepare.limits import MemoryLimits, limits, stays_in_file
from mnncorrect._prepare.method_registry import method_named
from mnncorrect._prepare.prepared import log_survey, prepared
from mnncorrect._prepare.steps import Judge, chosen_genes
from mnncorrect._run import expression
from mnncorrect._run.afterwards import Job
from mnncorrect._run.planning import SeenValues, joined_of, make_plan, refuse_doubled
from mnncorrect._wording import UsageError
from mnncorrect.pp._adapter import draft_by

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from mnncorrect._adata import Batches
    from mnncorrect._prepare.count_survey import Survey
    from mnncorrect._prepare.expression_values import ExpressionValues
    from mnncorrect._run.plan import RunPlan
    from mnncorrect._run.request import Request
    from mnncorrect.core.runtime.threads import Progress

# What of an object is put into a copy of it, and taken from that when all is done.
SLOTS = ("uns", "layers", "obsm", "varm", "obsp", "varp")
TABLES = ("obs", "var")


@noted()
def execute(
    request: Request,
    *,
    progress: Progress | None = None,
    copy: bool = False,
    expected: RunPlan | None = None,
) -> AnnData | None:
    """Carry a request out, and refuse it if that differs from the plan that is ``expected``.

    Returns the object of files that have no output; of an object, its copy if that is wanted.
    """
    if isinstance(request.data, tuple):
        if copy:
            raise UsageError("`copy` is of use for an object only; files are not changed")
        if request.output is not None:
            _run(request, progress, expected)
            return None
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "corrected.h5ad"
            _run(replace(request, output=path), progress, expected)
            return h5ad.read(path)
    work = _shallow(request.data)
    made = _run(replace(request, data=work), progress, expected)
    if request.output is not None:
        return None
    if copy:
        return made.copy()
    if made is not work:
        raise UsageError(
            "the result has other cells or genes than the object: `subset` or a filter removes "
            "cells, or some features are not genes; give `copy=True`, or an `output`"
        )
    _adopt_results(request.data, work)
    return None


def _run(request: Request, progress: Progress | None, expected: RunPlan | None) -> AnnData:
    """Correct the inputs of a request, and write what is to be written."""
    with (
        _outputs(request) as temporary,
        limits(
            request.memory,
            request.output,
            zarr=_zarr(request, temporary),
            workers=request.dask is not None,
            n_jobs=request.n_jobs,
        ) as limit,
        _workers(request, temporary),
        opened_inputs(request.data, limit.scratch, request.about) as parts,
    ):
        if len(parts) > 1 and request.use_rep is None:
            judge_inputs(parts, limit, request.selection, counts=request.preparation.counts)
        joined = joined_of(request, parts, limit)
        if joined.removed is not None:
            logger.info("%s", joined.removed.text)
        material = _Material(request, joined, limit)
        plan = make_plan(request, joined, material.survey)
        if expected is not None:
            expected.refuse_unlike(plan)
        adata = material.adata
        made = _correct(plan, joined, material, limit, progress)
        job = Job(adata, request, temporary, progress)
        for step in plan.afterwards:
            step.work(job)
        target = None if request.output is None else temporary[request.output]
        expression.write_result(adata, request, target, made, limit.shared, material.depth)
        return adata


class _Material:
    """The object of all inputs and its values, made when they are first judged."""

    def __init__(self, request: Request, joined: JoinedInputs, limit: MemoryLimits) -> None:
        self.request, self.joined, self.limit = request, joined, limit
        self.values: ExpressionValues | None = None
        self.found: Survey | None = None

    @property
    def depth(self) -> NDArray[Any] | None:
        """Counts of each cell over the total that cells were scaled to; ``None``: they were not."""
        found = self.found
        return found.totals / found.target if found is not None and found.total else None

    @cached_property
    def adata(self) -> AnnData:
        """The object."""
        return self.joined.make(self.limit.store)

    def survey(self, judge: Judge, batches: Batches) -> SeenValues:
        """Look at all values once, with what the choice of genes needs."""
        preparation, joined = self.request.preparation, self.joined
        self.values = expression_values.take(
            self.adata,
            **joined.source,
            scratch=self.limit.scratch,
            block_bytes=self.limit.block,
        )
        self.found = count_survey.survey(
            self.values,
            batches,
            preparation.wanted(joined.tables),
            judge=judge,
            n_jobs=self.request.n_jobs,
        )
        return SeenValues(self.found.verdict, ~self.found.empty, genes=self.found.seen)


def _correct(
    plan: RunPlan,
    joined: JoinedInputs,
    material: _Material,
    limit: MemoryLimits,
    progress: Progress | None,
) -> Any:
    """Correct an object in place; return corrected expression where it was made on the way."""
    request, adata, treatment = plan.request, material.adata, plan.treatment
    assert joined.key is not None
    in_memory = request.output is None
    more: dict[str, Any] = {
        "allocate": expression.allocator(request, None if in_memory else limit.scratch),
        "progress": progress,
        **request.computing,
    }
    if treatment is None:
        with _mapped(adata, request, limit):
            made = correct_by(adata, joined.key, request.method, request.params, **more)
        note_prepared(adata, request, {})
        return made
    values, found = material.values, material.found
    assert values is not None
    assert found is not None
    log_survey(found, values, request.keys.normalized if treatment.keep else None)
    genes = chosen_genes(lambda n: count_survey.choose_genes(values, found, n), treatment)
    refuse_doubled(request, adata, genes)
    with prepared(
        adata,
        joined.source,
        values,
        found,
        genes,
        limit,
        key_added=request.keys.key_added,
        correct_all=bool(request.params.get("correct_all")),
        keep=treatment.keep,
        n_jobs=request.n_jobs,
    ) as source:
        made = correct_by(
            adata, joined.key, request.method, request.params, mask_var=genes, **source, **more
        )
    done = treatment.record_of(found.target if found.total else None)
    done |= {} if plan.removed is None else plan.removed.record
    # What was normalized may be read from elsewhere afterwards.
    done |= {name: value for name, value in joined.source.items() if value}
    note_prepared(adata, request, done)
    return made


def correct_by(
    adata: AnnData,
    key: str | list[str],
    method: str,
    params: Mapping[str, Any],
    *,
    allocate: Callable[[tuple[int, int], Any], Any] | None = None,
    **more: Any,
) -> Any:
    """Correct an object in place by a method; return corrected expression made on the way.

    ``allocate`` makes room for that, if it is wanted. ``more``: what a run decides, such as
    ``mask_var``.
    """
    known = method_named(method)
    function, has = known.function, known.parameters
    options = {name: value for name, value in {**params, **more}.items() if name in has}
    # The values have been judged, all of them, before some were taken for the method.
    with warnings.catch_warnings(action="ignore", category=ValuesWarning), without(ValuesWarning):
        if allocate is None or not known.corrects_genes:
            function(adata, key, **options)
            return None
        draft, made = draft_by(method, adata, key, allocate=allocate, **options)
        draft.commit()
        return made


@contextlib.contextmanager
def _mapped(adata: AnnData, request: Request, limit: MemoryLimits) -> Iterator[None]:
    """Map an embedding of a file from a temporary one while it is corrected, if it is large.

    Then the result is mapped too, so that memory holds neither.
    """
    name = request.use_rep
    stored: Any = adata.obsm.get(name) if name is not None else None
    is_array = is_stored(stored) and not is_stored_sparse(stored)
    if name is None or not is_array or not stays_in_file(stored.nbytes, request.memory):
        yield
        return
    logger.info("%s does not fit into the memory limit: kept in a file", place_name("obsm", name))
    adata.obsm[name] = mapped_rows(stored, limit.maps)
    try:
        yield
    finally:
        adata.obsm[name] = stored


def note_prepared(adata: AnnData, request: Request, done: Mapping[str, Any]) -> None:
    """Record the call, its warnings, and what was done to the values before the correction."""
    draft = _adata.Draft(adata, request.keys.uns)
    draft.amend(request.keys.uns, {"prepared": dict(done)} if done else {})
    if request.call:
        draft.amend(request.keys.uns, {CALL: request.call})
    if request.keys.normalized in adata.layers:
        draft.claim("layers", request.keys.normalized)
    draft.commit()
    note_warnings(adata, request.keys.uns)


@contextlib.contextmanager
def _outputs(request: Request) -> Iterator[Mapping[Path, Path]]:
    """Give a temporary path for each file that is written; they appear when all is done."""
    outputs.refuse_other_format(report=request.report, model=request.save_model)
    how: Any = {"force": request.force, "inputs": request.paths}
    with contextlib.ExitStack() as stack:
        made = {}
        if request.output is not None:
            whole = whole_result(request.output, **how)
            made[request.output] = stack.enter_context(whole)
        for path in (request.report, request.save_model):
            if path is not None:
                made[path] = stack.enter_context(atomic.whole_file(path, **how))
        yield made


def _zarr(request: Request, temporary: Mapping[Path, Path]) -> Path | None:
    """Return the folder of an output that is zarr."""
    return temporary[request.output] if request.output and request.writes_zarr else None


def _workers(
    request: Request, temporary: Mapping[Path, Path]
) -> contextlib.AbstractContextManager[Any]:
    """Give blocks to the workers of a Dask cluster, if one is wanted."""
    folder = _zarr(request, temporary)
    if request.dask is None or folder is None:
        return contextlib.nullcontext()
    from mnncorrect._distributed import workers_of

    return workers_of(
        request.dask, folder, request.paths, memory=request.memory, n_jobs=request.n_jobs
    )


def _shallow(adata: AnnData) -> AnnData:
    """Return an object of its own with the values of another, none of which is copied."""
    import anndata

    with doubled_names():
        made = anndata.AnnData(
            adata.X,
            **{name: getattr(adata, name).copy(deep=False) for name in TABLES},
            **{name: dict(getattr(adata, name)) for name in SLOTS},
        )
        if adata.raw is not None:
            made.raw = anndata.AnnData(
                adata.raw.X, obs=made.obs[[]], var=adata.raw.var, varm=dict(adata.raw.varm)
            )
    return made


def _adopt_results(adata: AnnData, made: AnnData) -> None:
    """Put into an object what another one, made of it, has besides; or nothing, if that fails."""
    draft = _adata.Draft(adata, None, replacing=True)
    for slot in (*TABLES, *SLOTS):
        before, now = getattr(adata, slot), getattr(made, slot)
        draft.remove((slot, name) for name in before if name not in now)
        for name in now:
            if name not in before or not _unchanged(before[name], now[name]):
                draft.put(slot, name, now[name])
    draft.commit()


def _unchanged(before: Any, now: Any) -> bool:
    return before is now or (hasattr(before, "equals") and bool(before.equals(now)))
