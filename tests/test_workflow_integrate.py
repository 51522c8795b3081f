"""The workflow that integrates samples: its form, its options, and that it goes on when killed."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import get_args, get_type_hints

import anndata
import pandas as pd
import pytest
import typer.main
import yaml
from tenx import as_folder

import mnncorrect
from mnncorrect._prepare.method_registry import all_methods
from mnncorrect.cli.app import app
from mnncorrect.cli.options.correction import CorrectionOptions

ROOT = Path(__file__).parents[1]
WORKFLOW = ROOT / "workflows/integrate"
SNAKEFILE = WORKFLOW / "workflow/Snakefile"
EXAMPLE = ROOT / "data/example.h5ad"
RULES = ("check_sample", "concat", "check", "estimate", "correct", "gmm", "umap", "evaluate")
# Options that the workflow sets itself, by its own keys or by the files and names that its steps
# hand on to each other.
SET_BY_WORKFLOW = {
    "*": {
        "input",
        "inputs",
        "output",
        "force",
        "help_all",
        "verbose",
        "quiet",
        "log_file",
        "debug",
        "random_state",
        "n_jobs",
        "workers",
        "scheduler",
        "batch_key",
        "batch_from_barcode",
        "key_added",
        "memory_limit",
        "help",
    },
    "concat": {"sheet"},
    "correct": {"adjusted_basis", "dry_run", "as_json", "save_model", "sheet"},
    "pca": {"layer"},
    "gmm": {"use_rep"},
    "umap": {"use_rep", "reference"},
    "evaluate": {"format", "as_json", "label_key", "use_rep", "before"},
}


def load_yaml(path):
    return yaml.safe_load((WORKFLOW / path).read_text())


SECTIONS = load_yaml("workflow/schemas/options.schema.yaml")["properties"]


def command(folder, *words, snakefile=SNAKEFILE):
    start = [sys.executable, "-m", "snakemake", "--snakefile", snakefile, "--directory", folder]
    return [str(word) for word in (*start, *words)]


def environment():
    # Rules call the command that is first on the path.
    return os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def snakemake(folder, *words, snakefile=SNAKEFILE, fails=False):
    done = subprocess.run(
        command(folder, *words, snakefile=snakefile),
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )
    said = done.stdout + done.stderr
    assert (done.returncode != 0) == fails, said
    return said


def configure(folder, **config):
    (folder / "config").mkdir(parents=True, exist_ok=True)
    (folder / "config/config.yaml").write_text(json.dumps(config))
    return folder


def options_of(name):
    commands = typer.main.get_command(app).commands
    own = SET_BY_WORKFLOW["*"] | SET_BY_WORKFLOW[name]
    return {option.name: option for option in commands[name].params if option.name not in own}


@pytest.fixture
def project(tmp_path):
    """A folder as .test, with samples that are there and hold nothing."""
    shutil.copytree(WORKFLOW / ".test/config", tmp_path / "config")
    (tmp_path / "samples").mkdir()
    for name in ("lane1", "lane2", "lane3"):
        (tmp_path / f"samples/{name}.h5ad").touch()
    return tmp_path


@pytest.mark.slow
def test_lint_has_nothing_to_say(project):
    assert "in a good condition" in snakemake(project, "--lint")


@pytest.mark.slow
def test_a_dry_run_reaches_all_steps_with_the_options_of_each_set(project):
    said = snakemake(project, "--dry-run", "--printshellcmds", "--cores", 2)
    for rule in (*RULES, "report", "compare"):
        assert f"rule {rule}:" in said
    plans, runs = (re.findall(rf"mnncorrect {name} .*", said) for name in ("run", "correct"))
    assert len(plans) == len(runs) == 2
    assert all("--label-key=cell_type" in shell and "--dry-run" in shell for shell in plans)
    for shell in runs:
        assert "--n-top-genes=300 --n-comps=15" in shell
        # What stands at its default is not given.
        assert ("--method=fast --merge-order=balanced" in shell) == ("steps/fast/" in shell)
        assert "calibrated" not in shell.partition(" -o ")[0]
    assert "--covariate=sex" in said
    assert "log: logs/correct/fast.log" in said


@pytest.mark.parametrize("name", sorted(SECTIONS))
def test_options_and_defaults_are_those_of_the_command(name):
    section, options = SECTIONS[name], options_of(name)
    assert section["additionalProperties"] is False
    assert set(section["properties"]) == set(options)
    for option, spec in section["properties"].items():
        assert spec["default"] == options[option].default, option
        assert type(spec["default"]) is type(options[option].default), option


def test_choices_and_methods_are_those_of_the_api():
    properties = SECTIONS["correct"]["properties"]
    hints = get_type_hints(CorrectionOptions)
    for name, spec in properties.items():
        if "enum" in spec and name in hints:
            assert set(spec["enum"]) == set(get_args(hints[name])), name
    has = {method.name: method.parameters for method in all_methods()}
    for name in set(hints) & set(properties) - {"method"}:
        owners = {method for method in has if name in has[method]}
        assert set(properties[name].get("methods", has)) == owners, name


def test_sections_of_the_configuration_are_those_with_options():
    schema = load_yaml("workflow/schemas/config.schema.yaml")
    assert schema["additionalProperties"] is False
    sections = {
        name for name, spec in schema["properties"].items() if spec == {"$ref": "#/$defs/section"}
    }
    assert sections == set(SECTIONS)
    in_sets = schema["properties"]["sets"]["additionalProperties"]["properties"]
    assert set(in_sets) == sections - {"concat"}
    defaults = {"threads": "n_jobs", "random_state": "random_state", "memory_limit": "memory_limit"}
    commands = typer.main.get_command(app).commands
    found = {option.name: option.default for option in commands["correct"].params}
    for key, option in defaults.items():
        if found[option] is not None:
            assert schema["properties"][key]["default"] == found[option]


def test_every_key_is_explained():
    text = (WORKFLOW / "config/README.md").read_text()
    keys = load_yaml("workflow/schemas/config.schema.yaml")["properties"]
    for key in (*keys, "path", "batch", "sample"):
        assert f"`{key}`" in text, key


def test_environments_pin_the_package_as_it_is_built():
    folder = WORKFLOW / "workflow/envs"
    packages = load_yaml("workflow/envs/mnncorrect.yaml")["dependencies"][-1]["pip"]
    assert packages == [f"mnncorrect =={mnncorrect.__version__}"]
    assert f"mnncorrect:{mnncorrect.__version__} " in (folder / "Dockerfile").read_text()
    assert f"mnncorrect-{mnncorrect.__version__}.sif" in (folder / "mnncorrect.def").read_text()


def test_every_rule_has_a_log_an_environment_and_asks_for_memory_and_time():
    text = "".join(path.read_text() for path in (WORKFLOW / "workflow/rules").glob("*.smk"))
    rules = re.split(r"^rule ", text, flags=re.MULTILINE)[1:]
    assert len(rules) == 11
    for rule in rules:
        for part in ("log:", "conda:", "mem_mb=", "runtime=", "threads:"):
            assert f"    {part}" in rule, rule.partition(":")[0]
        # The command line, and nothing else.
        assert re.search(r'shell:\n\s+"mnncorrect ', rule), rule.partition(":")[0]


@pytest.mark.slow
def test_profiles_are_read_by_snakemake_and_name_rules_that_are_there():
    names = ("local", "slurm", "dask")
    local, slurm, dask = (load_yaml(f"profiles/{name}/config.yaml") for name in names)
    assert slurm["executor"] == "slurm"
    assert {"mem_mb", "runtime"} <= set(slurm["default-resources"])
    assert [entry.partition("=")[0] for entry in slurm["groups"]] == ["check_sample"]
    known = subprocess.run(
        [sys.executable, "-m", "snakemake", "--help"], capture_output=True, text=True, check=True
    ).stdout
    for key in {*local, *slurm, *dask}:
        assert f"--{key}" in known, key


def refused(folder, **config):
    """What is wrong in a configuration, by place."""
    said = snakemake(configure(folder, **config), "--dry-run", fails=True)
    return dict(re.findall(r"^  (\S.*?): (.*)$", said, flags=re.MULTILINE))


@pytest.mark.slow
def test_all_that_is_wrong_in_a_configuration_is_named_with_what_is_allowed(project):
    told = refused(
        project,
        input="x.h5ad",
        label="cell_type",
        threads="two",
        memory_limit="2GB",
        covariates="sex",
        correct={"sigm": 1, "method": "fst", "n_top_genes": "300"},
        gmm={"tol": "1e-3", "n_init": 0, "n_neighbors": 5, "threads": 2},
        umap=5,
        n_components="2-5",
        slow={"correct": {}},
        sets={
            "a": {"n_neighbors": 3, "correct": {"seed": 1, "min_dist": 0.1, "umap": {}}},
            "b": {"correct": {"recall": None}, "concat": {}},
        },
    )
    expected = {
        "label": "label_key",
        "threads": "a whole number",
        "memory_limit": "500M",
        "covariates": "[sex]",
        "correct.sigm": "sigma",
        "correct.method": "calibrated",
        "correct.n_top_genes": "write 300",
        "gmm.tol": "write 0.001",
        "gmm.n_init": "at least 1",
        "umap": "a section",
        # Keys that stand in the wrong section.
        "gmm.n_neighbors": "section correct or umap",
        "gmm.threads": "top of the file",
        "n_components": "section gmm",
        "slow": "section sets",
        "sets.a.n_neighbors": "sets.a.correct or sets.a.umap",
        "sets.a.correct.seed": "random_state at the top",
        "sets.a.correct.min_dist": "sets.a.umap",
        "sets.a.correct.umap": "into sets.a",
        "sets.b.concat": "top of the file",
        "sets.b.correct.recall": "a number",
    }
    assert set(told) == set(expected)
    for place, text in expected.items():
        assert text in told[place], place


@pytest.mark.slow
def test_an_option_of_another_method_is_refused(project):
    told = refused(
        project,
        input="x.h5ad",
        correct={"ndist": 2},
        sets={"c": {"correct": {"method": "classic"}}},
    )
    assert "belongs to fast" in told["correct.ndist"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sheet", "says"),
    [
        ("path\tbatch\na.h5ad\tx\nb.h5ad\tx\n", "share the name x"),
        ("path\tbach\na.h5ad\tx\n", "no column batch"),
        ("path,batch\na.h5ad,x\n", "no column path"),
        ("path\tbatch\na.h5ad\n", "row 2: 1 values"),
        ("path\tbatch\tsample\na.h5ad\tx\t\n", "the column sample is empty"),
        ("path\tbatch\nnone.h5ad\tx\n", "none.h5ad does not exist"),
        ("path\tbatch\n", "no rows"),
    ],
)
def test_a_sheet_that_is_not_valid_is_told_by_row(project, sheet, says):
    for name in "ab":
        (project / f"{name}.h5ad").touch()
    (project / "s.tsv").write_text(sheet)
    configure(project, samples="s.tsv")
    assert says in snakemake(project, "--dry-run", fails=True)


@pytest.mark.slow
def test_hostile_names_of_batches_files_and_columns_reach_the_command_whole(project):
    names = ["{sample}", "a{b", "}{", "two\nlines", "$(touch pwned)", "-x", "..", "A", "a", "ü x"]
    # In one form of Unicode and in another, with a separator of folders, and too long for a file.
    names += ["\u00e9", "e\u0301", "a/b", "../x", "\u6587" * 200]
    (project / "a 'x'").mkdir()
    lines = ["path,batch,{condition}"]
    for number, name in enumerate(names):
        file = project / "a 'x'" / f"$({number}).h5ad"
        file.touch()
        quoted = name.replace('"', '""')
        lines.append(f'"{file}","{quoted}",{number}')
    (project / "a $sheet.csv").write_text("\n".join(lines) + "\n")
    configure(
        project,
        samples="a $sheet.csv",
        batch_key=["batch", "{wildcards.x}"],
        label_key="{type}",
        correct={"mask_var": "{genes}"},
    )
    said = snakemake(project, "--dry-run", "--printshellcmds", "--cores", 2)
    assert said.count("rule check_sample:") == len(names)
    assert "'--batch-key={wildcards.x}'" in said
    assert "'--label-key={type}'" in said
    assert "'--mask-var={genes}'" in said
    assert "'--covariate={condition}'" in said
    assert "'a $sheet.csv'" in said
    checked = re.findall(r"results/checks/samples/(.*?)\.txt", said)
    assert len({name.casefold() for name in checked}) == len(names)
    assert all(len(name.encode()) <= 200 for name in checked)
    assert not any(set(name) & set("{}\n$'/") or name.startswith((".", "-")) for name in checked)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"input": "x.h5ad", "memory_limit": "2G\n"}, "memory_limit"),
        ({"input": "x.h5ad", "memory_limit": "2G; touch pwned"}, "memory_limit"),
        ({"input": "x.h5ad", "sets": {"a\n": None}}, "the name of a set"),
        ({"input": "x.h5ad", "sets": {"..": None}}, "the name of a set"),
        ({"input": "x.h5ad", "sets": {"fast": None, "Fast": None}}, "differ only in case"),
        ({"input": "results/merged.h5ad"}, "writes its own results"),
        ({"input": "config/../results/integrated/fast.h5ad"}, "writes its own results"),
        ({"samples": "logs/samples.tsv"}, "writes its own results"),
        ({"input": "{set}.h5ad"}, "has braces in its name"),
    ],
)
def test_configurations_that_would_do_harm_are_refused(project, config, says):
    (project / "logs").mkdir()
    (project / "logs/samples.tsv").write_text("path\tbatch\nx.h5ad\ta\n")
    configure(project, **config)
    assert says in snakemake(project, "--dry-run", fails=True)
    assert not (project / "pwned").exists()


@pytest.mark.slow
def test_the_workflow_is_a_module_of_another(project):
    other = project / "Snakefile"
    other.write_text(
        f"""
