"""Score the calibrated method whole, with other choices, and with each of its parts left out.

    python ablate.py --data FOLDER --output ablation.tsv

FOLDER has h5ad files with obs["batch"] and obs["cell_type"], one a data set. Each is corrected
from obsm["X_pca"]; where that is not there, from 50 multi-batch components of at most 2,000 highly
variable genes of cosine-normalized cells, of which 4,000 with a label are taken. It is scored as in
scIB (Luecken et al. 2022): 0.4 times the mean of what measures the mixing of batches, plus 0.6
times that of what measures kept biology. That needs scib-metrics; without it, `total` and the
scores behind it are left out. `null_preserved`, `null_moved` and `null_went_95` (the 95th
percentile of how far cells moved) are of the largest batch, dealt at random to two, where nothing
should happen. `unsure` cells have a confidence below 0.1; they moved by `unsure_moved` at most, and
`unsure_alone` of them are among the `alone` cells of types that one batch alone has.
"""

from __future__ import annotations

import argparse
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import pandas as pd

from mnncorrect.core.calibrated.merge import WHOLE_METHOD, Parts
from mnncorrect.core.calibrated.method import calibrate
from mnncorrect.core.matrix.pca import multibatch_pca
from mnncorrect.core.matrix.rows import MIN_NORM, row_norms
from mnncorrect.core.metrics.scores import cilisi, moved, preserved, purity
from mnncorrect.core.neighbors.sample import draw
from mnncorrect.core.runtime.compute import compute_options

if TYPE_CHECKING:
    from collections.abc import Callable

    from mnncorrect.core.calibrated.application import Calibration

BATCH_SIDE = ("cilisi", "ilisi", "kbet", "bras", "graph_connectivity")
BIOLOGY_SIDE = ("clisi", "purity", "nmi", "ari", "silhouette", "isolated")
# How data sets are prepared.
UNKNOWN = "unlabelled"
MOST_GENES, N_COMPS, MOST_CELLS = 2_000, 50, 4_000
# Neighbors that LISI, kBET and the graph are taken over.
N_LISI, N_KBET, N_GRAPH = 90, 50, 15
# Cells of less confidence should move no further than in random splits.
UNSURE = 0.1


@dataclass(frozen=True)
class Variant:
    """One way to run the method.

    Attributes
    ----------
    parts
        What of it is done.
    reference
        Which batch stays as it is: "largest", "smallest" or none.
    merge_order
        As the method takes it.
    """

    parts: Parts = WHOLE_METHOD
    reference: str | None = None
    merge_order: Any = None


VARIANTS = {
    "whole": Variant(),
    "reference: largest": Variant(reference="largest"),
    "reference: smallest": Variant(reference="smallest"),
    "order: balanced": Variant(merge_order="balanced"),
    "no evidence": Variant(Parts(evidence=False)),
    "no counterparts": Variant(Parts(counterparts=False)),
    "no averaging of ends": Variant(Parts(averaging=False)),
    "no shrinkage": Variant(Parts(shrinkage=False)),
    "no agreement": Variant(Parts(agreement=False)),
    "no folding": Variant(Parts(folding=False)),
    "one round": Variant(Parts(rounds=1)),
    "no noise scale": Variant(Parts(noise_scale=False)),
    "pairs by softmax": Variant(Parts(pair_weight="softmax")),
}


def correct(x: np.ndarray, batch: np.ndarray, variant: Variant, n_jobs: int | None) -> Calibration:
    """Correct an embedding."""
    names, codes, sizes = np.unique(batch, return_inverse=True, return_counts=True)
    which = {"largest": int(sizes.argmax()), "smallest": int(sizes.argmin()), None: None}
    return calibrate(
        x,
        codes,
        names=[str(name) for name in names],
        reference=which[variant.reference],
        merge_order=variant.merge_order,
        parts=variant.parts,
        compute=compute_options(n_jobs=n_jobs),
    )


