"""Find the true pairs of a sample of left cells, by exact neighbors of both ends."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from sklearn.neighbors import NearestNeighbors


def true_pairs(
    left: np.ndarray, right: np.ndarray, k: int, *, sample: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of a sample of left cells: the left and the right cell of each."""
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.choice(len(left), min(sample, len(left)), replace=False))
    brute = {"algorithm": "brute", "n_neighbors": k}
    in_right = NearestNeighbors(**brute).fit(right).kneighbors(left[rows], return_distance=False)
    targets = np.unique(in_right)
    in_left = NearestNeighbors(**brute).fit(left).kneighbors(right[targets], return_distance=False)
    candidates = np.repeat(rows, in_right.shape[1]), in_right.ravel()
    mutual = (in_left[np.searchsorted(targets, candidates[1])] == candidates[0][:, None]).any(1)
    return candidates[0][mutual], candidates[1][mutual]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--neighbors", required=True, type=int)
    parser.add_argument("--sample", required=True, type=int, help="left cells")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", required=True, type=Path)
    arguments = parser.parse_args()
    with np.load(arguments.data) as file:
        x, batch = file["x"], file["batch"]
    left, right = true_pairs(
        x[batch == 0],
        x[batch == 1],
        arguments.neighbors,
        sample=arguments.sample,
        seed=arguments.seed,
    )
    np.savez(arguments.output, left=left, right=right)


if __name__ == "__main__":
    main()
