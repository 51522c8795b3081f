"""What expression values are: counts, logarithms and of which base, or something else.

One judge for all inputs. :func:`look` reads what it needs off a block of cells, :class:`Statistics`
gathers that for all cells, and :func:`judge` tells what the values of a group of cells are.

Three things prove what values are. Whole numbers are counts. If the sums of cells are all the same,
cells were scaled to that total; if the sums are the same once a logarithm is undone, that logarithm
was taken. And if the values of a cell, once a logarithm is undone, are whole multiples of its
smallest one, or of one, that logarithm was taken of scaled counts, or of counts; this holds if
genes were left out later.

Where nothing proves it, depth tells: a cell of fewer counts has fewer genes. Scaling to a common
total makes its values larger, where those of counts are smaller.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from . import sparse_kernels

if TYPE_CHECKING:
    from .rows import Matrix

ValueKind: TypeAlias = Literal[
    "counts",
    "fractional counts",
    "normalized values",
    "log values",
    "scaled values",
    "zeros and ones",
    "all zero",
    "unclear",
]

# Whole numbers up to this one are exact as float32.
EXACT_IN_FLOAT32 = 1 << 24
# What undoes a logarithm of one plus the value, by the base of this; None: there is none.
LOG_BASES: tuple[float | None, ...] = (None, float(np.e), 2.0, 10.0)
# log1p of counts scaled to a million stays below 14, log2 below 20: what is larger is no logarithm.
LARGEST_LOG = 20.0
# Cells of a block whose logarithms are undone.
SAMPLED_CELLS = 256
# Totals of cells that differ by less than this share are the same one, rounded to float32; by less
# than the second, the same one less some genes that were left out later.
SAME_TOTAL, ABOUT_SAME = 1e-3, 0.03
# Share of cells whose totals must agree.
MOST_AGREEING = 0.9
# Multiples of the smallest value that are looked at, how near to whole they must be, and the share
# of them that may be no multiples.
LARGEST_MULTIPLE, NEAR, FEW_BROKEN = 50.0, 0.01, 0.02
# Values that must be looked at for multiples to prove something.
ENOUGH_MULTIPLES = 10
# Share of values that are not whole, of counts with fractions at most: of log2 values, some are
# whole as well.
MOST_BROKEN = 0.5
# Cells that depth is compared over, and rank correlations that tell counts and logarithms.
ENOUGH_CELLS, DEEPER, SHALLOWER, STRONG_CORRELATION = 20, 0.15, -0.15, 0.5
# Standard deviation of the logarithm of sums that scaled cells stay below, and a value above which
# powers of counts vary more than that.
MOST_VARIED, LARGE_VALUE = 0.65, 6.0
# Fewer cells than this tell nothing by themselves.
LEAST_TELLING_CELLS = 3


@dataclass(frozen=True)
class BlockStatistics:
    """What is read off the values of some cells, in order."""

    smallest: NDArray[np.float64]  # Of each cell, zeros included.
    largest: NDArray[np.float64]  # Of each cell, zeros included.
    total: NDArray[np.float64]  # Of each cell, zeros included.
    # How many values of each are below zero, above zero, and above zero but not whole.
    negative: NDArray[np.int32]
    above: NDArray[np.int32]
    broken: NDArray[np.int32]
    sampled: NDArray[np.int64]  # Rows of the cells, among these, whose logarithms were undone.
    # Sums of these once a logarithm to each of `BASES` is undone, cells x bases.
    undone: NDArray[np.float64]
    # How many of their values were compared with their smallest one, or with one, once a logarithm
    # is undone, and how many of these are no whole multiples of it, cells x bases.
    compared: NDArray[np.int64]
    unlike: NDArray[np.int64]


def look(block: Matrix) -> BlockStatistics:
    """Look at a block of cells x genes, dense or CSR, float and finite."""
    rows: Any = block if sp.issparse(block) else sp.csr_matrix(block)
    n = rows.shape[0]
    smallest, largest, total = np.empty(n), np.empty(n), np.empty(n)
    negative, above, broken = (np.zeros(n, np.int32) for _ in range(3))
    sparse_kernels.row_ranges(
        rows.data, rows.indptr, rows.shape[1], smallest, largest, total, negative, above, broken
    )
    some = np.flatnonzero((broken > 0) & (negative == 0))
    some = some[
        np.arange(min(len(some), SAMPLED_CELLS))
        * len(some)
        // max(1, min(len(some), SAMPLED_CELLS))
    ]
    undone, compared, unlike = _undone(rows, some)
    return BlockStatistics(
        smallest, largest, total, negative, above, broken, some, undone, compared, unlike
    )


def undo(values: NDArray[np.float64], base: float | None) -> NDArray[np.float64]:
    """Undo a logarithm of one plus the value."""
    if base is None:
        return values
    with np.errstate(over="ignore"):
        undone: NDArray[np.float64] = np.expm1(values * np.log(base))
    return undone


def _undone(
    rows: Any, some: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Sum the values of some cells once logarithms are undone, and look for their multiples."""
    sums = np.zeros((len(some), len(LOG_BASES)))
    compared, unlike = (np.zeros(sums.shape, np.int64) for _ in range(2))
    for at, row in enumerate(some):
        values = rows.data[rows.indptr[row] : rows.indptr[row + 1]].astype(np.float64)
        values = values[values > 0]
        for column, base in enumerate(LOG_BASES):
            undone = undo(values, base)
            sums[at, column] = undone.sum()
            compared[at, column], unlike[at, column] = _multiples(undone, undone.min())
            if undone.min() > 1 + NEAR:  # counts, perhaps; a deep cell may have no count of one
                n, n_unlike = _multiples(undone, 1.0)
                if n and n_unlike / n < unlike[at, column] / max(1, compared[at, column]):
                    compared[at, column], unlike[at, column] = n, n_unlike
    return sums, compared, unlike


