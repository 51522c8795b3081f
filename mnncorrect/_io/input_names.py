"""Names of inputs, from their paths: what tells them apart and says which sample each is."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from mnncorrect._io.read_places import SIGN, parted

# What the name of a file loses.
NAME_ENDINGS = re.compile(r"(\.(h5ad|h5mu|h5|loom|zarr|zip|mtx|gz))+$")
# Names that programs give to every output. They say nothing of the sample, alone or after it.
EVERYWHERE = re.compile(
    r"(?:^|[._-])(?:(?:sample_)?(?:filtered|raw)_(?:feature|gene|peak)_bc_matri(?:x|ces)(?:_h5)?"
    r"|cellbender(?:_filtered|_out(?:put)?)?|cells_x_genes|quants_mat|count_matrix|dge|matrix)$",
    re.IGNORECASE,
)
# Folders that programs make within the folder of a sample.
WITHIN = frozenset({
    "outs", "count", "counts", "multi", "solo.out", "gene", "genefull", "genefull_ex50pas",
    "filtered", "raw", "velocyto", "alevin", "quant", "quants", "af_quant", "counts_unfiltered",
    "counts_filtered", "dge_filtered", "dge_unfiltered", "all-sample", "all-well", "spatial",
    "hg19", "hg38", "grch37", "grch38", "mm9", "mm10", "mm39", "grcm38", "grcm39", "mtx",
})  # fmt: skip


def named(paths: Sequence[Path]) -> dict[str, Path]:
    """Name each input by the part of its path that says which sample it is.

    A name is that of the file, or where programs call every output so, that of the nearest folder
    with a name of its own; where two would be the same, the parts of the paths that differ. A path
    that is given twice is refused.
    """
    _refuse_twice(paths)
    # The last part of each path that is its own.
    names = [
        next(filter(None, map(_own_parts, reversed(parts))), parts[-1])
        for parts in map(_path_parts, paths)
    ]
    if len(set(names)) < len(names):
        names = _parts_that_differ(paths)
    return dict(zip(names, paths, strict=True))


def _refuse_twice(paths: Sequence[Path]) -> None:
    """Refuse a path that leads to an input that is already there."""
    seen: dict[object, Path] = {}
    for path in paths:
        file, modality = parted(path)
        try:
            found = file.stat()
            place: object = (found.st_dev, found.st_ino, modality)
        except OSError:  # which the reader names
            place = (os.path.realpath(file), modality)
        other = seen.setdefault(place, path)
        if other is not path:
            told = "" if str(other) == str(path) else f", as {other} before"
            raise ValueError(
                f"the input {path} is given twice{told}; each input is a batch of its own, so give "
                "it once"
            )


def _path_parts(path: Path) -> list[str]:
    """Return the parts of a path as text, the last without its ending."""
    file, _ = parted(path)
    # A name of a file may be any bytes, and a name in a file is text.
    texts = [os.fsencode(p).decode("utf-8", "backslashreplace") for p in _absolute(file).parts]
    return [*texts[:-1], NAME_ENDINGS.sub("", texts[-1]) or texts[-1]]


def _absolute(path: Path) -> Path:
    # Without ".", ".." and a slash at the end, and without following links, whose names count.
    return Path(os.path.normpath(path.absolute()))


def _own_parts(part: str) -> str:
    """Return what of a name is not the same everywhere.

    Examples
    --------
    >>> _own_parts("s1_raw_feature_bc_matrix"), _own_parts("outs"), _own_parts("donor")
    ('s1', '', 'donor')
    """
    rest = EVERYWHERE.sub("", part)
    return "" if rest.lower() in WITHIN or rest in {os.sep, ""} else rest


def _parts_that_differ(paths: Sequence[Path]) -> list[str]:
    places = [_path_parts(path) for path in paths]
    while len({place[0] for place in places}) == 1 and min(map(len, places)) > 1:
        places = [place[1:] for place in places]
    while len({place[-1] for place in places}) == 1 and min(map(len, places)) > 1:
        places = [place[:-1] for place in places]
    short = ["/".join(filter(None, map(_own_parts, place))) for place in places]
    names = short if len(set(filter(None, short))) == len(paths) else ["/".join(p) for p in places]
    if len(set(names)) == len(names):
        return names
    # Of one file, or with endings that differ.
    files = [_absolute(parted(path)[0]) for path in paths]
    top = os.path.commonpath([file.parent for file in files])
    modalities = [parted(path)[1] for path in paths]
    return [
        os.path.relpath(file, top) + ("" if modality is None else f"{SIGN}{modality}")
        for file, modality in zip(files, modalities, strict=True)
    ]
