"""A first look at the values of inputs: before they are joined, and for a dry run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from mnncorrect._adata import as_floats
from mnncorrect._adata.features import genes_among
from mnncorrect._adata.lookup import listed
from mnncorrect._adata.matrix import take_values
from mnncorrect._adata.stored import n_stored
from mnncorrect._io.pieces import Piece, blocks_of
from mnncorrect._log import logger
from mnncorrect._prepare.decide import JudgedGroups, MixedValues, decide
from mnncorrect.core.matrix.value_kinds import Statistics, look

if TYPE_CHECKING:
    from mnncorrect._io.input_parts import Part, Selection
    from mnncorrect._prepare.limits import MemoryLimits

# Stored numbers that are looked at; of more, as many as this, in so many stretches of each input.
MOST_SEEN = 50_000_000
STRETCHES = 50
# Of each input, before it is joined with others.
MOST_OF_EACH = 2_000_000


def some_cells(pieces: Sequence[Piece], share: float) -> tuple[list[Piece], NDArray[np.bool_]]:
    """Take stretches of cells from all over each piece; and say which cells of all these are."""
    some, kept = [], []
    for piece in pieces:
        n = piece.value.shape[0]
        at = np.arange(n) * STRETCHES / n % 1 < share
        rows = np.ones(n, dtype=bool) if piece.rows is None else piece.rows
        some.append(replace(piece, rows=rows & at))
        kept.append(at[rows])
    return some, np.concatenate(kept)


def judge_inputs(
    several: Mapping[str, Part],
    limits: MemoryLimits,
    selection: Selection,
    *,
    counts: bool | None = None,
    can_tell: bool = True,
) -> None:
    """Refuse inputs of unlike values before they are joined; log what is doubtful.

    Some cells from all over each input are looked at, over all its genes. What only one input can
    tell is left to those who look at all values. ``counts, can_tell``: as in ``decide``.
    """
    where, layer, use_raw = selection.where, selection.layer, selection.use_raw
    looks = Statistics()
    sizes: list[int] = []
    for name, part in several.items():
        adata = part.adata
        if use_raw and adata.raw is not None:
            values: Any = adata.raw.X
            genes = genes_among(adata.raw.var)
        else:
            try:
                values, _ = take_values(adata, layer=layer, use_raw=use_raw)
            except (KeyError, ValueError):
                return  # what an input lacks is refused by those who put inputs together
            genes = genes_among(adata.var)
        piece = Piece(
            values, f"{where} of {name}", None, None if genes is None else np.flatnonzero(genes)
        )
        share = MOST_OF_EACH / max(1, n_stored(values))
        (piece,), kept = some_cells([piece], share)
        start = sum(sizes)
        for block in blocks_of(piece, limits.scratch, block_bytes=limits.block):
            rows: Any = sp.csr_matrix(as_floats(block, piece.where))
            rows.data[~np.isfinite(rows.data)] = 0  # refused by those who read all values
            looks.add(start, look(rows))
            start += rows.shape[0]
        sizes.append(int(kept.sum()))
    groups = JudgedGroups(np.repeat(np.arange(len(sizes)), sizes), list(several))
    try:
        verdict = decide(looks, where, groups=groups, counts=counts, can_tell=can_tell)
    except MixedValues:
        raise
    except ValueError:
        return
    if verdict.factors and not can_tell:
        logger.warning(
            "%s holds log values that were scaled to different totals: %s; run brings them to one",
            where, listed(verdict.totals, 5),
        )  # fmt: skip
