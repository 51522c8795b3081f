"""The wrappers for other people's toolboxes: each by its own engine, where that is installed."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree as ET

import anndata
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import typer.main

import mnncorrect
from mnncorrect._adata import Keys
from mnncorrect._prepare.method_registry import method_names
from mnncorrect.cli.app import app

yaml = pytest.importorskip("yaml", reason="comes with mnncorrect[test]")

ROOT = Path(__file__).parents[1]
WRAPPERS = ROOT / "workflows/wrappers"
EXAMPLE = ROOT / "data/example.h5ad"
GALAXY = WRAPPERS / "galaxy"
MODULES = WRAPPERS / "nf-core/modules"
NFCORE, LOCAL = MODULES / "nf-core/mnncorrect/run", MODULES / "local/mnncorrect"
VERSION = mnncorrect.__version__


@pytest.fixture
def on_path(tmp_path, monkeypatch):
    """The command of this package comes first on the path."""
    folder = tmp_path / "bin"
    folder.mkdir()
    command = folder / "mnncorrect"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m mnncorrect "$@"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *filter(None, sys.path)]))


def engine(name):
    """The path of a program, or the test is skipped."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def call(*words, cwd, **environment):
    done = subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def texts():
    for path in sorted(WRAPPERS.rglob("*")):
        if path.is_file() and path.suffix not in (".h5ad", ".mnn"):
            yield path, path.read_text()


def options_of(command):
    params = typer.main.get_command(app).commands[command].params
    return {name for param in params for name in [*param.opts, *param.secondary_opts]}


def test_wrappers_pin_the_version_of_the_package():
    pin = re.compile(r"(?:mnncorrect ?[=:]+|TOOL_VERSION@\">|version: \[?\")(\d[\d.]*\d)")
    pinned = {path: set(pin.findall(text)) for path, text in texts()}
    pinned = {path: versions for path, versions in pinned.items() if versions}
    assert len(pinned) == 9
    assert all(versions == {VERSION} for versions in pinned.values()), pinned


@pytest.mark.parametrize(
    ("file", "command"),
    [
        ("galaxy/mnncorrect_run.xml", "run"),
        ("galaxy/mnncorrect_project.xml", "project"),
        ("cwl/mnncorrect-run.cwl", "run"),
        ("snakemake/mnncorrect/wrapper.py", "run"),
        ("nf-core/modules/nf-core/mnncorrect/run/main.nf", "run"),
    ],
)
def test_options_in_wrappers_exist(file, command):
    used = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", (WRAPPERS / file).read_text()))
    assert used
    assert used <= options_of(command) | {"--version"}


@pytest.mark.parametrize("file", ["galaxy/mnncorrect_run.xml", "cwl/mnncorrect-run.cwl"])
def test_wrappers_offer_covariates_and_corrected_expression(file):
    used = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", (WRAPPERS / file).read_text()))
    assert {"--regress-out", "--write-expression", "--expression-counts"} <= used


def test_galaxy_expects_keys_that_are_written():
    tool = (GALAXY / "mnncorrect_run.xml").read_text()
    keys = ",".join(re.findall(r'h5_keys keys="([^"]+)"', tool)).split(",")
    assert {key for key in keys if "umap" in key} == {f"obsm/{Keys('mnn').drawn}"}


def test_galaxy_tools_pass_planemo_lint():
    call(engine("planemo"), "lint", "--fail_level", "warn", GALAXY, cwd=ROOT)


def galaxy_command(tool, values):
    """The command of a tool, as Galaxy fills it in."""
    template = pytest.importorskip("Cheetah.Template").Template
    macros = ET.parse(GALAXY / "macros.xml")
    text = ET.parse(GALAXY / tool).findtext("command")
    for token in macros.iter("token"):
        text = text.replace(token.get("name"), token.text)
    return " ".join(str(template(text, searchList=[values])).split())


class Dataset(SimpleNamespace):
    def __str__(self):
        return str(self.path)


