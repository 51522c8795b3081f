"""Ways to change whole inputs for the fuzzer, that know how they are built.

Each strategy makes the input of a number from a seed file, and gives the commands that it is given
to. What a file holds is changed as a tree, so that readers get further than by changed bytes.
"""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

Case = tuple[Path, list[list[Any]]]

NUMBERS = (0, 1, -1, 3, 127, 255, 2**15, 2**31 - 1, 2**31, 2**40, 2**62, -(2**63))
FLOATS = (np.nan, np.inf, -np.inf, -1.0, 0.0, 1e-310, 1e-30, 1e30, 3.5, 2**24 + 1.0)
TEXTS = (
    "", "array", "csr_matrix", "csc_matrix", "dataframe", "categorical", "dict", "string-array",
    "null", "string", "nullable-integer", "awkward-array", "0.0.9", "9.9.9", "_index", "batch",
    "x" * 5000, "\x1b[2J", "a\nb\tc", "../..", "%s%n{0}", "NaN", "None", "\u202e", "\U0001f9ec",
)  # fmt: skip
TYPES = ("f2", "f4", "f8", ">f4", ">f8", "i1", "u1", "i8", ">i4", "u8", "?", "c8", "S4", "O")
FILTERS: tuple[dict[str, Any], ...] = (
    {"compression": "gzip"}, {"compression": "lzf"}, {"fletcher32": True}, {"shuffle": True},
    {"compression": "gzip", "fletcher32": True, "shuffle": True},
    {"compression": "lzf", "fletcher32": True},
)  # fmt: skip


def places(file: h5py.File, start: str = "/") -> list[str]:
    """Name all groups and datasets of a file, below a place."""
    found: list[str] = []
    if start in file and isinstance(file[start], h5py.Group):
        file[start].visit(lambda name: found.append(f"{start.rstrip('/')}/{name}"))
    return found


def edit(file: h5py.File, rng: np.random.Generator, start: str = "/") -> None:
    """Make one change to a tree; what HDF5 does not do is no change."""
    found = places(file, start)
    if not found:
        return
    place = str(rng.choice(found))
    ways: list[Callable[[h5py.File, str, list[str], np.random.Generator], None]] = [
        _attribute, _attribute, _values, _values, _retype, _reshape, _drop, _swap, _link, _replace,
        _rename,
    ]  # fmt: skip
    with contextlib.suppress(OSError, RuntimeError, ValueError, TypeError, KeyError, IndexError):
        ways[int(rng.integers(len(ways)))](file, place, found, rng)


def _attribute(file: h5py.File, place: str, _: list[str], rng: np.random.Generator) -> None:
    attributes = file[place].attrs
    name = str(rng.choice([*attributes, "shape", "encoding-type", "column-order", "_index"]))
    way = rng.integers(4)
    if way == 0:
        del attributes[name]
    elif way == 1:
        attributes[name] = str(rng.choice(TEXTS))
    elif way == 2:
        attributes[name] = rng.choice(NUMBERS, size=int(rng.integers(4)))
    else:
        attributes[name] = np.array([str(t) for t in rng.choice(TEXTS, 2)], h5py.string_dtype())


def _write(file: h5py.File, place: str, values: Any, **how: Any) -> None:
    """Put other values in the place of a dataset, with its attributes."""
    kept = dict(file[place].attrs)
    del file[place]
    file.create_dataset(place, data=values, **how).attrs.update(kept)


def _values(file: h5py.File, place: str, _: list[str], rng: np.random.Generator) -> None:
    values = file[place][...]
    flat = np.atleast_1d(values).reshape(-1)
    at = rng.integers(flat.size, size=int(rng.integers(1, 4)))
    if flat.dtype.kind == "f":
        flat[at] = rng.choice(FLOATS)
    elif flat.dtype.kind in "iub":
        flat[at] = np.int64(rng.choice(NUMBERS)).astype(flat.dtype)
    else:
        flat[at] = str(rng.choice(TEXTS)).encode()
    kind = h5py.string_dtype() if flat.dtype == object else None
    _write(file, place, flat.reshape(np.shape(values)), dtype=kind)


