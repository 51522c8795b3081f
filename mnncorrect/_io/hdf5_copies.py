"""Elements of HDF5 files, copied as they are stored.

Chunks are copied as they lie in the file: neither unpacked nor packed. ``H5Ocopy`` packs a chunk
anew where it has been read before, and then writes beyond its memory with the filters fletcher32
and scale-offset. It is used only for what HDF5 here can neither pack nor unpack, which nobody can
have read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5d, h5o, h5p, h5r, h5s, h5t, h5z
from numpy.typing import NDArray

# Bytes of values that are in memory at a time, where they are not copied by chunks.
COPIED_BYTES = 1 << 25
# What a variable-length value takes in memory, roughly.
OBJECT_BYTES = 64


def copy_elements(
    elements: Mapping[str, h5py.Dataset | h5py.Group], target: h5py.File | h5py.Group
) -> None:
    """Copy elements of HDF5 files, by new path, with their attributes, filters and links.

    What `target` has there is replaced. References lead to the copy of what they led to: to what
    was copied with them, or to what has the same path in `target`. Others become null references.
    """
    copying = _Copying(target)
    for name, value in elements.items():
        if name in target:
            del target[name]
        copying.copy(value, target, name)
    copying.write_references()


def refuse_uncopyable(value: h5py.Dataset | h5py.Group) -> None:
    """Refuse an element that can neither be read nor copied: variable lengths, unknown filters."""

    def refuse(_: str, found: Any) -> None:
        if not isinstance(found, h5py.Dataset):
            return
        plan = found.id.get_create_plist()
        if not _knows_filters(plan) and not _is_fixed(found.id.get_type()):
            codes = [str(plan.get_filter(n)[0]) for n in range(plan.get_nfilters())]
            raise ValueError(
                f"{found.name} holds texts packed by an HDF5 filter that is not installed "
                f"({', '.join(codes)}), and cannot be copied; install hdf5plugin, or write the "
                "file again without this filter"
            )

    refuse("", value)
    if isinstance(value, h5py.Group):
        value.visititems(refuse)


def why_not_copied(value: h5py.Dataset | h5py.Group) -> str | None:
    """Say what of an element cannot be copied, as it has to be read for that; ``None``: nothing."""

    def read(_: str, found: Any) -> str | None:
        if not isinstance(found, h5py.Dataset) or _is_fixed(found.id.get_type()):
            return None
        if not _has_dtype(found.id) or found.id.get_storage_size() == 0:
            return None
        try:
            for rows, _n in _dataset_blocks(found, OBJECT_BYTES):
                _ = found[() if rows is None else rows]
        except (OSError, RuntimeError, ValueError) as error:
            return f"{found.name}: {' '.join(str(error).split())}"
        return None

    told = read("", value)
    if told is None and isinstance(value, h5py.Group):
        return value.visititems(read)
    return told


class _Copying:
    """One copy of some elements."""

    def __init__(self, target: h5py.Group) -> None:
        self.target = target
        self.made: dict[tuple[int, int], str] = {}
        self.later: list[Callable[[], None]] = []

    def copy(self, source: Any, parent: h5py.Group, name: str) -> None:
        """Copy a dataset, a group with all in it, or a type."""
        info = h5o.get_info(source.id)
        address = (info.fileno, info.addr)
        if address in self.made:  # another link to what is copied already
            parent[name] = self.target.file[self.made[address]]
            return
        if isinstance(source, h5py.Group):
            made: Any = _new_group(source, parent, name)
            self.made[address] = made.name
            for child in source:
                self._copy_link(source, child, made)
        elif isinstance(source, h5py.Dataset):
            made = self._copy_dataset(source, parent, name)
        else:
            source.id.copy().commit(parent.id, name.encode())
            made = parent[name]
        self.made[address] = made.name
        self._copy_attributes(source, made)

    def write_references(self) -> None:
        """Let references lead to copies."""
        for write in self.later:
            write()

    def _copy_link(self, source: h5py.Group, name: str, made: h5py.Group) -> None:
        link = source.get(name, getlink=True)
        if isinstance(link, h5py.HardLink):
            self.copy(source[name], made, name)
        else:
            made[name] = link

    def _copy_dataset(self, source: h5py.Dataset, parent: h5py.Group, name: str) -> h5py.Dataset:
        plan, kind = source.id.get_create_plist(), source.id.get_type()
        readable = _knows_filters(plan) and (_is_fixed(kind) or _has_dtype(source.id))
        if not readable:
            source.file.copy(source, parent, name, without_attrs=True)
            return parent[name]
        plan.set_obj_track_times(False)  # equal runs give equal files
        space = source.id.get_space().copy()
        links = h5p.create(h5p.LINK_CREATE)
        links.set_create_intermediate_group(True)
        links.set_char_encoding(h5t.CSET_UTF8)
        created = h5d.create(parent.id, name.encode(), kind.copy(), space, plan, links)
        made = h5py.Dataset(created)
        if source.id.get_storage_size() == 0:  # never written
            return made
        if not _is_fixed(kind):
            if kind.detect_class(h5t.REFERENCE):
                self.later.append(lambda: _copy_values(source, made, self._mapped))
            else:
                _copy_values(source, made, lambda values, _: values)
        elif plan.get_layout() == h5d.CHUNKED:
            _copy_chunks(source, made)
        else:
            _copy_bytes(source, made)
        return made

    def _copy_attributes(self, source: Any, made: Any) -> None:
        for name in source.attrs:
            old = source.attrs.get_id(name)
            kind, space = old.get_type(), old.get_space()
            new = h5a.create(made.id, name.encode(), kind.copy(), space.copy())
            if space.get_simple_extent_type() == h5s.NULL:
                continue
            dtype = old.dtype
            memory = h5t.py_create(dtype)
            inner, more = dtype.subdtype or (dtype, ())
            values = np.zeros(old.shape + more, inner)
            if values.size == 0:
                continue
            old.read(values, mtype=memory)
            if kind.detect_class(h5t.REFERENCE):

                def write(
                    new: Any = new, values: Any = values, memory: Any = memory, source: Any = source
                ) -> None:
                    new.write(self._mapped(values, source), mtype=memory)

                self.later.append(write)
            else:
                new.write(values, mtype=memory)

    def _mapped(self, values: Any, source: Any) -> Any:
        """Let the references among some values lead to copies."""
        mapped = values.copy()
        for field in values.dtype.names or ():
            mapped[field] = self._mapped(values[field], source)
        if values.dtype == object:
            for at in np.ndindex(values.shape):
                value = values[at]
                if isinstance(value, np.ndarray):
                    mapped[at] = self._mapped(value, source)
                elif isinstance(value, h5r.Reference):
                    mapped[at] = self._led(value, source)
        return mapped

    def _led(self, reference: Any, source: Any) -> Any:
        """Return the reference to the copy of what one leads to; null: there is none."""
        region = isinstance(reference, h5r.RegionReference)
        null = h5r.RegionReference() if region else h5r.Reference()
        if not reference:
            return null
        try:
            old = h5r.dereference(reference, source.id)
            info, name = h5o.get_info(old), h5r.get_name(reference, source.id)
        except (ValueError, RuntimeError, OSError):  # what it led to is gone
            return null
        path = self.made.get((info.fileno, info.addr), name and name.decode())
        file = self.target.file
        if not path or path not in file:
            return null
        if region:
            space = h5r.get_region(reference, source.id)
            return h5r.create(file.id, path.encode(), h5r.DATASET_REGION, space)
        return h5r.create(file.id, path.encode(), h5r.OBJECT)


def _new_group(source: h5py.Group, parent: h5py.Group, name: str) -> h5py.Group:
    """Make a group that keeps the order of its links where its original does."""
    ordered = source.id.get_create_plist().get_link_creation_order()
    return parent.create_group(name, track_order=bool(ordered))


def _knows_filters(plan: Any) -> bool:
    """Return whether HDF5 here has the filters of a dataset."""
    filters = [plan.get_filter(number)[:2] for number in range(plan.get_nfilters())]
    return all(h5z.filter_avail(code) or flags & h5z.FLAG_OPTIONAL for code, flags in filters)


def _is_fixed(kind: Any) -> bool:
    """Return whether values of a type are all in the dataset itself, and lead nowhere."""
    if kind.detect_class(h5t.VLEN) or kind.detect_class(h5t.REFERENCE):
        return False
    return not _has_texts(kind)


def _has_texts(kind: Any) -> bool:
    """Return whether a type has text of variable length, which HDF5 does not count as such."""
    if isinstance(kind, h5t.TypeStringID):
        return bool(kind.is_variable_str())
    if isinstance(kind, h5t.TypeCompoundID):
        return any(_has_texts(kind.get_member_type(n)) for n in range(kind.get_nmembers()))
    if isinstance(kind, h5t.TypeArrayID):
        return _has_texts(kind.get_super())
    return False


def _has_dtype(found: Any) -> bool:
    """Return whether numpy can hold the values of a dataset, whose sizes vary."""
    try:
        return found.dtype.subdtype is None  # h5py reads no arrays of texts
    except TypeError:
        return False


def _copy_chunks(source: h5py.Dataset, made: h5py.Dataset) -> None:
    """Copy the chunks that were written, packed as they are."""
    if source.file.mode != "r":
        source.id.flush()
    chunks: list[Any] = []
    # To ask for one chunk by its number is to go through all of those before it.
    if hasattr(source.id, "chunk_iter"):
        source.id.chunk_iter(chunks.append)
    else:
        chunks = [source.id.get_chunk_info(n) for n in range(source.id.get_num_chunks())]
    for chunk in chunks:
        mask, packed = source.id.read_direct_chunk(chunk.chunk_offset)
        made.id.write_direct_chunk(chunk.chunk_offset, packed, mask)


def _copy_bytes(source: h5py.Dataset, made: h5py.Dataset) -> None:
    """Copy values of a fixed size, of whatever type, without knowing what they mean."""
    kind = source.id.get_type()
    for block, n_values in _dataset_blocks(source, kind.get_size()):
        values = np.empty(n_values * kind.get_size(), np.uint8)
        memory, old, new = _spaces(source, made, block, n_values)
        source.id.read(memory, old, values, mtype=kind)
        made.id.write(memory, new, values, mtype=kind)


def _copy_values(
    source: h5py.Dataset, made: h5py.Dataset, changed: Callable[[NDArray[Any], Any], NDArray[Any]]
) -> None:
    """Copy values that have to be read to be copied."""
    dtype = source.id.dtype
    for block, n_values in _dataset_blocks(source, max(dtype.itemsize, OBJECT_BYTES)):
        memory, old, new = _spaces(source, made, block, n_values)
        kind = h5t.py_create(dtype)
        values = np.zeros(n_values, dtype)
        source.id.read(memory, old, values, mtype=kind)
        made.id.write(memory, new, changed(values, source), mtype=kind)


def _dataset_blocks(source: h5py.Dataset, each: int) -> Iterator[tuple[slice | None, int]]:
    """Divide a dataset along its first axis: rows, and how many values they have."""
    if source.shape == ():
        yield None, 1
        return
    n_rows, across = source.shape[0], int(np.prod(source.shape[1:], dtype=np.int64))
    if n_rows * across == 0:
        return
    step = max(1, COPIED_BYTES // (across * each))
    for start in range(0, n_rows, step):
        rows = slice(start, min(start + step, n_rows))
        yield rows, (rows.stop - rows.start) * across


def _spaces(
    source: h5py.Dataset, made: h5py.Dataset, rows: slice | None, n_values: int
) -> tuple[Any, Any, Any]:
    """Say where some rows are in memory, in the original and in the copy."""
    old, new = source.id.get_space(), made.id.get_space()
    if rows is None:
        return h5s.create(h5s.SCALAR), old, new
    for space in (old, new):
        start = (rows.start, *[0] * (len(source.shape) - 1))
        space.select_hyperslab(start, (rows.stop - rows.start, *source.shape[1:]))
    return h5s.create_simple((n_values,)), old, new
