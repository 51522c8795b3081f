"""What is published: versions that agree, files that belong, types that check users' programs."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

import mnncorrect

ROOT = Path(__file__).parents[1]

PROGRAM = """
import anndata

import mnncorrect
from mnncorrect import pl, pp, tl

adata: anndata.AnnData = anndata.AnnData()
mnncorrect.pp.mnn_integrate(adata, "donor", basis="X_pca")
result: anndata.AnnData | None = pp.mnn_fast(adata, ["protocol", "donor"], ndist=2.0, copy=True)
tl.gmm(adata, n_components=[5, 10])
tl.umap(adata, min_dist=0.3)
tl.evaluate(adata, "donor", label_key="cell_type")
pl.embedding(adata, color=["donor", "gmm"], show=False)
version: str = mnncorrect.__version__
"""
MISTAKES = {
    'pp.mnn_fast(adata, "donor", n_neighbors="many")': "arg-type",
    'pp.mnn_fast(adata, "donor", n_neighbours=10)': "call-arg",
    'pp.mnn_fast(adata, "donor", neighbors="approximate")': "arg-type",
    "pp.mnn_slow": "attr-defined",
}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The names of files in the sdist and in the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("dist")
    # Without isolation, as what builds is installed; a clean build is made by .ci/run.
    words = ["build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(
        [sys.executable, "-m", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    with tarfile.open(sdist) as archive:
        in_sdist = {name.partition("/")[2] for name in archive.getnames()}
    with zipfile.ZipFile(wheel) as archive:
        in_wheel = set(archive.namelist())
    return in_sdist, in_wheel


@pytest.mark.slow
def test_sdist_and_wheel_hold_what_belongs_there(built):
    in_sdist, in_wheel = built
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.splitlines()
    if tracked:  # not where the sdist is tested itself
        assert set(tracked) <= in_sdist
    package = {str(path.relative_to(ROOT)) for path in (ROOT / "mnncorrect").rglob("*.py")}
    for names in (in_sdist, in_wheel):
        assert package | {"mnncorrect/py.typed"} <= names
    info = f"mnncorrect-{mnncorrect.__version__}.dist-info/"
    others = {name for name in in_wheel if not name.startswith(("mnncorrect/", info))}
    assert not others
    assert f"{info}licenses/LICENSE" in in_wheel
    assert not {name for name in in_sdist | in_wheel if name.endswith((".pyc", ".nbi", ".nbc"))}


def test_the_citation_is_of_this_version_and_licence():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert citation["version"] == mnncorrect.__version__
    assert citation["license"] == project["license"]
    assert citation["references"][0]["doi"] in (ROOT / "README.md").read_text()


@pytest.mark.slow
def test_programs_of_users_are_checked_by_the_types_of_the_package(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM + "".join(f"{line}\n" for line in MISTAKES))
    config = tmp_path / "mypy.ini"
    # The types of anndata itself are not what is tested, and take long to read.
    config.write_text(
        "[mypy]\nstrict = true\n"
        "[mypy-anndata.*]\nfollow_imports = skip\nignore_missing_imports = true\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", config, program],
        cwd=tmp_path,  # so that the installed package is found, not the folder of this repository
        capture_output=True,
        text=True,
        check=False,
    )
    first = PROGRAM.count("\n") + 1
    found = [line for line in done.stdout.splitlines() if ": error:" in line]
    assert len(found) == len(MISTAKES), done.stdout
    for number, (line, code) in enumerate(zip(found, MISTAKES.values(), strict=True), first):
        assert line.startswith(f"program.py:{number}:"), line
        assert f"[{code}]" in line, line
