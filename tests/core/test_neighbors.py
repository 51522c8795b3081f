"""The contract of the neighbour search, whatever the engine."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
import types

import naive
import numpy as np
import pytest

from mnncorrect.core.merging.pairs import find_pairs
from mnncorrect.core.neighbors import cuvs, engines, exact
from mnncorrect.core.neighbors.engines import nearest, nearest_both, resolve_engine
from mnncorrect.core.runtime.compute import ComputeOptions


def assert_exact(query, reference, k):
    """The same neighbours, in the same order, at the same distances as by brute force.

    Among few cells one by one, and among many by products.
    """
    indices, distances = naive.nearest(query, reference, k)
    for few in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(exact, "are_few", lambda *_, few=few: few)
            found = nearest(query, reference, k, compute=ComputeOptions("exact"))
            listed = nearest(query, reference, k, compute=ComputeOptions("exact"), ranked=False)
        np.testing.assert_array_equal(found.indices, indices)
        np.testing.assert_array_equal(listed.indices, indices)
        np.testing.assert_allclose(found.distances, distances, rtol=1e-12, atol=0)
        assert found.indices.dtype == np.int32
        assert found.distances.dtype == np.float64


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("n_query", "n_reference", "n_dims", "k"),
    [(23, 31, 7, 5), (1, 9, 3, 9), (8, 1, 4, 1), (5, 6, 1, 2), (30, 200, 6, 60)],
)
def test_exact_is_brute_force(rng, dtype, n_query, n_reference, n_dims, k):
    query = rng.normal(size=(n_query, n_dims)).astype(dtype)
    reference = rng.normal(size=(n_reference, n_dims)).astype(dtype)
    assert_exact(query, reference, k)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_ties_go_to_the_lowest_row(rng, dtype):
    reference = np.repeat(rng.normal(size=(4, 5)), 20, axis=0)[rng.permutation(80)].astype(dtype)
    query = np.vstack([reference[:6], rng.normal(size=(3, 5)).astype(dtype)])
    assert_exact(query, reference, 25)


def test_integer_coordinates_are_ranked_by_distance_then_row(rng):
    # Counts give many exactly equal distances between cells that are not equal.
    x = rng.integers(0, 3, size=(60, 4)).astype(np.float32)
    assert_exact(x[:20], x[20:], 15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_common_offset_does_not_blur_the_search(rng, dtype):
    query, reference = rng.normal(size=(2, 40, 6))
    assert_exact((query + 1e4).astype(dtype), (reference + 1e4).astype(dtype), 8)


def test_near_ties_beyond_the_precision_of_products_are_ranked_by_direct_distances(rng):
    # The tight group lies so far from the mean that products in float32 see one point.
    far = np.full(6, 300.0)
    reference = np.vstack([far + 1e-3 * rng.normal(size=(50, 6)), -far[None]]).astype(np.float32)
    query = (far + 1e-3 * rng.normal(size=(10, 6))).astype(np.float32)
    assert_exact(query, reference, 4)


def test_many_near_ties_among_few_rows_are_ranked_by_direct_distances(rng):
    reference = np.repeat(rng.normal(size=(40, 3)), 5, axis=0).astype(np.float32)
    reference += rng.normal(size=reference.shape).astype(np.float32) * np.float32(1e-6)
    assert_exact(reference[::3] * np.float32(1 + 1e-6), reference, 37)


def test_a_wide_scale_of_lengths_does_not_lose_neighbours(rng):
    # One huge cell widens the bound on rounding for all.
    reference = rng.normal(size=(60, 5))
    reference[7] *= 1e6
    assert_exact(rng.normal(size=(9, 5)).astype(np.float32), reference.astype(np.float32), 6)


@pytest.mark.parametrize("scale", [1e-30, 1e-22, 1e22])
def test_squares_beyond_the_range_of_single_precision_are_ranked_all_the_same(rng, scale):
    query, reference = (scale * rng.normal(size=(n, 5)) for n in (9, 60))
    assert_exact(query.astype(np.float32), reference.astype(np.float32), 6)


@pytest.mark.parametrize(("dtype", "scale"), [(np.float32, 6e17), (np.float64, 4e152)])
@pytest.mark.parametrize("every", [True, False])
def test_sums_that_overflow_in_one_direction_only_are_ranked_all_the_same(rng, dtype, scale, every):
    left, right = ((scale * rng.normal(size=(n, 10))).astype(dtype) for n in (2, 900))
    in_left, in_right = nearest_both(left, right, 2, 20, every=every)
    np.testing.assert_array_equal(in_left.indices, naive.nearest(right, left, 2)[0])
    np.testing.assert_array_equal(in_right.indices, naive.nearest(left, right, 20)[0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_reference", [1, 2, 31, 32, 33, 100])
@pytest.mark.parametrize("values", ["zero", "few", "far", "tiny"])
def test_duplicates_and_extremes_are_ranked_by_distance_then_row(rng, dtype, n_reference, values):
    reference = rng.integers(0, 2, (n_reference, 3)).astype(dtype)
    if values == "zero":
        reference[:] = 0
    elif values == "far":
        reference[0] = 1e15
    elif values == "tiny":
        reference *= 1e-38
    query = reference[rng.integers(0, n_reference, 17)]
    for k in {1, n_reference // 2, n_reference} - {0}:
        found = nearest(query, reference, k, compute=ComputeOptions("exact"))
        np.testing.assert_array_equal(found.indices, naive.nearest(query, reference, k)[0])
        indices, _ = exact.gather_few(query, reference, k, n_jobs=1)
        assert (np.diff(indices, axis=1) > 0).all()


@pytest.mark.parametrize("k", [1, 7, 40, 60])
@pytest.mark.parametrize("n_equal", [0, 30])
def test_gathered_neighbors_are_the_nearest_in_no_order(rng, k, n_equal):
    reference = rng.normal(size=(60, 5))
    reference[:n_equal] = reference[0]
    query = np.vstack([rng.normal(size=(9, 5)), reference[:2]])
    indices, squares = exact.gather_few(query, reference, k, n_jobs=1)
    expected, distances = naive.nearest(query, reference, k)
    np.testing.assert_array_equal(indices, np.sort(expected, axis=1))
    np.testing.assert_allclose(np.sort(squares, axis=1), distances**2, rtol=1e-12, atol=1e-25)


@pytest.mark.parametrize("measured", [True, False])
@pytest.mark.parametrize("kept", [0, 10**6])
def test_both_directions_at_once_give_what_each_gives(rng, monkeypatch, measured, kept):
    monkeypatch.setattr(exact, "SHARED_DISTANCES", kept)
    left, right = rng.normal(size=(2, 40, 5)).astype(np.float32)
    left[:9] = right[3]
    in_left, in_right = nearest_both(left, right[:30], 4, 7, measured=measured, every=True)
    for found, expected in (
        (in_left, nearest(right[:30], left, 4)),
        (in_right, nearest(left, right[:30], 7)),
    ):
        np.testing.assert_array_equal(found.indices, expected.indices)
        if measured:
            np.testing.assert_array_equal(found.distances, expected.distances)


def test_search_does_not_depend_on_how_it_is_cut(rng, monkeypatch):
    query, reference = rng.normal(size=(30, 4)), np.repeat(rng.normal(size=(15, 4)), 2, axis=0)
    whole = nearest(query, reference, 5)
    monkeypatch.setattr(exact, "FEW_DISTANCES_ALONE", 4 * len(reference))
    few = nearest(query, reference, 5)
    np.testing.assert_array_equal(few.indices, whole.indices)
    monkeypatch.setattr(exact, "FEW_DISTANCES", 3 * len(reference))
    shared = nearest(query, reference, 5, compute=ComputeOptions(n_jobs=2))
    np.testing.assert_array_equal(shared.indices, whole.indices)
    np.testing.assert_array_equal(shared.distances, whole.distances)
    monkeypatch.setattr(exact, "are_few", lambda *_: False)
    monkeypatch.setattr(exact, "QUERY_BLOCK", 7)
    monkeypatch.setattr(exact, "REFERENCE_TILE", 4)
    cut = nearest(query, reference, 5)
    np.testing.assert_array_equal(cut.indices, whole.indices)
    np.testing.assert_array_equal(cut.distances, whole.distances)


def test_a_strided_or_fortran_matrix_is_searched_as_any(rng):
    query, reference = rng.normal(size=(9, 8)), rng.normal(size=(20, 8))
    plain = nearest(query[:, ::2].copy(), reference[:, ::2].copy(), 3)
    strided = nearest(query[:, ::2], np.asfortranarray(reference[:, ::2]), 3)
    np.testing.assert_array_equal(strided.indices, plain.indices)
    np.testing.assert_array_equal(strided.distances, plain.distances)


def test_a_cell_is_its_own_nearest_at_distance_zero(rng):
    x = (rng.normal(size=(20, 5)) * 100).astype(np.float32)
    found = nearest(x, x, 1)
    np.testing.assert_array_equal(found.indices[:, 0], np.arange(20))
    np.testing.assert_array_equal(found.distances, 0)


def test_more_neighbours_than_cells_are_capped(rng):
    query, reference = rng.normal(size=(4, 3)), rng.normal(size=(6, 3))
    found = nearest(query, reference, 9)
    np.testing.assert_array_equal(found.indices, naive.nearest(query, reference, 6)[0])


def test_both_directions_take_their_own_number_of_neighbours(rng):
    left, right = rng.normal(size=(12, 3)), rng.normal(size=(9, 3))
    in_left, in_right = nearest_both(left, right, 2, 4)
    some = naive.nearest(left[in_right.rows], right, 4)[0]
    np.testing.assert_array_equal(in_right.indices, some)
    np.testing.assert_array_equal(in_left.indices, naive.nearest(right, left, 2)[0])


def assert_exact_both_ways(left, right, k_left, k_right):
    """Both directions as by brute force, of those left cells that are found from the right."""
    in_left, in_right = nearest_both(left, right, k_left, k_right, compute=ComputeOptions("exact"))
    for found, query, reference, k in (
        (in_left, right, left, k_left),
        (in_right, left[in_right.rows], right, k_right),
    ):
        indices, distances = naive.nearest(query, reference, k)
        np.testing.assert_array_equal(found.indices, indices)
        np.testing.assert_allclose(found.distances, distances, rtol=1e-12, atol=0)
    np.testing.assert_array_equal(in_right.rows, np.unique(in_left.indices))
    assert in_left.indices.dtype == in_right.indices.dtype == np.int32


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("n_left", "n_right"), [(31, 23), (9, 40), (50, 8), (1, 1)])
def test_both_directions_of_one_product_are_brute_force(rng, dtype, n_left, n_right):
    left, right = (rng.normal(size=(n, 7)).astype(dtype) for n in (n_left, n_right))
    assert_exact_both_ways(left, right, min(5, n_left), min(3, n_right))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_ties_go_to_the_lowest_row_in_both_directions(rng, dtype):
    # More copies of a cell than places kept, and counts with many equal distances.
    copies = np.repeat(rng.normal(size=(4, 5)), 20, axis=0)[rng.permutation(80)].astype(dtype)
    assert_exact_both_ways(copies, copies[::-1][:50].copy(), 5, 7)
    counts = rng.integers(0, 3, size=(90, 4)).astype(dtype)
    assert_exact_both_ways(counts[:50], counts[50:], 15, 4)


def test_near_ties_in_both_directions_are_ranked_by_direct_distances(rng):
    far = np.full(6, 300.0)
    left = np.vstack([far + 1e-3 * rng.normal(size=(50, 6)), -far[None]]).astype(np.float32)
    right = np.vstack([far + 1e-3 * rng.normal(size=(40, 6)), -far[None]]).astype(np.float32)
    assert_exact_both_ways(left, right, 4, 6)


def test_both_directions_do_not_depend_on_how_the_product_is_cut(rng, monkeypatch):
    left, right = np.repeat(rng.normal(size=(2, 90, 4)), 2, axis=1).astype(np.float32)
    whole = nearest_both(left, right, 5, 6, compute=ComputeOptions("exact"))
    monkeypatch.setattr(exact, "PANEL", 64 * len(right))  # three panels
    monkeypatch.setattr(exact, "QUERY_BLOCK", 64)
    cut = nearest_both(left, right, 5, 6, compute=ComputeOptions("exact", n_jobs=2))
    for one, other in zip(whole, cut, strict=True):
        np.testing.assert_array_equal(one.indices, other.indices)
        np.testing.assert_array_equal(one.distances, other.distances)


def test_one_product_finds_what_two_searches_find(rng, monkeypatch):
    left, right = rng.normal(size=(70, 4)), rng.normal(size=(45, 4))
    few = nearest_both(left, right, 5, 6, compute=ComputeOptions("exact"))
    monkeypatch.setattr(exact, "are_few", lambda *_: False)
    shared = nearest_both(left, right, 5, 6, compute=ComputeOptions("exact"))
    monkeypatch.setattr(engines, "LOPSIDED", 0)
    apart = nearest_both(left, right, 5, 6, compute=ComputeOptions("exact"))
    for one, *others in zip(shared, apart, few, strict=True):
        for other in others:
            np.testing.assert_array_equal(one.indices, other.indices)
            np.testing.assert_array_equal(one.distances, other.distances)
            np.testing.assert_array_equal(one.rows, other.rows)


@pytest.mark.parametrize(
    ("shape", "dtype", "k", "few"),
    [
        ((1024, 5000), np.float64, 128, True),  # Few rows, however long.
        ((4096, 50), np.float32, 30, True),
        ((2048, 50), np.float64, 30, True),
        ((4096, 50), np.float64, 30, False),  # Beyond the cache.
        ((5000, 2), np.float32, 30, False),
        ((4096, 50), np.float32, 129, False),
    ],
)
def test_rows_that_stay_in_the_cache_are_few(shape, dtype, k, few):
    assert exact.are_few(np.broadcast_to(dtype(0), shape), k) == few


def test_no_neighbours_are_refused(rng):
    with pytest.raises(ValueError, match="must be at least 1"):
        nearest(rng.normal(size=(3, 2)), rng.normal(size=(3, 2)), 0)


@pytest.mark.parametrize("shapes", [((0, 2), (3, 2)), ((3, 2), (0, 2))])
def test_a_side_without_cells_is_refused(shapes):
    with pytest.raises(ValueError, match="at least one cell"):
        nearest(np.zeros(shapes[0]), np.zeros(shapes[1]), 1)


def test_an_unknown_engine_is_refused_with_the_known_ones_named():
    with pytest.raises(ValueError, match=r"'annoy'.*exact.*pynndescent"):
        resolve_engine("annoy", 10, 10, 5)


def test_auto_takes_exact_for_small_searches_and_not_for_huge_ones():
    assert resolve_engine("auto", 1000, 1000, 50) == "exact"
    assert resolve_engine("auto", 10**7, 10**7, 50) != "exact"
    assert resolve_engine("exact", 10**7, 10**7, 50) == "exact"


def test_progress_ends_at_one(rng):
    told = []
    nearest(
        rng.normal(size=(9, 3)),
        rng.normal(size=(9, 3)),
        2,
        compute=ComputeOptions(progress=lambda *step: told.append(step)),
    )
    assert told[-1][1] == 1.0


# -- A graphics card ------------------------------------------------------------------------------


def stand_in(monkeypatch, search=None):
    """What is used of cuVS and CuPy, in the memory of this machine and in float32."""

    def find(index, query, k):
        squares = ((query[:, None] - index) ** 2).sum(2, dtype=np.float32)
        near = np.argsort(squares, axis=1)[:, :k]
        return np.take_along_axis(squares, near, 1), near.astype(np.int64)

    brute = types.SimpleNamespace(build=lambda x: x, search=search or find)
    modules = {
        "cupy": {"asarray": np.asarray, "asnumpy": np.asarray},
        "cuvs": {},
        "cuvs.neighbors": {"brute_force": brute},
    }
    for name, content in modules.items():
        module = types.ModuleType(name)
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)


def test_a_search_on_a_graphics_card_finds_what_exact_finds(crowd, monkeypatch):
    stand_in(monkeypatch)
    left, right = crowd
    monkeypatch.setattr(cuvs, "QUERY_ROWS", 300)
    left = left + 1000  # far from zero, where float32 has few digits left
    right = right + 1000
    expected = nearest(left, right, 12, compute=ComputeOptions("exact"))
    found = nearest(left, right, 12, compute=ComputeOptions("cuvs"))
    assert found.engine == "cuvs"
    np.testing.assert_array_equal(found.indices, expected.indices)
    np.testing.assert_array_equal(found.distances, expected.distances)
    assert nearest(left, right[:5], 12, compute=ComputeOptions("cuvs")).indices.shape == (1000, 5)
    one, two = (
        find_pairs(left, right, n_neighbors=12, compute=ComputeOptions(engine))
        for engine in ("exact", "cuvs")
    )
    np.testing.assert_array_equal(one.left, two.left)
    np.testing.assert_array_equal(one.right, two.right)


@pytest.mark.parametrize("missing", ["cuvs", "cupy"])
def test_a_missing_package_of_the_card_is_named_with_the_remedy(missing, monkeypatch):
    stand_in(monkeypatch)
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == missing else find(name)
    )
    with pytest.raises(ValueError, match=rf"and {missing} is not installed: pip install"):
        resolve_engine("cuvs", 10, 10, 5)


def test_a_card_that_fails_is_reported_in_words(crowd, monkeypatch):
    def fail(*_):
        raise RuntimeError("out of\nmemory")

    stand_in(monkeypatch, fail)
    with pytest.raises(OSError, match=r"card failed \(out of memory\).*partition"):
        nearest(*crowd, 3, compute=ComputeOptions("cuvs"))


# -- Any engine -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def crowd():
    """Two groups of a thousand cells in some populations, with duplicates, some apart."""
    rng = np.random.default_rng(7)
    centres = 3 * rng.normal(size=(6, 8))
    left = centres[rng.integers(5, size=1000)] + rng.normal(size=(1000, 8))
    right = centres[rng.integers(6, size=900)] + rng.normal(size=(900, 8)) + 0.5
    right[400:420] = right[:20]
    return left.astype(np.float32), right.astype(np.float32)


ENGINES = ["exact", "partition", pytest.param("pynndescent", marks=pytest.mark.slow)]


@pytest.mark.parametrize("engine", ENGINES)
def test_neighbours_are_ranked_by_true_distance_then_row(crowd, engine):
    left, right = crowd
    found = nearest(left, right, 12, compute=ComputeOptions(engine))
    assert found.engine == engine
    assert found.indices.shape == found.distances.shape == (1000, 12)
    assert found.indices.dtype == np.int32
    difference = left[:, None].astype(float) - right[found.indices]
    np.testing.assert_allclose(found.distances, np.linalg.norm(difference, axis=2), rtol=1e-12)
    step = np.diff(found.distances, axis=1)
    assert ((step > 0) | ((step == 0) & (np.diff(found.indices, axis=1) > 0))).all()


@pytest.mark.parametrize("engine", ENGINES)
def test_nearly_all_true_neighbours_and_pairs_are_found(crowd, engine):
    left, right = crowd
    true = nearest(left, right, 12, compute=ComputeOptions("exact")).indices
    found = nearest(left, right, 12, compute=ComputeOptions(engine)).indices
    shared = [len(np.intersect1d(a, b)) for a, b in zip(true, found, strict=True)]
    assert np.mean(shared) / 12 >= 0.95

    def as_set(engine):
        pairs = find_pairs(left, right, n_neighbors=12, compute=ComputeOptions(engine))
        return set(zip(pairs.left.tolist(), pairs.right.tolist(), strict=True))

    truth = as_set("exact")
    assert len(truth & as_set(engine)) / len(truth) >= 0.95


@pytest.mark.parametrize("engine", ENGINES)
def test_the_same_seed_finds_the_same_neighbours(crowd, engine):
    one, two = (
        nearest(*crowd, 5, compute=ComputeOptions(engine, random_state=3)) for _ in range(2)
    )
    np.testing.assert_array_equal(one.indices, two.indices)


@pytest.mark.parametrize("engine", ["exact", "partition"])
def test_one_and_two_threads_find_the_same_bits(crowd, engine):
    one, two = (
        nearest(*crowd, 5, compute=ComputeOptions(engine, n_jobs=n_jobs)) for n_jobs in (1, 2)
    )
    np.testing.assert_array_equal(one.indices, two.indices)
    np.testing.assert_array_equal(one.distances, two.distances)


@pytest.mark.parametrize("engine", ENGINES)
def test_both_directions_are_the_two_searches(crowd, engine):
    left, right = crowd
    in_left, in_right = nearest_both(left, right, 3, 5, compute=ComputeOptions(engine))
    assert in_left.indices.shape == (900, 3)
    # Only left cells that are found from the right can have a pair.
    np.testing.assert_array_equal(in_right.rows, np.unique(in_left.indices))
    assert in_right.indices.shape == (len(in_right.rows), 5)
    assert in_right.indices.max() < 900


def test_left_cells_that_no_right_cell_finds_are_not_searched(rng):
    left = np.vstack([rng.normal(size=(20, 3)), rng.normal(size=(200, 3)) + 50])
    right = rng.normal(size=(15, 3))
    _, in_right = nearest_both(left, right, 5, 5, compute=ComputeOptions("exact"))
    assert in_right.rows.max() < 20


def test_partition_of_a_few_cells_is_exact(rng):
    query, reference = rng.normal(size=(20, 4)), rng.normal(size=(30, 4))
    found = nearest(query, reference, 7, compute=ComputeOptions("partition"))
    indices, distances = naive.nearest(query, reference, 7)
    np.testing.assert_array_equal(found.indices, indices)
    np.testing.assert_allclose(found.distances, distances, rtol=1e-12)


def test_partition_takes_more_neighbours_than_a_cell_holds(crowd):
    left, right = crowd
    found = nearest(left[:30], right, 600, compute=ComputeOptions("partition"))
    assert all(len(set(row)) == 600 for row in found.indices.tolist())
    everything = nearest(left[:30], right, 900, compute=ComputeOptions("partition"))
    np.testing.assert_array_equal(
        everything.indices, nearest(left[:30], right, 900, compute=ComputeOptions("exact")).indices
    )


def test_partition_of_cells_that_are_all_alike_finds_some():
    x = np.ones((700, 3), np.float32)
    found = nearest(x, x, 4, compute=ComputeOptions("partition"))
    np.testing.assert_array_equal(found.distances, 0)
    assert all(len(set(row)) == 4 for row in found.indices.tolist())


def test_more_recall_is_never_less(crowd):
    true = nearest(*crowd, 12, compute=ComputeOptions("exact")).indices

    def recall_at(recall):
        found = nearest(*crowd, 12, compute=ComputeOptions("partition", recall=recall)).indices
        return np.mean([len(np.intersect1d(a, b)) for a, b in zip(true, found, strict=True)]) / 12

    shares = [recall_at(recall) for recall in (0.5, 0.9, 1.0)]
    assert shares == sorted(shares)
    assert shares[-1] > 0.99


@pytest.mark.parametrize("recall", [0.0, 1.5])
def test_a_recall_that_is_no_share_is_refused(crowd, recall):
    with pytest.raises(ValueError, match=f"recall is {recall}"):
        nearest(*crowd, 5, compute=ComputeOptions("partition", recall=recall))


def test_coordinates_that_are_not_finite_are_refused() -> None:
    x = np.zeros((5, 2))
    x[3, 1] = np.nan
    with pytest.raises(FloatingPointError, match="not finite"):
        nearest(x, x, 2)


def test_neighbours_need_not_be_ranked_and_groups_serve_a_search_of_a_side_in_itself(rng):
    x = rng.normal(size=(900, 5)).astype(np.float32)
    rows, starts = engines.grouped(x, ComputeOptions(random_state=0))
    y = np.ascontiguousarray(x[rows])
    groups = (starts, starts)
    ranked = nearest(y, y, 8, compute=ComputeOptions("partition"), groups=groups)
    loose = nearest(y, y, 8, compute=ComputeOptions("partition"), groups=groups, ranked=False)
    assert np.isnan(loose.distances).all()
    np.testing.assert_array_equal(loose.indices[:, 0], np.arange(900))
    assert (np.sort(loose.indices) == np.sort(ranked.indices)).mean() > 0.999
    np.testing.assert_array_equal(np.diff(ranked.cell) >= 0, True)
