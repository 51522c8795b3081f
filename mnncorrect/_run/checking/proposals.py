"""What ``check`` proposes where the call leaves it open: batches, other values, other names."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mnncorrect._adata.draft import foreign_among
from mnncorrect._adata.record import places_of_clusters
from mnncorrect._log import in_words
from mnncorrect._run.replacing import result_places

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from mnncorrect._adata import Batches
    from mnncorrect._adata.record import Place
    from mnncorrect._io.input_parts import Selection
    from mnncorrect._prepare.inputs import JoinedInputs
    from mnncorrect._prepare.limits import MemoryLimits
    from mnncorrect._run.checking.findings import Findings
    from mnncorrect._run.request import Request

# Most columns that are listed as possible batches.
MOST_OFFERED = 12
# So many other places of values are looked at, and other names of results.
MOST_PLACES, MOST_TRIED = 4, 100
# Kinds of values that are looked for elsewhere in the file.
KINDS_ELSEWHERE = ("scaled values", "all zero")
# What is found out of a block takes so many times its memory.
MEMORY_FACTOR = 4


def propose_batches(found: Findings, tables: AnnData) -> Batches | None:
    """Propose what may name batches: a column, or what names of cells have beside the barcode.

    Returns the batches that are proposed, if there are any.
    """
    from mnncorrect import _adata
    from mnncorrect._adata.barcodes import LIBRARY_KEY, add_libraries, told_libraries
    from mnncorrect._adata.batch_columns import candidates
    from mnncorrect._adata.lookup import listed, told_sizes

    offered = candidates(tables.obs)
    told = told_libraries(tables.obs_names)
    libraries = told if min(told.values(), default=0) > 1 else {}
    found.facts |= {"batches": None, "candidates": offered, "libraries": libraries}
    names = [f"{name} ({n})" for name, n in offered.items()]
    if len(names) > MOST_OFFERED:
        names = [*names[:MOST_OFFERED], f"and {len(names) - MOST_OFFERED} more"]
    text = f"no --batch-key given; columns that could be: {', '.join(names) or 'none'}"
    if libraries:
        text += f"; cell names contain libraries: {told_sizes(libraries)}"
    found.lines.append(("batches", text))
    reasons = []
    for name in offered:
        try:
            batches = _adata.take_batches(tables, name)
        except (KeyError, ValueError, TypeError) as error:
            reasons.append(in_words(error))
            continue
        found.proposed = ["-b", name]
        found.decisions.append("which column names the batches")
        return batches
    if libraries:
        obs = tables.obs[[]].copy()
        add_libraries(obs)
        found.proposed = ["--batch-from-barcode"]
        found.decisions.append(f"whether the libraries are the batches (obs[{LIBRARY_KEY!r}])")
        return _adata.take_batches(type(tables)(obs=obs), LIBRARY_KEY)
    # One sample of several is fit to be joined with the others.
    found.warnings += reasons
    found.proposed = []
    found.decisions.append(
        "what the batches are: give other files beside this one, or a column of obs with "
        f"--batch-key ({listed(tables.obs.columns) or 'obs has none'})"
    )
    return None


def tell_replaced(found: Findings, joined: JoinedInputs, request: Request) -> Request:
    """Say what of the user's ``run`` would replace, and have the next command not do so.

    Returns what is asked of the next command.
    """
    adata = joined.like

    def stands(places: Sequence[Place]) -> bool:
        return bool(foreign_among(adata, places))

    default = request.keys.key_added
    tried = [default, *(f"{default}{n}" for n in range(2, MOST_TRIED))]
    named = (replace(request, params={**request.params, "key_added": name}) for name in tried)
    free = next((one for one in named if not stands(result_places(one))), request)
    name = free.keys.key_added
    if name != default:
        found.flags += ["--key-added", name]
        found.decisions.append(
            f"under which name results are kept, as some that mnncorrect has not made stand at "
            f"{default!r} (--key-added, or --force)"
        )
    if stands(places_of_clusters("gmm")):
        found.flags.append("--no-gmm")
        found.decisions.append("whether obs['gmm'] may be replaced (--force)")
        free = replace(free, gmm=False)
    return free


def look_elsewhere(
    found: Findings,
    joined: JoinedInputs,
    selection: Selection,
    limit: MemoryLimits,
    *,
    scaled: bool,
) -> None:
    """Look for counts or log values in other places, where those of the call are unusable."""
    import numpy as np

    from mnncorrect import _adata
    from mnncorrect._adata.matrix import take_values
    from mnncorrect._adata.slots import elements_of
    from mnncorrect._io.pieces import Piece
    from mnncorrect._prepare import fitness

    (part,) = joined.parts.values()
    places: list[tuple[str | None, bool]] = [
        (layer, False) for layer in elements_of(part.adata, "layers")
    ]
    places.sort(key=lambda place: "count" not in str(place[0]).lower())
    if part.adata.raw is not None:
        places.insert(min(1, len(places)), (None, True))
    for layer, use_raw in [
        place for place in places if place != (selection.layer, selection.use_raw)
    ][:MOST_PLACES]:
        where = _adata.describe_source(layer, use_raw=use_raw)
        values, at = take_values(part.adata, layer=layer, use_raw=use_raw)
        try:
            seen = fitness.scan_values(
                [Piece(values, where, joined.pieces[0].rows, at)],
                np.zeros(joined.tables.n_obs, np.int64),
                limit.scratch,
                block_bytes=limit.block // MEMORY_FACTOR,
            )
        except (ValueError, TypeError):
            continue
        if seen.kind in {"counts", "log values"} and not seen.n_nan + seen.n_infinite:
            found.source = ["--use-raw"] if use_raw else ["--layer", str(layer)]
            found.decisions.append(f"whether to correct {where} instead, which holds {seen.kind}")
            return
    if scaled:
        found.flags.append("--no-counts")
        found.decisions.append("whether to correct scaled values, for which methods are not made")
