"""The directive ``cli-reference``: every command with its arguments and options, from the app.

sphinx-click does the same for click; typer 0.26 has its own copy of click, which it does not know.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import typer
from docutils import nodes
from sphinx.util.docutils import SphinxDirective

if TYPE_CHECKING:
    from sphinx.application import Sphinx


class CliReference(SphinxDirective):
    """One section for each command."""

    def run(self) -> list[nodes.Node]:
        """Return the sections."""
        from mnncorrect.cli.app import app

        group: Any = typer.main.get_command(app)
        context = group.make_context("mnncorrect", [], resilient_parsing=True)
        return [self._section(group.commands[name], context) for name in group.commands]

    def _section(self, command: Any, parent: Any) -> nodes.section:
        context = type(parent)(command, info_name=command.name, parent=parent)
        title = f"mnncorrect {command.name}"
        section = nodes.section(ids=[nodes.make_id(title)], names=[title])
        section += nodes.title(text=title)
        for paragraph in (command.help or "").strip().split("\n\n"):
            section += self._paragraph(" ".join(paragraph.split()))
        usage = " ".join(command.collect_usage_pieces(context))
        section += nodes.literal_block(text=f"{title} {usage}", language="text")
        arguments, options = command.help_records(context)
        section += self._table([*arguments, *options.values()])
        return section

    def _paragraph(self, text: str) -> nodes.paragraph:
        example = text.removeprefix("Example: ")
        if example == text:
            return nodes.paragraph("", "", *_with_code(text))
        return nodes.paragraph("", "Example: ", nodes.literal(text=example))

    def _table(self, records: list[tuple[str, str]]) -> nodes.definition_list:
        listed = nodes.definition_list(classes=["options"])
        for name, text in records:
            term = nodes.term("", "", nodes.literal(text=name))
            meaning = nodes.definition("", nodes.paragraph("", "", *_with_code(text)))
            listed += nodes.definition_list_item("", term, meaning)
        return listed


def _with_code(text: str) -> list[nodes.Node]:
    """Show as code what stands between backticks, and options, which then break at no dash."""
    parts = re.split(r"(`[^`]+`|(?<![\w-])--[a-z][\w-]*)", text)
    return [
        nodes.literal(text=part.strip("`")) if part.startswith(("`", "--")) else nodes.Text(part)
        for part in parts
        if part
    ]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("cli-reference", CliReference)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
