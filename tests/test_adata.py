"""The way into AnnData and out of it: batch columns, matrices, masks."""

from __future__ import annotations

import logging

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from mnncorrect._adata import (
    Batches,
    Draft,
    Keys,
    as_floats,
    as_params,
    check_object,
    take_batches,
    take_embedding,
    take_gene_mask,
    take_matrix,
)
from mnncorrect._adata.lookup import listed
from mnncorrect._adata.matrix import take_cell_mask
from mnncorrect._wording import for_shell
from mnncorrect.core.runtime.unset import UNSET


def with_batches(values):
    adata = anndata.AnnData(np.ones((len(values), 3), np.float32))
    adata.obs["donor"] = values if isinstance(values, pd.Categorical) else list(values)
    return adata


@pytest.fixture
def adata(rng):
    """Six cells of five genes, log values."""
    values = rng.gamma(2.0, size=(6, 5)).astype(np.float32)
    data = anndata.AnnData(values)
    data.obs["batch"] = ["a", "b"] * 3
    return data


# ------------------------------------------------------------------------------------- batches


@pytest.mark.parametrize(
    ("values", "names", "codes"),
    [
        ([10, 9, 10, 9], ("9", "10"), [1, 0, 1, 0]),
        (["10", "9", "10", "9"], ("10", "9"), [0, 1, 0, 1]),
        ([True, False, True, False], ("False", "True"), [1, 0, 1, 0]),
        ([1.5, 1.0, 1.5, 1.0], ("1.0", "1.5"), [1, 0, 1, 0]),
        (pd.Categorical(list("abab"), categories=list("ba")), ("b", "a"), [1, 0, 1, 0]),
        (pd.Categorical([2, 1, 2, 1], categories=[2, 1]), ("2", "1"), [0, 1, 0, 1]),
        (
            pd.Categorical(list("abab"), categories=list("ba"), ordered=True),
            ("b", "a"),
            [1, 0, 1, 0],
        ),
        (["x", 1, "x", 1], ("1", "x"), [1, 0, 1, 0]),
    ],
    ids=["integer", "text", "boolean", "float", "categorical", "numbers", "ordered", "mixed"],
)
def test_batches_are_in_the_order_of_categories_or_of_sorted_values(values, names, codes):
    batches = take_batches(with_batches(values), "donor")
    assert batches.names == names
    assert batches.codes.tolist() == codes
    assert batches.codes.dtype == np.int64
    assert batches.sizes.tolist() == [2, 2]


def test_the_batch_column_is_not_changed():
    adata = with_batches([2, 1, 2, 1])
    take_batches(adata, "donor")
    assert adata.obs["donor"].dtype == np.int64


def test_unused_categories_are_dropped_with_a_line_in_the_log(caplog):
    adata = with_batches(pd.Categorical(list("acac"), categories=list("abcd")))
    with caplog.at_level(logging.INFO, "mnncorrect"):
        batches = take_batches(adata, "donor")
    assert batches.names == ("a", "c")
    assert batches.codes.tolist() == [0, 1, 0, 1]
    assert "'b', 'd'" in caplog.text
    assert list(adata.obs["donor"].cat.categories) == list("abcd")


@pytest.mark.parametrize("values", [["a", None, "b", None], pd.Categorical(["a", None, "b", None])])
def test_cells_without_a_batch_are_counted_and_refused(values):
    with pytest.raises(ValueError, match=r"missing for 2 of 4 cells.*notna"):
        take_batches(with_batches(values), "donor")


def test_a_number_that_is_missing_is_refused():
    with pytest.raises(ValueError, match="missing for 1 of 4 cells"):
        take_batches(with_batches([1.0, 2.0, np.nan, 2.0]), "donor")


def test_a_key_that_is_missing_names_the_columns_there_are():
    adata = with_batches(list("aabb"))
    adata.obs["n_counts"] = 1
    with pytest.raises(KeyError) as caught:
        take_batches(adata, "batch")
    assert caught.value.args == ("obs has no 'batch'; it has: 'donor', 'n_counts'",)


def test_one_batch_only_is_refused():
    with pytest.raises(ValueError, match="one batch only, 'a'"):
        take_batches(with_batches(list("aaaa")), "donor")


def test_batches_of_one_cell_are_named_with_the_way_to_leave_them_out():
    adata = with_batches([3, 1, 1, 2, 7, 7])
    with pytest.raises(ValueError, match="'2', '3'") as caught:
        take_batches(adata, "donor")
    message = str(caught.value)
    assert "--subset 'donor!=2' --subset 'donor!=3'" in for_shell(caught.value)
    code = message[message.index("adata[") :]
    kept = eval(code, {"adata": adata})
    assert take_batches(kept, "donor").names == ("1", "7")


