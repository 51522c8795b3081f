"""What speaks for and against correcting a data set: found in one pass over its values.

Values are read in blocks of cells. Whether a covariate is distinguishable from the batches follows
from the table of their cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray

from mnncorrect._adata.numbers import as_floats
from mnncorrect._adata.stored import BLOCK_BYTES
from mnncorrect._io.pieces import Piece, blocks_of
from mnncorrect.core.matrix.value_kinds import Judged, Statistics, ValueKind, judge
from mnncorrect.core.matrix.value_kinds import look as value_look
from mnncorrect.core.metrics.confounding import Confounding, of_categories, of_numbers

if TYPE_CHECKING:
    from mnncorrect._io.scratch import Scratch

# A covariate of more numbers than this is taken for a quantity, not for groups.
MOST_CATEGORIES = 20


@dataclass(frozen=True)
class Fitness:
    """What values are like."""

    looks: Statistics  # What was read off those that are finite.
    judged: Judged  # What these are, taken together.
    n_above: int  # How many are above zero.
    # How many are not finite.
    n_nan: int
    n_infinite: int
    # Cell and gene, by number, of the first of these; ``None``: there is none.
    first_bad: tuple[int, int] | None
    totals: NDArray[np.float64]  # Sum of each cell, of what is finite.
    n_genes: NDArray[np.int64]  # How many genes of each cell are above zero.
    # Which cells have a value other than zero, and in the genes that are named.
    filled: NDArray[np.bool_]
    filled_named: NDArray[np.bool_]
    seen: NDArray[np.bool_]  # Batches x genes: where a gene is above zero in some cell.

    @property
    def kind(self) -> ValueKind:
        """What the values are, as far as they tell."""
        return self.judged.kind

    @property
    def scaled_to(self) -> float | None:
        """The total that cells were scaled to, before a logarithm if there is one."""
        return self.judged.total


def scan_values(
    pieces: Sequence[Piece],
    codes: NDArray[np.int64],
    scratch: Scratch,
    *,
    taken: NDArray[np.bool_] | None = None,
    named: NDArray[np.bool_] | None = None,
    block_bytes: int = BLOCK_BYTES,
) -> Fitness:
    """Look at all values once; ``codes`` are of batches, zeros without them.

    ``taken``: the columns that are genes to be taken, where more are counted. ``named``: which of
    these distances are measured in, if that is known. ``scratch`` has what cannot be read by rows;
    about ``block_bytes`` are in memory at a time.
    """
    n_cells, n_columns = sum(piece.shape[0] for piece in pieces), pieces[0].shape[1]
    looks = Statistics()
    totals, n_genes = np.zeros(n_cells), np.zeros(n_cells, np.int64)
    filled, filled_named = np.zeros(n_cells, np.bool_), np.zeros(n_cells, np.bool_)
    used = np.ones(n_columns, np.bool_) if taken is None else taken.copy()
    if named is not None:
        used[np.flatnonzero(used)[~named]] = False
    seen = np.zeros((int(codes.max(initial=0)) + 1, n_columns), dtype=bool)
    n_nan = n_infinite = n_above = start = 0
    first_bad: tuple[int, int] | None = None
    for piece in pieces:
        # Numbers of no kind are refused before they are read.
        _ = piece.dtype
        for block in blocks_of(piece, scratch, block_bytes=block_bytes):
            values: Any = sp.csr_matrix(as_floats(block, piece.where))
            rows = slice(start, start + values.shape[0])
            start = rows.stop
            row_of = np.repeat(np.arange(values.shape[0]), np.diff(values.indptr))
            numbers = values.data
            bad = ~np.isfinite(numbers)
            if bad.any():
                at = np.flatnonzero(bad)
                n_nan += int(np.isnan(numbers[at]).sum())
                n_infinite += int(np.isinf(numbers[at]).sum())
                if first_bad is None:
                    first_bad = (int(rows.start + row_of[at[0]]), int(values.indices[at[0]]))
                numbers[at] = 0
            looks.add(rows.start, value_look(values))
            above = numbers > 0
            n_above += int(above.sum())
            totals[rows] = np.bincount(row_of, numbers, minlength=values.shape[0])
            n_genes[rows] = np.bincount(row_of[above], minlength=values.shape[0])
            seen[codes[rows][row_of[above]], values.indices[above]] = True
            there = numbers != 0
            filled[rows.start + row_of[there]] = True
            filled_named[rows.start + row_of[there & used[values.indices]]] = True
    (judged,) = judge(looks)
    if taken is not None:
        seen = seen[:, taken]
    return Fitness(
        looks, judged, n_above, n_nan, n_infinite, first_bad, totals, n_genes, filled, filled_named,
        seen,
    )  # fmt: skip


@dataclass(frozen=True)
class Relation:
    """How a covariate and the batches are tied."""

    n_values: int  # How many values it has.
    n_missing: int  # How many cells have none, and are left out.
    quantity: bool  # Whether it is taken for a quantity rather than for groups.
    confounding: Confounding  # How far it is distinguishable from the batch.
    within: bool  # Whether each value occurs in one batch only.


def is_quantity(covariate: pd.Series[Any]) -> bool:
    """Tell whether a covariate is a quantity rather than groups.

    Examples
    --------
    >>> is_quantity(pd.Series(range(30))), is_quantity(pd.Series([0, 1, 2] * 10))
    (True, False)
    """
    numeric = pd.api.types.is_numeric_dtype(covariate) and not pd.api.types.is_bool_dtype(covariate)
    return numeric and covariate.nunique() > MOST_CATEGORIES


def relation(codes: NDArray[np.int64], covariate: pd.Series[Any]) -> Relation:
    """Find out how a covariate and the batches are tied.

    Examples
    --------
    >>> relation(np.array([0, 0, 1, 1, 2, 2]), pd.Series(list("aabbbb"))).confounding
    Confounding(strength=1.0, fixed=True, identical=False)
    """
    groups, names = pd.factorize(covariate)
    known = groups >= 0
    quantity = is_quantity(covariate)
    if quantity:
        found = of_numbers(covariate.to_numpy(dtype=np.float64, na_value=np.nan), codes)
    else:
        found = of_categories(groups, codes)
    together = np.unique(np.stack([groups[known], codes[known]]), axis=1).shape[1]
    return Relation(len(names), int((~known).sum()), quantity, found, within=together == len(names))
