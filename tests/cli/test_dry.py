"""What would be done is told, and nothing is done; how much memory may be used is read."""

from __future__ import annotations

import json

import pytest

from mnncorrect._prepare.limits import size_in_bytes
from mnncorrect._run.costs import COSTS
from mnncorrect._wording import UsageError


@pytest.mark.parametrize("command", ["run", "correct"])
@pytest.mark.parametrize("method", ["classic", "fast"])
def test_a_dry_run_tells_all_and_writes_nothing(cli, counts, tmp_path, command, method):
    words = ["-b", "batch", "-o", tmp_path / "out.h5ad", "--dry-run", "--method", method]
    done = cli(command, counts, *words, "--n-top-genes", 12)
    assert done.code == 0, done.err
    told = done.out.splitlines()
    assert told[0].startswith(f"input   {counts}: 80 cells x 30 genes, ")
    assert told[0].endswith(" numbers stored in X; 2 batches")
    assert "step    use 12 of 30 genes" in told
    assert f"step    correct 80 cells by method {method}" in told
    assert ("step    find clusters" in told) == (command == "run")
    assert [line.split()[0] for line in told[-3:]] == ["memory", "time", "output"]
    assert list(tmp_path.iterdir()) == [counts]


def test_a_dry_run_counts_what_follows_the_correction(cli, counts, tmp_path):
    page = tmp_path / "page.html"
    words = ["run", counts, "-b", "batch", "-o", tmp_path / "out.h5ad", "--dry-run", "--json"]
    alone, more = (
        json.loads(cli(*words, "--no-gmm", *also).out)
        for also in ([], ["--umap", "--report", page])
    )
    steps = ["draw a map by UMAP", f"write the report {page}"]
    assert more["steps"] == [*alone["steps"], *steps]
    # Whatever the number of cells, the first map compiles, and the page is drawn.
    assert more["seconds"] >= alone["seconds"] + 10
    assert more["memory_mb"] >= alone["memory_mb"]
    page.write_text("")
    done = cli(*words, "--report", page)
    assert done.code == 1
    assert str(page) in done.err[0]


def test_a_dry_run_estimates_each_command_of_a_run_in_several(cli, counts, tmp_path):
    words = ["run", counts, "-b", "batch", "-o", tmp_path / "out.h5ad", "--dry-run", "--json"]
    told = json.loads(cli(*words, "--umap", "--report", tmp_path / "page.html").out)
    parts = told["parts"]
    assert list(parts) == ["read", "correct", "gmm", "umap", "report"]
    assert max(part["memory_mb"] for part in parts.values()) == told["memory_mb"]
    # Each command starts anew.
    assert sum(part["seconds"] for part in parts.values()) >= told["seconds"]
    assert (told["batches"], "batch" in told["columns"]) == (["a", "b"], True)


def test_a_dry_run_of_several_files_and_of_an_embedding(cli, counts, made, tmp_path):
    adata = made()
    adata.obsm["X_pca"] = adata.X.toarray()[:, :5]
    adata.write_h5ad(tmp_path / "other.h5ad")
    done = cli("run", counts, tmp_path / "other.h5ad", "-o", tmp_path / "out.h5ad", "--dry-run")
    assert done.code == 0, done.err
    scratch = "step    put 160 cells into a scratch file beside the output, 1 MB at most"
    assert scratch in done.out.splitlines()
    assert "step    read the file twice, in one block" in done.out.splitlines()
    assert "step    correct 160 cells by method calibrated" in done.out.splitlines()
    words = ["-b", "batch", "-o", tmp_path / "out.h5ad", "--method", "fast", "--use-rep", "X_pca"]
    done = cli("correct", tmp_path / "other.h5ad", *words, "--dry-run")
    assert "step    correct /obsm/X_pca by method fast" in done.out.splitlines()


