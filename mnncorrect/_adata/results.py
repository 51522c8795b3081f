"""Where results live in AnnData, and how they get there."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mnncorrect import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from mnncorrect._adata.draft import Draft
    from mnncorrect.core.matrix.mixture import Mixture
    from mnncorrect.core.matrix.pca import PCA


# What decides the numbers besides this package; recorded with every result.
PACKAGES = ("anndata", "numba", "numpy", "pandas", "pynndescent", "scikit-learn", "scipy")

# What new cells get that resemble no labeled cell enough.
UNASSIGNED = "unassigned"


@dataclass(frozen=True)
class Keys:
    """The names under which results are stored, all made from ``key_added``."""

    key_added: str = "mnn"

    def __post_init__(self) -> None:
        name = self.key_added
        if not isinstance(name, str) or not name or "/" in name:
            raise ValueError(f"key_added is {name!r}; give a text that is not empty and has no '/'")

    @property
    def layer(self) -> str:
        """Corrected expression, in ``layers``."""
        return self.key_added

    @property
    def embedding(self) -> str:
        """Corrected embedding, in ``obsm``."""
        return f"X_{self.key_added}"

    def basis(self, adjusted_basis: str | None, use_rep: str | None = None) -> str:
        """Name where a corrected embedding goes in ``obsm``."""
        name = self.embedding if adjusted_basis is None else adjusted_basis
        if name == (self.uncorrected if use_rep is None else use_rep):
            raise ValueError(
                f"the result would take the place of obsm[{name!r}], which it is made of; name "
                "another place: `adjusted_basis`"
            )
        return name

    @property
    def uncorrected(self) -> str:
        """The same components before the correction, in ``obsm``, where this made them."""
        return f"X_{self.key_added}_uncorrected"

    @property
    def loadings(self) -> str:
        """Loadings of the components that were corrected, in ``varm``."""
        return f"{self.key_added}_loadings"

    @property
    def center(self) -> str:
        """What was subtracted from each gene before that, in ``var``."""
        return f"{self.key_added}_center"

    @property
    def norm(self) -> str:
        """Length that each cell was divided by, in ``obs``."""
        return f"{self.key_added}_norm"

    @property
    def confidence(self) -> str:
        """How sure the place of each cell is, in ``obs``."""
        return f"{self.key_added}_confidence"

    @property
    def label(self) -> str:
        """Label that a new cell got from a model, in ``obs``."""
        return f"{self.key_added}_label"

    @property
    def label_probability(self) -> str:
        """Probability that this label is right, in ``obs``."""
        return f"{self.key_added}_label_probability"

    @property
    def corrected(self) -> str:
        """Which genes were corrected, in ``var``."""
        return f"{self.key_added}_corrected"

    @property
    def genes(self) -> str:
        """Which genes distances were measured on, in ``var``."""
        return f"{self.key_added}_genes"

    @property
    def pairs(self) -> str:
        """Mutual nearest pairs, in ``obsp``."""
        return f"{self.key_added}_pairs"

    @property
    def uns(self) -> str:
        """Merges, parameters and provenance, in ``uns``."""
        return self.key_added

    @property
    def multibatch_pca(self) -> str:
        """What :func:`mnncorrect.pp.multibatch_pca` found, in ``uns``; in ``obsm`` after ``X_``."""
        return f"{self.key_added}_multibatch_pca"

    @property
    def map(self) -> str:
        """How the UMAP of the result was drawn, in ``uns``."""
        return f"{self.key_added}_umap"

    @property
    def drawn(self) -> str:
        """The UMAP of the result, in ``obsm``."""
        return f"X_{self.key_added}_umap"

    @property
    def neighbors(self) -> str:
        """The graph that it is drawn from, in ``uns``, and in ``obsp`` with more after it."""
        return f"{self.key_added}_neighbors"

    @property
    def clipped(self) -> str:
        """Corrected expression without negative values, in ``layers``."""
        return f"{self.key_added}_clipped"

    @property
    def leiden(self) -> str:
        """Leiden clusters of the result, in ``obs``, and how they were found, in ``uns``."""
        return f"{self.key_added}_leiden"

    @property
    def normalized(self) -> str:
        """Values normalized for the correction, in ``layers``."""
        return f"{self.key_added}_log1p"

    @property
    def evaluation(self) -> str:
        """Scores of the correction, in ``uns``."""
        return f"{self.key_added}_evaluation"

    @property
    def proba(self) -> str:
        """Posterior probabilities of clusters, in ``obsm``."""
        return f"{self.key_added}_proba"


def as_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """Bring parameters into a form that an h5ad file keeps.

    What is ``None`` is left out; sequences become JSON text; numbers and text stay.
    """
    stored: dict[str, Any] = {}
    for name, value in params.items():
        if value is None:
            continue
        if isinstance(value, np.generic):
            value = value.item()
        stored[name] = value if isinstance(value, bool | int | float | str) else json.dumps(value)
    return stored


@functools.cache
def _versions() -> dict[str, str]:
    """Return the versions of the packages that results stand on; each is read from a file."""
    return {name: version(name) for name in PACKAGES}


def provenance(random_state: int, **more: Any) -> dict[str, Any]:
    """Say what made a result: this package, the packages it stands on, and the seed.

    Neither the time nor the number of threads is recorded: equal runs give equal files.
    """
    return {
        "software": "mnncorrect",
        "version": __version__,
        "packages": dict(_versions()),
        "random_state": int(random_state),
        **more,
    }


def put_pca(
    draft: Draft,
    pca: PCA,
    *,
    key_added: str,
    genes: NDArray[np.bool_],
    params: Mapping[str, Any],
    random_state: int,
) -> None:
    """Store principal components in scanpy's layout; genes outside ``genes`` have loadings of 0."""
    loadings = np.zeros((len(genes), pca.rotation.shape[1]), pca.scores.dtype)
    loadings[genes] = pca.rotation
    draft.put("obsm", f"X_{key_added}", pca.scores)
    draft.put("varm", key_added, loadings)
    record = {
        "params": as_params(params),
        "variance": pca.variance,
        "variance_ratio": pca.variance_ratio,
        "provenance": provenance(random_state),
    }
    draft.put("uns", key_added, record)


