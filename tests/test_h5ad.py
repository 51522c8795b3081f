"""Reading says what is wrong with a file; writing is whole, or not at all."""

from __future__ import annotations

import gzip
import json
import signal
import subprocess
import sys
import time
import warnings
from importlib.metadata import version
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from mnncorrect._io import atomic, h5ad

# anndata 0.11 cannot read that a file has no raw, which this package can.
reads_no_raw = pytest.mark.skipif(version("anndata").startswith("0.11."), reason="anndata 0.11")


@pytest.fixture
def adata() -> anndata.AnnData:
    """Something in every slot that a result of ours may have."""
    rng = np.random.default_rng(0)
    x = sp.random(12, 7, 0.5, format="csr", dtype=np.float32, random_state=0)
    obs = pd.DataFrame(
        {"batch": list("ab") * 6, "n": range(12)}, index=[f"c{i}" for i in range(12)]
    )
    made = anndata.AnnData(x, obs=obs)
    made.raw = made
    made.layers["mnn"] = rng.normal(size=(12, 7))
    made.obsm["X_mnn_pca"] = rng.normal(size=(12, 3))
    made.obsp["mnn_pairs"] = sp.random(12, 12, 0.2, format="csr", random_state=1)
    made.uns["mnn"] = {
        "merges": pd.DataFrame({"left": ['["a"]'], "right": ['["b"]'], "pairs": [3]}),
        "params": {"sigma": 0.1, "merge_order": json.dumps(["a", "b"])},
    }
    return made


def test_what_is_written_is_read(adata: anndata.AnnData, tmp_path: Path) -> None:
    h5ad.write(adata, tmp_path / "a.h5ad")
    for read in (h5ad.read, anndata.read_h5ad):
        found = read(tmp_path / "a.h5ad")
        pd.testing.assert_frame_equal(found.obs, adata.obs)
        pd.testing.assert_frame_equal(found.var, adata.var)
        assert (found.X != adata.X).nnz == 0
        assert (found.raw.X != adata.raw.X).nnz == 0
        assert (found.obsp["mnn_pairs"] != adata.obsp["mnn_pairs"]).nnz == 0
        np.testing.assert_array_equal(found.layers["mnn"], adata.layers["mnn"])
        np.testing.assert_array_equal(found.obsm["X_mnn_pca"], adata.obsm["X_mnn_pca"])
        assert found.uns["mnn"]["params"] == adata.uns["mnn"]["params"]
        assert found.uns["mnn"]["merges"].to_dict() == adata.uns["mnn"]["merges"].to_dict()


def test_equal_objects_give_equal_bytes(adata: anndata.AnnData, tmp_path: Path) -> None:
    h5ad.write(adata, tmp_path / "a.h5ad")
    h5ad.write(adata.copy(), tmp_path / "b.h5ad")
    assert (tmp_path / "a.h5ad").read_bytes() == (tmp_path / "b.h5ad").read_bytes()


@pytest.mark.parametrize("from_file", [False, True])
def test_what_has_no_raw_gets_none(adata, tmp_path, from_file):
    """What says in a file that it has no raw cannot be read by anndata 0.11."""
    del adata.raw
    adata.write_h5ad(tmp_path / "a.h5ad")
    if from_file:
        with h5ad.opened_h5ad(tmp_path / "a.h5ad") as opened:
            h5ad.write(opened, tmp_path / "b.h5ad")
    else:
        h5ad.write(adata, tmp_path / "b.h5ad")
    with h5py.File(tmp_path / "a.h5ad") as wanted, h5py.File(tmp_path / "b.h5ad") as found:
        assert set(found) == set(wanted)
        assert "raw" not in found


def test_elements_are_read_alone(adata: anndata.AnnData, tmp_path: Path) -> None:
    h5ad.write(adata, tmp_path / "a.h5ad")
    found = h5ad.read_elements(tmp_path / "a.h5ad", ["obs", "uns/mnn/params", "obsm/none"])
    assert list(found) == ["obs", "uns/mnn/params"]
    assert list(found["obs"].index) == list(adata.obs_names)
    assert found["uns/mnn/params"]["sigma"] == 0.1


