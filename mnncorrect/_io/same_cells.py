"""Inputs that hold the same cells with the same values: one given twice, under two names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mnncorrect._adata.lookup import listed
from mnncorrect._adata.slots import elements_of
from mnncorrect._adata.stored import element, is_stored, is_stored_sparse, n_stored
from mnncorrect._log import logger

if TYPE_CHECKING:
    from mnncorrect._io.input_parts import Part

# So many of the stored values are compared, where the names of all cells are the same.
COMPARED = 1 << 14


def warn_of_twins(parts: Mapping[str, Part]) -> None:
    """Warn of inputs whose cells have the same names, in the same order, and the same values."""
    alike: dict[Any, list[str]] = defaultdict(list)
    for name, part in parts.items():
        names = part.adata.obs_names
        alike[len(names), part.adata.n_vars, hash(tuple(names))].append(name)
    for names in alike.values():
        same: dict[bytes, list[str]] = defaultdict(list)
        for name in names if len(names) > 1 else ():
            sample = _sample_values(parts[name].adata)
            if sample is not None:
                same[sample].append(name)
        for twins in same.values():
            if len(twins) > 1:
                logger.warning(
                    "%s hold the same cells with the same values; is one input given twice? Cells "
                    "of one sample are not batches",
                    listed(twins, 5),
                )


def _sample_values(adata: Any) -> bytes | None:
    """Return some of the values of an object, the same however they are stored.

    Those of X, or else of a layer; ``None``: it has neither.
    """
    held = [adata.X, *elements_of(adata, "layers").values()]
    x = next((values for values in held if values is not None), None)
    if x is None:
        return None
    if is_stored_sparse(x):
        values = element(x)["data"][:COMPARED]
    elif is_stored(x) or isinstance(x, np.ndarray):
        some = np.asarray(x[: max(1, COMPARED // max(1, x.shape[1]))])
        values = some[some != 0]
    else:
        values = x.data[:COMPARED]
    return n_stored(x).to_bytes(8, "little") + np.asarray(values, np.float64).tobytes()