def put_clusters(
    draft: Draft,
    mixture: Mixture,
    *,
    key_added: str,
    params: Mapping[str, Any],
    random_state: int,
    mixing: pd.DataFrame | None = None,
) -> None:
    """Store the clusters of a Gaussian mixture, and how batches mix in each."""
    n_used = int(mixture.labels.max()) + 1
    clusters = pd.Categorical.from_codes(
        mixture.labels, categories=pd.Index([str(label) for label in range(n_used)])
    )
    draft.put("obs", key_added, clusters)
    draft.put("obsm", Keys(key_added).proba, mixture.proba)
    record: dict[str, Any] = {
        "bic": pd.DataFrame(
            {
                "n_components": mixture.tried,
                "bic": mixture.bic,
                "icl": mixture.icl,
                "log_likelihood": mixture.final_log_likelihood,
                "converged": mixture.tried_converged,
                "as_good": mixture.as_good,
            },
            index=[str(row) for row in range(len(mixture.tried))],
        ),
        "converged": mixture.converged,
        "fitted_on": mixture.fitted_on,
        "log_likelihood": mixture.log_likelihood,
        "n_clusters": mixture.proba.shape[1],
        "n_components": mixture.n_components,
        "n_iter": mixture.n_iter,
        "params": as_params(params),
        "provenance": provenance(random_state),
    }
    if len(mixture.tried) > 1:
        record["agreement"] = mixture.agreement
    if len(mixture.overlaps):
        counts = np.arange(len(mixture.overlaps) + 1, 1, -1)
        record["overlap"] = pd.DataFrame(
            {"n_clusters": counts, "overlap": mixture.overlaps},
            index=[str(row) for row in range(len(counts))],
        )
    if mixing is not None:
        record["mixing"] = mixing
    draft.put("uns", key_added, record)