GALAXY_DEFAULTS = {
    "batch_key": "",
    "method": "calibrated",
    "clusters": "",
    "min_counts": "",
    "min_genes": "",
    "max_mito": "",
    "n_top_genes": "",
    "covariates": [],
    "expression": "none",
    "label_key": "",
    "umap": "--no-umap",
    "extra_outputs": [],
    "random_state": 0,
}


def test_galaxy_hands_inputs_on_in_their_order_and_all_options():
    names = ["one.h5ad"] * 12
    inputs = [
        Dataset(path=f"/data/{at}.dat", element_identifier=name) for at, name in enumerate(names)
    ]
    values = GALAXY_DEFAULTS | {
        "inputs": inputs,
        "method": "cluster",
        "clusters": "louvain",
        "max_mito": 15.0,
        "covariates": [{"regress_out": name} for name in ("chemistry", "", "pct mito")],
        "expression": "counts",
    }
    command = galaxy_command("mnncorrect_run.xml", values)
    given = shlex.split(command.partition("mnncorrect run")[2])
    assert given[:12] == [f"inputs/{at}/one.h5ad" for at in range(12)]
    assert "--clusters=louvain" in given
    covariates = ["--regress-out=chemistry", "--regress-out=pct mito"]
    assert [word for word in given if word.startswith("--regress-out")] == covariates
    assert {"--write-expression", "--expression-counts"} <= set(given)
    assert given[given.index("--expression-scale") + 1] == "log"
    assert given[given.index("--max-mito") + 1] == "15.0"
    methods = ET.parse(GALAXY / "mnncorrect_run.xml").find(".//param[@argument='--method']")
    assert {option.get("value") for option in methods} == set(method_names())


@pytest.mark.slow
def test_galaxy_commands_write_what_their_tests_expect(tmp_path, on_path):
    values = GALAXY_DEFAULTS | {
        "inputs": [Dataset(path=EXAMPLE, element_identifier="it's a; sample.h5ad")],
        "batch_key": "batch",
        "label_key": "cell_type",
        "extra_outputs": ["report", "model"],
    }
    call("bash", "-c", galaxy_command("mnncorrect_run.xml", values), cwd=tmp_path)
    corrected = anndata.read_h5ad(tmp_path / "corrected.h5ad")
    assert {"mnn_confidence", "gmm"} <= set(corrected.obs)
    assert "lane3" in (tmp_path / "report.html").read_text()
    assert (tmp_path / "model.mnn").stat().st_size > 10_000

    values = {
        "query": EXAMPLE,
        "model": GALAXY / "test-data/example.mnn",
        "batch_key": "",
        "as_new": "",
        "max_missing": 0.2,
        "random_state": 0,
    }
    call("bash", "-c", galaxy_command("mnncorrect_project.xml", values), cwd=tmp_path)
    assert anndata.read_h5ad(tmp_path / "placed.h5ad").obsm["X_mnn"].shape == (700, 10)


@pytest.mark.slow
def test_cwl_tool_runs_on_the_example(tmp_path, on_path):
    folder = WRAPPERS / "cwl"
    words = ["--no-container", "--preserve-environment", "PYTHONPATH", "--outdir", tmp_path / "out"]
    call(
        engine("cwltool"),
        *words,
        folder / "mnncorrect-run.cwl",
        folder / "example.yml",
        cwd=tmp_path,
    )
    made = {path.name for path in (tmp_path / "out").iterdir()}
    assert made == {"corrected.h5ad", "report.html", "atlas.mnn"}
    assert "X_mnn" in anndata.read_h5ad(tmp_path / "out/corrected.h5ad").obsm


@pytest.mark.slow
def test_snakemake_wrapper_runs_its_test(tmp_path, on_path):
    wrapper = tmp_path / "repository/master/bio/mnncorrect"
    shutil.copytree(WRAPPERS / "snakemake/mnncorrect", wrapper)
    (tmp_path / "data").mkdir()
    shutil.copy(EXAMPLE, tmp_path / "data/sample.h5ad")
    snakemake = [sys.executable, "-m", "snakemake", "--cores", "2"]
    prefix = f"file://{tmp_path}/repository/"
    call(
        *snakemake,
        *("--snakefile", wrapper / "test/Snakefile", "--wrapper-prefix", prefix),
        "results/sample.h5ad",
        cwd=tmp_path,
    )
    made = {path.name for path in (tmp_path / "results").iterdir()}
    assert made == {"sample.h5ad", "sample.html", "sample.mnn"}
    assert "wrote" in (tmp_path / "logs/sample.log").read_text()


