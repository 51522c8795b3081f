"""Older spellings of options are accepted for one release, with a warning, and not advertised."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mnncorrect.cli.options.renamed import OLD_SPELLINGS, current_spelling

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["run", "--no-normalise", "-o", "x"], ["run", "--no-normalize", "-o", "x"]),
        (["--keep-normalised"], ["--keep-normalized"]),
        (["--expression-scale", "centred"], ["--expression-scale", "centered"]),
        (["--expression-scale=centred"], ["--expression-scale=centered"]),
        (["--layer", "centred"], ["--layer", "centred"]),
    ],
)
def test_older_spellings_are_replaced_where_they_are_options(
    words: list[str], expected: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert current_spelling(words) == expected
    warned = capsys.readouterr().err
    assert all(now in warned for now in set(expected) - set(words))
    assert bool(warned) == (words != expected)


def test_an_older_spelling_does_the_same(cli: Callable, counts: Path, tmp_path: Path) -> None:
    words = ["run", counts, "-b", "batch", "-o", tmp_path / "out.h5ad", "--dry-run", "--json"]
    old, new = cli(*words, "--no-normalise"), cli(*words, "--no-normalize")
    assert old.code == new.code == 0
    assert old.out == new.out
    assert any("--no-normalize" in line for line in old.err)


def test_help_has_the_current_spelling_only(cli: Callable) -> None:
    told = cli("run", "--help-all").out
    assert not any(f"{old} " in told for old in OLD_SPELLINGS)
    assert "centred" not in told
