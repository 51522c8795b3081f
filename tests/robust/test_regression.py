"""Results on real data are those of the table; a number that changes is explained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from robust import regression

import mnncorrect

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.slow
@pytest.mark.parametrize(("data", "method"), regression.CASES)
def test_results_on_real_data_are_those_of_the_table(
    data: str, method: str, shared_data: Callable[[str], Any]
) -> None:
    shared_data(data)  # skips where it is absent
    table = pd.read_csv(
        regression.TABLE, sep="\t", na_values="-", dtype={"version": str}
    ).set_index(regression.KEYS)
    expected = table.loc[(mnncorrect.__version__, data, method)]
    found = regression.figures(data, method)
    # One unit of the last digit that the table gives.
    same = {
        name: np.isclose(found[name], value, rtol=10.0 ** (1 - regression.DIGITS), equal_nan=True)
        for name, value in expected.items()
    }
    changed = {name: (expected[name], found[name]) for name, fine in same.items() if not fine}
    assert not changed, (
        f"{method} on {data} gives other numbers than before: {changed}. If that is meant, say "
        "why in CHANGELOG.md and run: python tests/robust/regression.py"
    )
