# %% [markdown]
# # Moving over from batchelor or scanpy.external
#
#     python moving_over.py ../../data/example.h5ad
#
# | batchelor (R) | scanpy | here |
# |---|---|---|
# | `mnnCorrect` | `scanpy.external.pp.mnn_correct` | `pp.mnn_classic`, or `pp.mnn_correct` |
# | `fastMNN` | | `pp.mnn_fast` |
# | `reducedMNN` | | `pp.mnn_fast` with `use_rep`; `pp.mnn_integrate` with `method="fast"` |
# | `clusterMNN` | | `pp.mnn_cluster` |
# | `multiBatchNorm` | | `pp.multibatch_normalize` |
# | `multiBatchPCA` | | `pp.multibatch_pca` |
# | `rescaleBatches` | | `pp.rescale_batches` |
# | `regressBatches` | | `pp.regress_batches` |
# | `cosineNorm` | | `pp.cosine_normalize` |
# | `mnnDeltaVariance` | | `tl.delta_variance` |
# | `clusterAbundanceVar` | | `tl.cluster_abundance` |
# | | `harmony_integrate`, `scanorama_integrate` | `pp.mnn_integrate` |
#
# ## Parameters
#
# | batchelor | scanpy.external | here | what |
# |---|---|---|---|
# | `batch` | `batch_key` | `key` | the column of obs; scanpy.external takes one object a batch |
# | `assay.type` | | `layer` | where values are read; X if unset |
# | `k` | `k` | `n_neighbors` | neighbours in each direction, 20 in all three |
# | `prop.k` | | `prop_neighbors` | the same as a share of the batch |
# | `sigma` | `sigma` | `sigma` | bandwidth; 0.1, as in batchelor; scanpy.external has 1 |
# | `cos.norm.in` | `cos_norm_in` | `cosine_norm_in` | unit length for distances |
# | `cos.norm.out` | `cos_norm_out` | `cosine_norm_out` | unit length in what is corrected |
# | `cos.norm` | | `cosine_norm` | both (the other methods) |
# | `svd.dim` | `svd_dim` | `n_svd` | dimensions of biology taken out of the corrections |
# | `var.adj` | `var_adj` | `adjust_variance` | whether batches keep their spread |
# | `subset.row` | `var_subset` | `mask_var` | genes for distances; `highly_variable` if unset |
# | `correct.all` | | `correct_all` | the other genes as well; scanpy.external always does |
# | `merge.order` | `mnn_order` | `merge_order` | names, nested lists for a tree, or `"balanced"` |
# | `auto.merge` | | `auto_merge` | most pairs first |
# | `restrict` | | `restrict` | cells that pairs may be taken from |
# | `d` | | `n_comps` | principal components, 50 |
# | `weights` | | `batch_weights` | of the batches in the components |
# | `ndist` | | `ndist` | bandwidth of `fastMNN`, 3 |
# | `min.batch.skip` | | `min_batch_size` | merges left out as too small |
# | `get.all.genes` | | `all_genes` | loadings of all genes (`multibatch_pca`) |
# | `BNPARAM` | | `neighbors` | how neighbours are searched |
# | `BPPARAM` | `n_jobs` | `n_jobs` | threads |
#
# ## Results
#
# | batchelor | here |
# |---|---|
# | `reducedDim(out, "corrected")` | `obsm["X_mnn"]` |
# | `assay(out, "corrected")` | `layers["mnn"]` of `mnn_classic` |
# | `assay(out, "reconstructed")` | `layers["mnn"]` after `pp.mnn_expression` |
# | `rowData(out)$rotation` | `varm["mnn_loadings"]` |
# | `metadata(out)$merge.info$pairs` | `obsp["mnn_pairs"]`, and `mnncorrect pairs` at a shell |
# | `metadata(out)$merge.info` | `uns["mnn"]["merges"]` |
# | `metadata(out)$merge.info$lost.var` | `uns["mnn"]["lost_variance"]` |
#
# Rows are cells here, as in scanpy. Neighbours are exact up to some size and approximate beyond;
# `neighbors="exact"` gives batchelor's numbers at any size.

