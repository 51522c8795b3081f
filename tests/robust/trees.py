"""Changes that know what a zarr tree or a Matrix Market file is made of, each from its number.

The oracle of what is lost is exact: what is read afterwards is what was written, or it is refused.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

METADATA = (".zarray", "zarr.json", ".zgroup", ".zattrs", ".zmetadata")
SIZES = (0, 1, 2, 7, 2**31, 2**40, 2**62, -1)
CODECS = ("pickle", "json2", "zlib", "vlen-utf8", "numcodecs.pickle", "packbits", "nothing")


def lose(path: Path, number: int) -> str:
    """Lose part of a zarr tree, as copies do; return what was lost."""
    rng = np.random.default_rng(number)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    chunks = [file for file in files if file.name not in METADATA]
    chosen = chunks[int(rng.integers(len(chunks)))]
    told = str(chosen.relative_to(path))
    way = int(rng.integers(5))
    if way == 0:
        chosen.unlink()
    elif way == 1:
        chosen.write_bytes(b"")
    elif way == 2:
        content = chosen.read_bytes()
        chosen.write_bytes(content[: int(rng.integers(len(content)))])
    elif way == 3:
        for file in chosen.parent.iterdir():
            if file.is_file() and file.name not in METADATA:
                file.unlink()
    else:
        chosen.unlink()
        [os.mkfifo, lambda at: at.symlink_to("/dev/zero")][int(rng.integers(2))](chosen)
    return f"{told} ({way})"


def forge(path: Path, number: int) -> str:
    """Change the metadata of a zarr tree; return what was changed."""
    rng = np.random.default_rng(number)
    files = sorted(file for file in path.rglob("*") if file.name in METADATA)
    chosen = files[int(rng.integers(len(files)))]
    document = json.loads(chosen.read_text())
    places = list(_places(document))
    if not places:
        return "nothing"
    holder, key = places[int(rng.integers(len(places)))]
    new: Any = [
        lambda: int(rng.choice(SIZES)),
        lambda: str(rng.choice(CODECS)),
        lambda: None,
        list,
        dict,
        lambda: [{"id": str(rng.choice(CODECS)), "name": str(rng.choice(CODECS))}],
        lambda: holder[places[0][1]] if places[0][0] is holder else "x",
    ][int(rng.integers(7))]()
    holder[key] = new
    chosen.write_text(json.dumps(document))
    return f"{chosen.relative_to(path)}: {key} = {new!r}"


def _places(value: Any) -> Any:
    """Yield what holds a value, and its place there, of all values of a document."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inside in items:
        yield value, key
        if isinstance(inside, dict | list):
            yield from _places(inside)


# What is put in the place of, or after, a number.
TOKENS = (
    *(
        "3.7",
        "3e2",
        "1,5",
        "0x10",
        "3abc",
        "5 9",
        "+3",
        "-3",
        "",
        "nan",
        "inf",
        "1e400",
        "3.",
        ".5",
    ),
    *("1_0", "\x00", "\u0663", "99999999999999999999", "0", "%", "1d2", "1/2", "\t", "\r", "\n"),
)


def retoken(text: str, number: int) -> str:
    """Change a few numbers of a Matrix Market file."""
    rng = np.random.default_rng(number)
    lines = text.split("\n")
    for _ in range(int(rng.integers(1, 3))):
        at = int(rng.integers(len(lines)))
        words = lines[at].split(" ")
        place = int(rng.integers(len(words)))
        token = str(rng.choice(TOKENS))
        words[place] = token if rng.random() < 0.7 else words[place] + token
        lines[at] = " ".join(words)
    return "\n".join(lines)


def strictly_read(text: str) -> Any:
    """Read a Matrix Market file number by number; ``None``: it breaks the grammar.

    Plain and slow: for comparison.
    """
    lines = [line.strip(" \t\r") for line in text.split("\n")]
    words = lines[0].split()
    if len(words) != 5 or words[:3] != ["%%MatrixMarket", "matrix", "coordinate"]:
        return None
    field = words[3]
    rest = [line for line in lines[1:] if line]
    while rest and rest[0].startswith("%"):
        rest.pop(0)
    try:
        n_rows, n_columns, entries = (_whole(word) for word in rest[0].split())
        found = np.zeros((n_rows, n_columns))
        seen = set()
        for line in rest[1:]:
            row, column, value = line.replace("\t", " ").split()
            place = _whole(row) - 1, _whole(column) - 1
            if place in seen or min(place) < 0:
                return None
            seen.add(place)
            found[place] = _signed(value) if field == "integer" else _real(value)
    except (ValueError, IndexError, MemoryError):
        return None
    return found if len(seen) == entries and np.isfinite(found).all() else None


def _whole(word: str) -> int:
    if not (word.isascii() and word.isdigit() and len(word) < 19):
        raise ValueError
    return int(word)


def _signed(word: str) -> int:
    return -_whole(word[1:]) if word.startswith("-") else _whole(word)


def _real(word: str) -> float:
    if set(word) - set("0123456789.eE+-") or word.startswith("+"):
        raise ValueError
    return float(word)
