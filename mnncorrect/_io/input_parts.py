"""What inputs are to those that put them together or take some of their cells."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import TYPE_CHECKING, Any, TypeAlias

from mnncorrect._adata.matrix import describe_source
from mnncorrect._adata.stored import BLOCK_BYTES
from mnncorrect._io.h5ad import COMPRESSION
from mnncorrect._io.pieces import Piece, write_pieces
from mnncorrect._wording import UsageError

if TYPE_CHECKING:
    import numpy as np
    from anndata import AnnData
    from numpy.typing import NDArray

    from mnncorrect._io.scratch import Scratch

# The column of obs that says which input a cell comes from.
FILE_KEY = "mnn_file"
# The kind of an input whose elements can be copied as they are stored.
H5AD, H5MU = "h5ad", "h5mu"
ZARR = "zarr"
# How many values a message lists.
FEW_LISTED = 5


@dataclass(frozen=True)
class Part:
    """One input."""

    adata: AnnData  # The object; its matrices may be in a file.
    genes: NDArray[np.bool_] | None = None  # Which of its genes are taken; ``None``: all.
    # What holds for all its cells: columns of obs, with one value each.
    about: Mapping[str, Any] = field(default_factory=dict)
    kind: str = H5AD  # What the input is, such as ``"h5ad"`` or ``"zarr"``.
    cells: NDArray[np.bool_] | None = None  # Which of its cells are taken; ``None``: all.


# Writes pieces below each other as one matrix, and returns it.
WritesPieces: TypeAlias = Callable[[Sequence[Piece]], Any]


@dataclass(frozen=True)
class Store:
    """Where matrices are written, and how much of them is in memory at a time."""

    scratch: Scratch  # Gives the file.
    block_bytes: int = BLOCK_BYTES  # Of a block.

    def __call__(self, pieces: Sequence[Piece], /) -> Any:
        """Write pieces below each other, packed as results are, since they become results."""
        return write_pieces(pieces, self.scratch, block_bytes=self.block_bytes, **COMPRESSION)


@dataclass(frozen=True)
class Selection:
    """Which cells, genes and values of the inputs are taken, and what names the batches."""

    # The column of obs that names the batch, or several; ``None``: left open.
    key: str | list[str] | None = None
    # Where values are read.
    layer: str | None = None
    use_raw: bool = False
    # How the genes of several inputs are matched.
    gene_key: str | None = None
    strip_versions: bool = False
    # Conditions on the cells, as :func:`mnncorrect._io.subsets.meeting` takes them.
    subset: Sequence[str] = ()
    batch_from_barcode: bool = False  # Whether names of cells tell the batches.
    # Cells that are removed, as :class:`mnncorrect._prepare.removed_cells.CellFilters` has them.
    min_counts: float | None = None
    min_genes: int | None = None
    max_mito: float | None = None

    def __post_init__(self) -> None:
        _refuse_filter("min_counts", self.min_counts, "a number of counts")
        _refuse_filter("min_genes", self.min_genes, "a number of genes")
        _refuse_filter("max_mito", self.max_mito, "a percentage from 0 to 100", most=100)
        if self.key and self.batch_from_barcode:
            raise UsageError(
                "`key` and `batch_from_barcode` both name the batches; leave one of them out"
            )

    @property
    def where(self) -> str:
        """The place that values are read from, for messages."""
        return describe_source(self.layer, use_raw=self.use_raw)


def _refuse_filter(name: str, value: Any, what: str, most: float = math.inf) -> None:
    """Refuse a filter of cells that is no number in its range."""
    if value is None:
        return
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= most or math.isinf(value):
        raise UsageError(f"`{name}` is {value!r}; give {what}")
