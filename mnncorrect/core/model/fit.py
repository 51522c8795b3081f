"""A fitted correction as arrays: coordinates of the cells before and after the correction.

:mod:`mnncorrect.core.model.projection` places new cells in it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnncorrect.core.calibrated.neighborhoods import canonical_order, evenly
from mnncorrect.core.neighbors.engines import nearest
from mnncorrect.core.runtime.compute import ComputeOptions
from mnncorrect.core.runtime.threads import resolve_n_jobs

if TYPE_CHECKING:
    from mnncorrect.core.matrix.covariates import Regression

# Training cells that determine the displacement of a new cell. 10 to 30 give the same results.
N_TRAINING = 20
# Letters of a digest that distinguish models.
DIGEST_LETTERS = 12
# Largest number of cells in a model.
MOST_MODEL_CELLS = 200_000


@dataclass(frozen=True)
class Components:
    """Map from expression to an embedding."""

    genes: tuple[str, ...]  # Names of the genes, each once.
    rotation: NDArray[np.float64]  # Loadings, genes x dimensions, float64.
    center: NDArray[np.float64]  # Center of each gene, which is subtracted, float64.
    variance: NDArray[np.float64]  # Variance of each component, float64.
    residual: float  # Mean variance of a gene that the components do not explain.
    cosine_norm: bool  # Whether cells are first scaled to unit length over these genes.

    @property
    def share(self) -> NDArray[np.float64]:
        """Share of each gene in the variance of the components; adds up to 1."""
        carried = self.rotation**2 @ self.variance
        total = carried.sum()
        return carried / total if total > 0 else np.full(len(carried), 1 / len(carried))


@dataclass(frozen=True)
class Scaling:
    """Normalization of the counts before the correction."""

    total: float | None  # Total that each cell was scaled to; ``None``: not scaled.
    log1p: bool  # Whether the logarithm was taken.
    n_genes: int  # Number of genes in the totals.


@dataclass(frozen=True)
class Labels:
    """Labels of the training cells, such as cell types."""

    key: str  # The column that they were in.
    names: tuple[str, ...]  # The labels, each once.
    codes: NDArray[np.int32]  # Number of the label of each cell, int32; -1: it has none.


@dataclass(frozen=True)
class Regressed:
    """Effects of covariates that were taken out of expression before the components."""

    # Column of each covariate, and the value that it marks; ``None``: the column is a quantity.
    columns: tuple[str, ...]
    values: tuple[str | None, ...]
    regression: Regression  # Their effects on the genes of the components, in this order.


@dataclass(frozen=True)
class Model:
    """A fitted correction."""

    batches: tuple[str, ...]  # Names of the batches.
    codes: NDArray[np.int32]  # Batch number of each training cell, ascending.
    # Coordinates of the cells before and after the correction, cells x dimensions.
    uncorrected: NDArray[np.float32]
    corrected: NDArray[np.float32]
    confidence: NDArray[np.float32]  # Of each cell, 0..1; 1 if the method has none.
    spacing: NDArray[np.float32]  # Mean squared distance to the nearest cells in its batch.
    components: Components | None = None  # From expression to the embedding, if it is of genes.
    scaling: Scaling | None = None  # From counts to expression, if counts were normalized.
    # Further facts, as numbers, booleans and text, such as ``method``, ``key`` and ``n_obs``.
    about: dict[str, Any] = field(default_factory=dict)
    labels: Labels | None = None
    regressed: Regressed | None = None  # Effects of covariates, if any were taken out.

    def __repr__(self) -> str:
        genes = "" if self.components is None else f" of {len(self.components.genes)} genes"
        return (
            f"Model: {len(self.codes)} cells in {len(self.batches)} batches, "
            f"{self.uncorrected.shape[1]} dimensions{genes}, {self.digest[:DIGEST_LETTERS]}"
        )

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the contents of the model, in hexadecimal."""
        digest = hashlib.sha256()
        for name, array in arrays_of(self).items():
            digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def rows(self, number: int) -> slice:
        """Rows of a batch."""
        start, stop = np.searchsorted(self.codes, [number, number + 1]).tolist()
        return slice(start, stop)


def refuse_unusable(model: Model) -> None:
    """Refuse numbers that no correction gives, whether a model is read or made."""
    arrays = {
        name: getattr(model, name) for name in ("uncorrected", "corrected", "confidence", "spacing")
    }
    components, scaling = model.components, model.scaling
    residual = 0.0
    if components is not None:
        arrays |= {name: getattr(components, name) for name in ("rotation", "center", "variance")}
        residual = components.residual
    if model.regressed is not None:
        arrays |= _regressed_arrays(model.regressed)
    problems = {f"{name} is not finite": np.isfinite(array).all() for name, array in arrays.items()}
    sure, variance = model.confidence, arrays.get("variance", np.zeros(1))
    problems["confidence is not between 0 and 1"] = ((sure >= 0) & (sure <= 1)).all()
    problems["spacing is below zero"] = (model.spacing >= 0).all()
    problems["a variance is below zero"] = (variance >= 0).all() and 0 <= residual < np.inf
    total = None if scaling is None else scaling.total
    problems["the scaling of counts cannot be read"] = total is None or 0 < total < np.inf
    problems["its metadata cannot be read"] = all(map(_is_plain, model.about.values()))
    for problem, is_right in problems.items():
        if not is_right:
            raise ValueError(problem)


