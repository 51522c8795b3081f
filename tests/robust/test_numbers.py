"""Numbers at the edge of what there is: finite, and as extended precision has it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mnncorrect.core.matrix.rows import cosine_normalize, row_norms
from mnncorrect.core.merging.smoothing import gaussian, global_mean, tricube
from mnncorrect.core.neighbors.engines import nearest
from mnncorrect.core.runtime.compute import ComputeOptions

Long = np.longdouble
extended = pytest.mark.skipif(
    np.finfo(Long).eps >= np.finfo(np.float64).eps,
    reason="this machine has no floating-point type that is wider than float64",
)
SIGMAS = [1e-12, 1e-6, 1e-2, 1.0, 1e2, 1e6, 1e12]
# The largest and the smallest numbers whose squares float64 still has, and some between.
SCALES = [1e-150, 1e-30, 1e-12, 1.0, 1e12, 1e30, 1e140]


def anchored(scale: float, *, far: float = 0.0) -> tuple[Any, Any, Any]:
    """Cells, of which every third is an anchor, and the anchors' vectors; half of them far away."""
    rng = np.random.default_rng(3)
    data = rng.normal(size=(30, 4))
    data[15:] += far
    anchors = np.arange(0, 30, 3)
    return data * scale, anchors, rng.normal(size=(len(anchors), 4)) * scale


def by_gaussian(data: Any, anchors: Any, vectors: Any, sigma: float) -> Any:
    """Weigh anchors by a Gaussian over its density, in logarithms of extended precision."""
    points = data.astype(Long)
    square = ((points[:, None] - points[anchors][None]) ** 2).sum(2)
    logs = -square / Long(sigma)
    density = log_sum(logs[anchors], axis=1)
    weights = logs - density[None]
    weights = np.exp(weights - log_sum(weights, axis=1)[:, None])
    return (weights[:, :, None] * vectors.astype(Long)[None]).sum(1)


def log_sum(logs: Any, axis: int) -> Any:
    most = logs.max(axis=axis, keepdims=True)
    return np.squeeze(most, axis) + np.log(np.exp(logs - most).sum(axis))


@extended
@pytest.mark.parametrize("far", [0.0, 1e3, 1e8])
@pytest.mark.parametrize("sigma", SIGMAS)
def test_gaussian_smoothing_is_what_extended_precision_gives(sigma: float, far: float) -> None:
    data, anchors, vectors = anchored(1.0, far=far)
    (found,) = gaussian(data, anchors, [vectors], sigma)
    expected = by_gaussian(data, anchors, vectors, sigma)
    assert np.isfinite(found).all()
    # Weights are good to 1e-3 of an exponent, and then by as much: see EXPONENT_ERROR.
    np.testing.assert_allclose(found, expected.astype(float), atol=2e-3)


@extended
@pytest.mark.parametrize("scale", SCALES)
def test_gaussian_smoothing_has_no_scale_of_its_own(scale: float) -> None:
    data, anchors, vectors = anchored(scale)
    (found,) = gaussian(data, anchors, [vectors], 0.5 * scale**2)
    expected = by_gaussian(data, anchors, vectors, 0.5 * scale**2)
    np.testing.assert_allclose(found / scale, (expected / Long(scale)).astype(float), atol=2e-3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1e-45, 1e-38, 1e-30, 1e-12, 1.0, 1e12, 1e18, 1e30, 3e38])
def test_smoothing_of_numbers_at_the_edge_is_finite(scale: float, dtype: Any) -> None:
    data, anchors, vectors = (
        (v * scale / 8).astype(dtype) if v.dtype.kind == "f" else v for v in anchored(1.0)
    )
    results = [tricube(data, anchors, vectors, k=3)]
    for sigma in SIGMAS:
        results += gaussian(data, anchors, [vectors], sigma)
        results += global_mean(data, anchors, [vectors], sigma)
    least, most = vectors.min(0).astype(float), vectors.max(0).astype(float)
    room = 1e-5 * np.abs(vectors).max().astype(float) + np.finfo(np.float32).tiny
    for found in results:
        assert np.isfinite(found).all()
        assert (found >= least - room).all()
        assert (found <= most + room).all()


@extended
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1e-30, 1e-7, 1.0, 1e19, 1e30, 1e37, 1e150])
def test_cells_have_unit_length_at_any_scale(scale: float, dtype: Any) -> None:
    if scale > float(np.finfo(dtype).max) / 8:
        pytest.skip("larger than the type holds")
    x = (anchored(1.0)[0] * scale).astype(dtype)
    x[4] = 0
    found = cosine_normalize(x)
    # Shorter cells than this count as empty, as in the reference.
    norm = np.maximum(np.sqrt((x.astype(Long) ** 2).sum(1)), Long(1e-8))
    expected = (x.astype(Long) / norm[:, None]).astype(float)
    assert np.isfinite(row_norms(x)).all()
    np.testing.assert_allclose(found, expected, rtol=1e-6 if dtype == np.float32 else 1e-13)
    assert (found[4] == 0).all()


def test_values_whose_squares_are_beyond_float64_are_refused() -> None:
    x = anchored(1.0)[0] * 1e200
    with pytest.raises(ValueError, match="too large to be squared"):
        cosine_normalize(x)


@extended
@pytest.mark.parametrize("offset", [0.0, 1e3, 1e8])
@pytest.mark.parametrize("scale", [1e-140, 1e-30, 1.0, 1e30, 1e140])
def test_neighbours_are_those_of_extended_precision_at_any_scale(
    scale: float, offset: float
) -> None:
    rng = np.random.default_rng(0)
    reference = (rng.normal(size=(60, 3)) + offset) * scale
    query = (rng.normal(size=(20, 3)) + offset) * scale
    found = nearest(query, reference, 5, compute=ComputeOptions("exact"))
    square = ((query.astype(Long)[:, None] - reference.astype(Long)[None]) ** 2).sum(2)
    order = np.argsort(square, axis=1, kind="stable")[:, :5]
    np.testing.assert_array_equal(found.indices, order)
    expected = np.sqrt(np.take_along_axis(square, order, 1)).astype(float)
    np.testing.assert_allclose(found.distances, expected, rtol=1e-12)
