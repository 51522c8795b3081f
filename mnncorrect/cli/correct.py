"""``mnncorrect correct``."""

from __future__ import annotations

import logging
from dataclasses import asdict

import typer

from mnncorrect.cli.command import command
from mnncorrect.cli.inputs import load, need_batch_key
from mnncorrect.cli.options import (
    Computing,
    Correction,
    Force,
    Inputs,
    Output,
    Reading,
    Reporting,
)

logger = logging.getLogger("mnncorrect")


@command
def correct(
    *,
    context: typer.Context,
    inputs: Inputs,
    output: Output,
    force: Force = False,
    reading: Reading,
    correction: Correction,
    computing: Computing,
    reporting: Reporting,
) -> None:
    """Correct log-normalised values, and nothing else.

    Corrected values are written to layers["mnn"], pairs to obsp["mnn_pairs"], merges and
    parameters to uns["mnn"]; X, raw and other layers stay as they are.

    Example: mnncorrect correct logged.h5ad --batch-key donor -o corrected.h5ad
    """
    from mnncorrect.cli import methods

    need_batch_key(inputs, reading)
    methods.refuse_foreign(context, correction)
    from mnncorrect import _atomic, _h5ad
    from mnncorrect.cli.progress import bars

    with _atomic.whole_file(output, force=force, inputs=inputs) as temporary:
        loaded = load(inputs, reading)
        with bars(reporting) as progress:
            methods.correct(
                loaded.adata,
                loaded.batch_key,
                correction,
                mask_var=methods.genes_wanted(loaded.adata, correction),
                progress=progress,
                **loaded.source,
                **asdict(computing),
            )
        _h5ad.write(loaded.adata, temporary)
    logger.info("wrote %s", output)
