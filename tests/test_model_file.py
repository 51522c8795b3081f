"""The file of a model: what comes back, what is refused, and how little a forged one can do."""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from mnncorrect._io import model_file
from mnncorrect.core.model.fit import Components, Scaling, fit

MODELS = Path(__file__).parent / "golden" / "models"


def make_model(*, genes=True, scaling=True):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 3))
    rotation = rng.normal(size=(8, 3))
    components = Components(
        tuple(f"gène {i}" for i in range(8)),
        rotation,
        rng.random(8) / 10,
        np.arange(3.0),
        0.25,
        True,
    )
    return fit(
        x,
        x + 1,
        np.arange(40) % 2,
        ["a/b", "ß"],
        confidence=rng.random(40),
        components=components if genes else None,
        scaling=Scaling(1234.5, True, 20) if scaling else None,
        about={"method": "calibrated", "key": "batch", "cosine_norm": True, "n_comps": 3},
    )


@pytest.fixture
def model():
    return make_model()


@pytest.fixture
def file(model, tmp_path):
    path = tmp_path / "cells.mnn"
    model_file.write(model, path)
    return path


def sign(path):
    """Make the first block fit what follows."""
    rest = path.read_bytes()[model_file.FILE_BLOCK :]
    head = b"mnncorrect model\nversion 1\nlength %d\nsha256 %s\n" % (
        len(rest), hashlib.sha256(rest).hexdigest().encode(),
    )  # fmt: skip
    path.write_bytes(head.ljust(model_file.FILE_BLOCK, b"\0") + rest)


def forged(path, change):
    """Change the HDF5 part by h5py, and make the checksum right again."""
    with h5py.File(path, "r+") as stored:
        change(stored)
    sign(path)


@pytest.mark.parametrize("genes", [True, False])
@pytest.mark.parametrize("scaling", [True, False])
def test_a_model_comes_back_as_it_was(tmp_path, genes, scaling):
    model = make_model(genes=genes, scaling=scaling)
    model_file.write(model, tmp_path / "m")
    found = model_file.read(tmp_path / "m")
    assert found.digest == model.digest
    assert (found.batches, found.scaling, found.about) == (
        model.batches,
        model.scaling,
        model.about,
    )
    assert (found.components is None) == (not genes)
    if genes:
        assert found.components.genes == model.components.genes
    for name in ("codes", "uncorrected", "corrected", "confidence", "spacing"):
        mine, theirs = getattr(model, name), getattr(found, name)
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs)


def test_equal_models_give_equal_files(model, file, tmp_path):
    model_file.write(model, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == file.read_bytes()


def test_any_hdf5_tool_opens_the_file(file):
    with h5py.File(file) as stored:
        assert stored.userblock_size == model_file.FILE_BLOCK
        assert json.loads(bytes(stored["header"][...]))["batches"] == ["a/b", "ß"]
        assert stored["corrected"].shape == (40, 3)
    assert file.read_bytes().startswith(b"mnncorrect model\nversion 1\n")


@pytest.mark.parametrize("name", ["version1-genes", "version1-embedding"])
def test_files_of_earlier_versions_are_read(name):
    found = model_file.read(MODELS / f"{name}.mnn")
    told = json.loads((MODELS / f"{name}.json").read_text())
    assert found.digest == told["digest"]
    assert list(found.batches) == told["batches"]
    assert found.corrected[0].tolist() == told["first"]


# -- What is no model ----------------------------------------------------------------------------


def test_what_is_no_model_is_told_apart(tmp_path, file):
    path = tmp_path / "x"
    with pytest.raises(FileNotFoundError, match=r"the model .*x does not exist"):
        model_file.read(path)
    with pytest.raises(IsADirectoryError, match="is a folder"):
        model_file.read(tmp_path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="x is empty"):
        model_file.read(path)
    path.write_bytes(b"cell,gene\n" * 99)
    with pytest.raises(ValueError, match="x is not a model"):
        model_file.read(path)
    with h5py.File(path, "w") as stored:
        stored["X"] = np.ones(3)
    with pytest.raises(ValueError, match="not a model; mnncorrect model"):
        model_file.read(path)


def test_a_later_version_is_told(file):
    file.write_bytes(file.read_bytes().replace(b"version 1\n", b"version 4\n", 1)[:-1])
    with pytest.raises(ValueError, match=r"format version 4, and this mnncorrect reads .* 1 to 3"):
        model_file.read(file)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_told(file, share):
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(OSError, match=r"truncated: its end is missing|damaged at its beginning"):
        model_file.read(file)


def test_a_longer_file_is_told(file):
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(OSError, match="longer than it was written"):
        model_file.read(file)


# -- What is damaged -----------------------------------------------------------------------------


def mutated(rng, content, first):
    """Bytes changed, moved or taken out from ``first`` on."""
    data = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 8])):
        at = rng.randrange(first, len(data))
        kind = rng.randrange(4)
        if kind == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[at : at + 8] = rng.choice(
                [b"\xff" * 8, b"\0" * 8, (1 << 40).to_bytes(8, "little")]
            )
        elif kind == 2:
            source = rng.randrange(first, len(data))
            data[at : at + 32] = data[source : source + 32]
        else:
            del data[at : at + rng.randrange(1, 64)]
    return bytes(data)


def test_a_damaged_file_gives_one_clear_error(file, model):
    content, rng = file.read_bytes(), random.Random(1)
    for _ in range(300):
        changed = mutated(rng, content, 0)
        if changed == content:
            continue
        file.write_bytes(changed)
        with pytest.raises((OSError, ValueError), match=r"cells\.mnn") as error:
            model_file.read(file)
        assert "\n" not in str(error.value)


