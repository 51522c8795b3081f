"""What the tests of odd inputs and broken runs share."""

from __future__ import annotations

from cli.conftest import cli, corrected, counts, made, stored_counts

__all__ = ["cli", "corrected", "counts", "made", "stored_counts"]
