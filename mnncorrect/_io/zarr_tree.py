"""What a zarr folder or zip archive says of itself, read before any of its data is decoded.

The metadata of zarr are JSON. They name the codecs that unpack an array, its shape, and the chunks
that must be there. Reading them needs neither zarr nor numcodecs, and runs nothing.
"""

from __future__ import annotations

import json
import math
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mnncorrect._adata.lookup import listed
from mnncorrect._adata.stored import HOLLOW, PACKED_TIMES
from mnncorrect._io.atomic import ZARR_METADATA
from mnncorrect._io.failures import reason_of
from mnncorrect._io.folder_files import files_of
from mnncorrect._io.foreign import ZIP, begins, is_zarr_archive

# Codecs that unpack bytes into numbers or text, and do nothing else: those of zarr 2 by their
# identifier, those of zarr 3 by their name, which may begin with `numcodecs.`.
CODECS = frozenset(
    {
        *("blosc", "bz2", "gzip", "lz4", "lzma", "pcodec", "zfpy", "zlib", "zstd"),
        *("astype", "bitround", "delta", "fixedscaleoffset", "packbits", "quantize", "shuffle"),
        *("adler32", "crc32", "crc32c", "fletcher32", "jenkins_lookup3"),
        *("bytes", "endian", "sharding_indexed", "transpose", "vlen-bytes", "vlen-utf8"),
    }
)
# The names of numeric types of zarr 3; those of zarr 2 begin with one of these signs.
NUMERIC = re.compile(r"bool|u?int\d+|float\d+|complex\d+")
NUMERIC_SIGNS = "biufc"
# Where a chunk that blosc has packed says how long it is.
BLOSC, BLOSC_HEADER, BLOSC_LENGTH = "blosc", 16, slice(12, 16)
ARRAY2, ARRAY3, ATTRIBUTES2 = ".zarray", "zarr.json", ".zattrs"


