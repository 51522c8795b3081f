"""What a file records of its results, or a model of itself, as JSON: for ``mnncorrect info``."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mnncorrect import _adata
from mnncorrect._adata.record import entries, is_leiden
from mnncorrect._adata.validity import JSON_TEXT
from mnncorrect._io import model_file, result_file
from mnncorrect.report.collect.json_values import as_json

# What is printed of a stored evaluation, besides its scores.
EVALUATED = ("params", "provenance", "correction")


def file_as_json(path: Path) -> dict[str, Any]:
    """Read what a file says of itself, as JSON has it."""
    if model_file.is_model(path):
        return {"file": str(path), "model": _of_model(path)}
    found = result_file.read_result_elements(path, ["obs", "var", "uns"])
    obs, uns = found["obs"], found.get("uns", {})
    of = partial(entries, uns)
    return {
        "file": str(path),
        "n_cells": len(obs),
        "n_genes": len(found["var"]),
        "corrections": {
            name: _correction(_plain(entry), obs) for name, entry in of("correction").items()
        },
        "projections": {name: _plain(entry) for name, entry in of("projection").items()},
        "components": {name: _plain(entry) for name, entry in of("components").items()},
        "clusters": {
            name: _plain(entry) | {"sizes": _sizes(obs, name)}
            for name, entry in of("clusters").items()
        },
        "leiden": {
            name: _plain(entry) | {"sizes": _sizes(obs, name)}
            for name, entry in of("other").items()
            if is_leiden(entry) and name in obs
        },
        "evaluations": {name: _evaluation(entry) for name, entry in of("evaluation").items()},
    }


def _of_model(path: Path) -> dict[str, Any]:
    """Gather what a model says of itself."""
    model = model_file.read(path)
    sizes = np.bincount(model.codes, minlength=len(model.batches)).tolist()
    components, scaling, labels = model.components, model.scaling, None
    if model.labels is not None:
        counts = np.bincount(
            model.labels.codes[model.labels.codes >= 0], minlength=len(model.labels.names)
        )
        found = zip(model.labels.names, counts.tolist(), strict=True)
        labels = {"key": model.labels.key, "sizes": dict(found)}
    return {
        "digest": model.digest,
        "n_cells": len(model.codes),
        "n_dims": int(model.corrected.shape[1]),
        "batches": list(model.batches),
        "sizes": sizes,
        "genes": [] if components is None else list(components.genes),
        "scaling": None if scaling is None else vars(scaling),
        "labels": labels,
        "covariates": []
        if model.regressed is None
        else list(dict.fromkeys(model.regressed.columns)),
        "about": model.about,
    }


def _correction(entry: dict[str, Any], obs: Any) -> dict[str, Any]:
    """Add the sizes of the batches to what a correction says of itself."""
    params = entry["params"]
    key = _adata.recorded_key(params["key"], obs.columns)
    sizes: dict[Any, int] = {}
    if set([key] if isinstance(key, str) else key) <= set(obs.columns):
        sizes = _adata.batch_names(obs, key).value_counts().to_dict()
    # Subsetting may have left batches without cells.
    sizes_in_order = [int(sizes.get(name, 0)) for name in entry["batches"]]
    return entry | {"params": params | {"key": key}, "sizes": sizes_in_order}


def _evaluation(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Take what a stored evaluation says, each score by its name."""
    told: dict[str, Any] = _plain({name: entry[name] for name in EVALUATED if name in entry})
    scores = entry["scores"]
    rows = zip(scores.index, _plain(scores), strict=True)
    told["scores"] = {str(name): row for name, row in rows}
    return told


def _sizes(obs: Any, column: str) -> dict[str, int]:
    if column not in obs:
        return {}
    counted = obs[column].value_counts(sort=False)
    return {str(value): int(count) for value, count in counted.items()}


def _plain(value: Any) -> Any:
    return as_json(value, texts=JSON_TEXT)
