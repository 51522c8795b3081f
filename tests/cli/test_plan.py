"""A plan announces what a run does: the same decisions, from a shell and from Python."""

from __future__ import annotations

import itertools
import json
import shlex
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import mnncorrect
from mnncorrect import tl
from mnncorrect._wording import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

QUICK = {"gmm": False, "n_jobs": 1}
KINDS = ("counts", "log values", "log values of two totals", "normalized values")


def values_of(
    kind: str = "counts", sizes: tuple[int, ...] = (30, 34), seed: int = 0
) -> anndata.AnnData:
    """Values of a kind, of two populations in batches."""
    rng = np.random.default_rng(seed)
    n, n_genes = sum(sizes), 30
    batch = np.repeat(np.arange(len(sizes)), sizes)
    profiles = rng.gamma(0.5, 4.0, size=(2, n_genes)) + 0.1
    factors = np.exp(0.5 * rng.standard_normal((len(sizes), n_genes)))
    x = rng.poisson(profiles[np.arange(n) % 2] * factors[batch]).astype(np.float32)
    totals = np.maximum(x.sum(1, keepdims=True), 1)
    if kind == "log values of two totals":
        x = np.log1p(x / totals * np.where(batch == 0, 1e4, 1e3)[:, None])
    elif kind == "log values":
        x = np.log1p(x / totals * 1e4)
    elif kind == "normalized values":
        x = x / totals * 1e4
    obs = pd.DataFrame(
        {
            "batch": pd.Categorical([f"b{b}" for b in batch]),
            "cluster": pd.Categorical([f"c{i % 2}" for i in range(n)]),
        },
        index=[f"cell{i}" for i in range(n)],
    )
    var = pd.DataFrame({"few": np.arange(n_genes) < 25}, index=[f"g{i}" for i in range(n_genes)])
    return anndata.AnnData(sp.csr_matrix(x.astype(np.float32)), obs=obs, var=var)


def asked_of(method: str) -> dict[str, Any]:
    """Options that a method needs on small data."""
    more: dict[str, Any] = {"method": method, **QUICK}
    if method in ("calibrated", "fast"):
        more["n_comps"] = 5
    if method == "cluster":
        more["clusters"] = "cluster"
    if method == "classic":
        more["pca"] = False
    return more


def assert_as_planned(plan: mnncorrect.Plan, found: anndata.AnnData) -> None:
    """What a plan announced is what the record of the result says."""
    record, treatment = found.uns["mnn"], plan.treatment
    assert treatment is not None
    done = record["prepared"]
    assert record["params"]["method"] == plan.request.method
    assert plan.n_genes_used == found.var["mnn_genes"].sum()
    assert (treatment.total, treatment.log1p) == (done["normalize"], done["log1p"])
    assert (treatment.choose is not None) == done["hvg"]
    kept = treatment.changes and treatment.keep
    assert kept == ("mnn_log1p" in found.layers)
    told = plan.describe()
    assert any(text == f"use {plan.n_genes_used} of {found.n_vars} genes" for text in told)
    assert any("scale to" in text for text in told) == done["normalize"]
    assert any("to one total" in text for text in told) == treatment.rescale
    assert list(record["batches"]) == list(plan.batches)


WISHES = ({}, {"n_top_genes": 12}, {"hvg": False}, {"mask_var": "few"})
GRID = [
    (method, kind, wish)
    for number, (method, (kind, wish)) in enumerate(
        itertools.product(
            ("calibrated", "fast", "cluster", "classic"), itertools.product(KINDS, WISHES)
        )
    )
    if number % 3 == 0  # every method meets every kind, and every wish
]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("method", "kind", "wish"), GRID)
def test_a_run_does_what_its_plan_announces(method: str, kind: str, wish: dict[str, Any]) -> None:
    adata = values_of(kind)
    plan = mnncorrect.plan(adata, "batch", **asked_of(method), **wish)
    assert "mnn" not in adata.uns
    found = plan.execute(copy=True)
    assert found is not None
    assert_as_planned(plan, found)


