"""The options of ``run`` alone: what follows the correction, and labels that guide it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from mnncorrect.cli.options.given import arguments, given
from mnncorrect.cli.options.shared import number_or_auto, whole_numbers

if TYPE_CHECKING:
    import typer


@dataclass(frozen=True)
class LaterSteps:
    """What is done after the correction, and how labels are used.

    Parameters
    ----------
    pca
        Compute principal components of corrected expression.
    gmm
        Cluster the cells by a Gaussian mixture.
    umap
        Compute a UMAP.
    leiden : RESOLUTION
        Also cluster the cells by Leiden, at this resolution, such as 1. Result: obs["mnn_leiden"].
        Larger gives more clusters. Needs the package igraph.
    report : REPORT.html
        Also write a report of the result.
    guide
        Have the labels of --label-key guide the correction: reject pairs of cells whose labels
        differ.
    """

    pca: bool = True
    gmm: bool = True
    umap: bool = False
    leiden: float | None = None
    report: Path | None = None
    guide: Annotated[bool, Option("--guide")] = False
    n_dims: str = "auto"
    n_components: str = "1-10,12,15,20,25,30"


def asked_steps(context: typer.Context, steps: LaterSteps) -> dict[str, Any]:
    """Return the steps that were asked for, as arguments of :func:`mnncorrect.run`."""
    asked = arguments(context, steps)
    if given(context, "n_components"):
        asked["n_components"] = whole_numbers("--n-components", steps.n_components)
    if given(context, "n_dims"):
        asked["n_dims"] = number_or_auto("--n-dims", steps.n_dims)
    return asked
