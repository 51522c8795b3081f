"""Covariates whose effects are taken out before a correction: columns of obs, as numbers.

The type of a column decides: numbers are a quantity with one slope, all else (text, categories,
booleans) a factor with one effect for each value. Corrections, plans and projections ask here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mnncorrect._adata.batches import refuse_missing, take_labels
from mnncorrect._adata.lookup import leading, listed, require
from mnncorrect._adata.results import recorded_table
from mnncorrect._adata.unread import refuse_unread
from mnncorrect._log import logger, warn_caller
from mnncorrect._prepare.guides import cells_by_batch, connected
from mnncorrect.core.metrics.confounding import of_categories, of_numbers

if TYPE_CHECKING:
    from anndata import AnnData

    from mnncorrect._adata import Batches
    from mnncorrect.core.matrix.covariates import Regression

# Cells, on average, that each coefficient is fitted on at least; and most coefficients of a gene,
# because memory holds one number of each cell for each.
LEAST_CELLS, MOST_EFFECTS = 5, 1_000
# Ranges of numbers between which squares are finite and not zero.
LEAST_RANGE, LARGEST_RANGE = 1e-100, 1e100
# Whole numbers with no more values than this may be codes of groups.
FEW_CODES = 10
# Groups of values that a message lists.
GROUPS_LISTED = 3
# Strength from which a covariate counts as nearly the same as the batch.
NEARLY_BATCH = 0.9


@dataclass(frozen=True)
class Covariates:
    """Covariates of cells, as numbers."""

    # The column of each number, and the value that it marks; ``None``: the column is a quantity.
    columns: tuple[str, ...]
    values: tuple[str | None, ...]
    design: NDArray[np.float64]  # Cells x numbers.
    told: str  # Their columns, in words.
    warnings: tuple[str, ...] = ()

    def table(self, regression: Regression) -> pd.DataFrame:
        """Return what is recorded of them: one row for each coefficient of a gene."""
        return recorded_table(
            {
                "column": list(self.columns),
                "quantity": [value is None for value in self.values],
                "value": ["" if value is None else value for value in self.values],
                "center": regression.center,
            }
        )


def tell_covariates(covariates: Covariates | None) -> None:
    """Say in the log what is taken out, and warn of what cannot be."""
    if covariates is None:
        return
    logger.info("regressed out of each gene, within batches: %s", covariates.told)
    for text in covariates.warnings:
        warn_caller(text)


def take_covariates(
    adata: AnnData, names: str | Sequence[str] | None, batches: Batches, kept: Mapping[str, Any]
) -> Covariates | None:
    """Read the columns whose effects are taken out; refuse those that no cells can tell.

    ``kept``: arguments that name columns whose differences stay.
    """
    asked = _names_of_columns(names)
    if not asked:
        return None
    doubled = [name for name, n in Counter(map(str, asked)).items() if n > 1]
    if doubled:
        raise ValueError(
            f"`regress_out` names {listed(doubled)} more than once; name each column once"
        )
    columns: list[str] = []
    values: list[str | None] = []
    read: list[NDArray[Any]] = []  # Of each column, its numbers or the codes of its values.
    told, warnings = [], []
    for name in asked:
        _refuse_kept(name, kept)
        refuse_unread(adata, "obs", name)
        require(name, adata.obs.columns, "`regress_out`: obs")
        if is_numeric(adata.obs[name]):
            columns.append(name)
            values.append(None)
            read.append(_quantity(adata, name))
            told.append(f"obs[{name!r}] (quantity)")
            warnings += _judge_quantity(name, adata.obs[name], read[-1], batches)
        else:
            codes, found = take_labels(adata, name)
            columns += [name] * len(found)
            values += map(str, found)
            read.append(codes)
            told.append(f"obs[{name!r}] ({len(found)} values)")
            warnings += _judge_factor(name, codes, [str(value) for value in found], batches)
    what = " and ".join(told)
    most = min(adata.n_obs // LEAST_CELLS, MOST_EFFECTS)
    if len(columns) > most:
        raise ValueError(
            f"`regress_out` asks for {len(columns)} effects on each gene ({what}), and "
            f"{adata.n_obs} cells allow {most}; name fewer columns, or columns of fewer values"
        )
    design = np.zeros((adata.n_obs, len(columns)))
    for name, numbers in zip(asked, read, strict=True):
        at = columns.index(name)
        if values[at] is None:
            design[:, at] = numbers
        else:
            design[np.arange(adata.n_obs), at + numbers] = 1.0
    return Covariates(tuple(columns), tuple(values), design, what, tuple(warnings))


def covariates_of(
    adata: AnnData, columns: Sequence[str], values: Sequence[str | None]
) -> NDArray[np.float64]:
    """Return the covariates that a model has taken out, of new cells."""
    design = np.zeros((adata.n_obs, len(columns)))
    for name in dict.fromkeys(columns):
        at = [number for number, column in enumerate(columns) if column == name]
        known = [values[number] for number in at]
        refuse_unread(adata, "obs", name)
        require(
            name,
            adata.obs.columns,
            f"the model takes out effects of {name!r}, so new cells need this column: obs",
        )
        if known == [None]:
            if not is_numeric(adata.obs[name]):
                held = adata.obs[name].dtype
                raise TypeError(
                    f"obs[{name!r}] holds {held}, and the model knows it as a quantity; give "
                    "numbers"
                )
            design[:, at[0]] = _quantity(adata, name)
            continue
        codes, found = take_labels(adata, name)
        texts = [str(value) for value in found]
        new = [text for text in texts if text not in known]
        if new:
            n_new = int(np.isin(codes, [texts.index(text) for text in new]).sum())
            raise ValueError(
                f"{n_new} cells have {listed(new, 5)} in obs[{name!r}], whose effects the model "
                f"does not know; it knows {listed(known, 5)}: leave these cells out (`subset`), or "
                "correct them together with the training data"
            )
        for number, value in zip(at, known, strict=True):
            if value in texts:
                design[:, number] = codes == texts.index(value)
    return design


def is_numeric(column: pd.Series[Any]) -> bool:
    """Tell by its type whether a column is a quantity.

    Examples
    --------
    >>> is_numeric(pd.Series([1, 2])), is_numeric(pd.Series([True, False]))
    (True, False)
    """
    numeric = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
    return numeric and not pd.api.types.is_complex_dtype(column)


def _names_of_columns(given: Any) -> list[str]:
    """Return the columns in the order given; refuse what has no order."""
    if given is None:
        return []
    if isinstance(given, str):
        return [given]
    if not isinstance(given, Sequence | np.ndarray | pd.Index):
        raise TypeError(
            f"`regress_out` is {given!r}; give the name of a column of obs, or a list of names"
        )
    return list(given)


def _quantity(adata: AnnData, name: str) -> NDArray[np.float64]:
    """Read a column of numbers; refuse those that are missing or not finite."""
    column = adata.obs[name]
    refuse_missing(column, name)
    numbers: NDArray[np.float64] = column.to_numpy(dtype=np.float64)
    n_bad = int((~np.isfinite(numbers)).sum())
    if n_bad:
        raise ValueError(f"obs[{name!r}] is infinite for {n_bad} cells; give finite numbers")
    return numbers


def _refuse_kept(name: str, kept: Mapping[str, Any]) -> None:
    """Refuse to take out what another argument keeps."""
    for argument, given in kept.items():
        named = [given] if isinstance(given, str) else given
        if isinstance(named, list | tuple) and any(isinstance(x, str) and x == name for x in named):
            raise ValueError(
                f"`regress_out` takes differences of obs[{name!r}] out, and `{argument}` keeps "
                "them: leave one out"
            )


def _judge_quantity(
    name: str, column: pd.Series[Any], numbers: NDArray[np.float64], batches: Batches
) -> list[str]:
    """Refuse a quantity without variation within batches; return what to warn of."""
    least, largest = float(numbers.min()), float(numbers.max())
    if least == largest:
        _refuse_one_value(name)
    if not LEAST_RANGE < largest - least < LARGEST_RANGE:
        raise ValueError(
            f"obs[{name!r}] has values from {least:.4g} to {largest:.4g}, too "
            f"{'close' if largest - least < 1 else 'far apart'} to calculate with; give it in "
            "another unit"
        )
    tie = of_numbers(numbers, batches.codes)
    if tie.fixed:
        _refuse_fixed(name)
    warnings = []
    n_values = len(np.unique(numbers))
    if n_values <= FEW_CODES and pd.api.types.is_integer_dtype(column):
        warnings.append(
            f"obs[{name!r}] holds {n_values} whole numbers and is taken for a quantity with one "
            "slope (`regress_out`); if they are codes of groups, store them as text or categories"
        )
    if tie.strength >= NEARLY_BATCH:
        warnings.append(_nearly(name, f"R {tie.strength:.2f}"))
    return warnings


def _judge_factor(
    name: str, codes: NDArray[np.int64], values: Sequence[str], batches: Batches
) -> list[str]:
    """Refuse a factor with one value in each batch; return what to warn of."""
    if len(values) < 2:
        _refuse_one_value(name)
    tie = of_categories(codes, batches.codes)
    if tie.fixed:
        _refuse_fixed(name)
    # Values that share a batch with one another, directly or by way of others, can be compared.
    groups = connected(cells_by_batch(codes, values, batches).T)
    if len(groups) == 1:
        return [_nearly(name, f"V {tie.strength:.2f}")] if tie.strength >= NEARLY_BATCH else []
    each = leading([listed((values[at] for at in one), 5) for one in groups], GROUPS_LISTED, "; ")
    text = (
        f"obs[{name!r}] is confounded with the batch in part: {len(groups)} groups of its values "
        f"share no batch ({each}). Differences between these groups are part of the batch "
        "effect; `regress_out` takes out differences within them"
    )
    return [text]


def _nearly(name: str, measure: str) -> str:
    return (
        f"obs[{name!r}] is nearly the same as the batch ({measure}): few cells tell its effect "
        "(`regress_out`) from the batch effect"
    )


def _refuse_one_value(name: str) -> None:
    raise ValueError(
        f"obs[{name!r}] has one value, so there is nothing to take out; leave it out of "
        "`regress_out`"
    )


def _refuse_fixed(name: str) -> None:
    raise ValueError(
        f"obs[{name!r}] is confounded with the batch: it has one value in each batch. Its effect "
        "is part of the batch effect, which the correction removes; leave it out of `regress_out`"
    )
