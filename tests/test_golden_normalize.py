"""Normalisation, rescaling and regression: every stored output of the reference, to 1e-6."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from mnncorrect.core.matrix.normalize import multibatch_normalize, rescale_batches
from mnncorrect.core.methods.regress import regress_batches

# What agreement with the reference is asked for; what is seen is near 1e-15.
TOLERANCE = 1e-6
CONTAINERS = [np.asarray, sparse.csr_matrix, sparse.csc_array]


def dense(x):
    return x.toarray() if sparse.issparse(x) else x


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("name", ["multibatch_norm", "multibatch_norm_min_mean"])
def test_multibatch_normalize_agrees_with_the_reference(golden, name, container):
    case = golden(name)
    result = multibatch_normalize(container(case.x), case.codes, **case.params)
    expected = np.vstack([case.out1, case.out2, case.out3])
    factors = np.concatenate([case.size_factors1, case.size_factors2, case.size_factors3])
    np.testing.assert_allclose(dense(result.values), expected, rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(result.size_factors, factors, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("container", CONTAINERS)
def test_rescale_batches_agrees_with_the_reference(golden, container):
    case = golden("rescale")
    corrected = rescale_batches(container(case.x), case.codes, **case.params)
    np.testing.assert_allclose(dense(corrected), case.corrected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("container", CONTAINERS)
def test_regress_batches_agrees_with_the_reference(golden, container):
    case = golden("regress")
    corrected = regress_batches(container(case.x), case.codes, **case.params)
    np.testing.assert_allclose(corrected, case.corrected, rtol=0, atol=TOLERANCE)
