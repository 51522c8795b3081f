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


def _check_names(entry: Mapping[str, Any]) -> list[str]:
    batches = np.asarray(entry["batches"], dtype=object)
    _need_field(
        batches.ndim == 1 and all(isinstance(name, str) for name in batches),
        "batches are no list of names",
    )
    return list(batches)


def _check_numbers(value: Any, what: str, n_dims: int = 1) -> None:
    array = np.asarray(value)
    _need_field(array.dtype.kind in "fiu" and array.ndim == n_dims, f"{what} are no numbers")


def _check_correction(entry: Mapping[str, Any]) -> None:
    names = set(_check_names(entry))
    for name in ("method", "key"):
        _need_field(isinstance(entry["params"].get(name), str), f"parameter {name} is missing")
    table = _check_table(entry, "merges", "pairs skipped batch_size", "left right")
    _need_field((table["pairs"] >= 0).all(), "pairs are below 0")
    for column in ("left", "right"):
        for side in map(json.loads, table[column]):
            _need_field(
                isinstance(side, list) and side and set(side) <= names, f"{column} is {side!r}"
            )
    if "lost_variance" in entry:
        lost = np.asarray(entry["lost_variance"])
        _check_numbers(lost, "lost_variance", lost.ndim)
        _need_field(lost.shape == (len(table), len(names)), f"lost_variance has shape {lost.shape}")
    if "components" in entry:
        for field in ("variance", "variance_ratio"):
            _check_numbers(entry["components"][field], f"components {field}")
    if "clusters" in entry:
        clusters = _check_table(entry, "clusters", "n_cells meta", "batch cluster")
        pairs = _check_table(entry, "cluster_pairs", "left right merge")
        for side in ("left", "right"):
            _need_field(
                pairs[side].isin(range(len(clusters))).all(), f"cluster_pairs {side} lead out"
            )
    if "kept" in entry:
        kept = _check_table(entry, "kept", "cells kept", "batch value")
        _need_field(set(kept["batch"]) <= names, "kept names other batches")
    if "regressed" in entry:
        _check_table(entry, "regressed", "quantity center", "column value")
    if "expression" in entry:
        _need_field(isinstance(entry["expression"]["scale"], str), "expression has no scale")


def _check_projection(entry: Mapping[str, Any]) -> None:
    _check_names(entry)
    _need_field(
        isinstance(entry["params"].get("adjusted_basis"), str),
        "parameter adjusted_basis is missing",
    )
    _check_table(entry, "projected", "n_obs known skipped pairs evidence", "batch")
    model = entry["model"]
    for name in ("n_obs", "n_genes", "missing_share"):
        _need_field(np.isfinite(float(model[name])), f"model {name} is no number")
    for name in ("method", "digest"):
        _need_field(isinstance(model[name], str), f"model {name} is no text")
    _need_field(np.asarray(model["missing"]).ndim == 1, "model missing is no list")


def _check_components(entry: Mapping[str, Any]) -> None:
    for field in ("variance", "variance_ratio"):
        _check_numbers(entry[field], field)


def _check_clusters(entry: Mapping[str, Any]) -> None:
    table = _check_table(entry, "bic", "n_components bic log_likelihood converged")
    if "as_good" in table:
        _check_table(entry, "bic", "as_good")
    merged = ("n_clusters",) if "overlap" in entry else ()
    if merged:
        _check_table(entry, "overlap", "n_clusters overlap")
    agreement = ("agreement",) if "agreement" in entry else ()
    for name in ("n_components", "n_iter", "fitted_on", "converged", *merged, *agreement):
        _need_field(np.isfinite(float(entry[name])), f"{name} is no number")


def _check_evaluation(entry: Mapping[str, Any]) -> None:
    _check_table(entry, "scores", "before after null")
    _check_table(entry, "lost_variance", "cells before after lost", "batch label")
    if "null" in entry:
        _check_table(entry, "null", "seed")
    _need_field(isinstance(entry["params"].get("use_rep"), str), "parameter use_rep is missing")


_CHECKS: Mapping[str, Callable[[Mapping[str, Any]], None]] = {
    "correction": _check_correction,
    "projection": _check_projection,
    "components": _check_components,
    "clusters": _check_clusters,
    "evaluation": _check_evaluation,
}