def embedded(path: Path) -> anndata.AnnData:
    """Read a data set, and find its components where it has none."""
    adata = anndata.read_h5ad(path)
    adata = adata[(adata.obs["cell_type"].astype(str) != UNKNOWN).to_numpy()].copy()
    if "X_pca" in adata.obsm:
        return adata
    import scanpy as sc

    values = adata.X.data if hasattr(adata.X, "data") else adata.X
    some = np.ravel(values)[:20_000]
    if np.array_equal(some, np.round(some)):
        sc.pp.normalize_total(adata, target_sum=1e4)
        sc.pp.log1p(adata)
    mask = None
    if adata.n_vars > MOST_GENES:
        sc.pp.highly_variable_genes(adata, n_top_genes=MOST_GENES, batch_key="batch")
        mask = adata.var["highly_variable"].to_numpy()
    norms = np.maximum(row_norms(adata.X, mask), MIN_NORM)
    n_genes = adata.n_vars if mask is None else MOST_GENES
    n_comps = min(N_COMPS, adata.n_obs - 1, n_genes - 1)
    batch = codes_of(adata.obs["batch"].astype(str).to_numpy())
    adata.obsm["X_pca"] = multibatch_pca(adata.X, batch, n_comps, mask=mask, scale=norms).scores
    if adata.n_obs > MOST_CELLS:
        chosen = np.random.default_rng(0).choice(adata.n_obs, MOST_CELLS, replace=False)
        adata = adata[np.sort(chosen)].copy()
    return adata


def codes_of(values: np.ndarray) -> np.ndarray:
    """Number values from 0."""
    return np.unique(values, return_inverse=True)[1]


def scores(
    before: np.ndarray, after: np.ndarray, batch: np.ndarray, label: np.ndarray
) -> dict[str, float]:
    """Score a corrected embedding."""
    batch, label = codes_of(batch), codes_of(label)
    whole = draw(label, len(label))
    found = {
        "cilisi": cilisi(after, batch, label, whole),
        "purity": purity(after, label, whole),
        "preserved": preserved(before, after, batch, whole),
        "moved": moved(before, after),
    }
    if importlib.util.find_spec("scib_metrics") is not None:
        found |= of_scib(after.astype(np.float32), batch, label)
        sides = [np.nanmean([found[name] for name in side]) for side in (BATCH_SIDE, BIOLOGY_SIDE)]
        found |= {"batch_removal": sides[0], "biology": sides[1]}
        found["total"] = 0.4 * sides[0] + 0.6 * sides[1]
    return found


def of_scib(x: np.ndarray, batch: np.ndarray, label: np.ndarray) -> dict[str, float]:
    """Score an embedding by scib-metrics."""
    import scib_metrics as scib
    from scib_metrics.nearest_neighbors import NeighborsResults
    from sklearn.neighbors import NearestNeighbors

    distances, indices = NearestNeighbors(n_neighbors=min(N_LISI, len(x) - 1)).fit(x).kneighbors(x)
    near = NeighborsResults(indices=indices, distances=distances)
    few, fewer = (near.subset_neighbors(min(k, indices.shape[1])) for k in (N_KBET, N_GRAPH))
    clusters = scib.nmi_ari_cluster_labels_kmeans(x, label)
    found = {
        "ilisi": scib.ilisi_knn(near, batch),
        "clisi": scib.clisi_knn(near, label),
        "kbet": scib.kbet_per_label(few, batch, label),
        "graph_connectivity": scib.graph_connectivity(fewer, label),
        "nmi": clusters["nmi"],
        "ari": clusters["ari"],
        "silhouette": scib.silhouette_label(x, label),
        "bras": scib.bras(x, label, batch),
        "isolated": scib.isolated_labels(x, label, batch),
    }
    return {name: float(value) for name, value in found.items()}


