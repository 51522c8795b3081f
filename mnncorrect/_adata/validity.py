"""Whether an entry of ``uns`` can be what it says it is.

Files are changed by others, and damaged; what is read of an entry is checked here before it is
used, so that the rest of the package can rely on it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

# Parameters that are names, and fields that are lists as JSON text.
NAME_PARAMETERS = ("method", "key", "adjusted_basis", "use_rep", "layer", "mask_var")
JSON_TEXT = frozenset({"left", "right", "merge_order", "engines", "results", "warnings", "call"})


def check_entry(kind: str, entry: Mapping[str, Any]) -> None:
    """Raise an error about the first field that is missing, or of the wrong kind."""
    _check_common(entry)
    if kind in _CHECKS:
        _CHECKS[kind](entry)


def _need_field(value: object, problem: str) -> None:
    if not value:
        raise ValueError(problem)


def _check_common(entry: Mapping[str, Any]) -> None:
    """Check what all entries have: parameters that are numbers and texts."""
    for group in ("params", "provenance", "prepared"):
        for name, value in dict(entry.get(group, {})).items():
            if name == "packages":
                continue
            plain = isinstance(value, bool | int | float | str | np.generic)
            _need_field(plain, f"{group} {name} is a {type(value).__name__}")
    for name in NAME_PARAMETERS:
        value = entry["params"].get(name, "")
        _need_field(isinstance(value, str), f"parameter {name} is {value!r}")
    for fields in (entry, entry["params"], entry["provenance"]):
        for name in JSON_TEXT & set(fields):
            if isinstance(fields[name], str):
                json.loads(fields[name])


def _check_table(entry: Mapping[str, Any], field: str, numbers: str = "", texts: str = "") -> Any:
    table = entry[field]
    _need_field(isinstance(table, pd.DataFrame), f"{field} is no table")
    missing = [name for name in (numbers + " " + texts).split() if name not in table]
    _need_field(not missing, f"{field} has no {', '.join(missing)}")
    for name in numbers.split():
        _need_field(table[name].dtype.kind in "fiub", f"{field} {name} holds {table[name].dtype}")
    return table


def _check_if_there(entry: Mapping[str, Any], *args: str) -> Any:
    return _check_table(entry, *args) if args[0] in entry else None


def _check_texts(entry: Mapping[str, Any], *names: str) -> None:
    for name in names:
        _need_field(isinstance(entry.get(name), str), f"{name} is missing, or no text")


def _check_names(entry: Mapping[str, Any]) -> set[str]:
    batches = np.asarray(entry["batches"], dtype=object)
    texts = batches.ndim == 1 and all(isinstance(name, str) for name in batches)
    _need_field(texts, "batches are no list of names")
    return set(batches)


def _check_each_number(entry: Mapping[str, Any], *names: str) -> None:
    for name in names:
        _need_field(np.isfinite(float(entry[name])), f"{name} is no number")


def _check_components(entry: Mapping[str, Any]) -> None:
    for name in ("variance", "variance_ratio"):
        array = np.asarray(entry[name])
        _need_field(array.dtype.kind in "fiu" and array.ndim == 1, f"{name} are no numbers")


def _check_correction(entry: Mapping[str, Any]) -> None:
    names = _check_names(entry)
    _check_texts(entry["params"], "method", "key")
    table = _check_table(entry, "merges", "pairs skipped batch_size", "left right")
    _need_field((table["pairs"] >= 0).all(), "pairs are below 0")
    for column in ("left", "right"):
        for side in map(json.loads, table[column]):
            of_batches = isinstance(side, list) and side and set(side) <= names
            _need_field(of_batches, f"{column} is {side!r}")
    lost = np.asarray(entry.get("lost_variance", np.empty((len(table), len(names)))))
    numbers = lost.dtype.kind in "fiu" and lost.shape == (len(table), len(names))
    _need_field(numbers, f"lost_variance holds {lost.dtype} of shape {lost.shape}")
    if "components" in entry:
        _check_components(entry["components"])
    if "clusters" in entry:
        clusters = _check_table(entry, "clusters", "n_cells meta", "batch cluster")
        pairs = _check_table(entry, "cluster_pairs", "left right merge")
        inside = pairs[["left", "right"]].isin(range(len(clusters))).all(axis=None)
        _need_field(inside, "cluster_pairs lead out of the clusters")
    kept = _check_if_there(entry, "kept", "cells kept", "batch value")
    _need_field(kept is None or set(kept["batch"]) <= names, "kept names other batches")
    _check_if_there(entry, "regressed", "quantity center", "column value")
    if "expression" in entry:
        _check_texts(entry["expression"], "scale")


def _check_projection(entry: Mapping[str, Any]) -> None:
    _check_names(entry)
    _check_texts(entry["params"], "adjusted_basis")
    _check_table(entry, "projected", "n_obs known skipped pairs evidence", "batch")
    _check_each_number(entry["model"], "n_obs", "n_genes", "missing_share")
    _check_texts(entry["model"], "method", "digest")
    _need_field(np.asarray(entry["model"]["missing"]).ndim == 1, "model missing is no list")


def _check_clusters(entry: Mapping[str, Any]) -> None:
    table = _check_table(entry, "bic", "n_components bic log_likelihood converged")
    if "as_good" in table:
        _check_table(entry, "bic", "as_good")
    _check_if_there(entry, "overlap", "n_clusters overlap")
    merged = [name for name in ("agreement",) if name in entry]
    merged += ["n_clusters"] if "overlap" in entry else []
    _check_each_number(entry, "n_components", "n_iter", "fitted_on", "converged", *merged)


def _check_evaluation(entry: Mapping[str, Any]) -> None:
    _check_table(entry, "scores", "before after null")
    _check_table(entry, "lost_variance", "cells before after lost", "batch label")
    _check_if_there(entry, "null", "seed")
    _check_texts(entry["params"], "use_rep")


_CHECKS: Mapping[str, Callable[[Mapping[str, Any]], None]] = {
    "correction": _check_correction,
    "projection": _check_projection,
    "components": _check_components,
    "clusters": _check_clusters,
    "evaluation": _check_evaluation,
}
