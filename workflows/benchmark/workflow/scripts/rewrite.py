"""Read an h5ad with anndata and write it again with the same compression."""

from __future__ import annotations

import argparse
from pathlib import Path

import anndata
import h5py


def compression_of(path: Path) -> str | None:
    """Compression of X's values."""
    with h5py.File(path) as file:
        x = file["X"]
        return (x if isinstance(x, h5py.Dataset) else x["data"]).compression


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("input", type=Path)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    adata = anndata.read_h5ad(arguments.input)
    adata.write_h5ad(arguments.output, compression=compression_of(arguments.input))


if __name__ == "__main__":
    main()
