"""Pages from templates: text is escaped by Jinja2, numbers are written by filters."""

from __future__ import annotations

import contextlib
import functools
import json
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

from mnncorrect._adata.lookup import in_short, printable, shortened
from mnncorrect.report.collect.advice import percent

if TYPE_CHECKING:
    from jinja2 import Environment

# Nothing is fetched and no script is run, whatever a name in the file says.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def fill_template(template: str, **context: Any) -> str:
    """Fill a template of ``report/templates``."""
    return _environment().get_template(template).render(policy=POLICY, **context)


@functools.cache
def _environment() -> Environment:
    """Return Jinja2's environment: all is escaped, and a name that is not there is an error."""
    import jinja2

    made = jinja2.Environment(
        loader=jinja2.PackageLoader("mnncorrect.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable_text,
    )
    made.policies["json.dumps_kwargs"] = {
        "allow_nan": False, "sort_keys": False, "separators": (",", ":"),
    }  # fmt: skip
    made.globals["zip"] = zip
    made.filters |= {
        "number": number,
        "count": count,
        "percent": percent,
        "said": said,
        "short": functools.partial(shortened, most=40),
        "unbroken": unbroken,
        "at": at,
    }
    return made


def _printable_text(value: Any) -> Any:
    """Make any text that a template shows printable."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def number(value: float | None, digits: int = 2) -> str:
    """Write a number; a dash for none."""
    if value is None:
        return "-"
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.{digits}f}"
    return text.lstrip("-") if float(text.replace(",", "")) == 0 else text


def count(value: int | None) -> str:
    """Write a whole number; a dash for none."""
    return "-" if value is None else f"{value:,}"


def at(share: float | None, most: float = 1.0) -> str:
    """Write a place on an axis from 0 to ``most`` in percent, what lies outside at its end."""
    return f"{100 * max(0.0, min(1.0, (share or 0.0) / most)):.1f}%"


def said(value: Any) -> str:
    r"""Write the value of a parameter; of a long one, the beginning."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str) and value.startswith("["):
        with contextlib.suppress(ValueError):  # JSON may have signs written as numbers
            value = json.dumps(json.loads(value), ensure_ascii=False)
    return f"{value:g}" if isinstance(value, float) else in_short(str(value))


def unbroken(text: str, *, every: bool = False) -> Markup:
    """Keep options, or every word, from being torn at hyphens where a line ends."""
    words = [
        Markup('<span class="word">{}</span>').format(printable(word))
        if every or word.lstrip("(").startswith("--")
        else escape(printable(word))
        for word in text.split(" ")
    ]
    return Markup(" ").join(words)
