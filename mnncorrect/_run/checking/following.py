"""The command that ``check`` says to run next, with all that its warnings and the call imply."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnncorrect._io.input_parts import Selection
from mnncorrect._prepare.commands import command_line, path_word
from mnncorrect._run.checking.findings import Findings, open_batches

if TYPE_CHECKING:
    from mnncorrect._run.checking.alternatives import Asked

# Arguments that say what of the inputs is taken; another choice of them is checked anew.
SELECTING = tuple(field.name for field in fields(Selection))


def next_command(
    found: Findings, asked: Asked, instead: tuple[Asked, Findings] | None
) -> str | None:
    """Write the command to run next, quoted for a shell; ``None``: none works.

    It has every argument of the call but those that it changes. ``instead`` is what to ask for
    instead of ``asked``, and what was found of that: what selects is checked next, all else is
    run. ``None``: nothing is known, or not given.
    """
    other, seen = (asked, found) if instead is None else instead
    if seen.problems or seen.proposed == {}:
        return None
    new = {name for name in {*asked, *other} if asked.get(name) != other.get(name)}
    corrected = bool(found.problems) and bool(new.intersection(SELECTING))
    prepared = not new <= {*SELECTING, "covariate"}
    said: dict[str, Any] = {**other, **(seen.proposed or {}), **seen.matching}
    inputs: list[Path] = said.pop("data", [])
    if (corrected or seen.proposed is not None) and not prepared:
        return command_line("check", inputs, said)
    said |= seen.needed
    said.pop("covariate", None)
    if "output" not in said:
        name = Path(inputs[0]).name if len(inputs) == 1 else "joined"
        ending = "zarr" if {"workers", "scheduler"} & {*said} else "h5ad"
        said["output"] = _free(f"{name.removesuffix(Path(name).suffix)}.corrected.{ending}")
    return command_line("run", inputs, said)


def what_to_do(found: Findings) -> str:
    """Say what to do where no command works: what has to be decided, or mended first."""
    if found.facts.get("removed", {}).get("n_removed") and found.unfit_parts[:1] == ["batches"]:
        return "remove fewer cells (see `filters` above), then run check again"
    if found.tables is not None and (found.proposed == {} or found.unfit_parts[0] == "batches"):
        return f"decide {open_batches(found.tables)}"
    return "no command works on these inputs; do what `not fit` says above, then run check again"


def _free(name: str) -> str:
    """Give a name that no file here has, as an output that exists is refused."""
    stem, _, ending = name.partition(".") if name.startswith("joined") else name.rpartition(".")
    tried, number = name, 1
    while Path(tried).exists():
        number += 1
        tried = f"{stem}-{number}.{ending}"
    return path_word(Path(tried))