def test_doubled_names_are_read_without_a_warning(tmp_path: Path) -> None:
    doubled = anndata.AnnData(np.ones((2, 2)))
    with warnings.catch_warnings(action="ignore"):
        doubled.obs_names = ["c", "c"]
        doubled.var_names = ["g", "g"]
    h5ad.write(doubled, tmp_path / "a.h5ad")
    assert list(h5ad.read(tmp_path / "a.h5ad").var_names) == ["g", "g"]


def _bad_file(kind: str, folder: Path) -> Path:
    path = folder / "bad.h5ad"
    if kind == "folder":
        path.mkdir()
    elif kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("cell,gene\n")
    elif kind == "gzip":
        path.write_bytes(gzip.compress(b"anything"))
    elif kind == "other HDF5":
        with h5py.File(path, "w") as file:
            file["matrix/data"] = [1, 2]
    elif kind in {"truncated", "damaged"}:
        whole = anndata.AnnData(sp.random(50, 40, 0.5, format="csr", random_state=0))
        h5ad.write(whole, path)
        content = bytearray(path.read_bytes())
        middle = len(content) // 2
        if kind == "truncated":
            del content[middle:]
        else:
            content[2000:] = bytes(len(content) - 2000)
        path.write_bytes(content)
    elif kind in {"no cells", "no genes"}:
        shape = (0, 3) if kind == "no cells" else (3, 0)
        h5ad.write(anndata.AnnData(np.zeros(shape, dtype=np.float32)), path)
    return path


# anndata 0.11 warns of an object without cells or genes as of names that are no text.
@pytest.mark.filterwarnings("ignore:Transforming to str index")
@pytest.mark.parametrize(
    ("kind", "error", "says"),
    [
        ("missing", FileNotFoundError, "does not exist"),
        ("folder", IsADirectoryError, "is a folder"),
        ("empty", ValueError, r"is empty \(0 bytes\)"),
        ("text", ValueError, "is not an h5ad file"),
        ("gzip", ValueError, "gunzip"),
        ("other HDF5", ValueError, "not an h5ad file: it holds matrix.*mnncorrect concat"),
        ("truncated", OSError, "is truncated"),
        ("damaged", OSError, "is damaged"),
        ("no cells", ValueError, r"holds no cells \(0 cells x 3 genes\)"),
        ("no genes", ValueError, r"holds no genes \(3 cells x 0 genes\)"),
    ],
)
def test_a_bad_file_is_refused_by_what_it_is(
    kind: str, error: type[Exception], says: str, tmp_path: Path
) -> None:
    path = _bad_file(kind, tmp_path)
    with pytest.raises(error, match=f"{path} .*{says}"):
        h5ad.read(path)
    if kind not in {"no cells", "no genes", "damaged"}:
        with pytest.raises(error, match=says):
            h5ad.read_elements(path, ["obs"])


def test_a_file_without_permission_is_refused(
    adata: anndata.AnnData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.h5ad"
    h5ad.write(adata, path)

    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError

    # By hand, since a test that runs as root may read everything.
    monkeypatch.setattr("pathlib.Path.open", refuse)
    with pytest.raises(PermissionError, match=f"no permission to read {path}"):
        h5ad.read(path)


def test_what_h5ad_cannot_hold_is_refused(adata: anndata.AnnData, tmp_path: Path) -> None:
    adata.uns["odd"] = {"of": object()}
    with pytest.raises(ValueError, match="cannot be written as h5ad"):
        h5ad.write(adata, tmp_path / "a.h5ad")


@pytest.mark.slow  # the quick run fills the disk of a fork: robust/test_faults.py
def test_a_full_disk_is_said(tmp_path: Path) -> None:
    code = (
        "import resource, signal, sys, pathlib, numpy, anndata\n"
        "from mnncorrect._io import atomic, h5ad\n"
        "made = anndata.AnnData(numpy.random.default_rng(0).random((300, 300)))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "with atomic.whole_file(pathlib.Path(sys.argv[1])) as path:\n"
        "    h5ad.write(made, path)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.h5ad")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "OSError: the output a.h5ad could not be written" in done.stderr
    assert list(tmp_path.iterdir()) == []


def _write_half(target: Path, error: BaseException) -> None:
    with atomic.whole_file(target, force=True) as path:
        path.write_text("half")
        raise error


def test_a_failed_block_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        _write_half(target, KeyboardInterrupt())
    assert list(tmp_path.iterdir()) == []


def test_a_failed_block_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.write_text("old")
    with pytest.raises(ZeroDivisionError):
        _write_half(target, ZeroDivisionError())
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_whole_block_gives_the_file_with_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    with atomic.whole_file(tmp_path / "out") as path:
        path.write_text("whole")
        assert not (tmp_path / "out").exists()
    assert (tmp_path / "out").read_text() == "whole"
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "usual").stat().st_mode
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("force", [False, True])
def test_an_output_that_cannot_be_is_refused_before_the_work(tmp_path: Path, force: bool) -> None:
    source = tmp_path / "in"
    source.write_text("in")
    (tmp_path / "folder").mkdir()
    refused = {
        tmp_path / "none" / "out": (FileNotFoundError, "does not exist; make it first"),
        source / "out": (NotADirectoryError, "is a file, not a folder"),
        tmp_path / "folder": (IsADirectoryError, "is a folder"),
        Path("-"): (ValueError, "not written to standard output"),
    }
    for target, (error, says) in refused.items():
        with (
            pytest.raises(error, match=says),
            atomic.whole_file(target, force=force, inputs=[source]),
        ):
            pytest.fail("the work began")
    with pytest.raises(FileExistsError, match="not a regular file"):
        atomic.check_target(tmp_path.joinpath("/dev/null"), force=True)
    assert source.read_text() == "in"


