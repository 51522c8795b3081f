"""Help of the commands that correct: what people use first, then the options by method.

``--help`` describes a dozen options and names the others; ``--help-all`` describes all.
"""

from __future__ import annotations

import dataclasses
import re
import textwrap
from collections.abc import Iterable
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from mnncorrect._prepare.method_registry import DEFAULT, all_methods, method_names, owners_of
from mnncorrect.cli.options.correction import CorrectionOptions, ExpressionOptions, Preparing
from mnncorrect.cli.options.renamed import current_spelling
from mnncorrect.cli.options.shared import (
    ComputingOptions,
    CorrectedFiles,
    Reading,
    Reporting,
    Resources,
)
from mnncorrect.cli.wording import options_of

HelpRows = list[tuple[str, str]]

HELP_ALL_KEY = "mnncorrect.help_all"
# What is described first; the names are those of parameters.
COMMON = (
    "output", "force", "batch_key", "layer", "covariate", "method", "reference", "n_top_genes",
    "umap", "report", "save_model", "write_expression", "n_jobs", "dry_run", "help_all", "help",
)  # fmt: skip
# The sections of the others, but for those of methods; what is in none is a later step.
GROUPS: dict[str, tuple[Any, ...]] = {
    "Input": (Reading, CorrectedFiles),
    "Preparation": (Preparing,),
    "Correction": (CorrectionOptions,),
    "Corrected expression": (ExpressionOptions,),
    "Resources and log": (ComputingOptions, Resources, Reporting),
}
# Of run only: in no group.
OF_CORRECTION = ("guide",)
# What other methods have for components of the corrected expression.
AFTERWARDS = "n_comps"
STEPS_SECTION = "Steps after the correction"
MORE = "More options (--help-all describes them)"


def show_all(context: typer.Context, wanted: bool) -> None:
    """Print the help with all options, and stop."""
    if wanted:
        context.meta[HELP_ALL_KEY] = True
        typer.echo(context.get_help())
        raise typer.Exit


HelpAll = Annotated[
    bool,
    typer.Option(
        "--help-all",
        is_eager=True,
        callback=show_all,
        help="Show all options, by method, and exit.",
    ),
]


class PlainHelp(TyperCommand):
    """A command whose help names files and numbers, not types of Python."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the command line; an error is in plain words, without those of the parser."""
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            message = re.sub("^Value error, |, unable to parse .*", "", error.message)
            error.message = message.replace("Input should be", "it must be")
            raise

    def invoke(self, ctx: Any) -> Any:
        """Run the command; messages name its options."""
        with options_of(self.params):
            return super().invoke(ctx)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the words after the name of the command."""
        return [
            piece.replace("{", "").replace("}", "") for piece in super().collect_usage_pieces(ctx)
        ]

    def help_records(self, ctx: Any) -> tuple[HelpRows, dict[str, tuple[str, str]]]:
        """Return names and texts of the arguments, and those of options by parameter."""
        arguments, options = [], {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None:
                continue
            name, text = record
            if parameter.param_type_name == "argument":
                arguments.append((re.sub(r" <.*>$", "", name), text))
            else:
                options[parameter.name] = (re.sub(r"<(int|float) range>", r"<\1>", name), text)
        return arguments, options

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and options."""
        arguments, options = self.help_records(ctx)
        for title, rows in (("Arguments", arguments), ("Options", list(options.values()))):
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


class HelpByMethod(PlainHelp):
    """A command whose help says which options belong to which method."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read options, also in older spellings."""
        return super().parse_args(ctx, current_spelling(args))

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the options in sections."""
        arguments, records = self.help_records(ctx)
        first = [name for name in COMMON if name in records]
        sections = _sections(name for name in records if name not in first)
        with formatter.section("Arguments"):
            formatter.write_dl(arguments)
        with formatter.section("Options"):
            formatter.write_dl([records[name] for name in first])
        if not ctx.meta.get(HELP_ALL_KEY):
            with formatter.section(MORE):
                for title, names in sections.items():
                    told = ", ".join(_long(records[name][0]) for name in names)
                    formatter.write(_wrapped(f"{title}: {told}", formatter.width))
            return
        for title, names in sections.items():
            with formatter.section(title):
                formatter.write_dl([_with_owners(name, records[name]) for name in names])


def _sections(names: Iterable[str]) -> dict[str, list[str]]:
    """Sort options into sections: by group, and those of a correction by method."""
    of_group = {
        field.name: title
        for title, groups in GROUPS.items()
        for group in groups
        for field in dataclasses.fields(group)
    }
    of_correction = {field.name for field in dataclasses.fields(CorrectionOptions)}
    sections: dict[str, list[str]] = {}
    for name in names:
        owners = owners_of(name) if name in of_correction else []
        title = "Correction" if name in OF_CORRECTION else of_group.get(name, STEPS_SECTION)
        if owners and DEFAULT not in owners:
            *most, last = owners
            title = f"Only with --method {', '.join(most)}{' or ' if most else ''}{last}"
        sections.setdefault(title, []).append(name)
    before = ["Input", "Preparation", "Correction"]
    after = ["Corrected expression", STEPS_SECTION, "Resources and log"]
    by_method = [title for title in sections if title not in {*before, *after}]
    by_method.sort(key=lambda title: (-len(title.split()), title))
    return {title: sections[title] for title in before + by_method + after if title in sections}


def _with_owners(name: str, record: tuple[str, str]) -> tuple[str, str]:
    """Say before the text of an option of some methods which these are."""
    owners = owners_of(name)
    if name == AFTERWARDS:
        owners += [method.name for method in all_methods() if not method.embeds]
    if not owners or DEFAULT not in owners or len(owners) == len(method_names()):
        return record
    return record[0], f"[{', '.join(owners)}] {record[1]}"


def _wrapped(text: str, width: int) -> str:
    """Break a list of options into lines, and no option."""
    lines = textwrap.wrap(
        text, width, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False
    )
    return "".join(f"{line}\n" for line in lines)


def _long(names: str) -> str:
    """Return the first long name of an option, as a help record has it."""
    return next(word.strip(",/") for word in names.split() if word.startswith("--"))
