"""Write each batch of the package's example to a file of its own, as samples arrive."""

from __future__ import annotations

import argparse
from pathlib import Path

import anndata

HERE = Path(__file__).resolve().parent
EXAMPLE = HERE.parents[2] / "data/example.h5ad"


def split(source: Path, folder: Path) -> None:
    adata = anndata.read_h5ad(source)
    folder.mkdir(parents=True, exist_ok=True)
    for name in adata.obs["batch"].cat.categories:
        sample = adata[adata.obs["batch"] == name].copy()
        del sample.obs["batch"]  # the sheet says it
        sample.write_h5ad(folder / f"{name}.h5ad")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--example", type=Path, default=EXAMPLE)
    parser.add_argument("--folder", type=Path, default=HERE / "samples")
    given = parser.parse_args()
    split(given.example, given.folder)
