"""Batches that other processes look at and correct come back to the same bits."""

from __future__ import annotations

import mmap
import os

import numpy as np
import pytest
import scipy.sparse as sp

from mnncorrect.core.calibrated.method import calibrate
from mnncorrect.core.matrix import pca
from mnncorrect.core.matrix.covariates import regress, without_covariates
from mnncorrect.core.matrix.pca import multibatch_pca
from mnncorrect.core.matrix.rows import RowSource, row_norms
from mnncorrect.core.runtime.mapped import (
    MapFiles,
    MappedFile,
    fill,
    large_mapped,
    mapped_array,
)
from mnncorrect.core.runtime.threads import RowsOf, map_blocks, on_cluster


class Elsewhere:
    """Applies functions to blocks as another process would: both are sent first."""

    def __init__(self):
        self.cloudpickle = pytest.importorskip("cloudpickle")
        self.blocks = self.largest = 0

    def each_block(self, function, blocks):
        sent = self.cloudpickle.loads(self.cloudpickle.dumps(function))
        for block in blocks:
            packed = self.cloudpickle.dumps(block)
            self.blocks, self.largest = self.blocks + 1, max(self.largest, len(packed))
            yield sent(self.cloudpickle.loads(packed))


def test_large_batches_are_corrected_elsewhere_to_the_same_bits():
    rng = np.random.default_rng(0)
    batch = np.repeat([0, 1, 2], [9_000, 8_500, 300])
    x = rng.normal(size=(len(batch), 4)).astype(np.float32)
    x += 6 * rng.integers(0, 3, len(batch))[:, None] + batch[:, None]
    here = calibrate(x, batch)
    cluster = Elsewhere()
    with on_cluster(cluster):
        there = calibrate(x, batch)
    assert cluster.blocks >= 5  # looks at three batches, corrects two
    np.testing.assert_array_equal(here.correction.corrected, there.correction.corrected)
    np.testing.assert_array_equal(here.confidence, there.confidence)


def test_what_changes_something_stays_in_this_process():
    out = np.zeros(4)
    cluster = Elsewhere()
    with on_cluster(cluster):
        map_blocks(lambda at: out.__setitem__(at, 1), [0, 1, 2, 3], n_jobs=1)
    assert out.all()
    assert not cluster.blocks


def test_rows_are_cut_when_they_are_sent():
    cloudpickle = pytest.importorskip("cloudpickle")
    x = np.arange(300_000.0).reshape(-1, 3)
    sent = cloudpickle.dumps(RowsOf(x, np.array([5, 2])))
    assert len(sent) < 2_000
    np.testing.assert_array_equal(cloudpickle.loads(sent).take(n_jobs=1), x[[5, 2]])


def test_rows_of_a_mapped_file_are_sent_by_their_numbers(tmp_path):
    cloudpickle = pytest.importorskip("cloudpickle")
    given = np.random.default_rng(0).normal(size=(5_000, 40)).astype(np.float32)
    rows = np.random.default_rng(1).permutation(5_000)[:1_000]
    for named in (True, False):
        x = mapped_array(given.shape, given.dtype, tmp_path, named=named)
        x[:] = given
        for part, own in ((x, rows), (x[70:], rows[rows < 4_000])):
            sent = cloudpickle.dumps(RowsOf(part, own))
            assert (len(sent) < 9 * len(own)) == named  # a number, not forty values
            found = cloudpickle.loads(sent).take(n_jobs=1)
            np.testing.assert_array_equal(found, part[own])
    assert len(list(tmp_path.iterdir())) == 1  # which who gave the folder removes


def test_a_scheduler_that_does_not_see_the_file_hands_rows_on(tmp_path):
    cloudpickle = pytest.importorskip("cloudpickle")
    x = mapped_array((100, 3), np.float64, tmp_path, named=True)
    x[:] = np.arange(300.0).reshape(100, 3)
    rows = np.array([7, 2])
    (path,) = tmp_path.iterdir()
    away = path.rename(tmp_path / "away")
    sent = RowsOf(MappedFile(str(path), 0, x.shape, x.dtype.str), rows)
    for _ in range(2):
        sent = cloudpickle.loads(cloudpickle.dumps(sent))
    away.rename(path)
    np.testing.assert_array_equal(sent.take(n_jobs=1), x[rows])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="files have no modes there")
