"""No path that is written is another path of the command, or lies inside one."""

from __future__ import annotations

import inspect
import os
import shutil
import sys
from pathlib import Path

import pytest
from cli.conftest import make_counts

from mnncorrect._io.paths import NamedPath, refuse_foreign_log, refuse_overlaps
from mnncorrect.cli.app import app
from mnncorrect.cli.options import places

FAST = ["--method", "fast", "--n-comps", 5]


def test_every_path_of_every_command_is_known_as_read_or_written():
    known = {*places.READ_PARAMETERS, *places.WRITTEN, places.LOG_PARAMETER}
    for registered in app.registered_commands:
        parameters = inspect.signature(registered.callback).parameters.values()
        paths = {each.name for each in parameters if "Path" in str(each.annotation)}
        assert paths & known, registered.callback
        assert paths <= known, registered.callback


@pytest.fixture(scope="module")
def one_of_each(tmp_path_factory, atlas):
    """A folder with one input of each form."""
    tmp_path = tmp_path_factory.mktemp("inputs")
    for seed, name in enumerate(("a", "b")):
        make_counts(seed=seed).write_h5ad(tmp_path / f"{name}.h5ad")
    (tmp_path / "sheet.tsv").write_text("path\tbatch\na.h5ad\tx\nb.h5ad\ty\n")
    folder = tmp_path / "tenx"
    folder.mkdir()
    (folder / "matrix.mtx").write_text(
        "%%MatrixMarket matrix coordinate integer general\n2 2 2\n1 1 3\n2 2 4\n"
    )
    (folder / "barcodes.tsv").write_text("c1\nc2\n")
    (folder / "features.tsv").write_text("e1\tg1\tGene Expression\ne2\tg2\tGene Expression\n")
    (tmp_path / "z.zarr" / "X").mkdir(parents=True)
    (tmp_path / "z.zarr" / "zarr.json").write_text("{}")
    (tmp_path / "z.zarr" / "X" / "zarr.json").write_text("{}")
    for name in ("corrected.h5ad", "atlas.mnn"):
        shutil.copy(atlas / name, tmp_path / name)
    return tmp_path


@pytest.fixture
def inputs(one_of_each, tmp_path):
    """A copy of it, which a test may change."""
    return shutil.copytree(one_of_each, tmp_path, dirs_exist_ok=True)


def contents(folder):
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# The command, with the paths that overlap last.
OVER_INPUTS = [
    "concat --sheet sheet.tsv -o out.h5ad --log-file sheet.tsv",
    "concat --sheet sheet.tsv -o out.h5ad --log-file a.h5ad",
    "concat --sheet sheet.tsv -o b.h5ad",
    "check --sheet sheet.tsv --log-file sheet.tsv",
    "check tenx --log-file tenx/features.tsv",
    "check tenx --log-file tenx/log.txt",
    "check z.zarr --log-file z.zarr/zarr.json",
    "concat a.h5ad tenx -o tenx/out.h5ad",
    "run z.zarr -b batch -o z.zarr/X/zarr.json",
    "run z.zarr -b batch -o out.h5ad --save-model z.zarr/X/model",
    "run z.zarr -b batch -o out.h5ad --report z.zarr/X/zarr.json",
    "run a.h5ad b.h5ad -o b.h5ad",
    "run a.h5ad b.h5ad -o out.h5ad --save-model a.h5ad",
    "correct a.h5ad -b batch -o out.h5ad --log-file tenx/../a.h5ad",
    "check tenx/matrix.mtx --log-file tenx/features.tsv",
    "project b.h5ad --model atlas.mnn -o out.h5ad --log-file atlas.mnn",
    "project b.h5ad --model atlas.mnn -o atlas.mnn",
    "report corrected.h5ad -o corrected.h5ad",
    "report a.h5ad --reference corrected.h5ad -o corrected.h5ad",
    "report a.h5ad --reference atlas.mnn -o page.html --log-file atlas.mnn",
    "umap a.h5ad --reference corrected.h5ad -o corrected.h5ad",
    "umap a.h5ad --reference z.zarr -o z.zarr",
    "evaluate corrected.h5ad -b batch -o corrected.h5ad",
    "info corrected.h5ad --log-file corrected.h5ad",
    "gmm corrected.h5ad -o corrected.h5ad",
]


@pytest.mark.parametrize(
    ("words", "force"),
    [
        (words, force)
        for words in OVER_INPUTS
        for force in ([[], ["--force"]] if " -o " in words else [[]])
    ],
)
def test_nothing_is_written_over_an_input(words, force, cli, inputs, monkeypatch):
    monkeypatch.chdir(inputs)
    before = contents(inputs)
    words = words.split()
    done = cli(*words, *force)
    assert done.code == 1
    assert done.out == ""
    assert len(done.err) == 1
    assert "inputs are never changed" in done.err[0]
    assert words[-1] in done.err[0]
    option = {"-o": "--output"}.get(words[-2], words[-2])
    assert f"with {option}" in done.err[0]
    assert contents(inputs) == before


