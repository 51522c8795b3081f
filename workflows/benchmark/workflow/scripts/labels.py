"""Labels of held-out cells: this package beside a vote of neighbors on Symphony's mapping.

Needs symphonypy. Prints a table, one row for each part of a data set that was held out:

    python labels.py pbmc.h5ad pancreas.h5ad

Files have batches in obs["batch"] and labels in obs["cell_type"].
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import anndata
import numpy as np
import scanpy as sc
from sklearn.neighbors import KNeighborsClassifier

from mnncorrect import pp, tl

N_TOP, N_COMPS, N_VOTERS = 2000, 30, 15


def logged(path: Path) -> anndata.AnnData:
    adata = anndata.read_h5ad(path)
    adata = adata[adata.obs["cell_type"].astype(str) != "unlabelled"].copy()
    values = adata.X if isinstance(adata.X, np.ndarray) else adata.X.data
    if (values == np.rint(values)).all():
        sc.pp.normalize_total(adata, target_sum=1e4)
        sc.pp.log1p(adata)
    return adata


def parts(adata: anndata.AnnData) -> dict[str, np.ndarray]:
    """Name what is held out: a fifth of each batch, and each batch where three or more are."""
    rng = np.random.default_rng(0)
    batch = adata.obs["batch"].astype(str).to_numpy()
    fifth = np.zeros(adata.n_obs, bool)
    for name in np.unique(batch):
        rows = rng.permutation(np.flatnonzero(batch == name))
        fifth[rows[: len(rows) // 5]] = True
    names = np.unique(batch)
    whole = {f"batch {name}": batch == name for name in names} if 2 < len(names) < 7 else {}
    return {"a fifth": fifth, **whole}


def by_symphony(training: anndata.AnnData, query: anndata.AnnData) -> np.ndarray:
    """Correct by Harmony, map by Symphony, and let the neighbors vote."""
    import symphonypy

    sc.pp.scale(training, max_value=10)
    sc.pp.pca(training, n_comps=N_COMPS)
    symphonypy.pp.harmony_integrate(training, key="batch", ref_basis_source="X_pca", verbose=False)
    symphonypy.tl.map_embedding(query, training, key="batch")
    voters = KNeighborsClassifier(N_VOTERS)
    voters.fit(training.obsm["X_pca_harmony"], training.obs["cell_type"].astype(str))
    return voters.predict(query.obsm["X_pca_harmony"])


def ours(training: anndata.AnnData, query: anndata.AnnData, *, new: bool) -> tuple[np.ndarray, ...]:
    pp.mnn_calibrated(training, "batch")
    model = tl.fit_model(training, label_key="cell_type")
    tl.project(query, model, label_key="cell_type", as_new=new)
    labels = query.obs["mnn_label"].astype(str).to_numpy()
    return labels, query.obs["mnn_label_probability"].to_numpy(float)


def off(probability: np.ndarray, right: np.ndarray) -> float:
    """Return the expected calibration error over ten bins."""
    bins = np.minimum((probability * 10).astype(int), 9)
    found = [
        (bins == b).mean() * abs(right[bins == b].mean() - probability[bins == b].mean())
        for b in np.unique(bins)
    ]
    return float(sum(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="+", type=Path)
    warnings.simplefilter("ignore")
    print("data\theld out\tcells\tright\tassigned\tright of assigned\tcalibration error\tSymphony")
    for path in parser.parse_args().paths:
        adata = logged(path)
        for name, out in parts(adata).items():
            training, query = adata[~out].copy(), adata[out].copy()
            if training.n_vars > N_TOP:
                sc.pp.highly_variable_genes(training, n_top_genes=N_TOP, batch_key="batch")
            else:
                training.var["highly_variable"] = True
            truth = query.obs["cell_type"].astype(str).to_numpy()
            labels, probability = ours(training.copy(), query.copy(), new=name != "a fifth")
            given, right = labels != "unassigned", labels == truth
            symphony = by_symphony(training.copy(), query.copy()) == truth
            figures = [right.mean(), given.mean(), right[given].mean()]
            figures += [off(probability[given], right[given]), symphony.mean()]
            cells = [path.stem, name, str(len(truth)), *(f"{x:.3f}" for x in figures)]
            print("\t".join(cells), flush=True)


if __name__ == "__main__":
    main()
