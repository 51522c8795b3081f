"""What ``check`` proposes where the call leaves it open: batches, and names of results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mnncorrect import _adata
from mnncorrect._adata.batch_columns import candidates
from mnncorrect._adata.draft import foreign_among
from mnncorrect._adata.libraries import LIBRARY_KEY, add_libraries, told_libraries
from mnncorrect._adata.lookup import leading, told_sizes
from mnncorrect._adata.result_places import Place, places_of_clusters
from mnncorrect._log import in_words
from mnncorrect._run.checking.findings import Findings, open_batches
from mnncorrect._run.replacing import result_places

if TYPE_CHECKING:
    from anndata import AnnData

    from mnncorrect._adata import Batches
    from mnncorrect._prepare.inputs import JoinedInputs
    from mnncorrect._run.request import Request

# Most columns that are listed as possible batches.
MOST_OFFERED = 12
# So many other names of results are tried.
MOST_TRIED = 100


def propose_batches(found: Findings, tables: AnnData) -> Batches | None:
    """Propose what may name batches: a column, or what names of cells have beside the barcode.

    Returns the batches that are proposed, if there are any.
    """
    offered = candidates(tables.obs)
    told = told_libraries(tables.obs_names)
    libraries = told if min(told.values(), default=0) > 1 else {}
    found.facts |= {"batches": None, "candidates": offered, "libraries": libraries}
    names = [f"{name} ({n})" for name, n in offered.items()]
    told_names = leading(names, MOST_OFFERED) or "none"
    text = f"no --batch-key given; columns that could be: {told_names}"
    if libraries:
        text += f"; cell names contain libraries (cells of each): {told_sizes(libraries)}"
    found.lines.append(("batches", text))
    reasons = []
    for name in offered:
        try:
            batches = _adata.take_batches(tables, name)
        except (KeyError, ValueError, TypeError) as error:
            reasons.append(in_words(error))
            continue
        found.proposed = {"key": name}
        found.decisions.append("which column names the batches")
        return batches
    if libraries:
        obs = tables.obs[[]].copy()
        add_libraries(obs)
        found.proposed = {"batch_from_barcode": True}
        found.decisions.append(f"whether the libraries are the batches (obs[{LIBRARY_KEY!r}])")
        return _adata.take_batches(type(tables)(obs=obs), LIBRARY_KEY)
    # One sample of several is fit to be joined with the others.
    found.warnings += reasons
    found.proposed = {}
    found.decisions.append(open_batches(tables))
    return None


def tell_replaced(found: Findings, joined: JoinedInputs, request: Request) -> Request:
    """Say what of the user's ``run`` would replace, and have the next command not do so.

    Returns what is asked of the next command.
    """
    if request.force:
        return request
    adata = joined.like

    def stands(places: Sequence[Place]) -> bool:
        return bool(foreign_among(adata, places))

    default = request.keys.key_added
    tried = [default, *(f"{default}{n}" for n in range(2, MOST_TRIED))]
    named = (replace(request, params={**request.params, "key_added": name}) for name in tried)
    free = next((one for one in named if not stands(result_places(one))), request)
    name = free.keys.key_added
    if name != default:
        found.needed["key_added"] = name
        found.decisions.append(
            f"under which name results are kept, as some that mnncorrect has not made stand at "
            f"{default!r} (--key-added, or --force)"
        )
    if request.gmm and stands(places_of_clusters("gmm")):
        found.needed["gmm"] = False
        found.decisions.append("whether obs['gmm'] may be replaced (--force)")
        free = replace(free, gmm=False)
    return free