def _retype(file: h5py.File, place: str, found: list[str], rng: np.random.Generator) -> None:
    values = file[place][...]
    kind = str(rng.choice([*TYPES, "compound", "reference", "enum"]))
    if kind == "compound":
        pairs = np.zeros(np.shape(values), [("a", "i4"), ("b", "f4")])
        _write(file, place, pairs)
    elif kind == "reference":
        target = file[str(rng.choice(found))].ref
        many = np.full(np.shape(values), None, dtype=object)
        many[...] = target
        _write(file, place, many, dtype=h5py.ref_dtype)
    elif kind == "enum":
        coded = np.asarray(values).astype("i1")
        _write(file, place, coded, dtype=h5py.enum_dtype({"NO": 0, "YES": 1}, "i1"))
    elif kind == "O":
        _write(file, place, np.asarray(values).astype(str).astype(object), dtype="O")
    else:
        _write(file, place, np.asarray(values).astype(kind))


def _reshape(file: h5py.File, place: str, _: list[str], rng: np.random.Generator) -> None:
    values = np.asarray(file[place][...])
    shapes: list[Any] = [
        values[:0], values[:-1], np.concatenate([values, values]), values[None], values.ravel(),
        values.T, values[..., None], values.reshape(-1)[0],
    ]  # fmt: skip
    _write(file, place, shapes[int(rng.integers(len(shapes)))])


def _drop(file: h5py.File, place: str, _: list[str], rng: np.random.Generator) -> None:
    del file[place]
    if rng.random() < 0.3:
        file.create_group(place)


def _swap(file: h5py.File, place: str, found: list[str], rng: np.random.Generator) -> None:
    other = str(rng.choice(found))
    file.move(place, "swapped")
    file.move(other, place)
    file.move("swapped", other)


def _link(file: h5py.File, place: str, found: list[str], rng: np.random.Generator) -> None:
    other = str(rng.choice([*found, "/"]))
    del file[place]
    way = rng.integers(4)
    if way == 0:
        file[place] = file[other]  # perhaps to a group that it is in
    elif way == 1:
        file[place] = h5py.SoftLink(str(rng.choice([other, place, "/nowhere"])))
    elif way == 2:
        file[place] = h5py.ExternalLink(file.filename, other)
    else:
        file.create_dataset(place, data=h5py.Empty("f4"))


def _replace(file: h5py.File, place: str, found: list[str], rng: np.random.Generator) -> None:
    other = str(rng.choice(found))
    file.copy(other, "copied")
    del file[place]
    file.move("copied", place)


def _rename(file: h5py.File, place: str, _: list[str], rng: np.random.Generator) -> None:
    name = str(rng.choice(TEXTS)).replace("/", "|") or "."
    file.move(place, f"{place.rpartition('/')[0]}/{name}")


def edited(source: Path, path: Path, number: int, start: str = "/") -> None:
    """Copy a file with one to three changes to its tree."""
    rng = np.random.default_rng(number)
    shutil.copy(source, path)
    with h5py.File(path, "r+", locking=False) as file:
        for _ in range(int(rng.integers(1, 4))):
            edit(file, rng, start)


# -- Strategies ------------------------------------------------------------------------------------


