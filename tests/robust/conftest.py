"""What the tests of odd inputs and broken runs share."""

from __future__ import annotations

from cli.conftest import cli, counts, made

__all__ = ["cli", "counts", "made"]
