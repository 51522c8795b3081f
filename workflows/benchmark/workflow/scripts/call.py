"""Call one tool once and report how long the call took; run as a process of its own.

plain   import, read, call
warm    the same after calls on a few cells, so that nothing is left to compile
cold    two calls on a few cells: what the first takes longer is compiling
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

# Cells of a warm-up call, by task, and the batches they are from: enough for every compiled
# function to be reached, in merges of merged batches too.
WARM_UP_CELLS, WARM_UP_GENES_CELLS, WARM_UP_BATCHES = 1500, 200, 4
DISTRIBUTIONS = {
    "mnncorrect-core": "mnncorrect",
    "mnncorrect-calibrated": "mnncorrect",
    "products": "numpy",
}

Pairs = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Input:
    """What a tool is given: cells x features, the batch of every cell, and how to go about it."""

    x: np.ndarray
    batch: np.ndarray
    neighbors: int
    threads: int
    options: dict[str, Any]

    def sides(self) -> tuple[np.ndarray, np.ndarray]:
        """The first and the second batch."""
        return self.x[self.batch == 0], self.x[self.batch == 1]

    def few(self, cells: int, **options: Any) -> Input:
        """The first cells of some batches."""
        batches = range(min(int(self.batch.max()) + 1, WARM_UP_BATCHES))
        rows = np.concatenate([np.flatnonzero(self.batch == b)[:cells] for b in batches])
        return Input(
            self.x[rows], self.batch[rows], self.neighbors, self.threads, self.options | options
        )


# A tool takes an Input, prepares its own form of it, and returns the call to be timed. What the
# call returns is dropped, or with a search made into pairs by a function returned beside it.
Call = Callable[[], Any]


def mutual(in_right: np.ndarray, in_left: np.ndarray) -> Pairs:
    """Pairs from the neighbors of left cells in the right batch, and the reverse."""
    left, right = np.repeat(np.arange(len(in_right)), in_right.shape[1]), in_right.ravel()
    kept = np.zeros(len(left), bool)
    for column in in_left.T:
        kept |= column[right] == left
    return left[kept], right[kept]


def compute_of(given: Input) -> tuple[Any, dict[str, Any]]:
    """Engine and threads for the core of mnncorrect; and the other options."""
    from mnncorrect.core.runtime.compute import ComputeOptions

    options = dict(given.options)
    engines = [options.pop(name) for name in ("engine", "neighbors") if name in options]
    return ComputeOptions(*engines, n_jobs=given.threads), options


def search_mnncorrect(given: Input) -> tuple[Call, Callable[[Any], Pairs]]:
    from mnncorrect.core.merging.pairs import find_pairs

    left, right = given.sides()
    compute, options = compute_of(given)

    def call() -> Any:
        return find_pairs(left, right, n_neighbors=given.neighbors, compute=compute, **options)

    return call, lambda found: (found.left, found.right)


def search_pynndescent(given: Input) -> tuple[Call, Callable[[Any], Pairs]]:
    from pynndescent import NNDescent

    left, right = given.sides()

    def search(query: np.ndarray, reference: np.ndarray) -> np.ndarray:
        index = NNDescent(reference, random_state=0, n_jobs=given.threads, **given.options)
        return index.query(query, k=given.neighbors)[0]

    return lambda: (search(left, right), search(right, left)), lambda found: mutual(*found)


def search_scikit_learn(given: Input) -> tuple[Call, Callable[[Any], Pairs]]:
    from sklearn.neighbors import NearestNeighbors

    left, right = given.sides()
    options = {"algorithm": "brute", "n_jobs": given.threads} | given.options

    def search(query: np.ndarray, reference: np.ndarray) -> np.ndarray:
        index = NearestNeighbors(n_neighbors=given.neighbors, **options).fit(reference)
        return index.kneighbors(query, return_distance=False)

    return lambda: (search(left, right), search(right, left)), lambda found: mutual(*found)


def embedding_mnncorrect(given: Input, method: str = "fast") -> Call:
    import anndata
    import pandas as pd
    from scipy.sparse import csr_matrix

    import mnncorrect

    names = pd.RangeIndex(len(given.x)).astype(str)
    obs = pd.DataFrame({"batch": pd.Categorical(given.batch.astype(str))}, index=names)
    # An object has to have a gene; the embedding alone is read.
    adata = anndata.AnnData(csr_matrix((len(given.x), 1)), obs=obs, obsm={"X_pca": given.x})
    integrate = mnncorrect.pp.mnn_integrate
    # The other method has neighbors of its own.
    options = given.options | ({"n_neighbors": given.neighbors} if method == "fast" else {})
    return lambda: integrate(adata, "batch", method=method, n_jobs=given.threads, **options)


def embedding_mnncorrect_calibrated(given: Input) -> Call:
    return embedding_mnncorrect(given, "calibrated")


def embedding_mnncorrect_core(given: Input) -> Call:
    from mnncorrect.core.methods.fast import mnn_reduced

    compute, options = compute_of(given)
    return lambda: mnn_reduced(
        given.x, given.batch, n_neighbors=given.neighbors, compute=compute, **options
    )


def embedding_harmonypy(given: Input) -> Call:
    import harmonypy

    batches = {"batch": given.batch.astype(str)}
    return lambda: (
        harmonypy.run_harmony(
            given.x, batches, "batch", verbose=False, ncores=given.threads, **given.options
        ).Z_corr
    )


def embedding_scranpy(given: Input) -> Call:
    import scranpy

    batches = given.batch.tolist()
    return lambda: scranpy.correct_mnn(
        given.x.T, batches, num_threads=given.threads, **given.options
    )


def embedding_scanorama(given: Input) -> Call:
    import scanorama

    batches = [given.x[given.batch == b] for b in range(int(given.batch.max()) + 1)]
    # The block of cells that scanorama's own `integrate` takes; without one it holds cells x pairs.
    options = {"batch_size": 5000, "knn": given.neighbors} | given.options
    return lambda: scanorama.assemble(batches, verbose=0, **options)


def classic_mnncorrect(given: Input) -> Call:
    import anndata
    import pandas as pd

    import mnncorrect

    names = pd.RangeIndex(len(given.x)).astype(str)
    obs = pd.DataFrame({"batch": pd.Categorical(given.batch.astype(str))}, index=names)
    var = pd.DataFrame(index=pd.RangeIndex(given.x.shape[1]).astype(str))
    adata = anndata.AnnData(given.x, obs=obs, var=var)
    classic = mnncorrect.pp.mnn_classic
    return lambda: classic(
        adata, "batch", n_neighbors=given.neighbors, n_jobs=given.threads, **given.options
    )


def classic_products(given: Input) -> Call:
    """The products that the method cannot do without: distances, their mirror, weights by vectors.

    In the input's float type and in blocks, with as many anchors as the method would have.
    """
    from mnncorrect.core.matrix.rows import cosine_normalize
    from mnncorrect.core.merging.pairs import find_pairs

    left, right = (cosine_normalize(side) for side in given.sides())
    compute, _ = compute_of(given)
    pairs = find_pairs(left, right, n_neighbors=given.neighbors, compute=compute)
    anchors = np.unique(pairs.right)
    block = 1024

    def call() -> None:
        for one, other in ((left, right), (right, left)):
            out = np.empty((block, len(other)), one.dtype)
            for start in range(0, len(one), block):
                rows = one[start : start + block]
                np.matmul(rows, other.T, out=out[: len(rows)])
        vectors, weights = right[anchors], np.full((block, len(anchors)), 0.5, right.dtype)
        for start in range(0, len(right), block):
            weights[: len(right) - start] @ vectors

    return call


TOOLS: dict[str, dict[str, Callable[[Input], Any]]] = {
    "search": {
        "mnncorrect": search_mnncorrect,
        "pynndescent": search_pynndescent,
        "scikit-learn": search_scikit_learn,
    },
    "embedding": {
        "mnncorrect": embedding_mnncorrect,
        "mnncorrect-core": embedding_mnncorrect_core,
        "mnncorrect-calibrated": embedding_mnncorrect_calibrated,
        "harmonypy": embedding_harmonypy,
        "scranpy": embedding_scranpy,
        "scanorama": embedding_scanorama,
    },
    "classic": {"mnncorrect": classic_mnncorrect, "products": classic_products},
}
# What the name of the engine is called, where a tool of ours has a choice of engines.
ENGINE = {"search": "engine", "embedding": "neighbors", "classic": "neighbors"}


def prepare(task: str, tool: str, given: Input) -> tuple[Call, Callable[[Any], Pairs] | None]:
    """Prepare a tool's call, and with a search how pairs are had from its result."""
    prepared = TOOLS[task][tool](given)
    return prepared if isinstance(prepared, tuple) else (prepared, None)


