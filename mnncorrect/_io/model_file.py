"""The file of a model: written once, read by this version and later ones.

It begins with a block of 512 bytes: a line of text that names the format, its version,
the length of what follows and its SHA-256. What follows is HDF5, which begins at byte 512 and opens
with any HDF5 tool: datasets of numbers, uncompressed, and texts as JSON in UTF-8. Nothing in it is
code, and no text in it names a file.

The checksum tells a damaged file before HDF5 sees it. Of a file that is whole, every dataset must
have the type and shape that it should, and all together take no more than the file, before a number
is read. So no more is ever allocated than the file is long.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from mnncorrect._io.atomic import unwritten
from mnncorrect._io.foreign import HDF5
from mnncorrect._io.probe import refuse_deadly
from mnncorrect.core.matrix.covariates import Regression
from mnncorrect.core.model.fit import (
    Components,
    Labels,
    Model,
    Regressed,
    Scaling,
    arrays_of,
    label_arrays,
    refuse_unusable,
)

# A model has the first version that can hold it, so that earlier versions of the package read it:
# with covariates 3, with labels 2, otherwise 1.
FORMAT, VERSION, WITH_LABELS, PLAIN = b"mnncorrect model", 3, 2, 1
FILE_BLOCK = 512
HEAD = re.compile(
    rb"mnncorrect model\nversion (\d{1,9})\nlength (\d{1,18})\nsha256 ([0-9a-f]{64})\n\0*"
)
# Read at a time for the checksum.
CHECKED_AT_ONCE = 1 << 22
# Type and shape of every dataset: B bytes, N cells, D dimensions, G genes, C covariates.
EXPECTED_DATASETS = {
    "header": ("|u1", "B"),
    "codes": ("<i4", "N"),
    "uncorrected": ("<f4", "ND"),
    "corrected": ("<f4", "ND"),
    "confidence": ("<f4", "N"),
    "spacing": ("<f4", "N"),
}
OF_GENES = {
    "genes": ("|u1", "B"),
    "rotation": ("<f8", "GD"),
    "center": ("<f8", "G"),
    "variance": ("<f8", "D"),
}
OF_LABELS = {"labels": ("|u1", "B"), "label_codes": ("<i4", "N")}
OF_COVARIATES = {
    "covariates": ("|u1", "B"),
    "covariate_center": ("<f8", "C"),
    "covariate_effects": ("<f8", "CG"),
}


def write(model: Model, path: Path) -> None:
    """Write a model. Equal models give equal files."""
    known = EXPECTED_DATASETS | OF_GENES | OF_LABELS | OF_COVARIATES
    try:
        with h5py.File(path, "w", locking=False, userblock_size=FILE_BLOCK) as file:
            for name, array in (arrays_of(model) | label_arrays(model)).items():
                kind = known[name][0]
                file.create_dataset(name, data=np.ascontiguousarray(array, kind))
        length = path.stat().st_size - FILE_BLOCK
        head = b"%s\nversion %d\nlength %d\nsha256 %s\n" % (
            FORMAT, _version_of(model), length,
            _checksum(path).encode(),
        )  # fmt: skip
        with path.open("r+b") as raw:
            raw.write(head.ljust(FILE_BLOCK, b"\0"))
    except (OSError, RuntimeError) as error:
        raise unwritten(path, error, "the model") from error


def _version_of(model: Model) -> int:
    if model.regressed is not None:
        return VERSION
    return PLAIN if model.labels is None else WITH_LABELS


def read(path: Path) -> Model:
    """Read a model, or refuse one that was changed after it was written, or of a later version."""
    _check_head(path)
    try:
        refuse_deadly(path)
        with h5py.File(path, "r") as file:
            arrays = _arrays(file, path.stat().st_size)
        return _model_from_arrays(arrays)
    # What is forged can make the reader fail in any way.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise OSError(
            f"the model {path} was changed after it was written: {reason}; save it again"
        ) from error


def is_model(path: Path) -> bool:
    """Return whether a file says that it is a model."""
    try:
        if not path.is_file():  # to open a pipe is to wait for someone who writes to it
            return False
        with path.open("rb") as file:
            return file.read(len(FORMAT)) == FORMAT
    except OSError:
        return False


def _check_head(path: Path) -> None:
    """Refuse what is no model, and what is damaged."""
    if path.is_dir():
        raise IsADirectoryError(
            f"the model {path} is a folder; give a file that --save-model has written"
        )
    if path.exists() and not path.is_file():
        raise OSError(
            f"the model {path} is not a regular file; write what it gives to one, and name that"
        )
    try:
        with path.open("rb") as file:
            head = file.read(FILE_BLOCK)
    except FileNotFoundError:
        raise FileNotFoundError(f"the model {path} does not exist") from None
    except PermissionError:
        raise PermissionError(f"no permission to read the model {path}") from None
    if not head.startswith(FORMAT):
        kind = "is not a model of mnncorrect; `mnncorrect model` writes one"
        if head.startswith(HDF5):
            kind = (
                "is an HDF5 file, such as h5ad, and not a model; mnncorrect model makes a model "
                "of a corrected file"
            )
        raise ValueError(f"{path} {kind if head else 'is empty'}")
    found = HEAD.fullmatch(head)
    if found is None or len(head) < FILE_BLOCK:
        raise OSError(
            f"the model {path} is damaged at its beginning; copy it again, or save it again"
        )
    version, length, checksum = int(found[1]), int(found[2]), found[3].decode()
    if not 1 <= version <= VERSION:
        raise ValueError(
            f"the model {path} is of format version {version}, and this mnncorrect reads version "
            f"1 to {VERSION}; use a newer mnncorrect"
        )
    size = path.stat().st_size - FILE_BLOCK
    if size != length:
        what = "truncated: its end is missing" if size < length else "longer than it was written"
        raise OSError(f"the model {path} is {what} ({size} bytes of {length}); copy it again")
    if _checksum(path) != checksum:
        raise OSError(
            f"the model {path} is damaged: its checksum is wrong; copy it again, or save it again"
        )


def _checksum(path: Path) -> str:
    """SHA-256 of a file beyond its first block."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        file.seek(FILE_BLOCK)
        while piece := file.read(CHECKED_AT_ONCE):
            digest.update(piece)
    return digest.hexdigest()