@pytest.mark.parametrize(("command", "kind", "several"), [
    pytest.param(*one, marks=() if number.bit_count() % 2 else pytest.mark.slow)
    for number, one in enumerate(
        itertools.product(["run", "correct"], ["counts", "log values"], [True, False])
    )
])  # fmt: skip
def test_a_dry_run_announces_what_the_command_does(
    cli: Callable[..., Any], command: str, kind: str, several: bool, tmp_path: Path
) -> None:
    paths = []
    for number in range(2 if several else 1):
        paths.append(tmp_path / f"in{number}.h5ad")
        values_of(kind, seed=number).write_h5ad(paths[-1])
    key = [] if several else ["-b", "batch"]
    words = [command, *paths, *key, "-o", tmp_path / "out.h5ad", "--n-comps", 5]
    words += ["--n-top-genes", 12, *(["--no-gmm"] if command == "run" else [])]
    told = json.loads(cli(*words, "--dry-run", "--json").out)
    assert cli(*words).code == 0
    found = anndata.read_h5ad(tmp_path / "out.h5ad")
    done = found.uns["mnn"]["prepared"]
    assert told["n_genes_used"] == 12 == found.var["mnn_genes"].sum() == done["n_top_genes"]
    assert (told["n_cells"], told["n_genes"]) == found.shape
    assert told["values"] == done["values"]
    assert any("log1p" in step for step in told["steps"]) == done["log1p"]
    assert any("kept in" in step for step in told["steps"]) == ("mnn_log1p" in found.layers)


def assert_same(found: Any, expected: Any, place: str = "") -> None:
    """Equal to the bit in every place."""
    if isinstance(expected, anndata.AnnData):
        for slot in ("X", "obs", "var", "layers", "obsm", "varm", "obsp", "uns"):
            assert_same(getattr(found, slot), getattr(expected, slot), slot)
    elif hasattr(expected, "keys") and not isinstance(expected, pd.DataFrame):
        assert set(found) == set(expected), place
        for key in expected:
            assert_same(found[key], expected[key], f"{place}/{key}")
    elif isinstance(expected, pd.DataFrame):
        pd.testing.assert_frame_equal(found, expected, check_exact=True, check_column_type=False)
    elif sp.issparse(expected):
        assert (found != expected).nnz == 0, place
    else:
        np.testing.assert_array_equal(found, expected, err_msg=place)


ASKED = [
    ({}, []),
    ({"method": "fast", "write_expression": True}, ["--method", "fast", "--write-expression"]),
    ({"write_expression": True, "keep_normalized": False, "n_top_genes": 20},
     ["--write-expression", "--no-keep-normalized", "--n-top-genes", 20]),
]  # fmt: skip


@pytest.mark.parametrize(("container", "asked", "words"), [
    pytest.param(container, *asked, marks=() if (number, place) == (0, 1) else pytest.mark.slow)
    for number, container in enumerate([sp.csr_matrix, np.asarray])
    for place, asked in enumerate(ASKED)
])  # fmt: skip
def test_python_gives_the_bits_of_the_command(
    cli: Callable[..., Any], asked: dict[str, Any], words: list[Any], container: Any, tmp_path: Path
) -> None:
    adata = values_of()
    adata.X = container(adata.X.toarray())
    adata.write_h5ad(tmp_path / "in.h5ad")
    out = tmp_path / "out.h5ad"
    done = cli("run", tmp_path / "in.h5ad", "-b", "batch", "-o", out, "--n-comps", 5, *words,
               "--n-components", "1-2")  # fmt: skip
    assert done.code == 0, done.err
    expected = anndata.read_h5ad(out)
    options = {**asked, "n_comps": 5, "n_components": [1, 2]}
    assert_same(mnncorrect.run(tmp_path / "in.h5ad", "batch", **options), expected)
    mnncorrect.run(tmp_path / "in.h5ad", "batch", output=tmp_path / "two.h5ad", **options)
    assert (tmp_path / "two.h5ad").read_bytes() == out.read_bytes()
    assert mnncorrect.run(adata, "batch", **options) is None
    assert_same(adata, expected)