def timed(call: Call) -> tuple[float, Any]:
    """Seconds that a call takes, and its result."""
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def few_calls(task: str, tool: str, given: Input) -> list[Call]:
    """Calls on a few cells that compile what the large one needs, whichever engine it takes."""
    cells = WARM_UP_GENES_CELLS if task == "classic" else WARM_UP_CELLS
    engines = ["exact", "partition"] if tool.startswith("mnncorrect") else [None]
    options = [{} if engine is None else {ENGINE[task]: engine} for engine in engines]
    if task == "embedding" and tool in {"mnncorrect", "mnncorrect-core"}:
        # Pairs of many batches are searched among some cells of each side.
        options.append({"sketch": cells // 3})
    return [prepare(task, tool, given.few(cells, **option))[0] for option in options]


def recall(found: Pairs, truth: Path, n_right: int) -> float:
    """Share of the true pairs of the sample that were found."""
    with np.load(truth) as file:
        wanted = file["left"].astype(np.int64) * n_right + file["right"]
    numbers = found[0].astype(np.int64) * n_right + found[1]
    return float(np.isin(wanted, numbers).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", required=True, choices=sorted(TOOLS))
    parser.add_argument("--tool", required=True)
    parser.add_argument("--mode", required=True, choices=["plain", "warm", "cold"])
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--options", type=json.loads, default={})
    parser.add_argument("--neighbors", required=True, type=int)
    parser.add_argument("--threads", required=True, type=int)
    parser.add_argument("--report", required=True, type=Path)
    arguments = parser.parse_args()
    task, tool = arguments.task, arguments.tool
    # On few cells tools warn of few neighbors, and peers of what their libraries will change.
    warnings.simplefilter("ignore")

    with np.load(arguments.data) as file:
        x, batch = file["x"], file["batch"]
    given = Input(x, batch, arguments.neighbors, arguments.threads, arguments.options)
    report: dict[str, Any] = {
        "version": version(DISTRIBUTIONS.get(tool, tool)),
        "input_mib": x.nbytes / 2**20,
    }
    if arguments.mode == "cold":
        first = sum(timed(call)[0] for call in few_calls(task, tool, given))
        second = sum(timed(call)[0] for call in few_calls(task, tool, given))
        report["compile_seconds"] = first - second
    else:
        if arguments.mode == "warm":
            for call in few_calls(task, tool, given):
                call()
        call, to_pairs = prepare(task, tool, given)
        before = time.process_time()
        report["call_seconds"], result = timed(call)
        report["call_cpu_seconds"] = time.process_time() - before
        if to_pairs is not None and arguments.truth is not None:
            n_right = int((batch == 1).sum())
            report["pair_recall"] = recall(to_pairs(result), arguments.truth, n_right)
    arguments.report.write_text(json.dumps(report))


if __name__ == "__main__":
    main()
