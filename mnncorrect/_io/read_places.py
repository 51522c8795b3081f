"""The files behind what a user names as an input."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

# What stands between the name of a file and that of an object in it.
SIGN = "::"
MUDATA = ".h5mu"
# Endings of a matrix, and of the tables that are read with it.
MATRIX, TABLE_ENDINGS = ".mtx", (".tsv", ".txt", ".csv")


def parted(path: Path) -> tuple[Path, str | None]:
    """Part ``FILE::MODALITY``; ``None``: no modality is named."""
    before, sign, modality = str(path).rpartition(SIGN)
    names_file = before.endswith(MUDATA) or Path(before).is_file()
    if not sign or "/" in modality or not names_file or path.exists():
        return path, None
    return Path(before), modality


def files_read(path: Path) -> list[Path]:
    """Return the files that are read where an input is named; of a matrix, its tables too."""
    file, _ = parted(path)
    files = [file]
    if _bare(file.name).endswith(MATRIX):
        with suppress(OSError):
            files += [e for e in file.parent.iterdir() if _bare(e.name).endswith(TABLE_ENDINGS)]
    return files


def _bare(name: str) -> str:
    return name.removesuffix(".gz")
