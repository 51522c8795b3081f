"""What values are is judged by what proves it, on values of every kind that people have."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from mnncorrect.core.matrix import value_kinds as judging


def counts(rng, n_cells=120, n_genes=300, depth=1500):
    rates = rng.gamma(0.4, 1.0, n_genes) * np.exp(rng.normal(0, 0.5, (n_cells, n_genes)))
    depths = depth * np.exp(rng.normal(0, 0.4, (n_cells, 1)))
    return rng.poisson(rates / rates.sum(1, keepdims=True) * depths).astype(np.float64)


def judged(x, block=50, groups=None):
    looks = judging.Statistics()
    x = sp.csr_matrix(x)
    for start in range(0, x.shape[0], block):
        looks.add(start, judging.look(x[start : start + block]))
    return judging.judge(looks, groups)


def per(x, total):
    return total * x / x.sum(1, keepdims=True)


def soupx(x, rng):
    return np.maximum(x - rng.uniform(0, 0.9, x.shape), 0)


def alevin(x, rng):
    return x + (rng.random(x.shape) < 0.05) * (x > 0) * rng.uniform(0, 0.9, x.shape)


KINDS = {
    "counts": (lambda x, rng: x, "counts", None, None),
    "SoupX": (soupx, "fractional counts", None, None),
    "alevin": (alevin, "fractional counts", None, None),
    "halves": (lambda x, rng: x / 2, "fractional counts", None, None),
    "CPM": (lambda x, rng: per(x, 1e6), "normalized values", None, 1e6),
    "proportions": (lambda x, rng: per(x, 1.0), "normalized values", None, 1.0),
    "per 10,000": (lambda x, rng: per(x, 1e4), "normalized values", None, 1e4),
    "ln": (lambda x, rng: np.log1p(per(x, 1e4)), "log values", np.e, 1e4),
    "log2": (lambda x, rng: np.log2(1 + per(x, 1e4)), "log values", 2.0, 1e4),
    "log10": (lambda x, rng: np.log10(1 + per(x, 1e4)), "log values", 10.0, 1e4),
    "ln of SoupX": (lambda x, rng: np.log1p(per(soupx(x, rng), 1e4)), "log values", np.e, 1e4),
    "ln of some genes": (lambda x, rng: np.log1p(per(x, 1e4))[:, ::3], "log values", np.e, None),
    "log2 of some genes": (
        lambda x, rng: np.log2(1 + per(x, 1e4))[:, ::3], "log values", 2.0, None,
    ),
    "ln of counts": (lambda x, rng: np.log1p(x), "log values", np.e, None),
    "log2 of counts": (lambda x, rng: np.log2(x + 1), "log values", 2.0, None),
    "size factors": (
        lambda x, rng: np.log2(1 + x / rng.lognormal(0, 0.5, (len(x), 1))), "log values", 2.0, None,
    ),
    "centered": (
        lambda x, rng: np.log1p(per(x, 1e4)) - np.log1p(per(x, 1e4)).mean(0),
        "scaled values", None, None,
    ),
    "detected": (lambda x, rng: x > 0, "zeros and ones", None, None),
    "none": (lambda x, rng: 0 * x, "all zero", None, None),
}  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", KINDS)
def test_values_of_every_kind_are_told(name, dtype, rng):
    change, kind, base, total = KINDS[name]
    (found,) = judged(change(counts(rng), rng).astype(dtype))
    assert (found.kind, found.mixed) == (kind, False)
    assert found.base == base
    assert found.total == (None if total is None else pytest.approx(total, rel=1e-3))


@pytest.mark.parametrize(
    "name", ["counts", "alevin", "SoupX", "ln", "log2", "ln of counts", "log2 of counts", "CPM"]
)
def test_cells_without_a_count_of_one_are_judged_alike(name, rng):
    change, kind, base, _ = KINDS[name]
    for n_genes, depth in ((50, 5000), (300, 50000), (40, 800)):
        deep = counts(rng, n_genes=n_genes, depth=depth)
        deep[deep == 1] = 2
        (found,) = judged(change(deep, rng))
        assert (found.kind, found.base) == (kind, base), (n_genes, depth)


@pytest.mark.parametrize("digits", [2, 3])
def test_rounded_logarithms_are_logarithms(digits, rng):
    (found,) = judged(np.round(np.log1p(per(counts(rng), 1e4)), digits))
    assert found.kind == "log values"


def test_a_few_genes_left_out_later_hide_no_total(rng):
    x = np.log1p(per(counts(rng), 1e4))
    rare = x.mean(0) < np.quantile(x.mean(0), 0.2)
    (found,) = judged(x[:, ~rare])
    assert found.total == pytest.approx(1e4, rel=0.02)


def test_logarithms_without_proof_are_told_by_depth(rng):
    """Fractions of which some genes are left: neither sums nor multiples prove anything."""
    x = counts(rng, n_genes=900, depth=4000)
    logged = np.log1p(per(soupx(x, rng), 1e4))[:, ::4]
    shallow = np.minimum(soupx(x, rng), 19.5)[:, ::4]
    assert [one.kind for one in judged(logged)] == ["log values"]
    assert [one.kind for one in judged(shallow)] == ["fractional counts"]


def test_each_group_is_judged_for_itself_and_mixtures_in_one_are_seen(rng):
    x = counts(rng)
    both = np.vstack([x, np.log1p(per(x, 1e4)), np.log2(1 + per(x, 1e4)), 0 * x[:5]])
    groups = np.repeat([0, 1, 2, 3], [120, 120, 120, 5])
    found = judged(both, groups=groups)
    assert [one.kind for one in found] == ["counts", "log values", "log values", "all zero"]
    assert [one.base for one in found[1:3]] == [np.e, 2.0]
    assert [one.tells for one in found] == [True, True, True, False]
    for first, last in ((0, 240), (120, 360)):
        (one,) = judged(both[first:last])
        assert one.mixed


def test_a_few_cells_tell_only_what_is_proven(rng):
    x = counts(rng, n_cells=6)
    assert [one.base for one in judged(np.log1p(per(x, 1e4)))] == [np.e]
    (found,) = judged(rng.gamma(2.0, 1.0, (6, 40)))
    assert found.kind == "unclear"
    assert not found.tells


def test_blocks_do_not_change_what_is_told(rng):
    x = np.log1p(per(counts(rng), 3046.0)).astype(np.float32)
    found = [judged(x, block=block)[0] for block in (1, 7, 120)]
    assert found[0] == found[1] == found[2]
