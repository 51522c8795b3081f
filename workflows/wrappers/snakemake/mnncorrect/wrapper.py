"""Snakemake wrapper for mnncorrect run."""

# ruff: noqa: F821 (Snakemake defines `snakemake`)

__author__ = "mnncorrect developers"
__license__ = "BSD-3-Clause"

import shlex

from snakemake.shell import shell

# Of one output without a name, the corrected file; otherwise each output has to be named.
names = set(snakemake.output.keys())
unknown = names - {"corrected", "report", "model"}
if unknown or ("corrected" not in names and len(snakemake.output) > 1):
    told = f"unknown: {', '.join(sorted(unknown))}" if unknown else "corrected is missing"
    msg = f"name the outputs corrected=..., report=... and model=... ({told})"
    raise ValueError(msg)
if names and "corrected" not in names:
    msg = f"the only output is named {names.pop()}; add corrected=..."
    raise ValueError(msg)

keys = snakemake.params.get("batch_key", [])
options = {
    "--batch-key": [keys] if isinstance(keys, str) else keys,
    "--method": [snakemake.params.get("method", "calibrated")],
    "--output": [snakemake.output.get("corrected", snakemake.output[0])],
    "--report": [snakemake.output.get("report")],
    "--save-model": [snakemake.output.get("model")],
    "--n-jobs": [snakemake.threads],
}
words = [*map(str, snakemake.input)]
words += [f"{name}={value}" for name, values in options.items() for value in values if value]
command = shlex.join(["mnncorrect", "run", *words])
extra = snakemake.params.get("extra", "")
log = snakemake.log_fmt_shell(stdout=True, stderr=True)

shell("{command} {extra} {log}")
