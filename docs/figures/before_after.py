"""Draw maps of a data set before and after its correction, for the README.

    python docs/figures/before_after.py FILE.h5ad --output docs/_static/before_after.png

The committed picture shows 2,800 blood cells of Kang et al. 2018 (doi:10.1038/nbt.4042), half of
them stimulated with interferon beta. They come from ``ifnb_2800.rda`` of the public repository
``chthub/rDeepmaps``, with the 13 cell types published with Seurat.
"""

from __future__ import annotations

import argparse
from io import BytesIO
from pathlib import Path

import anndata
import matplotlib as mpl
import matplotlib.pyplot as plt
import scanpy as sc
from PIL import Image

import mnncorrect

mpl.use("Agg")

BASES = {"Before": "X_before_umap", "After": "X_mnn_umap"}


def correct(adata: anndata.AnnData, batch_key: str) -> None:
    """Correct counts and draw a map of the components before and after."""
    sc.pp.normalize_total(adata)
    sc.pp.log1p(adata)
    sc.pp.highly_variable_genes(adata, n_top_genes=2000, batch_key=batch_key)
    mnncorrect.pp.mnn_calibrated(adata, batch_key)
    mnncorrect.tl.umap(adata, use_rep="X_mnn_uncorrected", key_added="before")
    mnncorrect.tl.umap(adata)


def draw(adata: anndata.AnnData, keys: list[str], output: Path) -> None:
    """Draw one row for each column of obs, before on the left and after on the right."""
    size = (8.4, 3.3 * len(keys))
    figure, rows = plt.subplots(len(keys), 2, figsize=size, layout="constrained")
    for key, row in zip(keys, rows, strict=True):
        for axes, (moment, basis) in zip(row, BASES.items(), strict=True):
            mnncorrect.pl.embedding(
                adata,
                basis=basis,
                color=key,
                size=6,
                title=f"{moment}, by {key.replace('_', ' ')}",
                legend_loc="right margin" if moment == "After" else None,
                ax=axes,
            )
            axes.set(xlabel="UMAP 1", ylabel="UMAP 2")
    with BytesIO() as drawn:
        figure.savefig(drawn, format="png", dpi=110)
        with Image.open(drawn) as image:
            # A palette of 256 colors is enough for dots and makes the file smaller.
            few = image.convert("RGB").quantize(256, dither=Image.Dither.NONE)
            few.save(output, optimize=True)


def main() -> None:
    """Read the arguments, correct and draw."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("source", help="h5ad file with counts in X")
    parser.add_argument("--batch-key", default="batch", help="column of obs with the batch")
    parser.add_argument("--label-key", default="cell_type", help="column of obs with cell types")
    parser.add_argument("--output", type=Path, default=Path("before_after.png"))
    given = parser.parse_args()
    adata = anndata.read_h5ad(given.source)
    correct(adata, given.batch_key)
    draw(adata, [given.batch_key, given.label_key], given.output)


if __name__ == "__main__":
    main()
