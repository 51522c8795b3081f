"""Matrix Market files: read to the last digit, or refused with the line that breaks the grammar."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import scipy.io
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from mnncorrect._io import matrix_market
from mnncorrect._io.matrix_market import checked_header, read_checked

if TYPE_CHECKING:
    from pathlib import Path

HEADER = "%%MatrixMarket matrix coordinate {} general\n"


def read(path: Path) -> Any:
    found = read_checked(path, checked_header(path))
    return found.toarray() if sp.issparse(found) else found


def one(path: Path, value: str, field: str = "integer") -> Any:
    """Read a matrix with one value, in the second column of the first row."""
    target = path / "m.mtx"
    target.write_text(HEADER.format(field) + f"2 3 1\n1 2 {value}\n", newline="")
    return read(target)[0, 1]


@pytest.mark.parametrize(
    "value",
    ["3.7", "3e2", "1,5", "0x10", "3abc", "5 9", "+3", "", "nan", "1_000", "3-", "٣", "--3", "3\0"],
)
def test_a_value_that_is_no_whole_number_is_refused(value: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"line 3 of .*m\.mtx is '1 2 ?.*integer"):
        one(tmp_path, value)


@pytest.mark.parametrize("value", ["3.7", "3e2"])
def test_a_fraction_under_integer_has_its_remedy(value: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"real .* integer"):
        one(tmp_path, value)


@pytest.mark.parametrize(
    "value",
    ["1,5", "0x10", "3abc", "5 9", "+3", "", "nan", "inf", "1e", "1.2.3", "1d5", "3e2.5", ".", "-"],
)
def test_a_value_that_is_no_number_is_refused(value: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"line 3 of .*m\.mtx is '1 2 ?.*real"):
        one(tmp_path, value, "real")


@pytest.mark.parametrize(
    ("field", "value", "number"),
    [
        ("integer", "3", 3),
        ("integer", "-3", -3),
        ("integer", "007", 7),
        ("unsigned-integer", "3", 3),
        ("real", "3.7", 3.7),
        ("real", "3e2", 300),
        ("real", "-.5E-1", -0.05),
        ("real", "5.", 5),
        ("double", "2.5", 2.5),
        ("pattern", "", 1),
    ],
)
def test_a_number_of_the_grammar_is_read(
    field: str, value: str, number: float, tmp_path: Path
) -> None:
    assert one(tmp_path, value, field) == number


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ("0 2 3\n", "Row index out of bounds"),
        ("3 2 3\n", "Row index out of bounds"),
        ("1 4 3\n", "Column index out of bounds"),
        ("1 2 3\n2 2 3\n", "Too many lines"),
        ("", "Truncated"),
        ("1 2\n", "line 3 of .* is '1 2'"),
        ("1\n2\n3\n", "line 3 of .* is '1'"),
        ("1 2 3 2 2 3\n", "line 3 of"),
        ("1 2 3\n%note\n", "line 4 of .* is '%note'"),
        ("1.0 2 3\n", "line 3 of"),
        ("-1 2 3\n", "line 3 of"),
        ("1;2;3\n", "line 3 of"),
    ],
)
def test_entries_that_do_not_fit_are_refused(entries: str, says: str, tmp_path: Path) -> None:
    target = tmp_path / "m.mtx"
    target.write_text(HEADER.format("integer") + "2 3 1\n" + entries)
    with pytest.raises(ValueError, match=says):
        read(target)


def test_an_entry_that_is_given_twice_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "m.mtx"
    target.write_text(HEADER.format("integer") + "2 3 3\n1 2 3\n2 2 1\n1 2 3\n")
    with pytest.raises(ValueError, match=r"1 of its 3 entries a second time"):
        read(target)


@pytest.mark.parametrize(
    ("start", "says"),
    [
        ("2 3 1\n", "line 1 of"),
        ("%%MatrixMarket matrix coordinate integer\n2 3 1\n", "line 1 of"),
        ("\ufeff" + HEADER.format("integer") + "2 3 1\n", "line 1 of"),
        (HEADER.format("integer") + "2 3\n", "line 2 of"),
        (HEADER.format("integer") + "2 3 1 7\n", "line 2 of"),
        (HEADER.format("integer") + "2 3.5 1\n", "line 2 of"),
        (HEADER.format("integer") + "-2 3 1\n", "line 2 of"),
        (HEADER.format("integer") + "2 3 99999999999999999999\n", "line 2 of"),
        (HEADER.format("integer") + "2 9999999999 1\n", "9,999,999,999 columns"),
        (HEADER.format("integer") + "2 3 9999999999\n", "9,999,999,999 integer numbers"),
        (HEADER.format("complex") + "2 3 1\n", "complex numbers"),
        (HEADER.format("integer").replace("general", "symmetric") + "2 3 1\n", "symmetric"),
        (HEADER.format("integer").replace("general", "skew-symmetric") + "3 3 1\n", "skew"),
        (HEADER.format("real").replace("general", "hermitian") + "3 3 1\n", "hermitian"),
    ],
)
def test_a_header_that_is_none_is_refused(start: str, says: str, tmp_path: Path) -> None:
    target = tmp_path / "m.mtx"
    target.write_text(start + "1 2 3\n")
    with pytest.raises(ValueError, match=says):
        read(target)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_blanks_comments_and_ends_of_lines_are_read(end: str, packed: bool, tmp_path: Path) -> None:
    text = HEADER.format("integer") + "%one\n%\n\n 2  3 2 \n\n  1\t 2  3  \n2 3 4\n\n   \n"
    content = text.replace("\n", end).encode()[: None if end == "\n" else -2]
    target = tmp_path / ("m.mtx.gz" if packed else "m.mtx")
    target.write_bytes(gzip.compress(content) if packed else content)
    np.testing.assert_array_equal(read(target), [[0, 3, 0], [0, 0, 4]])


def test_half_of_a_symmetric_matrix_is_read_as_the_whole(tmp_path: Path) -> None:
    target = tmp_path / "m.mtx"
    target.write_text(HEADER.format("integer").replace("general", "symmetric") + "2 2 1\n2 1 3\n")
    np.testing.assert_array_equal(read(target), [[0, 3], [3, 0]])


def test_an_array_of_all_numbers_is_read(tmp_path: Path) -> None:
    target = tmp_path / "m.mtx"
    target.write_text("%%MatrixMarket matrix array real general\n2 2\n1\n2.5\n3\n4\n")
    np.testing.assert_array_equal(read(target), [[1, 3], [2.5, 4]])


def test_a_wrong_line_is_named_wherever_blocks_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "m.mtx"
    lines = [f"{n} 1 {n}" for n in range(1, 40)]
    lines[30] = "31 1 31.5"
    target.write_text(HEADER.format("integer") + "40 1 39\n" + "\n".join(lines))
    for size in range(1, 40):
        monkeypatch.setattr(matrix_market, "READ_BYTES", size)
        with pytest.raises(ValueError, match=r"line 33 of .* is '31 1 31\.5'"):
            checked_header(target)


@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=8),
    st.booleans(),
)
def test_what_scipy_writes_is_read_to_the_last_digit(
    tmp_path_factory: pytest.TempPathFactory, values: list[float], whole: bool
) -> None:
    numbers = np.array(values)[None]
    if whole:
        numbers = np.clip(numbers, -(2**62), 2**62).astype(np.int64)
    target = tmp_path_factory.mktemp("m") / "m.mtx"
    scipy.io.mmwrite(target, sp.coo_matrix(numbers))
    np.testing.assert_array_equal(read(target), numbers)