@reads_no_raw
def test_an_output_that_exists_is_replaced_only_by_force(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.write_text("old")
    with pytest.raises(FileExistsError, match=r"exists.*force"), atomic.whole_file(target):
        pytest.fail("the work began")
    with atomic.whole_file(target, force=True) as path:
        path.write_text("new")
    assert target.read_text() == "new"


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with atomic.whole_file(tmp_path / "link") as path:
        path.write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


def test_a_file_that_another_run_wrote_meanwhile_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "out"

    def write_both() -> None:
        with atomic.whole_file(target) as path:
            path.write_text("ours")
            target.write_text("theirs")

    with pytest.raises(FileExistsError, match="meanwhile"):
        write_both()
    assert target.read_text() == "theirs"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("name", ["out", "out.h5ad", "another"])
def test_what_a_dead_run_left_is_removed_and_a_live_run_is_not(name: str, tmp_path: Path) -> None:
    """Whatever the dead run would have written in this folder."""
    target, other = tmp_path / "out", tmp_path / name
    code = (
        "import pathlib, sys, time\n"
        "from mnncorrect._io.atomic import whole_file\n"
        "with whole_file(pathlib.Path(sys.argv[1])) as path:\n"
        "    print(path, flush=True)\n"
        "    time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(other)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    temporary = Path(process.stdout.readline().strip())
    with atomic.whole_file(target) as path:
        path.write_text("whole")
        assert temporary.exists()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    deadline = time.monotonic() + 60
    while not temporary.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert temporary.exists()
    with atomic.whole_file(target, force=True) as path:
        path.write_text("again")
    assert list(tmp_path.iterdir()) == [target]


def test_what_may_be_a_live_run_of_another_machine_is_left(tmp_path: Path) -> None:
    suffix = atomic.SUFFIX
    foreign = {
        f".other.{'0' * 4 if atomic.MACHINE != '0' * 4 else '1' * 4}12345678{suffix}",
        f".other.12345678{suffix}",  # of an earlier version
        f"other{suffix}",
        f".other.{atomic.MACHINE}1234567g{suffix}",
    }
    for name in foreign:
        (tmp_path / name).write_text("half")
    (tmp_path / f".other.{atomic.MACHINE}12345678{suffix}").write_text("half")
    with atomic.whole_file(tmp_path / "out") as path:
        path.write_text("whole")
    assert {entry.name for entry in tmp_path.iterdir()} == {"out", *foreign}


@reads_no_raw
def test_a_file_that_says_it_has_no_raw_is_read(tmp_path):

    from anndata.io import write_elem

    path = tmp_path / "norawness.h5ad"
    anndata.AnnData(np.ones((3, 2), np.float32)).write_h5ad(path)
    with h5py.File(path, "r+") as file:
        if "raw" in file:
            del file["raw"]
        write_elem(file, "raw", None)
        assert file["raw"].attrs["encoding-type"] == "null"
    assert h5ad.read(path).raw is None
    with h5ad.opened_h5ad(path) as adata:
        assert adata.raw is None
