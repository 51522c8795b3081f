"""Older spellings of options and values, accepted for one release."""

from __future__ import annotations

from collections.abc import Iterator

import typer

OLD_SPELLINGS = {
    "--normalise": "--normalize",
    "--no-normalise": "--no-normalize",
    "--keep-normalised": "--keep-normalized",
    "--no-keep-normalised": "--no-keep-normalized",
}
RENAMED_VALUES = {("--expression-scale", "centred"): "centered"}


def current_spelling(words: list[str]) -> list[str]:
    """Replace older spellings in the words of a command, each with a warning on stderr."""
    return list(_replaced(words))


def _replaced(words: list[str]) -> Iterator[str]:
    before = ""
    for word in words:
        option, equals, value = word.partition("=")
        now = OLD_SPELLINGS.get(word, word)
        if (option, value) in RENAMED_VALUES:
            now = f"{option}{equals}{RENAMED_VALUES[option, value]}"
        elif (before, word) in RENAMED_VALUES:
            now = RENAMED_VALUES[before, word]
        if now != word:
            typer.echo(
                f"warning: {word} is an older spelling and will be removed in the next release; "
                f"use {now}",
                err=True,
            )
        yield now
        before = word