@pytest.mark.parametrize(
    ("outputs", "word"),
    [
        ({"report": "a.html"}, "corrected="),
        ({"report": "a.html", "model": "a.mnn"}, "corrected"),
        ({"corrected": "a.h5ad", "html": "a.html"}, "html"),
        ({0: "a.h5ad", 1: "a.html"}, "corrected"),
    ],
)
def test_snakemake_outputs_that_are_not_named_are_refused(outputs, word):
    named = {name: path for name, path in outputs.items() if isinstance(name, str)}
    rest = [path for name, path in outputs.items() if not isinstance(name, str)]
    containers = pytest.importorskip("snakemake.iocontainers")
    output = containers.Namedlist(toclone=rest, fromdict=named or None)
    code = compile((WRAPPERS / "snakemake/mnncorrect/wrapper.py").read_text(), "wrapper.py", "exec")
    with pytest.raises(ValueError, match=word):
        exec(code, {"snakemake": SimpleNamespace(output=output)})


def nextflow(module, part, **values):
    """The script or the stub of a process, as Nextflow fills it in."""
    groovy = engine("groovy")
    words = [f"{name.replace('__', '.')}={value}" for name, value in values.items()]
    java = Path(os.path.realpath(engine("java"))).parents[1]
    harness = Path(__file__).with_name("nextflow_process.groovy")
    text = call(groovy, harness, module / "main.nf", part, *words, cwd=ROOT, JAVA_HOME=str(java))
    return textwrap.dedent(text)


@pytest.mark.slow
def test_nextflow_stubs_make_the_outputs(tmp_path, on_path):
    given = {"id": "test", "cpus": 2, "process": "A:MNNCORRECT"}
    for module in (NFCORE, LOCAL):
        folder = tmp_path / module.parent.name
        folder.mkdir()
        call("bash", "-c", nextflow(module, "stub", h5ad="a.h5ad", **given), cwd=folder)
        versions = yaml.safe_load((folder / "versions.yml").read_text())
        assert versions == {"A:MNNCORRECT": {"mnncorrect": VERSION}}
        assert (folder / "test.h5ad").exists()


@pytest.mark.slow
def test_nfcore_module_corrects_the_example(tmp_path, on_path):
    shutil.copy(EXAMPLE, tmp_path / "example.h5ad")
    given = {"id": "test", "cpus": 2, "process": "MNNCORRECT_RUN", "h5ads": "example.h5ad"}
    more = {"batch_key": "batch", "ext__args": "--no-gmm --save-model test.mnn"}
    call("bash", "-euc", nextflow(NFCORE, "script", **given, **more), cwd=tmp_path)
    assert "X_mnn" in anndata.read_h5ad(tmp_path / "test.h5ad").obsm
    assert (tmp_path / "test.html").exists()
    assert (tmp_path / "test.mnn").exists()


@pytest.mark.slow
def test_local_module_writes_x_emb_and_versions(tmp_path, on_path):
    values = {
        "h5ad": EXAMPLE,
        "batch_col": "batch",
        "counts_layer": "X",
        "prefix": "test",
        "task.cpus": "2",
        "task.process": "MNNCORRECT",
    }
    template = (LOCAL / "templates/mnncorrect.py").read_text()
    script = re.sub(r"\$\{(.+?)\}", lambda found: str(values[found[1]]), template)
    call(sys.executable, "-c", script, cwd=tmp_path)
    corrected = anndata.read_h5ad(tmp_path / "test.h5ad")
    embedding = pd.read_pickle(tmp_path / "X_test.pkl")
    assert np.array_equal(corrected.obsm["X_emb"], embedding)
    versions = yaml.safe_load((tmp_path / "versions.yml").read_text())
    assert versions["MNNCORRECT"]["mnncorrect"] == VERSION


