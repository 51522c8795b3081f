"""The page says what a file holds and whether it is fit, in words and as JSON."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from mnncorrect._io.pieces import Piece
from mnncorrect._io.scratch import scratch_file
from mnncorrect._prepare import fitness

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Cli = Callable[..., Any]
    Make = Callable[..., anndata.AnnData]


def _look(x: Any, codes: Any = None) -> fitness.Look:
    codes = np.zeros(x.shape[0], np.int64) if codes is None else codes
    with scratch_file() as file:
        halves = [Piece(x[:3], "X"), Piece(x[3:], "X")]
        return fitness.scan_values(halves, codes, lambda: file, block_bytes=40)


@pytest.mark.parametrize("make", [np.array, sp.csr_matrix, sp.csc_matrix])
def test_values_are_looked_at_by_blocks(make: Any, rng: np.random.Generator) -> None:
    x = rng.poisson(0.8, (20, 15)).astype(np.float32)
    x[4] = 0
    codes = np.arange(20) % 3
    found = _look(make(x), codes)
    assert found.kind == "counts"
    assert (found.judged.smallest, found.judged.largest) == (0, x.max())
    assert found.n_above == (x > 0).sum()
    np.testing.assert_array_equal(found.totals, x.sum(1))
    np.testing.assert_array_equal(found.n_genes, (x > 0).sum(1))
    expected = np.array([(x[codes == b] > 0).any(0) for b in range(3)])
    np.testing.assert_array_equal(found.seen, expected)
    assert found.scaled_to is None


@pytest.mark.parametrize("make", [np.array, sp.csr_matrix])
def test_what_is_not_finite_is_counted_and_the_first_named(make: Any) -> None:
    x = np.ones((8, 5), np.float32)
    x[2, 3], x[6, 1], x[6, 4] = np.nan, np.inf, -np.inf
    found = _look(make(x))
    assert (found.n_nan, found.n_infinite, found.first_bad) == (1, 2, (2, 3))
    assert found.judged.largest == 1


@pytest.mark.parametrize(
    ("spoil", "kind"),
    [
        (lambda x: x, "counts"),
        (lambda x: np.minimum(x, 1), "zeros and ones"),
        (np.log1p, "log values"),
        (lambda x: x * 100.5, "fractional counts"),
        (lambda x: (x - x.mean(0)) / (x.std(0) + 1), "scaled values"),
    ],
)
def test_kinds_of_values_are_told_apart(spoil: Any, kind: str, rng: np.random.Generator) -> None:
    assert _look(spoil(rng.poisson(2.0, (20, 15)).astype(np.float64))).kind == kind


def test_what_cells_were_scaled_to_is_found(rng: np.random.Generator) -> None:
    x = rng.poisson(2.0, (20, 15)) + 1.0
    found = _look(np.log1p(1e4 * x / x.sum(1, keepdims=True)).astype(np.float32))
    assert found.scaled_to == pytest.approx(1e4, rel=1e-5)


COVARIATES = {
    "one": (["x"] * 8, "has one value only"),
    "renamed": (list("ppqqrrss"), "is identical with the batch (V 1.00, 4 values)"),
    "condition": (list("uuuuvvvv"), "has one value in each batch (V 1.00, 2 values)"),
    "lane": (list("12345678"), "divides batches: each of its 8 values is in one batch (V 1.00)"),
    "sex": (list("fmfmfmfm"), "is independent of the batches (V 0.00, 2 values)"),
    "tied": (list("ffffmmmf"), "is strongly associated with the batches (V 0.86, 2 values)"),
    "gaps": (["f", "m", None, "m", "f", "m", "f", "m"], "; missing for 10 cells"),
}


@pytest.mark.parametrize("name", COVARIATES)
def test_covariates_are_told_apart_from_batches_in_words(
    name: str, cli: Cli, made: Make, tmp_path: Path
) -> None:
    values, says = COVARIATES[name]
    adata = made(sizes={"a": 20, "b": 20, "c": 20, "d": 20})
    adata.obs[name] = pd.Categorical(np.repeat(np.array(values, object), 10))
    adata.write_h5ad(tmp_path / "in.h5ad")
    done = cli("check", tmp_path / "in.h5ad", "-b", "batch", "--covariate", name)
    assert done.code == 0, done.err
    (line,) = [line for line in done.out.splitlines() if line.startswith("covariate")]
    assert says in line
    warned = [line for line in done.out.splitlines() if line.startswith("warning")]
    assert bool(warned) == (name in {"renamed", "condition", "tied"}), warned


def test_the_page_has_everything(cli: Cli, made: Make, tmp_path: Path) -> None:
    adata = made()
    adata.raw = adata
    adata.layers["logged"] = np.log1p(adata.X.toarray())
    adata.obsm["X_pca"] = np.ones((80, 4))
    x = adata.X.toarray()
    x[7] = 0
    adata.X = sp.csr_matrix(x)
    adata.var["highly_variable"] = np.arange(30) < 12
    names = adata.obs_names.to_list()
    adata.obs_names = [names[0], *names[:-1]]
    adata.write_h5ad(tmp_path / "my file.h5ad")
    done = cli("check", tmp_path / "my file.h5ad", "-b", "batch")
    assert done.code == 0, done.err
    page = dict(line.split("  ", 1) for line in done.out.splitlines())
    page = {name: text.strip() for name, text in page.items()}
    assert page["values"].startswith("X: counts, 0 to ")
    assert page["stored"].startswith("sparse (CSR), float32, ")
    assert page["depth"].endswith("(medians); 1 cells have no counts at all")
    assert page["names"] == "1 cells have a duplicate name ('cell0')"
    assert page["batches"] == "2 in /obs/batch: a 40, b 40"
    assert page["shared"] == "30 genes are above zero in every batch, 30 in some"
    assert page["genes used"] == "12 by /var/highly_variable"
    assert page["also there"] == "--layer logged, --use-rep X_pca (4 dimensions), --use-raw"
    assert page["fit"] == "yes"
    file = f"'{tmp_path / 'my file.h5ad'}'"
    assert page["next"] == f"mnncorrect run {file} -b batch -o 'my file.corrected.h5ad'"


@pytest.mark.parametrize(("n_genes", "used"), [(30, "all"), (2001, "all; run chooses 2000")])
def test_it_is_said_whether_run_would_choose_genes(
    cli: Cli, made: Make, tmp_path: Path, n_genes: int, used: str
) -> None:
    adata = made()
    many = type(adata)(sp.hstack([adata.X] * 67, format="csr")[:, :n_genes], obs=adata.obs)
    many.write_h5ad(tmp_path / "in.h5ad")
    done = cli("check", tmp_path / "in.h5ad", "-b", "batch")
    (line,) = [line for line in done.out.splitlines() if line.startswith("genes used")]
    assert line.removeprefix("genes used").split(" highly")[0].strip() == used


def test_json_has_the_same_and_more(cli: Cli, counts: Path, corrected: Path) -> None:
    found = json.loads(cli("check", counts, "-b", "batch", "--json").out)
    assert found["fit"] is True
    assert found["problems"] == found["warnings"] == []
    assert (found["n_cells"], found["n_genes"]) == (80, 30)
    assert found["values"]["kind"] == "counts"
    assert found["batches"] == {"key": "batch", "sizes": {"a": 40, "b": 40}}
    assert found["genes_in_batches"]["in_all"] == 30
    assert found["corrections"] == {}
    # Of an unfit one too, besides the error and its exit code.
    done = cli("check", counts, "-b", "donor", "--json")
    assert done.code == 1
    assert json.loads(done.out)["fit"] is False
    again = json.loads(cli("check", corrected, "-b", "batch", "--json").out)
    assert again["corrections"] == {"mnn": "batch"}


def test_several_files_and_a_sheet_are_looked_at_as_one(
    cli: Cli, made: Make, tmp_path: Path
) -> None:
    for number, name in enumerate(("s1", "s2")):
        adata = made(sizes={"x": 25 + number}, seed=number)
        adata[:, number:].copy().write_h5ad(tmp_path / f"{name}.h5ad")
    files = [tmp_path / "s1.h5ad", tmp_path / "s2.h5ad"]
    found = json.loads(cli("check", *files, "--json").out)
    assert (found["n_cells"], found["n_genes"]) == (51, 29)
    assert found["batches"] == {"key": "mnn_file", "sizes": {"s1": 25, "s2": 26}}
    (tmp_path / "s.tsv").write_text("path\tbatch\tsex\ns1.h5ad\tone\tf\ns2.h5ad\ttwo\tm\n")
    done = cli("check", "--sheet", tmp_path / "s.tsv", "--json")
    found = json.loads(done.out)
    assert found["batches"] == {"key": "batch", "sizes": {"one": 25, "two": 26}}
    assert found["covariates"]["sex"]["identical"] is True
    sheet = tmp_path / "s.tsv"
    assert found["next"] == f"mnncorrect run --sheet {sheet} -o joined.corrected.h5ad"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.tsv", "s1.h5ad", "s2.h5ad"]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        ("empty", "zeros only"),
        ("apart", "every batch"),
        ("text", "real numbers are needed"),
        ("one cell", "batches of one cell"),
        ("covariate", "--covariate: /obs has no 'sex'"),
    ],
)
def test_more_that_is_not_fit(spoil: str, says: str, cli: Cli, made: Make, tmp_path: Path) -> None:
    adata = made(sizes={"a": 20, "b": 20} | ({"c": 1} if spoil == "one cell" else {}))
    x = adata.X.toarray()
    if spoil == "empty":
        x[:] = 0
    if spoil == "apart":
        x[:20, :15], x[20:, 15:] = 0, 0
    adata.X = x.astype(np.complex64) if spoil == "text" else x
    adata.write_h5ad(tmp_path / "in.h5ad")
    words = ["--covariate", "sex"] if spoil == "covariate" else []
    done = cli("check", tmp_path / "in.h5ad", "-b", "batch", *words)
    assert done.code == 1
    assert len(done.err) == 1
    assert says in done.err[0]
    assert "bug" not in done.err[0]
    assert "fit         no" in done.out.splitlines()


def test_doubts_are_said_and_are_no_failure(cli: Cli, made: Make, tmp_path: Path) -> None:
    adata = made(sizes={"a": 40, "few": 5})
    x = adata.X.toarray()
    x[10:30] = 0
    adata.X = x * np.random.default_rng(0).uniform(0.8, 1.2, x.shape)
    adata.write_h5ad(tmp_path / "in.h5ad")
    done = cli("check", tmp_path / "in.h5ad", "-b", "batch")
    assert done.code == 0
    warned = [line.split(None, 1)[1] for line in done.out.splitlines() if line[:4] == "warn"]
    for says in ("are these all droplets?", "fewer than 20 cells", "fractions"):
        assert any(says in line for line in warned), says


def test_a_column_that_cannot_be_read_is_named_by_its_place_with_the_reason(
    cli: Cli, made: Make, tmp_path: Path
) -> None:
    made().write_h5ad(tmp_path / "in.h5ad")
    with h5py.File(tmp_path / "in.h5ad", "a") as file:
        del file["obs/batch/codes"]
    for words in (["check"], ["run", "-o", tmp_path / "o.h5ad"], ["correct", "-o", tmp_path / "o"]):
        done = cli(words[0], tmp_path / "in.h5ad", "-b", "batch", *words[1:])
        assert done.code == 1
        assert "/obs/batch cannot be read" in done.err[-1]
        assert "codes" in done.err[-1]


def test_a_batch_without_values_is_warned_of_and_the_others_are_fit(
    cli: Cli, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    counts = rng.poisson(3.0, (90, 40)).astype(np.float32)
    counts[60:] = 0
    adata = anndata.AnnData(
        counts,
        obs=pd.DataFrame({"batch": ["a", "b", "c"] * 30})
        .sort_values("batch")
        .set_axis([f"c{i}" for i in range(90)]),
    )
    adata.write_h5ad(tmp_path / "in.h5ad")
    words = (tmp_path / "in.h5ad", "-b", "batch")
    checked = cli("check", *words)
    assert checked.code == 0
    assert re.search(r"\b40 genes .*every batch", checked.out)
    assert any("30 cells" in line for line in [*checked.out.splitlines(), *checked.err])
    assert cli("run", *words, "-o", tmp_path / "out.h5ad", "--no-gmm").code == 0
