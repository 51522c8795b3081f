"""The report: one HTML file about a correction, several of the same cells, or new cells.

``collect`` reads and measures what a file holds, and judges it; ``draw`` makes maps and plots;
``pages`` fills ``templates``. Of the matrices of expression, only cells are read that markers of
clusters are found in.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnncorrect._adata import Keys
from mnncorrect._adata.lookup import require
from mnncorrect._adata.record import entry_of
from mnncorrect._io import model_file
from mnncorrect._io.result_file import opened_result
from mnncorrect._prepare.before_and_after import LABEL_CLUSTERS
from mnncorrect.report.collect.report_options import ReportOptions

if TYPE_CHECKING:
    from anndata import AnnData

    from mnncorrect.report.collect.facts import Gathered

__all__ = ["make_report", "report_of"]


def make_report(paths: Sequence[Path], **wanted: Any) -> str:
    """Make the page about one file, corrected or projected, or several corrections of its cells.

    ``wanted``: fields of :class:`mnncorrect.report.collect.report_options.ReportOptions`; the
    reference is named by the path of the corrected file, or of its model.
    """
    reference = wanted.get("reference")
    with contextlib.ExitStack() as stack:
        if reference is not None and len(paths) > 1:
            raise ValueError("`reference` is for one file of projected cells; give that file alone")
        if reference is not None and model_file.is_model(reference):
            wanted["reference"] = model_file.read(reference)
        elif reference is not None:
            wanted["reference"] = stack.enter_context(opened_result(reference))
        return _report_of_files(paths, **wanted)


def _report_of_files(paths: Sequence[Path], **wanted: Any) -> str:
    names = _file_labels(paths)
    if len(paths) > 1:
        _refuse_unlike(dict(zip(names, paths, strict=True)), ReportOptions(**wanted))
    found: list[Gathered] = []
    others = list(ReportOptions(**wanted).compare_rep)
    for path, name in zip(paths, names, strict=True):
        with opened_result(path) as adata:
            try:
                if len(paths) == 1:
                    _refuse_missing(adata.obs, adata.obsm, ReportOptions(**wanted))
                # Of several files, the first that has an embedding of another tool gives it.
                own = [rep for rep in others if rep in adata.obsm or len(paths) == 1]
                options = ReportOptions(**(wanted | {"compare_rep": tuple(own)}))
                found += _gathered(adata, name, options)
                others = [rep for rep in others if rep not in own]
            except (KeyError, ValueError) as error:
                raise type(error)(f"{path}: {error.args[0]}") from None
    return _rendered(found)


def report_of(adata: AnnData, name: str, **wanted: Any) -> str:
    """Make the report of an object; scores that are computed for it stay in the object."""
    return _rendered(_gathered(adata, name, ReportOptions(**wanted)))


def _refuse_unlike(paths: Mapping[str, Path], wanted: ReportOptions) -> None:
    """Refuse files that cannot be compared, before any of them is measured."""
    cells: dict[str, Any] = {}
    columns: set[str] = set()
    embeddings: set[str] = set()
    for name, path in paths.items():
        with opened_result(path) as adata:
            if entry_of(adata.uns, Keys(wanted.key_added).uns, "projection") is not None:
                raise ValueError(
                    f"{name} holds cells that were projected onto a model, and corrections are "
                    "compared; make a report of it alone"
                )
            if wanted.label_key is not None:
                require(wanted.label_key, adata.obs.columns, f"{path}: obs")
            cells[name] = adata.obs_names
            embeddings |= set(adata.obsm)
            columns |= set(adata.obs)
    (first, own), *others = cells.items()
    for name, other in others:
        n_both = len(own.intersection(other))
        if not n_both == len(own) == len(other):
            raise ValueError(
                f"{first} ({len(own)} cells) and {name} ({len(other)} cells) have {n_both} cells "
                "in common; only corrections of the same cells can be compared; make one report "
                "for each file"
            )
    _refuse_missing(columns, embeddings, wanted)


def _refuse_missing(
    columns: Collection[str], embeddings: Collection[str], wanted: ReportOptions
) -> None:
    """Refuse embeddings of other tools and clusters that no file has."""
    for rep in wanted.compare_rep:
        require(rep, embeddings, "obsm")
    if wanted.clusters != LABEL_CLUSTERS:
        require(wanted.clusters, columns, "obs")


def _gathered(adata: AnnData, name: str, wanted: ReportOptions) -> list[Gathered]:
    """Collect what is known of a file, and of the embeddings that it is compared with."""
    from mnncorrect.report.collect import facts, placement
    from mnncorrect.report.collect.other_embedding import gather_other

    if entry_of(adata.uns, Keys(wanted.key_added).uns, "projection") is not None:
        return [placement.gather_projection(adata, name, wanted)]
    if wanted.reference is not None:
        raise ValueError(
            "`reference` shows placed cells among those of the correction they were placed in, and "
            "this file is a correction itself; leave it out"
        )
    found = facts.gather_correction(adata, name, wanted)
    return [found, *(gather_other(adata, found, rep, wanted) for rep in wanted.compare_rep)]


def _rendered(found: Sequence[Gathered]) -> str:
    from mnncorrect.report.pages import compare, corrected, projected

    if len(found) > 1:
        return compare.comparison_page(found)
    if found[0].facts["about"] == "projection":
        return projected.projected_page(found[0])
    return corrected.corrected_page(found[0])


def _file_labels(paths: Sequence[Path]) -> list[str]:
    """Name each file by its own name, or by its path where these are the same."""
    short = [path.name for path in paths]
    return short if len(set(short)) == len(short) else [str(path) for path in paths]