@pytest.mark.parametrize("module", [NFCORE, LOCAL], ids=["nf-core", "local"])
def test_nextflow_meta_lists_the_channels_of_main(module):
    main = (module / "main.nf").read_text()
    meta = yaml.safe_load((module / "meta.yml").read_text())
    inputs = main.partition("input:")[2].partition("output:")[0]
    listed = [next(iter(c)) for group in meta["input"] for c in _channels(group)]
    assert re.findall(r"(?:val|path)\(?\s*(\w+)", inputs) == listed
    assert set(meta["output"]) == set(re.findall(r"emit: (\w+)", main))
    test = (module / "tests/main.nf.test").read_text()
    assert len(set(re.findall(r"input\[(\d)\]", test))) == len(meta["input"])


def _channels(group):
    return group if isinstance(group, list) else [group]


def test_nextflow_files_are_parsed():
    parser = pytest.importorskip("reftrace")
    for module in (NFCORE, LOCAL):
        parsed = parser.Module.from_file(str(module / "main.nf"))
        assert "MNNCORRECT" in parsed.processes[0].name


def problem():
    """A file of the schema of Open Problems: task batch_integration."""
    adata = anndata.read_h5ad(EXAMPLE)
    adata.layers["counts"] = adata.X.copy()
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    adata.layers["normalized"] = adata.X
    adata.var["hvg"] = np.arange(adata.n_vars) < 500
    adata.var["hvg_score"] = np.linspace(1, 0, adata.n_vars)
    adata.var["feature_name"] = adata.var_names
    sc.pp.pca(adata)
    del adata.X
    adata.uns = {"dataset_id": "example", "normalization_id": "log_cp10k"}
    return adata


@pytest.mark.slow
def test_open_problems_component_writes_an_integrated_file(tmp_path, on_path):
    folder = WRAPPERS / "openproblems/src/methods/mnncorrect"
    config = yaml.safe_load((folder / "config.vsh.yaml").read_text())
    assert config["name"] == "mnncorrect"
    assert config["info"]["method_types"] == ["embedding"]
    assert [resource["path"] for resource in config["resources"]] == ["script.py"]
    problem().write_h5ad(tmp_path / "dataset.h5ad")
    # Viash puts the parameters of a call between the two lines.
    par = {"input": "dataset.h5ad", "output": "out.h5ad"}
    given = f"par = {par!r}\nmeta = {{'name': {config['name']!r}, 'cpus': 1}}\n"
    script = re.sub(
        r"## VIASH START\n.*?## VIASH END\n",
        lambda _: given,
        (folder / "script.py").read_text(),
        flags=re.DOTALL,
    )
    call(sys.executable, "-c", script, cwd=tmp_path)
    out = anndata.read_h5ad(tmp_path / "out.h5ad")
    assert len(out.obsm["X_emb"]) == 700
    assert np.isfinite(out.obsm["X_emb"]).all()
    assert set(out.uns) == {"dataset_id", "normalization_id", "method_id"}
    assert out.uns["method_id"] == "mnncorrect"
    assert not len(out.obs.columns)


def test_conda_recipe_requires_what_the_package_requires():
    text = (WRAPPERS / "conda/mnncorrect/recipe.yaml").read_text()
    recipe = yaml.safe_load(text)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {_requirement(each) for each in project["dependencies"]}
    python, *others = recipe["requirements"]["run"]
    assert {
        _requirement(each.replace("matplotlib-base", "matplotlib")) for each in others
    } == wanted
    oldest = recipe["context"]["python_min"]
    assert python == "python >=${{ python_min }}"
    assert project["requires-python"] == f">={oldest}"
    (entry,) = recipe["build"]["python"]["entry_points"]
    assert entry == f"mnncorrect = {project['scripts']['mnncorrect']}"


def _requirement(text):
    return re.sub(r"\s", "", text)


def test_conda_recipe_is_rendered_by_its_builder():
    builder = pytest.importorskip("rattler_build")
    recipe = builder.Stage0Recipe.from_file(WRAPPERS / "conda/mnncorrect/recipe.yaml")
    (variant,) = recipe.render(builder.VariantConfig())
    assert variant.recipe.package.version == VERSION
