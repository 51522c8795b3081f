"""Figures of results on real data, by version; this script writes the rows of this version anew.

python tests/robust/regression.py
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

TABLE = Path(__file__).with_suffix(".tsv")
DATA = Path(__file__).parents[2] / "../shared/data"
# Sets by what is done to them: small ones by all methods, larger ones by those that are quick.
SETS = {
    "human_dc": ("calibrated", "fast", "classic"),
    "pancreas_xin_wang": ("calibrated", "fast", "classic"),
    "pbmc_symphony": ("calibrated", "fast", "classic"),
    "mixology_rnamix": ("calibrated", "fast", "classic"),
    "mixology_celllines": ("calibrated", "fast"),
    "ifnb_2800": ("calibrated", "fast"),
    "worm_l2": ("calibrated", "fast"),
}
CASES = [(data, method) for data, methods in SETS.items() for method in methods]
KEYS = ["version", "data", "method"]
# Figures are given, and compared, to so many digits: libraries of linear algebra differ beyond.
DIGITS = 5


def figures(data: str, method: str) -> dict[str, Any]:
    """Correct a data set as ``run`` does, and sum up the result."""
    import anndata
    from typer.testing import CliRunner

    from mnncorrect import __version__
    from mnncorrect.cli.app import app

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(action="ignore"):
        out = Path(folder) / "out.h5ad"
        words = ["run", DATA / f"{data}.h5ad", "-b", "batch", "--method", method, "-o", out]
        words += ["--no-gmm", "--n-comps", 20]
        done = CliRunner().invoke(app, [str(word) for word in words])
        if done.exit_code != 0:
            raise RuntimeError(done.stderr)
        adata = anndata.read_h5ad(out)
    embeds = method != "classic"
    after = adata.obsm["X_mnn" if embeds else "X_mnn_pca"].astype(np.float64)
    uns = adata.uns["mnn"]
    row: dict[str, Any] = {"version": __version__, "data": data, "method": method}
    row["pairs"] = int(uns["merges"]["pairs"].sum())
    lost = np.asarray(uns.get("lost_variance", np.nan), dtype=np.float64)
    row["lost_variance"] = np.nansum(lost) if np.isfinite(lost).any() else np.nan
    row["norm"] = np.sqrt((after**2).sum())
    before = adata.obsm.get("X_mnn_uncorrected")
    row["displacement"] = np.nan
    if before is not None:
        row["displacement"] = np.sqrt(((after - before) ** 2).sum(1)).mean()
    # As a checksum is: every number counts, with a sign and a weight of its own.
    weights = np.random.default_rng(0).normal(size=after.shape)
    row["weighted_sum"] = (np.abs(after) * weights).sum()
    return {
        key: float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value
        for key, value in row.items()
    }


def main() -> None:
    """Write the rows of this version anew, and keep those of others."""
    from mnncorrect import __version__

    rows = []
    for data, method in CASES:
        rows.append(figures(data, method))
        print(rows[-1], file=sys.stderr)
    table = pd.DataFrame(rows)
    if TABLE.exists():
        old = pd.read_csv(TABLE, sep="\t", dtype={"version": str})
        others = old[old["version"] != __version__]
        table = pd.concat([others, table]) if len(others) else table
    table.to_csv(TABLE, sep="\t", index=False, na_rep="-")


if __name__ == "__main__":
    main()