@pytest.mark.parametrize("copy", [False, True])
def test_a_run_that_fails_leaves_the_object_as_it_was(
    copy: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    adata = values_of()
    before = adata.copy()

    def broken(*_: object, **__: object) -> None:
        msg = "no clusters"
        raise ValueError(msg)

    monkeypatch.setattr(tl, "gmm", broken)
    with pytest.raises(ValueError, match="no clusters"):
        mnncorrect.run(adata, "batch", n_comps=5, copy=copy)
    assert_same(adata, before)
    with pytest.raises(ValueError, match="no clusters"):
        mnncorrect.run(adata, "batch", n_comps=5, output=tmp_path / "out.h5ad")
    assert not list(tmp_path.iterdir())
    assert_same(adata, before)


def test_an_object_is_changed_in_place_copied_or_written(tmp_path: Path) -> None:
    adata = values_of()
    x = adata.X
    copied = mnncorrect.run(adata, "batch", n_comps=5, copy=True, **QUICK)
    assert copied is not None
    assert "X_mnn" not in adata.obsm
    assert mnncorrect.run(adata, "batch", n_comps=5, output=tmp_path / "o.h5ad", **QUICK) is None
    assert "X_mnn" not in adata.obsm
    assert mnncorrect.run(adata, "batch", n_comps=5, **QUICK) is None
    assert adata.X is x
    for other in (copied, anndata.read_h5ad(tmp_path / "o.h5ad")):
        np.testing.assert_array_equal(adata.obsm["X_mnn"], other.obsm["X_mnn"])


def test_cells_of_an_object_are_chosen_in_a_copy_only() -> None:
    adata = values_of(sizes=(30, 34, 20))
    asked = {"subset": "batch!=b2", "n_comps": 5, **QUICK}
    with pytest.raises(UsageError, match="copy=True"):
        mnncorrect.run(adata, "batch", **asked)
    assert "mnn" not in adata.uns
    found = mnncorrect.run(adata, "batch", copy=True, **asked)
    assert found is not None
    assert found.n_obs == 64


def test_a_sheet_names_inputs_and_their_batches(tmp_path: Path) -> None:
    for number in range(2):
        values_of(seed=number).write_h5ad(tmp_path / f"{number}.h5ad")
    sheet = tmp_path / "samples.tsv"
    sheet.write_text("path\tbatch\tsex\n0.h5ad\tone\tf\n1.h5ad\ttwo\tm\n")
    found = mnncorrect.run(sheet=sheet, n_comps=5, **QUICK)
    assert found is not None
    assert list(found.uns["mnn"]["batches"]) == ["one", "two"]
    assert set(found.obs["sex"]) == {"f", "m"}


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"sigma": 0.2}, "classic"),
        ({"nonsense": 1}, "nonsense"),
        ({"nonsense": None}, "nonsense"),
        ({"method": "cluster"}, "clusters"),
        ({"method": "none"}, "calibrated"),
        ({"n_top_genes": 5, "hvg": False}, "n_top_genes"),
        ({"n_dims": 5, "gmm": False}, "n_dims"),
        ({"n_components": 3, "gmm": False}, "n_components"),
        ({"n_top_genes": 0}, "from 1 up"),
        ({"n_top_genes": "many"}, "from 1 up"),
        ({"n_top_genes": 1.5}, "from 1 up"),
        ({"report": True}, "report.*path"),
        ({"save_model": 3}, "save_model.*path"),
        ({"use_rep": "X_pca", "counts": True}, "use_rep"),
        ({"expression_scale": "log"}, "write_expression"),
        ({"memory_limit": "much"}, "memory_limit"),
        ({"batch_from_barcode": True}, "batch_from_barcode"),
        ({"strip_versions": True}, "strip_versions"),
        ({"n_jobs": 1, "layer": "x", "use_rep": "X_pca"}, "layer"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_before_any_work(
    asked: dict[str, Any], told: str
) -> None:
    for call in (mnncorrect.run, mnncorrect.plan):
        with pytest.raises(UsageError, match=told):
            call(values_of(), "batch", **asked)


def test_an_empty_list_of_inputs_is_refused() -> None:
    with pytest.raises(UsageError, match="empty"):
        mnncorrect.run([], "batch")


@pytest.mark.parametrize("name", ["", "a/b", 3, None])
def test_a_name_that_cannot_be_a_key_is_refused(name: Any) -> None:
    for method in ("calibrated", "fast"):
        adata = values_of()
        with pytest.raises(ValueError, match="key_added"):
            mnncorrect.run(adata, "batch", method=method, key_added=name)
        assert "X_mnn" not in adata.obsm
    with pytest.raises(ValueError, match="key_added"):
        mnncorrect.pp.mnn_fast(values_of(), "batch", key_added=name)


@pytest.mark.parametrize("subset", ["none", "none=1", "batch=none", ["batch=a", "batch!=a"]])
def test_a_subset_is_refused_in_the_words_of_python(subset: Any) -> None:
    with pytest.raises((KeyError, ValueError)) as caught:
        mnncorrect.plan(values_of(), "batch", subset=subset)
    assert "--" not in str(caught.value)


@pytest.mark.parametrize("method", ["calibrated", "fast"])
def test_a_plan_announces_corrected_expression(method: str) -> None:
    told = mnncorrect.plan(
        values_of(), "batch", method=method, key_added="mine", write_expression=True, gmm=False
    ).describe()
    assert "expression" in told[-1]
    assert "layers['mine']" in told[-1]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"merge_order": "b0,x"}, "'x'"),
        ({"reference": "x", "method": "calibrated"}, "reference"),
        ({"restrict": "x", "method": "fast"}, "'x'"),
        ({"restrict": "cluster", "method": "fast"}, "boolean"),
        ({"recall": 3.0}, "recall is 3.0"),
        ({"batch_weights": "x", "method": "fast"}, "batch_weights"),
        ({"n_neighbors": 0, "method": "fast"}, "n_neighbors is 0"),
        ({"sigma": -1.0, "method": "classic", "pca": True}, "sigma is -1.0"),
        ({"clusters": "x", "method": "cluster"}, "'x'"),
        ({"write_expression": True, "expression_mask_var": "x"}, "'x'"),
    ],
)
def test_what_the_method_would_refuse_is_refused_by_the_plan(
    words: dict[str, Any], says: str
) -> None:
    adata = values_of()
    for call in (mnncorrect.plan, mnncorrect.run):
        with pytest.raises((KeyError, ValueError, TypeError), match=says):
            call(adata, "batch", gmm=False, **words)
    assert "mnn" not in adata.uns


