"""Expression values by rows, in memory or in a file, with the names of cells and genes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnncorrect._adata import describe_source, take_expression_rows
from mnncorrect._adata.features import genes_among
from mnncorrect._adata.matrix import take_values
from mnncorrect._adata.slots import elements_of
from mnncorrect._adata.stored import BLOCK_BYTES, dtype_of, is_stored, n_stored
from mnncorrect._io.pieces import SPARSE_ENTRY_BYTES
from mnncorrect.core.runtime.threads import row_blocks

if TYPE_CHECKING:
    from anndata import AnnData

    from mnncorrect._io.scratch import Scratch
    from mnncorrect.core.matrix.rows import RowSource


@dataclass(frozen=True)
class ExpressionValues:
    """Expression values, by rows."""

    stored: RowSource  # Cells x all columns that are stored.
    where: str  # The place they were read from.
    # Names of the cells, of the genes that are taken, and of all columns.
    cells: Any
    genes: Any
    all_genes: Any
    block_rows: int  # How many cells make a block.
    # Which columns are the genes that are taken, in their order; ``None``: all.
    columns: NDArray[np.int64] | None = None
    # Which columns are genes, over which totals of cells are taken; ``None``: all.
    counted: NDArray[np.int64] | None = None
    # Whether whole numbers were stored with more digits than they are read with.
    rounded: bool = False
    layers: Sequence[str] = ()  # Other places of values.

    @property
    def shape(self) -> tuple[int, int]:
        """Cells, and genes that are taken."""
        return self.stored.shape[0], len(self.genes)

    @property
    def dtype(self) -> Any:
        """Float type of the values."""
        return self.stored.dtype

    def nameless(self) -> ExpressionValues:
        """Return the same values without the names of cells and genes."""
        return replace(self, cells=None, genes=None, all_genes=None)

    def blocks(self) -> list[slice]:
        """Cut the cells into blocks."""
        return row_blocks(self.shape[0], self.block_rows)

    def __getitem__(self, rows: slice) -> Any:
        return self.of_genes(self.stored[rows])

    def of_genes(self, block: Any) -> Any:
        """Return the genes that are taken of a block of stored columns."""
        return block if self.columns is None else block[:, self.columns]

    def of_counted(self, block: Any) -> Any:
        """Return the columns of a block that totals are taken over."""
        return block if self.counted is None else block[:, self.counted]


def take(
    adata: AnnData,
    *,
    layer: str | None = None,
    use_raw: bool = False,
    scratch: Scratch | None = None,
    block_bytes: int = BLOCK_BYTES,
) -> ExpressionValues:
    """Take the values of an object, which may be in memory or in a file.

    Of ``raw``, totals of cells are taken over all its genes, not only those that the object has.
    Features that are no genes do not count.
    """
    held, columns = take_values(adata, layer=layer, use_raw=use_raw)
    stored = take_expression_rows(
        adata, layer=layer, use_raw=use_raw, scratch=scratch, block_bytes=block_bytes, whole=True
    )
    are_genes = genes_among(adata.raw.var if use_raw else adata.var)
    each = max(1, SPARSE_ENTRY_BYTES * n_stored(held) // adata.n_obs)
    given = dtype_of(held) if is_stored(held) else held.dtype
    return ExpressionValues(
        stored,
        describe_source(layer, use_raw=use_raw),
        adata.obs_names,
        adata.var_names,
        adata.raw.var_names if use_raw else adata.var_names,
        max(1, min(adata.n_obs, block_bytes // each)),
        columns,
        None if are_genes is None else np.flatnonzero(are_genes),
        given.kind in "iu" and given.itemsize >= 4,
        [name for name in elements_of(adata, "layers") if name != layer],
    )
