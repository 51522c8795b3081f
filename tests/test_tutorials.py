"""The tables for those who move over from other tools name what exists."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import scanpy.external
from conftest import PARAMETERS

from mnncorrect import pp, tl

PAGE = Path(__file__).parents[1] / "docs/tutorials/moving_over.md"


def table(heading):
    """The rows of the first table after a heading, as the names in each column."""
    pattern = rf"^{heading}\n(?:.|\n)*?\n\|---.*\n((?:\|.*\n)+)"
    rows = re.search(pattern, PAGE.read_text(), re.MULTILINE)[1]
    cells = (row.strip("|").split("|") for row in rows.splitlines())
    return [[re.findall(r"`([^`]+)`", cell) for cell in row] for row in cells]


def test_the_table_of_parameters_has_the_names_of_each():
    functions = [getattr(module, name) for module in (pp, tl) for name in module.__all__]
    known = {name for function in functions for name in inspect.signature(function).parameters}
    theirs = set(inspect.signature(scanpy.external.pp.mnn_correct).parameters)
    rows = table("### Parameters")
    assert len(rows) > 20
    for reference, external, here, _ in rows:
        assert len(here) == 1
        assert set(here) <= known
        assert set(external) <= theirs
        assert len(reference) == 1
        # The names that golden results of the reference are stored under.
        python_name = reference[0].replace(".", "_")
        if python_name in PARAMETERS:
            assert here == [PARAMETERS[python_name]]
    named = {name.replace(".", "_") for row in rows for name in row[0]}
    assert set(PARAMETERS) <= named


def test_the_table_of_functions_names_what_there_is():
    rows = table("## From batchelor")
    assert len(rows) > 10
    for _, _, here in rows:
        for name in here:
            module, _, function = name.partition(".")
            if module in ("pp", "tl"):
                assert function in {"pp": pp, "tl": tl}[module].__all__, name
