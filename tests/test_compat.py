"""The drop-in for scanpy.external.pp.mnn_correct: its signature, its three values."""

from __future__ import annotations

import inspect
import warnings

import anndata
import naive
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.linalg import subspace_angles

from mnncorrect import pp

GENES = [f"gene{g}" for g in range(10)]


@pytest.fixture
def batches(blobs):
    """Three batches of positive values, cells x 10 genes."""
    x, codes, _ = blobs(sizes=(25, 30, 20), n_features=10, positive=True)
    return [x[codes == b] for b in range(3)]


def as_objects(batches):
    objects = []
    for number, batch in enumerate(batches):
        adata = anndata.AnnData(batch.copy())
        adata.var_names = GENES
        adata.obs_names = [f"cell{i}" for i in range(len(batch))]
        adata.obs["size"] = number
        adata.var["length"] = np.arange(10.0)
        objects.append(adata)
    return objects


def test_the_signature_is_that_of_scanpy():
    import scanpy.external as sce

    theirs = inspect.signature(sce.pp.mnn_correct).parameters
    ours = inspect.signature(pp.mnn_correct).parameters
    assert list(ours) == list(theirs)
    for name, parameter in theirs.items():
        assert ours[name].kind == parameter.kind, name
        assert ours[name].default == parameter.default, name


def test_numbers_are_those_of_the_naive_method(batches):
    corrected, _, angles = pp.mnn_correct(*batches, k=5, n_jobs=1)
    expected = naive.mnn_classic(batches, n_neighbors=5, sigma=1.0)
    assert np.allclose(corrected, expected.corrected, atol=1e-9)
    assert angles is None


def test_numbers_are_those_of_the_classic_method(batches):
    params = {"n_neighbors": 4, "sigma": 0.5, "cosine_norm_out": False, "n_svd": 2}
    data = anndata.AnnData(np.vstack(batches))
    data.obs["batch"] = np.repeat(["a", "b", "c"], [len(batch) for batch in batches])
    mask = np.arange(10) % 2 == 0
    pp.mnn_classic(
        data, "batch", mask_var=mask, correct_all=True, adjust_variance=False,
        merge_order=["b", "a", "c"], **params,
    )  # fmt: skip
    corrected, _, _ = pp.mnn_correct(
        *batches, k=4, sigma=0.5, cos_norm_out=False, svd_dim=2, var_adj=False,
        mnn_order=[1, 0, 2], var_index=GENES, var_subset=GENES[::2],
    )  # fmt: skip
    assert np.allclose(corrected, data.layers["mnn"], atol=1e-12)


def test_matrices_come_back_together_or_one_by_one_in_the_order_given(batches):
    together, _, _ = pp.mnn_correct(*batches, k=5, mnn_order=[2, 0, 1])
    apart, _, _ = pp.mnn_correct(*batches, k=5, mnn_order=[2, 0, 1], do_concatenate=False)
    assert [part.shape for part in apart] == [batch.shape for batch in batches]
    assert np.array_equal(np.vstack(apart), together)
    norms = np.linalg.norm(batches[2], axis=1, keepdims=True)
    assert np.allclose(apart[2], batches[2] / norms)
    assert not np.allclose(apart[0], batches[0] / np.linalg.norm(batches[0], axis=1)[:, None])


def test_sparse_and_dense_batches_may_be_mixed(batches):
    dense, _, _ = pp.mnn_correct(*batches, k=5)
    mixed, _, _ = pp.mnn_correct(
        sparse.csr_matrix(batches[0]), batches[1], sparse.csc_matrix(batches[2]), k=5
    )
    assert isinstance(mixed, np.ndarray)
    assert np.allclose(mixed, dense, atol=1e-12)


def test_floats_keep_their_type(batches):
    single = [batch.astype(np.float32) for batch in batches]
    assert pp.mnn_correct(*single, k=5)[0].dtype == np.float32
    assert pp.mnn_correct(single[0], *batches[1:], k=5)[0].dtype == np.float64


def test_pairs_are_told_by_batch(batches):
    _, tables, _ = pp.mnn_correct(*batches, k=5, mnn_order=[1, 2, 0])
    assert len(tables) == 3
    for table in tables:
        assert isinstance(table, pd.DataFrame)
        assert list(table.columns) == ["new cell", "ref cell", "original batch"]
    assert not len(tables[1])
    expected = naive.mnn_classic(batches, n_neighbors=5, sigma=1.0, merge_order=((1, 2), 0))
    starts = np.cumsum([0, *map(len, batches)])
    order = np.concatenate([np.arange(starts[b], starts[b + 1]) for b in (1, 2, 0)])
    for target, merge in zip((2, 0), expected.merges, strict=True):
        pairs = np.array(merge.pairs)
        table = tables[target]
        left = order[table["ref cell"]]
        assert np.array_equal(left, pairs[:, 0])
        assert np.array_equal(table["new cell"] + starts[target], pairs[:, 1])
        assert np.array_equal(table["original batch"], np.searchsorted(starts, left, "right") - 1)
    assert set(tables[2]["original batch"]) == {1}


