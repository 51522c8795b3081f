"""What is known of cells before a correction: labels, and what must not be removed.

:func:`take_guides` reads and judges both before any work, for the corrections, for the plan of a
run and for ``check``. It says what follows from them, and refuses what they do not allow.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import block_array, csr_array
from scipy.sparse.csgraph import connected_components

from mnncorrect._adata.batches import join_names
from mnncorrect._adata.labels import is_no_label
from mnncorrect._adata.lookup import leading, listed, require
from mnncorrect._adata.record import ARRAY
from mnncorrect._adata.unread import refuse_unread
from mnncorrect._log import logger, warn_caller
from mnncorrect.core.merging.guides import UNKNOWN, Guides

if TYPE_CHECKING:
    from anndata import AnnData

    from mnncorrect._adata import Batches

# Arguments of a correction that say what is known beforehand.
GUIDING = ("label_key", "keep")
# Labels, values and batches that a sentence lists.
MOST_SAID = 5


@dataclass(frozen=True)
class Known:
    """What is known of the cells beforehand, and what follows from it."""

    guides: Guides | None = None  # Which cells may be a pair; ``None``: nothing is known.
    params: Mapping[str, Any] = field(default_factory=dict)  # What is recorded of the parameters.
    told: tuple[str, ...] = ()  # Sentences on what is done, for the log.
    warnings: tuple[str, ...] = ()  # Sentences on what cannot be promised.
    # What must not be removed: the number of each cell's level, and the names of levels.
    levels: tuple[NDArray[np.int64], Sequence[str]] | None = None


@dataclass(frozen=True)
class _Column:
    """Values of the cells, what they are called in messages, and what is recorded of them."""

    codes: NDArray[np.int64]
    names: list[str]
    where: str
    recorded: Any


def take_guides(adata: AnnData, batches: Batches, label_key: Any = None, keep: Any = ()) -> Known:
    """Read labels and values to keep of the cells, and refuse what allows no correction.

    Labels must be of some cells, at least two of which agree. Values to keep must not be missing,
    and two batches must share one that their cells could be paired by.
    """
    told: list[str] = []
    warnings: list[str] = []
    params: dict[str, Any] = {}
    labels = levels = None
    if label_key is not None:
        labels = _labels(adata, label_key, told)
        params["label_key"] = labels.recorded
        _judge_labels(labels, batches, told, warnings)
    if keep is not None and len(keep):
        levels = _levels(adata, keep)
        params["keep"] = levels.recorded
        _judge_levels(levels, batches, told, warnings)
    if labels is None and levels is None:
        return Known()
    guides = Guides(
        None if labels is None else labels.codes, None if levels is None else levels.codes
    )
    if labels is not None and levels is not None:
        _refuse_without_pairs(guides, batches, f"{labels.where} and {levels.where} together")
    return Known(
        guides,
        params,
        tuple(told),
        tuple(warnings),
        None if levels is None else (levels.codes, levels.names),
    )


def tell_guides(known: Known) -> None:
    """Say in the log what is done, and warn of what cannot be promised."""
    for text in known.told:
        logger.info("%s", text)
    for text in known.warnings:
        warn_caller(text)


def _series(adata: AnnData, given: Any, name: str) -> tuple[pd.Series[Any], str, Any]:
    """Return the values that an argument names, what they are called, and what is recorded."""
    if isinstance(given, str):
        refuse_unread(adata, "obs", given)
        require(given, adata.obs.columns, "obs")
        return adata.obs[given], f"obs[{given!r}]", given
    values = (
        given.reindex(adata.obs_names) if _is_of_cells(given, adata) else pd.Series(list(given))
    )
    if len(values) != adata.n_obs:
        raise ValueError(
            f"{name} has {len(values)} values for {adata.n_obs} cells; name a column of obs, or "
            "give the value of each cell"
        )
    return values.set_axis(adata.obs_names), f"`{name}`", ARRAY


def _is_of_cells(given: Any, adata: AnnData) -> bool:
    """Tell whether a Series names its cells, so that its order does not count."""
    return isinstance(given, pd.Series) and bool(
        given.index.is_unique and adata.obs_names.isin(given.index).all()
    )


def _coded_texts(
    values: pd.Series[Any], known: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], list[str]]:
    """Give each text that occurs a number, in sorted order; what is not known has none."""
    codes = np.full(len(values), UNKNOWN, np.int64)
    names, found = np.unique(values[known].astype(str).to_numpy(dtype=object), return_inverse=True)
    codes[known] = found
    return codes, [str(name) for name in names]


def _labels(adata: AnnData, given: Any, told: list[str]) -> _Column:
    """Read labels; missing ones, and words that say so, are no label."""
    values, where, recorded = _series(adata, given, "label_key")
    texts = values.astype(object).where(values.notna().to_numpy(), None)
    known = np.array([text is not None and not is_no_label(str(text)) for text in texts])
    if not known.any():
        raise ValueError(f"{where} has no label for any cell; name another column, or leave it out")
    codes, names = _coded_texts(values, known)
    if len(names) > max(1, int(known.sum()) // 2):
        raise ValueError(
            f"{where} has {len(names)} values for {known.sum()} cells, so hardly two cells have "
            "the same; name a column of labels, such as cell types"
        )
    n_unknown = int((~known).sum())
    if n_unknown:
        said = sorted({str(text) for text in texts[~known] if text is not None})
        also = f" (also those called {listed(said, MOST_SAID)})" if said else ""
        told.append(
            f"{n_unknown} of {len(known)} cells have no label in {where}{also}: they take that of "
            "the labeled cells around them, or may be paired with any cell"
        )
    return _Column(codes, names, where, recorded)


def _judge_labels(labels: _Column, batches: Batches, told: list[str], warnings: list[str]) -> None:
    """Say what the labels do, and refuse those by which no cells may be paired."""
    by_batch = cells_by_batch(labels.codes, labels.names, batches)
    told.insert(
        0,
        f"pairs of cells whose labels in {labels.where} differ are rejected "
        f"({len(labels.names)} labels)",
    )
    alike = _alike_labels(labels.names, by_batch)
    spelling = ""
    if alike:
        spelling = (
            f"labels in {labels.where} that differ in spelling only are different labels: "
            f"{leading(alike, MOST_SAID, '; ')}; write them alike"
        )
        warnings.append(spelling)
    _refuse_without_pairs(Guides(labels.codes), batches, labels.where, spelling)
    alone = _in_one_batch(labels, by_batch, batches)
    if alone:
        told.append(
            f"labels in one batch only ({len(alone)} of {len(labels.names)}), whose cells are "
            f"paired with no labeled cell: {leading(alone, MOST_SAID)}"
        )


def _alike_labels(names: Sequence[str], by_batch: NDArray[np.int64]) -> list[str]:
    """Find labels that differ in case, punctuation or a plural, and that no batch has both of."""
    spelled = defaultdict(list)
    for at, name in enumerate(names):
        words = re.findall(r"[a-z0-9+]+", name.lower())
        # A sign is part of a label: CD4+ and CD4- are not alike.
        minus = "-" if name.strip().endswith("-") else ""
        spelled["".join(word.rstrip("s") for word in words) + minus].append(at)
    return [
        " and ".join(repr(names[at]) for at in some)
        for some in spelled.values()
        if len(some) > 1 and ((by_batch[some] > 0).sum(0) <= 1).all()
    ]


def _levels(adata: AnnData, given: Any) -> _Column:
    """Read what must not be removed; several columns are taken together."""
    columns = [given] if isinstance(given, str) else given
    several = isinstance(columns, list | tuple) and all(
        isinstance(name, str) and name in adata.obs.columns for name in columns
    )
    if isinstance(given, str) or (several and columns):
        parts = [_series(adata, name, "keep") for name in columns]
        recorded = columns[0] if len(columns) == 1 else list(columns)
        where = " and ".join(part[1] for part in parts)
    elif isinstance(columns, list | tuple) and len(columns) != adata.n_obs:
        for name in columns:
            require(name, adata.obs.columns, "obs")
        raise ValueError(
            f"keep has {len(columns)} values for {adata.n_obs} cells; name columns of obs, or give "
            "the value of each cell"
        )
    else:
        parts = [_series(adata, given, "keep")]
        where, recorded = parts[0][1:]
    for values, place, _ in parts:
        n_missing = int(values.isna().sum())
        if n_missing:
            raise ValueError(
                f"{place} is missing for {n_missing} of {len(values)} cells, so it cannot be kept "
                "for them; fill it in, or leave these cells out"
            )
    by_column = [values.astype(str).tolist() for values, _, _ in parts]
    texts = pd.Series([join_names(row) for row in zip(*by_column, strict=True)])
    codes, names = _coded_texts(texts, np.ones(len(texts), np.bool_))
    if len(names) > max(1, len(codes) // 2):
        raise ValueError(
            f"{where} has {len(names)} values for {len(codes)} cells; what is kept has few values, "
            "such as conditions: name another column"
        )
    return _Column(codes, names, where, recorded)


def _judge_levels(levels: _Column, batches: Batches, told: list[str], warnings: list[str]) -> None:
    """Say what can be promised of what is kept, and refuse what leaves nothing to correct."""
    by_batch = cells_by_batch(levels.codes, levels.names, batches)
    if len(levels.names) == 1:
        warnings.append(
            f"{levels.where} has one value, {levels.names[0]!r}: there is nothing to keep"
        )
        return
    groups = connected(by_batch)
    if len(groups) == len(batches.names):
        raise ValueError(
            f"no value of {levels.where} occurs in two batches, so no two batches have cells that "
            "may form pairs (`keep`), and nothing can be corrected; leave out `keep`, which "
            "removes the difference between its values too, or name batches that share values"
        )
    told.append(
        f"pairs are made only between cells with the same value of {levels.where} "
        f"({listed(levels.names, MOST_SAID)}), so no difference between its values is taken for a "
        "batch effect"
    )
    if len(groups) > 1:
        said = [" + ".join(batches.names[at] for at in group[:MOST_SAID]) for group in groups]
        warnings.append(
            f"these groups of batches share no value of {levels.where}: "
            f"{leading(said, MOST_SAID, ' | ')}; batch effects between them cannot be "
            "distinguished from what is kept, and are not removed"
        )
    alone = _in_one_batch(levels, by_batch, batches)
    if alone and len(groups) == 1:
        warnings.append(
            f"values of {levels.where} in one batch only: {leading(alone, MOST_SAID)}"
            "; their cells have no pairs, and move as the cells around them in their "
            "batch"
        )


def cells_by_batch(
    codes: NDArray[np.int64], names: Sequence[str], batches: Batches
) -> NDArray[np.int64]:
    """Count the cells of each value in each batch; values x batches."""
    known = codes != UNKNOWN
    table = np.zeros((len(names), len(batches.names)), np.int64)
    np.add.at(table, (codes[known], batches.codes[known]), 1)
    return table


def _in_one_batch(column: _Column, by_batch: NDArray[np.int64], batches: Batches) -> list[str]:
    """Name the values that only one batch has, with that batch."""
    alone = np.flatnonzero((by_batch > 0).sum(1) == 1)
    return [f"{column.names[at]} ({batches.names[by_batch[at].argmax()]})" for at in alone]


def connected(by_batch: NDArray[np.int64]) -> list[list[int]]:
    """Group columns that share a row, directly or over others: batches that share a value."""
    # Rows are linked to columns, as columns that are linked to each other would take their square.
    there = csr_array(by_batch > 0, dtype=np.int64)
    links = block_array([[None, there.T], [there, None]])
    groups = connected_components(links, directed=False)[1][: by_batch.shape[1]]
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order])) + 1
    return sorted(group.tolist() for group in np.split(order, starts))


def _refuse_without_pairs(guides: Guides, batches: Batches, where: str, remedy: str = "") -> None:
    """Refuse what allows no pair between any two batches."""
    kinds, at = _kinds(guides)
    there = np.zeros((len(kinds), len(batches.names)), np.bool_)
    there[at, batches.codes] = True
    batches_of = [np.flatnonzero(row) for row in there]
    for one, other in _matching(kinds):
        if len(np.union1d(batches_of[one], batches_of[other])) > 1:
            return
    raise ValueError(
        f"by {where} no cell of one batch may be paired with a cell of another, so nothing could "
        f"be corrected; {remedy or 'write labels alike in all batches, or leave it out'}"
    )


def _kinds(guides: Guides) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the combinations of label and level that occur, and that of each cell."""
    given = [codes for codes in (guides.labels, guides.levels) if codes is not None]
    zeros = np.zeros(len(given[0]), np.int64)
    both = [zeros if codes is None else codes for codes in (guides.labels, guides.levels)]
    kinds, at = np.unique(np.stack(both, 1), axis=0, return_inverse=True)
    return kinds, at.ravel()


def _matching(kinds: NDArray[np.int64]) -> Iterable[tuple[int, int]]:
    """Yield combinations of label and level that may be paired, each with itself too."""
    for one, (label, level) in enumerate(kinds.tolist()):
        for other, (its, at) in enumerate(kinds.tolist()):
            if other >= one and level == at and (label == its or UNKNOWN in (label, its)):
                yield one, other