module integrate:
    snakefile: {str(SNAKEFILE)!r}
    prefix: "batches"
    config: config["integrate"]

use rule * from integrate as integrate_*

rule markers:
    default_target: True
    input: "batches/results/integrated/wide.h5ad", rules.integrate_all.input
    output: "markers.tsv"
    shell: "touch {{output}}"
"""
    )
    sheet = str(project / "config/samples.tsv")
    sets = {"wide": {"correct": {"method": "fast", "n_neighbors": 40}}, "genes": None}
    sets["genes"] = {"correct": {"method": "classic"}}
    (project / "outer.json").write_text(json.dumps({"integrate": {"samples": sheet, "sets": sets}}))
    words = ["--dry-run", "--printshellcmds", "--configfile", project / "outer.json"]
    said = snakemake(project, *words, snakefile=other)
    for rule in (*RULES, "pca", "report", "compare"):
        assert f"rule integrate_{rule}:" in said
    assert "--n-neighbors=40" in said
    assert "log: batches/logs/gmm/wide.log" in said
    assert "rule markers:" in said


@pytest.fixture
def samples(tmp_path):
    """The example as samples, one of which can be damaged, and a configuration of one set."""
    shutil.copytree(WORKFLOW / ".test/config", tmp_path / "config")
    split = [sys.executable, WORKFLOW / ".test/split_example.py", "--folder", tmp_path / "samples"]
    subprocess.run(split, check=True)
    return tmp_path


@pytest.mark.slow
def test_columns_that_no_input_has_are_refused_before_the_first_job(samples):
    told = refused(
        samples,
        samples="config/samples.tsv",
        covariates=["age"],
        correct={"n_top_genes": 100, "n_comps": 5},
    )
    assert "age" in told["covariates"]
    assert "cell_type" in told["covariates"]
    assert not (samples / "results").exists()


@pytest.mark.slow
def test_a_column_that_all_sets_ask_for_in_vain_is_told_once_with_their_names(samples):
    told = refused(
        samples,
        samples="config/samples.tsv",
        label_key="celltype",
        sets={"a": {"correct": {"mask_var": "chosen"}}, "b": {"correct": {"keep": ["age"]}}},
    )
    assert set(told) == {"label_key"}
    assert "sets: a, b" in told["label_key"]
    assert not (samples / "results").exists()


@pytest.mark.slow
def test_a_change_within_a_folder_is_planned_and_checked_anew(samples):
    for path in samples.glob("samples/*.h5ad"):
        as_folder(anndata.read_h5ad(path), path.with_suffix(""))
    folder = samples / "samples/lane1"
    sheet = samples / "config/samples.tsv"
    sheet.write_text(sheet.read_text().replace(".h5ad", ""))
    plans = samples / ".snakemake/mnncorrect"
    sets = {"a": {"correct": {"n_top_genes": 100, "n_comps": 5}}}
    configure(samples, samples="config/samples.tsv", sets=sets)
    said = snakemake(samples, "--dry-run", "--cores", 2)
    assert "rule check_sample:" in said
    assert len(list(plans.glob("*.json"))) == 1
    # A file within the folder changes; what the folder lists does not.
    part = next(folder.glob("matrix.mtx*"))
    before = folder.stat().st_mtime_ns
    os.utime(part, ns=(before + 10**9, before + 10**9))
    assert folder.stat().st_mtime_ns == before
    snakemake(samples, "--dry-run", "--cores", 2)
    assert len(list(plans.glob("*.json"))) == 2
    # Checks of this sample are made anew, and those of others not.
    words = ["--cores", 2, "--until", "check_sample"]
    snakemake(samples, *words)
    os.utime(part, ns=(before, before))
    said = snakemake(samples, *words)
    assert said.count("rule check_sample:") == 1
    assert "lane1" in said.partition("rule check_sample:")[2].partition("output:")[0]


@pytest.mark.slow
def test_a_sample_that_fails_leaves_the_others_checked(samples):
    lane = samples / "samples/lane2.h5ad"
    lane.write_bytes(lane.read_bytes()[:5000])
    words = ["--profile", WORKFLOW / "profiles/local", "--cores", 1]
    said = snakemake(samples, *words, fails=True)
    checked = {path.stem for path in samples.glob("results/checks/samples/*.txt")}
    assert checked == {"lane1", "lane3"}
    assert "log: logs/check_sample/lane2.log (check log file(s) for error details)" in said
    assert "lane2.h5ad" in (samples / "logs/check_sample/lane2.log").read_text()
    assert "rule concat:" not in said


@pytest.fixture(scope="module")
def integrated(tmp_path_factory):
    """The example of the workflow, killed when samples are merged, and run again to its end."""
    folder = tmp_path_factory.mktemp("integrate")
    shutil.copytree(WORKFLOW / ".test/config", folder / "config")
    split = [sys.executable, WORKFLOW / ".test/split_example.py", "--folder", folder / "samples"]
    subprocess.run(split, check=True)
    words = ["--profile", WORKFLOW / "profiles/local", "--cores", 2]
    with (folder / "first.log").open("w") as log:
        first = subprocess.Popen(
            command(folder, *words),
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment(),
            start_new_session=True,
        )
        until = time.monotonic() + 300
        while not list(folder.glob("results/estimates/*.json")):
            assert first.poll() is None, (folder / "first.log").read_text()
            assert time.monotonic() < until
            time.sleep(0.05)
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
    done = [*folder.glob("results/checks/**/*.txt"), folder / "results/merged.h5ad"]
    before = {path: path.stat().st_mtime_ns for path in done}
    snakemake(folder, "--unlock")
    said = snakemake(folder, *words)
    return SimpleNamespace(folder=folder, before=before, said=said)


@pytest.mark.slow
def test_a_killed_workflow_goes_on_and_does_nothing_twice(integrated):
    assert len(integrated.before) == 5
    for path, written in integrated.before.items():
        assert path.stat().st_mtime_ns == written, path
    for rule in ("check_sample", "concat", "check"):
        assert f"rule {rule}:" not in integrated.said
    assert "rule evaluate:" in integrated.said
    assert "Nothing to be done" in snakemake(integrated.folder, "--cores", 1)


@pytest.mark.slow
def test_a_run_leaves_what_the_readme_names(integrated):
    results = integrated.folder / "results"
    for name in ("calibrated", "fast"):
        adata = anndata.read_h5ad(results / f"integrated/{name}.h5ad")
        assert adata.n_obs == 700
        assert {"X_mnn", "X_mnn_umap", "X_mnn_uncorrected"} <= set(adata.obsm)
        assert adata.uns["mnn"]["params"]["method"] == name
        assert "scores" in adata.uns["mnn_evaluation"]
        # The covariate of the sheet came along.
        assert set(adata.obs["sex"]) == {"f", "m"}
        assert set(adata.obs["batch"]) == {"lane1", "lane2", "lane3"}
        assert 2 <= adata.obs["gmm"].nunique() <= 5
        scores = pd.read_csv(results / f"scores/{name}.tsv", sep="\t")
        assert {"before", "after"} <= set(scores)
        page = (results / f"reports/{name}.html").read_text()
        assert "</html>" in page
        assert "sex" in page
    assert "</html>" in (results / "reports/comparison.html").read_text()
    estimate = json.loads((results / "estimates/fast.json").read_text())
    assert (estimate["n_cells"], estimate["n_genes_used"]) == (700, 300)
    # Each step asks for twice what the plan estimates of it, and for the interpreter.
    for rule, part in (("correct", "correct"), ("gmm", "gmm"), ("evaluate", "report")):
        block = integrated.said.partition(f"rule {rule}:")[2].partition("Shell command")[0]
        name = re.search(r"set=(\w+)", block)[1]
        plan = json.loads((results / f"estimates/{name}.json").read_text())
        asked = int(re.search(r"mem_mb=(\d+)", block)[1])
        assert asked == 1500 + 2 * plan["parts"][part]["memory_mb"]
    # What is between the steps is gone.
    assert not list(results.glob("steps/**/*.h5ad"))


@pytest.mark.slow
def test_dask_workers_find_what_one_process_finds(integrated, tmp_path):
    pytest.importorskip("distributed")
    merged = integrated.folder / "results/merged.h5ad"
    config = load_yaml(".test/config/config.yaml")
    sets = {"fast": config["sets"]["fast"]}
    configure(tmp_path, input=str(merged), correct=config["correct"], sets=sets)
    words = ["--profile", WORKFLOW / "profiles/dask", "--notemp", "--until", "gmm"]
    said = snakemake(tmp_path, *words)
    plan = json.loads((tmp_path / "results/estimates/fast.json").read_text())
    assert any("2 workers" in step for step in plan["steps"])
    block = said.partition("rule correct:")[2].partition("Shell command")[0]
    # Two workers have memory_limit each.
    asked = 1500 + 2 * plan["parts"]["correct"]["memory_mb"] + 2 * 2048
    assert int(re.search(r"mem_mb=(\d+)", block)[1]) == asked
    found = anndata.read_h5ad(tmp_path / "results/steps/fast/clustered.h5ad")
    expected = anndata.read_h5ad(integrated.folder / "results/integrated/fast.h5ad")
    assert (found.obsm["X_mnn"] == expected.obsm["X_mnn"]).all()
    assert (found.X != expected.X).nnz == 0
    assert set(found.layers) == set(expected.layers)
    assert set(found.obsp) <= set(expected.obsp)


@pytest.mark.slow
def test_a_batch_key_that_the_input_lacks_is_refused_before_the_first_job(tmp_path):
    told = refused(tmp_path, input=str(EXAMPLE), batch_key="donor")
    assert "'donor'" in told["batch_key"]
    assert "'batch'" in told["batch_key"]
