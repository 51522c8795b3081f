"""What is done to values before a method is given them: normalise counts, choose genes.

Values that stay in a file are gone through twice, in blocks of cells: once to look at them, once
for the genes that the method needs, which then stand in the place of the values until it is done.
"""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mnncorrect._adata.stored import is_stored
from mnncorrect._io.scratch import Scratch, scratch_file
from mnncorrect.cli.options.shared import size_in_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import h5py
    import typer
    from anndata import AnnData

    from mnncorrect._adata import Batches
    from mnncorrect._prepare.count_survey import Survey, Values
    from mnncorrect._prepare.decide import Groups
    from mnncorrect.cli.inputs import Loaded
    from mnncorrect.cli.options.correction import Correction, Preparing
    from mnncorrect.cli.options.shared import Computing, Resources

logger = logging.getLogger("mnncorrect")

# A block takes this share of the memory that may be used: several are worked on at a time, and
# each is held in more than one form. Larger blocks than the largest are no quicker.
BLOCKS = 64
LEAST_BLOCK, LARGEST_BLOCK = 1 << 18, 1 << 25


@dataclass(frozen=True)
class Prepared:
    """What a method is given.

    Attributes
    ----------
    mask_var
        The genes, as a method takes them.
    source
        Where values are read from now on.
    done
        What was done, for the record; nothing where an embedding is corrected.
    """

    mask_var: Any
    source: dict[str, Any]
    done: dict[str, Any]


@dataclass(frozen=True)
class Limits:
    """How much may be held in memory, and where what is more goes.

    Attributes
    ----------
    block, gathered
        Bytes of a block of cells, and of the genes that are gathered.
    scratch
        Gives the file for what is more.
    """

    block: int
    gathered: int
    scratch: Scratch


