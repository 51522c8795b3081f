"""Correction by centroids, against its oracle."""

from __future__ import annotations

import naive
import numpy as np
import pytest
from scipy import sparse

from mnncorrect.core.methods import cluster as module
from mnncorrect.core.methods.cluster import mnn_cluster
from mnncorrect.core.runtime.compute import ComputeOptions

MASK = np.arange(20) % 4 != 1


@pytest.fixture
def labelled(blobs):
    """Three batches of four populations whose cells come in no order; one lacks a population."""
    x, batch, truth = blobs(
        sizes=(40, 35, 30), n_features=20, n_populations=4, positive=True, missing=[(1, 2)]
    )
    order = np.random.default_rng(5).permutation(len(x))
    return x[order], batch[order], truth[order]


CASES = {
    "default": {},
    "not_normalised": {"cosine_norm": False},
    "mask": {"mask": MASK},
    "correct_all": {"mask": MASK, "correct_all": True},
    "automatic": {"auto_merge": True},
    "order": {"merge_order": ((2, 0), 1)},
    "skipping": {"min_batch_size": 1.1},
}


def oracle(x, batch, clusters, options):
    groups = [np.flatnonzero(batch == b) for b in range(batch.max() + 1)]
    if "restrict" in options:
        options = options | {"restrict": [options["restrict"][rows] for rows in groups]}
    expected = naive.mnn_cluster(
        [x[rows] for rows in groups], [clusters[rows] for rows in groups], **options
    )
    return expected, np.concatenate(groups)


@pytest.mark.parametrize("restricted", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_cluster_is_its_oracle_up_to_the_signs_of_components(labelled, case, restricted):
    x, batch, clusters = labelled
    options = dict(CASES[case])
    if restricted:
        options["restrict"] = np.arange(len(x)) % 3 != 0
    expected, order = oracle(x, batch, clusters, options)
    result, components, found = mnn_cluster(x, batch, clusters, **options)
    signs = np.sign((components.rotation * expected.rotation).sum(0))
    np.testing.assert_allclose(
        result.corrected[order] * signs, expected.corrected, rtol=0, atol=1e-9
    )
    np.testing.assert_allclose(components.rotation * signs, expected.rotation, atol=1e-9)
    np.testing.assert_array_equal(found.batch, expected.batch)
    np.testing.assert_array_equal(found.label, expected.cluster)
    # Centroids that coincide after a merge may stand for one another in later pairs; the groups
    # that pairs connect are the same.
    np.testing.assert_array_equal(found.meta, expected.meta)
    for merge, other in zip(result.merges, expected.merges, strict=True):
        assert (merge.left, merge.right, merge.skipped) == (other.left, other.right, other.skipped)
        np.testing.assert_allclose(merge.batch_size, other.batch_size, rtol=1e-9)
        np.testing.assert_allclose(merge.lost_variance, other.lost_variance, atol=1e-9)
    first = result.merges[0].pairs
    np.testing.assert_array_equal(
        np.column_stack([first.left, first.right]), expected.merges[0].pairs
    )


def test_a_small_effect_is_left_alone_if_that_is_asked_for(labelled):
    # The reference does not pass this parameter on.
    result, components, _ = mnn_cluster(*labelled, min_batch_size=1.1)
    assert all(merge.skipped for merge in result.merges)
    np.testing.assert_allclose(result.corrected, components.scores, atol=1e-12)


def test_matched_clusters_share_a_meta_cluster(labelled):
    _, _, found = mnn_cluster(*labelled)
    for label in range(4):
        assert len(set(found.meta[found.label == label])) == 1
    assert sorted(set(found.meta)) == [0, 1, 2, 3]
    assert found.meta[0] == 0


def test_cells_that_are_their_centroids_follow_them_exactly(rng):
    # The bandwidth is zero here, and the reference's weights are not numbers.
    centroids = rng.random((3, 8))
    x = np.vstack([np.repeat(centroids, 4, axis=0), np.repeat(centroids + 0.05, 4, axis=0)])
    batch, clusters = np.repeat([0, 1], 12), np.tile(np.repeat([0, 1, 2], 4), 2)
    expected, order = oracle(x, batch, clusters, {})
    result, components, _ = mnn_cluster(x, batch, clusters)
    signs = np.sign((components.rotation * expected.rotation).sum(0))
    assert np.isfinite(result.corrected).all()
    np.testing.assert_allclose(result.corrected[order] * signs, expected.corrected, atol=1e-9)
    for label in range(3):
        same = result.corrected[clusters == label]
        np.testing.assert_allclose(same, np.tile(same[0], (len(same), 1)), atol=1e-9)


def test_labels_may_have_gaps_and_mean_nothing_across_batches(labelled):
    x, batch, clusters = labelled
    one, _, _ = mnn_cluster(x, batch, clusters)
    other, _, found = mnn_cluster(x, batch, clusters * 10 + batch)
    np.testing.assert_allclose(other.corrected, one.corrected, atol=1e-12)
    np.testing.assert_array_equal(found.label % 10, found.batch)


@pytest.mark.parametrize("container", [sparse.csr_array, sparse.csc_array, np.asfortranarray])
def test_containers_make_no_difference(labelled, container):
    x, batch, clusters = labelled
    x = np.where(x > 8, x, 0)
    dense, _, _ = mnn_cluster(x, batch, clusters)
    other, _, _ = mnn_cluster(container(x), batch, clusters)
    np.testing.assert_array_equal(other.corrected, dense.corrected)


def test_float32_stays_float32_and_near(labelled):
    x, batch, clusters = labelled
    single, _, _ = mnn_cluster(x.astype(np.float32), batch, clusters)
    double, _, _ = mnn_cluster(x, batch, clusters)
    assert single.corrected.dtype == np.float32
    np.testing.assert_allclose(single.corrected, double.corrected, atol=1e-4)


def test_cluster_is_the_same_bits_on_one_and_two_threads(labelled, monkeypatch):
    monkeypatch.setattr(module, "ROW_BLOCK", 16)
    one, two = (
        mnn_cluster(*labelled, compute=ComputeOptions(n_jobs=n_jobs))[0] for n_jobs in (1, 2)
    )
    np.testing.assert_array_equal(one.corrected, two.corrected)
