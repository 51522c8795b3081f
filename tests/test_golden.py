"""Every stored output of the reference implementation, to 1e-6 at the worst."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mnncorrect.core.classic import mnn_classic

FILES = sorted(path.stem for path in (Path(__file__).parent / "golden").glob("*.npz"))
CLASSIC = [name for name in FILES if name.startswith("classic_")]

# What agreement with the reference is asked for; what is seen is near 1e-13.
TOLERANCE = 1e-6


def assert_same_merges(merges, case):
    """The same nodes in the same order, and the same pairs in the same order."""
    assert [merge.left for merge in merges] == case.left
    assert [merge.right for merge in merges] == case.right
    for merge, pairs in zip(merges, case.pairs, strict=True):
        np.testing.assert_array_equal(np.column_stack([merge.pairs.left, merge.pairs.right]), pairs)


def core_params(case):
    """Parameters with the merge order as floor 1 takes it: nested pairs of batch numbers."""
    params = dict(case.params)
    if "merge_order" in params:
        params["merge_order"] = chain(params["merge_order"])
    return params


def chain(order):
    """Nested lists as nested pairs."""
    if isinstance(order, int):
        return order
    tree, *rest = [chain(child) for child in order]
    for child in rest:
        tree = (tree, child)
    return tree


def test_all_files_are_there():
    assert len(CLASSIC) == 14
    assert len(FILES) == 38


@pytest.mark.parametrize("name", CLASSIC)
def test_classic_agrees_with_the_reference(golden, name):
    case = golden(name)
    result = mnn_classic(case.x, case.codes, neighbors="exact", n_jobs=1, **core_params(case))
    np.testing.assert_allclose(result.corrected, case.corrected, rtol=0, atol=TOLERANCE)
    assert_same_merges(result.merges, case)
    assert result.corrected.dtype == np.float64
    assert result.engines == ("exact",)
