"""What was warned of about an input stands in the result, in info and in the report."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import anndata
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Cli = Callable[..., Any]
    Make = Callable[..., anndata.AnnData]


def _noted(path: Path, name: str = "mnn") -> list[str]:
    told: list[str] = json.loads(anndata.read_h5ad(path).uns[name].get("warnings", "[]"))
    return told


@pytest.mark.slow
def test_warnings_of_the_input_are_in_the_result_and_its_report(
    cli: Cli, made: Make, tmp_path: Path
) -> None:
    made(sizes={"a": 40, "NA": 40}).write_h5ad(tmp_path / "in.h5ad")
    out, page = tmp_path / "o.h5ad", tmp_path / "r.html"
    words = ["--n-comps", 5, "--no-gmm", "--report", page]
    done = cli("run", tmp_path / "in.h5ad", "-b", "batch", "-o", out, *words)
    assert done.code == 0, done.err
    (text,) = _noted(out)
    assert "'NA'" in text
    assert any(text in line for line in done.err)
    assert "a name of missing values" in page.read_text()
    assert f"warned: {text}" in cli("info", out).out
    found = json.loads(cli("info", out, "--json").out)
    assert found["corrections"]["mnn"]["warnings"] == [text]
    again = tmp_path / "again.h5ad"
    words[-1] = tmp_path / "r2.html"
    assert cli("run", tmp_path / "in.h5ad", "-b", "batch", "-o", again, *words).code == 0
    assert again.read_bytes() == out.read_bytes()


def test_nothing_is_noted_where_nothing_was_warned_of(
    cli: Cli, counts: Path, tmp_path: Path
) -> None:
    out = tmp_path / "o.h5ad"
    done = cli("correct", counts, "-b", "batch", "-o", out, "--n-comps", 5)
    assert not any("warning" in line for line in done.err)
    assert "warnings" not in anndata.read_h5ad(out).uns["mnn"]


def test_warnings_of_a_join_go_on_to_what_is_made_of_it(
    cli: Cli, made: Make, tmp_path: Path
) -> None:
    for number, name in enumerate(("one", "two")):
        adata = made(sizes={"x": 40}, seed=number)
        if number:
            adata.var_names = [f"{gene} " for gene in adata.var_names]
        adata.write_h5ad(tmp_path / f"{name}.h5ad")
    joined, out = tmp_path / "joined.h5ad", tmp_path / "o.h5ad"
    assert cli("concat", tmp_path / "one.h5ad", tmp_path / "two.h5ad", "-o", joined).code == 0
    (text,) = _noted(joined, "mnn_concat")
    assert "white space" in text
    done = cli("correct", joined, "-b", "mnn_file", "-o", out, "--n-comps", 5)
    assert done.code == 0, done.err
    # The two files may also differ too much to be corrected, and then that is noted too.
    assert text in _noted(out)
