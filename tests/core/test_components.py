"""New cells on the components of a model: against an oracle, with genes missing."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from mnncorrect.core.model.components import embed, match_genes
from mnncorrect.core.model.fit import Components, Scaling


@pytest.fixture
def components(rng):
    rotation, _ = np.linalg.qr(rng.normal(size=(9, 3)))
    center = rng.random(9) / 10
    names = tuple(f"g{i}" for i in range(9))
    variance = np.array([3.0, 2.0, 1.0])
    return Components(names, rotation, center, variance, 0.5, cosine_norm=True)


def naive_embed(counts, names, components, scaling):
    """Counts of named genes to scores; missing genes are filled in until nothing changes."""
    held = components.variance / (components.variance + components.residual)
    absent = [g not in names for g in components.genes]
    scores = []
    for cell in counts:
        values = dict(zip(names, np.log1p(cell / cell.sum() * scaling.total), strict=True))
        x = np.array([values.get(g, 0.0) for g in components.genes])
        length = np.sqrt((x**2).sum() / (1 - (components.center[absent] ** 2).sum()))
        deviation = x / length - components.center
        deviation[absent] = 0
        for _ in range(2000):
            score = deviation @ components.rotation
            deviation[absent] = (components.rotation @ (held * score))[absent]
        scores.append(deviation @ components.rotation)
    return np.array(scores)


@pytest.mark.parametrize("lacking", [set(), {"g2", "g7"}])
def test_genes_are_matched_by_name_and_missing_ones_are_expected(rng, components, lacking):
    names = [f"g{i}" for i in rng.permutation(12) if f"g{i}" not in lacking]
    counts = rng.poisson(3.0, size=(7, len(names))).astype(np.float64)
    scaling = Scaling(50.0, True, 12)
    matched = match_genes(components, names)
    assert matched.missing_share == pytest.approx(
        sum(components.share[int(name[1:])] for name in lacking)
    )
    totals = counts.sum(1)
    dense = embed(counts, components, matched, scaling=scaling, totals=totals)
    sparse = embed(sp.csr_matrix(counts), components, matched, scaling=scaling, totals=totals)
    np.testing.assert_array_equal(dense, sparse)
    want = naive_embed(counts, names, components, scaling)
    np.testing.assert_allclose(dense, want, rtol=1e-5, atol=1e-6)  # float32 out


def test_scores_of_a_cell_do_not_depend_on_the_block(rng, components):
    counts = rng.poisson(1.0, size=(40, 9)).astype(np.float32)
    counts[3] = 0
    matched = match_genes(components, components.genes)
    whole = embed(counts, components, matched)
    parts = [embed(counts[i : i + 7], components, matched) for i in range(0, 40, 7)]
    np.testing.assert_array_equal(whole, np.concatenate(parts))
    # A cell without counts lies at zero, as in the training data.
    np.testing.assert_allclose(whole[3], -components.center @ components.rotation, rtol=1e-6)
