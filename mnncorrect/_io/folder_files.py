"""The files of an input that is a folder: regular files that lie in that folder."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def files_of(folder: Path) -> dict[str, int]:
    """List the files of a folder and of the folders in it with their sizes, following no link.

    Links out of the folder or to other folders, pipes, sockets and devices are refused.
    """
    sizes: dict[str, int] = {}
    waiting = [""]
    while waiting:
        inside = waiting.pop()
        with os.scandir(folder / inside) as entries:
            for entry in entries:
                name = f"{inside}/{entry.name}" if inside else entry.name
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(name)
                else:
                    refuse_irregular(Path(entry.path), folder)
                    sizes[name] = entry.stat().st_size
    return sizes


def refuse_irregular(path: Path, folder: Path) -> None:
    """Refuse what is no regular file of a folder, before it is opened.

    To open a pipe is to wait, and a link may show the file of another.
    """
    real = Path(os.path.realpath(path))
    if path.is_symlink() and not real.is_relative_to(os.path.realpath(folder)):
        raise ValueError(
            f"{path} is a link that leads out of {folder}, which is not followed; replace it with "
            f"a copy of the file: cp -rL copies a folder with what its links lead to"
        )
    try:
        mode = real.stat().st_mode
    except OSError as error:
        raise OSError(f"{path} cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(mode):
        raise ValueError(
            f"{path} is a folder, a pipe or a device, or a link to one; only regular files are "
            "read there; remove it, or copy the rest"
        )
