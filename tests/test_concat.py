"""Several objects become one: genes are intersected, cells named apart, columns united."""

from __future__ import annotations

import logging
import re
import warnings
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from mnncorrect._adata.slots import elements_of
from mnncorrect._adata.stored import is_stored, load
from mnncorrect._io.concat import planned
from mnncorrect._io.input_parts import FILE_KEY, Part, Selection, Store
from mnncorrect._io.scratch import scratch_file
from mnncorrect._io.subsets import chosen


def _object(n: int, genes: list[str], seed: int, **obs: list[object]) -> anndata.AnnData:
    rng = np.random.default_rng(seed)
    x = sp.csr_matrix(rng.poisson(1.0, size=(n, len(genes))).astype(np.float32))
    frame = pd.DataFrame(obs, index=[f"c{i}" for i in range(n)])
    with warnings.catch_warnings(action="ignore"):
        return anndata.AnnData(x, obs=frame, var=pd.DataFrame(index=genes))


def _joined(datas: dict[str, anndata.AnnData], **how: Any) -> anndata.AnnData:
    """Put objects together, and read what was written into memory."""
    with scratch_file() as file:
        parts = {name: Part(data) for name, data in datas.items()}
        adata = planned(parts, Selection(**how), as_x=True).make(
            parts, Store(lambda: file, block_bytes=64)
        )
        assert is_stored(adata.X)
        return _in_memory(adata)


def _chosen_of(data: anndata.AnnData, *conditions: str) -> anndata.AnnData:
    with scratch_file() as file:
        return _in_memory(chosen(Part(data), Store(lambda: file, 64), subset=conditions))


def _in_memory(adata: anndata.AnnData) -> anndata.AnnData:
    def held(value: Any) -> Any:
        return load(value) if is_stored(value) else value

    adata.X = held(adata.X)
    for slot in ("layers", "obsm", "obsp"):
        for name, value in elements_of(adata, slot).items():
            getattr(adata, slot)[name] = held(value)
    return adata


def _pair() -> dict[str, anndata.AnnData]:
    return {
        "one": _object(3, ["g1", "g2", "g3", "g4"], 0),
        "two": _object(2, ["g4", "g9", "g2"], 1),
    }


def test_genes_are_intersected_in_the_order_of_the_first(caplog: pytest.LogCaptureFixture) -> None:
    datas = _pair()
    with caplog.at_level(logging.INFO, "mnncorrect"):
        joined = _joined(datas)
    assert list(joined.var_names) == ["g2", "g4"]
    expected = np.vstack([data[:, ["g2", "g4"]].X.toarray() for data in datas.values()])
    np.testing.assert_array_equal(joined.X.toarray(), expected)
    assert "genes in all files: 2; left out: 2 of one, 1 of two" in caplog.text


def test_cells_are_named_by_their_file() -> None:
    joined = _joined(_pair())
    assert list(joined.obs_names) == ["c0-one", "c1-one", "c2-one", "c0-two", "c1-two"]
    assert list(joined.obs[FILE_KEY]) == ["one"] * 3 + ["two"] * 2
    assert list(joined.obs[FILE_KEY].cat.categories) == ["one", "two"]


@pytest.mark.filterwarnings("ignore:.*names are not unique:UserWarning")
def test_names_of_cells_that_are_unique_stay() -> None:
    datas = _pair()
    datas["two"].obs_names = ["c3", "c4"]
    assert list(_joined(datas).obs_names) == ["c0", "c1", "c2", "c3", "c4"]
    datas["one"].obs_names = ["c0", "c0", "c1"]  # of one input, where no other has it
    assert list(_joined(datas).obs_names) == ["c0", "c0", "c1", "c3", "c4"]


def test_columns_of_obs_are_united() -> None:
    one = _object(2, ["g"], 0, donor=["a", "b"], age=[1, 2], mixed=[1, 2])
    two = _object(2, ["g"], 1, donor=["b", "c"], sex=["f", "m"], mixed=["x", "y"])
    for data in (one, two):
        data.obs["donor"] = pd.Categorical(data.obs["donor"])
    obs = _joined({"one": one, "two": two}).obs
    assert list(obs["donor"]) == ["a", "b", "b", "c"]
    assert list(obs["donor"].cat.categories) == ["a", "b", "c"]
    np.testing.assert_array_equal(
        obs["age"].astype(object).where(obs["age"].notna(), np.nan).astype(float),
        [1, 2, np.nan, np.nan],
    )
    assert list(obs["sex"].isna()) == [True, True, False, False]
    assert list(obs["mixed"]) == ["1", "2", "x", "y"]


def test_layers_that_all_have_are_kept(caplog: pytest.LogCaptureFixture) -> None:
    datas = _pair()
    for data in datas.values():
        data.layers["counts"] = data.X * 2
        data.obsm["X_pca"] = np.ones((data.n_obs, 2))
    datas["one"].layers["other"] = datas["one"].X
    with caplog.at_level(logging.INFO, "mnncorrect"):
        joined = _joined(datas)
    assert list(elements_of(joined, "layers")) == ["counts"]
    assert (joined.layers["counts"] != joined.X * 2).nnz == 0
    assert list(joined.obsm) == []
    assert "not all inputs have: other" in caplog.text


