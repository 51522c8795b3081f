"""The command that ``check`` says to run next, with all that its warnings and the call imply."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnncorrect._prepare.steps import ALL_GENES
from mnncorrect._run.checking.findings import open_batches

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mnncorrect._io.input_parts import Selection
    from mnncorrect._prepare.steps import Preparation
    from mnncorrect._run.checking.findings import Findings
    from mnncorrect._run.request import Request


def next_command(
    found: Findings,
    request: Request,
    instead: tuple[Request, Findings] | None,
    sheet: Path | None,
    memory_limit: str | None,
    guiding: Mapping[str, Any],
) -> str | None:
    """Write the command to run next, quoted for a shell; ``None``: none works.

    ``instead`` is what to ask for instead of ``request``, and what was found of that: it is checked
    next, unless only a run can be told so. ``None``: nothing is known, or not given.
    """
    other, seen = (request, found) if instead is None else instead
    if seen.problems or seen.proposed == []:
        return None
    selection, preparation = other.selection, _preparation_words(other.preparation)
    corrected = found.problems and selection != request.selection
    program = "check" if (corrected or seen.proposed is not None) and not preparation else "run"
    paths = request.paths
    words = (
        [_path_word(path) for path in paths] if sheet is None else ["--sheet", _path_word(sheet)]
    )
    reading = [*_reading_words(selection, seen), *_as_words("--memory-limit", memory_limit)]
    words = [program, *words, *_key_words(seen, selection), *reading]
    if program == "check":
        return _joined([*words, *_guiding_words(guiding)])
    stem = paths[0].name.removesuffix(paths[0].suffix) if len(paths) == 1 else "joined"
    output = _free(f"{stem}.corrected.h5ad")
    return _joined([*words, *seen.flags, *preparation, "-o", output])


def what_to_do(found: Findings) -> str:
    """Say what to do where no command works: what has to be decided, or mended first."""
    if found.tables is not None and (found.proposed == [] or found.unfit_parts[0] == "batches"):
        return f"decide {open_batches(found.tables)}"
    return "no command works on these inputs; do what `not fit` says above, then run check again"


def _preparation_words(preparation: Preparation) -> list[str]:
    """Write what is asked to be done with values; check proposes these options only."""
    return [
        *(["--no-counts"] if preparation.counts is False else []),
        *(["--no-hvg"] if preparation.hvg is False else []),
        *(["--mask-var", ALL_GENES] if preparation.genes == ALL_GENES else []),
    ]


def _joined(words: Sequence[str]) -> str:
    return shlex.join(["mnncorrect", *words])


def _key_words(found: Findings, selection: Selection) -> list[str]:
    """Write what tells the batches: as the call says, or as is proposed."""
    if found.proposed is not None:
        return list(found.proposed)
    names = [selection.key] if isinstance(selection.key, str) else selection.key or ()
    return [word for name in names for word in _as_words("-b", name)]


def _reading_words(selection: Selection, found: Findings) -> list[str]:
    """Write how inputs are read; genes, as they are found to match better."""
    return [
        *_as_words("--layer", selection.layer),
        *(["--use-raw"] if selection.use_raw else []),
        *_as_words("--gene-key", found.matching.get("gene_key", selection.gene_key)),
        *(
            ["--strip-versions"]
            if selection.strip_versions or "strip_versions" in found.matching
            else []
        ),
        *[word for condition in selection.subset for word in _as_words("--subset", condition)],
        *(["--batch-from-barcode"] if selection.batch_from_barcode else []),
    ]


def _guiding_words(guiding: Mapping[str, Any]) -> list[str]:
    """Write labels and what is to be kept, which the next check is to judge as well."""
    return [
        *_as_words("--label-key", guiding.get("label_key")),
        *[word for column in guiding.get("keep") or () for word in _as_words("--keep", column)],
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
