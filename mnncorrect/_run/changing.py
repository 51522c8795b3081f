"""One file read, changed by a tool, and written again, or not at all."""

from __future__ import annotations

import contextlib
import inspect
from typing import TYPE_CHECKING, Any

from mnncorrect import _adata
from mnncorrect._adata.draft import note_warnings
from mnncorrect._adata.record import CALL, as_call
from mnncorrect._adata.result_places import places_of_correction
from mnncorrect._io import h5ad, outputs
from mnncorrect._io.input_parts import Selection
from mnncorrect._log import logger, noted
from mnncorrect._prepare.inputs import join, opened_inputs
from mnncorrect._prepare.limits import limits, size_in_bytes
from mnncorrect._run.replacing import refuse

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from anndata import AnnData

    from mnncorrect._adata.result_places import Place


@contextlib.contextmanager
def changed_file(
    path: Path, output: Path | None, places: Sequence[Place], *, force: bool
) -> Iterator[AnnData]:
    """Open an h5ad file, and write the object when the block ends well, if there is an output."""
    with contextlib.ExitStack() as stack:
        temporary = None
        if output is not None:
            whole = outputs.whole_output(output, force=force, inputs=[path])
            temporary = stack.enter_context(whole)
        adata = stack.enter_context(h5ad.opened_h5ad(path))
        if temporary is not None:
            refuse(adata, places, force=force)
        yield adata
        if temporary is not None:
            h5ad.write(adata, temporary)
    if output is not None:
        logger.info("wrote %s", output)


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
    from mnncorrect.tl import read_model
    from mnncorrect.tl._project import project, project_stored

    keys = _adata.Keys(key_added)
    parameters = inspect.signature(project).parameters
    usual = {name: at.default for name, at in parameters.items()} | vars(Selection())
    usual |= {name: options[name] for name in ("progress", "n_jobs")} | {"random_state": 0}
    with (
        noted(),
        outputs.whole_output(output, force=force, inputs=[path, model]) as temporary,
        limits(size_in_bytes(memory_limit), output) as limit,
        opened_inputs([path], limit.scratch) as parts,
    ):
        joined = join(parts, selection)
        outputs.refuse_other_shape(output, [path], joined.tables)
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
        h5ad.write(adata, temporary)
    logger.info("wrote %s", output)
