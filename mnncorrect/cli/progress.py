"""Progress bars, on a terminal only."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mnncorrect.cli.options import Reporting


@contextlib.contextmanager
def bars(reporting: Reporting) -> Iterator[Callable[[str, float], None] | None]:
    """Give what long steps tell their progress to: one bar a stage, gone when all is done.

    ``None`` where stderr is not a terminal, so that a log holds whole lines only.
    """
    if reporting.quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress, TaskID

    tasks: dict[str, TaskID] = {}
    with Progress(console=Console(stderr=True), transient=True) as progress:

        def tell(stage: str, done: float) -> None:
            if stage not in tasks:
                tasks[stage] = progress.add_task(stage, total=1.0)
            progress.update(tasks[stage], completed=done)

        yield tell