def test_a_column_of_cell_names_is_refused_in_a_line():
    with pytest.raises(ValueError, match="leave these 100 out, or name a column of") as caught:
        take_batches(with_batches(range(100)), "donor")
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("values", [[[1], [2]] * 3, [{"a": 1}, {}] * 3, [np.ones(2)] * 6])
def test_values_that_can_name_no_batches_are_refused(values):
    adata = with_batches(["a"] * len(values))
    adata.obs["donor"] = pd.Series(values, adata.obs_names, dtype=object)
    with pytest.raises(TypeError, match=r"obs\['donor'\] holds values of type"):
        take_batches(adata, "donor")


def test_values_that_read_the_same_as_text_are_refused():
    with pytest.raises(ValueError, match="with the same text: '1'"):
        take_batches(with_batches([1, "1", 1, "1"]), "donor")


def test_long_lists_of_names_are_cut():
    assert listed(range(23), 3) == "'0', '1', '2' and 20 more"


# -------------------------------------------------------------------------------------- object


def test_a_backed_object_is_refused_with_the_remedy(adata, tmp_path):
    adata.write_h5ad(tmp_path / "a.h5ad")
    backed = anndata.read_h5ad(tmp_path / "a.h5ad", backed="r")
    with pytest.raises(ValueError, match=r"backed by the file .*a\.h5ad.*to_memory\(\)"):
        check_object(backed)
    backed.file.close()


def test_an_object_without_cells_is_refused():
    with pytest.raises(ValueError, match="no cells"):
        check_object(anndata.AnnData(np.zeros((0, 3), np.float32)))


def test_values_of_an_object_without_genes_are_refused():
    with pytest.raises(ValueError, match="no genes"):
        take_matrix(anndata.AnnData(np.zeros((3, 0), np.float32)))


def test_the_embeddings_of_an_object_without_genes_are_named():
    adata = anndata.AnnData(np.zeros((3, 0), np.float32), obsm={"X_scvi": np.ones((3, 2))})
    with pytest.raises(ValueError, match=r"no genes.*obsm: 'X_scvi'"):
        take_matrix(adata)


@pytest.mark.filterwarnings("ignore:Observation names are not unique")
def test_doubled_cell_names_are_allowed_with_a_line_in_the_log(adata, caplog):
    adata.obs_names = list("aabbcd")
    with caplog.at_level(logging.INFO, "mnncorrect"):
        check_object(adata)
    assert "2 cells" in caplog.text


def test_a_view_becomes_an_object_of_its_own_without_a_warning(adata, caplog):
    view = adata[:4]
    with caplog.at_level(logging.INFO, "mnncorrect"):
        draft = Draft(view, None)
        draft.put("layers", "new", np.asarray(view.X))
        assert draft.commit() is None
    assert not view.is_view
    assert "view" in caplog.text
    assert "new" in view.layers
    assert "new" not in adata.layers


# -------------------------------------------------------------------------------------- matrix

CONTAINERS = [
    np.asarray,
    np.asfortranarray,
    sparse.csr_matrix,
    sparse.csc_matrix,
    sparse.csr_array,
    sparse.csc_array,
]


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize(
    ("dtype", "expected"),
    [("f4", "f4"), ("f8", "f8"), ("i4", "f4"), ("i8", "f4"), ("u2", "f4"), ("?", "f4")],
)
def test_numbers_become_floats_and_floats_keep_their_type(container, dtype, expected):
    values = np.array([[0, 1], [1, 0]], dtype=dtype)
    taken = as_floats(container(values), "X")
    assert taken.dtype == np.dtype(expected)
    dense = taken.toarray() if sparse.issparse(taken) else taken
    assert np.array_equal(dense, values.astype(expected))


@pytest.mark.parametrize(("dtype", "expected"), [("f2", "f4"), (">f4", "f4"), ("g", "f8")])
def test_unusual_floats_become_usual_ones(dtype, expected):
    taken = as_floats(np.array([[0, 1], [1, 0]], dtype=dtype), "X")
    assert taken.dtype == np.dtype(expected)
    assert taken.tolist() == [[0, 1], [1, 0]]


def test_floats_are_not_copied(adata):
    assert np.shares_memory(take_matrix(adata), adata.X)


def test_other_sparse_formats_become_csr():
    assert as_floats(sparse.coo_matrix(np.eye(3)), "X").format == "csr"