@pytest.mark.parametrize(
    "words",
    [
        "correct a.h5ad -b batch -o new.h5ad --log-file new.h5ad",
        "correct a.h5ad -b batch -o new.h5ad --save-model new.h5ad",
        "correct a.h5ad -b batch -o New.h5ad --save-model new.h5ad",
        "run a.h5ad -b batch -o new.h5ad --save-model new --report new",
        "run a.h5ad -b batch -o new.h5ad --save-model new --report tenx/../new",
        "run a.h5ad -b batch -o new.h5ad --report page.html --log-file page.html",
        "run a.h5ad -b batch -o new.h5ad --report new.h5ad --dry-run",
        "run a.h5ad -b batch -o new.h5ad --save-model new --log-file link",
        "report corrected.h5ad -o page.html --log-file page.html",
    ],
)
def test_two_outputs_are_never_one_file(words, cli, inputs, monkeypatch):
    monkeypatch.chdir(inputs)
    (inputs / "link").symlink_to("new")
    before = contents(inputs)
    done = cli(*words.split(), "--force")
    assert done.code == 1
    assert len(done.err) == 1
    assert "give another name with --" in done.err[0]
    assert contents(inputs) == before


def test_links_do_not_hide_an_input(cli, inputs):
    os.link(inputs / "a.h5ad", inputs / "hard.h5ad")
    (inputs / "soft").symlink_to(inputs, target_is_directory=True)
    before = contents(inputs)
    for words in (
        ["run", "a.h5ad", "-b", "batch", "-o", "hard.h5ad", "--force"],
        ["run", "soft/a.h5ad", "-b", "batch", "-o", "a.h5ad", "--force"],
        ["check", "soft/tenx", "--log-file", "tenx/log.txt"],
    ):
        at = [inputs / word if "." in word or "tenx" in word else word for word in words]
        done = cli(*at)
        assert done.code == 1, words
        assert "inputs are never changed" in done.err[0], words
        assert contents(inputs) == before, words


def test_a_log_replaces_nothing_but_a_log(cli, inputs):
    log = inputs / "log.txt"
    precious = {
        "notes.txt": b"keep\n",
        "page.html": b"<!doctype html>",
        "other.h5ad": (inputs / "b.h5ad").read_bytes(),
        "model": (inputs / "atlas.mnn").read_bytes(),
        "table.tsv": b"2026-01-01\t3\n",
    }
    for name, content in precious.items():
        (inputs / name).write_bytes(content)
        done = cli("info", inputs / "corrected.h5ad", "--log-file", inputs / name)
        assert done.code == 1
        assert done.out == ""
        assert "not a log" in done.err[0]
        assert (inputs / name).read_bytes() == content
    words = ["correct", inputs / "a.h5ad", "-b", "batch", *FAST, "--log-file", log, "--force"]
    log.touch()
    for _ in range(2):
        done = cli(*words, "-o", inputs / "out.h5ad")
        assert done.code == 0, done.err
        assert log.read_text().count(" wrote ") == 1
    done = cli("correct", inputs / "a.h5ad", "-b", "no", "-o", inputs / "n.h5ad", "--log-file", log)
    assert done.code == 1
    assert "error: " in log.read_text()
    assert not (inputs / "n.h5ad").exists()


def test_a_log_may_go_to_what_holds_nothing(cli, inputs, tmp_path):
    for place in ("/dev/null", tmp_path / "new.log"):
        done = cli("check", inputs / "a.h5ad", "-b", "batch", "--log-file", place)
        assert done.code == 0, done.err
    os.mkfifo(tmp_path / "pipe")  # to open it would be to wait for ever
    with pytest.raises(FileExistsError, match="not a regular file"):
        refuse_foreign_log(tmp_path / "pipe")
    with pytest.raises(IsADirectoryError, match="--log-file"):
        refuse_foreign_log(tmp_path)


def test_an_existing_file_is_refused_before_the_log_is_opened(cli, inputs):
    for option, name in {"--report": "page", "--save-model": "model", "-o": "out"}.items():
        (inputs / name).write_text("precious")
        words = ["run", inputs / "a.h5ad", "-b", "batch", "--log-file", inputs / "new.log"]
        words += [option, inputs / name, *([] if option == "-o" else ["-o", inputs / "other"])]
        done = cli(*words)
        assert done.code == 1
        assert "--force" in done.err[0]
        assert (inputs / name).read_text() == "precious"
        assert not (inputs / "new.log").exists()


def test_what_the_shell_writes_to_is_none_of_the_paths(inputs):
    import subprocess

    words = f'"{sys.executable}" -m mnncorrect check a.h5ad -b batch >> a.h5ad'
    before = (inputs / "a.h5ad").read_bytes()
    done = subprocess.run(["bash", "-c", words], cwd=inputs, capture_output=True, check=False)
    assert done.returncode == 1
    assert b"standard output" in done.stderr
    assert (inputs / "a.h5ad").read_bytes() == before


def test_paths_that_do_not_overlap_are_let_through(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.h5ad").touch()
    read = [
        NamedPath("the input file", tmp_path / "in" / "a.h5ad"),
        NamedPath("the model", Path("none")),
    ]
    written = [
        NamedPath("the output", tmp_path / "in" / "b.h5ad", "--output"),
        NamedPath("the report", tmp_path / "in" / "b.html", "--report"),
        NamedPath("the log file", tmp_path / "in" / "a.h5ad.log", "--log-file"),
    ]
    refuse_overlaps(written, read)