def _multiples(values: NDArray[np.float64], unit: float) -> tuple[int, int]:
    """Count values that are larger than a unit, and those of them that are no multiples of it."""
    with np.errstate(invalid="ignore"):
        ratios = values / unit
    ratios = ratios[(ratios > 1 + NEAR) & (ratios < LARGEST_MULTIPLE)]
    return len(ratios), int((np.abs(ratios - np.rint(ratios)) > NEAR).sum())


@dataclass
class Statistics:
    """What was read off all cells, block by block."""

    # Where each block begins, and what was read off it.
    parts: list[tuple[int, BlockStatistics]] = field(default_factory=list)

    def add(self, start: int, part: BlockStatistics) -> None:
        """Add a block that begins at a cell; blocks come in order."""
        self.parts.append((start, part))

    def of_cells(self, name: str) -> NDArray[Any]:
        """Return an attribute that each cell has, for all cells."""
        return np.concatenate([getattr(part, name) for _, part in self.parts])

    @property
    def all(self) -> BlockStatistics:
        """All of it as one block."""
        if len(self.parts) > 1:
            names = [one.name for one in fields(BlockStatistics)]
            together = {name: self.of_cells(name) for name in names if name != "sampled"}
            sampled = np.concatenate([start + part.sampled for start, part in self.parts])
            # The parts are let go: they take as much memory as all of it.
            self.parts = [(0, BlockStatistics(sampled=sampled, **together))]
        ((_, whole),) = self.parts
        return whole


@dataclass(frozen=True)
class Judged:
    """What the values of a group of cells are."""

    kind: ValueKind  # What they are.
    # Of log values, the base of the logarithm; ``None``: it is not known.
    base: float | None = None
    # Of log and normalized values, what cells were scaled to; ``None``: it is not known.
    total: float | None = None
    smallest: float = 0.0  # Of the values.
    largest: float = 0.0  # Of the values.
    n_negative: int = 0  # Of the values.
    whole: bool = True  # Whether those that are not negative are whole numbers.
    # How many cells there are, and how many of these have no value above zero.
    n_cells: int = 0
    n_empty: int = 0
    median_total: float = 0.0  # Of the sums of the cells that are not empty; 0 if all are.
    mixed: bool = False  # Whether the group has cells of other kinds beside these.
    proven: bool = True  # Whether that is proven, rather than told by size and depth.

    @property
    def tells(self) -> bool:
        """Whether this says what values are: zeros, ones and a few cells may be of any kind."""
        if self.kind in ("all zero", "zeros and ones"):
            return False
        least = ENOUGH_CELLS if self.kind == "unclear" else LEAST_TELLING_CELLS
        return self.n_cells - self.n_empty >= least


