"""Correct the batches of a dataset of Open Problems, as its task batch_integration asks."""

import anndata

import mnncorrect

## VIASH START
par = {"input": "dataset.h5ad", "output": "integrated.h5ad"}
meta = {"name": "mnncorrect"}
## VIASH END

print(">> Read input", flush=True)
adata = anndata.read_h5ad(par["input"])

print(">> Run mnncorrect", flush=True)
mnncorrect.pp.mnn_calibrated(
    adata,
    "batch",
    layer="normalized",
    mask_var="hvg",
    n_jobs=meta.get("cpus"),
)

print(">> Write output", flush=True)
integrated = anndata.AnnData(
    obs=adata.obs[[]],
    var=adata.var[[]],
    obsm={"X_emb": adata.obsm["X_mnn"]},
    uns={
        "dataset_id": adata.uns["dataset_id"],
        "normalization_id": adata.uns["normalization_id"],
        "method_id": meta["name"],
    },
    shape=adata.shape,
)
integrated.write_h5ad(par["output"], compression="gzip")