def test_the_file_of_a_map_can_be_read_by_whom_the_umask_allows(tmp_path):
    before = os.umask(0o027)
    try:
        mapped_array((10, 3), np.float32, tmp_path, named=True)
    finally:
        os.umask(before)
    assert [path.stat().st_mode & 0o777 for path in tmp_path.iterdir()] == [0o640]


@pytest.mark.parametrize("named", [True, False])
def test_what_other_machines_map_is_written_to_its_file_before(tmp_path, monkeypatch, named):
    written = []

    class Watched(mmap.mmap):
        def flush(self, *given):
            written.append(self[:])
            super().flush(*given)

    monkeypatch.setattr(mmap, "mmap", Watched)
    rng = np.random.default_rng(0)
    with large_mapped(0, MapFiles(tmp_path, named=named)):
        scores = pca.project_cells(rng.normal(size=(50, 8)), rng.normal(size=(8, 3)), np.zeros(8))
    assert written == ([scores.tobytes()] if named else [])
    made = MapFiles(tmp_path, named=named).make((20, 2), np.float64)
    fill(made, lambda rows: np.ones((rows.stop - rows.start, 2)))
    assert written[1:] == ([np.ones(40).tobytes()] if named else [])


@pytest.mark.slow
def test_batches_of_a_mapped_file_are_corrected_elsewhere_to_the_same_bits(tmp_path):
    rng = np.random.default_rng(0)
    batch = rng.permutation(np.repeat([0, 1], [9_000, 8_500]))
    given = rng.normal(size=(len(batch), 4)).astype(np.float32) + batch[:, None]
    x = mapped_array(given.shape, given.dtype, tmp_path, named=True)
    x[:] = given
    here, cluster = calibrate(given, batch), Elsewhere()
    with on_cluster(cluster):
        there = calibrate(x, batch)
    np.testing.assert_array_equal(here.correction.corrected, there.correction.corrected)
    np.testing.assert_array_equal(here.confidence, there.confidence)


@pytest.mark.parametrize(
    "container", [sp.csr_matrix, pytest.param(np.array, marks=pytest.mark.slow)]
)
def test_components_of_many_genes_are_computed_elsewhere_to_the_same_bits(container, monkeypatch):
    monkeypatch.setattr(pca, "SVD_CELLS", 100)
    monkeypatch.setattr(pca, "GRAM_GENES", 10)
    rng = np.random.default_rng(0)
    batch = np.repeat([0, 1], 4_500)
    x = container(rng.poisson(0.7, (len(batch), 30)) * 1.0)
    given = RowSource(x.__getitem__, x.shape, x.dtype, shared=True)

    def components(rows):
        return multibatch_pca(rows, batch, 3, scale=row_norms(rows)).scores

    here, cluster = components(x), Elsewhere()
    with on_cluster(cluster):
        there = components(given)
    assert cluster.blocks > 60  # many passes of three blocks
    np.testing.assert_array_equal(here, components(given))
    np.testing.assert_array_equal(here, there)


def test_values_without_covariates_are_computed_elsewhere_to_the_same_bits():
    rng = np.random.default_rng(0)
    batch = np.repeat([0, 1], 4_500)
    x, design = rng.poisson(1.0, (len(batch), 12)) * 1.0, rng.normal(size=(len(batch), 2))

    def components():
        given = RowSource(x.__getitem__, x.shape, x.dtype, shared=True)
        rows = without_covariates(given, design, regress(given, design, batch))
        return multibatch_pca(rows, batch, 3, scale=row_norms(rows)).scores

    here, cluster = components(), Elsewhere()
    with on_cluster(cluster):
        there = components()
    # Three blocks each: covariates, lengths, means, products and scores.
    assert cluster.blocks == 15
    assert cluster.largest < 2 * 8 * 4_096 * 4 + 10_000  # numbers of the cells of a block only
    np.testing.assert_array_equal(here, there)
