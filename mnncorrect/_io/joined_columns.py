"""A column of several tables made one: of the type that it has in them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mnncorrect._log import logger

# The nullable types of pandas, by the kind of numbers and their bytes.
NULLABLE = {"i": "Int{bits}", "u": "UInt{bits}", "f": "Float{bits}", "b": "boolean"}


def united_column(tables: Sequence[pd.DataFrame], column: Hashable) -> pd.Series[Any]:
    """Put a column of several tables below each other; it is missing for those without it.

    Numbers keep the type that holds those of all tables, and become nullable where a table has no
    such column and they are whole. Categories keep their order, the first table's first; they
    stay ordered where all tables agree. Numbers and text together become text.
    """
    present = [table[column] for table in tables if column in table]
    pieces = [table.get(column, pd.Series(None, table.index, dtype=object)) for table in tables]
    if all(isinstance(piece.dtype, pd.CategoricalDtype) for piece in present):
        return _united_categories(pieces, present)
    numeric = [pd.api.types.is_numeric_dtype(piece) for piece in present]
    if all(numeric):
        dtype = _joint_type(present, missing=len(present) < len(tables))
        some = [piece.astype(dtype) for piece in pieces]
        return pd.concat(some, ignore_index=True)
    if any(numeric):
        logger.warning(
            "obs[%r] holds numbers in some inputs and text in others; all are converted to text",
            column,
        )
    joined = pd.concat([piece.astype(object) for piece in pieces], ignore_index=True)
    # A file can hold text or numbers in a column, not both.
    return joined.where(joined.isna(), joined.astype(str)).where(joined.notna(), np.nan)


def _joint_type(present: Sequence[pd.Series[Any]], *, missing: bool) -> Any:
    """Return the type that holds the numbers of all columns, and none where some are missing."""
    nullable = any(pd.api.types.is_extension_array_dtype(piece.dtype) for piece in present)
    types: list[Any] = [getattr(one.dtype, "numpy_dtype", one.dtype) for one in present]
    joint = np.result_type(*types).newbyteorder("=")
    if not nullable and not (missing and joint.kind in "iub"):
        return joint
    bits = 8 * max(joint.itemsize, 4) if joint.kind == "f" else 8 * joint.itemsize
    return NULLABLE[joint.kind].format(bits=bits)


def _united_categories(
    pieces: Sequence[pd.Series[Any]], present: Sequence[pd.Series[Any]]
) -> pd.Series[Any]:
    """Put categorical columns below each other."""
    levels = list(dict.fromkeys(level for piece in present for level in piece.cat.categories))
    texts = {isinstance(level, str) for level in levels}
    if len(texts) > 1:  # a file can hold categories of one type
        names = {level: str(level) for level in levels}
        levels = list(dict.fromkeys(names.values()))
    else:
        names = {}
    places = {level: place for place, level in enumerate(levels)}
    agree = all(
        piece.cat.ordered
        and (np.diff([places[names.get(level, level)] for level in piece.cat.categories]) > 0).all()
        for piece in present
    )
    if any(piece.cat.ordered for piece in present) and not agree:
        logger.warning(
            "obs[%r] has ordered categories that not all inputs order alike: they lose their order",
            present[0].name,
        )
    joined = pd.concat([piece.astype(object) for piece in pieces], ignore_index=True)
    return joined.map(lambda level: names.get(level, level), na_action="ignore").astype(
        pd.CategoricalDtype(pd.Index(levels), ordered=bool(agree))
    )
