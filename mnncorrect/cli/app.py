"""The commands, in the order of use."""

from __future__ import annotations

from typing import Annotated

import typer

from mnncorrect.cli.commands.check import check
from mnncorrect.cli.commands.concat import concat
from mnncorrect.cli.commands.correct import correct
from mnncorrect.cli.commands.evaluate import evaluate
from mnncorrect.cli.commands.example import example
from mnncorrect.cli.commands.gmm import gmm
from mnncorrect.cli.commands.info import info
from mnncorrect.cli.commands.model import model
from mnncorrect.cli.commands.pairs import pairs
from mnncorrect.cli.commands.pca import pca
from mnncorrect.cli.commands.project import project
from mnncorrect.cli.commands.report import report
from mnncorrect.cli.commands.run import run
from mnncorrect.cli.commands.umap import umap
from mnncorrect.cli.options.help import HelpByMethod, PlainHelp

app = typer.Typer(
    name="mnncorrect",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for function in (
    example, check, concat, run, correct, model, project, pca, gmm, umap, evaluate, report, info,
    pairs,
):  # fmt: skip
    app.command(cls=HelpByMethod if function in (run, correct, check) else PlainHelp)(function)


def _print_version(wanted: bool) -> None:
    if wanted:
        from mnncorrect import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Correct batch effects in single-cell data by mutual nearest neighbors.

    Data go to stdout or the output file, everything else to stderr.
    Exit codes: 0 done, 1 failed (with a one-line reason), 2 wrong usage, 130 interrupted.
    """
