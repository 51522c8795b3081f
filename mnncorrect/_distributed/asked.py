"""What is asked of Dask."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Dask:
    """The Dask cluster that carries a run out."""

    workers: int | None  # How many processes are started; ``None``: there is a cluster.
    scheduler: str | None  # The address of its scheduler.

    @property
    def argument(self) -> str:
        """The argument that asks for it."""
        return "workers" if self.scheduler is None else "scheduler"

    @property
    def place(self) -> str:
        """Where it is, in words."""
        return "on this machine" if self.scheduler is None else f"at {self.scheduler}"
