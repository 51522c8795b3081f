"""What a correction cost, against hand-made numbers."""

from __future__ import annotations

import numpy as np
import pytest

from mnncorrect.core.merging.diagnostics import relative_batch_size, variance_by_batch


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_variances_are_summed_over_dimensions_batch_by_batch(rng, dtype):
    x = (100 + rng.normal(size=(9, 3))).astype(dtype)
    batch = np.array([0, 2, 0, 2, 2, 0, 5, 0, 2])
    found = variance_by_batch(x, batch)
    assert list(found) == [0, 2, 5]
    for b in (0, 2):
        expected = x[batch == b].astype(float).var(0, ddof=1).sum()
        assert found[b] == pytest.approx(expected, rel=1e-12)
    assert np.isnan(found[5])


def test_batch_size_is_one_if_all_vectors_agree_and_zero_if_they_cancel(rng):
    vector = rng.normal(size=4)
    assert relative_batch_size(np.tile(vector, (5, 1))) == pytest.approx(1)
    assert relative_batch_size(np.vstack([vector, -vector])) == pytest.approx(0)
    assert relative_batch_size(np.zeros((3, 4))) == 0
    assert relative_batch_size(np.array([[1.0, 0], [0, 1.0]])) == pytest.approx(np.sqrt(0.5))
