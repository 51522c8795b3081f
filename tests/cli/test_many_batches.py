"""Of many batches and merges, what a person reads is short, and programs get all."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import anndata

    Cli = Callable[..., Any]
    Make = Callable[..., anndata.AnnData]

N = 40


@pytest.mark.parametrize("method", ["fast", pytest.param("calibrated", marks=pytest.mark.slow)])
def test_the_log_and_the_page_of_many_batches_are_short(
    method: str, cli: Cli, made: Make, tmp_path: Path
) -> None:
    sizes = {f"a long name of batch {i:03d}": 8 + i % 3 for i in range(N)}
    made(sizes=sizes).write_h5ad(tmp_path / "in.h5ad")
    out = tmp_path / "o.h5ad"
    words = ["--method", method, "--n-comps", 4, "-o", out]
    words += ["--n-neighbors", 5] if method == "fast" else []
    done = cli("correct", tmp_path / "in.h5ad", "-b", "batch", *words)
    assert done.code == 0, done.err
    assert len(done.err) < 15
    assert all(len(line) < 2000 for line in done.err)
    assert any(f"{N} batches" in line for line in done.err)
    assert any(f"{N - 1} merges by" in line for line in done.err)
    page = cli("info", out).out
    assert len(page) < 12_000
    assert len(page.splitlines()) < 60
    assert f"of {N - 1} merges" in page
    assert "--json" in page
    found = json.loads(cli("info", out, "--json").out)["corrections"]["mnn"]
    assert len(found["merges"]) == N - 1
    assert len(found["merges"][-1]["left"]) + len(found["merges"][-1]["right"]) == N
    told = cli("correct", tmp_path / "in.h5ad", "-b", "batch", *words, "--force", "-v")
    assert sum("merge " in line and " by " in line for line in told.err) >= N - 1
    checked = cli("check", tmp_path / "in.h5ad", "-b", "batch")
    assert len(checked.out) < 3000
