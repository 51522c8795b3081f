"""HTML that cannot be broken by a name: what is no HTML already is escaped."""

from __future__ import annotations

import html
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# Elements without content, and so without an end.
VOID = frozenset({"img", "meta", "br", "hr"})


class Html(str):
    """Text that is HTML; any other text is escaped where it is put into some."""

    __slots__ = ()


def escaped(value: Any) -> Html:
    """Return a value as HTML.

    Examples
    --------
    >>> escaped("<b> & 'x'")
    '&lt;b&gt; &amp; &#x27;x&#x27;'
    >>> escaped(Html("<b>x</b>"))
    '<b>x</b>'
    """
    if isinstance(value, Html):
        return value
    # Control characters are not allowed in HTML, and lone surrogates cannot be encoded.
    text = str(value)
    if not text.isprintable():
        text = "".join(char if char.isprintable() or char in "\n\t" else "\ufffd" for char in text)
    return Html(html.escape(text, quote=True))


def tag(name: str, /, *content: Any, **attributes: Any) -> Html:
    """Make an element.

    Parameters
    ----------
    name
        Of the element.
    content
        What is in it: text is escaped, HTML is not; ``None`` is left out.
    attributes
        By name: ``_`` at the end is dropped and others become ``-``. ``None`` is left out.

    Examples
    --------
    >>> tag("a", "x < y", class_="big", data_kind='"')
    '<a class="big" data-kind="&quot;">x &lt; y</a>'
    """
    told = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escaped(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in VOID:
        return Html(f"<{name}{told}>")
    return Html(f"<{name}{told}>{joined(content)}</{name}>")


def joined(parts: Iterable[Any]) -> Html:
    """Put parts one after the other."""
    return Html("".join(escaped(part) for part in parts if part is not None))


def table(
    head: Sequence[Any],
    rows: Iterable[Sequence[Any]],
    *,
    numbers: Iterable[int] = (),
    label: str,
    wordy: bool = False,
) -> Html:
    """Make a table that scrolls inside its box where it is too wide.

    Parameters
    ----------
    head
        Names of the columns.
    rows
        Each as long as the head; its first cell is its name.
    numbers
        Which columns are aligned to the right.
    label
        What it shows, for those who hear the page.
    wordy
        Whether the last column is sentences, which on a phone stand below their row.
    """
    right = frozenset(numbers)

    def style(at: int) -> str | None:
        return "number" if at in right else None

    top = tag(
        "tr", *(tag("th", cell, scope="col", class_=style(at)) for at, cell in enumerate(head))
    )
    body = [
        tag(
            "tr",
            *(
                tag("th", cell, scope="row") if at == 0 else tag("td", cell, class_=style(at))
                for at, cell in enumerate(row)
            ),
        )
        for row in rows
    ]
    look: dict[str, str] = {}
    if wordy:
        look = {"class_": "wordy", "style": f"--n:{len(head) - 2}"}
    whole = tag("table", tag("thead", top), tag("tbody", *body), **look)
    return tag("div", whole, class_="scroll", role="region", aria_label=label, tabindex="0")


def embedded_json(value: Any, *, name: str) -> Html:
    r"""Put data into a page for programs to read.

    Nothing in it can end the element or begin a comment, as no ``<``, ``>`` or ``&`` is left.

    Examples
    --------
    >>> embedded_json("</script>", name="data")
    '<script type="application/json" id="data">\n"\\u003c/script\\u003e"\n</script>'
    """
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    for char in "<>&":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return Html(f'<script type="application/json" id="{escaped(name)}">\n{text}\n</script>')
