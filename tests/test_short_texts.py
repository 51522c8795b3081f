"""Small functions that write or part texts: what goes in, and what comes out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnncorrect._adata.lookup import side
from mnncorrect._io.failures import of_environment
from mnncorrect._io.pieces import joint_type
from mnncorrect._io.read_places import parted
from mnncorrect.pl._embedding import _different
from mnncorrect.pl._merges import said_of
from mnncorrect.report.collect.mixing import mixing_text
from mnncorrect.report.draw.templates import at, number, said

INT, LONG, FLOAT = np.dtype("int32"), np.dtype("int64"), np.dtype("float32")
MISSING = ModuleNotFoundError("No module named 'numcodecs'")


@pytest.mark.parametrize(
    ("made", "wanted"),
    [
        (of_environment(ValueError("no such column")), None),
        (str(of_environment(MISSING)).partition(";")[0], f"a library cannot be loaded: {MISSING}"),
        (joint_type([INT, FLOAT]), FLOAT),
        (joint_type([INT, LONG]), LONG),
        (parted(Path("data/cells.h5mu::rna"))[1], "rna"),
        (mixing_text(0.7, 0.94), "0.70 of 0.94 attainable"),
        (mixing_text(0.98, 0.88), "0.98 (0.88 attainable)"),
        ([number(0.12345), number(None), number(1234567.0)], ["0.12", "-", "1,234,567"]),
        (number(-0.0001), "0.00"),
        ([at(0.5), at(2.0), at(-0.1)], ["50.0%", "100.0%", "0.0%"]),
        ([said(True), said(0.1), said(None)], ["yes", "0.1", "-"]),
        (said('["a", "\\u00e9"]'), '["a", "é"]'),
        (said_of(1250, {"a": 0.02, "b": 0.131}, skipped=False), "1,250 pairs, lost 13.1 %"),
        ([side(("a",)), side("abc"), side("abcdef")], ["a", "a + b + c", "a and 5 more"]),
        (_different(["a", "b", "a"]), ["a", "b", "a (3)"]),
    ],
)
def test_a_text_is_made_as_its_parts_say(made: Any, wanted: Any) -> None:
    assert made == wanted
