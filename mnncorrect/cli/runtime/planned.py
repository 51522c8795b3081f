"""``run`` and ``correct``: one public call, carried out, or described with ``--dry-run``."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from mnncorrect._log import logger
from mnncorrect._prepare.method_registry import DEFAULT, method_named
from mnncorrect.cli import streams

if TYPE_CHECKING:
    from mnncorrect._run.public import Plan
    from mnncorrect.cli.options.shared import ComputingOptions, CorrectedFiles, Reporting, Resources


def run_or_describe(
    files: CorrectedFiles,
    asked: Mapping[str, Any],
    computing: ComputingOptions,
    resources: Resources,
    reporting: Reporting,
) -> None:
    """Correct inputs, or print what would be done."""
    import mnncorrect
    from mnncorrect.cli.runtime.progress import bars

    if resources.as_json and not resources.dry_run:
        raise typer.BadParameter(
            "--json is the format of a dry run: add --dry-run, or leave it out"
        )
    asked = {
        **asked,
        **vars(computing),
        **vars(files),
        "memory_limit": resources.memory_limit,
        "workers": resources.workers,
        "scheduler": resources.scheduler,
    }
    inputs, output = asked.pop("inputs") or None, files.output
    if resources.dry_run:
        _print_plan(mnncorrect.plan(inputs, **asked), as_json=resources.as_json)
        return
    with bars(reporting) as progress:
        mnncorrect.run(inputs, progress=progress, **asked)
    page = asked.get("report")
    logger.info("wrote %s", output if page is None else f"{output} and {page}")
    # When the log of a workflow is read, its files may have other names, or be gone.
    if sys.stderr.isatty():
        step = _next_step(inputs or (), output, asked)
        logger.info("next, in Python: %s", step, extra={"is_code": True})


def _next_step(inputs: Sequence[Path], output: Path, asked: Mapping[str, Any]) -> str:
    """Write how scanpy goes on from a result; it runs without packages that are optional."""
    from mnncorrect._io.outputs import modality_of
    from mnncorrect._io.read_places import parted
    from mnncorrect._io.zarr_output import is_zarr_name

    name = asked.get("key_added", "mnn")
    kind = "zarr" if is_zarr_name(output) else "h5ad"
    modality = None if kind == "zarr" else modality_of(output, inputs)
    package, read = "anndata", f"anndata.read_{kind}({str(output)!r})"
    if modality is not None:
        package, read = "mudata", f"mudata.read_h5mu({str(parted(output)[0])!r})[{modality!r}]"
    start = f"import {package}, scanpy as sc; adata = {read}"
    if method_named(asked.get("method", DEFAULT)).embeds:
        basis = asked.get("adjusted_basis") or f"X_{name}"
    elif asked.get("pca", True):
        basis = f"X_{name}_pca"
    else:
        return f"{start}; sc.pp.pca(adata, layer={name!r})"
    return f"{start}; sc.pp.neighbors(adata, use_rep={basis!r}); sc.tl.umap(adata)"


def _print_plan(plan: Plan, *, as_json: bool) -> None:
    """Print the steps of a run, sizes, and an estimate of memory and time."""
    from mnncorrect._adata.lookup import told_sizes

    facts = plan.facts()
    if as_json:
        streams.tell_json(facts)
        return
    memory = f"about {facts['memory_mb'] / 1024:.1f} GB"
    time = f"about {_seconds(facts['seconds'])} on {facts['n_jobs']} threads"
    output = f"{facts['output']}: not written (dry run)"
    lines = [("input", f"{path}: {text}") for path, text in plan.inputs.items()]
    lines.append(("batches", told_sizes(facts["batch_sizes"])))
    lines += [("step", step) for step in facts["steps"]]
    lines += [("memory", memory), ("time", time), ("output", output)]
    streams.tell(f"{name:<7} {text}" for name, text in lines)


def _seconds(time: float) -> str:
    if time < 90:
        return f"{max(1, round(time))} s"
    return f"{time / 60:.0f} min" if time < 5400 else f"{time / 3600:.1f} h"
