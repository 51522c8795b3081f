r"""Labels of training cells, such as cell types, transferred to new cells.

**Label.** A multinomial logistic regression on the corrected coordinates of the training cells
predicts the label at the place of a new cell.

**Probability.** The probability of the regression is calibrated by a second, binary one. It uses
its logit, and the logarithms of two distances: the mean squared distance to the 20 nearest training
cells, over that of these cells, and over that of all training cells. It is fitted to predictions
for training cells that the first regression did not see:

- A fifth of the cells at a time. For new batches, whole batches at a time, and only labels that the
  other batches have.
- A group of labels at a time. No prediction can be right. These cells count as one in twenty, the
  assumed share of new cells whose label the training cells lack.

**Unassigned.** A cell whose probability is below one half gets no label; nor does a cell of a new
batch whose confidence is below 0.1, which has no counterpart among the training cells. Its
probability is reduced in proportion. New batches that are too small have no confidence, so only the
probability counts there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnncorrect.core.calibrated.neighborhoods import evenly
from mnncorrect.core.neighbors.engines import nearest
from mnncorrect.core.runtime.compute import DEFAULT_COMPUTE, ComputeOptions
from mnncorrect.core.runtime.threads import single_blas

from .fit import N_TRAINING, Model
from .projection import TINY, Placement

if TYPE_CHECKING:
    from mnncorrect.core.calibrated.neighborhoods import Search


# Probability below which a cell gets no label.
LIKELY_LABEL = 0.5
# Confidence below which a cell of a new batch has no counterpart, as in the calibrated method.
SURE_PLACE = 0.1
# Assumed share of new cells whose label no training cell has.
UNKNOWN_LABEL = 0.05
# Training cells of a label, folds, and steps of a regression.
MOST_OF_LABEL, N_FOLDS, MOST_STEPS = 1_000, 5, 1_000
# Probabilities of a regression nearer to 0 or 1 than this are not distinguished.
LEAST_CHANCE = 1e-3
# Numbers that tell how likely a label is right, and the largest logarithm of a distance in them.
N_EVIDENCE, MOST_AWAY = 3, 3.0


@dataclass(frozen=True)
class Transferred:
    """Labels of new cells."""

    codes: NDArray[np.int64]  # Number of the label of each cell; -1: unassigned.
    probability: NDArray[np.float64]  # Probability that the predicted label is right, 0..1.


def transfer(
    model: Model,
    placed: Placement,
    batch: NDArray[np.integer[Any]],
    *,
    compute: ComputeOptions = DEFAULT_COMPUTE,
) -> Transferred:
    """Give new cells the labels of the training cells around their places.

    ``batch`` is in the order of ``placed.by_batch``; cells of batch -1 get no label.
    """
    compute = replace(compute, progress=None)
    known = Labeled(model, partial(nearest, compute=compute))
    codes, probability = np.full(len(batch), -1, np.int64), np.zeros(len(batch))
    likely: dict[bool, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {}
    for number, how in enumerate(placed.by_batch.values()):
        rows = np.flatnonzero(batch == number)
        if not len(rows):
            continue
        if how.known not in likely:
            likely[how.known] = known.probability_of(new=not how.known)
        labels, evidence = known.predict(placed.corrected[rows])
        chance = likely[how.known](evidence)
        if not how.known and not np.isnan(how.evidence):  # which too few cells do not have
            chance *= np.minimum(1, placed.confidence[rows] / SURE_PLACE)
            labels = np.where(placed.confidence[rows] >= SURE_PLACE, labels, -1)
        probability[rows] = chance
        codes[rows] = np.where(chance >= LIKELY_LABEL, labels, -1)
    return Transferred(codes, probability)


class Labeled:
    """The labeled training cells."""

    def __init__(self, model: Model, search: Search) -> None:
        assert model.labels is not None
        rows = np.flatnonzero(model.labels.codes >= 0)
        codes = model.labels.codes[rows]
        # Cells kept of each label, and how many each stands for.
        of_label = [rows[codes == label] for label in np.unique(codes)]
        kept = [some[evenly(len(some), MOST_OF_LABEL)] for some in of_label]
        weights = [
            np.full(len(k), len(all_) / len(k)) for k, all_ in zip(kept, of_label, strict=True)
        ]
        rows, order = np.unique(np.concatenate(kept), return_index=True)
        self.weights = np.concatenate(weights)[order]
        self.places, self.search = model.corrected[rows], search
        self.labels, self.batches = model.labels.codes[rows], model.codes[rows]
        self.scale = max(float(self.places.std()), TINY)
        found = search(self.places, self.places, N_TRAINING + 1)
        self.spacing = (found.distances[:, 1:] ** 2).mean(1)
        self.typical = float(np.median(self.spacing))

    def predict(
        self, places: NDArray[np.float32], among: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the likeliest label at each place, and what tells how likely it is right.

        ``among``: the training cells that are known; default: all.
        """
        rows = np.arange(len(self.labels)) if among is None else np.flatnonzero(among)
        labels, chance = self._regress(places, rows)
        found = self.search(places, self.places[rows], N_TRAINING)
        squares = np.maximum((found.distances**2).mean(1), TINY)
        usual = (self.spacing[rows[found.indices]].mean(1), self.typical)
        away = [np.log(squares / np.maximum(of, TINY)) for of in usual]
        # Cells at the places of training cells are as near as can be.
        away = [np.clip(ratio, -MOST_AWAY, MOST_AWAY) for ratio in away]
        chance = np.clip(chance, LEAST_CHANCE, 1 - LEAST_CHANCE)
        return labels, np.column_stack([np.log(chance / (1 - chance)), *away])

    def _regress(
        self, places: NDArray[np.float32], rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        from sklearn.linear_model import LogisticRegression

        labels = self.labels[rows].astype(np.int64)
        if (labels == labels[0]).all():
            return np.full(len(places), labels[0]), np.ones(len(places))
        with single_blas():
            fitted = LogisticRegression(max_iter=MOST_STEPS).fit(
                self.places[rows] / self.scale, labels, self.weights[rows]
            )
            chances = fitted.predict_proba(places / self.scale)
        return fitted.classes_[chances.argmax(1)], chances.max(1)

    def probability_of(self, *, new: bool) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
        """Return what turns evidence into the probability that a label is right.

        ``new``: for cells of a batch that the training cells do not have.
        """
        evidence, right = self._trials(self.batches) if new else self._trials(None)
        if not len(right):  # no batch has a label of another one
            evidence, right = self._trials(None)
        unknown, _ = self._trials(self.labels)
        # As many trials that cannot be right as their assumed share says.
        worth = UNKNOWN_LABEL / (1 - UNKNOWN_LABEL) * len(right) / max(1, len(unknown))
        return _logistic(
            np.concatenate([evidence, unknown]),
            np.concatenate([right, np.zeros(len(unknown), bool)]),
            np.repeat([1.0, worth], [len(evidence), len(unknown)]),
        )

    def _trials(
        self, groups: NDArray[np.integer[Any]] | None
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Predict labels of training cells from those of other folds.

        ``groups``: numbers of groups of cells that stay together, which go to folds together; of
        labels, all cells are tried, otherwise those whose label other folds have.
        """
        own = np.arange(len(self.labels)) if groups is None else groups
        fold = np.unique(own, return_inverse=True)[1] % N_FOLDS
        found, right = [np.empty((0, N_EVIDENCE))], [np.empty(0, bool)]
        for number in range(N_FOLDS):
            out = fold == number
            if groups is not self.labels:
                out &= np.isin(self.labels, self.labels[fold != number])
            if out.any() and (fold != number).any():
                labels, evidence = self.predict(self.places[out], fold != number)
                found.append(evidence)
                right.append(labels == self.labels[out])
        return np.concatenate(found), np.concatenate(right)


def _logistic(
    evidence: NDArray[np.float64], right: NDArray[np.bool_], weights: NDArray[np.float64]
) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """Fit the probability of being right; a constant where all trials came out alike."""
    from sklearn.linear_model import LogisticRegression

    if right.all() or not right.any():
        value = (right.sum() + 1) / (len(right) + 2)  # as if one more had come out either way
        return lambda found: np.full(len(found), value)
    fitted = LogisticRegression().fit(evidence, right, weights)
    return lambda found: np.asarray(fitted.predict_proba(found)[:, 1])
