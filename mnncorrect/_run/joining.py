"""Several files joined into one: ``mnncorrect concat``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mnncorrect._adata import provenance
from mnncorrect._adata.batches import warn_of_missing
from mnncorrect._adata.draft import note_warnings
from mnncorrect._adata.libraries import LIBRARY_KEY
from mnncorrect._adata.lookup import told_sizes
from mnncorrect._adata.record import JOINED
from mnncorrect._io import concat, outputs, result_file
from mnncorrect._io.input_parts import FILE_KEY, Selection
from mnncorrect._io.result_file import whole_result
from mnncorrect._log import logger, noted
from mnncorrect._prepare.first_look import judge_inputs
from mnncorrect._prepare.inputs import SHEET_KEY, opened_inputs
from mnncorrect._prepare.limits import size_in_bytes
from mnncorrect._run.changed_files import limits_of
from mnncorrect._run.request import listed_inputs
from mnncorrect._run.same_model import keep_places, kept_places
from mnncorrect._wording import UsageError


def join_files(
    paths: Sequence[Path] | None,
    output: Path,
    selection: Selection,
    *,
    sheet: Path | None,
    force: bool,
    memory_limit: str,
) -> None:
    """Write the cells of several files, or of those that a table names, to one file."""
    data, about = listed_inputs(paths or None, sheet)
    assert isinstance(data, tuple)
    if selection.use_raw and selection.layer is not None:
        raise UsageError("`use_raw` and `layer` exclude each other; give one of them")
    read = data if sheet is None else (*data, sheet)
    with (
        noted(),
        whole_result(output, force=force, inputs=read) as temporary,
        limits_of(temporary, output, size_in_bytes(memory_limit)) as limit,
        opened_inputs(data, limit.scratch, about) as parts,
    ):
        judge_inputs(parts, limit, selection, can_tell=False)
        union = concat.planned(parts, selection, as_x=True)
        kept = kept_places(parts, (None, selection.gene_key))
        places = {place for some in kept for place in some.places}
        adata = union.make(parts, limit.store, kept=places)
        if limit.shared is None:
            outputs.refuse_other_shape(output, data, adata)
        key = FILE_KEY if about is None else SHEET_KEY
        if selection.batch_from_barcode:
            key = LIBRARY_KEY
        sizes = {str(name): int(n) for name, n in adata.obs[key].value_counts(sort=False).items()}
        warn_of_missing(key, sizes, np.array(list(sizes.values())))
        keep_places(adata, parts, union, kept)
        note_warnings(adata, JOINED, {"params": {}, "provenance": provenance(0)})
        result_file.write(adata, temporary, limit.shared)
        told = told_sizes(sizes)
        logger.info("%d cells x %d genes; obs[%r]: %s", *adata.shape, key, told)
    logger.info("wrote %s", output)
