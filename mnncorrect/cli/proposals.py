"""What ``check`` proposes where the call leaves it open: batches, other values, other names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mnncorrect._wording import for_shell
from mnncorrect.cli.wording import on_shell

if TYPE_CHECKING:
    from anndata import AnnData

    from mnncorrect._adata import Batches
    from mnncorrect.cli.findings import Findings
    from mnncorrect.cli.options.shared import Reading
    from mnncorrect.cli.prepare import Limits
    from mnncorrect.cli.together import Opened

# Of columns that could name batches, so many are told.
MOST_OFFERED = 12
# So many other places of values are looked at, and other names of results.
MOST_PLACES, MOST_TRIED = 4, 100
# Kinds of values that are looked for elsewhere in the file.
ELSEWHERE = ("scaled values", "all zero")
# What is found out of a block takes so many times its memory.
LOOKED_AT = 4


def propose(found: Findings, tables: AnnData) -> Batches | None:
    """Propose what may name batches: a column, or what names of cells have beside the barcode.

    Returns
    -------
    The batches that are proposed, if there are any.
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
        text += f"; names of cells tell of libraries: {told_sizes(libraries)}"
    found.lines.append(("batches", text))
    reasons = []
    for name in offered:
        try:
            batches = _adata.take_batches(tables, name)
        except (KeyError, ValueError, TypeError) as error:
            reasons.append(on_shell(for_shell(error)))
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
    # One sample of several is fit to be put together with the others.
    found.warnings += reasons
    found.proposed = []
    found.decisions.append(
        "what tells the batches: other files, given beside this one, or a column of obs, by "
        f"--batch-key ({listed(tables.obs.columns) or 'obs has none'})"
    )
    return None


def tell_replaced(found: Findings, opened: Opened, reading: Reading) -> None:
    """Say what of the user's ``run`` would replace, and have the next command not do so."""
    import scipy.sparse as sp

    from mnncorrect._adata.record import places_of_clusters
    from mnncorrect._io.h5ad import refuse_unwritable
    from mnncorrect.cli.options.correction import Correction, Expression
    from mnncorrect.cli.replacing import of_correction, refuse

    (part, *others) = opened.parts.values()
    adata = part.adata
    if others:
        # Of several inputs the tables are joined, and the layers that all have.
        adata = opened.tables.copy()
        for layer in opened.layers:
            adata.layers[layer] = sp.csr_matrix(adata.shape)
    before = len(found.problems)
    found.try_to("tables", lambda: refuse_unwritable(adata))
    if len(found.problems) > before:
        return

    def stands(key_added: str) -> bool:
        correction, source = Correction(key_added=key_added), {"layer": reading.layer}
        places = of_correction(correction, Expression(), source, keep=True)
        try:
            refuse(adata, places, force=False)
        except ValueError:
            return True
        return False

    tried = [Correction.key_added, *(f"{Correction.key_added}{n}" for n in range(2, MOST_TRIED))]
    name = next((name for name in tried if not stands(name)), None)
    if name is not None and name != Correction.key_added:
        found.flags += ["--key-added", name]
        found.decisions.append(
            f"under which name results are kept, as some that mnncorrect has not made stand at "
            f"{Correction.key_added!r} (--key-added, or --force)"
        )
    try:
        refuse(adata, places_of_clusters("gmm"), force=False)
    except ValueError:
        found.flags.append("--no-gmm")
        found.decisions.append("whether what is called gmm may be replaced (--force)")


def look_elsewhere(
    found: Findings, opened: Opened, reading: Reading, limit: Limits, *, scaled: bool
) -> None:
    """Look for counts or log values in other places, where those of the call are of no use."""
    import numpy as np

    from mnncorrect import _adata
    from mnncorrect._adata.matrix import take_values
    from mnncorrect._adata.slots import elements_of
    from mnncorrect._io.pieces import Piece
    from mnncorrect._prepare import fitness

    (part,) = opened.parts.values()
    places: list[tuple[str | None, bool]] = [
        (layer, False) for layer in elements_of(part.adata, "layers")
    ]
    places.sort(key=lambda place: "count" not in str(place[0]).lower())
    if part.adata.raw is not None:
        places.insert(min(1, len(places)), (None, True))
    for layer, use_raw in [place for place in places if place != (reading.layer, reading.use_raw)][
        :MOST_PLACES
    ]:
        where = _adata.describe_source(layer, use_raw=use_raw)
        values, at = take_values(part.adata, layer=layer, use_raw=use_raw)
        try:
            seen = fitness.look(
                [Piece(values, where, opened.pieces[0].rows, at)],
                np.zeros(opened.tables.n_obs, np.int64),
                limit.scratch,
                block_bytes=limit.block // LOOKED_AT,
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