def judge(looks: Statistics, groups: NDArray[np.integer[Any]] | None = None) -> list[Judged]:
    """Judge what the values of each group of cells are; cells of group -1 are left out."""
    whole = looks.all
    if groups is None:
        groups = np.zeros(len(whole.total), np.int64)
    n = int(groups.max(initial=0)) + 1
    members, sampled = _rows_by_group(groups, n), _rows_by_group(groups[whole.sampled], n)
    return [_judge(whole, *own) for own in zip(members, sampled, strict=True)]


def _rows_by_group(groups: NDArray[np.integer[Any]], n: int) -> list[NDArray[np.int64]]:
    """List the cells of each of ``n`` groups, in their order."""
    order = np.argsort(groups, kind="stable")
    ends = np.searchsorted(groups[order], np.arange(n + 1))
    return [order[ends[number] : ends[number + 1]] for number in range(n)]


def _judge(seen: BlockStatistics, cells: NDArray[np.int64], sampled: NDArray[np.int64]) -> Judged:
    n_negative = int(seen.negative[cells].sum())
    above, broken = seen.above[cells], seen.broken[cells]
    filled = (above > 0) | (seen.negative[cells] > 0)
    totals = seen.total[cells][filled]
    is_whole = not broken.any()
    largest = float(seen.largest[cells].max(initial=-np.inf))
    about: dict[str, Any] = {
        "smallest": float(seen.smallest[cells].min(initial=np.inf)),
        "largest": largest,
        "n_negative": n_negative,
        "whole": is_whole,
        "n_cells": len(cells),
        "n_empty": int((~filled).sum()),
        "median_total": float(np.median(totals)) if len(totals) else 0.0,
    }
    if not filled.any():
        return Judged("all zero", **about)
    if is_whole and largest > 1:
        return Judged("counts", **about)
    if n_negative:
        return Judged("scaled values", **about)
    if is_whole:
        return Judged("zeros and ones", **about)
    undone, compared, unlike = seen.undone[sampled], seen.compared[sampled], seen.unlike[sampled]
    # Cells of whole numbers say nothing of the others: they may be of another kind.
    some = broken > 0
    largest = float(seen.largest[cells][some].max())
    above, broken = above[some], broken[some]
    kind, base, total = _of_fractions(undone, compared, unlike, above, broken, largest)
    proven = kind != "unclear"
    if kind == "unclear":
        kind = _by_depth(seen.total[cells][some], above, undone, largest)
    like_counts = int((filled & ~some & (seen.largest[cells] > 1)).sum())
    are_logs = kind in ("log values", "normalized values") and base != 2
    mixed = _has_several_bases(compared, unlike) or (
        are_logs and like_counts >= max(LEAST_TELLING_CELLS, len(totals) // 20)
    )
    return Judged(kind, base, total, mixed=mixed, proven=proven, **about)


def _of_fractions(
    undone: NDArray[np.float64],
    compared: NDArray[np.int64],
    unlike: NDArray[np.int64],
    above: NDArray[np.int32],
    broken: NDArray[np.int32],
    largest: float,
) -> tuple[ValueKind, float | None, float | None]:
    """Tell what fractions are by what proves it."""
    possible = [base is None or largest <= LARGEST_LOG for base in LOG_BASES]
    spread = np.full(len(LOG_BASES), np.inf)
    if len(undone) >= LEAST_TELLING_CELLS:
        with np.errstate(invalid="ignore", over="ignore"):
            low, middle, high = np.quantile(
                undone, [(1 - MOST_AGREEING) / 2, 0.5, (1 + MOST_AGREEING) / 2], axis=0
            )
            spread = np.where(possible, (high - low) / middle, np.inf)
        spread[~np.isfinite(spread)] = np.inf
    at = int(np.argmin(spread))
    # Cells that are all alike have the same sums whatever is done to them.
    if spread[at] < ABOUT_SAME and np.delete(spread, at).min() > 3 * spread[at] + SAME_TOTAL:
        kind: ValueKind = "normalized values" if LOG_BASES[at] is None else "log values"
        return kind, LOG_BASES[at], _rounded(np.median(undone[:, at]))
    of_all = compared.sum(0)
    share = np.where(possible, unlike.sum(0) / np.maximum(of_all, 1), 1.0)
    share[of_all < ENOUGH_MULTIPLES] = 1.0
    at = 1 + int(np.argmin(share[1:]))
    # Counts with a few fractions, too, give whole numbers when powers of two are taken of them.
    if share[at] < FEW_BROKEN and share[0] > 5 * share[at] + 2 * FEW_BROKEN:
        same = spread[at] < ABOUT_SAME
        return "log values", LOG_BASES[at], _rounded(np.median(undone[:, at])) if same else None
    multiples = share[0] < FEW_BROKEN
    if broken.sum() < (MOST_AGREEING if multiples else MOST_BROKEN) * above.sum():
        return "fractional counts", None, None
    if multiples:
        same = spread[0] < ABOUT_SAME
        return "normalized values", None, _rounded(np.median(undone[:, 0])) if same else None
    return "unclear", None, None


def _by_depth(
    totals: NDArray[np.float64],
    above: NDArray[np.int32],
    undone: NDArray[np.float64],
    largest: float,
) -> ValueKind:
    """Tell counts with fractions and logarithms by how values go with the number of genes."""
    enough = len(totals) >= ENOUGH_CELLS
    tie = _rank_correlation(totals / above, above) if enough else 0.0
    if largest > LARGEST_LOG:
        return "fractional counts"
    if not enough:
        return "unclear"
    with np.errstate(invalid="ignore", divide="ignore"):
        given, _, undone_two, _ = np.log(undone).std(0)
        least = float(np.log(undone[:, 1:3]).std(0).min())
    # Sums of cells that were scaled do not vary much, with some of the genes left out neither;
    # powers of counts do, the more the larger the counts are.
    if tie < SHALLOWER and least < MOST_VARIED:
        return "log values"
    if largest > LARGE_VALUE and undone_two < MOST_VARIED and tie < STRONG_CORRELATION:
        return "log values"
    if undone_two > 2 * max(MOST_VARIED, given) and tie > SHALLOWER:
        return "fractional counts"
    if (
        undone_two > 1.2 * max(MOST_VARIED if tie < STRONG_CORRELATION else 0.0, given)
        and tie > DEEPER
    ):
        return "fractional counts"
    return "unclear"


def _has_several_bases(compared: NDArray[np.int64], unlike: NDArray[np.int64]) -> bool:
    """Tell whether logarithms of several bases are proven, each for some of the cells."""
    share = np.where(compared >= 5, unlike / np.maximum(compared, 1), 1.0)
    proven = (share < FEW_BROKEN).sum(1) == 1
    several = np.bincount(np.argmin(share[proven], 1), minlength=len(LOG_BASES))
    enough = max(LEAST_TELLING_CELLS, len(share) // 20)
    return bool((several >= enough).sum() > 1)


def _rounded(total: Any) -> float:
    """Round a total to what float32 and other blocks of cells leave of it."""
    return float(f"{float(total):.5g}")


def _rank_correlation(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Return Spearman's rank correlation, 0 where one does not vary."""
    ranks = [np.unique(x, return_inverse=True, return_counts=True)[1:] for x in (one, other)]
    first, second = ((np.cumsum(n) - (n - 1) / 2)[at] for at, n in ranks)
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])