def _arrays(file: h5py.File, size: int) -> dict[str, NDArray[Any]]:
    """Read all datasets, each checked before."""
    names, expected = set(file), dict(EXPECTED_DATASETS)
    for more in (OF_GENES, OF_LABELS, OF_COVARIATES):
        expected |= more if names & set(more) else {}
    if names != set(expected):
        raise ValueError(f"it holds {', '.join(sorted(names)[:12])}, not {', '.join(expected)}")
    extent: dict[str, int] = {}
    for name, (kind, dimensions) in expected.items():
        found = file[name]
        if found.dtype.str != kind or found.ndim != len(dimensions):
            raise ValueError(f"{name} holds {found.dtype} in {found.ndim} dimensions")
        for letter, length in zip(dimensions, found.shape, strict=True):
            if letter != "B" and extent.setdefault(letter, length) != length:
                raise ValueError(f"{name} has shape {found.shape}, which does not fit the others")
    total = sum(file[name].nbytes for name in expected)
    if total > size:
        raise ValueError(f"its datasets say they take {total} bytes in a file of {size}")
    return {name: file[name][...] for name in expected}


def _model_from_arrays(arrays: dict[str, NDArray[Any]]) -> Model:
    """Put a model together; what is missing, or cannot be one, raises an error."""
    header, codes = _json_text(arrays["header"]), arrays["codes"]
    batches = _distinct_texts(header["batches"], "batches")
    steps = np.diff(codes, prepend=np.int32(0))
    in_order = ((steps == 0) | (steps == 1)).all() and codes[0] == 0
    _need(in_order and codes[-1] == len(batches) - 1, "batch numbers do not fit the batches")
    components = labels = regressed = None
    if "genes" in arrays:
        genes = _distinct_texts(_json_text(arrays["genes"]), "genes")
        _need(len(genes) == len(arrays["center"]), "genes do not fit their loadings")
        components = Components(
            genes,
            arrays["rotation"],
            arrays["center"],
            arrays["variance"],
            float(header["residual"]),
            bool(header["cosine_norm"]),
        )
    if "labels" in arrays:
        told, numbers = _json_text(arrays["labels"]), arrays["label_codes"]
        names = _distinct_texts(told["names"], "labels")
        _need(((numbers >= -1) & (numbers < len(names))).all(), "labels do not fit their names")
        labels = Labels(str(told["key"]), names, numbers)
    if "covariates" in arrays:
        columns, values = _json_text(arrays["covariates"])
        center = arrays["covariate_center"]
        fit = len(columns) == len(values) == len(center)
        _need(fit, "covariates do not fit their effects")
        regression = Regression(center, arrays["covariate_effects"])
        regressed = Regressed(tuple(columns), tuple(values), regression)
    scaling = header.get("scaling")
    model = Model(
        batches,
        codes,
        arrays["uncorrected"],
        arrays["corrected"],
        arrays["confidence"],
        arrays["spacing"],
        components,
        None if scaling is None else Scaling(**scaling),
        dict(header["about"]),
        labels,
        regressed,
    )
    refuse_unusable(model)
    return model


def _json_text(array: NDArray[np.uint8]) -> Any:
    return json.loads(array.tobytes().decode())


def _distinct_texts(found: Any, what: str) -> tuple[str, ...]:
    """Return distinct texts, at least one."""
    texts = isinstance(found, list) and bool(found) and all(isinstance(x, str) for x in found)
    _need(texts, f"it names no {what}")
    _need(len(set(found)) == len(found), f"some {what} have the same name")
    return tuple(found)


def _need(holds: Any, problem: str) -> None:
    if not holds:
        raise ValueError(problem)
