"""Settings of Sphinx: ``sphinx-build -W docs docs/_build/html``, which needs no network."""

from __future__ import annotations

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "extensions"))

import mnncorrect  # noqa: E402

project = "mnncorrect"
author = "mnncorrect developers"
copyright = author  # noqa: A001 (the name that Sphinx reads)
version = release = mnncorrect.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
    "cli_reference",
    "mathml",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "_templates", "figures", "extensions"]
source_suffix = {".rst": "restructuredtext", ".md": "myst-nb"}
needs_sphinx = "8.0"
nitpicky = False

# API pages: types stand in the signature only, one parameter a line.
autosummary_generate = True
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
maximum_signature_line_length = 60
python_maximum_signature_line_length = 60
napoleon_google_docstring = False
napoleon_use_rtype = False
add_module_names = False

# Pages with code cells run when the docs are built; a failing cell fails the build.
nb_execution_mode = "cache"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_execution_show_tb = True
nb_merge_streams = True
# Cells start `mnncorrect` from the environment that builds the docs, with colors off.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
os.environ["NO_COLOR"] = "1"
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(HERE / "extensions"), *filter(None, [os.environ.get("PYTHONPATH")])]
)

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

smartquotes = False  # they would make a dash of the two of an option
html_theme = "sphinx_book_theme"
html_title = "mnncorrect"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_theme_options = {
    "show_navbar_depth": 1,
    "show_toc_level": 2,
    "use_download_button": False,
    "use_fullscreen_button": False,
    "home_page_in_toc": True,
    "navbar_persistent": [],
}
html_math_renderer = "mathml"
html_show_copyright = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


def readable_signature(
    _app: object, _what: str, _name: str, _obj: object, _options: object,
    signature: str | None, returns: str | None,
) -> tuple[str | None, str | None]:  # fmt: skip
    """Name the default of parameters that are not given, so that Sphinx can parse the signature."""
    return signature and signature.replace("<unset>", "UNSET"), returns


def setup(app: object) -> None:
    """Connect what this file adds to Sphinx."""
    app.connect("autodoc-process-signature", readable_signature)  # type: ignore[attr-defined]