def _is_plain(value: Any) -> bool:
    return isinstance(value, bool | int | str) or (
        isinstance(value, float) and bool(np.isfinite(value))
    )


def arrays_of(model: Model) -> dict[str, NDArray[Any]]:
    """Write a model as arrays of numbers; texts as JSON in UTF-8."""
    header: dict[str, Any] = {
        "batches": list(model.batches),
        "scaling": None if model.scaling is None else vars(model.scaling),
        "about": model.about,
    }
    components = model.components
    if components is not None:
        header |= {"cosine_norm": components.cosine_norm, "residual": components.residual}
    arrays: dict[str, NDArray[Any]] = {
        "header": _as_bytes(header),
        "codes": model.codes,
        "uncorrected": model.uncorrected,
        "corrected": model.corrected,
        "confidence": model.confidence,
        "spacing": model.spacing,
    }
    if components is not None:
        arrays |= {
            "genes": _as_bytes(list(components.genes)),
            "rotation": components.rotation,
            "center": components.center,
            "variance": components.variance,
        }
    if model.regressed is not None:
        names = [list(model.regressed.columns), list(model.regressed.values)]
        arrays |= {"covariates": _as_bytes(names), **_regressed_arrays(model.regressed)}
    return arrays


def _regressed_arrays(regressed: Regressed) -> dict[str, NDArray[Any]]:
    regression = regressed.regression
    return {"covariate_center": regression.center, "covariate_effects": regression.coefficients}


def label_arrays(model: Model) -> dict[str, NDArray[Any]]:
    """Write the labels of a model as arrays; none: it has no labels.

    The digest of a model leaves them out, as no place depends on them.
    """
    labels = model.labels
    if labels is None:
        return {}
    names = {"key": labels.key, "names": list(labels.names)}
    return {"labels": _as_bytes(names), "label_codes": labels.codes}


def _as_bytes(value: Any) -> NDArray[np.uint8]:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, allow_nan=False)
    return np.frombuffer(text.encode(), np.uint8)


def fit(
    uncorrected: NDArray[Any],
    corrected: NDArray[Any],
    batch: NDArray[np.integer[Any]],
    names: Sequence[str],
    *,
    confidence: NDArray[np.float64] | None = None,
    cells: NDArray[Any] | None = None,
    components: Components | None = None,
    scaling: Scaling | None = None,
    about: dict[str, Any] | None = None,
    labels: Labels | None = None,
    regressed: Regressed | None = None,
    max_cells: int = MOST_MODEL_CELLS,
    n_jobs: int | None = None,
) -> Model:
    """Make a model of a correction, the same for any order of the cells.

    ``uncorrected`` and ``corrected`` are cells x dimensions; ``cells`` are names, which break ties;
    the rest is as in :class:`Model`, in the order of the cells. Beyond ``max_cells``, the same
    share of each batch is kept, evenly spaced in the order of the values, but at least 2 cells of
    each batch.
    """
    ranks = sorted(range(len(names)), key=lambda number: names[number])
    order = canonical_order(uncorrected, batch, names, cells)
    share = min(1.0, max_cells / len(batch))
    kept, sizes = [], []
    for number in ranks:
        rows = order[batch[order] == number]
        rows = rows[evenly(len(rows), max(2, int(share * len(rows))))]
        kept.append(rows)
        sizes.append(len(rows))
    rows = np.concatenate(kept)
    before = np.ascontiguousarray(uncorrected[rows], np.float32)
    codes = np.repeat(np.arange(len(names), dtype=np.int32), sizes)
    spacing = np.empty(len(rows), np.float32)
    for number in range(len(names)):
        at = slice(*np.searchsorted(codes, [number, number + 1]).tolist())
        spacing[at] = _spacing(before[at], resolve_n_jobs(n_jobs))
    sure = np.ones(len(rows), np.float32)
    if confidence is not None:
        sure = np.asarray(confidence, np.float32)[rows]
    return Model(
        tuple(names[number] for number in ranks),
        codes,
        before,
        np.ascontiguousarray(corrected[rows], np.float32),
        sure,
        spacing,
        components,
        scaling,
        {"n_obs": len(batch), **(about or {})},
        None if labels is None else replace(labels, codes=labels.codes[rows].astype(np.int32)),
        regressed,
    )


def _spacing(x: NDArray[np.float32], n_jobs: int) -> NDArray[np.float64]:
    """Mean squared distance of each cell to its nearest neighbors."""
    found = nearest(x, x, N_TRAINING + 1, compute=ComputeOptions(n_jobs=n_jobs))
    squares = found.distances**2
    return squares.sum(1) / max(1, squares.shape[1] - 1)
