"""Helps, messages and pages are plain English: short sentences, and no words that are banned."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import typer

from mnncorrect.cli.app import app

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
MOST_WORDS = 25
# Pages that quote others' words, or are written by date.
FOLDERS = ("docs", "data", "workflows")
PAGES = [
    ROOT / "README.md",
    *sorted(page for name in FOLDERS for page in (ROOT / name).rglob("*.md")),
    *sorted((ROOT / "workflows").rglob("*.rst")),
]
SOURCES = sorted(
    path for name in ("mnncorrect", "workflows") for path in (ROOT / name).rglob("*.py")
)
TESTS = sorted((ROOT / "tests").rglob("*.py"))
# Plain words in a row of a message that a test may compare: names and numbers, no sentences.
MOST_COMPARED = 5
# Parameters of tests that hold texts of messages.
COMPARED = {"match", "message", "says", "title", "reason", "remedy"}
TEMPLATES = sorted((ROOT / "mnncorrect" / "report" / "templates").rglob("*.html"))

# What is banned, and what to write instead.
BANNED = {
    r"told apart": "distinguishable, distinguished",
    r"tell\w* apart": "distinguish",
    r"\bas ever\b": "as usual",
    r"to be had\b": "available, exist",
    r"\b(is|are|be) said\b": "logged, warned, printed, written",
    r"\b(is|are) told\b": "logged, printed, detected",
    r"\bunless told\b": "by default",
    r"\bwhat (each|it|this|that) is\b": "a noun",
    r"\b(is|are) of no\b": "has no, have no",
    r"\bdea(l|ls|lt|ling)s? (them |cells )?out\b": "assigned at random",
    r"\bthe like\b": "similar ones",
    r"\bbe it\b": "whether",
    r"\bfor want of\b": "because there is no",
    r"\bamiss\b": "wrong",
    r"\bput together\b": "joined",
    r"\bgoes round\b": "loops",
    r"\bsome of each other\b": "each other",
    r"\bneighbour": "neighbor",
    r"\bcolour": "color",
    r"\bgrey\b": "gray",
    r"\b\w*normalis": "normaliz",
    r"\bcentres?\b": "center",
    r"\blicence": "license",
    r"\bbehaviour": "behavior",
    r"\bwhilst\b": "while",
}
# Options and names of an older spelling, which stay as aliases, and names in code.
ALLOWED = re.compile(r"``[^`]*``|`[^`]*`|--\S+|\b\w+_\w+\b|\"[\w ]+\"|:\w+:`[^`]+`")


def banned_in(text: str) -> list[str]:
    """The banned words of a text, and what to write instead."""
    plain = ALLOWED.sub(" ", text)
    return [
        f"{found[0]!r}: write {instead}"
        for pattern, instead in BANNED.items()
        if (found := re.search(pattern, plain, re.IGNORECASE))
    ]


def prose(page: str) -> str:
    """A page without front matter, code, tables, formulas and addresses."""
    text = re.sub(r"\A---\n.*?\n---\n", "", page, flags=re.DOTALL)
    text = re.sub(r"^(`{3,}|:{3,}|\$\$).*?^\1[^\n]*$", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"\$\$.*?\$\$", "", text, flags=re.DOTALL)
    text = re.sub(r"^\|.*$", "", text, flags=re.MULTILINE)
    text = re.sub(r"\]\([^)]*\)", "]", text)
    return re.sub(r"<[^>]+>", "", text)


def sentences(text: str) -> Iterator[str]:
    """The sentences of a text, of list items and of headings."""
    for part in re.split(r"\n\s*\n|^\s*(?:[-*#]+|\d+\.) ", text, flags=re.MULTILINE):
        yield from re.split(r"(?<=[.!?:;]['\")*_]) |(?<=[.!?:;]) ", " ".join(part.split()))


def too_long(text: str) -> list[str]:
    """The sentences of more words than a reader takes in at once."""
    return [one for one in sentences(text) if len(re.findall(r"[\w'`]+[^\s]*", one)) > MOST_WORDS]


def texts_of(source: str) -> Iterator[tuple[int, str]]:
    """What people read in a module, with its line: comments, and text of several words."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.lineno, node.value


def compared_with(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """What a test compares messages with: ``match=``, ``"..." in text``, parameters; with lines."""
    for node in ast.walk(tree):
        texts: list[ast.AST] = []
        if isinstance(node, ast.keyword) and node.arg == "match":
            texts = [node.value]
        elif isinstance(node, ast.Compare) and any(isinstance(one, ast.In) for one in node.ops):
            texts = [node.left]
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "parametrize":
            names = {one.value for one in ast.walk(node.args[0]) if isinstance(one, ast.Constant)}
            texts = list(node.args[1:2]) if names & COMPARED else []
        for text in texts:
            for part in ast.walk(text):
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    yield part.lineno, part.value


def words_in_a_row(text: str) -> int:
    """The most plain words in a row: names, numbers and signs end a row."""
    rows = re.split(r"\.[*+]|[^A-Za-z ]+", text)
    return max(sum(word.isalpha() for word in row.split()) for row in rows)


def helps() -> dict[str, str]:
    """Every text of the helps, by command and option."""
    found = {}
    for name, command in typer.main.get_command(app).commands.items():
        found[name] = re.sub(r"Example: .*?(\n\n|\Z)", "", command.help or "", flags=re.DOTALL)
        for parameter in command.params:
            found[f"{name} {parameter.opts[-1]}"] = getattr(parameter, "help", None) or ""
    return found


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


HELPS = helps()


@pytest.mark.parametrize("name", sorted({name.partition(" ")[0] for name in HELPS}))
def test_helps_are_plain(name: str) -> None:
    for place, text in HELPS.items():
        if place.partition(" ")[0] == name:
            assert not banned_in(text), place
            assert not too_long(text), place


@pytest.mark.parametrize("page", PAGES, ids=map(named, PAGES))
def test_pages_are_plain(page: Path) -> None:
    text = page.read_text()
    if "{include}" in text:
        return
    assert not banned_in(prose(text))
    assert not too_long(prose(text))


@pytest.mark.parametrize("template", TEMPLATES, ids=map(named, TEMPLATES))
def test_templates_of_the_report_are_plain(template: Path) -> None:
    words = re.sub(r"\{[{%#].*?[}%#]\}|<[^>]*>", " ", template.read_text(), flags=re.DOTALL)
    assert not banned_in(words)
    assert not too_long(words)


@pytest.mark.parametrize("source", SOURCES, ids=map(named, SOURCES))
def test_messages_and_comments_have_no_banned_words(source: Path) -> None:
    found = [
        f"line {line}: {word}"
        for line, text in texts_of(source.read_text())
        for word in banned_in(text)
    ]
    assert not found


def test_tests_compare_the_meaning_of_messages_not_sentences() -> None:
    long = [
        f"{named(path)}:{line}: {text!r}; compare names, numbers and options"
        for path in TESTS
        for line, text in compared_with(ast.parse(path.read_text()))
        if words_in_a_row(text) > MOST_COMPARED
    ]
    assert not long