def tree(folder: Path, number: int) -> Case:
    """Make an input whose tree is changed."""
    path, source = folder / "changed.h5ad", ("sparse.h5ad", "dense.h5ad")[number % 2]
    edited(folder / source, path, number)
    method = ("fast", "classic", "calibrated")[number // 2 % 3]
    words = ["correct", path, "-b", "batch", "-o", folder / "out.h5ad", "--method", method]
    subset = ["--subset", "n!=3"] if number % 5 == 0 else []
    return path, [["check", path, "-b", "batch"], [*words, *subset]]


def results(folder: Path, number: int) -> Case:
    """Make a result whose record, or what belongs to it, is forged."""
    path, source = folder / "changed.h5ad", ("done-sparse.h5ad", "done-dense.h5ad")[number % 2]
    start = ("/uns", "/uns", "/obsm", "/obsp", "/")[number // 2 % 5]
    edited(folder / source, path, number, start)
    out = folder / "out.h5ad"
    commands: list[list[Any]] = [["info", path], ["info", path, "--json"], ["pairs", path]]
    commands.append(["evaluate", path, "-b", "batch", "--n-splits", "0", "-o", out])
    commands.append(["model", path, "-o", folder / "out.mnn", "--force"])
    if number % 8 == 0:
        commands.append(["report", path, "--no-evaluate", "-o", folder / "out.html", "--force"])
    return path, commands


def models(folder: Path, number: int) -> Case:
    """Make a model whose arrays are forged, with a checksum that is right."""
    from robust.fuzz import sign

    path, rng = folder / "changed.mnn", np.random.default_rng(number)
    shutil.copy(folder / "model.mnn", path)
    with h5py.File(path, "r+", locking=False) as file:
        for _ in range(int(rng.integers(1, 3))):
            name = str(rng.choice(list(file)))
            if name in file and rng.random() < 0.8 and file[name].dtype.kind in "fi":
                values = file[name][...]
                flat = values.reshape(-1)
                at = rng.integers(flat.size, size=int(rng.integers(1, flat.size + 1)))
                choices = FLOATS if flat.dtype.kind == "f" else NUMBERS
                with np.errstate(all="ignore"):
                    if flat.dtype.kind == "f" and rng.random() < 0.7:  # numbers that pass
                        flat[at] *= float(rng.choice([0.0, -1.0, 1e-30, 1e30, 1e150]))
                    else:
                        flat[at] = np.asarray(rng.choice(choices)).astype(flat.dtype)
                file[name][...] = values
            else:
                edit(file, rng)
    sign(path)
    words = ["project", folder / "sparse.h5ad", "--model", path, "-o", folder / "out.h5ad"]
    return path, [["info", path], [*words, *(["-b", "batch"] if number % 2 else [])]]


def twins(folder: Path, number: int) -> Case:
    """Store the same content in another way: the result is the same."""
    rng = np.random.default_rng(number)
    source = ("sparse.h5ad", "dense.h5ad")[number % 2]
    path = folder / f"changed-{source}"
    shutil.copy(folder / source, path)
    with h5py.File(path, "r+", locking=False) as file:
        for place in places(file):
            found = file[place]
            if not isinstance(found, h5py.Dataset) or found.ndim == 0 or rng.random() < 0.4:
                continue
            how = dict(FILTERS[int(rng.integers(len(FILTERS)))])
            how["chunks"] = tuple(int(rng.integers(1, n + 1)) for n in found.shape)
            if 0 in found.shape:
                continue
            values, kind = found[...], found.dtype
            if kind.kind in "fiu" and kind.itemsize > 1 and rng.random() < 0.4:
                kind = kind.newbyteorder(">")
            with contextlib.suppress(OSError, TypeError, ValueError):
                kept = dict(found.attrs)
                file.create_dataset("made", data=values, dtype=kind, **how).attrs.update(kept)
                del file[place]
                file.move("made", place)
    words = ["correct", path, "-b", "batch", "-o", folder / "out.h5ad", "--method", "fast"]
    return path, [[*words, "--n-comps", "4"]]


def names(folder: Path, number: int) -> Case:
    """Give batches, cells, genes and columns names that nobody wants."""
    import anndata
    import pandas as pd

    rng = np.random.default_rng(number)
    data = anndata.read_h5ad(folder / "sparse.h5ad")
    hostile = [text.replace("/", "|") for text in TEXTS if text]
    column, one, two = (str(name) for name in rng.choice(hostile, 3, replace=False))
    column = column.replace("_index", "index")  # anndata writes no column of that name
    data.obs[column] = pd.Categorical(np.where(data.obs["batch"] == "a", one, two))
    data.obs_names = [f"{rng.choice(hostile)}{i}" for i in range(data.n_obs)]
    data.var_names = [f"{rng.choice(hostile)}{i}" for i in range(data.n_vars)]
    data.layers[str(rng.choice(hostile))] = data.X.copy()
    data.uns[str(rng.choice(hostile))] = {"x": 1}
    path = folder / "changed.h5ad"
    data.write_h5ad(path)
    words = ["correct", path, f"--batch-key={column}", "-o", folder / "out.h5ad"]
    commands: list[list[Any]] = [["check", path], ["check", path, f"--batch-key={column}"]]
    return path, [*commands, [*words, "--method", "fast", "--n-comps", "4"]]


STRATEGIES: dict[str, Callable[[Path, int], Case]] = {
    "tree": tree, "results": results, "models": models, "twins": twins, "names": names,
}  # fmt: skip
