"""Elements of HDF5 files, copied as they are stored.

Chunks are copied as they lie in the file: neither unpacked nor packed. ``H5Ocopy`` packs a chunk
anew where it has been read before, and then writes beyond its memory with the filters fletcher32
and scale-offset. It is used only for what has no chunks, and for chunks that HDF5 here can neither
pack nor unpack, which nobody can have read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5o, h5p, h5s, h5t, h5z

# Bytes of values that are in memory at a time, where they are not copied by chunks.
COPIED_BYTES = 1 << 25
# What a variable-length value takes in memory, roughly.
OBJECT_BYTES = 64


def copy_elements(
    elements: Mapping[str, h5py.Dataset | h5py.Group], target: h5py.File | h5py.Group
) -> None:
    """Copy elements of HDF5 files, by new path, with their attributes, filters and links.

    What `target` has there is replaced. A reference that is an attribute, or is in an array that is
    one, leads to the copy of what it led to: to what was copied with it, or to what has the same
    path in `target`. Others become null references. Attributes that hold references in another way
    (to regions, in lists or fields) are left out, since they would lead elsewhere.
    """
    copying = _Copying(target.file)
    for name, value in elements.items():
        if name in target:
            del target[name]
        copying.copy(value, target, name)
    copying.write_references()


def refuse_uncopyable(value: h5py.Dataset | h5py.Group) -> None:
    """Refuse an element that can neither be read nor copied: variable lengths, unknown filters."""
    for found in _datasets_in(value):
        plan = found.id.get_create_plist()
        if not _knows_filters(plan) and _holds_objects(found):
            codes = [str(plan.get_filter(n)[0]) for n in range(plan.get_nfilters())]
            raise ValueError(
                f"{found.name} holds texts packed by an HDF5 filter that is not installed "
                f"({', '.join(codes)}), and cannot be copied; install hdf5plugin, or write the "
                "file again without this filter"
            )


def why_not_copied(value: h5py.Dataset | h5py.Group) -> str | None:
    """Say what of an element cannot be copied, as it has to be read for that; ``None``: nothing."""
    for found in _datasets_in(value):
        if found.id.get_storage_size() == 0 or not _holds_objects(found):
            continue
        try:
            for rows in _row_blocks(found):
                _ = found[rows]
        except (OSError, RuntimeError, ValueError) as error:
            return f"{found.name}: {' '.join(str(error).split())}"
    return None


def _datasets_in(value: h5py.Dataset | h5py.Group) -> list[h5py.Dataset]:
    found = [value]
    if isinstance(value, h5py.Group):
        value.visititems(lambda _, inside: found.append(inside))
    return [one for one in found if isinstance(one, h5py.Dataset)]


class _Copying:
    """One copy of some elements to a file."""

    def __init__(self, file: h5py.File) -> None:
        self.file = file
        self.made: dict[tuple[int, int], str] = {}
        self.references: list[tuple[Any, Any, str]] = []

    def copy(self, source: Any, parent: h5py.Group, name: str) -> None:
        """Copy a dataset, a group with all in it, or a type."""
        address = _address(source)
        if address in self.made:  # another link to what is copied already
            parent[name] = self.file[self.made[address]]
            return
        if isinstance(source, h5py.Group):
            ordered = bool(source.id.get_create_plist().get_link_creation_order())
            made: Any = parent.create_group(name, track_order=ordered)
            self.made[address] = made.name
            for child in source:
                link = source.get(child, getlink=True)
                if isinstance(link, h5py.HardLink):
                    self.copy(source[child], made, child)
                else:
                    made[child] = link
        elif isinstance(source, h5py.Dataset) and _is_readable_in_chunks(source):
            made = _copy_chunked(source, parent, name)
        elif isinstance(source, h5py.Datatype):  # by which H5Ocopy of HDF5 1.12 crashes
            source.id.copy().commit(parent.id, name.encode())
            made = parent[name]
        else:
            source.file.copy(source, parent, name, without_attrs=True)
            made = parent[name]
        self.made[address] = made.name
        for key in source.attrs:
            attribute = source.attrs.get_id(key)
            kind = attribute.dtype
            if attribute.shape is None or not attribute.get_type().detect_class(h5t.REFERENCE):
                value = found = source.attrs[key]
                is_list = h5py.check_vlen_dtype(kind) is not None and isinstance(found, np.ndarray)
                if is_list and attribute.shape == ():
                    value = np.empty((), object)
                    value[()] = found
                made.attrs.create(key, value, dtype=kind)
            elif h5py.check_ref_dtype(kind) is h5py.Reference:
                self.references.append((source, made, key))

    def write_references(self) -> None:
        """Let the references that are attributes lead to copies."""
        for source, made, key in self.references:
            values = source.attrs[key]
            led = [self._led(one, source.file) for one in np.ravel(values)]
            shaped = np.array(led, h5py.ref_dtype).reshape(np.shape(values))
            made.attrs.create(key, shaped, dtype=h5py.ref_dtype)

    def _led(self, reference: Any, file: h5py.File) -> Any:
        """Return the reference to the copy of what one leads to; null: there is none."""
        null = h5py.Reference()
        if not isinstance(reference, h5py.Reference) or not reference:
            return null
        try:
            found = file[reference]
        except (ValueError, RuntimeError, OSError):  # what it led to is gone
            return null
        path = self.made.get(_address(found), found.name)
        return self.file[path].ref if path and path in self.file else null


def _address(value: Any) -> tuple[int, int]:
    info = h5o.get_info(value.id)
    return info.fileno, info.addr


def _knows_filters(plan: Any) -> bool:
    """Return whether HDF5 here has the filters of a dataset."""
    filters = [plan.get_filter(number)[:2] for number in range(plan.get_nfilters())]
    return all(h5z.filter_avail(code) or flags & h5z.FLAG_OPTIONAL for code, flags in filters)


def _holds_objects(found: h5py.Dataset) -> bool:
    """Return whether values vary in length, such as texts, and are of a type that can be read."""
    try:
        dtype = found.dtype
    except TypeError:
        return False
    return dtype.hasobject and dtype.subdtype is None  # h5py reads no arrays of texts


def _is_readable_in_chunks(source: h5py.Dataset) -> bool:
    """Return whether a dataset has chunks that HDF5 here may have read."""
    plan, kind = source.id.get_create_plist(), source.id.get_type()
    if plan.get_layout() != h5d.CHUNKED or not _knows_filters(plan):
        return False
    try:
        has_objects = source.dtype.hasobject
    except TypeError:
        return False
    return _holds_objects(source) == has_objects and not kind.detect_class(h5t.REFERENCE)


def _copy_chunked(source: h5py.Dataset, parent: h5py.Group, name: str) -> h5py.Dataset:
    plan = source.id.get_create_plist()
    plan.set_obj_track_times(False)  # equal runs give equal files
    links = h5p.create(h5p.LINK_CREATE)
    links.set_create_intermediate_group(True)
    links.set_char_encoding(h5t.CSET_UTF8)
    kind, space = source.id.get_type().copy(), source.id.get_space().copy()
    made = h5py.Dataset(h5d.create(parent.id, name.encode(), kind, space, plan, links))
    if not _holds_objects(source):
        _copy_chunks(source, made)
    elif source.id.get_storage_size():
        for rows in _row_blocks(source):
            # h5py itself takes lists of one length for another axis.
            values, space = source[rows], made.id.get_space()
            space.select_hyperslab((rows.start,) + (0,) * (values.ndim - 1), values.shape)
            memory = h5s.create_simple(values.shape)
            made.id.write(memory, space, values, mtype=h5t.py_create(source.dtype))
    return made


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


def _row_blocks(source: h5py.Dataset) -> Iterator[Any]:
    """Divide a dataset along its first axis."""
    if source.shape == ():
        yield ()
        return
    each = OBJECT_BYTES * int(np.prod(source.shape[1:], dtype=np.int64))
    step = max(1, COPIED_BYTES // max(1, each))
    for start in range(0, source.shape[0], step):
        yield slice(start, start + step)