def test_doubled_entries_are_added_up_in_a_copy():
    doubled = sparse.csr_matrix((np.ones(4, np.float32), [2, 0, 2, 1], [0, 3, 4]), shape=(2, 3))
    taken = as_floats(doubled, "X")
    assert taken.has_canonical_format
    assert taken.toarray().tolist() == [[1, 0, 2], [0, 1, 0]]
    assert doubled.indices.tolist() == [2, 0, 2, 1]


@pytest.mark.parametrize("make", [sparse.csr_matrix, sparse.csc_array])
@pytest.mark.parametrize(
    "pointers", [[0, 1, 2, -1], [0, 2, 1, 3], [1, 2, 3, 3], [0, 1, 2, 4], [0, -1, 2, 3]]
)
def test_pointers_that_lead_out_of_a_sparse_matrix_are_refused(make, pointers):
    # scipy looks at none of the rest where the last one is below zero.
    forged = make(np.eye(3, dtype=np.float32))
    forged.indptr[:] = pointers
    with pytest.raises(ValueError, match=r"X .*valid sparse matrix"):
        as_floats(forged, "X")


@pytest.mark.parametrize(
    ("values", "what"),
    [
        (np.array([["a", "b"]]), "real numbers"),
        (np.array([[1j]]), "real numbers"),
        (np.array([[1.0]], dtype=object), "real numbers"),
        ([[1.0]], "list"),
    ],
)
def test_what_is_not_numbers_in_memory_is_refused(values, what):
    with pytest.raises(TypeError, match=what):
        as_floats(values, "X")


def test_values_come_from_x_a_layer_or_raw(adata):
    adata.layers["double"] = sparse.csr_matrix(adata.X * 2)
    adata.raw = adata.copy()
    cut = adata[:, ["3", "1"]].copy()
    cut.X = cut.X * 0
    assert np.array_equal(take_matrix(adata), adata.X)
    assert np.array_equal(take_matrix(adata, layer="double").toarray(), adata.X * 2)
    assert np.array_equal(take_matrix(cut, use_raw=True), adata.X[:, [3, 1]])
    assert np.array_equal(take_matrix(adata, use_raw=True), adata.X)


def test_who_lacks_components_is_told_what_makes_them(adata):
    adata.obsm.clear()
    with pytest.raises(KeyError, match=r"obsm has no 'X_pca'; it is empty; scanpy's pp\.pca makes"):
        take_embedding(adata, "X_pca")
    with pytest.raises(KeyError, match=r"obsm has no 'X_other'; it is empty; compute it"):
        take_embedding(adata, "X_other")


def test_a_place_without_values_is_refused(adata):
    with pytest.raises(KeyError, match="layers has no 'counts'; it is empty"):
        take_matrix(adata, layer="counts")
    with pytest.raises(ValueError, match="no raw"):
        take_matrix(adata, use_raw=True)
    with pytest.raises(ValueError, match="exclude one another"):
        take_matrix(adata, layer="counts", use_raw=True)
    adata.layers["counts"] = adata.X
    adata.X = None
    with pytest.raises(ValueError, match=r"no X; .*`layer`: 'counts'"):
        take_matrix(adata)


def test_raw_that_lacks_genes_is_refused(adata):
    adata.raw = adata[:, :3].copy()
    with pytest.raises(KeyError, match="raw lacks 2 of 5 genes: '3', '4'"):
        take_matrix(adata, use_raw=True)


@pytest.mark.parametrize("container", CONTAINERS)
def test_values_that_are_not_finite_are_counted_and_the_first_is_named(adata, container):
    values = np.zeros((6, 5), np.float32)
    values[4, 1] = np.nan
    values[2, 3] = np.inf
    values[2, 4] = -np.inf
    values[:, 0] = 1
    adata.layers["bad"] = container(values)
    adata.obs_names = [f"cell{i}" for i in range(6)]
    adata.var_names = [f"gene{i}" for i in range(5)]
    expected = r"layers\['bad'\] has 3 values .*1 NaN, 2 infinite.* 2 cells.*'cell2', 'gene3'"
    with pytest.raises(ValueError, match=expected):
        take_matrix(adata, layer="bad")


