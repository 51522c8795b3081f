"""What a run does after the correction: each step with its cost, its results, and its work."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnncorrect import pp, tl
from mnncorrect._adata.result_places import (
    Place,
    places_of_clusters,
    places_of_components,
    places_of_leiden,
    places_of_map,
)
from mnncorrect._io import atomic, model_file
from mnncorrect._log import logger

if TYPE_CHECKING:
    from anndata import AnnData

    from mnncorrect._run.request import Request
    from mnncorrect.core.runtime.threads import Progress

# Seconds that a map by UMAP takes for each cell.
MAP_EACH = 5e-4


@dataclass(frozen=True)
class Job:
    """What a step works on."""

    adata: AnnData  # The corrected object.
    request: Request  # What is asked for.
    temporary: Mapping[Path, Path]  # The path to write to, for each file that is wanted.
    progress: Progress | None  # Called with the name of a stage and the share of it that is done.

    @property
    def on_embedding(self) -> dict[str, Any]:
        """The corrected embedding, the prefix of results, random seed and threads."""
        request = self.request
        named = {"use_rep": request.embedding, "key_added": request.keys.key_added}
        return named | request.computing


@dataclass(frozen=True)
class Step:
    """What follows the correction."""

    name: str  # The option or the command that asks for it.
    text: str  # It in words.
    work: Callable[[Job], None]  # Does it.
    places: Sequence[Place] = ()  # Where its results go.
    # Time it takes, whatever the number of cells and for each.
    seconds: float = 0.0
    each: float = 0.0
    memory: float = 0.0  # Bytes it takes beside the embedding, whatever the number of cells.
    most: float = math.inf  # Cells beyond which it takes no more time.


def steps_after(request: Request) -> tuple[Step, ...]:
    """Return what follows the correction, in order."""
    steps = []
    if request.save_model is not None:
        text = f"write a model of the correction to {request.save_model}"
        steps.append(Step("save_model", text, _write_model))
    if request.pca:
        places = places_of_components(request.components)
        text = f"find {request.n_comps} principal components"
        steps.append(Step("pca", text, _find_components, places))
    if request.gmm:
        # Of up to 30 components.
        places = places_of_clusters("gmm")
        steps.append(Step("gmm", "find clusters", _find_clusters, places, 1.0, 7e-4, most=5e4))
    if request.leiden is not None:
        text = f"find Leiden clusters at resolution {request.leiden:g}"
        steps.append(
            Step("leiden", text, _find_leiden, places_of_leiden(request.keys), 8.0, 1.5e-4)
        )
    if request.umap:
        # What it takes whatever the number of cells is for compiling its loops.
        places = places_of_map(request.keys)
        steps.append(
            Step("umap", "draw a map by UMAP", _draw_map, places, 22.0, MAP_EACH, 250 << 20)
        )
    if request.report is not None:
        from mnncorrect.core.metrics.mixing import MOST_MIXING_CELLS

        text = f"write the report {request.report}"
        # With a map of the result, the report draws one of some cells before the correction too.
        drawn = MAP_EACH * MOST_MIXING_CELLS if request.umap else 0.0
        steps.append(Step("report", text, _write_report, (), 6.0 + drawn, 2e-4, 100 << 20))
    return tuple(steps)


def _write_model(job: Job) -> None:
    request, target = job.request, job.request.save_model
    assert target is not None
    fitted = tl.fit_model(
        job.adata,
        gene_key=request.named_by,
        label_key=request.label_key,
        key_added=request.keys.key_added,
        n_jobs=request.n_jobs,
    )
    model_file.write(fitted, job.temporary[target])
    logger.info("model %s (%r)", target, fitted)


def _find_components(job: Job) -> None:
    request = job.request
    pp.pca(
        job.adata,
        layer=request.keys.layer,
        n_comps=request.n_comps,
        key_added=request.components,
        **request.computing,
    )


def _find_clusters(job: Job) -> None:
    request = job.request
    tl.gmm(
        job.adata,
        use_rep=request.embedding,
        n_dims=request.n_dims,
        n_components=request.n_components,
        progress=job.progress,
        **request.computing,
    )


def _find_leiden(job: Job) -> None:
    assert job.request.leiden is not None
    tl.leiden(job.adata, resolution=job.request.leiden, **job.on_embedding)


def _draw_map(job: Job) -> None:
    tl.umap(job.adata, **job.on_embedding)


def _write_report(job: Job) -> None:
    from mnncorrect.report import report_of

    request = job.request
    assert request.report is not None
    name = "adata" if request.output is None else request.output.name
    told = report_of(
        job.adata,
        name,
        label_key=request.label_key,
        key_added=request.keys.key_added,
        progress=job.progress,
        **request.computing,
    )
    atomic.write_text(job.temporary[request.report], told)
