"""The paths of a command: what it reads, what it writes, and that these do not overlap.

Every parameter of a command that is a path is named here; a test keeps it so.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mnncorrect._io.paths import NamedPath

# Parameters of commands: what an error calls the path.
READ_PARAMETERS = {"input": "the input file", "inputs": "the input file", "sheet": "the sheet"}
READ_PARAMETERS |= {"model": "the model", "reference": "the reference"}
WRITTEN = {"output": "the output", "save_model": "the saved model", "report": "the report"}
LOG_PARAMETER = "log_file"


@dataclass(frozen=True)
class Places:
    """The paths of a command."""

    # What it reads and writes.
    read: list[NamedPath]
    written: list[NamedPath]
    log: NamedPath | None  # The log file, if there is one.

    def refuse_unfit(self, *, force: bool) -> None:
        """Refuse paths that overlap, or that could not or should not be written.

        ``force``: whether outputs that exist may be replaced. A log replaces nothing but a log.
        """
        from mnncorrect._io.atomic import check_target
        from mnncorrect._io.paths import refuse_foreign_log, refuse_overlaps

        logs = [] if self.log is None else [self.log]
        refuse_overlaps([*self.written, *logs], self.read)
        for target in self.written:
            check_target(target.path, force=force)
        if self.log is not None:
            refuse_foreign_log(self.log.path)


def places_of(values: Mapping[str, Any]) -> Places:
    """Gather the paths among the parameters of a command, with the inputs that a sheet names."""
    from mnncorrect._io.paths import NamedPath
    from mnncorrect._io.read_places import files_read, parted

    read = [
        NamedPath(READ_PARAMETERS[name], file, f"--{name}")
        for name in READ_PARAMETERS
        for path in _paths(values.get(name))
        for file in files_read(path)
    ]
    if values.get("sheet") is not None:
        from mnncorrect._io.sheet import read_sheet

        # What is wrong with the sheet is an error of the command.
        with contextlib.suppress(OSError, ValueError):
            paths = read_sheet(values["sheet"]).paths
            read += [
                NamedPath("the input file", file) for path in paths for file in files_read(path)
            ]
    written = [
        NamedPath(WRITTEN[name], parted(path)[0], f"--{name.replace('_', '-')}")
        for name in WRITTEN
        for path in _paths(values.get(name))
    ]
    logs = [
        NamedPath("the log file", path, "--log-file") for path in _paths(values.get(LOG_PARAMETER))
    ]
    return Places(read, written, logs[0] if logs else None)


def _paths(value: Any) -> Iterator[Path]:
    """Yield a path, or several; a switch of the same name, as ``--report``, is none."""
    for each in value if isinstance(value, list) else [value]:
        if isinstance(each, Path):
            yield each
