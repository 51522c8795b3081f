"""Gaussian mixtures against scipy's densities, and on clusters that are known."""

from __future__ import annotations

import naive
import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture

from mnncorrect.core.matrix import mixture
from mnncorrect.core.matrix.choosing import as_good_as_best, most_typical
from mnncorrect.core.matrix.elbow import leading_dimensions
from mnncorrect.core.matrix.mixture import fit_mixture
from mnncorrect.core.matrix.overlap import merge_overlapping
from mnncorrect.core.runtime.threads import single_blas

SIZES = (20, 60, 35)


@pytest.fixture
def clusters(rng):
    """Three clusters of different sizes, in mixed order; values and truth."""
    truth = rng.permutation(np.repeat(np.arange(3), SIZES))
    centres = np.array([[0.0, 0, 0], [9, 0, 0], [0, 9, 9]])
    return centres[truth] + rng.normal(size=(len(truth), 3)), truth


def test_known_clusters_are_found_and_numbered_by_size(clusters):
    x, truth = clusters
    fit = fit_mixture(x, 3, n_jobs=1)
    by_size = np.argsort([-size for size in SIZES])
    assert np.array_equal(by_size[fit.labels], truth)
    assert np.bincount(fit.labels).tolist() == sorted(SIZES, reverse=True)
    assert np.allclose(fit.means[fit.labels[truth == 1][0]], [9, 0, 0], atol=0.5)


def test_the_criterion_picks_the_true_number(clusters):
    fit = fit_mixture(clusters[0], range(1, 7), n_jobs=1)
    assert fit.n_components == 3
    assert fit.tried.tolist() == [1, 2, 3, 4, 5, 6]
    assert fit.tried[fit.bic.argmin()] == fit.tried[fit.icl.argmin()] == 3


@pytest.mark.parametrize("seed", range(3))
def test_one_population_is_few_clusters(seed):
    x = np.random.default_rng(seed).normal(size=(400, 6)) * [3, 2, 1, 1, 1, 1]
    fit = fit_mixture(x, range(1, 8), n_init=1, random_state=seed, n_jobs=1)
    assert fit.proba.shape[1] == 1


def _bent(rng):
    """A population along a bow, which no single Gaussian fits, and a round one apart from it."""
    angle = rng.uniform(0, np.pi, 600)
    bow = 3 * np.column_stack([np.cos(angle), np.sin(angle)]) + rng.normal(size=(600, 2)) * 0.7
    blob = rng.normal(size=(200, 2)) * 0.7 + [0.0, -5]
    return np.concatenate([bow, blob]), np.repeat([0, 1], [600, 200])


def test_components_that_cover_one_population_are_one_cluster(rng):
    x, truth = _bent(rng)
    fit = fit_mixture(x, range(1, 11), n_init=1, n_jobs=1)
    assert fit.n_components > 2
    assert np.array_equal(fit.labels, truth)
    apart = fit_mixture(x, range(1, 11), max_overlap=1, n_init=1, n_jobs=1)
    assert apart.proba.shape[1] == apart.n_components == fit.n_components


def test_probabilities_and_centers_of_merged_clusters_are_those_of_their_components(rng):
    x, truth = _bent(rng)
    fit = fit_mixture(x, range(1, 11), n_init=1, n_jobs=1)
    apart = fit_mixture(x, range(1, 11), max_overlap=1, n_init=1, n_jobs=1)
    cluster = naive.merge_overlapping(apart.proba.astype(float), 0.03)[0]
    sums = np.stack([apart.proba[:, cluster == one].sum(axis=1) for one in range(2)], axis=1)
    # The components of the two fits are the same, and each cluster is the sum of its own.
    order = np.argsort(-np.bincount(sums.argmax(axis=1)))
    assert np.allclose(fit.proba, sums[:, order], atol=1e-6)
    assert np.allclose(fit.proba.sum(axis=1), 1, atol=1e-6)
    for one in range(2):
        assert np.allclose(fit.means[one], x[truth == one].mean(axis=0), atol=0.1)


def test_a_number_of_clusters_that_is_given_is_kept(rng):
    fit = fit_mixture(_bent(rng)[0], 6, n_init=1, n_jobs=1)
    assert fit.proba.shape[1] == 6
    assert len(fit.overlaps) == 0


