"""What Python users see of the log: what scanpy's verbosity says, or their own configuration."""

from __future__ import annotations

import io
import logging
import subprocess
import sys

import pytest

from mnncorrect import _log

logger = logging.getLogger("mnncorrect")


@pytest.fixture
def shown():
    """What scanpy's log shows, and its settings."""
    import scanpy

    settings = scanpy.settings
    before = settings.verbosity, settings.logfile
    text = io.StringIO()
    settings.logfile = text
    yield text, settings
    settings.verbosity, settings.logfile = before


@pytest.mark.parametrize(("verbosity", "lines"), [(1, 0), (2, 1), (3, 1), (4, 2)])
def test_scanpys_verbosity_decides_what_is_shown(shown, verbosity, lines):
    text, settings = shown
    settings.verbosity = verbosity
    logger.info("%d cells, 5 %% of them", 3)
    logger.debug("a detail")
    told = text.getvalue().splitlines()
    assert len(told) == lines
    assert told[:1] == ["3 cells, 5 % of them"][:lines]


def test_a_line_that_logging_shows_is_not_shown_twice(shown, caplog):
    text, settings = shown
    settings.verbosity = 3
    with caplog.at_level(logging.INFO, "mnncorrect"):
        logger.info("once")
    assert caplog.messages == ["once"]
    assert text.getvalue() == ""


def test_logging_that_shows_warnings_gets_no_more_than_these(caplog):
    logger.info("no")
    logger.warning("yes")
    assert caplog.messages == ["yes"]


@pytest.mark.slow
def test_without_any_configuration_warnings_are_shown_unless_verbosity_is_0():
    code = """
import logging, sys
import mnncorrect
logger = logging.getLogger("mnncorrect")
logger.warning("before scanpy")
logger.info("nothing before scanpy")
import scanpy
for verbosity in range(3):
    scanpy.settings.verbosity = verbosity
    logger.warning("warned at %d", verbosity)
    logger.info("told at %d", verbosity)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    ours = [line for line in done.stderr.splitlines() if " at " in line or "scanpy" in line]
    wanted = ["before scanpy", "warned at 1", "warned at 2", "told at 2"]
    assert [line.removeprefix("WARNING: ") for line in ours] == wanted


def test_it_is_set_up_once():
    _log.follow_scanpy()
    assert sum(isinstance(entry, _log.ByVerbosity) for entry in logger.filters) == 1
