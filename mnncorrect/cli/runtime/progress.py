"""Progress bars, on a terminal only."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from mnncorrect.cli import streams
from mnncorrect.cli.runtime import logs

if TYPE_CHECKING:
    from mnncorrect.cli.options.shared import Reporting

# Until neighbors have been searched, an input may turn out to have no mutual pairs.
FIRST_STAGE = "neighbours"


@contextlib.contextmanager
def bars(reporting: Reporting) -> Iterator[Callable[[str, float], None]]:
    """Give what long steps tell their progress to: one bar a stage, gone when all is done.

    There are no bars where stderr is not a terminal, so that a log holds whole lines only. The
    first stage after the search lets out the lines that were held back.
    """
    with contextlib.ExitStack() as stack:
        show: Callable[[str, float], None] | None = None
        if sys.stderr.isatty() and not reporting.quiet:
            show = stack.enter_context(_shown_bars())

        def tell(stage: str, done: float) -> None:
            if stage != FIRST_STAGE:
                logs.release()
            if show is not None:
                show(stage, done)

        yield tell
        logs.release()


@contextlib.contextmanager
def _shown_bars() -> Iterator[Callable[[str, float], None]]:
    from rich.console import Console
    from rich.progress import Progress, TaskID

    tasks: dict[str, TaskID] = {}
    stream: Any = streams.Tolerant(sys.stderr)
    with Progress(console=Console(file=stream), transient=True) as progress:

        def show(stage: str, done: float) -> None:
            if stage not in tasks:
                tasks[stage] = progress.add_task(stage, total=1.0)
            progress.update(tasks[stage], completed=done)

        yield show
