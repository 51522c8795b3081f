"""Tools for the results of a correction: clusters, maps, scores, models, and new cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mnncorrect.tl._abundance import cluster_abundance
from mnncorrect.tl._delta_variance import delta_variance
from mnncorrect.tl._evaluate import evaluate
from mnncorrect.tl._gmm import gmm
from mnncorrect.tl._leiden import leiden
from mnncorrect.tl._model import fit_model, read_model, save_model
from mnncorrect.tl._project import project
from mnncorrect.tl._umap import umap

if TYPE_CHECKING:
    from mnncorrect.tl._neighbors import NeighborsTransformer

__all__ = [
    "NeighborsTransformer",
    "cluster_abundance",
    "delta_variance",
    "evaluate",
    "fit_model",
    "gmm",
    "leiden",
    "project",
    "read_model",
    "save_model",
    "umap",
]


if not TYPE_CHECKING:  # type checkers find the names above, and no others

    def __getattr__(name: str) -> Any:
        # Its base class brings all of scikit-learn, so it is made when it is first used.
        if name == "NeighborsTransformer":
            from mnncorrect.tl._neighbors import NeighborsTransformer

            return NeighborsTransformer
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
