"""What inputs are to those that put them together or take some of their cells."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mnncorrect._adata.stored import BLOCK_BYTES
from mnncorrect._io.h5ad import COMPRESSION
from mnncorrect._io.pieces import write_pieces

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from anndata import AnnData
    from numpy.typing import NDArray

    from mnncorrect._io.pieces import Piece
    from mnncorrect._io.scratch import Scratch

# The column of obs that says which input a cell comes from.
FILE_KEY = "mnn_file"
# The kind of an input whose elements can be copied as they are stored.
H5AD = "h5ad"
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


@dataclass(frozen=True)
class Store:
    """Where matrices are written, and how much of them is in memory at a time."""

    scratch: Scratch  # Gives the file.
    block_bytes: int = BLOCK_BYTES  # Of a block.

    def __call__(self, pieces: Sequence[Piece]) -> Any:
        """Write pieces below each other, packed as results are, since they become results."""
        return write_pieces(pieces, self.scratch, block_bytes=self.block_bytes, **COMPRESSION)
