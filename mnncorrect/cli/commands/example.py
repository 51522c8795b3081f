"""``mnncorrect example``."""

from __future__ import annotations

from mnncorrect._log import logger
from mnncorrect.cli.options.shared import Force, Output
from mnncorrect.cli.runtime.command import command


@command
def example(output: Output, force: Force = False) -> None:
    """Write a small real data set with a known batch effect.

    700 human blood cells in three batches, as counts. obs has batch and cell_type. One batch lacks
    B cells.

    Example: mnncorrect example -o example.h5ad
    """
    from mnncorrect._io import result_file
    from mnncorrect._run.changed_files import limits_of

    with (
        result_file.whole_result(output, force=force, inputs=()) as temporary,
        limits_of(temporary, output) as limit,
    ):
        from mnncorrect._io.example import make_example

        adata = make_example()
        result_file.write(adata, temporary, limit.shared)
    logger.info(
        "wrote %s: %d cells x %d genes, counts; batches in obs['batch']: %s",
        output,
        adata.n_obs,
        adata.n_vars,
        ", ".join(adata.obs["batch"].cat.categories),
    )
