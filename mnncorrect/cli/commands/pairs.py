"""``mnncorrect pairs``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mnncorrect.cli import streams
from mnncorrect.cli.options.shared import Input, KeyAdded
from mnncorrect.cli.runtime.command import command

if TYPE_CHECKING:
    import pandas as pd


@command
def pairs(input: Input, key_added: KeyAdded = "mnn") -> None:  # noqa: A002
    """Print mutual nearest pairs as a table separated by tabs.

    One line for each pair: corrected cell and its batch, reference cell and its batch, weight of
    the pair. Method cluster prints clusters instead of cells.

    Example: mnncorrect pairs corrected.h5ad > pairs.tsv
    """
    from mnncorrect import _adata
    from mnncorrect._adata.record import entry_of
    from mnncorrect._io import h5ad, result_file

    keys = _adata.Keys(key_added)
    place, results = f"obsp/{keys.pairs}", f"uns/{keys.uns}"
    found = result_file.read_result_elements(input, ["obs", place, results])
    record = entry_of({keys.uns: found.get(results)}, keys.uns, "correction")
    if record is None or (place not in found and "cluster_pairs" not in record):
        raise ValueError(
            f"{input} holds no pairs (obsp[{keys.pairs!r}]); correct it first with mnncorrect run, "
            "or give the prefix of its keys with --key-added"
        )
    # What is forged can be anything where a record is looked through.
    with h5ad.reading(input, "a result as mnncorrect writes it"):
        if "cluster_pairs" in record:
            table = _of_clusters(record)
        else:
            obs = found["obs"]
            key = _adata.recorded_key(record["params"]["key"], obs.columns)
            batch = _adata.batch_names(obs, key, f"{input}: obs")
            table = _of_cells(found[place].tocoo(), obs.index, batch)
    streams.tell_table(table)


def _of_cells(matrix: Any, cells: pd.Index[Any], batch: pd.Series[str]) -> pd.DataFrame:
    import pandas as pd

    names, batches = cells.to_numpy(), batch.to_numpy()
    return pd.DataFrame(
        {
            "cell": names[matrix.row],
            "batch": batches[matrix.row],
            "reference": names[matrix.col],
            "reference_batch": batches[matrix.col],
            "weight": matrix.data,
        }
    )


def _of_clusters(results: Mapping[str, Any]) -> pd.DataFrame:
    import pandas as pd

    clusters, pairs = results["clusters"], results["cluster_pairs"]
    right, left = clusters.iloc[pairs["right"]], clusters.iloc[pairs["left"]]
    return pd.DataFrame(
        {
            "cluster": right["cluster"].to_numpy(),
            "batch": right["batch"].to_numpy(),
            "reference": left["cluster"].to_numpy(),
            "reference_batch": left["batch"].to_numpy(),
            "weight": 1.0,
        }
    )
