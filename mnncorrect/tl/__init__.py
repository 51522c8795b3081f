"""Floor 2, tools: work on the results of a correction."""

from __future__ import annotations

from mnncorrect.tl._abundance import cluster_abundance
from mnncorrect.tl._delta_variance import delta_variance
from mnncorrect.tl._evaluate import evaluate
from mnncorrect.tl._gmm import gmm
from mnncorrect.tl._model import fit_model, read_model, save_model
from mnncorrect.tl._neighbors import NeighborsTransformer
from mnncorrect.tl._project import project
from mnncorrect.tl._umap import umap

__all__ = [
    "NeighborsTransformer",
    "cluster_abundance",
    "delta_variance",
    "evaluate",
    "fit_model",
    "gmm",
    "project",
    "read_model",
    "save_model",
    "umap",
]