# %%
from __future__ import annotations

import argparse

import anndata
import numpy as np
import scanpy as sc

import mnncorrect

parser = argparse.ArgumentParser(description="Moving over from batchelor or scanpy.external.")
parser.add_argument("source", nargs="?", default="../../data/example.h5ad", help="counts, h5ad")
parser.add_argument("--batch-key", default="batch", help="column of obs that names the batch")
given, _ = parser.parse_known_args()
key = given.batch_key

adata = anndata.read_h5ad(given.source)
sc.pp.normalize_total(adata)
sc.pp.log1p(adata)
sc.pp.highly_variable_genes(adata, n_top_genes=min(2000, adata.n_vars // 2), batch_key=key)
chosen = adata.var_names[adata.var["highly_variable"]]

# %% [markdown]
# ## From scanpy.external
#
# The call stays as it was, and needs no further package: one object a batch in, three values out.

# %%
batches = [adata[adata.obs[key] == name].copy() for name in adata.obs[key].unique()]
corrected, pairs, _ = mnncorrect.pp.mnn_correct(*batches, var_subset=chosen)
print(corrected)
print([len(table) for table in pairs], "pairs by batch")

# %% [markdown]
# For new work, one object with a column that names the batch is handier, and X is not replaced. The
# same numbers, by parameters that match: `sigma` is 1 there, all genes are corrected, and batches
# are merged in the order in which they were given.

# %%
mnncorrect.pp.mnn_classic(
    adata,
    key,
    sigma=1.0,
    mask_var="highly_variable",
    correct_all=True,
    merge_order=[str(name) for name in adata.obs[key].unique()],
)
same_cells = np.concatenate([np.flatnonzero(adata.obs[key] == n) for n in adata.obs[key].unique()])
np.testing.assert_allclose(adata.layers["mnn"][same_cells], corrected.X, atol=1e-4)
print("the same as by mnn_correct")

# %% [markdown]
# ## From batchelor
#
#     out <- fastMNN(sce, batch=sce$batch, subset.row=chosen, k=20, d=50)
#     reducedDim(out, "corrected")

# %%
mnncorrect.pp.mnn_fast(adata, key, mask_var="highly_variable", n_neighbors=20, n_comps=50)
print(adata.obsm["X_mnn"].shape)
print(adata.uns["mnn"]["merges"])

# %% [markdown]
#     metadata(out)$merge.info$lost.var
#     assay(out, "reconstructed")

# %%
print(dict(zip(adata.uns["mnn"]["batches"], adata.uns["mnn"]["lost_variance"].T, strict=True)))
mnncorrect.pp.mnn_expression(adata)
print(adata.layers["mnn"].shape)

# %% [markdown]
#     mbp <- multiBatchPCA(sce, batch=sce$batch, subset.row=chosen)
#     reducedMNN(mbp, k=20)

# %%
mnncorrect.pp.multibatch_pca(adata, key, mask_var="highly_variable", key_added="shared")
mnncorrect.pp.mnn_fast(
    adata, key, use_rep="X_shared_multibatch_pca", n_neighbors=20, key_added="reduced"
)
print(adata.obsm["X_reduced"].shape)

# %% [markdown]
# ## From harmony_integrate or scanorama_integrate
#
# `pp.mnn_integrate` is called as they are. Its default is this package's own method, which leaves
# alone what is not told apart from noise.

# %%
sc.pp.pca(adata)
mnncorrect.pp.mnn_integrate(adata, key, adjusted_basis="X_pca_mnn", key_added="pca_mnn")
sc.pp.neighbors(adata, use_rep="X_pca_mnn", transformer=mnncorrect.tl.NeighborsTransformer())
print(adata.obs["pca_mnn_confidence"].describe())
