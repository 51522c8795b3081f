"""What else may be asked for where inputs are not fit to be corrected as they are asked for.

What is asked for are arguments of a run, all of which an alternative has that it does not change.
Each is judged as the call itself is, so that what is proposed works.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from mnncorrect._adata.batch_columns import candidates
from mnncorrect._adata.matrix import HIGHLY_VARIABLE
from mnncorrect._adata.slots import elements_of
from mnncorrect._prepare.cell_filters import symbol_columns
from mnncorrect._prepare.steps import ALL_GENES, Preparation
from mnncorrect._run.request import CELL_FILTERS

# Arguments of a run, and the covariates that check looks at.
Asked = Mapping[str, Any]

if TYPE_CHECKING:
    from mnncorrect._io.input_parts import Part
    from mnncorrect._run.checking.findings import Findings

    Examine = Callable[[Asked], Findings]

# Kinds of values that methods are made for.
USUAL_KINDS = ("counts", "log values")
# What principal components are called by scanpy and others, in lower case.
PCA_NAMES = ("x_pca", "pca")
# Arguments that say how values of genes are prepared, and those that need such values.
PREPARING = tuple(field.name for field in fields(Preparation) if field.name != "genes")
NEEDING_GENES = (*CELL_FILTERS, "write_expression", "use_rep")
# So many other places of values are looked at, columns of batches, and requests altogether.
MOST_PLACES, MOST_KEYS_TRIED, MOST_REQUESTS = 4, 4, 10


def changed(asked: Asked, **values: Any) -> dict[str, Any]:
    """Give some arguments other values; ``None``: the argument is left out."""
    return {name: value for name, value in {**asked, **values}.items() if value is not None}


def fit_alternative(
    found: Findings, asked: Asked, parts: Mapping[str, Part], examine: Examine
) -> tuple[Asked, Findings] | None:
    """Change what is asked for until it is fit, one problem after the other.

    ``found`` is what was found of it; ``examine`` finds it out of something else.

    Returns what is fit, and what was found of it; ``None``: none of those that were tried is.
    """
    tried = 0
    while found.problems:
        part = found.unfit_parts[0]
        for other in _changed(part, found, asked, parts):
            tried += 1
            if tried > MOST_REQUESTS:
                return None
            again = examine(other)
            if part not in again.unfit_parts and _are_usual(part, other, again):
                asked, found = other, again
                break
        else:
            return None
    return asked, found


def usual_values(
    asked: Asked, parts: Mapping[str, Part], examine: Examine
) -> tuple[Asked, Findings] | None:
    """Find counts or log values in another place of the inputs, which are fit."""
    for other in _other_places(asked, parts):
        again = examine(other)
        if not again.problems and _are_usual("values", other, again):
            return other, again
    return None


def _are_usual(part: str, asked: Asked, found: Findings) -> bool:
    """Return whether values in another place are better than those that are asked for."""
    if part not in ("inputs", "values") or asked.get("counts") is False or "use_rep" in asked:
        return True
    return found.facts.get("values", {}).get("kind") in USUAL_KINDS


def _changed(
    part: str, found: Findings, asked: Asked, parts: Mapping[str, Part]
) -> Iterator[Asked]:
    """Give other things to ask for that may not have the problem, the likeliest first."""
    if part in ("inputs", "values"):
        if found.matching:
            yield changed(asked, **found.matching)
        yield from _columns_of_symbols(asked, parts)
        yield from _other_places(asked, parts)
        yield from _components(asked, parts)
    if part in ("batches", "arguments") and found.conditions:
        yield changed(asked, subset=[*asked.get("subset", ()), *found.conditions])
    if part == "arguments":
        yield from _fewer_covariates(asked)
    if part == "batches":
        yield from _other_batches(found, asked, several=len(parts) > 1)
    if part == "values" and found.facts.get("values", {}).get("kind") == "scaled values":
        yield changed(asked, counts=False, hvg=False, n_top_genes=None)
    if part in ("values", "genes used") and HIGHLY_VARIABLE in getattr(found.tables, "var", ()):
        yield changed(asked, mask_var=ALL_GENES)
    if part == "covariate":  # which a correction does not need
        known = [] if found.tables is None else list(found.tables.obs.columns)
        left = [name for name in asked.get("covariate", ()) if name in known]
        yield changed(asked, covariate=left or None)


def _columns_of_symbols(asked: Asked, parts: Mapping[str, Part]) -> Iterator[Asked]:
    """Name genes by symbols, by which a filter finds mitochondrial genes."""
    if asked.get("max_mito") is None or asked.get("gene_key") is not None:
        return
    raw = asked.get("use_raw")
    tables = [one.adata.raw.var if raw else one.adata.var for one in parts.values()]
    for column in symbol_columns(tables[0]):
        if all(column in table for table in tables):
            yield changed(asked, gene_key=column)


def _fewer_covariates(asked: Asked) -> Iterator[Asked]:
    """Leave out one of the columns that are regressed out, or all."""
    given = asked.get("regress_out", ())
    for left_out in given:
        left = [name for name in given if name != left_out]
        if left:
            yield changed(asked, regress_out=left)
    if given:
        yield changed(asked, regress_out=None)


def _other_places(asked: Asked, parts: Mapping[str, Part]) -> Iterator[Asked]:
    """Read values elsewhere: where all inputs have some, counts first."""
    if asked.get("use_rep") is not None:
        return
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
    given = (asked.get("layer"), bool(asked.get("use_raw")))
    for layer, use_raw in [place for place in places if place != given][:MOST_PLACES]:
        yield changed(asked, layer=layer, use_raw=use_raw or None)


def _components(asked: Asked, parts: Mapping[str, Part]) -> Iterator[Asked]:
    """Correct principal components as they are, where an input has no values of genes."""
    objects = [part.adata for part in parts.values()]
    if all(adata.X is not None for adata in objects) or any(
        name in asked for name in NEEDING_GENES
    ):
        return
    idle = dict.fromkeys(("layer", "use_raw", "mask_var", *PREPARING))
    for name in objects[0].obsm:
        if str(name).lower() in PCA_NAMES and all(name in adata.obsm for adata in objects):
            yield changed(asked, **idle, use_rep=name)


def _other_batches(found: Findings, asked: Asked, *, several: bool) -> Iterator[Asked]:
    """Name the batches by other columns; of several inputs, by the input as well."""
    given = asked.get("key")
    keys: list[str | None] = []
    if found.tables is not None:
        keys += [name for name in candidates(found.tables.obs) if name != given][:MOST_KEYS_TRIED]
    if several and given is not None:
        keys.append(None)
    for key in keys:
        yield changed(asked, key=key, batch_from_barcode=None)
