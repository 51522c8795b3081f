"""The genes that a correction needs, normalized, taken out of values that stay in a file.

They are gathered in memory where there is room, otherwise in a scratch file by rows. What is
gathered has all genes as columns; only the numbers of the needed ones are held.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp
from anndata.io import sparse_dataset
from numpy.typing import NDArray

from mnncorrect._adata.stored import is_stored, is_stored_sparse
from mnncorrect._io.by_rows import csr_writer
from mnncorrect._io.h5ad import COMPRESSION
from mnncorrect._io.pieces import new_dense
from mnncorrect._io.zarr_rows import RowsToWrite, UnlikePointersError
from mnncorrect._io.zarr_scratch import ZarrScratch, pointers_of
from mnncorrect._log import logger
from mnncorrect.core.runtime.threads import each_block, has_cluster, resolve_n_jobs

if TYPE_CHECKING:
    from mnncorrect._io.scratch import Scratch
    from mnncorrect._prepare.count_survey import Survey
    from mnncorrect._prepare.expression_values import ExpressionValues
    from mnncorrect._prepare.limits import MemoryLimits

# What matrices are called in a scratch file.
GATHERED, NORMALIZED = "gathered", "normalized"


def gather_genes(
    values: ExpressionValues,
    survey: Survey,
    genes: NDArray[np.bool_] | None,
    limits: MemoryLimits,
    *,
    keep: Callable[[slice, Any], None] | None = None,
    n_jobs: int | None = None,
) -> Any:
    """Normalize values by their ``survey`` and take some genes, block by block.

    The result is a CSR matrix of cells x all genes, those not taken empty; a stored one if it
    needs more memory than the ``limits`` say. ``keep`` is given each normalized block with all
    genes.
    """
    columns = None if genes is None or genes.all() else np.flatnonzero(genes)
    lean, normalize, keeps = values.nameless(), survey.normalizer, keep is not None

    def made(item: tuple[slice, Any]) -> tuple[sp.csr_matrix, Any]:
        rows, along = item
        block = lean[rows]
        if keeps:
            whole = normalize(block, along)
            return _of_genes(whole, genes, columns), whole
        return normalize(_of_genes(block, genes, columns), along), None

    blocks = values.blocks()
    each = [(rows, survey.along(rows)) for rows in blocks]
    pure = values.stored.shared and not keeps
    ahead = each_block(made, each, n_jobs=resolve_n_jobs(n_jobs), pure=pure)

    def gone_through() -> Iterable[sp.csr_matrix]:
        for rows, (piece, whole) in zip(blocks, ahead, strict=True):
            if keep is not None:
                keep(rows, whole)
            yield piece

    return _collected(gone_through(), values, limits)


def keep_and_gather(
    values: ExpressionValues,
    survey: Survey,
    genes: NDArray[np.bool_] | None,
    held: Any,
    memory: int,
    shared: ZarrScratch,
) -> tuple[Any, Any]:
    """Normalize values into ``shared``, and take some genes of them, as :func:`gather_genes` does.

    ``held``: the same values as they are stored. What was written stands for the genes as well if
    they need more than ``memory`` bytes, or if there are other processes, which read it themselves.
    """
    columns = None if genes is None or genes.all() else np.flatnonzero(genes)
    lean, normalize = values.nameless(), survey.normalizer
    sparse = not isinstance(held, np.ndarray) and (is_stored_sparse(held) or sp.issparse(held))
    rows = RowsToWrite(
        lambda block, along: normalize(lean[block], along),
        values.shape,
        values.dtype,
        values.stored.shared,
        sparse,
        pointers_of(held) if values.columns is None else None,
        survey.along,
        None if has_cluster() else lambda block: _of_genes(block, genes, columns),
    )
    try:
        some = _held(shared.write(NORMALIZED, rows), memory)
    except UnlikePointersError:
        shared.drop(NORMALIZED)
        some = _held(shared.write(NORMALIZED, replace(rows, indptr=None)), memory)
    kept = shared.get(NORMALIZED)
    return kept, kept if some is None else _stacked(some, values.shape)


def _held(made: Iterable[sp.csr_matrix | None], memory: int) -> list[sp.csr_matrix] | None:
    """Take all blocks of rows, and hold them if they need no more than ``memory`` bytes."""
    pieces: list[sp.csr_matrix] | None = []
    held = 0
    for piece in made:
        if piece is None or pieces is None:
            pieces = None
            continue
        pieces.append(piece)
        held += piece.data.nbytes + piece.indices.nbytes
        if held > memory:
            logger.info("the chosen genes do not fit into the memory limit: read from the output")
            pieces = None
    return pieces


def _collected(
    made: Iterable[sp.csr_matrix], values: ExpressionValues, limits: MemoryLimits
) -> Any:
    """Put blocks of rows below each other in memory, or in a file if they do not fit."""
    pieces: list[sp.csr_matrix] = []
    held = 0
    coming = iter(made)
    for piece in coming:
        pieces.append(piece)
        held += piece.data.nbytes + piece.indices.nbytes
        if held > limits.gathered:
            break
    else:
        return _stacked(pieces, values.shape)
    logger.info("the chosen genes do not fit into the memory limit: kept in a file")

    shared = limits.shared
    group = (limits.scratch() if shared is None else shared.group()).create_group(GATHERED)
    with csr_writer(group, values.shape, values.dtype) as append:
        pieces.reverse()
        while pieces:
            append(pieces.pop())
        for piece in coming:
            append(piece)
    return sparse_dataset(group)


@contextlib.contextmanager
def kept_as_layer(
    values: ExpressionValues, held: Any, scratch: Scratch
) -> Iterator[tuple[Callable[[slice, Any], None], Callable[[], Any]]]:
    """Keep normalized values with all genes, those of a file in a scratch file.

    ``held``: the same as they are stored: dense values stay dense. Yields a function that takes the
    rows of each block and its values, in order; and one that gives what was written.
    """
    if not is_stored(held):
        blocks: list[Any] = []
        dense = isinstance(held, np.ndarray)
        yield (
            lambda _, block: blocks.append(block),
            lambda: np.concatenate(blocks) if dense else _stacked(blocks, values.shape),
        )
        return
    group = scratch().create_group(NORMALIZED)
    if not is_stored_sparse(held):
        written = new_dense(group, "dense", values.shape, values.dtype, **COMPRESSION)
        yield written.__setitem__, lambda: written
        return
    with csr_writer(group, values.shape, values.dtype, **COMPRESSION) as append:
        yield lambda _, block: append(block), lambda: sparse_dataset(group)


def _of_genes(
    block: Any, genes: NDArray[np.bool_] | None, columns: NDArray[np.int64] | None
) -> sp.csr_matrix:
    """Return a block with the numbers of some genes only, in the columns they had."""
    if isinstance(block, np.ndarray):
        some: Any = sp.csr_matrix(block if columns is None else block[:, columns])
        indices = some.indices if columns is None else columns[some.indices].astype(np.int32)
        return sp.csr_matrix((some.data, indices, some.indptr), shape=block.shape)
    if columns is None or genes is None:
        return sp.csr_matrix((block.data, block.indices, block.indptr), shape=block.shape)
    taken = genes[block.indices]
    before = np.zeros(len(taken) + 1, np.int32)
    np.cumsum(taken, out=before[1:])
    return sp.csr_matrix(
        (block.data[taken], block.indices[taken], before[block.indptr]), shape=block.shape
    )


def _stacked(pieces: list[sp.csr_matrix], shape: tuple[int, int]) -> sp.csr_matrix:
    """Put blocks of rows below each other; each is let go once it is copied."""
    stored = sum(piece.nnz for piece in pieces)
    pointer = np.int32 if stored <= np.iinfo(np.int32).max else np.int64
    data: Any = np.empty(stored, pieces[0].dtype)
    indices: Any = np.empty(stored, pointer)
    indptr: Any = np.zeros(shape[0] + 1, pointer)
    row = start = 0
    pieces.reverse()
    while pieces:
        piece = pieces.pop()
        part = slice(start, start + piece.nnz)
        data[part], indices[part] = piece.data, piece.indices
        indptr[row + 1 : row + 1 + piece.shape[0]] = piece.indptr[1:].astype(pointer) + start
        row, start = row + piece.shape[0], part.stop
    return sp.csr_matrix((data, indices, indptr), shape=shape)