@pytest.mark.slow
def test_a_damaged_file_with_the_right_checksum_is_read_or_gives_one_clear_error(file):
    content, rng = file.read_bytes(), random.Random(2)
    told = []
    for _ in range(200):
        file.write_bytes(mutated(rng, content, model_file.FILE_BLOCK))
        sign(file)
        try:
            found = model_file.read(file)
        except OSError as error:
            told.append(str(error))
        else:
            # Only numbers and names have changed.
            assert np.isfinite(found.corrected).all()
            assert len(found.digest) == 64
    assert len(told) > 50
    assert all(
        text.startswith(f"the model {file} was changed after it was written: ") for text in told
    )
    assert not any("\n" in text for text in told)


# -- What is forged ------------------------------------------------------------------------------


def put(name, value, **how):
    def change(stored):
        del stored[name]
        stored.create_dataset(name, data=value, **how)

    return change


def huge(stored):
    """A shape of 4 TB that takes no room in the file."""
    del stored["corrected"]
    stored.create_dataset("corrected", shape=(40, 1 << 35), dtype="<f4")


def huge_compressed(stored):
    del stored["corrected"]
    stored.create_dataset("corrected", (1 << 30, 3), "<f4", chunks=(1024, 3), compression="gzip")


def huge_header(stored):
    del stored["header"]
    stored.create_dataset("header", (1 << 40,), "|u1", chunks=(1024,), compression="gzip")


def linked(kind):
    def change(stored):
        del stored["codes"]
        stored["codes"] = (
            h5py.ExternalLink("/etc/hostname", "/x") if kind == "external" else h5py.SoftLink("/n")
        )

    return change


def elsewhere(stored):
    del stored["codes"]
    stored.create_dataset("codes", (40,), "<i4", external=[("/etc/hostname", 0, 160)])


def virtual(stored):
    del stored["codes"]
    layout = h5py.VirtualLayout((40,), "<i4")
    layout[:] = h5py.VirtualSource("/etc/hostname", "x", (40,), "<i4")
    stored.create_virtual_dataset("codes", layout)


def header(**changes):
    def change(stored):
        told = json.loads(bytes(stored["header"][...])) | changes
        put("header", np.frombuffer(json.dumps(told).encode(), np.uint8))(stored)

    return change


def as_bytes(text):
    return np.frombuffer(text.encode(), np.uint8)


FORGERIES = {
    "a shape beyond the file": (huge, "does not fit the others|bytes in a file"),
    "a compressed shape beyond the file": (huge_compressed, "does not fit the others"),
    "a long text beyond the file": (huge_header, "bytes in a file"),
    "a link to another file": (linked("external"), "points to other files"),
    "a link to another name": (linked("soft"), "object"),
    "numbers in another file": (elsewhere, "points to other files"),
    "a virtual dataset": (virtual, "points to other files"),
    "a group": (lambda s: (s.pop("codes"), s.create_group("codes")), "Group"),
    "text": (put("codes", ["x"] * 40), "codes holds object"),
    "other numbers": (put("codes", np.zeros(40)), "codes holds float64"),
    "another length": (put("codes", np.zeros(39, "<i4")), "does not fit the others"),
    "no cells": (put("codes", np.zeros(0, "<i4")), "does not fit the others"),
    "one array too few": (lambda s: s.pop("spacing"), "it holds"),
    "one array too many": (lambda s: s.create_dataset("more", data=1), "it holds"),
    "half of the genes": (lambda s: s.pop("rotation"), "it holds"),
    "numbers out of order": (put("codes", np.arange(40, dtype="<i4")[::-1] % 2), "batch numbers"),
    "a batch without a name": (header(batches=["a"]), "do not fit the batches"),
    "doubled names": (header(batches=["a", "a"]), "have the same name"),
    "names that are none": (header(batches=[1, 2]), "names no batches"),
    "not a number": (put("spacing", np.full(40, np.nan, "<f4")), "spacing is not finite"),
    "confidence above 1": (put("confidence", np.full(40, 2, "<f4")), "between 0 and 1"),
    "a total that is none": (
        header(scaling={"total": -1, "log1p": True, "n_genes": 3}), "cannot be read",
    ),
    "a scaling that is none": (header(scaling=[1]), "Scaling"),
    "about with a list": (header(about={"method": []}), "metadata"),
    "about that is endless": (put("header", as_bytes('{"about": {"a": 1e999}}')), "batches"),
    "text that is none": (put("header", np.full(9, 255, np.uint8)), "decode"),
    "text without end": (put("header", as_bytes("[" * 100_000)), "recursion"),
    "a negative variance": (put("variance", -np.ones(3)), "variance is below zero"),
    "a residual that is none": (header(residual="x"), "float"),
    "too few genes": (put("genes", as_bytes('["x"]')), "genes do not fit"),
}  # fmt: skip


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_file_is_refused(file, name):
    change, says = FORGERIES[name]
    forged(file, change)
    with pytest.raises(OSError, match=says) as error:
        model_file.read(file)
    assert str(error.value).startswith(f"the model {file} was changed after it was written: ")


def test_a_forged_file_makes_no_large_allocation(file):
    import tracemalloc

    for change in (huge, huge_compressed, huge_header):
        tracemalloc.start()
        forged(file, change)
        with pytest.raises(OSError, match="changed after it was written"):
            model_file.read(file)
        assert tracemalloc.get_traced_memory()[1] < 50e6
        tracemalloc.stop()
        model_file.write(make_model(), file)


def test_what_cannot_be_written_is_told(model, tmp_path):
    with pytest.raises(OSError, match=r"model folder could not"):
        model_file.write(model, tmp_path / "no" / "folder")
    with pytest.raises(ValueError, match="JSON"):
        model_file.write(replace(model, about={"x": float("nan")}), tmp_path / "m")
