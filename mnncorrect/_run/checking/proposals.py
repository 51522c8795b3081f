"""What ``check`` proposes: batches, names of results, and the command to run next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnncorrect import _adata
from mnncorrect._adata.batch_columns import candidates
from mnncorrect._adata.draft import foreign_among
from mnncorrect._adata.libraries import LIBRARY_KEY, add_libraries, told_libraries
from mnncorrect._adata.lookup import leading, told_sizes
from mnncorrect._adata.result_places import Place, places_of_clusters
from mnncorrect._io.input_parts import Selection
from mnncorrect._log import in_words
from mnncorrect._prepare.command_text import command_line, path_word
from mnncorrect._run.checking.findings import Findings, open_batches
from mnncorrect._run.replacing import places_of_request

if TYPE_CHECKING:
    from anndata import AnnData

    from mnncorrect._adata import Batches
    from mnncorrect._prepare.inputs import JoinedInputs
    from mnncorrect._run.checking.alternatives import Asked
    from mnncorrect._run.request import Request

# Most columns that are listed as possible batches.
MOST_OFFERED = 12
# So many other names of results are tried.
MOST_TRIED = 100
# Arguments that say what of the inputs is taken; another choice of them is checked anew.
SELECTING = tuple(field.name for field in fields(Selection))


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
    free = next((one for one in named if not stands(places_of_request(one))), request)
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


def next_command(
    found: Findings, asked: Asked, instead: tuple[Asked, Findings] | None
) -> str | None:
    """Write the command to run next, quoted for a shell; ``None``: none works.

    It has every argument of the call but those that it changes. ``instead`` is what to ask for
    instead of ``asked``, and what was found of that: what selects is checked next, all else is
    run. ``None``: nothing is known, or not given.
    """
    other, seen = (asked, found) if instead is None else instead
    if seen.problems or seen.proposed == {}:
        return None
    new = {name for name in {*asked, *other} if asked.get(name) != other.get(name)}
    corrected = bool(found.problems) and bool(new.intersection(SELECTING))
    prepared = not new <= {*SELECTING, "covariate"}
    said: dict[str, Any] = {**other, **(seen.proposed or {}), **seen.matching}
    inputs: list[Path] = said.pop("data", [])
    if (corrected or seen.proposed is not None) and not prepared:
        return command_line("check", inputs, said)
    said |= seen.needed
    said.pop("covariate", None)
    if "output" not in said:
        name = Path(inputs[0]).name if len(inputs) == 1 else "joined"
        ending = "zarr" if {"workers", "scheduler"} & {*said} else "h5ad"
        said["output"] = _free(f"{name.removesuffix(Path(name).suffix)}.corrected.{ending}")
    return command_line("run", inputs, said)


def what_to_do(found: Findings) -> str:
    """Say what to do where no command works: what has to be decided, or mended first."""
    if found.facts.get("removed", {}).get("n_removed") and found.unfit_parts[:1] == ["batches"]:
        return "remove fewer cells (see `filters` above), then run check again"
    if found.tables is not None and (found.proposed == {} or found.unfit_parts[0] == "batches"):
        return f"decide {open_batches(found.tables)}"
    return "no command works on these inputs; do what `not fit` says above, then run check again"


def _free(name: str) -> str:
    """Give a name that no file here has, as an output that exists is refused."""
    stem, _, ending = name.partition(".") if name.startswith("joined") else name.rpartition(".")
    tried, number = name, 1
    while Path(tried).exists():
        number += 1
        tried = f"{stem}-{number}.{ending}"
    return path_word(Path(tried))