def test_an_embedding_that_is_missing_is_refused_by_the_plan() -> None:
    with pytest.raises(KeyError, match="obsm has no 'X_none'"):
        mnncorrect.plan(values_of(), "batch", use_rep="X_none")


def test_genes_that_a_run_marks_may_be_those_of_its_expression() -> None:
    adata = values_of()
    words = {"write_expression": True, "expression_mask_var": "mnn_genes", "n_comps": 5}
    assert mnncorrect.run(adata, "batch", gmm=False, **words) is None
    assert "mnn" in adata.layers


def test_a_dry_run_warns_of_batches_of_few_cells(cli: Callable[..., Any], tmp_path: Path) -> None:
    values_of(sizes=(30, 12)).write_h5ad(tmp_path / "in.h5ad")
    words = ["run", tmp_path / "in.h5ad", "-b", "batch", "-o", tmp_path / "out.h5ad", "--dry-run"]
    assert "b1 (12)" in " ".join(cli(*words, "--method", "fast").err)
    assert "b1 (12)" not in " ".join(cli(*words).err)


def test_an_input_of_one_block_takes_no_more_memory_with_more_room_or_threads() -> None:
    estimates = [
        mnncorrect.plan(values_of(), "batch", gmm=False, **room).estimate().memory_mb
        for room in ({"n_jobs": 1}, {"n_jobs": 16}, {"n_jobs": 16, "memory_limit": "64G"})
    ]
    assert len(set(estimates)) == 1


def test_the_map_before_that_a_report_draws_is_counted(tmp_path: Path) -> None:
    def seconds(**options: object) -> int:
        plan = mnncorrect.plan(values_of(), "batch", gmm=False, **options)
        return plan.estimate().seconds

    report = {"report": tmp_path / "report.html"}
    alone = seconds(umap=True) + seconds(**report) - seconds()
    assert seconds(umap=True, **report) > alone + 3


def test_inputs_that_are_not_those_of_the_plan_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "in.h5ad"
    values_of().write_h5ad(path)
    plan = mnncorrect.plan(path, "batch", n_comps=5, **QUICK)
    values_of("log values").write_h5ad(path)
    with pytest.raises(ValueError, match="new plan"):
        plan.execute()


# -- check and run refuse the same ----------------------------------------------------------------


def nan(adata: anndata.AnnData) -> None:
    adata.X.data[3] = np.nan


def one_value(adata: anndata.AnnData) -> None:
    adata.X = np.full(adata.shape, 2.0, np.float32)


def no_shared_gene(adata: anndata.AnnData) -> None:
    x = adata.X.toarray()
    first = (adata.obs["batch"] == "b0").to_numpy()
    x[np.ix_(first, np.arange(30) < 15)] = 0
    x[np.ix_(~first, np.arange(30) >= 15)] = 0
    adata.X = sp.csr_matrix(x)


def empty_batch(adata: anndata.AnnData) -> None:
    x = adata.X.toarray()
    x[(adata.obs["batch"] == "b1").to_numpy()] = 0
    adata.X = sp.csr_matrix(x)


