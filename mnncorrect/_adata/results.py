"""What results are called in AnnData, and what is recorded with each of them."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import distribution, version
from typing import Any

import numpy as np
import pandas as pd

from mnncorrect import __version__

# What decides the numbers besides this package; recorded with every result.
PACKAGES = ("anndata", "numba", "numpy", "pandas", "pynndescent", "scikit-learn", "scipy")

# What new cells get that resemble no labeled cell enough.
UNASSIGNED = "unassigned"


class _Name:
    """A name that is made of ``key_added``."""

    def __init__(self, form: str) -> None:
        self.form = form

    def __get__(self, keys: Keys, _: type[Keys]) -> str:
        return self.form.format(keys.key_added)


@dataclass(frozen=True)
class Keys:
    """The names under which results are stored, all made from ``key_added``."""

    key_added: str = "mnn"

    # In layers: corrected expression; the same without negative values, and scaled back to counts;
    # what was normalized.
    layer = _Name("{}")
    clipped = _Name("{}_clipped")
    scaled_back = _Name("{}_counts")
    normalized = _Name("{}_log1p")
    # In obsm: the corrected embedding; the components before; the UMAP; probabilities of clusters.
    embedding = _Name("X_{}")
    uncorrected = _Name("X_{}_uncorrected")
    drawn = _Name("X_{}_umap")
    proba = _Name("{}_proba")
    # In varm and var: loadings of the components, and what was subtracted from each gene before;
    # effects of covariates; which genes were corrected, and which distances were measured on.
    loadings = _Name("{}_loadings")
    regressed = _Name("{}_regressed")
    center = _Name("{}_center")
    corrected = _Name("{}_corrected")
    genes = _Name("{}_genes")
    # In obs: what each cell was divided by; how sure its place is; the label it got from a model,
    # and the probability that this is right; Leiden clusters, which uns has an entry of.
    norm = _Name("{}_norm")
    confidence = _Name("{}_confidence")
    label = _Name("{}_label")
    label_probability = _Name("{}_label_probability")
    leiden = _Name("{}_leiden")
    # In obsp: mutual nearest pairs.
    pairs = _Name("{}_pairs")
    # In uns: merges, parameters and provenance; what multibatch_pca found (in obsm after X_); how
    # the UMAP was drawn, and its graph, which is in obsp with more after the name; scores.
    uns = _Name("{}")
    multibatch_pca = _Name("{}_multibatch_pca")
    map = _Name("{}_umap")
    neighbors = _Name("{}_neighbors")
    evaluation = _Name("{}_evaluation")

    def __post_init__(self) -> None:
        name = self.key_added
        if not isinstance(name, str) or not name or "/" in name:
            raise ValueError(f"key_added is {name!r}; give a text that is not empty and has no '/'")

    def basis(self, adjusted_basis: str | None, use_rep: str | None = None) -> str:
        """Name where a corrected embedding goes in ``obsm``."""
        name = self.embedding if adjusted_basis is None else adjusted_basis
        if name == (self.uncorrected if use_rep is None else use_rep):
            raise ValueError(
                f"the result would take the place of obsm[{name!r}], which it is made of; name "
                "another place: `adjusted_basis`"
            )
        return name


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
    return {name: _installed_version(name) for name in PACKAGES}


def _installed_version(package: str) -> str:
    """Read a version alone: to parse all metadata takes ten times as long."""
    metadata = distribution(package).read_text("METADATA") or ""
    found = re.search(r"^Version: (\S+)$", metadata, re.MULTILINE)
    return found[1] if found else version(package)


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


def recorded_table(content: Any) -> pd.DataFrame:
    """Make a table for ``uns``: its rows are numbered, in text, as files keep them."""
    table = pd.DataFrame(content)
    return table.set_axis([str(row) for row in range(len(table))])
