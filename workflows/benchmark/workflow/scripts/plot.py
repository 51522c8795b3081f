"""Plot time and peak memory against cells and against batches."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import matplotlib as mpl
import pandas as pd

mpl.use("Agg")
import matplotlib.pyplot as plt

SIZE = re.compile(r"-(?P<cells>\d+)x\d+-(?P<batches>\d+)$")
MEASURES = {
    "call_seconds": "call, s",
    "call_cpu_seconds": "processor time of the call, s",
    "peak_mib": "peak memory, MiB",
}
AXES = {"cells": "cells", "batches": "batches"}


def curves(table: pd.DataFrame, scenario: str, axis: str) -> pd.DataFrame:
    """Rows of a scenario that were measured, with the size of their data as a column."""
    rows = table[(table["scenario"] == scenario) & (table["runs"] > 0)].copy()
    rows[axis] = [int(SIZE.search(name)[axis]) for name in rows["data"]]
    return rows.sort_values(axis)


def draw(table: pd.DataFrame, scenarios: dict[str, str]) -> plt.Figure:
    """One row of panels a measure, one column an axis; both scales logarithmic."""
    figure, panels = plt.subplots(
        len(MEASURES),
        len(scenarios),
        figsize=(4.5 * len(scenarios), 3 * len(MEASURES)),
        squeeze=False,
        layout="constrained",
    )
    tools = list(dict.fromkeys(table["tool"]))
    for column, (axis, scenario) in enumerate(scenarios.items()):
        rows = curves(table, scenario, axis)
        for panel, (measure, label) in zip(panels[:, column], MEASURES.items(), strict=True):
            for tool, points in rows.groupby("tool", sort=False):
                colour = f"C{tools.index(tool)}"
                panel.plot(points[axis], points[measure], "o-", color=colour, label=tool)
            panel.set(xscale="log", yscale="log", xlabel=AXES[axis], ylabel=label)
            panel.grid(alpha=0.3)
        if len(rows):
            panels[0, column].legend(fontsize="small")
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", required=True, type=Path)
    parser.add_argument("--cells", required=True, help="scenario with data of several sizes")
    parser.add_argument("--batches", required=True, help="scenario with several batches")
    parser.add_argument("--output", nargs="+", required=True, type=Path)
    arguments = parser.parse_args()
    table = pd.read_csv(arguments.table, sep="\t")
    figure = draw(table, {"cells": arguments.cells, "batches": arguments.batches})
    for path in arguments.output:
        figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
