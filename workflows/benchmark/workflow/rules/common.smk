"""The configuration, and what rules ask of it."""

import json
import re
from pathlib import Path

from snakemake.utils import validate

validate(config, "../schemas/config.schema.yaml")

REPOSITORY = Path(workflow.basedir).resolve().parents[2]
SCENARIOS = {name: spec for name, spec in config["scenarios"].items() if spec is not None}

# A generated data set is named by what it is: embedding-100000x50-2 has 100,000 cells, 50
# dimensions and 2 batches. Commands are given files of the same name that end in .h5ad.


wildcard_constraints:
    scenario="[a-z0-9_]+",
    kind="embedding|mixture|expression",
    real="[A-Za-z0-9_]+",
    run=r"\d+",
    cells=r"\d+",
    features=r"\d+",
    batches=r"\d+",
    form="npz|h5ad",


def real_file(name):
    """Where the h5ad of a real data set is; relative folders start from the repository."""
    return REPOSITORY / config["real_data"] / f"{name}.h5ad"


def ablation_data():
    """The real data sets on which parts of the calibrated method are left out."""
    return [str(real_file(name)) for name in config["ablation"]["data"]]


def is_there(data):
    """Tell whether a data set is or can be made."""
    return not data.startswith("real-") or real_file(data.removeprefix("real-")).is_file()


def data_file(scenario, data):
    suffix = "h5ad" if "commands" in SCENARIOS[scenario] else "npz"
    return f"results/data/{data}.{suffix}"


def inputs_of_measure(wildcards):
    """The data that a scenario needs: what is measured, true pairs, what commands warm up on."""
    spec = SCENARIOS[wildcards.scenario]
    files = {"data": data_file(wildcards.scenario, wildcards.data)}
    if spec.get("task") == "search":
        files["truth"] = f"results/truth/{wildcards.data}.npz"
    if "warm_up_on" in spec:
        files["warm_up_data"] = data_file(wildcards.scenario, spec["warm_up_on"])
    return files


def spec_of(wildcards):
    """What measure.py is told of a scenario, with the tools that this many cells are too many for."""
    spec = dict(SCENARIOS[wildcards.scenario])
    size = re.search(r"-(\d+)x", wildcards.data)
    cells = 0 if size is None else int(size[1])
    limits = config["most_cells"].items()
    spec["left_out"] = [tool for tool, most in limits if cells > most]
    return json.dumps(spec)


def every_run():
    """One file a scenario, data set and run."""
    return [
        f"results/runs/{name}/{data}/{run}.jsonl"
        for name, spec in SCENARIOS.items()
        for data in spec["data"]
        if is_there(data)
        for run in range(1, spec.get("runs", config["runs"]) + 1)
    ]


def absent_data():
    return sorted({d for spec in SCENARIOS.values() for d in spec["data"] if not is_there(d)})
