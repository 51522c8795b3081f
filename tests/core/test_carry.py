"""Expression corrected by the weights of an embedding: the same linear map of other values."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from mnncorrect.core.calibrated import expression as carrying
from mnncorrect.core.calibrated import merge, neighborhoods
from mnncorrect.core.calibrated.expression import correct_expression
from mnncorrect.core.calibrated.merge import Parts
from mnncorrect.core.calibrated.method import calibrate
from mnncorrect.core.merging import loop as merging

N_GENES, DIMS = 30, 6


@pytest.fixture
def cells(rng):
    """Expression of full rank in three batches, its components, and a population of one batch."""
    profiles = rng.gamma(1.0, 3.0, size=(4, N_GENES))
    truth = np.arange(300) % 3
    batch = np.repeat([0, 1, 2], [120, 100, 80])
    truth[(batch == 1) & (np.arange(300) % 2 == 0)] = 3
    genes = profiles[truth] + rng.normal(size=(300, N_GENES)) * 0.3
    genes[batch == 1] += rng.normal(size=N_GENES) * 0.5
    genes[batch == 2] *= 1.1
    rotation = np.linalg.svd(genes - genes.mean(0), full_matrices=False)[2][:DIMS].T
    return genes, batch, rotation


def kept(x, batch, **options):
    return calibrate(x, batch, keep_weights=True, **options)


def carried(weights, x, **options):
    out = np.empty(x.shape, x.dtype)
    correct_expression(weights, x, out, n_jobs=1, **options)
    return out


@pytest.mark.parametrize("reference", [None, 1])
@pytest.mark.parametrize("parts", [Parts(), Parts(evidence=False, rounds=3)])
def test_components_of_corrected_expression_are_the_corrected_components(cells, reference, parts):
    genes, batch, rotation = cells
    found = kept(genes @ rotation, batch, reference=reference, parts=parts)
    assert (found.correction.corrected != genes @ rotation).any()
    assert len(found.weights.contractions) == (2 if reference == 1 else 3)
    expression = carried(found.weights, genes)
    # The same sums in another order: rounding alone.
    np.testing.assert_allclose(expression @ rotation, found.correction.corrected, atol=1e-10)
    # What the components leave out is kept, and not smoothed away.
    rest = np.eye(N_GENES) - rotation @ rotation.T
    assert np.linalg.norm(expression @ rest) > 0.9 * np.linalg.norm(genes @ rest)


def test_it_is_so_where_cells_take_a_mean_over_points(cells, monkeypatch):
    monkeypatch.setattr(neighborhoods, "MOST_DIRECT", 50)
    monkeypatch.setattr(neighborhoods, "LEAST_POINTS", 20)
    monkeypatch.setattr(merge, "MOST_ANCHORS", 40)
    genes, batch, rotation = cells
    found = kept(genes @ rotation, batch)
    assert found.weights.moves[0].rounds[0].points is not None
    expression = carried(found.weights, genes)
    np.testing.assert_allclose(expression @ rotation, found.correction.corrected, atol=1e-10)


def test_lengths_are_taken_out_before_and_put_back(cells, rng):
    genes, batch, rotation = cells
    scale = rng.uniform(0.5, 2, size=len(genes))
    found = kept(genes / scale[:, None] @ rotation, batch)
    expression = carried(found.weights, genes, scale=scale)
    np.testing.assert_allclose(
        expression / scale[:, None] @ rotation, found.correction.corrected, atol=1e-10
    )


def test_dense_and_sparse_values_and_blocks_of_genes_give_the_same_bits(cells, monkeypatch):
    genes, batch, rotation = cells
    weights = kept(genes @ rotation, batch).weights
    values = np.where(genes > 1, genes, 0).astype(np.float32)
    scale = np.linalg.norm(values, axis=1)
    whole = carried(weights, values, scale=scale)
    for same in (sp.csr_matrix(values), sp.csc_matrix(values)):
        np.testing.assert_array_equal(carried(weights, same, scale=scale), whole)
    monkeypatch.setattr(carrying, "COLUMN_BLOCK_VALUES", 1)
    monkeypatch.setattr(carrying, "ROW_BLOCK", 70)
    np.testing.assert_array_equal(carried(weights, values, scale=scale, n_dims=7), whole)
    some = np.arange(N_GENES) % 3 > 0
    out = np.empty((300, some.sum()), np.float32)
    correct_expression(weights, values, out, genes=some, scale=scale, n_jobs=1)
    np.testing.assert_array_equal(out, whole[:, some])


def test_cells_that_do_not_move_keep_their_expression_to_the_bit(cells):
    genes, batch, rotation = cells
    values = genes.astype(np.float32)
    scale = np.linalg.norm(values.astype(float), axis=1)
    found = kept(values @ rotation, batch, reference=0)
    expression = carried(found.weights, values, scale=scale)
    still = (found.correction.corrected == values @ rotation).all(1)
    assert still[batch == 0].all()
    np.testing.assert_array_equal(expression[still], values[still])
    assert (expression[~still] != values[~still]).any(1).all()


def test_no_correction_gives_the_input(rng):
    x = rng.normal(size=(200, DIMS))
    found = kept(x, rng.integers(2, size=200))
    assert all(merge.skipped for merge in found.correction.merges)
    assert found.weights == carrying.Weights()
    values = rng.normal(size=(200, 9)).astype(np.float32)
    np.testing.assert_array_equal(
        carried(found.weights, values, scale=np.arange(200) + 0.3), values
    )
    alone = kept(x, np.zeros(200, int))
    np.testing.assert_array_equal(carried(alone.weights, values), values)


def test_weights_are_not_kept_unless_wanted(cells):
    genes, batch, rotation = cells
    assert calibrate(genes @ rotation, batch).weights is None
    assert isinstance(calibrate(genes, batch).correction, merging.Correction)


@pytest.mark.parametrize(
    ("n_cells", "n_dims", "width"),
    [(1 << 23, 50, 50), (10**5, 50, 64), (10**6, 100, 64), (10, 5, 200)],
)
def test_a_block_is_as_large_as_what_is_held_anyway(n_cells, n_dims, width):
    blocks = list(carrying.column_blocks(n_cells, 200, n_dims))
    assert blocks[0] == slice(0, width)
    assert blocks[-1].stop == 200