def own_embedding(adata: anndata.AnnData) -> None:
    adata.obsm["X_mnn"] = np.zeros((adata.n_obs, 2))


def no_chosen_gene(adata: anndata.AnnData) -> None:
    adata.var["highly_variable"] = False


def negative(adata: anndata.AnnData) -> None:
    adata.X.data[5] = -2


def mixed(adata: anndata.AnnData) -> None:
    x = adata.X.toarray()
    first = (adata.obs["batch"] == "b0").to_numpy()
    x[first] = np.log1p(x[first])
    adata.X = sp.csr_matrix(x)


def no_x(adata: anndata.AnnData) -> None:
    adata.X = None


def zeros(adata: anndata.AnnData) -> None:
    adata.X = sp.csr_matrix(adata.shape, dtype=np.float32)


CHANGES: list[Callable[[anndata.AnnData], Any]] = [
    lambda _: None, nan, one_value, no_shared_gene, empty_batch, own_embedding, no_chosen_gene,
    negative, mixed, no_x, zeros,
]  # fmt: skip


# Every change with one size of batches, in turn; all with all in the long run.
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("change", "sizes"), [
    pytest.param(
        change, sizes, id=f"{change.__name__}-{len(sizes)}-{sizes[-1]}",
        marks=() if (number + place) % 3 == 0 else pytest.mark.slow,
    )
    for number, change in enumerate(CHANGES)
    for place, sizes in enumerate([(30, 34), (30, 34, 20), (30, 1)])
])  # fmt: skip
def test_check_and_run_agree_on_what_is_refused(
    cli: Callable[..., Any], change: Any, sizes: tuple[int, ...], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    adata = values_of(sizes=sizes)
    change(adata)
    adata.write_h5ad("in.h5ad")
    checked = cli("check", "in.h5ad", "-b", "batch", "--json")
    dry = cli("run", "in.h5ad", "-b", "batch", "-o", "dry.h5ad", "--dry-run")
    if checked.code == 0:
        words = shlex.split(json.loads(checked.out)["next"])[1:]
        done = cli(*words, "--n-comps", 5, "--no-gmm")
        assert done.code == 0, done.err
    else:
        assert checked.code == 1
        done = cli("run", "in.h5ad", "-b", "batch", "-o", "out.h5ad", "--n-comps", 5, "--no-gmm")
        assert done.code == 1, checked.err
        assert dry.code == 1


def doubled(adata: anndata.AnnData) -> None:
    adata.var_names = ["g0", *adata.var_names[:-1]]
    adata.var["gene_ids"] = [f"id{i}" for i in range(adata.n_vars)]


def other_names(adata: anndata.AnnData) -> None:
    adata.var_names = [f"other{i}" for i in range(adata.n_vars)]


def logged(adata: anndata.AnnData) -> None:
    adata.X = adata.X.log1p()


def without_genes(adata: anndata.AnnData) -> None:
    adata._inplace_subset_var(np.arange(12))


def with_antibodies(adata: anndata.AnnData) -> None:
    adata.var["feature_types"] = ["Gene Expression"] * 27 + ["Antibody Capture"] * 3


SECONDS: list[Callable[[anndata.AnnData], Any]] = [
    lambda _: None, doubled, other_names, logged, without_genes, with_antibodies, nan, zeros, no_x,
]  # fmt: skip


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("change", SECONDS, ids=lambda change: change.__name__)
def test_check_and_run_agree_on_several_inputs(
    cli: Callable[..., Any], change: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number in range(2):
        adata = values_of(seed=number)
        adata.var["gene_ids"] = [f"id{i}" for i in range(adata.n_vars)]
        if number:
            change(adata)
        adata.write_h5ad(f"in{number}.h5ad")
    inputs = ["in0.h5ad", "in1.h5ad"]
    checked = cli("check", *inputs, "--json")
    words = ["run", *inputs, "-o", "out.h5ad", "--n-comps", 5, "--no-gmm"]
    dry = cli(*words, "--dry-run", "--json")
    done = cli(*words)
    assert checked.code == dry.code == done.code, (checked.err, dry.err, done.err)
    if done.code == 0:
        found, told = anndata.read_h5ad("out.h5ad"), json.loads(dry.out)
        assert (told["n_cells"], told["n_genes"]) == found.shape
        assert told["n_genes_used"] == found.var["mnn_genes"].sum()
