# %% [markdown]
# # From counts to a corrected UMAP
#
# Raw counts of several batches in one file, and in the end: cells of a type together, whichever
# batch they come from. What scanpy does, scanpy does; the correction is one line.
#
#     python counts_to_umap.py ../../data/example.h5ad --batch-key batch --label-key cell_type
#
# Read it as it stands, or open it as a notebook (jupytext): `# %%` begins a cell.

# %%
from __future__ import annotations

import argparse
from pathlib import Path

import anndata
import matplotlib as mpl
import scanpy as sc

import mnncorrect

mpl.use("Agg")  # figures go to files; leave this out in a notebook

parser = argparse.ArgumentParser(description="From counts to a corrected UMAP.")
parser.add_argument("source", nargs="?", default="../../data/example.h5ad", help="counts, h5ad")
parser.add_argument("--batch-key", default="batch", help="column of obs that names the batch")
parser.add_argument("--label-key", help="column of obs with cell types, if they are known")
parser.add_argument("--folder", type=Path, default=Path(), help="where figures and result go")
given, _ = parser.parse_known_args()
given.folder.mkdir(parents=True, exist_ok=True)
colours = [given.batch_key] + ([given.label_key] if given.label_key else [])


def draw(name: str, basis: str, color: list[str]) -> None:
    """Draw a map into a file of this name."""
    file = given.folder / f"{name}.png"
    mnncorrect.pl.embedding(adata, basis=basis, color=color, show=False, save=file)


# %% [markdown]
# ## What is in the file
#
# Counts are whole numbers, cells are rows, and a column of `obs` names the batch.
# `mnncorrect check FILE -b COLUMN` says the same at a shell, and whether anything is amiss.

# %%
adata = anndata.read_h5ad(given.source)
print(adata)
print(adata.obs[given.batch_key].value_counts())

# %% [markdown]
# ## Log values, and genes that vary
#
# As for any analysis with scanpy. Genes are chosen within each batch (`batch_key`), so that those
# that differ only between batches are not among them.

# %%
adata.layers["counts"] = adata.X.copy()
sc.pp.normalize_total(adata)
sc.pp.log1p(adata)
sc.pp.highly_variable_genes(
    adata, n_top_genes=min(2000, adata.n_vars // 2), batch_key=given.batch_key
)

# %% [markdown]
# ## Correct
#
# `mnn_calibrated` finds principal components to which every batch contributes equally, matches
# cells that are each other's nearest in two batches, and moves cells along the differences of such
# pairs, as far as these are told apart from noise.

# %%
mnncorrect.pp.mnn_calibrated(adata, given.batch_key)

# %% [markdown]
# Corrected components are in `obsm["X_mnn"]`, those before in `obsm["X_mnn_uncorrected"]`. What was
# merged with what, and by how many pairs:

# %%
print(adata.uns["mnn"]["merges"])
mnncorrect.pl.merges(adata, show=False, save=given.folder / "merges.png")

# %% [markdown]
# Each cell has a confidence between 0 and 1. Where it is low, a cell's type was not found in the
# other batches, and the cell was left where it was: that is so of a type that only one batch has.

# %%
by = given.label_key or given.batch_key
print(adata.obs.groupby(by, observed=True)["mnn_confidence"].mean().round(2))

# %% [markdown]
# ## A map before and after
#
# `tl.umap` finds neighbours by this package's own search and leaves graph and layout to scanpy. It
# takes `X_mnn` unless told otherwise. With scanpy alone it would be `sc.pp.neighbors(adata,
# use_rep="X_mnn")` and `sc.tl.umap(adata)`. `pl.embedding` draws as `sc.pl.embedding` does, in
# colours that colour-blind readers can tell apart.

# %%
mnncorrect.tl.umap(adata, use_rep="X_mnn_uncorrected", key_added="before")
mnncorrect.tl.umap(adata)
draw("before", "X_before_umap", colours)
draw("after", "X_mnn_umap", [*colours, "mnn_confidence"])

# %% [markdown]
# ## Clusters
#
# By a Gaussian mixture, whose components are merged where they overlap; or by scanpy's `leiden` on
# the graph that `tl.umap` left: `sc.tl.leiden(adata, neighbors_key="mnn_neighbors")`.

# %%
mnncorrect.tl.gmm(adata, n_components=range(2, 11))
print(adata.obs.groupby("gmm", observed=True)[given.batch_key].value_counts().unstack())
draw("clusters", "X_mnn_umap", ["gmm"])

# %% [markdown]
# ## Is it better than before
#
# Scores before and after the correction, and where batches are dealt out at random: mixing should
# rise towards that, and what was near each other within a batch should stay so.

# %%
mnncorrect.tl.evaluate(adata, given.batch_key, label_key=given.label_key)
print(adata.uns["mnn_evaluation"]["scores"])

# %% [markdown]
# ## Keep it
#
# Counts, log values and results are all in the object. Corrected components are for clustering,
# maps and trajectories; test for differential expression on the counts, with batch as a covariate.

# %%
adata.write_h5ad(given.folder / "corrected.h5ad")
