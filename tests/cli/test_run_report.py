"""The report that ``run`` writes with its result, and what it says to type next."""

from __future__ import annotations

import ast
import json
import re
from types import SimpleNamespace
from typing import TYPE_CHECKING

import anndata
import pandas as pd
import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from cli.conftest import Cli

QUICK = ("--n-comps", "5", "--no-gmm", "--threads", "1")


def test_labels_reach_the_report(cli: Cli, counts: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    words = ["run", counts, "-b", "batch", "-o", tmp_path / "out.h5ad", *QUICK]
    done = cli(*words, "--report", page, "--label-key", "cell_type")
    assert done.code == 0, done.err
    (data,) = re.findall(r'id="mnncorrect-report">(.*?)</script>', page.read_text(), re.DOTALL)
    found = json.loads(data)
    assert found["labels"]["key"] == "cell_type"
    assert found["mixing"]["key"] == "cell_type"
    assert found["evaluation"]["parameters"]["label_key"] == "cell_type"


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_labels_that_are_not_there_are_refused_before_the_correction(
    cli: Cli, counts: Path, tmp_path: Path, dry: tuple[str, ...]
) -> None:
    out, page = tmp_path / "out.h5ad", tmp_path / "report.html"
    words = ["run", counts, "-b", "batch", "-o", out, *QUICK, *dry]
    done = cli(*words, "--report", page, "--label-key", "kind")
    assert done.code == 1
    assert "kind" in done.err[-1]
    assert "cell_type" in done.err[-1]
    assert not any("correcting" in line for line in done.err)
    assert not out.exists()
    assert not page.exists()


def test_labels_that_are_all_missing_are_refused_before_the_correction(
    cli: Cli, counts: Path, tmp_path: Path
) -> None:
    adata = anndata.read_h5ad(counts)
    adata.obs["kind"] = pd.Categorical([None] * adata.n_obs)
    adata.write_h5ad(tmp_path / "in.h5ad")
    out = tmp_path / "out.h5ad"
    words = ["run", tmp_path / "in.h5ad", "-b", "batch", "-o", out, *QUICK, "--label-key", "kind"]
    done = cli(*words, "--report", tmp_path / "report.html")
    assert done.code == 1
    assert "kind" in done.err[-1]
    assert not any("correcting" in line for line in done.err)
    assert not out.exists()


def test_labels_without_a_report_are_refused(cli: Cli, counts: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5ad"
    done = cli("run", counts, "-b", "batch", "-o", out, *QUICK, "--label-key", "cell_type")
    assert done.code == 2
    assert "--report" in " ".join(done.err)


@pytest.mark.parametrize(
    ("words", "place"),
    [
        (("run", *QUICK), "X_mnn"),
        (("run", *QUICK, "--method", "classic"), "X_mnn_pca"),
        (("correct", *QUICK[:2], "--method", "fast", "--key-added", "own"), "X_own"),
        (("correct", "--method", "classic", "--counts"), "mnn"),
    ],
)
def test_a_run_ends_with_what_to_type_next(
    cli: Cli,
    counts: Path,
    tmp_path: Path,
    words: tuple[str, ...],
    place: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "it's out.h5ad"
    command, *more = words
    # In a log that is read later, the files may have other names.
    terminal = SimpleNamespace(stderr=SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr("mnncorrect.cli.runtime.planned.sys", terminal)
    done = cli(command, counts, "-b", "batch", "-o", out, *more)
    assert done.code == 0, done.err
    assert done.err[-2] == f"wrote {out}"
    code = done.err[-1].partition(": ")[2]
    texts = [node.value for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Constant)]
    assert str(out) in texts
    assert place in texts
