"""Plots of the results of a correction: merges, lost variance, confidence, clusters, cells.

Each function draws on matplotlib axes, given or its own, and shows, saves or returns them as
scanpy's plots do.
"""

from __future__ import annotations

from mnncorrect.pl._bic import bic
from mnncorrect.pl._confidence import confidence
from mnncorrect.pl._embedding import embedding
from mnncorrect.pl._merges import lost_variance, merges
from mnncorrect.pl._placed import placed

__all__ = ["bic", "confidence", "embedding", "lost_variance", "merges", "placed"]