@dataclass(frozen=True)
class Array:
    """An array as its metadata describe it."""

    name: str  # Its path inside the tree.
    # Of the array, and of what is stored as one file of it: a chunk, or a shard.
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    numeric: bool  # Whether it holds numbers or truth values.
    fill: Any  # What a chunk holds that is not stored; ``None``: unknown.
    codecs: tuple[str, ...]  # The names of all codecs that it is unpacked with.
    # The codec that its files were packed by last; empty: none, or it is unpacked by parts.
    packing: str
    key: re.Pattern[str]  # Matches the names of its chunks.

    @property
    def grid(self) -> tuple[int, ...]:
        """How many chunks it has in each direction."""
        return tuple(-(-n // size) for n, size in zip(self.shape, self.chunks, strict=True))

    def has(self, key: str) -> bool:
        """Return whether a chunk of this name belongs to it."""
        found = self.key.fullmatch(key)
        if found is None:
            return False
        at = [int(n) for n in re.split(r"[./]", found["at"])] if found["at"] else []
        if not self.shape:
            return at in ([], [0])
        grid = self.grid
        return len(at) == len(grid) and all(n < most for n, most in zip(at, grid, strict=True))


@dataclass(frozen=True)
class ZarrTree:
    """The files of a zarr folder or archive."""

    path: Path  # Where it is.
    root: str  # The folder inside an archive that holds everything; empty: there is none.
    sizes: Mapping[str, int]  # Bytes of each file, by its path inside the tree.
    read: Callable[[str], bytes]  # Gives the content of one.
    arrays: dict[str, Array] = field(default_factory=dict)  # What it holds, by name.
    # Those of groups and arrays, by name.
    attributes: dict[str, dict[str, Any]] = field(default_factory=dict)
    # How many chunks of each array are there, and how many bytes they take.
    stored: dict[str, list[int]] = field(default_factory=dict)


def tree_of(path: Path) -> ZarrTree:
    """Read the metadata of a zarr folder or archive without links or devices."""
    if path.is_file():
        tree = _archived(path)
    else:
        tree = ZarrTree(path, "", files_of(path), lambda name: (path / name).read_bytes())
    for name in tree.sizes:
        try:
            _take_metadata(tree, name)
        # Damaged metadata are not JSON, or lack what each description of an array or group has.
        except (
            LookupError, TypeError, AttributeError, ArithmeticError, ValueError, RecursionError,
        ) as error:  # fmt: skip
            raise OSError(
                f"/{name} of {path} is damaged ({reason_of(error)}); copy or make it again"
            ) from error
    for name, size in tree.sizes.items():
        for array, key in _owners(tree, name):
            # A file of no bytes is a chunk whose copy did not arrive.
            if size and array.has(key):
                count = tree.stored.setdefault(array.name, [0, 0])
                count[0] += 1
                count[1] += size
    return tree


def _take_metadata(tree: ZarrTree, name: str) -> None:
    """Take what a file says of an array or group, if it is one of metadata."""
    place, _, last = name.rpartition("/")
    if last == ARRAY2:
        tree.arrays.setdefault(place, _array2(place, json.loads(tree.read(name))))
    elif last == ATTRIBUTES2:
        tree.attributes.setdefault(place, {}).update(json.loads(tree.read(name)))
    elif last == ARRAY3:
        found = json.loads(tree.read(name))
        tree.attributes[place] = dict(found.get("attributes") or {})
        kind = found["node_type"]
        if kind == "array":
            tree.arrays[place] = _array3(place, found)
        elif kind != "group":
            raise ValueError(f"it describes {kind!r}")


def is_zarr(path: Path) -> bool:
    """Return whether a path is zarr data by its content: a folder, or an archive of one."""
    if path.is_dir():
        return any((path / name).exists() for name in ZARR_METADATA)
    return path.is_file() and begins(path, ZIP) and is_zarr_archive(path)


def refuse_unsafe(tree: ZarrTree) -> None:
    """Refuse codecs that are not known, and arrays that would fill memory with nothing."""
    for array in tree.arrays.values():
        unknown = [
            codec for codec in array.codecs if codec.removeprefix("numcodecs.") not in CODECS
        ]
        if unknown:
            raise ValueError(
                f"/{array.name} of {tree.path} is packed by the codec {listed(unknown)}, which is "
                "not read: it may run code, or is not known; ask whoever made the data for h5ad"
            )
        size = 8 * math.prod(array.chunks)
        stored = tree.stored.get(array.name, [0, 0])[1]
        if stored and size > HOLLOW and size > PACKED_TIMES * stored:
            raise ValueError(
                f"/{array.name} of {tree.path} says that a chunk of it holds {size:,} bytes, and "
                f"takes {stored:,}; is it damaged?"
            )


def refuse_cut(tree: ZarrTree) -> None:
    """Refuse chunks that are shorter or longer than they say, as blosc unpacks what follows them.

    Other codecs refuse a chunk that is cut off, and an archive has checksums.
    """
    if tree.path.is_file() or all(array.packing != BLOSC for array in tree.arrays.values()):
        return
    for name, size in tree.sizes.items():
        for array, key in _owners(tree, name):
            if array.packing != BLOSC or not size or not array.has(key):
                continue
            with (tree.path / name).open("rb") as file:
                told = int.from_bytes(file.read(BLOSC_HEADER)[BLOSC_LENGTH], "little")
            if told != size:
                raise ValueError(
                    f"chunk {key} of /{array.name} of {tree.path} has {size:,} bytes, and says "
                    f"{told:,}; copy it again"
                )


def _archived(path: Path) -> ZarrTree:
    """Open an archive; what zip made of a folder has that folder's name before all others."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {
                entry.filename: entry.file_size
                for entry in archive.infolist()
                if not entry.is_dir()
            }
    except zipfile.BadZipFile as error:
        raise OSError(f"{path} is a damaged zip file: {error}; copy or make it again") from error
    tops = [name.rpartition("/")[0] for name in entries if name.endswith((".zgroup", ARRAY3))]
    root = min(tops, key=len, default="")
    before = f"{root}/" if root else ""

    def read(name: str) -> bytes:
        with zipfile.ZipFile(path) as archive:
            return archive.read(before + name)

    inside = {n.removeprefix(before): size for n, size in entries.items() if n.startswith(before)}
    return ZarrTree(path, root, inside, read)


def _array2(name: str, found: Mapping[str, Any]) -> Array:
    separator = re.escape(found.get("dimension_separator") or ".")
    packed = [found.get("compressor"), *(found.get("filters") or [])]
    dtype = found["dtype"]
    return Array(
        name,
        *_shapes(found["shape"], found["chunks"]),
        numeric=isinstance(dtype, str) and dtype[1:2] in NUMERIC_SIGNS,
        fill=found.get("fill_value"),
        codecs=tuple(str(codec["id"]) for codec in packed if codec is not None),
        packing="" if packed[0] is None else str(packed[0]["id"]),
        key=re.compile(rf"(?P<at>\d+(?:{separator}\d+)*)"),
    )


def _array3(name: str, found: Mapping[str, Any]) -> Array:
    grid = found["chunk_grid"]
    if grid["name"] != "regular":
        raise OSError(
            f"/{name} has chunks of more than one size, which are not read; write it as h5ad"
        )
    dtype, keys = found["data_type"], found["chunk_key_encoding"]
    old = keys["name"] == "v2"
    separator = (keys.get("configuration") or {}).get("separator", "." if old else "/")
    between = re.escape(separator)
    places = rf"\d+(?:{between}\d+)*"
    key = rf"(?P<at>{places})" if old else rf"c(?:{between}(?P<at>{places}))?"
    codecs = tuple(_names_of(found.get("codecs") or []))
    sharded = "sharding_indexed" in codecs
    return Array(
        name,
        *_shapes(found["shape"], grid["configuration"]["chunk_shape"]),
        numeric=isinstance(dtype, str) and NUMERIC.fullmatch(dtype) is not None,
        fill=found.get("fill_value"),
        codecs=codecs,
        packing="" if sharded or not codecs else codecs[-1].removeprefix("numcodecs."),
        key=re.compile(key),
    )


def _names_of(codecs: list[Any]) -> Iterator[str]:
    """Name codecs, and those within them."""
    for codec in codecs:
        yield str(codec if isinstance(codec, str) else codec["name"])
        inside = {} if isinstance(codec, str) else codec.get("configuration") or {}
        for part in ("codecs", "index_codecs"):
            yield from _names_of(inside.get(part) or [])


def _shapes(shape: Any, chunks: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the shape of an array and of its chunks, which have a length of 1 at least."""
    whole, part = tuple(shape), tuple(chunks)
    numbers = all(isinstance(n, int) and 0 <= n < 1 << 62 for n in (*whole, *part))
    if not numbers or len(whole) != len(part):
        raise TypeError
    return whole, tuple(max(1, size) for size in part)


def _owners(tree: ZarrTree, name: str) -> Iterator[tuple[Array, str]]:
    """Yield the arrays that a file may be a chunk of, and its name as a chunk."""
    place = name
    while place:
        place, _, _ = place.rpartition("/")
        if place in tree.arrays:
            yield tree.arrays[place], name[len(place) + 1 if place else 0 :]
            return
