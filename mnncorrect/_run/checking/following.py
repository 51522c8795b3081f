"""The command that ``check`` says to run next, with all that its warnings and the call imply."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mnncorrect._io.input_parts import Selection
    from mnncorrect._run.checking.findings import Findings


def next_command(
    found: Findings,
    paths: Sequence[Path],
    selection: Selection,
    sheet: Path | None,
    memory_limit: str | None,
) -> str:
    """Write the command to run next, quoted for a shell.

    ``found``: what was found: of what is not fit, the command is ``check`` again, to be run when
    that has been mended. ``paths, selection, sheet, memory_limit``: the call; ``None``: not given.
    """
    if sheet is not None and not found.problems:
        words = ["concat", "--sheet", _path_word(sheet), *_reading_words(selection, found)]
        output = _free("joined.h5ad")
        return _joined([*words, *_as_words("--memory-limit", memory_limit), "-o", output])
    given = (
        [_path_word(path) for path in paths] if sheet is None else ["--sheet", _path_word(sheet)]
    )
    checked = found.problems or found.proposed is not None
    words = ["check" if checked else "run", *given, *_key_words(found, selection)]
    words += [*_reading_words(selection, found), *_as_words("--memory-limit", memory_limit)]
    if checked:
        return _joined(words)
    stem = paths[0].name.removesuffix(paths[0].suffix) if len(paths) == 1 else "joined"
    return _joined([*words, *found.flags, "-o", _free(f"{stem}.corrected.h5ad")])


def _joined(words: Sequence[str]) -> str:
    return shlex.join(["mnncorrect", *words])


def _key_words(found: Findings, selection: Selection) -> list[str]:
    """Write what tells the batches: as the call says, or as is proposed."""
    if found.proposed is not None:
        return list(found.proposed)
    names = [selection.key] if isinstance(selection.key, str) else selection.key or ()
    return [word for name in names for word in _as_words("-b", name)]


def _reading_words(selection: Selection, found: Findings) -> list[str]:
    """Write how the call reads its inputs; what is found to be better takes the place of that."""
    source = found.source
    if source is None:
        source = [
            *_as_words("--layer", selection.layer),
            *(["--use-raw"] if selection.use_raw else []),
        ]
    return [
        *source,
        *_as_words("--gene-key", found.matching.get("gene_key", selection.gene_key)),
        *(
            ["--strip-versions"]
            if selection.strip_versions or "strip_versions" in found.matching
            else []
        ),
        *[word for condition in selection.subset for word in _as_words("--subset", condition)],
        *(["--batch-from-barcode"] if selection.batch_from_barcode else []),
    ]


def _as_words(name: str, value: Any) -> list[str]:
    """Write an option and its value, in one word where the value could be taken for an option."""
    if value is None:
        return []
    if str(value).startswith("-"):
        return [f"{name}={value}"] if name.startswith("--") else [f"{name}{value}"]
    return [name, str(value)]


def _path_word(path: Path) -> str:
    text = str(path)
    return f"./{text}" if text.startswith("-") else text


def _free(name: str) -> str:
    """Give a name that no file here has, as an output that exists is refused."""
    stem, _, ending = name.partition(".") if name.startswith("joined") else name.rpartition(".")
    tried, number = name, 1
    while Path(tried).exists():
        number += 1
        tried = f"{stem}-{number}.{ending}"
    return _path_word(Path(tried))