@pytest.mark.parametrize("max_overlap", [0.0, 0.02, 0.2, 1.0])
def test_merges_are_those_of_the_formula(rng, max_overlap):
    proba = rng.dirichlet(np.full(6, 0.15), size=80)
    merged = merge_overlapping(proba, max_overlap)
    cluster, overlaps = naive.merge_overlapping(proba, max_overlap)
    assert np.array_equal(merged.cluster, cluster)
    assert np.allclose(merged.overlaps, overlaps)


def test_small_populations_are_found_among_few_cells(rng):
    """As in a set of 350 cells: five populations of 20 to 150 cells in ten dimensions."""
    sizes = np.array([150, 90, 60, 30, 20])
    truth = np.repeat(np.arange(5), sizes)
    x = rng.normal(size=(350, 10))
    x[:, :5] += 7 * np.eye(5)[truth]
    fit = fit_mixture(x, range(1, 11), n_init=2, n_jobs=1)
    assert np.bincount(fit.labels).tolist() == sizes.tolist()
    assert (fit.proba.max(axis=1) > 0.9).mean() > 0.95


@pytest.mark.parametrize("covariance_type", ["tied", "full"])
def test_single_cells_far_off_are_no_clusters(rng, covariance_type):
    near, far = rng.normal(size=(200, 3)), rng.normal(size=(100, 3)) + np.array([9.0, 0, 0])
    x = np.concatenate([near, far])
    x = np.concatenate([x, [[60.0, 0, 0], [0, 60, 60]]])
    fit = fit_mixture(x, range(1, 6), covariance_type=covariance_type, n_jobs=1)
    assert fit.proba.shape[1] <= 3
    assert np.bincount(fit.labels).min() >= 5
    assert np.allclose(fit.proba.sum(axis=1), 1, atol=1e-6)
    assert np.bincount(fit_mixture(x, 4, n_jobs=1).labels).min() == 1  # as many as were asked for


def test_icl_takes_no_more_components_than_bic(rng):
    x, _ = _bent(rng)
    fits = [
        fit_mixture(x, range(1, 11), criterion=one, n_init=1, n_jobs=1) for one in ("icl", "bic")
    ]
    assert np.array_equal(fits[0].icl, fits[1].icl)
    assert (fits[0].icl >= fits[0].bic).all()
    assert fits[0].n_components == fits[0].tried[fits[0].icl.argmin()]
    assert fits[1].n_components == fits[1].tried[fits[1].bic.argmin()]
    assert fits[0].n_components <= fits[1].n_components


def test_the_elbow_is_where_variance_falls_to_the_noise():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 40)) * [*np.linspace(9, 4, 8), *np.linspace(1, 0.8, 32)]
    assert leading_dimensions(x.var(axis=0)) == 8
    assert leading_dimensions(1e-6 * x.var(axis=0)) == 8
    assert leading_dimensions(x[:, :20].var(axis=0)) == 8


def test_where_there_is_no_elbow_all_dimensions_are_used():
    rng = np.random.default_rng(0)
    assert leading_dimensions(rng.normal(size=(500, 30)).var(axis=0)) == 30
    assert leading_dimensions(np.ones(30)) == 30
    assert leading_dimensions(np.linspace(1, 9, 30) ** 2) == 30  # it rises
    assert leading_dimensions(np.array([9.0, 1, 1, 1])) == 4  # few as they are
    assert leading_dimensions(np.array([90.0, *[1.0] * 30])) == 5


def test_fits_that_are_as_good_are_those_within_five_standard_errors(rng):
    by_cell = rng.normal(size=(1, 400)) + np.array([[0.0], [0.02], [0.4], [0.0]])
    by_cell[1] += rng.normal(size=400) * 0.5  # its difference is less than its error
    penalty = np.array([0.0, 1, 1, 30])
    criterion = by_cell.sum(axis=1) + penalty
    good = as_good_as_best(criterion, by_cell)
    expected = [
        at
        for at in np.argsort(criterion)
        if criterion[at] - criterion.min()
        <= 5 * np.std(by_cell[at] - by_cell[criterion.argmin()]) * np.sqrt(400)
    ]
    assert good == expected == [0, 1]