def test_an_embedding_is_dense_and_finite(adata):
    adata.obsm["X_a"] = np.arange(12.0).reshape(6, 2)
    adata.obsm["X_frame"] = pd.DataFrame({"one": range(6)}, index=adata.obs_names)
    adata.obsm["X_sparse"] = sparse.csr_matrix(np.eye(6))
    assert np.array_equal(take_embedding(adata, "X_a"), adata.obsm["X_a"])
    assert take_embedding(adata, "X_frame")[:, 0].tolist() == list(range(6))
    assert np.array_equal(take_embedding(adata, "X_sparse"), np.eye(6))
    adata.obsm["X_a"][3, 1] = np.nan
    with pytest.raises(ValueError, match="'3', 'dimension 1'"):
        take_embedding(adata, "X_a")
    with pytest.raises(KeyError, match="'X_a', 'X_frame', 'X_sparse'"):
        take_embedding(adata, "X_b")


# --------------------------------------------------------------------------------------- masks

MASK = [True, False, True, True, False]


def test_highly_variable_genes_are_the_default_where_they_are_marked(adata):
    assert take_gene_mask(adata, UNSET).mask is None
    adata.var["highly_variable"] = MASK
    assert take_gene_mask(adata, UNSET).mask.tolist() == MASK
    assert take_gene_mask(adata, UNSET).column == "highly_variable"
    assert take_gene_mask(adata, None).mask is None


def test_a_gene_mask_is_a_column_or_truth_values(adata):
    adata.var["mine"] = MASK
    adata.var["nullable"] = pd.array(MASK, dtype="boolean")
    adata.var["object"] = pd.Series(MASK, index=adata.var_names, dtype=object)
    for mask_var in ("mine", "nullable", "object", MASK, np.array(MASK), adata.var["mine"]):
        assert take_gene_mask(adata, mask_var).mask.tolist() == MASK
    assert take_gene_mask(adata, "mine").column == "mine"
    assert take_gene_mask(adata, MASK).column is None


def test_a_gene_mask_that_cannot_be_is_refused(adata):
    adata.var["score"] = [0.0, 0.5, 1.0, 0.0, 1.0]
    adata.var["gaps"] = pd.array([True, None, True, False, True], dtype="boolean")
    adata.var["empty"] = False
    with pytest.raises(KeyError, match="var has no 'hvg'; it has: 'score'"):
        take_gene_mask(adata, "hvg")
    with pytest.raises(TypeError, match="holds float64; it must be boolean"):
        take_gene_mask(adata, "score")
    with pytest.raises(ValueError, match="missing for 1 of 5"):
        take_gene_mask(adata, "gaps")
    with pytest.raises(ValueError, match="selects nothing"):
        take_gene_mask(adata, "empty")
    with pytest.raises(ValueError, match=r"shape \(4,\); it must be \(5,\)"):
        take_gene_mask(adata, MASK[:4])
    with pytest.raises(TypeError, match="boolean"):
        take_gene_mask(adata, [0, 2, 3])
    shuffled = pd.Series(MASK, index=adata.var_names)[::-1]
    with pytest.raises(ValueError, match="index of mask_var"):
        take_gene_mask(adata, shuffled)


def test_restriction_is_a_column_or_mask_and_leaves_each_batch_a_cell(adata):
    batches = Batches(np.array([0, 1] * 3), ("a", "b"))
    kept = [True, True, False, False, True, True]
    adata.obs["kept"] = kept
    adata.obs["only_a"] = [True, False] * 3
    assert take_cell_mask(adata, None, batches) is None
    assert take_cell_mask(adata, "kept", batches).tolist() == kept
    assert take_cell_mask(adata, np.array(kept), batches).tolist() == kept
    with pytest.raises(ValueError, match="no cell of these batches: 'b'"):
        take_cell_mask(adata, "only_a", batches)
    with pytest.raises(KeyError, match="obs has no 'nope'"):
        take_cell_mask(adata, "nope", batches)


# ------------------------------------------------------------------------------------- results


def test_every_name_begins_with_key_added():
    keys = Keys("other")
    names = [keys.layer, keys.corrected, keys.genes, keys.pairs, keys.uns, keys.proba]
    assert all(name.startswith("other") for name in names)
    assert keys.embedding == "X_other"


def test_parameters_survive_a_file(tmp_path):
    params = {"tree": [["a", "b"], "c"], "n": np.int64(3), "yes": True, "none": None, "x": 0.5}
    adata = anndata.AnnData(np.ones((2, 2), np.float32))
    adata.uns["params"] = as_params(params)
    adata.write_h5ad(tmp_path / "a.h5ad")
    back = anndata.read_h5ad(tmp_path / "a.h5ad").uns["params"]
    assert back == {"tree": '[["a", "b"], "c"]', "n": 3, "yes": True, "x": 0.5}
