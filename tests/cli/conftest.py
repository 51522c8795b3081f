"""Small files, and the command line run in this process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from typer.testing import CliRunner

from mnncorrect.cli.app import app

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def make_counts(
    *, sizes: dict[str, int] | None = None, n_genes: int = 30, seed: int = 0
) -> anndata.AnnData:
    """Counts of two populations in batches of which all but the first are distorted by gene."""
    sizes = {"a": 40, "b": 40} if sizes is None else sizes
    rng = np.random.default_rng(seed)
    profiles = rng.gamma(0.5, 4.0, size=(2, n_genes)) + 0.1
    rows, batch, kind = [], [], []
    for number, (name, size) in enumerate(sizes.items()):
        population = np.arange(size) % 2
        factors = np.exp(0.5 * rng.standard_normal(n_genes)) if number else np.ones(n_genes)
        rows.append(rng.poisson(profiles[population] * factors))
        batch += [name] * size
        kind += [f"type{p}" for p in population]
    x = np.vstack(rows) if rows else np.zeros((0, n_genes))
    obs = pd.DataFrame(
        {"batch": pd.Categorical(batch), "cell_type": pd.Categorical(kind)},
        index=[f"cell{i}" for i in range(len(batch))],
    )
    var = pd.DataFrame(index=[f"gene{i}" for i in range(n_genes)])
    return anndata.AnnData(sp.csr_matrix(x.astype(np.float32)), obs=obs, var=var)


@dataclass(frozen=True)
class Done:
    """What a command left: exit code, stdout and the lines on stderr."""

    code: int
    out: str
    err: list[str]


@pytest.fixture
def cli() -> Callable[..., Done]:
    """Function that runs the command line with some words."""

    def run(*words: object) -> Done:
        result = CliRunner().invoke(app, [str(word) for word in words])
        assert result.exception is None or isinstance(result.exception, SystemExit), words
        return Done(result.exit_code, result.stdout, result.stderr.splitlines())

    return run


@pytest.fixture
def made() -> Callable[..., anndata.AnnData]:
    """Function that makes counts in batches."""
    return make_counts


@pytest.fixture(scope="session")
def stored_counts(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What a file of counts in the batches a and b holds."""
    path = tmp_path_factory.mktemp("stored") / "counts.h5ad"
    make_counts().write_h5ad(path)
    return path.read_bytes()


@pytest.fixture
def counts(stored_counts: bytes, tmp_path: Path) -> Path:
    """A file of counts in the batches a and b, which a test may change."""
    path = tmp_path / "counts.h5ad"
    path.write_bytes(stored_counts)
    return path


@pytest.fixture(scope="session")
def corrected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``run`` makes of the file of counts by method classic."""
    folder = tmp_path_factory.mktemp("corrected")
    make_counts().write_h5ad(folder / "counts.h5ad")
    words = ["run", folder / "counts.h5ad", "-b", "batch", "-o", folder / "corrected.h5ad"]
    words += ["--method", "classic", "--n-comps", 5, "--n-components", "1-3"]
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.stderr
    return folder / "corrected.h5ad"


@pytest.fixture(scope="session")
def atlas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with counts.h5ad, and the corrected.h5ad and atlas.mnn that ``run`` makes of it."""
    folder = tmp_path_factory.mktemp("atlas")
    make_counts(sizes={"a": 90, "b": 80}).write_h5ad(folder / "counts.h5ad")
    words = ["run", folder / "counts.h5ad", "-b", "batch", "-o", folder / "corrected.h5ad"]
    words += ["--n-comps", 5, "--no-gmm", "--save-model", folder / "atlas.mnn"]
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.stderr
    return folder