def test_the_most_typical_clusters_agree_best_with_the_others():
    one, near = np.repeat([0, 1, 2], 20), np.repeat([0, 1, 2], [21, 19, 20])
    far = np.tile([0, 1], 30)
    place, agreement = most_typical([far, near, one, np.repeat([2, 0, 1], 20)])
    assert place == 2
    others = [adjusted_rand_score(one, other) for other in (far, near, one)]
    assert np.isclose(agreement, np.mean(others))
    assert most_typical([far, one])[0] == 0  # of equals the first
    assert most_typical([one]) == (0, 1.0)


def test_of_fits_that_are_as_good_the_most_typical_is_chosen(rng):
    x, truth = _bent(rng)
    fit = fit_mixture(x, range(1, 11), n_jobs=1)
    assert fit.as_good[fit.tried == fit.n_components]
    assert fit.as_good[fit.icl.argmin()]
    assert not fit.as_good[fit.tried == 1]
    assert 0.9 < fit.agreement <= 1
    assert np.array_equal(fit.labels, truth)
    given = fit_mixture(x, 6, n_jobs=1)
    assert given.as_good.tolist() == [True]
    assert given.agreement == 1


def test_probabilities_are_those_of_the_densities(clusters):
    x, _ = clusters
    fit = fit_mixture(x, 2, covariance_type="full", n_init=1, random_state=5, n_jobs=1)
    seed = int(np.random.default_rng(5).integers(2**31, size=1)[0])
    model = GaussianMixture(2, random_state=seed, max_iter=200).fit(x)
    densities = np.column_stack(
        [
            weight * multivariate_normal(mean, covariance).pdf(x)
            for weight, mean, covariance in zip(
                model.weights_, model.means_, model.covariances_, strict=True
            )
        ]
    )
    expected = densities / densities.sum(axis=1, keepdims=True)
    if np.bincount(expected.argmax(axis=1))[0] < len(x) / 2:
        expected = expected[:, ::-1]
    assert fit.proba.dtype == np.float32
    assert np.allclose(fit.proba, expected, atol=1e-6)
    assert np.array_equal(fit.labels, expected.argmax(axis=1))
    # -2 log L + p log n, with p = 1 weight, 2 means and 2 symmetric covariances.
    bic = -2 * np.log(densities.sum(axis=1)).sum() + (1 + 2 * 3 + 2 * 6) * np.log(len(x))
    assert np.allclose(fit.bic, bic)
    entropy = -(expected * np.log(np.maximum(expected, 1e-300))).sum()
    assert np.allclose(fit.icl, bic + 2 * entropy)


def test_the_best_of_the_starts_counts(clusters):
    x, _ = clusters
    fit = fit_mixture(x, 5, covariance_type="full", n_init=6, random_state=1, n_jobs=1)
    seeds = np.random.default_rng(1).integers(2**31, size=6)
    with single_blas():
        models = [GaussianMixture(5, random_state=int(s), max_iter=200).fit(x) for s in seeds]
    bounds = [model.lower_bound_ for model in models]
    assert np.isclose(fit.log_likelihood[-1], max(bounds))
    assert max(bounds) > min(bounds)


def test_likelihood_is_recorded_by_iteration_and_never_falls(clusters):
    fit = fit_mixture(clusters[0], 4, tol=1e-6, n_jobs=1)
    assert len(fit.log_likelihood) == fit.n_iter > 2
    assert (np.diff(fit.log_likelihood) > -1e-9).all()
    assert fit.converged
    assert fit.final_log_likelihood[0] >= fit.log_likelihood[-1] - 1e-9


def test_a_fit_that_has_not_converged_says_so(clusters):
    fit = fit_mixture(clusters[0], 4, max_iter=1, tol=1e-9, n_jobs=1)
    assert not fit.converged
    assert not fit.tried_converged.any()
    assert fit.n_iter == 1


def test_threads_do_not_change_a_bit(clusters):
    one = fit_mixture(clusters[0], [2, 3, 5], n_init=2, n_jobs=1)
    two = fit_mixture(clusters[0], [2, 3, 5], n_init=2, n_jobs=2)
    for name in ("labels", "proba", "bic", "icl", "overlaps", "log_likelihood", "means"):
        assert getattr(one, name).tobytes() == getattr(two, name).tobytes(), name