def test_columns_of_var_are_kept_where_all_agree() -> None:
    datas = _pair()
    datas["one"].var["symbol"] = ["a", "b", "c", "d"]
    datas["two"].var["symbol"] = ["d", "z", "b"]
    datas["one"].var["highly_variable"] = True
    datas["two"].var["highly_variable"] = [True, True, False]
    assert list(_joined(datas).var) == ["symbol"]


def test_genes_are_matched_by_a_column_and_unclear_ones_left_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    datas = _pair()
    datas["one"].var["symbol"] = ["a", "b", "b", "d"]
    datas["two"].var["symbol"] = ["d", None, "b"]
    joined = _joined(datas, gene_key="symbol")
    assert list(joined.var_names) == ["d"]
    expected = np.vstack([datas["one"][:, "g4"].X.toarray(), datas["two"][:, "g4"].X.toarray()])
    np.testing.assert_array_equal(joined.X.toarray(), expected)
    assert re.search("one: 2 genes .*not unique: 'b'", caplog.text)
    # The inputs keep their names.
    assert list(datas["one"].var_names) == ["g1", "g2", "g3", "g4"]


def test_raw_takes_the_place_of_x() -> None:
    datas = _pair()
    for name, data in datas.items():
        data.raw = data
        data.X = data.X * 0
        datas[name] = data[:, ["g2"]].copy()
    joined = _joined(datas, use_raw=True)
    assert list(joined.var_names) == ["g2", "g4"]
    assert joined.X.nnz > 0
    datas["two"].raw = None
    with pytest.raises(KeyError, match="two has no raw values"):
        _joined(datas, use_raw=True)


def test_of_many_files_the_extremes_are_told(caplog: pytest.LogCaptureFixture) -> None:
    genes = [f"g{i}" for i in range(30)]
    datas = {f"file{n}": _object(2, genes[: 30 - n], n) for n in range(25)}
    with caplog.at_level(logging.INFO, "mnncorrect"):
        assert _joined(datas).n_vars == 6
    assert "genes in all files: 6; left out: 0 to 24 of each, most of file0" in caplog.text


def test_no_shared_genes_is_an_error() -> None:
    datas = {"one": _object(2, ["a", "b"], 0), "two": _object(2, ["ENSG1", "ENSG2"], 1)}
    says = r"no genes in common \(one: a, b; two: ENSG1, ENSG2\).*`gene_key`"
    with pytest.raises(ValueError, match=says):
        _joined(datas)


def test_an_unknown_gene_key_names_the_columns() -> None:
    datas = _pair()
    datas["one"].var["symbol"] = ["a", "b", "c", "d"]
    with pytest.raises(KeyError, match=r"one: `gene_key`: var has no 'nosuch'; it has: 'symbol'"):
        _joined(datas, gene_key="nosuch")


def _chosen(*conditions: str) -> list[str]:
    data = _object(6, ["g"], 0, donor=list("aabbcc"), plate=[1, 2, 1, 2, 1, 2])
    data.obs["donor"] = pd.Categorical(data.obs["donor"])
    return [name[1:] for name in _chosen_of(data, *conditions).obs_names]


@pytest.mark.parametrize(
    ("conditions", "kept"),
    [
        (["donor=a"], "01"),
        (["donor=a", "donor=c"], "0145"),
        (["donor!=a"], "2345"),
        (["donor!=a", "donor!=b"], "45"),
        (["donor!=a", "plate=2"], "35"),
        (["donor=a", "donor=b", "plate=1"], "02"),
    ],
)
def test_cells_are_chosen(conditions: list[str], kept: str) -> None:
    assert "".join(_chosen(*conditions)) == kept


def test_values_may_contain_equal_signs() -> None:
    data = _object(2, ["g"], 0, note=["a=b", "c"])
    assert _chosen_of(data, "note=a=b").n_obs == 1


@pytest.mark.parametrize(
    ("conditions", "error", "says"),
    [
        (["sex=f"], KeyError, "sex=f.*obs has no 'sex'.*'donor', 'plate'"),
        (["donor=d"], ValueError, "no cell has the value 'd'.*it has 'a', 'b', 'c'"),
        (["donor=a", "donor!=a"], ValueError, "no cell meets all of"),
        (["donor"], ValueError, "write COLUMN=VALUE"),
        (["=a"], ValueError, "write COLUMN=VALUE"),
        (["!=a"], ValueError, "write COLUMN=VALUE"),
    ],
)
def test_a_condition_that_cannot_be_met_is_refused(
    conditions: list[str], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        _chosen(*conditions)


def test_only_the_cells_that_are_taken_must_be_writable() -> None:
    data = _object(3, ["g"], 0, kind=["a", "b", "a"], odd=["x", ["y"], "z"])
    assert list(_chosen_of(data, "kind=a").obs["odd"]) == ["x", "z"]
    with pytest.raises(ValueError, match="/obs/odd"):
        _chosen_of(data, "kind=b")
    data.obs["odd"] = "x"
    data.obsm["table"] = pd.DataFrame({"odd": ["x", ["y"], "z"]}, index=data.obs_names)
    _chosen_of(data, "kind=a")
    with pytest.raises(ValueError, match="/obsm/table"):
        _chosen_of(data, "kind=b")
