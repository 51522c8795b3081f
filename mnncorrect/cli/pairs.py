"""``mnncorrect pairs``."""

from __future__ import annotations

import sys

from mnncorrect.cli.command import command
from mnncorrect.cli.options import Input, KeyAdded


@command
def pairs(input: Input, key_added: KeyAdded = "mnn") -> None:  # noqa: A002
    """Print the mutual nearest pairs as tab-separated values on stdout.

    One line a pair: the corrected cell and its batch, the reference cell and its batch, and the
    weight of the pair.

    Example: mnncorrect pairs corrected.h5ad > pairs.tsv
    """
    import pandas as pd

    from mnncorrect import _adata, _h5ad
    from mnncorrect._adata.lookup import require

    keys = _adata.Keys(key_added)
    place, results = f"obsp/{keys.pairs}", f"uns/{keys.uns}"
    found = _h5ad.read_elements(input, ["obs", place, results])
    if place not in found or results not in found:
        msg = (
            f"{input} holds no pairs (obsp[{keys.pairs!r}]); correct it first with mnncorrect run, "
            "or name what it was corrected as with --key-added"
        )
        raise ValueError(msg)
    obs, matrix = found["obs"], found[place].tocoo()
    key = found[results]["params"]["key"]
    require(key, obs, f"{input}: obs")
    batch = obs[key].to_numpy()
    names = obs.index.to_numpy()
    table = pd.DataFrame(
        {
            "cell": names[matrix.row],
            "batch": batch[matrix.row],
            "reference": names[matrix.col],
            "reference_batch": batch[matrix.col],
            "weight": matrix.data,
        }
    )
    table.to_csv(sys.stdout, sep="\t", index=False)
