"""The examples in docstrings run and give what they show."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import mnncorrect

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(mnncorrect.__path__, "mnncorrect.")
    if not module.name.endswith("__main__")
)


# umap-learn is compiled in each process.
SLOW = {"mnncorrect.tl._leiden", "mnncorrect.tl._umap"}
# Packages that examples need and the package does not.
NEEDS = {"mnncorrect.tl._leiden": "igraph"}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in MODULES],
)
def test_examples_of_the_docstrings_hold(name):
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    module = importlib.import_module(name)
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    assert doctest.testmod(module, optionflags=flags).failed == 0
