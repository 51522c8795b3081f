"""Values as JSON has them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd


def as_json(value: Any) -> Any:
    """Turn arrays, tables and numbers into what JSON has; what is not finite becomes null.

    Entries are in the order of their names, as files keep them.
    """
    if isinstance(value, pd.DataFrame):
        rows = value.to_dict("records")
        return [{str(name): as_json(entry) for name, entry in row.items()} for row in rows]
    if isinstance(value, dict):
        return {str(name): as_json(value[name]) for name in sorted(value, key=str)}
    if isinstance(value, np.ndarray | list | tuple):
        return [as_json(entry) for entry in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
