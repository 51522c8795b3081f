"""Normalisation and rescaling across batches, against the formulas."""

from __future__ import annotations

import naive
import numpy as np
import pytest
from scipy import sparse

from mnncorrect.core.matrix import normalize
from mnncorrect.core.matrix.normalize import (
    map_values,
    multibatch_normalize,
    rescale_batches,
    sum_by_batch,
)

SIZES = (12, 9, 15)
CODES = np.repeat(np.arange(3), SIZES)
CONTAINERS = [np.asarray, np.asfortranarray, sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array]


@pytest.fixture
def counts(rng):
    """Counts of three batches of different depth; every cell has some."""
    genes = rng.gamma(2, 3, size=20)
    depth = np.repeat([1.0, 3.0, 0.5], SIZES) * rng.uniform(0.5, 2, len(CODES))
    x = rng.poisson(depth[:, None] * genes).astype(float)
    x[:, 0] = np.maximum(x[:, 0], 1)
    return x


@pytest.fixture
def mask():
    return np.arange(20) % 3 != 1


def split(x):
    return np.split(x, np.cumsum(SIZES)[:-1])


def rows_of(restrict):
    """Rows within each batch, as the oracle takes them."""
    return None if restrict is None else [np.flatnonzero(part) for part in split(restrict)]


def dense(x):
    return x.toarray() if sparse.issparse(x) else x


# -- Normalisation of counts ----------------------------------------------------------------------


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("min_mean", [0.5, 4.0])
def test_normalisation_is_that_of_the_formula(
    counts, rng, mask, container, given, masked, min_mean
):
    factors = rng.uniform(0.5, 5, len(CODES)) if given else None
    expected = naive.multibatch_normalize(
        split(counts), min_mean=min_mean, mask=mask if masked else None,
        size_factors=split(factors) if given else None,
    )  # fmt: skip
    result = multibatch_normalize(
        container(counts), CODES, size_factors=factors, min_mean=min_mean,
        mask=mask if masked else None,
    )  # fmt: skip
    np.testing.assert_allclose(dense(result.values), expected.normalized, atol=1e-12)
    np.testing.assert_allclose(result.size_factors, expected.size_factors, rtol=1e-12)
    assert result.reference == 2


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_container_and_float_type_are_those_of_the_counts(counts, container, dtype):
    x = container(counts.astype(dtype))
    before = x.copy()
    values = multibatch_normalize(x, CODES).values
    assert type(values) is type(x)
    assert values.dtype == (np.float64 if dtype == np.float64 else np.float32)
    np.testing.assert_array_equal(dense(x), dense(before))


def test_depths_of_batches_come_together(counts):
    twice = np.vstack([counts, 8 * counts])
    codes = np.repeat([0, 1], len(counts))
    result = multibatch_normalize(twice, codes)
    np.testing.assert_allclose(result.values[: len(counts)], result.values[len(counts) :])
    np.testing.assert_allclose(result.size_factors[: len(counts)].mean(), 1)
    assert result.reference == 0


def test_only_ratios_of_size_factors_within_a_batch_matter(counts, rng):
    factors = rng.uniform(0.5, 5, len(CODES))
    one = multibatch_normalize(counts, CODES, size_factors=factors)
    scaled = multibatch_normalize(
        counts, CODES, size_factors=factors * np.array([1, 7, 0.1])[CODES]
    )
    np.testing.assert_allclose(one.values, scaled.values, rtol=1e-12)


def test_order_of_cells_does_not_matter(counts, rng):
    order = rng.permutation(len(CODES))
    mixed = multibatch_normalize(counts[order], CODES[order])
    np.testing.assert_allclose(
        mixed.values, multibatch_normalize(counts, CODES).values[order], rtol=1e-12
    )


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
def test_threads_and_blocks_do_not_change_a_bit(counts, container, monkeypatch):
    whole = multibatch_normalize(container(counts), CODES, n_jobs=1)
    monkeypatch.setattr(normalize, "rows_per_block", lambda n_columns, **_: 5)
    one = multibatch_normalize(container(counts), CODES, n_jobs=1)
    two = multibatch_normalize(container(counts), CODES, n_jobs=2)
    np.testing.assert_array_equal(dense(one.values), dense(two.values))
    np.testing.assert_allclose(dense(one.values), dense(whole.values), rtol=1e-12)


def test_a_cell_without_counts_is_refused(counts):
    counts[[7, 20]] = 0
    with pytest.raises(ValueError, match=r"2 cells have library sizes .* in row 7: 0"):
        multibatch_normalize(counts, CODES)


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf])
def test_size_factors_that_cannot_be_are_refused(counts, value):
    factors = np.ones(len(CODES))
    factors[3] = value
    with pytest.raises(ValueError, match=r"1 cells .* size factors"):
        multibatch_normalize(counts, CODES, size_factors=factors)


