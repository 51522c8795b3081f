"""How a correction is computed: the options that travel together to every search."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .threads import Progress, resolve_n_jobs

# Share of the true neighbors that an approximate search finds, unless another is asked for.
RECALL = 0.995


@dataclass(frozen=True)
class ComputeOptions:
    """Options of searches and of what draws at random."""

    # Engine of neighbor searches, see :func:`mnncorrect.core.neighbors.engines.nearest`.
    engine: str = "auto"
    # Share of the true neighbors that ``partition`` finds, above 0, at most 1.
    recall: float = RECALL
    random_state: int = 0  # Random seed.
    n_jobs: int = 1  # Threads.
    # Called with the name of a stage and the share of it that is done.
    progress: Progress | None = None


DEFAULT_COMPUTE = ComputeOptions()

# Number of batches up to which all threads share the work of each.
FEW_BATCHES = 10


def batches_at_once(n_batches: int, compute: ComputeOptions) -> tuple[int, ComputeOptions]:
    """Choose how many batches are worked on at once, and the options for each.

    Threads share the work of each of few batches; of many, which are smaller, each takes one.
    """
    number = compute.n_jobs if n_batches > FEW_BATCHES else 1
    return number, replace(compute, n_jobs=compute.n_jobs // number, progress=None)


def compute_options(
    *,
    neighbors: str = "auto",
    recall: float = RECALL,
    random_state: int = 0,
    n_jobs: int | None = None,
    progress: Progress | None = None,
) -> ComputeOptions:
    """Make options from the parameters of a public call; ``n_jobs=None``: all available CPUs."""
    return ComputeOptions(neighbors, recall, random_state, resolve_n_jobs(n_jobs), progress)
