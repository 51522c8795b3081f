"""The workflow that measures: its form, a small run, and the measuring itself."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

WORKFLOW = Path(__file__).parents[1] / "workflows/benchmark"
SNAKEFILE = WORKFLOW / "workflow/Snakefile"
SMALL = WORKFLOW / "config/small.yaml"


def load_script(name):
    """A script of the workflow as a module."""
    spec = importlib.util.spec_from_file_location(name, WORKFLOW / f"workflow/scripts/{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


measure = load_script("measure")
summarize = load_script("summarize")


def snakemake(folder, *words):
    command = [sys.executable, "-m", "snakemake", "--snakefile", SNAKEFILE, "--directory", folder]
    # Rules call the python that is first on the path.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [str(word) for word in (*command, *words)],
        capture_output=True,
        text=True,
        env=os.environ | {"PATH": path},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_lint_has_nothing_to_say(tmp_path):
    assert "in a good condition" in snakemake(tmp_path, "--lint")


@pytest.mark.slow
@pytest.mark.parametrize("extra", [(), ("--configfile", SMALL)])
def test_dry_run_reaches_tables_and_plot(tmp_path, extra):
    said = snakemake(tmp_path, "--dry-run", "--cores", 2, *extra)
    for rule in ("generate", "find_truth", "measure", "summarize", "plot"):
        assert f"rule {rule}:" in said


@pytest.mark.slow
def test_unknown_key_of_the_configuration_is_refused(tmp_path):
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("scenarios: {search: {toolz: [mnncorrect]}}\n")
    with pytest.raises(AssertionError, match="toolz"):
        snakemake(tmp_path, "--dry-run", "--cores", 1, "--configfile", wrong)


@pytest.mark.slow
def test_each_part_of_the_calibrated_method_is_left_out_once(tmp_path, monkeypatch):
    # Total scores compile for a minute; the workflow's own are enough here.
    ablate = load_script("ablate")
    monkeypatch.setattr(ablate.importlib.util, "find_spec", lambda name: None)
    truth, batch = np.arange(240) % 3, np.repeat([0, 1], 120)
    rng = np.random.default_rng(0)
    x = (np.eye(8) * 12)[truth] + rng.normal(size=(240, 8)) * 0.5
    x[batch == 1, 5] += 2.0
    obs = {"batch": batch.astype(str), "cell_type": truth.astype(str)}
    obs = pd.DataFrame(obs, index=[f"cell{i}" for i in range(240)])
    counts = rng.poisson(np.exp(x[:, rng.integers(8, size=20)] / 8))
    adata = anndata.AnnData(counts.astype(np.float32), obs=obs)
    adata.write_h5ad(tmp_path / "counts.h5ad")
    adata.obsm["X_pca"] = x
    adata.write_h5ad(tmp_path / "shifted.h5ad")
    words = ["--data", tmp_path, "--output", tmp_path / "out.tsv", "--null-seeds", 1]
    monkeypatch.setattr(sys, "argv", ["ablate", *map(str, words), "--threads", "1"])
    ablate.main()
    found = pd.read_csv(tmp_path / "out.tsv", sep="\t").set_index(["variant", "set"])
    assert len(found) == 2 * len(ablate.VARIANTS)
    switches = {field.name for field in dataclasses.fields(ablate.Parts)}
    left_out = {
        name
        for variant in ablate.VARIANTS.values()
        for name in switches
        if getattr(variant.parts, name) != getattr(ablate.WHOLE_METHOD, name)
    }
    assert left_out == switches
    shifted = found.xs("shifted", level="set")
    assert shifted["cilisi"].between(0, 1).all()
    assert (shifted["moved"] > 0.05).all()
    assert shifted.loc["whole", "null_preserved"] == 1
    assert shifted.loc["whole", "null_moved"] == 0
    assert shifted.loc["whole", ["null_went_95", "unsure", "unsure_moved", "alone"]].eq(0).all()
    assert shifted.loc["no evidence", "null_preserved"] <= 1


@pytest.mark.slow
def test_small_run_measures_all_that_is_installed(tmp_path):
    snakemake(tmp_path, "--cores", 2, "--configfile", SMALL)
    table = pd.read_csv(tmp_path / "results/table.tsv", sep="\t")
    ours = table[table["tool"].str.startswith("mnncorrect")]
    assert set(ours["scenario"]) == {
        "search",
        "cells",
        "batches",
        "classic_plain",
        "first",
        "counts",
        "growth",
    }
    assert (ours["status"] == "done").all()
    assert ours[["process_seconds", "peak_mib"]].gt(0).all(axis=None)
    assert (ours.loc[ours["tool"] == "mnncorrect", "process_ratio"] == 1).all()
    for tool, rows in table.groupby("tool"):
        there = tool in ("expression", "rewrite") or measure.is_installed(tool)
        expected = {"done", "left out"} if there else {"absent"}
        assert set(rows["status"]) <= expected, tool
    assert (table["compile_seconds"].dropna() > 0).all()
    judged = pd.read_csv(tmp_path / "results/targets.tsv", sep="\t")
    assert judged["met"].tolist() == ["yes"]
    report = (tmp_path / "results/benchmark.md").read_text()
    assert "left out: real-absent" in report
    assert (tmp_path / "results/benchmark.svg").read_text().count("<path") > 10
    assert (tmp_path / "results/benchmark.png").read_bytes().startswith(b"\x89PNG")


def run_python(code, tmp_path, **options):
    env = measure.environment(1, tmp_path)
    command = [sys.executable, "-c", code]
    return measure.run(command, env=env, log=tmp_path / "log.txt", **options)


@pytest.mark.slow
def test_time_and_processor_time_of_a_process(tmp_path):
    asleep = run_python("import time; time.sleep(0.5)", tmp_path)
    assert asleep.status == "done"
    assert 0.5 <= asleep.process_seconds < 10
    busy = "import time\nwhile time.process_time() < 0.5: pass"
    assert asleep.cpu_seconds < 0.5 <= run_python(busy, tmp_path).cpu_seconds + 0.01


@pytest.mark.slow
def test_peak_memory_is_that_of_the_largest_moment(tmp_path):
    # Measured from a small process, as in the workflow: this one is already large.
    program = """
