"""README and docs: links lead somewhere, code runs, commands and options exist."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import anndata
import pytest
import typer
from tenx import as_folder, as_tenx_file

import mnncorrect
from mnncorrect.cli.app import app

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
FOLDERS = ("docs", "data", "workflows")
PAGES = [README, *sorted(page for name in FOLDERS for page in (ROOT / name).rglob("*.md"))]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
MOST_LINES = 130

every_page = pytest.mark.parametrize("page", PAGES, ids=NAMES)


def blocks(text: str, *languages: str) -> list[str]:
    """The fenced code blocks of some languages."""
    found = re.findall(r"^(`{3,})([^\n`]*)\n(.*?)^\1\s*$", text, re.MULTILINE | re.DOTALL)
    return [code for _, language, code in found if language.split()[:1] in [[x] for x in languages]]


def prose(text: str) -> str:
    """A page without its code blocks."""
    return re.sub(r"^(`{3,}).*?^\1\s*$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The anchors of the headings of a page, and labels that it sets."""
    text = prose(page.read_text())
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    made = {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}
    return made | set(re.findall(r"^\(([\w-]+)\)=$", text, re.MULTILINE))


def commands(text: str) -> list[list[str]]:
    """The calls of mnncorrect in blocks for a shell, without what the shell does with them."""
    lines = []
    for code in blocks(text, "bash", "console", "{code-cell}"):
        for line in code.replace("\\\n", " ").splitlines():
            for part in re.split(r"&&|\|\||;|\|", line.split("  #")[0]):
                words = part.strip().removeprefix("$").removeprefix("!").strip()
                if words.startswith("mnncorrect "):
                    lines.append(re.sub(r"\s\d?>\S*", "", words))
    return [shlex.split(line)[1:] for line in lines]


def options_of(name: str) -> set[str]:
    """The options of a command."""
    command = typer.main.get_command(app).commands[name]
    return {
        option
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
        if option.startswith("-")
    }


@every_page
def test_links_lead_to_what_exists(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name}: {target}"
        if anchor:
            assert anchor in anchors(file), f"{page.name}: {target}"


@every_page
def test_commands_and_options_exist(page: Path) -> None:
    for name, *words in commands(page.read_text()):
        if name.startswith("-"):
            continue
        known = options_of(name) | {"--help", "-h"}
        used = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        assert used <= known, f"{page.name}: mnncorrect {name} {used - known}"


def test_the_reference_lists_every_public_function() -> None:
    page = (ROOT / "docs/api/index.md").read_text()
    listed = set(re.findall(r"^   ([\w.]+)$", page, re.MULTILINE))
    named = set(mnncorrect.__all__) - {"__version__", "pp", "tl", "pl"}
    for module in ("pp", "tl", "pl"):
        named |= {f"{module}.{name}" for name in getattr(mnncorrect, module).__all__}
    assert listed == named


def test_the_readme_is_short() -> None:
    assert len(README.read_text().splitlines()) <= MOST_LINES


# Languages of blocks that are code, and why a block may not run when the docs are built and tested.
CODE = ("bash", "console", "python", "r", "yaml")
REASONS = {
    "installs packages",
    "needs a cluster",
    "needs packages of R",
    "takes hours",
    "tests run it",  # in tests of their own: those of R and of the workflow
}
READ = [page for page in PAGES if page == README or page.is_relative_to(ROOT / "docs")]


def plain_blocks(page: Path) -> list[tuple[str, str, str | None]]:
    """Blocks of code that are no cells: language, code, and why they are not run."""
    found = re.findall(
        r"^(?:<!-- not run: (.*?) -->\n)?(`{3,})(\w+)\n(.*?)^\2\s*$",
        page.read_text(),
        re.MULTILINE | re.DOTALL,
    )
    return [(name, code, why or None) for why, _, name, code in found if name in CODE]


RUNNABLE = [
    pytest.param(name, code, id=f"{page.relative_to(ROOT)}-{number}")
    for page in READ
    for number, (name, code, why) in enumerate(plain_blocks(page))
    if why is None
]


@pytest.mark.parametrize("page", READ, ids=[str(page.relative_to(ROOT)) for page in READ])
def test_every_block_of_code_runs_or_says_why_not(page: Path) -> None:
    text = page.read_text()
    for name, code, why in plain_blocks(page):
        assert why in {None, *REASONS}, code
        assert why is not None or name in ("bash", "console", "python"), code
    # Cells run when the docs are built, which a failing cell stops.
    if blocks(text, "{code-cell}"):
        assert text.startswith("---\nfile_format: mystnb\n")
    assert not re.findall(r"raises-exception|skip-execution", text)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that pages name."""
    folder = tmp_path_factory.mktemp("pages")
    (folder / "data").mkdir()
    example = ROOT / "data/example.h5ad"
    shutil.copy(example, folder / "data/example.h5ad")
    adata = anndata.read_h5ad(example)
    adata.obs["sample"] = adata.obs["donor"] = adata.obs["batch"]
    adata.obs["condition"] = ["ill" if number % 2 else "well" for number in range(adata.n_obs)]
    adata.write_h5ad(folder / "data.h5ad")
    if find_spec("mudata") is not None:
        import mudata

        mudata.MuData({"rna": adata}).write_h5mu(folder / "cells.h5mu")
    some = [adata[adata.obs["batch"] == name].copy() for name in adata.obs["batch"].cat.categories]
    some[0].write_h5ad(folder / "a.h5ad")
    as_tenx_file(some[1], folder / "b.h5")
    as_folder(some[2], folder / "c_10x")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("name", "code"), RUNNABLE)
def test_the_code_of_a_page_runs(name: str, code: str, inputs: Path) -> None:
    if ".h5mu" in code:
        pytest.importorskip("mudata")
    for path in inputs.glob("*corrected.h5*"):
        path.unlink()  # of another block
    if name == "console":
        code = "\n".join(re.findall(r"^\$ (.*)$", code, re.MULTILINE))
    words = [sys.executable, "-c"] if name == "python" else ["bash", "-e", "-c"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [*words, code],
        cwd=inputs,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_command_of_the_readme_prints_the_numbers_shown(tmp_path: Path) -> None:
    (session,) = blocks(README.read_text(), "console")
    command, _, shown = session.partition("\n")
    words = shlex.split(command.removeprefix("$ mnncorrect "))
    words = [str(tmp_path / "out.h5ad") if word == "corrected.h5ad" else word for word in words]
    done = subprocess.run(
        [sys.executable, "-m", "mnncorrect", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = set(re.findall(r"\b\d+\b", done.stderr))
    assert set(re.findall(r"\b\d+\b", shown)) <= said
