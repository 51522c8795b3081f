"""Options that were given, as arguments of a public call."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from mnncorrect.cli.wording import ARGUMENTS

if TYPE_CHECKING:
    import typer


def given(context: typer.Context, name: str) -> bool:
    """Return whether an option was given, rather than left at its default."""
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def columns(names: list[str] | None) -> str | list[str] | None:
    """Return the column that an option names, or the columns if there are several."""
    if not names:
        return None
    return names[0] if len(names) == 1 else names


def arguments(context: typer.Context, *groups: Any) -> dict[str, Any]:
    """Return the options of some groups that were given, under the names of arguments."""
    found = {
        ARGUMENTS.get(field.name, field.name): getattr(group, field.name)
        for group in groups
        for field in dataclasses.fields(group)
        if given(context, field.name)
    }
    if "key" in found:
        found["key"] = columns(found["key"])
    return found


def arguments_of(call: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a command that a call has as arguments, groups of options too."""
    found: dict[str, Any] = {}
    for name, value in options.items():
        found |= vars(value) if dataclasses.is_dataclass(value) else {name: value}
    has = inspect.signature(call).parameters
    return {name: value for name, value in found.items() if name in has}
