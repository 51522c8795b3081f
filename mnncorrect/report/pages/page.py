"""The frame of a page, and what a reader is told first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mnncorrect.report.draw.html import Html, embedded_json, escaped, joined, tag
from mnncorrect.report.draw.style import CSS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mnncorrect.report.collect.advice import Advice

# Nothing is fetched and no script is run, whatever a name in the file says.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def whole(title: str, sections: Iterable[tuple[str, str, Html | None]], data: Any) -> str:
    """Make a page.

    Parameters
    ----------
    title
        Of the page.
    sections
        Name, heading and content of each; the first has no heading, and those without content are
        left out.
    data
        What programs read.
    """
    given = [section for section in sections if section[2] is not None]
    links = [tag("a", heading, href=f"#{name}") for name, heading, _ in given if heading]
    body = [
        tag("section", tag("h2", heading) if heading else None, content, id=name)
        for name, heading, content in given
    ]
    made = data["made_by"] if isinstance(data, dict) else data[0]["made_by"]
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="generator", content=f"mnncorrect {made['version']}"),
        tag("title", title),
        tag("style", Html(CSS)),
    )
    footer = tag(
        "footer",
        f"Made by mnncorrect {made['version']}. This page needs no network. Its numbers are in it "
        "as JSON, in the element with the id ",
        tag("code", "mnncorrect-report"),
        ".",
    )
    content = [tag("h1", title), tag("nav", *links), *body, footer]
    main = tag("main", joined(content))
    page = tag(
        "html", head, tag("body", main, embedded_json(data, name="mnncorrect-report")), lang="en"
    )
    return f"<!DOCTYPE html>\n{page}\n"


def advice_list(told: Sequence[Advice]) -> Html:
    """List what to know."""
    return joined(
        tag(
            "div",
            tag(
                "p",
                tag("strong", one.title),
                Html(" — ") if one.level == "note" else Html(" ⚠ "),
                _whole_options(one.text),
            ),
            tag("p", tag("em", "What to do: "), _whole_options(one.remedy)),
            class_=f"advice {one.level}",
        )
        for one in told
    )


def _whole_options(text: str) -> Html:
    """Keep options from being torn at their hyphens where a line ends."""
    words = [
        tag("span", word, class_="word") if word.startswith("--") else escaped(word)
        for word in text.split(" ")
    ]
    return Html(" ".join(words))


def judged(told: Sequence[Advice]) -> dict[str, Any]:
    """Write what to know for programs."""
    return {
        "advice": [
            {"level": one.level, "title": one.title, "text": one.text, "remedy": one.remedy}
            for one in told
        ]
    }