@pytest.mark.parametrize("subset", [None, GENES[:6]])
def test_angles_are_those_to_the_plane_of_the_reference(batches, subset):
    corrected, _, angles = pp.mnn_correct(
        *batches, k=5, compute_angle=True, do_concatenate=False, var_index=GENES, var_subset=subset
    )
    n = 10 if subset is None else 6
    assert [len(per_cell) for per_cell in angles] == [0, 30, 20]
    before = [b / np.linalg.norm(b[:, :n], axis=1, keepdims=True) for b in batches]
    reference = np.vstack(corrected[:2])[:, :n]
    plane = np.linalg.svd((reference - reference.mean(axis=0)).T)[0][:, :2]
    moves = (corrected[2] - before[2])[:, :n]
    expected = [np.degrees(subspace_angles(plane, move[:, None]))[0] for move in moves]
    assert np.allclose(angles[2], expected, atol=1e-6)
    assert (angles[2] > 0).all()
    assert (angles[2] <= 90).all()


def test_a_cell_that_does_not_move_has_no_angle():
    rng = np.random.default_rng(0)
    first = rng.gamma(2.0, size=(20, 4))
    _, _, angles = pp.mnn_correct(first, first.copy(), k=1, compute_angle=True)
    assert np.isnan(angles[1]).all()


# ------------------------------------------------------------------------------ AnnData objects


def test_objects_come_back_as_one(batches):
    objects = as_objects(batches)
    one, _, _ = pp.mnn_correct(*objects, k=5)
    expected, _, _ = pp.mnn_correct(*batches, k=5)
    assert np.array_equal(one.X, expected)
    assert one.obs["batch"].tolist() == np.repeat(["0", "1", "2"], [25, 30, 20]).tolist()
    assert one.obs_names[0] == "cell0-0"
    assert one.var_names.tolist() == GENES
    assert one.obs["size"].tolist() == np.repeat([0, 1, 2], [25, 30, 20]).tolist()
    assert one.var["length"].tolist() == list(range(10))
    assert one.raw is None
    for data, batch in zip(objects, batches, strict=True):
        assert np.array_equal(data.X, batch)


def test_objects_are_named_as_wished(batches):
    one, _, _ = pp.mnn_correct(
        *as_objects(batches), k=5, batch_key="donor", batch_categories=["x", "y", "z"],
        index_unique="/", save_raw=True,
    )  # fmt: skip
    assert one.obs["donor"].cat.categories.tolist() == ["x", "y", "z"]
    assert one.obs_names[-1] == "cell19/z"
    assert np.array_equal(one.raw.X, np.vstack(batches))


@pytest.mark.filterwarnings("ignore:Observation names are not unique")
def test_names_of_cells_may_stay_as_they_are(batches):
    one, _, _ = pp.mnn_correct(*as_objects(batches), k=5, index_unique=None)
    assert one.obs_names[25] == "cell0"


def test_objects_come_back_one_by_one(batches):
    objects = as_objects(batches)
    apart, _, _ = pp.mnn_correct(*objects, k=5, do_concatenate=False, save_raw=True)
    expected, _, _ = pp.mnn_correct(*batches, k=5, do_concatenate=False)
    assert isinstance(apart, list)
    for before, after, values in zip(objects, apart, expected, strict=True):
        assert after is not before
        assert np.array_equal(after.X, values)
        assert np.array_equal(after.raw.X, before.X)
        assert before.raw is None


def test_all_genes_of_objects_are_corrected_by_the_subset(batches):
    one, _, _ = pp.mnn_correct(*as_objects(batches), k=5, var_subset=GENES[3:8])
    expected, _, _ = pp.mnn_correct(*batches, k=5, var_index=GENES, var_subset=GENES[3:8])
    assert one.n_vars == 10
    assert np.array_equal(one.X, expected)


# ------------------------------------------------------------------------- warnings and errors


def test_fewer_than_two_batches_come_back_as_given(batches):
    assert pp.mnn_correct() == ((), [], [])
    with pytest.warns(UserWarning, match="one matrix was given"):
        data, pairs, angles = pp.mnn_correct(batches[0])
    assert data[0] is batches[0]
    assert (pairs, angles) == ([], [])


@pytest.mark.parametrize(
    "given",
    [
        {"svd_mode": "irlb"},
        {"maxit": 50},
        {"save_raw": True},
        {"batch_key": "donor"},
        {"batch_categories": ["a", "b", "c"]},
        {"index_unique": "/"},
    ],
)
def test_what_has_no_meaning_is_accepted_with_a_warning(batches, given):
    with pytest.warns(UserWarning, match=f"without effect here: {next(iter(given))}"):
        corrected, _, _ = pp.mnn_correct(*batches, k=5, **given)
    assert np.array_equal(corrected, pp.mnn_correct(*batches, k=5)[0])


