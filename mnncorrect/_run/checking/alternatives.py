"""What else may be asked for where inputs are not fit to be corrected as they are asked for.

Each alternative is judged as the request itself is, so that what is proposed works.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mnncorrect._adata.batch_columns import candidates
from mnncorrect._adata.matrix import HIGHLY_VARIABLE
from mnncorrect._adata.slots import elements_of
from mnncorrect._prepare.steps import ALL_GENES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from mnncorrect._io.input_parts import Part, Selection
    from mnncorrect._run.checking.findings import Findings
    from mnncorrect._run.request import Request

    Examine = Callable[[Request], Findings]

# Kinds of values that methods are made for.
USUAL_KINDS = ("counts", "log values")
# So many other places of values are looked at, columns of batches, and requests altogether.
MOST_PLACES, MOST_KEYS_TRIED, MOST_REQUESTS = 4, 4, 10


def fit_alternative(
    found: Findings, request: Request, parts: Mapping[str, Part], examine: Examine
) -> tuple[Request, Findings] | None:
    """Change a request until it is fit, one problem after the other.

    ``found`` is what was found of the request; ``examine`` finds it out of another one.

    Returns a request that is fit, and what was found of it; ``None``: none of those that were tried
    is.
    """
    tried = 0
    while found.problems:
        part = found.unfit_parts[0]
        for other in _changed(part, found, request, parts):
            tried += 1
            if tried > MOST_REQUESTS:
                return None
            again = examine(other)
            if part not in again.unfit_parts and _are_usual(part, other, again):
                request, found = other, again
                break
        else:
            return None
    return request, found


def usual_values(
    request: Request, parts: Mapping[str, Part], examine: Examine
) -> tuple[Request, Findings] | None:
    """Find counts or log values in another place of the inputs, which are fit."""
    for other in _other_places(request, parts):
        again = examine(other)
        if not again.problems and _are_usual("values", other, again):
            return other, again
    return None


def _are_usual(part: str, request: Request, found: Findings) -> bool:
    """Return whether values in another place are better than those that are asked for."""
    if part not in ("inputs", "values") or request.preparation.counts is False:
        return True
    return found.facts.get("values", {}).get("kind") in USUAL_KINDS


def _changed(
    part: str, found: Findings, request: Request, parts: Mapping[str, Part]
) -> Iterator[Request]:
    """Give other requests that may not have the problem, the likeliest first."""
    selection, preparation = request.selection, request.preparation
    if part in ("inputs", "values"):
        if found.matching:
            yield _selecting(request, replace(selection, **found.matching))
        yield from _other_places(request, parts)
    if part == "batches":
        if found.conditions:
            subset = (*selection.subset, *found.conditions)
            yield _selecting(request, replace(selection, subset=subset))
        yield from _other_batches(found, request, several=len(parts) > 1)
    if part == "values" and found.facts.get("values", {}).get("kind") == "scaled values":
        yield replace(request, preparation=replace(preparation, counts=False, hvg=False))
    if part in ("values", "genes used") and HIGHLY_VARIABLE in getattr(found.tables, "var", ()):
        yield replace(request, preparation=replace(preparation, genes=ALL_GENES))
    if part == "covariate":  # which a correction does not need
        yield request


def _other_places(request: Request, parts: Mapping[str, Part]) -> Iterator[Request]:
    """Read values elsewhere: where all inputs have some, counts first."""
    selection = request.selection
    objects = [part.adata for part in parts.values()]
    layers = [
        layer
        for layer in elements_of(objects[0], "layers")
        if all(layer in elements_of(adata, "layers") for adata in objects)
    ]
    places: list[tuple[str | None, bool]] = [(layer, False) for layer in layers]
    places.sort(key=lambda place: "count" not in str(place[0]).lower())
    if all(adata.raw is not None for adata in objects):
        places.insert(min(1, len(places)), (None, True))
    if all(adata.X is not None for adata in objects):
        places.append((None, False))
    given = (selection.layer, selection.use_raw)
    for layer, use_raw in [place for place in places if place != given][:MOST_PLACES]:
        yield _selecting(request, replace(selection, layer=layer, use_raw=use_raw))


def _other_batches(found: Findings, request: Request, *, several: bool) -> Iterator[Request]:
    """Name the batches by other columns; of several inputs, by the input as well."""
    given = request.selection.key
    keys: list[str | None] = []
    if found.tables is not None:
        keys += [name for name in candidates(found.tables.obs) if name != given][:MOST_KEYS_TRIED]
    if several and given is not None:
        keys.append(None)
    for key in keys:
        selection: Selection = replace(request.selection, key=key, batch_from_barcode=False)
        yield _selecting(request, selection)


def _selecting(request: Request, selection: Selection) -> Request:
    return replace(request, selection=selection)