def test_of_many_cells_a_seeded_sample_is_fitted_and_all_are_assigned(clusters):
    x, truth = clusters
    fit = fit_mixture(x, 3, max_fit=70, n_jobs=1)
    again = fit_mixture(x, 3, max_fit=70, n_jobs=1)
    other = fit_mixture(x, 3, max_fit=70, random_state=1, n_jobs=1)
    assert fit.fitted_on == 70
    assert len(fit.labels) == len(x)
    assert np.array_equal(np.argsort([-s for s in SIZES])[fit.labels], truth)
    assert np.array_equal(fit.proba, again.proba)
    assert not np.array_equal(fit.means, other.means)


def test_blocks_of_cells_do_not_change_the_assignment(clusters, monkeypatch):
    whole = fit_mixture(clusters[0], 3, n_jobs=1)
    monkeypatch.setattr(mixture, "ROW_BLOCK", 7)
    blocks = fit_mixture(clusters[0], 3, n_jobs=2)
    assert np.allclose(whole.proba, blocks.proba, atol=1e-6)
    assert np.array_equal(whole.labels, blocks.labels)


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
def test_every_kind_of_covariance_finds_round_clusters(clusters, covariance_type):
    fit = fit_mixture(clusters[0], 3, covariance_type=covariance_type, n_jobs=1)
    assert np.bincount(fit.labels).tolist() == sorted(SIZES, reverse=True)


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"n_components": 0}, "whole number from 1"),
        ({"n_components": []}, "whole number from 1"),
        ({"n_components": 2.5}, "whole number from 1"),
        ({"n_components": [1, -2]}, "whole number from 1"),
        ({"n_components": "many"}, "whole number from 1"),
        ({"n_components": [1, None]}, "whole number from 1"),
        ({"n_components": [2.0, np.nan]}, "whole number from 1"),
        ({"n_components": 200}, "200 components need at least 200 different cells"),
        ({"covariance_type": "round"}, "choose one of full, tied"),
        ({"criterion": "aic"}, "choose one of icl, bic"),
        ({"max_overlap": -0.1}, "max_overlap is -0.1"),
        ({"max_overlap": 1.5}, "max_overlap is 1.5"),
        ({"n_init": 0}, "n_init is 0"),
        ({"max_iter": 0}, "max_iter is 0"),
        ({"tol": -1.0}, "tol is -1.0"),
        ({"reg_covar": np.nan}, "reg_covar is nan"),
        ({"max_fit": 0}, "max_fit is 0"),
        ({"n_jobs": 0}, "n_jobs is 0"),
    ],
)
def test_a_parameter_out_of_range_is_refused(clusters, changed, what):
    with pytest.raises(ValueError, match=what):
        fit_mixture(clusters[0], **{"n_components": 2, **changed})


def test_numbers_of_components_beyond_the_cells_are_left_out_with_a_warning(clusters):
    with pytest.warns(UserWarning, match="there are 5 different cells"):
        fit = fit_mixture(clusters[0][:5], range(1, 9), covariance_type="spherical", n_jobs=1)
    assert fit.tried.max() <= 5


@pytest.mark.parametrize(
    ("covariance_type", "n", "n_dims", "most"),
    [("tied", 30, 5, 15), ("tied", 30, 10, 10), ("tied", 12, 20, 1), ("full", 40, 4, 4)],
)
def test_cells_are_not_clusters_of_their_own(rng, covariance_type, n, n_dims, most):
    """With about as many components as cells, any likelihood could be reached."""
    x = rng.normal(size=(n, n_dims))
    with pytest.warns(UserWarning, match=f"{n} different cells in {n_dims} dim.* {most} comp"):
        fit = fit_mixture(x, range(1, 31), covariance_type=covariance_type, n_init=1, n_jobs=1)
    assert fit.tried.max() == most
    assert np.isfinite(fit.icl).all()
    assert fit.proba.shape[1] <= n // 2


def test_constant_dimensions_are_refused(clusters):
    x = clusters[0].copy()
    x[:, 1] = 3
    with pytest.raises(ValueError, match="1 of 3 dimensions are constant, the first is number 1"):
        fit_mixture(x, 2)


def test_cells_that_are_all_the_same_are_refused():
    with pytest.raises(ValueError, match="2 different cells, and there are 1"):
        fit_mixture(np.ones((30, 2)), 1)


def test_a_covariance_that_cannot_be_inverted_is_explained(clusters):
    x = np.repeat(clusters[0][:4], 10, axis=0)
    with pytest.raises(ValueError, match="cannot be inverted; use fewer components"):
        fit_mixture(x, 4, reg_covar=0.0, n_jobs=1)
