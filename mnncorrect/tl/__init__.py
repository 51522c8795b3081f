"""Floor 2, tools: work on the results of a correction."""

from __future__ import annotations

from mnncorrect.tl._gmm import gmm

__all__ = ["gmm"]
