"""Threads: how many, in which order their results come, and that they never change a bit."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from mnncorrect.core.matrix import rows as linalg
from mnncorrect.core.merging import pairs, smoothing, variance
from mnncorrect.core.merging.smoothing import gaussian, tricube
from mnncorrect.core.methods.classic import mnn_classic
from mnncorrect.core.neighbors import exact
from mnncorrect.core.neighbors.engines import nearest
from mnncorrect.core.runtime.compute import ComputeOptions
from mnncorrect.core.runtime.threads import (
    available_cpus,
    each_block,
    map_blocks,
    resolve_n_jobs,
    row_blocks,
    rows_per_block,
    single_blas,
    sum_blocks,
)


def test_no_number_of_threads_means_all_cpus():
    assert resolve_n_jobs(None) == resolve_n_jobs(-1) == available_cpus() >= 1


def test_no_more_threads_than_cpus():
    assert resolve_n_jobs(1) == 1
    assert resolve_n_jobs(10_000) == available_cpus()


@pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity"), reason="this system has no affinity masks"
)
def test_cpus_are_those_of_the_affinity_mask(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5, 6})
    assert available_cpus() == 3


def test_without_affinity_masks_all_cpus_count(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert available_cpus() == 7


@pytest.mark.parametrize("n_jobs", [0, -2])
def test_a_number_of_threads_that_makes_no_sense_is_refused(n_jobs):
    with pytest.raises(ValueError, match=f"n_jobs is {n_jobs}"):
        resolve_n_jobs(n_jobs)


def test_row_blocks_cover_all_rows_once():
    assert row_blocks(10, 4) == [slice(0, 4), slice(4, 8), slice(8, 10)]
    assert row_blocks(4, 4) == [slice(0, 4)]
    assert row_blocks(0, 4) == []


def test_tiles_have_a_bounded_number_of_cells():
    assert rows_per_block(1000, cells=10_000, least=2) == 10
    assert rows_per_block(10**9) == 64
    assert rows_per_block(10, n_rows=4000) == 500
    assert rows_per_block(10, n_rows=80) == 64
    assert rows_per_block(0, cells=100) == 100


@pytest.mark.parametrize("n_jobs", [1, 2, 3])
def test_results_come_in_the_order_of_the_blocks(n_jobs):
    def slow_first(block):
        time.sleep(0.01 if block == 0 else 0)
        return 10 * block

    assert map_blocks(slow_first, range(8), n_jobs=n_jobs) == [10 * b for b in range(8)]
    assert map_blocks(slow_first, [], n_jobs=n_jobs) == []


def test_blocks_are_carried_out_at_once():
    # Neither of the two would return if it had to wait for the other's end.
    barrier = threading.Barrier(2, timeout=60)
    assert map_blocks(lambda block: barrier.wait() >= 0, [0, 1], n_jobs=2) == [True, True]


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_an_error_in_a_block_is_raised_and_ends_the_run(n_jobs):
    started = []

    def fail(block):
        started.append(block)
        time.sleep(0.001)
        if block == 1:
            msg = "block one"
            raise RuntimeError(msg)

    with pytest.raises(RuntimeError, match="block one"):
        map_blocks(fail, range(100), n_jobs=n_jobs)
    assert len(started) < 20


def test_the_calling_thread_works_on_blocks_too():
    both = threading.Barrier(2, timeout=60)  # Passed by two threads at once, or by none.

    def who(_: int) -> int:
        both.wait()
        return threading.get_ident()

    assert threading.get_ident() in map_blocks(who, range(2), n_jobs=2)


@pytest.mark.parametrize("culprit", ["the calling thread", "another thread"])
def test_an_error_in_any_thread_is_raised(culprit):
    here, both = threading.get_ident(), threading.Barrier(2, timeout=60)
    done = []

    def fail(block: int) -> None:
        if block < 2:
            both.wait()
        if (threading.get_ident() == here) == (culprit == "the calling thread"):
            raise ArithmeticError(block)
        time.sleep(0.05)
        done.append(block)

    with pytest.raises(ArithmeticError):
        map_blocks(fail, range(1000), n_jobs=2)
    assert len(done) < 10


def test_an_interrupt_while_threads_start_ends_the_work(monkeypatch):
    start, given, done = ThreadPoolExecutor.submit, [], []

    def submit(pool, work):
        given.append(work)
        if len(given) == 2:
            raise KeyboardInterrupt
        return start(pool, work)

    def step(block):
        time.sleep(0.01)
        done.append(block)

    monkeypatch.setattr(ThreadPoolExecutor, "submit", submit)
    with pytest.raises(KeyboardInterrupt):
        map_blocks(step, range(1000), n_jobs=3)
    assert len(done) < 10


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_progress_is_told_after_every_block(n_jobs):
    told = []
    map_blocks(lambda b: b, range(4), n_jobs=n_jobs, progress=lambda *s: told.append(s), stage="x")
    assert told == [("x", 0.25), ("x", 0.5), ("x", 0.75), ("x", 1.0)]


def test_no_more_results_wait_than_two_a_thread():
    done = []
    results = each_block(done.append, range(50), n_jobs=2)
    next(results)
    time.sleep(0.05)
    assert len(done) <= 5
    results.close()


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_sums_over_blocks_are_added_in_their_order(n_jobs):
    # In another order the small terms would survive or vanish otherwise.
    terms = np.array([1e16, 1.0, -1e16, 1.0, 3.0])
    total = sum_blocks(lambda b: terms[b : b + 1], range(5), n_jobs=n_jobs)
    expected = 0.0
    for term in terms:
        expected += term
    assert total[0] == expected


def test_sums_leave_the_first_result_as_it_was():
    terms = np.ones((3, 2))
    sum_blocks(lambda b: terms[b], range(3), n_jobs=1)
    np.testing.assert_array_equal(terms, 1)


def blas_threads():
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


def test_blas_is_held_to_one_thread_and_given_back():
    before = blas_threads()
    with single_blas():
        assert set(blas_threads()) <= {1}
    assert blas_threads() == before
    assert set(map_blocks(lambda block: max(blas_threads(), default=1), [0, 1], n_jobs=2)) == {1}


# -- The same bits on any number of threads -------------------------------------------------------


@pytest.fixture
def small_blocks(monkeypatch):
    """Many blocks in small data, and as many threads as are asked for."""
    monkeypatch.setattr(exact, "QUERY_BLOCK", 16)
    monkeypatch.setattr(exact, "REFERENCE_TILE", 24)
    monkeypatch.setattr(pairs, "ANCHOR_BLOCK", 8)
    monkeypatch.setattr(smoothing, "TRICUBE_BLOCK", 16)
    monkeypatch.setattr(linalg, "ROW_BLOCK", 16)
    monkeypatch.setattr(smoothing, "rows_per_block", lambda n_columns, **_: 16)
    monkeypatch.setattr(variance, "rows_per_block", lambda n_columns, **_: 16)


def on_threads(function):
    """Results with one thread and one BLAS thread, and with two of each."""
    with threadpool_limits(limits=1):
        one = function(1)
    with threadpool_limits(limits=2):
        two = function(2)
    return one, two


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_neighbours_are_the_same_bits_on_one_and_two_threads(rng, small_blocks, dtype):
    x, y = rng.normal(size=(80, 300)).astype(dtype), rng.normal(size=(90, 300)).astype(dtype)
    one, two = on_threads(lambda n_jobs: nearest(x, y, 7, compute=ComputeOptions(n_jobs=n_jobs)))
    np.testing.assert_array_equal(one.indices, two.indices)
    np.testing.assert_array_equal(one.distances, two.distances)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_smoothing_is_the_same_bits_on_one_and_two_threads(rng, small_blocks, dtype):
    data, anchors = rng.normal(size=(80, 300)).astype(dtype), np.arange(0, 80, 3)
    vectors = rng.normal(size=(len(anchors), 300)).astype(dtype)
    one, two = on_threads(lambda n_jobs: gaussian(data, anchors, [vectors], 50.0, n_jobs=n_jobs)[0])
    np.testing.assert_array_equal(one, two)
    one, two = on_threads(
        lambda n_jobs: tricube(data, anchors, vectors, k=5, compute=ComputeOptions(n_jobs=n_jobs))
    )
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("smooth", ["local", "global"])
def test_classic_is_the_same_bits_on_one_and_two_threads(blobs, small_blocks, dtype, smooth):
    x, batch, _ = blobs(sizes=(60, 70, 50), n_features=300, positive=True)
    mask = np.arange(300) % 3 > 0
    one, two = on_threads(
        lambda n_jobs: mnn_classic(
            x.astype(dtype), batch, mask=mask, correct_all=True, n_svd=2, n_neighbors=8,
            auto_merge=True, smoothing=smooth, compute=ComputeOptions(n_jobs=n_jobs),
        )
    )  # fmt: skip
    np.testing.assert_array_equal(one.corrected, two.corrected)
    for first, second in zip(one.merges, two.merges, strict=True):
        np.testing.assert_array_equal(first.pairs.left, second.pairs.left)
        np.testing.assert_array_equal(first.pairs.right, second.pairs.right)


def test_calls_from_several_threads_leave_blas_as_it_was():
    with threadpool_limits(limits=2, user_api="blas"):
        before = blas_threads()
        seen = []
        begun, first_ended = threading.Barrier(2), threading.Event()

        def first():
            with single_blas():
                begun.wait()
                second_inside.wait()
            first_ended.set()

        def second():
            begun.wait()
            with single_blas():
                second_inside.set()
                first_ended.wait()
                seen.append(blas_threads())

        second_inside = threading.Event()
        threads = [threading.Thread(target=work) for work in (first, second)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert seen == [[1] * len(before)]  # the first to end has not let go of it
        assert blas_threads() == before


def test_many_calls_at_once_leave_blas_as_it_was():
    def work(number):
        x = np.random.default_rng(number).standard_normal((60, 5)).astype(np.float32)
        return nearest(x, x, 3, compute=ComputeOptions(n_jobs=1 + number % 2))

    with threadpool_limits(limits=2, user_api="blas"):
        before = blas_threads()
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(40)))
        assert blas_threads() == before


def test_blas_is_let_go_of_where_a_call_fails():
    with threadpool_limits(limits=2, user_api="blas"):
        before = blas_threads()
        with pytest.raises(ZeroDivisionError):
            map_blocks(lambda block: 1 // block, range(3), n_jobs=2)
        blocks = each_block(lambda block: block, range(9), n_jobs=2)
        next(blocks)
        blocks.close()
        assert blas_threads() == before