def block_bytes(resources: Resources) -> int:
    """Return how much memory a block of cells takes."""
    memory = size_in_bytes("--memory-limit", resources.memory_limit)
    return min(max(memory // BLOCKS, LEAST_BLOCK), LARGEST_BLOCK)


@contextlib.contextmanager
def limits(resources: Resources, output: Path | None) -> Iterator[Limits]:
    """Give the limits that the options set; what does not fit goes to a file beside the output.

    Without an output, it goes to the system's folder of temporary files.
    """
    memory = size_in_bytes("--memory-limit", resources.memory_limit)
    with contextlib.ExitStack() as stack:
        made: list[h5py.File] = []

        def scratch() -> h5py.File:
            if not made:
                folder = None if output is None else output.absolute().parent
                made.append(stack.enter_context(scratch_file(folder)))
            return made[0]

        yield Limits(block_bytes(resources), memory // 2, Scratch(scratch))


@contextlib.contextmanager
def prepared(
    loaded: Loaded,
    preparing: Preparing,
    correction: Correction,
    computing: Computing,
    limits: Limits,
    context: typer.Context,
    *,
    always: bool,
) -> Iterator[Prepared]:
    """Normalise values if they are counts, choose genes, and give a method what it needs.

    The object has its own values again when the block ends, and what was normalised beside them if
    that is to be kept.

    Parameters
    ----------
    loaded
        The input.
    preparing, correction, computing
        What is wanted.
    limits
        Of memory.
    context
        Knows which options were given.
    always
        Whether genes are chosen, and what was normalised is kept, where the options leave it open;
        genes are chosen of counts at least.
    """
    from mnncorrect import _adata
    from mnncorrect._adata.matrix import take_values
    from mnncorrect._prepare import count_survey
    from mnncorrect.cli.methods import genes_wanted
    from mnncorrect.cli.steps import may_choose, steps_of, without_effect

    adata, source = loaded.adata, loaded.source
    if correction.use_rep is not None:
        yield Prepared(_adata.UNSET, source, {})
        return
    _adata.check_object(adata)
    batches = _adata.take_batches(adata, loaded.batch_key)
    values = count_survey.take(adata, **source, scratch=limits.scratch, block_bytes=limits.block)
    may = may_choose(adata, preparing, correction, always=always)
    wanted = count_survey.Wanted(
        preparing.counts,
        total=preparing.normalise,
        log1p=preparing.log1p,
        genes=may and adata.n_vars > preparing.n_top_genes,
    )
    groups = groups_of(adata, batches)
    found = count_survey.survey(values, batches, wanted, groups=groups, n_jobs=computing.n_jobs)
    steps = steps_of(found.verdict, adata, preparing, correction, values.where, always=always)
    without_effect(context, found.verdict, values.where)
    _log(found, values, preparing, f"{correction.key_added}_log1p" if steps.keep else None)
    done: dict[str, Any] = {
        "counts": found.are_counts,
        "normalise": found.total,
        "log1p": found.log1p,
        "hvg": False,
        **_of_values(found),
        # What was normalised may be read from elsewhere afterwards.
        **{name: value for name, value in source.items() if value},
    }
    if found.total:
        done["total"] = found.target
    genes = genes_wanted(adata, correction)
    if steps.choose:
        genes, done["hvg"] = _chosen(values, found, preparing.n_top_genes)
        if done["hvg"]:
            done["n_top_genes"] = preparing.n_top_genes
    keep = steps.keep
    held, _ = take_values(adata, **source)
    place = _gathered if is_stored(held) else _whole
    with place(
        loaded, values, found, genes, correction, computing, limits, keep=keep and found.changes
    ) as now:
        yield Prepared(genes, now, done)
    if found.changes and not keep:
        _record_source(adata, correction, source)


def _record_source(adata: AnnData, correction: Correction, source: dict[str, Any]) -> None:
    """Have the record name where values were read, as what was made of them is not kept."""
    from mnncorrect._adata import Draft, Keys, as_params
    from mnncorrect._adata.record import fields_of

    name = Keys(correction.key_added).uns
    params = {**fields_of(adata.uns, name)["params"]}
    params.pop("layer", None)
    draft = Draft(adata, None)
    draft.amend(name, {"params": params | as_params(source)})
    draft.commit()


def groups_of(tables: AnnData, batches: Batches | None) -> Groups | None:
    """Tell which cells' values are judged together: those of a batch, and of a file."""
    from mnncorrect._adata import take_labels
    from mnncorrect._io.input_parts import FILE_KEY
    from mnncorrect._prepare.decide import Groups

    files = None
    if FILE_KEY in tables.obs and not tables.obs[FILE_KEY].isna().any():
        codes, names = take_labels(tables, FILE_KEY)
        files = Groups(codes, [str(name) for name in names]) if len(names) > 1 else None
    if batches is None or files is None:
        return files if batches is None else Groups(batches.codes, batches.names)
    pairs, joint = np.unique(np.stack([batches.codes, files.codes], 1), axis=0, return_inverse=True)
    told = [(batches.names[batch], files.names[file]) for batch, file in pairs.tolist()]
    names = [batch if batch == file else f"{batch} of {file}" for batch, file in told]
    return Groups(joint.ravel().astype(np.int64), names)


def _of_values(found: Survey) -> dict[str, Any]:
    """Return what is recorded of the values: what they are, and whether the user said so."""
    from mnncorrect._prepare.decide import recorded

    about = recorded(found.verdict.judged)
    return about | {"told": True} if found.verdict.told else about


def _log(found: Survey, values: Values, preparing: Preparing, layer: str | None) -> None:
    """Log what was found and what is done to it."""
    from mnncorrect._prepare.decide import described

    told = "" if preparing.counts is None else ", as told"
    judged = found.verdict.judged
    what = f"{described(judged)} ({judged.smallest:.4g} to {judged.largest:.4g}){told}"
    if not found.changes:
        logger.info("%s holds %s: taken as they are", values.where, what)
        return
    total = "the median total" if found.verdict.target is None else f"{found.target:g}"
    steps = [
        text for done, text in ((found.total, f"scaled to {total}"), (found.log1p, "log1p")) if done
    ]
    if found.factors is not None:
        steps = [f"brought to {judged.total:g}"]
    into = "" if layer is None else f", into layers[{layer!r}]"
    logger.info("%s holds %s: %s%s", values.where, what, " and ".join(steps), into)


def _chosen(values: Values, found: Survey, n_top_genes: int) -> tuple[Any, bool]:
    """Return the genes, as a method takes them, and whether they were chosen."""
    from mnncorrect._prepare import count_survey

    n_genes = values.shape[1]
    if n_genes <= n_top_genes:
        logger.info("no more than %d genes: all are used", n_top_genes)
        return None, False
    genes = count_survey.choose_genes(values, found, n_top_genes)
    logger.info("chose %d of %d genes as highly variable in batches", genes.sum(), n_genes)
    return genes, True


@contextlib.contextmanager
def _whole(
    loaded: Loaded,
    values: Values,  # noqa: ARG001
    found: Survey,
    genes: Any,  # noqa: ARG001
    correction: Correction,
    computing: Computing,  # noqa: ARG001
    limits: Limits,  # noqa: ARG001
    *,
    keep: bool,
) -> Iterator[dict[str, Any]]:
    """Normalise values in memory into a layer of their own."""
    from mnncorrect import _adata

    adata, source = loaded.adata, loaded.source
    if not found.changes:
        yield source
        return
    layer = f"{correction.key_added}_log1p"
    matrix: Any = _adata.take_matrix(adata, **source)
    matrix = matrix if isinstance(matrix, np.ndarray) else matrix.tocsr()
    adata.layers[layer] = found.normalise(matrix, slice(None))
    yield {"layer": layer, "use_raw": False}
    if not keep:
        del adata.layers[layer]


@contextlib.contextmanager
def _gathered(
    loaded: Loaded,
    values: Values,
    found: Survey,
    genes: Any,
    correction: Correction,
    computing: Computing,
    limits: Limits,
    *,
    keep: bool,
) -> Iterator[dict[str, Any]]:
    """Put the genes that the method needs in the place of values that stay in a file."""
    from mnncorrect import _adata
    from mnncorrect._adata.matrix import take_values
    from mnncorrect._prepare.gather import gather, kept

    adata, source = loaded.adata, loaded.source
    mask = _adata.take_gene_mask(adata, genes).mask
    if correction.correct_all:
        mask = None
    held, _ = take_values(adata, **source)
    with kept(values, held, limits.scratch, wanted=keep) as keeper:
        some = gather(
            values,
            found,
            mask,
            memory=limits.gathered,
            scratch=limits.scratch,
            keep=None if keeper is None else keeper.append,
            n_jobs=computing.n_jobs,
        )
    if found.changes:
        layer = f"{correction.key_added}_log1p"
        adata.layers[layer] = some
        yield {"layer": layer, "use_raw": False}
        if keeper is None:
            del adata.layers[layer]
        else:
            adata.layers[layer] = keeper.stored()
    else:
        before = _put(adata, source, some)
        yield source
        _put(adata, source, before)


@contextlib.contextmanager
def by_rows(adata: AnnData, source: dict[str, Any], limits: Limits) -> Iterator[None]:
    """Give an object values that can be read by rows, for the time of the block.

    Those in a file that take less than half of the memory are read; others are written by rows to
    a scratch file where they do not lie so.
    """
    from mnncorrect import _adata
    from mnncorrect._adata.matrix import take_values
    from mnncorrect._adata.stored import load, n_stored
    from mnncorrect._adata.stored_rows import lies_by_rows
    from mnncorrect._io.pieces import EACH, Piece, write_pieces

    held, _ = take_values(adata, **source)
    if not is_stored(held) or (EACH * n_stored(held) > limits.gathered and lies_by_rows(held)):
        yield
        return
    if EACH * n_stored(held) <= limits.gathered:
        values = load(held)
    else:
        piece = Piece(held, _adata.describe_source(**source))
        values = write_pieces([piece], limits.scratch, block_bytes=limits.block)
    before = _put(adata, source, values)
    yield
    _put(adata, source, before)


def _put(adata: AnnData, source: dict[str, Any], values: Any) -> Any:
    """Replace the values of an object, and return those it had."""
    import anndata

    if source["use_raw"]:
        before = anndata.AnnData(
            adata.raw.X, obs=adata.obs[[]], var=adata.raw.var, varm=dict(adata.raw.varm)
        )
        if not isinstance(values, anndata.AnnData):
            values = anndata.AnnData(values, obs=adata.obs[[]], var=adata.var[[]])
        adata.raw = values
        return before
    if source["layer"] is not None:
        before = adata.layers[source["layer"]]
        adata.layers[source["layer"]] = values
    else:
        before = adata.X
        adata.X = values
    return before