def of_confidence(
    x: np.ndarray, found: Calibration, batch: np.ndarray, label: np.ndarray
) -> dict[str, float]:
    """Count the cells that are called unsure, and those of types that one batch alone has."""
    unsure = found.confidence < UNSURE
    single = [one for one in np.unique(label) if len(np.unique(batch[label == one])) == 1]
    alone = np.isin(label, single)
    went = np.linalg.norm(found.correction.corrected - x, axis=1)
    return {
        "unsure": unsure.sum(),
        "unsure_moved": went[unsure].max(initial=0.0),
        "alone": alone.sum(),
        "unsure_alone": (unsure & alone).sum(),
    }


def null_scores(
    x: np.ndarray, batch: np.ndarray, variant: Variant, n_seeds: int, n_jobs: int | None
) -> dict[str, float]:
    """Score what the method does to the largest batch, dealt at random to two."""
    names, sizes = np.unique(batch, return_counts=True)
    one = x[batch == names[sizes.argmax()]]
    same = np.zeros(len(one), np.int64)
    whole = draw(same, len(same))
    kept, went, far = [], [], []
    for seed in range(n_seeds):
        dealt = np.where(np.random.default_rng(seed).random(len(one)) < 0.5, "x", "y")
        after = correct(one, dealt, variant, n_jobs).correction.corrected
        far.append(np.linalg.norm(after - one, axis=1))
        kept.append(preserved(one, after, same, whole))
        went.append(moved(one, after))
    return {
        "null_preserved": np.mean(kept), "null_worst": np.min(kept), "null_moved": np.mean(went),
        "null_went_95": np.quantile(np.concatenate(far), 0.95),
    }  # fmt: skip


def table(
    paths: list[Path],
    variants: dict[str, Variant],
    n_seeds: int,
    n_jobs: int | None,
    tell: Callable[[pd.DataFrame], None],
) -> pd.DataFrame:
    """Score every variant on every data set, and average over these."""
    rows: list[dict[str, Any]] = []
    known: dict[tuple[str, bytes], dict[str, float]] = {}
    data = {path.stem: embedded(path) for path in paths}
    for name, variant in variants.items():
        for set_name, adata in data.items():
            x = np.asarray(adata.obsm["X_pca"], np.float64)
            batch, label = (adata.obs[key].astype(str).to_numpy() for key in ("batch", "cell_type"))
            result = correct(x, batch, variant, n_jobs)
            after = result.correction.corrected
            key = set_name, after.tobytes()
            if key not in known:
                known[key] = scores(x, after, batch, label)
            row = {"variant": name, "set": set_name} | known[key]
            row |= of_confidence(x, result, batch, label)
            # Evidence alone decides whether anything happens there.
            if n_seeds and (variant == Variant() or not variant.parts.evidence):
                row |= null_scores(x, batch, variant, n_seeds, n_jobs)
            rows.append(row)
        tell(pd.DataFrame(rows))
    return pd.DataFrame(rows)


def means(found: pd.DataFrame) -> pd.DataFrame:
    """Average over data sets; the worst of the null."""
    numbers = [name for name in found if name not in ("variant", "set")]
    by = found.groupby("variant", sort=False)
    out = by[numbers].mean()
    if "null_worst" in out:
        out["null_worst"] = by["null_worst"].min()
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, nargs="+")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--variants", nargs="*", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--null-seeds", type=int, default=5)
    parser.add_argument("--threads", type=int)
    given = parser.parse_args()
    paths = [
        path
        for place in given.data
        for path in (sorted(place.glob("*.h5ad")) if place.is_dir() else [place])
    ]
    if not paths:
        parser.error("there are no h5ad files in the folder")
    chosen = {name: VARIANTS[name] for name in given.variants}

    def tell(found: pd.DataFrame) -> None:
        found.to_csv(given.output, sep="\t", index=False, float_format="%.4f")

    found = table(paths, chosen, given.null_seeds, given.threads, tell)
    print(means(found).round(4).to_string())


if __name__ == "__main__":
    main()
