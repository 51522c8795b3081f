"""``check`` foresees batches that have nothing in common."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


def make(types: dict[str, Sequence[int]], each: int = 70, *, log: bool = False) -> anndata.AnnData:
    """Cells of some types in each batch, each batch distorted by gene."""
    rng = np.random.default_rng(1)
    profiles = rng.gamma(0.4, 3.0, size=(6, 200)) + 0.05
    rows, batch = [], []
    for name, kinds in types.items():
        factors = np.exp(0.15 * rng.standard_normal(200))
        for kind in kinds:
            rows.append(rng.poisson(profiles[kind] * factors * 3, size=(each, 200)))
            batch += [name] * each
    x = np.vstack(rows).astype(np.float32)
    obs = pd.DataFrame({"batch": batch}, index=[f"cell{i}" for i in range(len(batch))])
    var = pd.DataFrame(index=[f"gene{i}" for i in range(200)])
    return anndata.AnnData(sp.csr_matrix(np.log1p(x) if log else x), obs=obs, var=var)


@pytest.mark.parametrize("log", [False, True])
def test_batches_without_a_common_type_are_foreseen(
    cli: Callable[..., Any], tmp_path: Path, *, log: bool
) -> None:
    make({"a": (0, 1, 2), "b": (3, 4, 5)}, log=log).write_h5ad(tmp_path / "apart.h5ad")
    told = cli("check", tmp_path / "apart.h5ad", "-b", "batch", "--json")
    facts = json.loads(told.out)
    assert [sorted(one + other) for one, other in facts["overlap"]["apart"]] == [["a", "b"]]
    assert any("recognized" in text for text in facts["warnings"])
    assert facts["fit"]


def test_batches_with_common_types_are_told_so(cli: Callable[..., Any], tmp_path: Path) -> None:
    make({"a": (0, 1, 2), "b": (1, 2, 3)}).write_h5ad(tmp_path / "shared.h5ad")
    told = cli("check", tmp_path / "shared.h5ad", "-b", "batch")
    (line,) = [line for line in told.out.splitlines() if line.startswith("overlap")]
    assert "420 cells" in line
    assert "warning" not in told.out


def test_small_batches_are_not_judged(cli: Callable[..., Any], tmp_path: Path) -> None:
    make({"a": (0, 1), "b": (3, 4)}, each=15).write_h5ad(tmp_path / "small.h5ad")
    told = cli("check", tmp_path / "small.h5ad", "-b", "batch")
    assert told.code == 0
    assert "overlap" not in told.out
