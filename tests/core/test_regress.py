"""Regression of batches and designs, against least squares."""

from __future__ import annotations

import naive
import numpy as np
import pytest
from scipy import sparse

from mnncorrect.core.methods import regress
from mnncorrect.core.methods.regress import regress_batches

SIZES = (12, 9, 15)
CODES = np.repeat(np.arange(3), SIZES)


@pytest.fixture
def x(rng):
    x = rng.normal(size=(36, 7)) + 3
    x[rng.random(x.shape) < 0.2] = 0
    return x


@pytest.fixture
def design(rng):
    """An intercept, two batches against the first, and a covariate on another scale."""
    return np.column_stack(
        [np.ones(36), CODES == 1, CODES == 2, 1000 * rng.normal(size=36)]
    ).astype(float)


def split(x):
    return np.split(x, np.cumsum(SIZES)[:-1])


def rows_of(restrict):
    """Rows within each batch, as the oracle takes them."""
    return None if restrict is None else [np.flatnonzero(part) for part in split(restrict)]


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
@pytest.mark.parametrize("restricted", [False, True])
@pytest.mark.parametrize("designed", [False, True])
@pytest.mark.parametrize("keep", [(), (0,), (1, 2)])
def test_regression_is_least_squares(x, design, container, restricted, designed, keep):
    # The third batch is restricted too: there the reference takes the wrong cells.
    restrict = np.arange(36) % 3 != 1 if restricted else None
    chosen = design if designed else None
    expected = naive.regress_batches(
        split(x), design=chosen, keep=list(keep) or None, restrict=rows_of(restrict)
    )
    result = regress_batches(container(x), CODES, design=chosen, keep=keep, restrict=restrict)
    np.testing.assert_allclose(result, expected, atol=1e-10)


def test_genes_have_mean_zero_in_every_batch(x):
    for batch in split(regress_batches(x, CODES)):
        np.testing.assert_allclose(batch.mean(0), 0, atol=1e-12)


def test_indicators_as_a_design_give_the_default(x):
    given = regress_batches(x, CODES, design=np.eye(3)[CODES])
    np.testing.assert_allclose(given, regress_batches(x, CODES), atol=1e-12)


def test_what_is_kept_stays_and_the_rest_goes(rng, design):
    kept, gone = rng.normal(size=(2, 5)), rng.normal(size=(2, 5))
    x = design[:, [0, 3]] @ kept + design[:, [1, 2]] @ gone
    corrected = regress_batches(x, CODES, design=design, keep=[0, 3])
    np.testing.assert_allclose(corrected, design[:, [0, 3]] @ kept, atol=1e-8)


@pytest.mark.parametrize("designed", [False, True])
def test_blocks_and_threads_do_not_change_a_bit(x, design, designed, monkeypatch):
    chosen = design if designed else None
    whole = regress_batches(x, CODES, design=chosen, n_jobs=1)
    monkeypatch.setattr(regress, "rows_per_block", lambda n_columns, **_: 5)
    one = regress_batches(x, CODES, design=chosen, n_jobs=1)
    np.testing.assert_array_equal(one, regress_batches(x, CODES, design=chosen, n_jobs=2))
    np.testing.assert_allclose(one, whole, atol=1e-11)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_float_type_is_that_of_the_input(x, dtype):
    assert regress_batches(sparse.csr_matrix(x.astype(dtype)), CODES).dtype == dtype


@pytest.mark.parametrize("extra", ["copy", "sum", "zero"])
def test_a_design_without_full_rank_is_refused(x, design, extra):
    column = {"copy": design[:, 3], "sum": design[:, 0] - design[:, 1], "zero": 0 * design[:, 0]}
    with pytest.raises(ValueError, match=r"5 columns are not independent .*36 cells"):
        regress_batches(x, CODES, design=np.column_stack([design, column[extra]]))


def test_rank_is_that_over_the_restricted_cells(x, design):
    restrict = CODES != 1
    with pytest.raises(ValueError, match=r"4 columns are not independent .*27 cells"):
        regress_batches(x, CODES, design=design, restrict=restrict)
    with pytest.raises(ValueError, match=r"restrict leaves no cells .*\[1\]"):
        regress_batches(x, CODES, restrict=restrict)


def test_fewer_cells_than_columns_are_refused(x, design):
    with pytest.raises(ValueError, match="not independent over the 3 cells"):
        regress_batches(x, CODES, design=design, restrict=np.isin(np.arange(36), [0, 13, 30]))


@pytest.mark.parametrize("shape", [(36,), (35, 2), (36, 0)])
def test_a_design_of_another_shape_is_refused(x, shape):
    with pytest.raises(ValueError, match=r"it must be \(36, number of coefficients\)"):
        regress_batches(x, CODES, design=np.ones(shape))


def test_a_design_with_gaps_is_refused(x, design):
    design[3, 3] = np.nan
    with pytest.raises(ValueError, match="NaN or infinite"):
        regress_batches(x, CODES, design=design)


@pytest.mark.parametrize("keep", [[3], [-1], [0, 7]])
def test_columns_that_are_not_there_cannot_be_kept(x, keep):
    with pytest.raises(ValueError, match="it has columns 0 to 2"):
        regress_batches(x, CODES, keep=keep)
