"""More dimensions than those before the elbow are used where they show clusters better."""

import numpy as np
import pytest
from sklearn.mixture import GaussianMixture

from mnncorrect.core.matrix import gain
from mnncorrect.core.matrix.elbow import leading_dimensions
from mnncorrect.core.matrix.gain import more_dimensions


def icl_by_hand(x, n_components, seed):
    """What each cell adds to ICL, by the densities of the Gaussians: slow and obvious."""
    model = GaussianMixture(
        n_components, covariance_type="tied", max_iter=200, random_state=seed
    ).fit(x)
    n, d = x.shape
    inverse = np.linalg.inv(model.covariances_)
    constant = d * np.log(2 * np.pi) + np.linalg.slogdet(model.covariances_)[1]
    n_parameters = n_components - 1 + n_components * d + d * (d + 1) // 2
    found = np.empty(n)
    for i in range(n):
        joint = np.array(
            [
                weight * np.exp(-0.5 * ((x[i] - mean) @ inverse @ (x[i] - mean) + constant))
                for weight, mean in zip(model.weights_, model.means_, strict=True)
            ]
        )
        share = joint / joint.sum()
        entropy = -sum(p * np.log(p) for p in share if p > 0)
        found[i] = -2 * np.log(joint.sum()) + 2 * entropy + n_parameters * np.log(n) / n
    return found


def gain_by_hand(x, n_dims, numbers, seeds):
    part = x[:, :n_dims]
    fits = [icl_by_hand(part, number, seed) for number in numbers for seed in seeds]
    return (icl_by_hand(part, 1, seeds[0]) - min(fits, key=lambda fit: fit.sum())) / n_dims


def dimensions_by_hand(x, n_dims, numbers, seeds):
    """The rule in plain words: the number taken; numbers, gains and rises that were compared."""
    compared = {}
    while True:
        twice = min(2 * n_dims, x.shape[1])
        for starts in ([seeds[0]], seeds):
            here = gain_by_hand(x, n_dims, numbers, starts)
            compared[n_dims] = [here.mean(), compared.get(n_dims, [0, None])[1]]
            if here.mean() <= 0:
                return n_dims, compared
            rise = gain_by_hand(x, twice, numbers, starts) - here
            rises_by = rise.mean() / (rise.std() / len(x) ** 0.5)
            compared[twice] = [here.mean() + rise.mean(), rises_by]
            if rises_by < -5:
                return n_dims, compared
        if rises_by <= 5:
            return n_dims, compared
        n_dims = twice


def embedding(rng, groups_along, n=300):
    """Twenty dimensions, four before the elbow, and groups of cells along some of them."""
    x = rng.normal(size=(n, 20)) * np.r_[np.full(4, 6.0), np.ones(16)]
    if groups_along == "leading":
        x[:, :4] += np.eye(4)[rng.integers(4, size=n)] * 60
    if groups_along == "later":
        x[:, 0] += rng.choice([-1, 1], size=n) * 30
        x[:, 5:10] = rng.normal(size=(n, 5)) * 0.2 + np.eye(5)[rng.integers(5, size=n)] * 3
    return x


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """Let few cells decide, by few components."""
    monkeypatch.setattr(gain, "COMPARED_NUMBERS", (3, 10))
    monkeypatch.setattr(gain, "FEWEST_CELLS", 100)


@pytest.mark.parametrize(("groups_along", "taken"), [(None, 5), ("leading", 5), ("later", 10)])
def test_the_number_of_dimensions_is_that_of_the_oracle(rng, groups_along, taken):
    x = embedding(rng, groups_along, n=120)
    assert leading_dimensions(np.var(x, axis=0)) == 5
    seeds = np.random.default_rng(0).integers(2**31, size=2).tolist()
    chosen, compared = dimensions_by_hand(x, 5, (3, 10), seeds)
    found = more_dimensions(x, 5, n_init=2, n_jobs=1)
    assert found.chosen == chosen == taken
    assert found.compared.tolist() == list(compared)
    gains, rises = zip(*compared.values(), strict=True)
    np.testing.assert_allclose(found.gain, gains, rtol=1e-6)
    assert np.isnan(found.rise[0])
    np.testing.assert_allclose(found.rise[1:], rises[1:], rtol=1e-6)


@pytest.mark.parametrize("tails", ["normal", "heavy", "skewed"])
def test_noise_keeps_the_dimensions_before_the_elbow(rng, tails):
    x = {
        "normal": lambda: rng.normal(size=(400, 20)),
        "heavy": lambda: rng.standard_t(3, size=(400, 20)),
        "skewed": lambda: rng.gamma(2, size=(400, 20)),
    }[tails]()
    assert more_dimensions(x, 5, n_init=1).chosen == 5


def test_more_dimensions_have_the_same_bits_for_any_number_of_threads(rng):
    x = embedding(rng, "later", n=120)
    one, four = (more_dimensions(x, 5, n_init=2, n_jobs=n_jobs) for n_jobs in (1, 4))
    assert one.chosen == four.chosen
    assert np.array_equal(one.gain, four.gain)
    assert np.array_equal(one.rise, four.rise, equal_nan=True)


def test_a_sample_of_many_cells_decides(rng, monkeypatch):
    monkeypatch.setattr(gain, "MOST_COMPARED_CELLS", 120)
    x = embedding(rng, "later", n=600)
    rows = np.sort(np.random.default_rng(3).choice(600, 120, replace=False))
    found = more_dimensions(x, 5, random_state=3, n_init=1)
    seen = []
    monkeypatch.setattr(gain, "_icl_by_cell", lambda x, *_, **__: seen.append(x))
    assert more_dimensions(x, 5, random_state=3).chosen == 5  # no covariance can be inverted
    assert np.array_equal(seen[0], x[rows, :5])
    assert found.compared[0] == 5


@pytest.mark.parametrize("case", ["few cells", "few different cells", "all dimensions"])
def test_nothing_is_compared_where_there_is_nothing_to_compare(rng, case):
    x = embedding(rng, "later", n=90 if case == "few cells" else 200)
    if case == "few different cells":
        x = x[rng.integers(50, size=200)]
    found = more_dimensions(x, 20 if case == "all dimensions" else 5)
    assert found.chosen == (20 if case == "all dimensions" else 5)
    assert len(found.compared) == len(found.gain) == len(found.rise) == 0
