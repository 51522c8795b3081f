"""Which warnings end a test: all, but for deprecations that dependencies meet in each other."""

from __future__ import annotations

import warnings

import pytest

DEPRECATIONS = [DeprecationWarning, PendingDeprecationWarning, FutureWarning]


def calling_from(module, category):
    """A function of a module that calls something deprecated."""
    scope = {"__name__": module, "warnings": warnings, "category": category}
    exec("def call():\n    warnings.warn('old', category)", scope)
    return scope["call"]


@pytest.mark.parametrize("category", DEPRECATIONS)
@pytest.mark.parametrize("module", ["mnncorrect.pp._fast", "tests.test_pp", "conftest", "naive"])
def test_a_deprecated_call_of_ours_ends_a_test(module, category):
    with pytest.raises(category, match="old"):
        calling_from(module, category)()


@pytest.mark.parametrize("category", DEPRECATIONS)
@pytest.mark.parametrize("module", ["anndata.compat", "scanpy", "testsuite.of.another"])
def test_a_deprecation_between_dependencies_does_not(module, category):
    with warnings.catch_warnings(record=True):
        calling_from(module, category)()


@pytest.mark.parametrize("category", [UserWarning, RuntimeWarning])
def test_any_other_warning_does_wherever_it_comes_from(category):
    with pytest.raises(category, match="old"):
        calling_from("anndata.compat", category)()
