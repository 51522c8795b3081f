"""What values are is judged alike by all commands, and refused before any work where unclear."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import pandas as pd
import pytest
import scanpy
import scipy.sparse as sp

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Cli = Callable[..., Any]
    Make = Callable[..., anndata.AnnData]

FAST = ["--no-gmm", "--n-comps", 5]


def logged(adata: anndata.AnnData, total: float = 1e4, base: float | None = None) -> Any:
    adata = adata.copy()
    scanpy.pp.normalize_total(adata, target_sum=total)
    scanpy.pp.log1p(adata, base=base)
    return adata


KINDS: dict[str, Callable[[anndata.AnnData], Any]] = {
    "umi": lambda a: a,
    "ln": logged,
    "log2": lambda a: logged(a, base=2),
    "CPM": lambda a: scanpy.pp.normalize_total(a, target_sum=1e6, copy=True),
    "scaled": lambda a: anndata.AnnData(
        logged(a).X.toarray() - logged(a).X.toarray().mean(0), obs=a.obs, var=a.var
    ),
}
MIXED = [("umi", "ln"), ("ln", "log2"), ("umi", "CPM"), ("CPM", "ln"), ("umi", "scaled")]


@pytest.fixture
def files(made: Make, tmp_path: Path) -> Callable[..., list[Path]]:
    """Function that writes a file of each kind, named after it."""

    def write(*kinds: str) -> list[Path]:
        paths = [tmp_path / f"{kind}.h5ad" for kind in kinds]
        for seed, (kind, path) in enumerate(zip(kinds, paths, strict=True)):
            KINDS[kind](made(sizes={"x": 40}, seed=seed, n_genes=60)).write_h5ad(path)
        return paths

    return write


# Each two kinds with two of four commands; all with all in the long run.
@pytest.mark.parametrize(("command", "kinds"), [
    pytest.param(command, kinds, marks=() if (number + place) % 2 == 0 else pytest.mark.slow)
    for number, command in enumerate(["run", "correct", "concat", "dry"])
    for place, kinds in enumerate(MIXED)
])  # fmt: skip
def test_files_of_unlike_values_are_refused_and_named(
    command: str, kinds: tuple[str, str], cli: Cli, files: Any, tmp_path: Path
) -> None:
    words = ["--dry-run"] if command == "dry" else []
    command = "run" if command == "dry" else command
    given = files(*kinds)
    done = cli(command, *given, "-o", tmp_path / "out.h5ad", *words)
    assert done.code == 1
    assert all(f"'{kind}'" in done.err[-1] for kind in kinds), done.err
    assert "--layer" in done.err[-1]
    assert ("--counts" in done.err[-1]) == (command != "concat")
    assert sorted(tmp_path.iterdir()) == sorted(given)


@pytest.mark.parametrize("command", ["run", "correct", "check"])
def test_batches_of_unlike_values_in_a_file_are_refused(
    command: str, cli: Cli, made: Make, tmp_path: Path
) -> None:
    adata = made(n_genes=60)
    x = adata.X.toarray()
    x[40:] = logged(adata).X.toarray()[40:]
    adata.X = x
    adata.write_h5ad(tmp_path / "in.h5ad")
    words = [] if command == "check" else ["-o", tmp_path / "out.h5ad"]
    done = cli(command, tmp_path / "in.h5ad", "-b", "batch", *words)
    assert done.code == 1
    assert "counts in 'a'" in done.err[-1]
    assert "log values (natural logarithm) in 'b'" in done.err[-1]


def test_who_says_what_values_are_is_believed(cli: Cli, files: Any, tmp_path: Path) -> None:
    given = files("umi", "CPM")
    words = [*given, "-o", tmp_path / "out.h5ad", *FAST, "--counts"]
    done = cli("run", *words)
    assert done.code == 0, done.err
    assert anndata.read_h5ad(tmp_path / "out.h5ad").uns["mnn"]["prepared"]["told"]


def test_values_that_could_be_either_are_refused_with_the_option_that_decides(
    cli: Cli, made: Make, tmp_path: Path
) -> None:
    adata = made(n_genes=60)
    adata.X = (adata.X > 0).astype(np.float32)
    adata.write_h5ad(tmp_path / "in.h5ad")
    words = [tmp_path / "in.h5ad", "-b", "batch", "-o", tmp_path / "out.h5ad", *FAST]
    for more in ([], ["--dry-run"]):
        done = cli("run", *words, *more)
        assert done.code == 1
        assert "--counts" in done.err[-1]
        assert "--no-counts" in done.err[-1]
    page = json.loads(cli("check", tmp_path / "in.h5ad", "-b", "batch", "--json").out)
    assert page["fit"] is True
    assert "--counts" in page["next"]
    for option in ("--counts", "--no-counts"):
        assert cli("run", *words, option, "--force").code == 0


def test_log_values_of_different_totals_are_brought_to_one(
    cli: Cli, made: Make, tmp_path: Path
) -> None:
    parts = [made(sizes={name: 40}, seed=seed, n_genes=60) for seed, name in enumerate("ab")]
    same = anndata.concat([logged(part, 3046.0) for part in parts], index_unique="-")
    apart = anndata.concat(
        [logged(part, total) for part, total in zip(parts, (3046.0, 1e4), strict=True)],
        index_unique="-",
    )
    found = []
    for name, adata in {"same": same, "apart": apart}.items():
        adata.write_h5ad(tmp_path / f"{name}.h5ad")
        words = ["-b", "batch", "-o", tmp_path / f"{name}-out.h5ad", *FAST]
        done = cli("run", tmp_path / f"{name}.h5ad", *words)
        assert done.code == 0, done.err
        found.append(anndata.read_h5ad(tmp_path / f"{name}-out.h5ad"))
        assert ("'b 10000'" in " ".join(done.err)) == (name == "apart")
    total = found[1].uns["mnn"]["prepared"]["log_total"]
    assert total in (3046.0, 1e4)
    made_equal = np.expm1(found[1].layers["mnn_log1p"].toarray()).sum(1)
    np.testing.assert_allclose(made_equal, total, rtol=1e-5)
    assert "mnn_log1p" not in found[0].layers


@pytest.mark.parametrize("n_genes", [30, 2100])
def test_x_of_zeros_is_refused_with_the_layers_that_are_there(
    n_genes: int, cli: Cli, made: Make, tmp_path: Path
) -> None:
    adata = made(n_genes=n_genes)
    adata.layers["counts"] = adata.X.copy()
    adata.X = sp.csr_matrix(adata.shape, dtype=np.float32)
    adata.write_h5ad(tmp_path / "in.h5ad")
    for command in ("run", "correct", "check"):
        words = [] if command == "check" else ["-o", tmp_path / "out.h5ad"]
        done = cli(command, tmp_path / "in.h5ad", "-b", "batch", *words)
        assert done.code == 1
        assert "zeros only" in done.err[-1]
        assert "'counts'" in done.err[-1]


ODD = {
    "empty": lambda x, z: 0.0 * x * ~z,
    "one gene": lambda x, z: np.where(z & (np.arange(x.shape[1]) != 0), 0, np.where(z, 5, x)),
    "constant": lambda x, z: np.where(z, 1, x),
    "huge": lambda x, z: x.astype(np.float64) * 1e30,
    "tiny": lambda x, z: x.astype(np.float64) * 1e-30,
    "denormal": lambda x, z: (x * 1e-42).astype(np.float32),
    "all constant": lambda x, z: np.full_like(x, 2),
}


# Each with one method in turn; both in the long run.
@pytest.mark.parametrize(("method", "name"), [
    pytest.param(method, name, marks=() if (number + place) % 2 == 0 else pytest.mark.slow)
    for number, method in enumerate(["calibrated", "fast"])
    for place, name in enumerate(ODD)
])  # fmt: skip
@pytest.mark.filterwarnings("default")
def test_degenerate_values_are_corrected_or_refused_and_no_bug(
    method: str, name: str, cli: Cli, made: Make, tmp_path: Path
) -> None:
    adata = made(sizes={"a": 30, "b": 30, "z": 6}, n_genes=90)
    is_z = (adata.obs["batch"] == "z").to_numpy()[:, None]
    adata.X = ODD[name](adata.X.toarray(), is_z)
    adata.write_h5ad(tmp_path / "in.h5ad")
    words = ["-b", "batch", "-o", tmp_path / "out.h5ad", "--n-top-genes", 40, *FAST]
    done = cli("run", tmp_path / "in.h5ad", *words, "--method", method)
    assert "bug" not in " ".join(done.err), done.err
    if done.code == 0:
        found = anndata.read_h5ad(tmp_path / "out.h5ad")
        assert np.isfinite(found.obsm["X_mnn"]).all()


def test_memory_does_not_change_the_genes(cli: Cli, made: Make, tmp_path: Path) -> None:
    adata = made(sizes={"a": 60, "b": 60, "c": 2}, n_genes=300)
    adata.write_h5ad(tmp_path / "in.h5ad")
    words = ["-b", "batch", "--n-top-genes", 50, *FAST]
    genes = []
    for limit in ("16M", "2G"):
        done = cli(
            "run", tmp_path / "in.h5ad", "-o", tmp_path / f"{limit}.h5ad", *words,
            "--memory-limit", limit, "--force",
        )  # fmt: skip
        assert done.code == 0, done.err
        genes.append(anndata.read_h5ad(tmp_path / f"{limit}.h5ad").var["mnn_genes"])
    assert genes[0].equals(genes[1])


@pytest.mark.parametrize("command", ["run", "correct"])
def test_a_number_of_genes_is_chosen_of_log_values_too_as_the_dry_run_says(
    command: str, cli: Cli, made: Make, tmp_path: Path
) -> None:
    adata = logged(made(n_genes=90))
    adata.var["highly_variable"] = np.arange(90) < 5
    adata.write_h5ad(tmp_path / "in.h5ad")
    words = [tmp_path / "in.h5ad", "-b", "batch", "-o", tmp_path / "out.h5ad", "--n-comps", 5]
    words += ["--n-top-genes", 30]
    told = json.loads(cli(command, *words, "--dry-run", "--json").out)
    assert told["n_genes_used"] == 30
    assert cli(command, *words).code == 0
    assert anndata.read_h5ad(tmp_path / "out.h5ad").var["mnn_genes"].sum() == 30
    for other in (["--no-hvg"], ["--mask-var", "highly_variable"]):
        assert cli(command, *words, "--force", *other).code == 2


def test_options_without_effect_are_warned_of(cli: Cli, made: Make, tmp_path: Path) -> None:
    logged(made(n_genes=60)).write_h5ad(tmp_path / "in.h5ad")
    words = [tmp_path / "in.h5ad", "-b", "batch", "-o", tmp_path / "out.h5ad", *FAST]
    for more in ([], ["--dry-run"]):
        done = cli("run", *words, "--no-log1p", "--no-normalize", *more, "--force")
        assert done.code == 0, done.err
        warned = [line for line in done.err if line.startswith("warning")]
        assert any("--no-log1p" in line for line in warned)
        assert any("--no-normalize" in line for line in warned)


def test_genes_are_not_chosen_by_scaled_values(cli: Cli, made: Make, tmp_path: Path) -> None:
    KINDS["scaled"](made(n_genes=90)).write_h5ad(tmp_path / "in.h5ad")
    words = [tmp_path / "in.h5ad", "-b", "batch", "-o", tmp_path / "out.h5ad", *FAST]
    for more in ([], ["--dry-run"]):
        done = cli("run", *words, "--n-top-genes", 30, *more)
        assert done.code == 1
        assert "--no-hvg" in done.err[-1]
    done = cli("run", *words, "--no-hvg")
    assert done.code == 0
    assert any("negative values" in line for line in done.err if line.startswith("warning"))


@pytest.mark.filterwarnings("ignore:Writing zarr")
@pytest.mark.parametrize("place", ["h5ad", "zarr", "with others", "Python"])
def test_features_that_are_no_genes_count_nowhere(
    place: str, cli: Cli, made: Make, tmp_path: Path
) -> None:
    adata = made(n_genes=60)
    rng = np.random.default_rng(0)
    proteins = rng.poisson(500, (80, 5)) * (1 + (adata.obs["batch"] == "b").to_numpy()[:, None])
    both = anndata.AnnData(
        sp.hstack([adata.X, sp.csr_matrix(proteins.astype(np.float32))]).tocsr(),
        obs=adata.obs,
        var=pd.DataFrame(
            {"feature_types": ["Gene Expression"] * 60 + ["Antibody Capture"] * 5},
            index=[*adata.var_names, *(f"p{i}" for i in range(5))],
        ),
    )
    adata.write_h5ad(tmp_path / "genes.h5ad")
    words = ["-b", "batch", *FAST]
    cli("run", tmp_path / "genes.h5ad", *words, "-o", tmp_path / "want.h5ad")
    want = anndata.read_h5ad(tmp_path / "want.h5ad")
    given = [tmp_path / "both.h5ad"]
    if place == "zarr":
        pytest.importorskip("zarr")
        given = [tmp_path / "both.zarr"]
        both.write_zarr(given[0])
    elif place == "with others":
        given = [tmp_path / f"{name}.h5ad" for name in "ab"]
        for name, path in zip("ab", given, strict=True):
            both[both.obs["batch"] == name].copy().write_h5ad(path)
    else:
        both.write_h5ad(given[0])
    if place == "Python":
        from mnncorrect import pp

        found = both
        found.layers["mnn_log1p"] = sp.hstack(
            [want.layers["mnn_log1p"], sp.csr_matrix((80, 5), dtype=np.float32)]
        ).tocsr()
        pp.mnn_calibrated(found, "batch", layer="mnn_log1p", n_comps=5)
        assert found.var["mnn_genes"].sum() == 60
    else:
        done = cli("run", *given, *words, "-o", tmp_path / "out.h5ad")
        assert done.code == 0, done.err
        assert "5 features that are not genes" in " ".join(done.err)
        found = anndata.read_h5ad(tmp_path / "out.h5ad")
        assert found.n_vars == 60
    np.testing.assert_allclose(np.abs(found.obsm["X_mnn"]), np.abs(want.obsm["X_mnn"]), atol=1e-5)


def test_totals_of_raw_are_taken_over_all_its_genes(cli: Cli, made: Make, tmp_path: Path) -> None:
    adata = made(n_genes=60)
    cut = anndata.AnnData(logged(adata).X[:, :20], obs=adata.obs, var=adata.var[:20])
    cut.raw = adata
    cut.write_h5ad(tmp_path / "in.h5ad")
    done = cli(
        "run", tmp_path / "in.h5ad", "-b", "batch", "-o", tmp_path / "out.h5ad", *FAST, "--use-raw"
    )
    assert done.code == 0, done.err
    scanpy.pp.normalize_total(adata)
    scanpy.pp.log1p(adata)
    found = anndata.read_h5ad(tmp_path / "out.h5ad")
    np.testing.assert_allclose(
        found.layers["mnn_log1p"].toarray(), adata.X[:, :20].toarray(), rtol=1e-6
    )
    page = json.loads(cli("check", tmp_path / "in.h5ad", "-b", "batch", "--use-raw", "--json").out)
    assert page["values"]["kind"] == "counts"
    assert page["genes_in_batches"]["in_all"] <= 20


def test_shallow_batches_and_few_genes_are_warned_of(cli: Cli, made: Make, tmp_path: Path) -> None:
    adata = made(n_genes=200)
    x = adata.X.toarray()
    rng = np.random.default_rng(0)
    x[40:] = rng.binomial(x[40:].astype(int), 0.04)
    adata.X = x
    adata.write_h5ad(tmp_path / "in.h5ad")
    words = ["-b", "batch", "-o", tmp_path / "out.h5ad", *FAST, "--n-top-genes", 5, "--force"]
    for command, more in (("run", words), ("run", [*words, "--dry-run"]), ("check", words[:2])):
        done = cli(command, tmp_path / "in.h5ad", *more)
        text = done.out + "\n".join(done.err)
        assert "droplets: 'b" in text
        assert ("only 5 genes" in text) == (command == "run")


def test_counts_beyond_what_float32_holds_are_warned_of(
    cli: Cli, made: Make, tmp_path: Path
) -> None:
    adata = made(n_genes=60)
    x = adata.X.toarray().astype(np.int64)
    x[0, 0] = 2**24 + 1
    adata.X = x
    adata.write_h5ad(tmp_path / "in.h5ad")
    done = cli("run", tmp_path / "in.h5ad", "-b", "batch", "-o", tmp_path / "out.h5ad", *FAST)
    assert done.code == 0, done.err
    assert any("16777216" in line for line in done.err if line.startswith("warning"))


def test_what_training_was_told_of_values_is_kept_in_the_model(
    cli: Cli, made: Make, tmp_path: Path
) -> None:
    adata = made(sizes={"a": 60, "b": 60}, n_genes=60)
    adata.X = (adata.X > 0).astype(np.float32)
    adata.write_h5ad(tmp_path / "in.h5ad")
    words = ["-b", "batch", "-o", tmp_path / "out.h5ad", *FAST, "--counts"]
    done = cli("run", tmp_path / "in.h5ad", *words, "--save-model", tmp_path / "m.mnn")
    assert done.code == 0, done.err
    words = ["--model", tmp_path / "m.mnn", "-o", tmp_path / "new.h5ad"]
    done = cli("project", tmp_path / "in.h5ad", *words)
    assert done.code == 0, done.err
    assert "the training data" in " ".join(done.err)
    found, trained = (anndata.read_h5ad(tmp_path / f"{name}.h5ad") for name in ("new", "out"))
    np.testing.assert_allclose(found.obsm["X_mnn"], trained.obsm["X_mnn"], atol=1e-5)


@pytest.mark.parametrize("odd", ["few genes", "a constant batch"])
def test_values_that_run_has_normalized_are_not_doubted_again(
    odd: str, cli: Cli, made: Make, tmp_path: Path
) -> None:
    adata = made(sizes={"a": 60, "b": 60, "c": 20}, n_genes=80)
    if odd == "few genes":
        adata.var["highly_variable"] = np.arange(80) < 3
    else:
        values = adata.X.toarray()
        values[120:] = 1
        adata.X = values
    adata.write_h5ad(tmp_path / "in.h5ad")
    words = ["correct", tmp_path / "in.h5ad", "-b", "batch", "--n-comps", 3]
    done = cli(*words, "-o", tmp_path / "out.h5ad")
    assert done.code == 0, done.err
    assert not any("mnn_log1p holds" in line for line in done.err)
