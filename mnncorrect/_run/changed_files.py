"""One file read, changed by a tool, and written again, or not at all."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnncorrect import _adata
from mnncorrect._adata.draft import note_warnings
from mnncorrect._adata.record import CALL, as_call
from mnncorrect._adata.result_places import Place, places_of_correction
from mnncorrect._io import outputs, result_file
from mnncorrect._io.input_parts import ZARR, Part, Selection
from mnncorrect._io.result_file import opened_result, whole_result
from mnncorrect._io.subsets import chosen
from mnncorrect._io.zarr_output import is_zarr_name
from mnncorrect._io.zarr_tree import is_zarr
from mnncorrect._log import logger, noted
from mnncorrect._prepare.inputs import join, opened_inputs
from mnncorrect._prepare.limits import MemoryLimits, limits, size_in_bytes
from mnncorrect._run.replacing import refuse
from mnncorrect.tl import read_model
from mnncorrect.tl._project import project, project_stored

if TYPE_CHECKING:
    from anndata import AnnData


# Bytes of the values that are in memory, of a file that is copied.
MEMORY = 2 << 30


@contextlib.contextmanager
def changed_file(
    path: Path,
    output: Path | None,
    places: Sequence[Place],
    *,
    force: bool,
    also_read: Sequence[Path] = (),
) -> Iterator[AnnData]:
    """Open a file, and write the object when the block ends well, if there is an output."""
    if output is None:
        with opened_result(path) as adata:
            yield adata
        return
    with (
        whole_result(output, force=force, inputs=[path, *also_read]) as temporary,
        limits_of(temporary, output) as limit,
        opened_result(path) as adata,
    ):
        refuse(adata, places, force=force)
        if is_zarr(path) and limit.shared is None:
            # HDF5 copies its own elements only.
            adata = chosen(Part(adata, kind=ZARR), limit.store)
        yield adata
        result_file.write(adata, temporary, limit.shared)
    logger.info("wrote %s", output)


def limits_of(
    temporary: Path, output: Path, memory: int = MEMORY
) -> contextlib.AbstractContextManager[MemoryLimits]:
    """Give the limits of a command that writes an output, h5ad or zarr, to a temporary path."""
    return limits(memory, output, zarr=temporary if is_zarr_name(output) else None)


def project_file(
    path: Path,
    model: Path,
    output: Path,
    selection: Selection,
    *,
    key_added: str,
    adjusted_basis: str | None,
    force: bool,
    memory_limit: str,
    **options: Any,
) -> None:
    """Place the cells of a file in the correction of a model, and write them.

    ``options``: arguments of :func:`mnncorrect.tl.project`.
    """
    keys = _adata.Keys(key_added)
    parameters = inspect.signature(project).parameters
    usual = {name: at.default for name, at in parameters.items()} | vars(Selection())
    usual |= {name: options[name] for name in ("progress", "n_jobs")} | {"random_state": 0}
    with (
        noted(),
        whole_result(output, force=force, inputs=[path, model]) as temporary,
        limits_of(temporary, output, size_in_bytes(memory_limit)) as limit,
        opened_inputs([path], limit.scratch) as parts,
    ):
        joined = join(parts, selection)
        if limit.shared is None:
            outputs.refuse_other_shape(output, [path], joined.tables)
        else:
            joined = replace(joined, copied=(*joined.copied, ZARR))
        adata = joined.make(limit.store)
        basis = adjusted_basis or keys.embedding
        refuse(adata, places_of_correction(keys, basis), force=force)
        given = {
            "adata": adata,
            "model": read_model(model),
            "key": joined.key,
            "key_added": key_added,
            "adjusted_basis": adjusted_basis,
            **joined.source,
            **options,
        }
        project_stored(given, scratch=limit.scratch, block_bytes=limit.block)
        asked = {**vars(selection), "adjusted_basis": adjusted_basis, **options}
        draft = _adata.Draft(adata, None)
        draft.amend(keys.uns, {CALL: as_call("project", asked | {"key_added": key_added}, usual)})
        draft.commit()
        note_warnings(adata, keys.uns)
        result_file.write(adata, temporary, limit.shared)
    logger.info("wrote %s", output)
