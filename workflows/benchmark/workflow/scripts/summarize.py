"""Make tables of all runs: medians, ratios to this package, and which targets are met."""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
from pathlib import Path

import pandas as pd

OURS = "mnncorrect"
KEYS = ["scenario", "data", "tool"]
MEASURED = [
    "process_seconds",
    "cpu_seconds",
    "peak_mib",
    "load",
    "call_seconds",
    "call_cpu_seconds",
    "compile_seconds",
    "input_mib",
    "pair_recall",
]
RATIOS = {
    "call_ratio": "call_seconds",
    "call_cpu_ratio": "call_cpu_seconds",
    "process_ratio": "process_seconds",
    "memory_ratio": "peak_mib",
}
COLUMNS = [
    *KEYS,
    "status",
    "runs",
    "call_seconds",
    "call_cpu_seconds",
    "process_seconds",
    "cpu_seconds",
    "compile_seconds",
    "peak_mib",
    "above_input_mib",
    *RATIOS,
    "spread",
    "pair_recall",
    "load",
    "version",
]


def as_table(processes: list[dict]) -> pd.DataFrame:
    """One row a process; a column for every measure, whether or not anything had it."""
    runs = pd.DataFrame(processes)
    runs = runs.reindex(columns=list(dict.fromkeys([*runs.columns, *MEASURED, "version"])))
    runs[MEASURED] = runs[MEASURED].astype(float)
    return runs


def read_runs(files: list[Path]) -> pd.DataFrame:
    """All processes of some files of JSON lines."""
    return as_table([json.loads(line) for file in files for line in file.read_text().splitlines()])


def median(values: pd.Series) -> float:
    """Median of what is there."""
    values = values.dropna()
    return float(values.median()) if len(values) else math.nan


def one_tool(runs: pd.DataFrame) -> pd.Series:
    """Medians of one tool in one scenario.

    Process and memory are those of plain processes; the call is that of warm ones, where there
    are any.
    """
    plain, warm, cold = (runs[runs["mode"] == mode] for mode in ("plain", "warm", "cold"))
    not_done = runs.loc[runs["status"] != "done", "status"]
    done = plain[plain["status"] == "done"]
    called = warm if len(warm) else plain
    call = called["call_seconds"].dropna()
    timed = call if len(call) else done["process_seconds"]
    compiling = median(cold["compile_seconds"])
    if math.isnan(compiling):
        compiling = median(cold["process_seconds"]) - median(done["process_seconds"])
    peak = median(done["peak_mib"])
    versions = runs["version"].dropna()
    return pd.Series(
        {
            "status": not_done.iloc[0] if len(not_done) else "done",
            "runs": len(done),
            "call_seconds": median(call),
            "call_cpu_seconds": median(called["call_cpu_seconds"]),
            "process_seconds": median(done["process_seconds"]),
            "cpu_seconds": median(done["cpu_seconds"]),
            "compile_seconds": compiling,
            "peak_mib": peak,
            "above_input_mib": peak - median(done["input_mib"]),
            # How far the runs are apart, as a share of their median: noise that ratios carry.
            "spread": (timed.max() - timed.min()) / median(timed) if len(timed) else None,
            "pair_recall": median(done["pair_recall"]),
            "load": runs["load"].max(),
            "version": versions.iloc[0] if len(versions) else "",
        }
    )


def summarize(runs: pd.DataFrame, ours: str = OURS) -> pd.DataFrame:
    """One row a scenario, data set and tool; ratios are the tool's number over ours."""
    rows = [
        {**dict(zip(KEYS, key, strict=True)), **one_tool(processes)}
        for key, processes in runs.groupby(KEYS, sort=False)
    ]
    table = pd.DataFrame(rows)
    reference = table[table["tool"] == ours].set_index(KEYS[:2])
    at = pd.MultiIndex.from_frame(table[KEYS[:2]])
    for ratio, column in RATIOS.items():
        values = pd.to_numeric(table[column])
        table[ratio] = values.to_numpy() / pd.to_numeric(reference[column]).reindex(at).to_numpy()
    return table[COLUMNS]


def judge(targets: list[dict], table: pd.DataFrame) -> pd.DataFrame:
    """Say of each target what its ratio (or, without `against`, its number) is, and whether met."""
    indexed = table.set_index(KEYS)

    def number(place: dict, column: str) -> float:
        key = tuple(place[k] for k in KEYS)
        return float(indexed.loc[key, column]) if key in indexed.index else float("nan")

    rows = []
    for target in targets:
        value = number(target["of"], target["measure"])
        if "against" in target:
            value /= number({**target["of"], **target["against"]}, target["measure"])
        low, high = target.get("at_least", -math.inf), target.get("at_most", math.inf)
        verdict = "not measured" if math.isnan(value) else "yes" if low <= value <= high else "no"
        bounds = [target.get("at_least"), target.get("at_most")]
        rows.append([target["what"], value, *bounds, verdict])
    return pd.DataFrame(rows, columns=["what", "value", "at_least", "at_most", "met"])


def as_markdown(table: pd.DataFrame) -> str:
    """Write a table as markdown, numbers to three digits."""

    def cell(value: object) -> str:
        if value is None or pd.isna(value):
            return ""
        return f"{value:.3g}" if isinstance(value, float) else str(value)

    rows = [list(table.columns), ["---"] * table.shape[1]]
    rows += [[cell(value) for value in row] for row in table.itertuples(index=False)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


def report(table: pd.DataFrame, targets: pd.DataFrame, *, absent: list[str], threads: int) -> str:
    """Put the tables in one markdown page."""
    text = (
        "# Benchmark\n\n"
        "Medians over runs. Ratios: the tool's number over mnncorrect's, so more than 1 means "
        "slower or larger. `call`: after a warm-up where the tool compiles; `call_cpu`: its "
        "processor time; `process`: from start to end, compiled functions cached; "
        "`spread`: (slowest - fastest) / median; `load`: highest load average at a start.\n\n"
        f"{threads} threads each, on {platform.machine()} with {os.cpu_count()} CPUs, "
        f"{platform.system()}, Python {platform.python_version()}.\n\n"
    )
    if absent:
        text += f"Data not there, left out: {', '.join(absent)}.\n\n"
    shown = [*KEYS, "status", *RATIOS, "call_seconds", "process_seconds", "compile_seconds"]
    shown += ["peak_mib", "above_input_mib", "pair_recall", "spread", "load"]
    text += as_markdown(table[shown])
    if len(targets):
        text += "\n## Targets\n\n" + as_markdown(targets)
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", nargs="+", required=True, type=Path)
    parser.add_argument("--targets", type=json.loads, default=[])
    parser.add_argument("--threads", required=True, type=int)
    parser.add_argument("--absent", nargs="*", default=[], help="data sets that are not there")
    parser.add_argument("--all-runs", required=True, type=Path)
    parser.add_argument("--table", required=True, type=Path)
    parser.add_argument("--judged", required=True, type=Path)
    parser.add_argument("--report", required=True, type=Path)
    arguments = parser.parse_args()
    runs = read_runs(arguments.runs)
    table = summarize(runs)
    judged = judge(arguments.targets, table)
    tables = {arguments.all_runs: runs, arguments.table: table, arguments.judged: judged}
    for path, content in tables.items():
        content.to_csv(path, sep="\t", index=False, float_format="%.6g")
    arguments.report.write_text(
        report(table, judged, absent=arguments.absent, threads=arguments.threads)
    )


if __name__ == "__main__":
    main()
