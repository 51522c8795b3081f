"""``mnncorrect example``."""

from __future__ import annotations

import logging

from mnncorrect.cli.command import command
from mnncorrect.cli.options import Force, Output

logger = logging.getLogger("mnncorrect")


@command
def example(output: Output, force: Force = False) -> None:
    """Write a small real data set with a known batch effect.

    700 human blood cells in three batches, as counts; obs has batch and cell_type. One batch lacks
    the B cells.

    Example: mnncorrect example -o example.h5ad
    """
    from mnncorrect import _atomic, _h5ad

    with _atomic.whole_file(output, force=force) as temporary:
        from mnncorrect._example import make_example

        adata = make_example()
        _h5ad.write(adata, temporary)
    logger.info(
        "wrote %s: %d cells x %d genes, counts; batches in obs['batch']: %s",
        output,
        adata.n_obs,
        adata.n_vars,
        ", ".join(adata.obs["batch"].cat.categories),
    )
