"""Whatever ends a run, no half file stands under the output's name, and inputs are as they were."""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from robust import faulty, zoo
from typer.testing import CliRunner

import mnncorrect
from mnncorrect._io import atomic
from mnncorrect._io.hdf5 import hdf5_file
from mnncorrect.cli.app import app

# Python warns of forks beside threads, and so do libraries that start threads, such as JAX.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*fork:RuntimeWarning"),
]

WORDS = ["--method", "fast", "--n-comps", "5", "--n-jobs", "2"]
FAST = {"os.fsync"}


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Load libraries and compile loops before a disk is full, or memory."""
    folder = tmp_path_factory.mktemp("warm")
    zoo.clean().write_h5ad(folder / "in.h5ad")
    with warnings.catch_warnings(action="ignore"):
        done = CliRunner().invoke(app, [str(word) for word in words_of(folder)])
    assert done.exit_code == 0, done.stderr


@pytest.fixture
def source(tmp_path: Path, warm: None) -> Path:
    """A folder with an input in it."""
    zoo.clean().write_h5ad(tmp_path / "in.h5ad")
    return tmp_path


def words_of(folder: Path, command: str = "run") -> list[Any]:
    more = ["--no-gmm"] if command == "run" else []
    return [command, folder / "in.h5ad", "-b", "batch", "-o", folder / "out.h5ad", *WORDS, *more]


def marked(stages: Any) -> list[Any]:
    return [s if s in FAST else pytest.param(s, marks=pytest.mark.slow) for s in stages]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize(
    ("stage", "call"),
    [pytest.param(s, 1, marks=() if s in FAST else pytest.mark.slow) for s in faulty.STAGES]
    + [pytest.param("h5py.Group.create_dataset", n, marks=pytest.mark.slow) for n in faulty.WRITES],
)
def test_a_signal_at_any_stage_leaves_no_half_file(
    stage: str, call: int, number: signal.Signals, source: Path
) -> None:
    before = faulty.content(source)
    ended = faulty.run(
        words_of(source), lambda: faulty.before(stage, faulty.killed(number), call=call)
    )
    left = faulty.content(source)
    if number == signal.SIGKILL:
        assert ended.code == -signal.SIGKILL
        rest = set(left) - set(before)
        assert all(name.startswith(".out.h5ad.") and name.endswith("-tmp") for name in rest), rest
    else:
        assert ended.code == 130, ended.err
        assert ended.err[-1] == "error: interrupted; nothing was written"
        assert left == before
        return
    again = faulty.run(words_of(source))
    assert again.code == 0, again.err
    assert set(faulty.content(source)) == {"in.h5ad", "out.h5ad"}
    assert (source / "in.h5ad").read_bytes() == before["in.h5ad"]


@contextmanager
def _twice(number: int) -> Any:
    """Send a signal at a stage of the run, and another while that one cleans up."""
    with (
        faulty.before(faulty.STAGES[4], faulty.killed(number)),
        faulty.before("pathlib.Path.unlink", faulty.killed(number)),
    ):
        yield


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGXCPU])
def test_a_second_signal_does_not_end_what_cleans_up(number: signal.Signals, source: Path) -> None:
    before = faulty.content(source)
    ended = faulty.run(words_of(source), lambda: _twice(number))
    assert ended.code == 130, ended.err
    assert ended.err[-1] == "error: interrupted; nothing was written"
    assert faulty.content(source) == before


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("written", [["model"], ["model", "out.h5ad"]])
def test_a_signal_after_an_output_stands_says_that_it_does(
    written: list[str], number: signal.Signals, source: Path
) -> None:
    words = [*words_of(source, "correct"), "--save-model", source / "model"]
    stage = "mnncorrect._io.atomic._sync_folder"  # what follows upon a rename
    ended = faulty.run(
        words, lambda: faulty.before(stage, faulty.killed(number), call=len(written))
    )
    assert {path.name for path in source.glob("[!.]*")} == {"in.h5ad", *written}
    if number == signal.SIGKILL:
        return
    assert ended.code == 130, ended.err
    told = re.fullmatch("error: interrupted when (.*) had been written", ended.err[-1])
    assert told, ended.err
    assert {Path(name).name for name in told[1].split(" and ")} == set(written)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("stage", faulty.STAGES)
def test_a_signal_at_any_stage_leaves_the_old_output(
    stage: str, number: signal.Signals, source: Path
) -> None:
    (source / "out.h5ad").write_text("precious")
    ended = faulty.run(
        [*words_of(source), "--force"], lambda: faulty.before(stage, faulty.killed(number))
    )
    assert ended.code in {130, -signal.SIGKILL}
    assert (source / "out.h5ad").read_text() == "precious"


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory, warm: None) -> Path:
    """A folder with an input, what `run` makes of it, and its model."""
    folder = tmp_path_factory.mktemp("results")
    zoo.clean().write_h5ad(folder / "in.h5ad")
    zoo.clean(("c", "d")).write_h5ad(folder / "other.h5ad")
    words = words_of(folder)
    words[words.index("-o") + 1] = folder / "done.h5ad"
    words += ["--save-model", folder / "model.mnn", "--write-expression"]
    with warnings.catch_warnings(action="ignore"):
        done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.stderr
    return folder


COMMANDS = {
    "concat": "concat in.h5ad other.h5ad -o",
    "gmm": "gmm done.h5ad --n-components 1-2 -o",
    "pca": "pca done.h5ad --n-comps 4 -o",
    "evaluate": "evaluate done.h5ad -b batch -o",
    "model": "model done.h5ad -o",
    "project": "project in.h5ad --model model.mnn --batch-key batch -o",
    "report": "report done.h5ad -o",
    "run with a report": "run in.h5ad -b batch --method fast --n-comps 5 --no-gmm -o",
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "number"),
    [
        *((command, signal.SIGKILL) for command in COMMANDS),
        ("concat", signal.SIGTERM),
        ("report", signal.SIGHUP),
        ("run with a report", signal.SIGTERM),
    ],
)
def test_a_signal_to_any_command_leaves_no_half_file(
    command: str,
    number: signal.Signals,
    results: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(results)
    before = faulty.content(results)
    words = [*COMMANDS[command].split(), tmp_path / "out"]
    if command == "run with a report":
        words += ["--report", tmp_path / "out.html"]
    # The last step: all has been written under another name.
    ended = faulty.run(words, lambda: faulty.before("os.fsync", faulty.killed(number)))
    assert ended.code in {-number, 130}, ended
    assert [path for path in tmp_path.iterdir() if not path.name.endswith("-tmp")] == []
    again = faulty.run(words)
    assert again.code == 0, again.err
    assert not list(tmp_path.glob(".*"))
    assert faulty.content(results) == before


def _small_files(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.mark.parametrize("command", ["run", "correct"])
@pytest.mark.parametrize(
    "size",
    [
        30_000,
        *(pytest.param(n, marks=pytest.mark.slow) for n in (2_000, 9_000, 60_000)),
    ],
)
def test_a_full_disk_is_one_line_and_leaves_nothing(command: str, size: int, source: Path) -> None:
    before = faulty.content(source)
    ended = faulty.run(words_of(source, command), lambda: _small_files(size))
    if ended.code == 0:
        pytest.fail(f"the output is smaller than {size} bytes")
    assert_refused(ended, "out.h5ad could not be written in .*: File too large")
    assert faulty.content(source) == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_an_error_of_a_full_disk_names_the_file(tmp_path: Path) -> None:
    target = tmp_path / "page.html"
    says = r"page\.html could not be written .*: No space left.*room"
    with atomic.whole_file(target) as temporary:
        temporary.unlink()
        temporary.symlink_to("/dev/full")
        with pytest.raises(OSError, match=says):
            atomic.write_text(temporary, "text")
        temporary.unlink()
        temporary.touch()
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_on_a_full_disk_is_an_error_and_no_crash(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:  # where HDF5 crashes, when such a file is closed, it ends the process
        sys.unraisablehook = lambda _: None
        _small_files(20_000)
        try:
            with hdf5_file(tmp_path / "file") as file:
                for number in range(20):
                    values = np.random.default_rng(number).random(2000)
                    file.create_dataset(f"{number}", data=values, compression="gzip")
        except (OSError, RuntimeError):
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


@pytest.mark.slow
def test_a_full_disk_is_one_line_of_a_process_that_ends_in_order(source: Path) -> None:
    words = [sys.executable, "-m", "mnncorrect", *map(str, words_of(source, "correct"))]
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, preexec_fn=lambda: _small_files(30_000)
    )
    assert_refused(faulty.Ended(done.returncode, done.stderr.splitlines()), "File too large")
    assert set(faulty.content(source)) == {"in.h5ad"}


@pytest.mark.slow
@pytest.mark.parametrize("kilobytes", [4, 16, 40, 60, 80, 100])
def test_a_small_file_system_is_one_line_and_leaves_nothing(kilobytes: int, source: Path) -> None:
    small = source / "small"
    small.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", small]
    if (
        not shutil.which("mount")
        or subprocess.run(words, check=False, capture_output=True).returncode
    ):
        pytest.skip("needs the right to mount a file system")
    try:
        words = words_of(source, "correct")
        words[words.index("-o") + 1] = small / "out.h5ad"
        ended = faulty.run(words)
        assert_refused(ended, "could not be written|No space left")
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", small], check=True)


def assert_refused(ended: faulty.Ended, says: str) -> None:
    errors = [line for line in ended.err if line.startswith("error: ")]
    assert ended.code == 1, ended
    assert len(errors) == 1, ended.err
    assert "bug" not in errors[0], errors
    assert "Traceback" not in "\n".join(ended.err)
    assert re.search(says, errors[0]), errors


def _memory(more: int) -> None:
    with open("/proc/self/statm") as file:  # noqa: PTH123
        now = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (now + more, now + more))


@pytest.mark.slow
@pytest.mark.parametrize("megabytes", [4, 16, 64])
def test_too_little_memory_is_one_line_and_leaves_no_half_file(
    megabytes: int, source: Path
) -> None:
    import anndata

    big = anndata.concat([zoo.clean()] * 100, index_unique="-")
    big.X = np.asarray(big.X.toarray())
    big.obs["batch"] = big.obs["batch"].astype("category")
    big.write_h5ad(source / "in.h5ad")
    before = faulty.content(source)
    ended = faulty.run(words_of(source), lambda: _memory(megabytes << 20))
    # C and C++ libraries may end the process themselves where no memory is left for them.
    aborted = ended.code == 127 or ended.code == -signal.SIGABRT
    if aborted:
        assert not (source / "out.h5ad").exists()
        assert (source / "in.h5ad").read_bytes() == before["in.h5ad"]
    elif ended.code != 0:
        assert_refused(ended, "memory|[Aa]lloc")
        assert faulty.content(source) == before


def _changed(path: Path, how: str) -> Any:
    def do() -> None:
        whole = path.read_bytes()
        if how == "cut off":
            os.truncate(path, len(whole) // 2)
        elif how == "replaced":
            path.with_suffix(".new").write_bytes(whole)
            path.with_suffix(".new").replace(path)
        elif how == "removed":
            path.unlink()
        else:
            path.write_bytes(whole[:3000] + bytes(len(whole) - 3000))

    return do


@pytest.mark.parametrize(
    "how",
    [
        "overwritten",
        *(pytest.param(h, marks=pytest.mark.slow) for h in ("cut off", "replaced", "removed")),
    ],
)
@pytest.mark.parametrize(
    "stage",
    marked(
        [
            "mnncorrect._prepare.count_survey.survey",
            "mnncorrect._run.execute.correct_by",
            "os.fsync",
        ]
    ),
)
def test_an_input_that_changes_while_it_is_read_is_refused(
    stage: str, how: str, source: Path
) -> None:
    ended = faulty.run(
        words_of(source), lambda: faulty.before(stage, _changed(source / "in.h5ad", how))
    )
    assert_refused(ended, "changed while|cannot be read|damaged")
    assert not (source / "out.h5ad").exists()
    assert not list(source.glob(".*"))


@pytest.mark.parametrize("stage", marked(["mnncorrect._run.execute.correct_by", "os.fsync"]))
def test_an_output_folder_that_goes_away_is_one_line(stage: str, source: Path) -> None:
    (source / "results").mkdir()
    words = words_of(source)
    words[words.index("-o") + 1] = source / "results" / "out.h5ad"
    ended = faulty.run(
        words, lambda: faulty.before(stage, lambda: shutil.rmtree(source / "results"))
    )
    assert_refused(ended, "results")


@contextmanager
def _as_nobody() -> Any:
    os.setgid(65534)
    os.setuid(65534)
    yield


@pytest.fixture
def everyone() -> Any:
    """A folder with an input that others may enter, which the folders of tests are not."""
    if os.getuid() != 0:
        pytest.skip("needs to be root, to become someone without rights")
    for place in (Path(mnncorrect.__file__), Path(sys.prefix)):
        closed = [folder for folder in place.parents if not folder.stat().st_mode & stat.S_IXOTH]
        if closed:
            pytest.skip(f"the package lies in {closed[0]}, which others may not enter")
    with tempfile.TemporaryDirectory() as top:
        folder = Path(top)
        folder.chmod(0o755)
        zoo.clean().write_h5ad(folder / "in.h5ad")
        yield folder


def test_a_folder_without_the_right_to_write_is_refused_before_the_work(everyone: Path) -> None:
    ended = faulty.run(words_of(everyone), _as_nobody)
    assert_refused(ended, "no permission to write to the output folder")


@pytest.mark.slow
def test_a_folder_that_becomes_read_only_is_one_line(everyone: Path) -> None:
    python = Path(sys.executable).resolve()
    if not all(folder.stat().st_mode & stat.S_IXOTH for folder in python.parents):
        pytest.skip(f"others may not start {python}, as the probe of the input does")
    (everyone / "results").mkdir()
    (everyone / "results").chmod(0o777)
    words = words_of(everyone)
    words[words.index("-o") + 1] = everyone / "results" / "out.h5ad"

    # Made read-only by its owner while the run is in its last step.
    pipe = os.pipe()

    def shut() -> None:
        os.write(pipe[1], b"x")
        time.sleep(0.5)

    def fault_and_wait() -> Any:
        _as_nobody().__enter__()
        return faulty.before("os.fsync", shut)

    guard = os.fork()
    if guard == 0:
        os.close(pipe[1])  # so that a run that ends before that lets this end too
        os.read(pipe[0], 1)
        (everyone / "results").chmod(0o555)
        os._exit(0)
    ended = faulty.run(words, fault_and_wait)
    os.close(pipe[1])
    os.waitpid(guard, 0)
    os.close(pipe[0])
    assert_refused(ended, "results")
    assert not (everyone / "results" / "out.h5ad").exists()


def test_an_input_without_the_right_to_read_is_refused(everyone: Path) -> None:
    (everyone / "in.h5ad").chmod(0o000)
    ended = faulty.run(["info", everyone / "in.h5ad"], _as_nobody)
    assert ended.code == 2
    assert "is not readable" in ended.err[-1]


OPENER = """
import sys, h5py
with h5py.File(sys.argv[1], sys.argv[2]):
    print("open", flush=True)
    sys.stdin.readline()
"""


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["r", "r+"])
@pytest.mark.parametrize("locking", ["TRUE", "FALSE"])
def test_an_input_that_is_open_elsewhere_is_read_or_refused(
    locking: str, mode: str, source: Path
) -> None:
    other = subprocess.Popen(
        [sys.executable, "-c", OPENER, source / "in.h5ad", mode],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert other.stdout is not None
    assert other.stdout.readline() == b"open\n"
    environment = os.environ | {"HDF5_USE_FILE_LOCKING": locking}
    words = [sys.executable, "-m", "mnncorrect", *map(str, words_of(source))]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    other.communicate(b"\n")
    if (locking, mode) == ("TRUE", "r+"):
        assert_refused(faulty.Ended(done.returncode, done.stderr.splitlines()), "open elsewhere")
    else:
        assert done.returncode == 0, done.stderr
