"""Floor 3, the report: one HTML file about a correction, several of the same cells, or new cells.

``facts`` and ``placement`` read what there is, ``advice`` judges it, ``maps`` and ``drawings`` make
pictures, ``sections`` say one thing each, ``corrected``, ``placed`` and ``compare`` put it all
together. Matrices of expression stay in the file.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from anndata import AnnData

    from mnncorrect.report.collect.facts import Gathered, Wanted

__all__ = ["make_report", "report_of"]


def make_report(paths: Sequence[Path], **wanted: Any) -> str:
    """Make the report of one file, corrected or projected, or of several corrections of its cells.

    Parameters
    ----------
    paths
        h5ad files.
    wanted
        Fields of :class:`mnncorrect.report.collect.facts.Wanted`.

    Returns
    -------
    A page of HTML that needs nothing else.

    Raises
    ------
    KeyError
        If a file holds neither a correction nor projected cells, or lacks a column or embedding.
    OSError
        If a file cannot be read.
    ValueError
        If files are not of the same cells, several hold projected cells, or values are no numbers.
    """
    from mnncorrect._io import h5ad
    from mnncorrect.report.collect.facts import Wanted
    from mnncorrect.report.pages import compare

    names = _names(paths)
    found = []
    for path, name in zip(paths, names, strict=True):
        with contextlib.ExitStack() as stack:
            adata = stack.enter_context(h5ad.opened(path))
            try:
                found.append(_gathered(adata, name, Wanted(**wanted)))
            except (KeyError, ValueError) as error:
                msg = f"{path}: {error.args[0]}"
                raise type(error)(msg) from None
    return _rendered(found[0]) if len(found) == 1 else compare.render(found)


def report_of(adata: AnnData, name: str, **wanted: Any) -> str:
    """Make the report of an object that was corrected, or whose cells were projected.

    Parameters
    ----------
    adata
        The object. Scores that are computed for the report stay in it.
    name
        What the report calls it: that of its file.
    wanted
        As in :func:`make_report`.

    Raises
    ------
    KeyError, ValueError
        As :func:`make_report`.
    """
    from mnncorrect.report.collect.facts import Wanted

    return _rendered(_gathered(adata, name, Wanted(**wanted)))


def _gathered(adata: AnnData, name: str, wanted: Wanted) -> Gathered:
    from mnncorrect._adata import Keys
    from mnncorrect._adata.record import kind_of
    from mnncorrect.report.collect import facts, placement

    if kind_of(adata.uns.get(Keys(wanted.key_added).uns)) == "projection":
        return placement.gather(adata, name, wanted)
    return facts.gather(adata, name, wanted)


def _rendered(found: Gathered) -> str:
    from mnncorrect.report.pages import corrected, placed

    if found.facts["about"] == "projection":
        return placed.render(found)
    return corrected.render(found)


def _names(paths: Sequence[Path]) -> list[str]:
    """Name each file by its own name, or by its path where these are the same."""
    short = [path.name for path in paths]
    return short if len(set(short)) == len(short) else [str(path) for path in paths]
