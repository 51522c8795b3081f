"""Values as JSON has them, for reports and for what commands print."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd


def as_json(value: Any, *, texts: Collection[str] = ()) -> Any:
    """Turn arrays, tables and numbers into what JSON has; what is not finite becomes null.

    Entries are in the order of their names, as files keep them.

    ``texts``: entries and columns of these names are JSON as text, which is parsed.

    Examples
    --------
    >>> as_json({"b": np.float64("nan"), "a": '["x", NaN]'}, texts={"a"})
    {'a': ['x', None], 'b': None}
    """

    def entry(name: Any, held: Any) -> Any:
        is_text = name in texts and isinstance(held, str)
        return as_json(json.loads(held)) if is_text else as_json(held, texts=texts)

    if isinstance(value, pd.DataFrame):
        rows = value.to_dict("records")
        return [{str(name): entry(name, held) for name, held in row.items()} for row in rows]
    if isinstance(value, dict):
        return {str(name): entry(name, value[name]) for name in sorted(value, key=str)}
    if isinstance(value, np.ndarray | list | tuple):
        return [as_json(held, texts=texts) for held in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
