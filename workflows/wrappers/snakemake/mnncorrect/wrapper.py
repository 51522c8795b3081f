"""Snakemake wrapper for mnncorrect run."""

# ruff: noqa: F821 (Snakemake defines `snakemake`)

__author__ = "mnncorrect developers"
__license__ = "BSD-3-Clause"

import shlex

from snakemake.shell import shell

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
