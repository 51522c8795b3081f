"""How a function becomes a command: groups of options, logging, errors and exit codes.

Exit codes: 0 done, 1 a failure told in one line, 2 usage, 130 interrupted (Ctrl-C or SIGTERM).
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer

from mnncorrect._io.failures import of_environment
from mnncorrect._prepare.parameter_texts import SECTION, parameter_texts
from mnncorrect._wording import UsageError, for_shell
from mnncorrect.cli import streams
from mnncorrect.cli.options.places import Places, places_of
from mnncorrect.cli.options.shared import OPTION_TEXTS, Reporting
from mnncorrect.cli.runtime.interrupts import interruptible
from mnncorrect.cli.wording import on_shell

FAILED, INTERRUPTED = 1, 130
# What is raised on purpose for users to read, where it comes from this package.
EXPECTED_ERRORS = (ValueError, KeyError, TypeError, OSError)
# Packages that read files: an error that comes through them is of the file.
READERS = {"h5py", "zarr", "numcodecs"}


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Make a command of a function.

    A parameter whose type is a dataclass stands for one option per field, and the function is
    given an instance. Every command has the options of `Reporting`, asked for or not. An option
    that has no help gets it from the section ``Parameters`` of the docstring, or else from
    `OPTION_TEXTS`.
    """
    hints = get_type_hints(function, include_extras=True)
    groups: dict[str, Any] = {
        name: kind for name, kind in hints.items() if dataclasses.is_dataclass(kind)
    }
    texts = OPTION_TEXTS | parameter_texts(function)
    parameters = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name in groups:
            parameters += _options(groups[parameter.name])
        else:
            kind = _with_help(parameter.name, hints[parameter.name], texts)
            parameters.append(parameter.replace(annotation=kind))
    if "reporting" not in groups:
        parameters += _options(Reporting)

    @functools.wraps(function)
    def run(**values: Any) -> None:
        places, force = places_of(values), bool(values.get("force"))

        def take(kind: Any) -> Any:
            return kind(
                **{field.name: values.pop(field.name) for field in dataclasses.fields(kind)}
            )

        given = {name: take(kind) for name, kind in groups.items()}
        reporting = given["reporting"] if "reporting" in given else take(Reporting)
        with _reporting(reporting, places, force=force):
            function(**values, **given)

    keyword = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters]
    run.__doc__ = SECTION.sub("", inspect.cleandoc(function.__doc__ or "")).strip()
    run.__signature__ = inspect.Signature(keyword)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in keyword}
    return run


def _options(group: Any) -> list[inspect.Parameter]:
    """Return the fields of a group of options as parameters of a function."""
    hints = get_type_hints(group, include_extras=True)
    texts = dict(OPTION_TEXTS)
    for described in reversed(group.__mro__):
        texts |= parameter_texts(described)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty
            if field.default is dataclasses.MISSING
            else field.default,
            annotation=_with_help(field.name, hints[field.name], texts),
        )
        for field in dataclasses.fields(group)
    ]


def _with_help(name: str, kind: Any, texts: Mapping[str, tuple[str, str]]) -> Any:
    """Give an option the help that a docstring has for it: its metavar and its text."""
    bare, option = get_args(kind) if get_origin(kind) is Annotated else (kind, typer.Option())
    if name not in texts or option.help:
        return kind
    made = copy.copy(option)
    made.metavar, made.help = texts[name][0] or None, texts[name][1]
    return Annotated[bare, made]


@contextlib.contextmanager
def _reporting(options: Reporting, places: Places, *, force: bool) -> Iterator[None]:
    """Log for the time of a command, and end it as its exit code says.

    Nothing is opened before all paths of the command have been checked against each other.
    """
    from mnncorrect.cli.runtime import logs

    before = [_target_state(target.path) for target in places.written]

    def stopped() -> str:
        written = [
            str(target.path)
            for target, state in zip(places.written, before, strict=True)
            if _target_state(target.path) != state
        ]
        if not written:
            return "interrupted; nothing was written"
        return f"interrupted when {' and '.join(written)} had been written"

    try:
        places.refuse_unfit(force=force)
        with _hushed(options), interruptible() as signals, logs.attached(options):
            try:
                yield
            except Exception as error:
                if isinstance(error, UsageError):
                    line = streams.line_of(on_shell(for_shell(error)))
                    raise typer.BadParameter(line) from None
                if isinstance(error, typer.BadParameter):
                    error.message = streams.line_of(error.message)
                if isinstance(error, typer.Exit | typer.BadParameter):
                    raise
                logs.error(stopped() if signals else _error_text(error))
                code = _show_traceback(options, INTERRUPTED if signals else FAILED)
                _let_go(error)
                raise typer.Exit(code) from None
            except KeyboardInterrupt:
                logs.error(stopped())
                raise typer.Exit(_show_traceback(options, INTERRUPTED)) from None
    except (OSError, ValueError) as error:  # a path is unfit, or the log cannot be opened
        streams.complain(streams.line_of(f"error: {_error_text(error)}"))
        raise typer.Exit(_show_traceback(options, FAILED)) from None


def _target_state(place: Path) -> tuple[int, ...] | None:
    """Return what changes when a file is written; ``None``: there is no such file."""
    try:
        found = place.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


@contextlib.contextmanager
def _hushed(options: Reporting) -> Iterator[None]:
    """Say nothing of what goes wrong where objects are let go.

    A file that could not be written is tried once more then, and h5py shows the traceback of that.
    """
    before = sys.excepthook, sys.unraisablehook
    if not options.debug:
        sys.excepthook = lambda *_: None
        sys.unraisablehook = lambda _: None
    try:
        yield
    finally:
        sys.excepthook, sys.unraisablehook = before


def _let_go(error: BaseException | None) -> None:
    """Let go of what an error holds, while nothing is logged."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__context__


def _show_traceback(options: Reporting, code: int) -> int:
    """Show the traceback of the exception that is handled, if that is wanted."""
    if options.debug:
        for line in traceback.format_exc().splitlines():
            streams.complain(streams.on_one_line(line))
    return code


def _error_text(error: Exception) -> str:
    """Return what an error says, in one line."""
    text = " ".join(on_shell(for_shell(error)).split())
    environment = of_environment(error)
    if environment is not None:
        return environment
    if isinstance(error, OSError):
        return text
    if isinstance(error, MemoryError):
        return f"not enough memory {text}; use fewer genes (--mask-var) or cells (--subset)".strip()
    if isinstance(error, RuntimeError) and "start new thread" in text:
        return "no thread could be started: too little memory, or too many processes; --threads 1"
    if isinstance(error, EXPECTED_ERRORS) and _packages_passed(error)[-1] == "mnncorrect":
        return text
    if READERS & set(_packages_passed(error)):  # what opened well, but is damaged further in
        return f"an input is damaged, or not whole: {text}"
    kind = type(error).__name__
    return (
        f"unexpected {kind}: {text}; this is a bug: run again with --debug and report what it"
        " shows, with mnncorrect info --environment"
    )


def _packages_passed(error: Exception) -> list[str]:
    """Return the packages that the error came through, the one that raised it last."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return [str(frame.f_globals.get("__name__", "")).partition(".")[0] for frame in frames]