def test_a_dry_run_of_chosen_cells_counts_these(cli, made, tmp_path):
    made(sizes={"a": 20, "b": 20, "c": 30}).write_h5ad(tmp_path / "in.h5ad")
    words = ["-b", "batch", "-o", tmp_path / "out.h5ad", "--subset", "batch!=c", "--dry-run"]
    done = cli("run", tmp_path / "in.h5ad", *words, "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert (told["n_cells"], told["n_batches"]) == (40, 2)
    assert told["steps"][0].startswith("put 40 cells into a scratch file")
    assert [path.name for path in tmp_path.iterdir()] == ["in.h5ad"]


def test_a_dry_run_tells_programs_the_same_as_people(cli, counts, tmp_path):
    words = ["correct", counts, "-b", "batch", "-o", tmp_path / "out.h5ad", "--method", "fast"]
    done = cli(*words, "--n-jobs", 1, "--dry-run", "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert (told["n_cells"], told["n_genes"], told["n_batches"], told["n_jobs"]) == (80, 30, 2, 1)
    assert told["inputs"] == [str(counts)]
    text = cli(*words, "--n-jobs", 1, "--dry-run").out.splitlines()
    assert [f"step    {step}" for step in told["steps"]] == [
        line for line in text if line.startswith("step")
    ]
    assert f"memory  about {told['memory_mb'] / 1024:.1f} GB" in text
    assert told["seconds"] >= 1
    alone = cli(*words, "--json")
    assert alone.code == 2
    assert "--dry-run" in " ".join(alone.err)


def test_a_dry_run_fails_as_the_command_would(cli, counts, tmp_path):
    words = ["-o", tmp_path / "out.h5ad", "--dry-run"]
    assert cli("run", counts, "-b", "donor", *words).code == 1
    assert cli("run", tmp_path / "none.h5ad", "-b", "batch", *words).code == 1
    (tmp_path / "out.h5ad").write_bytes(b"mine")
    done = cli("run", counts, "-b", "batch", *words)
    assert done.code == 1
    assert "exists" in done.err[0]
    assert (tmp_path / "out.h5ad").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("text", "size"),
    [("16M", 16 << 20), ("2G", 2 << 30), ("1.5g", 3 << 29), ("32 MiB", 32 << 20), ("1T", 1 << 40)],
)
def test_sizes_are_read(text, size):
    assert size_in_bytes(text) == size


@pytest.mark.parametrize("text", ["", "much", "2X", "-3G", "1M", "5"])
def test_a_size_that_is_none_is_wrong_usage(text, cli, counts, tmp_path):
    with pytest.raises(UsageError, match="memory_limit"):
        size_in_bytes(text)
    words = ["-b", "batch", "-o", tmp_path / "out.h5ad", f"--memory-limit={text}"]
    assert cli("run", counts, *words).code == 2
    assert list(tmp_path.iterdir()) == [counts]


# Seconds of whole calls, measured on two cores of 2.5 GHz: method, cells, batches, seconds.
MEASURED = [
    ("fast", 100_000, 2, 0.90),
    ("fast", 1_000_000, 2, 4.3),
    ("fast", 100_000, 16, 1.65),
    ("fast", 500_000, 20, 3.6),
    ("fast", 100_000, 100, 1.26),
    ("fast", 1_000_000, 120, 8.9),
    ("fast", 100_000, 400, 2.7),
    ("calibrated", 100_000, 2, 1.20),
    ("calibrated", 1_000_000, 2, 7.2),
    ("calibrated", 100_000, 16, 3.8),
    ("calibrated", 500_000, 20, 4.1),
    ("calibrated", 100_000, 100, 2.2),
    ("calibrated", 1_000_000, 120, 5.4),
    ("calibrated", 100_000, 400, 7.2),
    ("calibrated", 70_000, 2_000, 21.0),
]


@pytest.mark.parametrize(("method", "cells", "batches", "seconds"), MEASURED)
def test_estimates_of_time_are_good_to_a_factor_of_two(method, cells, batches, seconds):
    assert 0.5 < COSTS[method].seconds(cells, batches) / seconds < 2


@pytest.mark.parametrize("method", sorted(COSTS))
def test_estimates_of_time_count_batches(method):
    few, many = (COSTS[method].seconds(10_000, batches, 1000) for batches in (2, 500))
    assert many > few


def test_a_dry_run_counts_batches(cli, made, tmp_path):
    seconds = []
    for batches in (2, 400):
        data = made(sizes={f"b{number}": 800 // batches for number in range(batches)})
        data.write_h5ad(tmp_path / f"{batches}.h5ad")
        words = ["correct", tmp_path / f"{batches}.h5ad", "-b", "batch", "-o", tmp_path / "out"]
        done = cli(*words, "--method", "fast", "--dry-run", "--json")
        assert done.code == 0, done.err
        seconds.append(json.loads(done.out)["seconds"])
    assert seconds[1] > seconds[0]
