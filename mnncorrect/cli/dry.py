"""``--dry-run``: what would be done and what it would take, without doing it.

Values are looked at, since what is done depends on what they are; of large inputs, at some cells
from all over them.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import typer

from mnncorrect.cli import replacing, streams
from mnncorrect.cli.costs import BASE_BYTES, EACH, Size, estimate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from anndata import AnnData

    from mnncorrect._adata import Batches
    from mnncorrect._adata.record import Place
    from mnncorrect._prepare.decide import Verdict
    from mnncorrect.cli.options.correction import Correction, Preparing
    from mnncorrect.cli.options.shared import Computing, Reading, Resources
    from mnncorrect.cli.prepare import Limits
    from mnncorrect.cli.steps import Steps
    from mnncorrect.cli.together import Opened

logger = logging.getLogger("mnncorrect")


@dataclass(frozen=True)
class Step:
    """What follows the correction.

    Attributes
    ----------
    text
        What is told of it.
    seconds, each
        Time it takes, whatever the number of cells and for each.
    memory
        Bytes it takes beside the embedding, whatever the number of cells.
    most
        Cells beyond which it takes no more time.
    """

    text: str
    seconds: float = 0.0
    each: float = 0.0
    memory: float = 0.0
    most: float = math.inf


def clusters() -> Step:
    """Tell of clusters by a Gaussian mixture, of up to 30 components."""
    return Step("find clusters", 1.0, 7e-4, most=5e4)


def umap() -> Step:
    """Tell of a map; what it takes whatever the number of cells is for compiling its loops."""
    return Step("draw a map by UMAP", 22.0, 5e-4, 250 << 20)


def report(path: Path) -> Step:
    """Tell of a report, its scores and drawings."""
    return Step(f"write the report {path}", 6.0, 2e-4, 100 << 20)


@dataclass(frozen=True)
class Found:
    """What is found by a look at the input.

    Attributes
    ----------
    size
        How large it is.
    told
        What is told of each file.
    chosen
        How many genes would be used.
    verdict, steps
        What the values are, and what would be done with them; ``None`` where an embedding would be
        corrected.
    """

    size: Size
    told: list[tuple[Path, str]]
    chosen: int
    verdict: Verdict | None
    steps: Steps | None


def tell(
    inputs: Sequence[Path],
    output: Path,
    reading: Reading,
    preparing: Preparing,
    correction: Correction,
    computing: Computing,
    resources: Resources,
    context: typer.Context,
    *,
    afterwards: Sequence[Step],
    replaced: Sequence[Place],
    always: bool,
    force: bool,
) -> None:
    """Print the steps of a command, sizes, and an estimate of memory and time.

    With ``--json``, as one object for programs: a workflow asks for memory and time by it.

    Parameters
    ----------
    inputs, output, reading, preparing, correction, computing, resources
        The options.
    context
        Knows which of them were given.
    afterwards
        What follows the correction.
    replaced
        Where results go.
    always
        As ``prepare.prepared`` takes it.
    force
        Whether results may replace what others have made.

    Raises
    ------
    KeyError, OSError, ValueError
        The input is such that the command would fail at once.
    """
    from mnncorrect._adata import describe_source
    from mnncorrect._adata.barcodes import LIBRARY_KEY
    from mnncorrect.cli.steps import warn_of_few_genes, without_effect
    from mnncorrect.core.runtime.threads import resolve_n_jobs

    n_jobs = resolve_n_jobs(computing.n_jobs)
    found = _look(
        inputs,
        reading,
        preparing,
        correction,
        resources,
        check=lambda tables: replacing.refuse(tables, replaced, force=force),
        always=always,
    )
    size, told, chosen = found.size, found.told, found.chosen
    if found.verdict is not None:
        for text in found.verdict.warnings:
            logger.warning("%s", text)
        without_effect(
            context, found.verdict, describe_source(reading.layer, use_raw=reading.use_raw)
        )
        warn_of_few_genes(chosen)
    steps = _steps(found, correction, resources)
    if reading.batch_from_barcode:
        steps.insert(0, f"tell batches by the names of cells, into obs[{LIBRARY_KEY!r}]")
    steps += [step.text for step in afterwards]
    memory, time = estimate(size, correction, chosen, resources, n_jobs)
    embedding = 4.0 * size.cells * (correction.n_comps or chosen)
    for follows in afterwards:
        memory = max(memory, BASE_BYTES + 2 * embedding + follows.memory)
        time += follows.seconds + follows.each * min(size.cells, follows.most)
    if resources.as_json:
        facts = {
            "inputs": [str(path) for path, _ in told],
            "n_cells": size.cells,
            "n_genes": size.genes,
            "n_stored": size.stored,
            "n_batches": size.batches,
            "n_genes_used": chosen,
            "values": None if found.verdict is None else found.verdict.judged.kind,
            "steps": steps,
            "memory_mb": math.ceil(memory / 2**20),
            "seconds": math.ceil(time),
            "n_jobs": n_jobs,
            "output": str(output),
        }
        streams.tell_json(facts)
        return
    for path, text in told:
        _print("input", f"{path}: {text}")
    for step in steps:
        _print("step", step)
    _print("memory", f"about {memory / 2**30:.1f} GB")
    _print("time", f"about {_seconds(time)} on {n_jobs} threads")
    _print("output", f"{output}: not written, as this is a dry run")


def refuse_json_alone(resources: Resources) -> None:
    """Refuse, as wrong usage, to say how a dry run is told where none is asked for."""
    if resources.as_json and not resources.dry_run:
        msg = "--json says how a dry run is told: add --dry-run, or leave it out"
        raise typer.BadParameter(msg)


def _print(name: str, text: str) -> None:
    streams.tell([f"{name:<7} {text}"])


def _look(
    inputs: Sequence[Path],
    reading: Reading,
    preparing: Preparing,
    correction: Correction,
    resources: Resources,
    *,
    check: Callable[[AnnData], None],
    always: bool,
) -> Found:
    """Find out how large the input is, what its values are, and what would be done with them."""
    from mnncorrect import _adata
    from mnncorrect._adata.lookup import require
    from mnncorrect._adata.matrix import take_values
    from mnncorrect._adata.stored import n_stored
    from mnncorrect._io import input_parts
    from mnncorrect.cli.inputs import key_of, parts, streams_anew
    from mnncorrect.cli.methods import genes_wanted
    from mnncorrect.cli.prepare import limits
    from mnncorrect.cli.steps import steps_of
    from mnncorrect.cli.together import together

    key, several = key_of(reading), len(inputs) > 1
    where = _adata.describe_source(reading.layer, use_raw=reading.use_raw)
    told, stored = [], 0
    with limits(resources, None) as limit, parts(inputs, limit.scratch, quiet=True) as found:
        for path, part in zip(inputs, found.values(), strict=True):
            values, _ = take_values(part.adata, layer=reading.layer, use_raw=reading.use_raw)
            n_cells, n_genes = part.adata.shape
            stored += n_stored(values)
            text = (
                f"{n_cells} cells x {n_genes} genes, {n_stored(values)} numbers stored in {where}"
            )
            told.append((path, text))
        n_cells = sum(part.adata.n_obs for part in found.values())
        features = any(part.genes is not None for part in found.values())
        opened = together(found, reading, joined=several)
        tables = opened.tables
        check(tables if several else next(iter(found.values())).adata)
        if several:
            key = key or input_parts.FILE_KEY
            if reading.layer is not None:
                require(reading.layer, opened.layers, "what layers all files have")
        assert key is not None
        batches = _adata.take_batches(tables, key)
        verdict = steps = None
        if correction.use_rep is None:
            verdict = _judged(opened, batches, preparing, limit, stored)
            steps = steps_of(verdict, tables, preparing, correction, where, always=always)
    n_batches = len(batches.names)
    if not several:
        told = [(path, f"{text}; {n_batches} batches") for path, text in told]
    n_genes = tables.n_vars
    if steps is not None and steps.choose:
        chosen = min(preparing.n_top_genes, n_genes)
    else:
        mask = _adata.take_gene_mask(tables, genes_wanted(tables, correction)).mask
        chosen = n_genes if mask is None else int(mask.sum())
    anew = several or bool(reading.subset) or streams_anew(inputs) or features
    stored = round(stored * tables.n_obs / n_cells)
    size = Size(tables.n_obs, n_genes, stored, n_batches, anew)
    return Found(size, told, chosen, verdict, steps)


def _judged(
    opened: Opened, batches: Batches, preparing: Preparing, limit: Limits, stored: int
) -> Verdict:
    """Judge the values of the input, or of some of its cells."""
    from mnncorrect._prepare import fitness
    from mnncorrect._prepare.decide import Groups, decide
    from mnncorrect.cli.findings import non_finite_problem
    from mnncorrect.cli.first_look import MOST_SEEN, some_cells
    from mnncorrect.cli.prepare import groups_of

    groups = groups_of(opened.tables, batches)
    assert groups is not None
    pieces, codes = opened.pieces, groups.codes
    if stored > MOST_SEEN:
        pieces, kept = some_cells(pieces, MOST_SEEN / stored)
        codes = codes[kept]
        logger.info("values are judged by %d of %d cells", kept.sum(), len(kept))
    seen = fitness.look(
        pieces, np.zeros(len(codes), np.int64), limit.scratch, block_bytes=limit.block
    )
    problem = non_finite_problem(seen, opened)
    if problem is not None:
        raise ValueError(problem)
    return decide(
        seen.looks,
        opened.where,
        groups=Groups(codes, groups.names),
        counts=preparing.counts,
        layers=opened.layers,
    )


def _steps(found: Found, correction: Correction, resources: Resources) -> list[str]:
    from mnncorrect._prepare.decide import described
    from mnncorrect.cli.prepare import block_bytes

    size, steps, verdict = found.size, found.steps, found.verdict
    if steps is None or verdict is None:
        return [f"correct obsm[{correction.use_rep!r}] by method {correction.method}"]
    lines = []
    if size.anew:
        most = math.ceil(EACH * size.stored / 2**20)
        lines.append(
            f"put {size.cells} cells into a scratch file beside the output, {most} MB at most"
        )
    each = max(1, EACH * size.stored // size.cells)
    rows = max(1, min(size.cells, block_bytes(resources) // each))
    blocks = -(-size.cells // rows)
    many = f"{blocks} blocks of up to {rows} cells" if blocks > 1 else "one block"
    lines.append(f"read the file twice, in {many}")
    total = "the median total" if verdict.target is None else f"{verdict.target:g}"
    done = [(f"scale to {total}", steps.total), ("log1p", steps.log1p)]
    done.append(("bring all batches to one total", steps.rescale))
    names = " and ".join(name for name, wanted in done if wanted) or "take them as they are"
    where = ""
    if steps.changes and steps.keep:
        where = f", kept in layers['{correction.key_added}_log1p']"
    lines.append(f"values are {described(verdict.judged)}: {names}{where}")
    if steps.choose and found.chosen < size.genes:
        lines.append(f"choose {found.chosen} of {size.genes} genes as highly variable in batches")
    lines.append(f"use {found.chosen} of {size.genes} genes")
    lines.append(f"correct {size.cells} cells by method {correction.method}")
    return lines


def _seconds(time: float) -> str:
    if time < 90:
        return f"{max(1, round(time))} s"
    return f"{time / 60:.0f} min" if time < 5400 else f"{time / 3600:.1f} h"
