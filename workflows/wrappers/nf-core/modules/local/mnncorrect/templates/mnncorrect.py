#!/usr/bin/env python3
"""Correct batch effects and write the embedding as X_emb."""

import os
import platform
from pathlib import Path

os.environ["NUMBA_CACHE_DIR"] = "./tmp/numba"
os.environ["MPLCONFIGDIR"] = "./tmp/matplotlib"

import anndata
import pandas as pd

import mnncorrect

adata = anndata.read_h5ad("${h5ad}")
layer = "${counts_layer}"
place = {} if layer in ("", "X", "null") else {"layer": layer}
mnncorrect.run(
    adata,
    "${batch_col}",
    adjusted_basis="X_emb",
    gmm=False,
    keep_normalized=False,
    n_jobs=int("${task.cpus}"),
    **place,
)
adata.write_h5ad("${prefix}.h5ad")

embedding = pd.DataFrame(adata.obsm["X_emb"], index=adata.obs_names)
embedding.to_pickle("X_${prefix}.pkl")

versions = {
    "python": platform.python_version(),
    "anndata": anndata.__version__,
    "mnncorrect": mnncorrect.__version__,
}
# Nextflow reads escapes in templates, so none stands here.
with Path("versions.yml").open("w") as file:
    print('"${task.process}":', file=file)
    for name, version in versions.items():
        print(f"    {name}: {version}", file=file)