def test_names_of_genes_are_idle_with_objects(batches):
    with pytest.warns(UserWarning, match="var_index"):
        pp.mnn_correct(*as_objects(batches), k=5, var_index=GENES)


def test_fewer_cells_than_neighbours_are_told_in_one_warning(batches):
    with pytest.warns(UserWarning, match=r"n_neighbors=26 .*: 0 \(25\), 2 \(20\);") as caught:
        pp.mnn_correct(*batches, k=26)
    assert len(caught) == 1


def test_the_usual_calls_do_not_warn(batches):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pp.mnn_correct(*batches, k=5, var_index=GENES, var_subset=GENES[:5])
        pp.mnn_correct(*as_objects(batches), k=5, batch_categories=["x", "y", "z"])


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"mnn_order": [0, 1]}, "every position from 0 to 2 once"),
        ({"mnn_order": [1, 2, 3]}, "every position from 0 to 2 once"),
        ({"mnn_order": []}, "every position"),
        ({"var_subset": GENES[:3]}, "matrices need var_index"),
        ({"var_index": GENES[:9], "var_subset": GENES[:3]}, "names 9 genes; the batches have 10"),
        ({"var_index": GENES, "var_subset": ["gene1", "XYZ"]}, "there are not: 'XYZ'"),
        ({"var_index": GENES, "var_subset": []}, "is empty"),
        ({"k": 0}, "k is 0"),
        ({"sigma": -1.0}, "sigma is -1.0"),
        ({"svd_dim": -1}, "svd_dim is -1"),
    ],
)
def test_bad_parameters_are_refused(batches, given, what):
    with pytest.raises(ValueError, match=what):
        pp.mnn_correct(*batches, **given)


def test_bad_batches_are_refused(batches):
    first, second, third = batches
    with pytest.raises(TypeError, match="mixed"):
        pp.mnn_correct(first, anndata.AnnData(second))
    with pytest.raises(ValueError, match=r"batch 1 has shape \(30, 9\).*the 10 genes of batch 0"):
        pp.mnn_correct(first, second[:, :9])
    with pytest.raises(ValueError, match="batch 2 has 1 cells"):
        pp.mnn_correct(first, second, third[:1])
    second[4, 2] = np.inf
    with pytest.raises(
        ValueError, match=r"batch 1 has 1 values that are not finite.*'row 4'.*'column 2'"
    ):
        pp.mnn_correct(first, second)
    objects = as_objects([first, third])
    objects[1] = objects[1][:, ::-1].copy()
    with pytest.raises(ValueError, match="batch 1 has other genes than batch 0"):
        pp.mnn_correct(*objects)
    with pytest.raises(ValueError, match="3 different names"):
        pp.mnn_correct(*as_objects([first, third, third]), batch_categories=["a", "a", "b"])


# ------------------------------------------------------------------------------------ one object


def test_one_object_is_corrected_by_its_batch_key(batches):
    objects = as_objects(batches)
    together = anndata.concat(objects, label="lane", keys=["z", "x", "y"], index_unique="-")
    together = together[np.random.default_rng(0).permutation(together.n_obs)].copy()
    parts = [together[together.obs["lane"] == name].copy() for name in ("z", "x", "y")]
    expected, tables, angles = pp.mnn_correct(
        *parts, k=5, n_jobs=1, compute_angle=True, index_unique=None
    )
    before = together.X.copy()
    found, found_tables, found_angles = pp.mnn_correct(
        together, batch_key="lane", k=5, n_jobs=1, compute_angle=True, save_raw=True
    )
    assert list(found.obs_names) == list(together.obs_names)
    in_order = expected[found.obs_names]
    np.testing.assert_array_equal(found.X, in_order.X)
    np.testing.assert_array_equal(found.raw.X, before)
    np.testing.assert_array_equal(together.X, before)
    for one, other in zip([*tables, *angles], [*found_tables, *found_angles], strict=True):
        np.testing.assert_array_equal(one, other)
    listed, _, _ = pp.mnn_correct(together, batch_key="lane", k=5, n_jobs=1, do_concatenate=False)
    for part, values in zip(parts, listed, strict=True):
        np.testing.assert_array_equal(expected[part.obs_names].X, values.X)


def test_one_object_without_the_batch_key_is_refused(batches):
    adata = as_objects(batches)[0]
    with pytest.raises(KeyError, match="obs has no 'batch'; it has: 'size'"):
        pp.mnn_correct(adata)
    with pytest.raises(ValueError, match="one batch"):
        pp.mnn_correct(adata, batch_key="size")


def test_a_list_of_batches_is_refused_with_the_fix(batches):
    for given in (batches, as_objects(batches)):
        with pytest.raises(TypeError, match=r"mnn_correct\(\*batches\)"):
            pp.mnn_correct(given)