def test_size_factors_of_another_length_are_refused(counts):
    with pytest.raises(ValueError, match=r"have shape \(3,\).*\(36,\)"):
        multibatch_normalize(counts, CODES, size_factors=np.ones(3))


def test_no_gene_above_the_least_mean_is_an_error(counts):
    match = r"'one' and 'two' have no gene with a mean count of min_mean = 1000 .* lower"
    with pytest.raises(ValueError, match=match):
        multibatch_normalize(counts, CODES, min_mean=1000, names=["one", "two", "three"])


def test_batches_that_share_no_genes_are_an_error(counts):
    counts[CODES == 0, :12] = 0
    counts[CODES == 1, 8:] = 0
    with pytest.raises(ValueError, match="batches '0' and '1' cannot be compared"):
        multibatch_normalize(counts, CODES)


# -- Rescaling ------------------------------------------------------------------------------------


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("restricted", [False, True])
@pytest.mark.parametrize(("base", "pseudo"), [(2.0, 1.0), (np.e, 1.0), (10.0, 0.5)])
def test_rescaling_is_that_of_the_formula(counts, container, restricted, base, pseudo):
    x = np.log(counts + pseudo) / np.log(base)
    x[x == 0] = 0
    restrict = np.arange(len(CODES)) % 4 != 2 if restricted else None
    expected = naive.rescale_batches(
        split(x), log_base=base, pseudo_count=pseudo, restrict=rows_of(restrict)
    )
    result = rescale_batches(
        container(x), CODES, log_base=base, pseudo_count=pseudo, restrict=restrict
    )
    np.testing.assert_allclose(dense(result), expected, atol=1e-10)


def test_means_of_counts_are_the_lowest_of_all_batches(counts):
    corrected = rescale_batches(np.log2(counts + 1), CODES)
    means = np.stack([batch.mean(0) for batch in split(2**corrected - 1)])
    lowest = np.min([batch.mean(0) for batch in split(counts)], axis=0)
    np.testing.assert_allclose(means, np.broadcast_to(lowest, means.shape), atol=1e-12)


def test_order_of_batches_does_not_matter(counts):
    x = np.log2(counts + 1)
    np.testing.assert_allclose(rescale_batches(x, 2 - CODES), rescale_batches(x, CODES), rtol=1e-12)


def test_a_gene_that_a_batch_lacks_becomes_zero(counts):
    counts[CODES == 1, 4] = 0
    corrected = rescale_batches(np.log2(counts + 1), CODES)
    assert not corrected[:, 4].any()
    assert np.isfinite(corrected).all()


@pytest.mark.parametrize("container", CONTAINERS)
def test_rescaled_values_have_the_container_of_the_input(counts, container):
    x = container(np.log2(counts + 1).astype(np.float32))
    made = rescale_batches(x, CODES)
    assert type(made) is type(x)
    assert made.dtype == np.float32
    assert made.shape == x.shape


def test_zeros_get_a_value_with_another_pseudo_count(counts):
    x = sparse.csr_matrix(np.maximum(counts - 3, 0))
    assert isinstance(rescale_batches(x, CODES, pseudo_count=0.5), np.ndarray)


@pytest.mark.parametrize(
    "wrong", [{"log_base": 1.0}, {"log_base": -2.0}, {"pseudo_count": 0.0}, {"log_base": np.nan}]
)
def test_a_logarithm_that_cannot_be_is_refused(counts, wrong):
    with pytest.raises(ValueError, match="the base must be above 0 and not 1"):
        rescale_batches(np.log2(counts + 1), CODES, **wrong)


def test_values_that_are_no_such_logarithms_are_refused(rng):
    x = -rng.gamma(2, 2, size=(36, 5))
    with pytest.raises(ValueError, match="are these logarithms to base 2"):
        rescale_batches(x, CODES)


# -- Helpers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix])
def test_sums_are_weighted_and_by_batch(counts, rng, mask, container):
    weights = rng.random(len(CODES))
    genes = np.flatnonzero(mask)
    total = sum_by_batch(container(counts), CODES, weights, genes=genes, function=np.sqrt)
    for b, (own, x) in enumerate(zip(split(weights), split(counts), strict=True)):
        np.testing.assert_allclose(total[b], own @ np.sqrt(x[:, genes]), rtol=1e-12)


@pytest.mark.parametrize("container", CONTAINERS)
def test_values_are_mapped_with_their_cells_and_genes(counts, container):
    mapped = map_values(container(counts), lambda v, cells, genes: v * (100 * cells + genes))
    rows, columns = np.indices(counts.shape)
    np.testing.assert_array_equal(dense(mapped), counts * (100 * rows + columns))
