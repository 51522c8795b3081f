"""Where each kind of result lies in an object, and how an entry of ``uns`` lists its places."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from mnncorrect._adata.results import Keys

# A place in an object: slot and name.
Place: TypeAlias = tuple[str, str]
# The field of an entry with the places of the results that belong to it.
RESULTS = "results"


def results_of(entry: Mapping[str, Any]) -> list[Place]:
    """Return the places of the results that an entry of this package lists."""
    try:
        return [(str(slot), str(name)) for slot, name in json.loads(str(entry[RESULTS]))]
    except (KeyError, ValueError, TypeError):
        return []


def as_results(places: Iterable[Place]) -> str:
    """Return places as an entry lists them."""
    return json.dumps([list(place) for place in sorted(set(places))], ensure_ascii=False)


def places_of_correction(keys: Keys, basis: str | None) -> list[Place]:
    """Return where a correction puts its results (``basis``: in ``obsm``), but for expression."""
    places = [("uns", keys.uns), ("obsp", keys.pairs)]
    places += [("var", keys.genes), ("var", keys.corrected), ("varm", keys.regressed)]
    if basis is not None:
        places += [
            ("obsm", basis),
            ("obsm", keys.uncorrected),
            ("obs", keys.confidence),
            ("obs", keys.norm),
            ("obs", keys.label),
            ("obs", keys.label_probability),
            ("var", keys.center),
            ("varm", keys.loadings),
        ]
    return places


def places_of_clusters(name: str) -> list[Place]:
    """Return where clusters and their probabilities are put."""
    return [("uns", name), ("obs", name), ("obsm", Keys(name).proba)]


def places_of_leiden(keys: Keys) -> list[Place]:
    """Return where Leiden clusters are put."""
    return [("uns", keys.leiden), ("obs", keys.leiden)]


def places_of_components(name: str) -> list[Place]:
    """Return where principal components are put."""
    return [("uns", name), ("obsm", Keys(name).embedding), ("varm", name)]


def places_of_map(keys: Keys) -> list[Place]:
    """Return where a map and its graph are put."""
    return [
        ("uns", keys.map),
        ("uns", keys.neighbors),
        ("obsm", keys.drawn),
        *(("obsp", f"{keys.neighbors}_{name}") for name in ("distances", "connectivities")),
    ]
