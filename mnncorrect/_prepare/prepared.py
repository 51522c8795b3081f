"""Values as a method is given them, for the time of a correction.

Values are gone through twice, in blocks of cells: once to survey them, once for the genes that the
method needs, which then stand in the place of the values until it is done.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import anndata

from mnncorrect import _adata
from mnncorrect._adata.matrix import take_values
from mnncorrect._adata.record import fields_of
from mnncorrect._adata.stored import is_stored, load, n_stored
from mnncorrect._adata.stored_rows import lies_by_rows
from mnncorrect._io.pieces import SPARSE_ENTRY_BYTES, Piece, write_pieces
from mnncorrect._log import logger
from mnncorrect._prepare.decide import described
from mnncorrect._prepare.gather import gather_genes, keep_and_gather, kept_as_layer
from mnncorrect.core.runtime.threads import has_cluster

if TYPE_CHECKING:
    from anndata import AnnData

    from mnncorrect._prepare.count_survey import Survey
    from mnncorrect._prepare.expression_values import ExpressionValues
    from mnncorrect._prepare.limits import MemoryLimits


@contextlib.contextmanager
def prepared(
    adata: AnnData,
    source: dict[str, Any],
    values: ExpressionValues,
    found: Survey,
    genes: Any,
    limits: MemoryLimits,
    *,
    key_added: str,
    correct_all: bool = False,
    keep: bool,
    n_jobs: int | None = None,
) -> Iterator[dict[str, Any]]:
    """Give an object the normalized values of the genes that a method needs, until the block ends.

    Then it has its own values again, and what was normalized beside them if ``keep`` is set. Yields
    the arguments that say where values are read meanwhile.
    """
    mask = None if correct_all else _adata.take_gene_mask(adata, genes).mask
    held, _ = take_values(adata, **source)
    layer = _adata.Keys(key_added).normalized
    shared = limits.shared
    if has_cluster() and values.stored.shared and not found.changes:
        # Other processes read the values where they are.
        yield source
        return
    if shared is not None and found.changes and (keep or has_cluster()):
        kept, some = keep_and_gather(values, found, mask, held, limits.gathered, shared)
    else:
        keeping: Any = contextlib.nullcontext((None, lambda: None))
        if keep and found.changes:
            keeping = kept_as_layer(values, held, limits.scratch)
        with keeping as (append, stored):
            some = gather_genes(values, found, mask, limits, keep=append, n_jobs=n_jobs)
        kept = stored()
    if found.changes:
        adata.layers[layer] = some
        yield {"layer": layer, "use_raw": False}
        if kept is None or not keep:
            del adata.layers[layer]
            _record_source(adata, key_added, source)
        else:
            adata.layers[layer] = kept
    else:
        before = _replace_values(adata, source, some)
        yield source
        _replace_values(adata, source, before)


def _record_source(adata: AnnData, key_added: str, source: dict[str, Any]) -> None:
    """Have the record name where values were read, as what was made of them is not kept."""
    name = _adata.Keys(key_added).uns
    params = {**fields_of(adata.uns, name)["params"]}
    params.pop("layer", None)
    draft = _adata.Draft(adata, None)
    draft.amend(name, {"params": params | _adata.as_params(source)})
    draft.commit()


def log_survey(found: Survey, values: ExpressionValues, layer: str | None) -> None:
    """Log what was found and what is done to it; ``layer``: where that is kept, if it is."""
    judged = found.verdict.judged
    kind, _, details = described(judged).removesuffix(")").partition(" (")
    told = [details] if details else []
    told += [f"{judged.smallest:.4g} to {judged.largest:.4g}"]
    told += ["as given"] if found.verdict.told else []
    what = f"{kind} ({'; '.join(told)})"
    if not found.changes:
        logger.info("%s holds %s: used unchanged", values.where, what)
        return
    total = "the median total" if found.verdict.target is None else f"{found.target:g}"
    steps = [
        text
        for done, text in ((found.total, f"scaled to {total}"), (found.log1p, "log-transformed"))
        if done
    ]
    if found.factors is not None:
        steps = [f"brought to {judged.total:g}"]
    into = "" if layer is None else f", written to layers[{layer!r}]"
    logger.info("%s holds %s: %s%s", values.where, what, " and ".join(steps), into)


@contextlib.contextmanager
def by_rows(adata: AnnData, source: dict[str, Any], limits: MemoryLimits) -> Iterator[None]:
    """Give an object values that can be read by rows, for the time of the block.

    Those in a file that take less than half of the memory are read; others are written by rows to
    a scratch file where they do not lie so.
    """
    held, _ = take_values(adata, **source)
    if not is_stored(held) or (
        SPARSE_ENTRY_BYTES * n_stored(held) > limits.gathered and lies_by_rows(held)
    ):
        yield
        return
    if SPARSE_ENTRY_BYTES * n_stored(held) <= limits.gathered:
        values = load(held)
    else:
        piece = Piece(held, _adata.describe_source(**source))
        values = write_pieces([piece], limits.scratch, block_bytes=limits.block)
    before = _replace_values(adata, source, values)
    yield
    _replace_values(adata, source, before)


def _replace_values(adata: AnnData, source: dict[str, Any], values: Any) -> Any:
    """Replace the values of an object, and return those it had."""
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