import sys, json
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import measure
folder = Path(sys.argv[2])
env = measure.environment(1, folder)
usages = [
    measure.run([sys.executable, "-c", code], env=env, log=folder / "log")
    for code in ("pass", "x = bytearray(300 * 2**20); del x")
]
print(json.dumps([usage.peak_mib for usage in usages]))
"""
    scripts = str(WORKFLOW / "workflow/scripts")
    command = [sys.executable, "-c", program, scripts, str(tmp_path)]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    small, large = json.loads(out)
    assert small < 60
    assert 290 < large - small < 320


def test_measuring_imports_no_library():
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import measure; print('numpy' in sys.modules)"
    )
    command = [sys.executable, "-c", program, str(WORKFLOW / "workflow/scripts")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "False\n"


def test_failure_and_timeout_are_told_apart(tmp_path):
    assert run_python("raise SystemExit(3)", tmp_path).status == "failed"
    late = run_python("import time; time.sleep(60)", tmp_path, timeout=0.5)
    assert late.status == "timed out"
    assert late.process_seconds < 30


def test_what_a_process_prints_is_in_the_log(tmp_path):
    run_python("import sys; print('said'); print('warned', file=sys.stderr)", tmp_path)
    text = (tmp_path / "log.txt").read_text()
    assert text.startswith("$ ")
    assert "said" in text
    assert "warned" in text


def test_threads_are_set_for_every_library(tmp_path):
    env = measure.environment(3, tmp_path)
    assert all(env[name] == "3" for name in measure.THREAD_VARIABLES)
    assert {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"} <= set(
        measure.THREAD_VARIABLES
    )
    assert env["NUMBA_CACHE_DIR"] == str(tmp_path)


def test_every_run_begins_with_another_tool():
    tools = ["a", "b", "c"]
    orders = [measure.in_turn(tools, run) for run in (1, 2, 3, 4)]
    assert [order[0] for order in orders] == ["a", "b", "c", "a"]
    assert all(sorted(order) == tools for order in orders)


def run_row(tool, mode, *, run=1, status="done", **values):
    row = {"scenario": "s", "data": "d", "run": run, "tool": tool, "mode": mode, "status": status}
    return row | {"input_mib": 10.0, "load": 0.5, "version": "1"} | values


def test_table_has_medians_of_the_right_processes():
    plain = {"cpu_seconds": 1.0, "peak_mib": 100.0}
    rows = [
        run_row("mnncorrect", "cold", compile_seconds=7.0),
        *(
            run_row(
                "mnncorrect",
                "warm",
                run=i,
                call_seconds=t,
                call_cpu_seconds=3.0,
                process_seconds=99.0,
                peak_mib=999.0,
            )
            for i, t in enumerate([1.0, 2.0, 6.0])
        ),
        *(
            run_row("mnncorrect", "plain", run=i, call_seconds=50.0, process_seconds=t, **plain)
            for i, t in enumerate([3.0, 4.0, 9.0])
        ),
        run_row(
            "peer",
            "plain",
            call_seconds=4.0,
            call_cpu_seconds=6.0,
            process_seconds=2.0,
            peak_mib=50.0,
        ),
        run_row("gone", "plain", status="absent"),
    ]
    table = summarize.summarize(summarize.as_table(rows)).set_index("tool")
    ours, peer, gone = (table.loc[name] for name in ("mnncorrect", "peer", "gone"))
    assert (ours["call_seconds"], ours["process_seconds"], ours["compile_seconds"]) == (2, 4, 7)
    assert (ours["above_input_mib"], ours["spread"], ours["runs"]) == (90, 2.5, 3)
    assert (ours["call_cpu_seconds"], peer["call_cpu_ratio"]) == (3, 2)
    assert (peer["call_ratio"], peer["process_ratio"], peer["memory_ratio"]) == (2, 0.5, 0.5)
    assert gone["status"] == "absent"
    assert np.isnan(gone["call_ratio"])
    assert "| gone | absent |" in summarize.report(
        table.reset_index(), pd.DataFrame(), absent=[], threads=2
    )


def test_commands_compile_for_what_the_cold_one_takes_longer():
    rows = [
        run_row("mnncorrect", mode, process_seconds=t, peak_mib=1.0, cpu_seconds=t)
        for mode, t in [("cold", 9.0), ("plain", 2.0)]
    ]
    table = summarize.summarize(summarize.as_table(rows))
    assert table.loc[0, "compile_seconds"] == 7


def test_targets_are_ratios_or_numbers():
    values = {"call_seconds": [2.0, 8.0], "peak_mib": [5.0, float("nan")]}
    places = {"scenario": "s", "data": "d", "tool": ["mnncorrect", "peer"]}
    table = pd.DataFrame(places | values)
    ours = {"scenario": "s", "data": "d", "tool": "mnncorrect"}
    over_peer = {"of": ours, "against": {"tool": "peer"}}
    targets = [
        {"what": "ratio", **over_peer, "measure": "call_seconds", "at_most": 0.25},
        {"what": "number", "of": ours, "measure": "peak_mib", "at_least": 6},
        {"what": "unknown", **over_peer, "measure": "peak_mib", "at_most": 1},
        {"what": "nowhere", "of": ours | {"data": "e"}, "measure": "peak_mib", "at_most": 1},
    ]
    judged = summarize.judge(targets, table)
    assert judged["met"].tolist() == ["yes", "no", "not measured", "not measured"]
    assert judged.loc[0, "value"] == 0.25


@pytest.mark.parametrize("kind", ["embedding", "expression"])
def test_data_are_clustered_shifted_and_of_low_dimension(kind):
    make = load_script("make_data").make
    x, batch, population = make(kind, 3000, 30, 3, populations=4, intrinsic=2, seed=1)
    again = make(kind, 3000, 30, 3, populations=4, intrinsic=2, seed=1)[0]
    other = make(kind, 3000, 30, 3, populations=4, intrinsic=2, seed=2)[0]
    np.testing.assert_array_equal(x, again)
    assert not np.array_equal(x, other)
    assert x.dtype == np.float32
    assert np.bincount(batch).tolist() == [1000, 1000, 1000]
    # Cells of a batch are not in one piece, as they would not be in a file put together.
    assert (np.diff(batch) != 0).mean() > 0.5
    if kind == "expression":
        assert x.min() == 0
        return
    groups = [x[(batch == b) & (population == p)] for b in range(3) for p in range(4)]
    for group in groups:
        spread = np.linalg.svd(group - group.mean(0), compute_uv=False)
        assert (spread[:2] ** 2).sum() > 0.9 * (spread**2).sum()
    centres = np.array([group.mean(0) for group in groups]).reshape(3, 4, 30)
    between_batches = np.linalg.norm(centres[1:] - centres[0], axis=-1).mean()
    between_populations = np.linalg.norm(centres[0, 1:] - centres[0, 0], axis=-1).mean()
    assert 0.1 < between_batches / between_populations < 1


def test_true_pairs_are_those_of_exact_search(rng):
    from naive import find_pairs  # the oracle of the package's own search

    true_pairs = load_script("find_truth").true_pairs
    left, right = rng.normal(size=(60, 5)), rng.normal(size=(50, 5))
    found = true_pairs(left, right, 6, sample=60, seed=0)
    assert set(zip(*found, strict=True)) == {tuple(pair) for pair in find_pairs(left, right, 6)}
    some = true_pairs(left, right, 6, sample=10, seed=0)
    assert len(set(some[0])) <= 10
    assert set(zip(*some, strict=True)) <= set(zip(*found, strict=True))


@pytest.mark.slow
def test_clusters_are_compared_with_cell_types(tmp_path, monkeypatch, capsys):
    cluster = load_script("cluster")
    names = [
        "gmm", "gmm, dimensions by elbow", "gmm, dimensions by ICL",
        "gmm, full, BIC, 15 dimensions, no merging",
    ]  # fmt: skip
    variants = {name: cluster.VARIANTS[name] for name in names}
    monkeypatch.setattr(cluster, "VARIANTS", variants)
    rng = np.random.default_rng(0)
    truth = np.repeat([0, 1, 2], 60)
    adata = anndata.AnnData(np.zeros((180, 1), np.float32))
    adata.obsm["X_mnn"] = (np.eye(4)[truth] * 15 + rng.normal(size=(180, 4))).astype(np.float32)
    adata.obs["cell_type"] = pd.Categorical(
        [None if row % 9 == 0 else f"type {row // 60}" for row in range(180)]
    )
    adata.write_h5ad(tmp_path / "a.h5ad")
    words = ["cluster.py", "--data", tmp_path, "--output", tmp_path / "out.tsv", "--cells", 120]
    monkeypatch.setattr(sys, "argv", list(map(str, [*words, "--seeds", 0, 1])))
    cluster.main()
    table = pd.read_csv(tmp_path / "out.tsv", sep="\t")
    assert table["variant"].tolist() == names * 2
    assert table["seed"].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert (table["cells"] == 120).all()
    assert (table["clusters"] == 3).all()
    assert (table["ari"] == 1).all()
    assert (table["nmi"] == 1).all()
    assert "means over 1 data sets and 2 seeds" in capsys.readouterr().out
