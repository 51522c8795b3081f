"""Columns of several inputs keep their types, and the order of their categories."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest

from mnncorrect import pp
from mnncorrect._adata.slots import elements_of
from mnncorrect._io.concat import planned
from mnncorrect._io.input_parts import Part, Selection, Store
from mnncorrect._io.joined_columns import united_column
from mnncorrect._io.scratch import scratch_file


def united(*columns):
    """Unite columns; ``None``: a table of two rows that does not have it."""
    tables = [
        pd.DataFrame(index=["x", "y"]) if column is None else pd.DataFrame({"c": column})
        for column in columns
    ]
    return united_column(tables, "c")


@pytest.mark.parametrize(
    ("one", "two", "expected"),
    [
        ("i4", "i4", "int32"), ("i2", "i8", "int64"), ("u1", "u1", "uint8"),
        ("f4", "f4", "float32"), ("f4", "f8", "float64"), ("i1", "f4", "float32"),
        ("i8", "f4", "float64"), ("?", "?", "bool"),
        (">f8", ">f8", "float64"), ("Int64", "Int64", "Int64"), ("Int8", "i8", "Int64"),
        ("Float32", "f4", "Float32"), ("boolean", "?", "boolean"), ("?", "i4", "int32"),
    ],
)  # fmt: skip
def test_numbers_keep_their_type(one, two, expected):
    found = united(pd.Series([1, 0], dtype=one), pd.Series([0, 1], dtype=two))
    assert found.dtype == expected
    assert found.astype("int64").tolist() == [1, 0, 0, 1]


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [("i4", "Int32"), ("u2", "UInt16"), ("?", "boolean"), ("f4", "float32"), ("Int64", "Int64")],
)
def test_numbers_that_an_input_does_not_have_are_missing(dtype, expected):
    found = united(pd.Series([1, 0], dtype=dtype), None)
    assert found.dtype == expected
    assert found.isna().tolist() == [False, False, True, True]
    assert found[:2].astype("int64").tolist() == [1, 0]


def test_large_whole_numbers_keep_every_digit():
    number = 2**53 + 1
    assert united(pd.Series([number, 1]), None)[0] == number


def test_categories_keep_their_order_the_first_input_first():
    one = pd.Categorical(["b", "a"], categories=["b", "a", "never"])
    two = pd.Categorical(["c", "a"], categories=["c", "a"])
    found = united(one, two, None)
    assert found.cat.categories.tolist() == ["b", "a", "never", "c"]
    assert not found.cat.ordered
    assert found.astype(object).tolist()[:4] == ["b", "a", "c", "a"]
    assert found.isna().sum() == 2


def test_ordered_categories_stay_ordered_where_all_agree(caplog):
    low = pd.Categorical(["low", "mid"], categories=["low", "mid"], ordered=True)
    high = pd.Categorical(["mid", "high"], categories=["low", "mid", "high"], ordered=True)
    found = united(low, high)
    assert found.cat.ordered
    assert found.cat.categories.tolist() == ["low", "mid", "high"]
    assert not caplog.records
    other = pd.Categorical(["mid", "low"], categories=["mid", "low"], ordered=True)
    assert not united(low, other).cat.ordered
    assert "lose their order" in caplog.text


def test_categories_of_two_types_become_text():
    found = united(pd.Categorical([1, 2]), pd.Categorical(["1", "x"]))
    assert found.cat.categories.tolist() == ["1", "2", "x"]
    assert found.astype(str).tolist() == ["1", "2", "1", "x"]


def test_numbers_and_text_become_text_with_a_warning(caplog):
    found = united(pd.Series([1, 2]), pd.Series(["x", None]))
    assert found.tolist()[:3] == ["1", "2", "x"]
    assert found.isna().tolist() == [False, False, False, True]
    assert "obs['c']" in caplog.text


def test_results_of_one_input_are_left_out_of_all():
    rng = np.random.default_rng(0)
    parts = {}
    for name in ("one", "two"):
        adata = anndata.AnnData(rng.normal(3, 1, (40, 8)).astype("f4"))
        adata.obs["batch"] = ["a", "b"] * 20
        adata.obs["mnn_own"] = 1
        adata.layers["own"] = adata.X.copy()
        pp.mnn_calibrated(adata, "batch", n_comps=3, write_expression=True, n_jobs=1)
        parts[name] = Part(adata)
    with scratch_file() as file:
        made = planned(parts, Selection()).make(parts, Store(lambda: file))
        assert set(made.obs) == {"batch", "mnn_own", "mnn_file"}
        assert list(elements_of(made, "layers")) == ["own"]
        assert not set(made.var)
