"""Elements of HDF5 files are copied as they are stored, also after they have been read."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from h5py import h5d, h5p, h5s, h5t, h5z

from mnncorrect._io import hdf5_copies
from mnncorrect._io.hdf5_copies import copy_elements, refuse_uncopyable

VALUES = np.random.default_rng(0).poisson(2, (60, 30)).astype(np.float32)
FILTERS = {
    "none": {},
    "gzip": {"compression": "gzip"},
    "lzf": {"compression": "lzf"},
    "shuffled": {"compression": "gzip", "shuffle": True},
    "checked": {"fletcher32": True},
    "gzip, checked": {"compression": "gzip", "fletcher32": True},
    "lzf, shuffled, checked": {"compression": "lzf", "shuffle": True, "fletcher32": True},
    "scale-offset": {"scaleoffset": 2},
}
if h5z.filter_avail(h5z.FILTER_SZIP):
    FILTERS["szip, checked"] = {"compression": "szip", "fletcher32": True}
UNKNOWN = 32015


@pytest.fixture
def pair(tmp_path):
    """An empty file to copy from, and one to copy to."""
    with (
        h5py.File(tmp_path / "from.h5", "w") as source,
        h5py.File(tmp_path / "to.h5", "w") as target,
    ):
        yield source, target


def chunks(dataset):
    """Where the chunks of a dataset are, how they were made, and their bytes."""
    found = [dataset.id.get_chunk_info(n) for n in range(dataset.id.get_num_chunks())]
    return {c.chunk_offset: dataset.id.read_direct_chunk(c.chunk_offset) for c in found}


@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize("shape", [(7, 11), (12, 30), (60, 30), (50, 8)])
@pytest.mark.parametrize("filters", FILTERS)
def test_chunks_are_copied_to_the_byte_after_they_were_read(tmp_path, filters, shape, libver):
    path = tmp_path / "from.h5"
    with h5py.File(path, "w", libver=libver) as file:
        resizable = (None, 30) if shape == (7, 11) else None
        file.create_dataset(
            "X", data=VALUES, chunks=shape, maxshape=resizable, fillvalue=3, **FILTERS[filters]
        )
    with h5py.File(path) as source, h5py.File(tmp_path / "to.h5", "w") as target:
        old = source["X"]
        read = old[...]
        copy_elements({"layers/X": old}, target)
        new = target["layers/X"]
        np.testing.assert_array_equal(new[...], read)
        assert chunks(new) == chunks(old)
        assert (new.chunks, new.maxshape, new.fillvalue) == (old.chunks, old.maxshape, 3)
        assert new._filters == old._filters


def test_chunks_that_were_not_written_stay_so_and_masks_are_kept(tmp_path):
    path, copied = tmp_path / "from.h5", tmp_path / "to.h5"
    with h5py.File(path, "w") as file:
        kinds = {"dtype": "i4", "compression": "gzip"}
        some = file.create_dataset(
            "some", (40, 40), chunks=(10, 10), fillvalue=7, fletcher32=True, **kinds
        )
        some[20:30, :15] = 5
        masked = file.create_dataset("masked", (20,), chunks=(10,), **kinds)
        masked.id.write_direct_chunk((0,), np.arange(10, dtype="i4").tobytes(), 1)
        file.create_dataset("never", (40,), "f4", fillvalue=2)
    with h5py.File(path) as source, h5py.File(copied, "w") as target:
        copy_elements(source, target)
    with h5py.File(path) as source, h5py.File(copied) as target:
        assert target["some"].id.get_num_chunks() == 2
        for name in source:
            np.testing.assert_array_equal(target[name][...], source[name][...])
            assert target[name].id.get_storage_size() == source[name].id.get_storage_size()


def test_values_of_all_types_and_layouts_are_copied(pair):
    source, target = pair
    texts = h5py.string_dtype()
    source["scalar"], source["text"] = 3.5, "naïve"
    source["empty"] = h5py.Empty("f4")
    source["truth"], source["complex"] = np.array([True, False]), np.arange(4) + 1j
    source["big-endian"] = np.arange(5, dtype=">f8")
    source["fixed"] = np.array([b"a", b"bc"])
    source["compound"] = np.array([(1, 2.0), (3, 4.0)], [("a", "i4"), ("b", ">f8")])
    source.create_dataset("texts", data=["a", "bü", ""] * 30, chunks=(7,), compression="gzip")
    source.create_dataset("no texts", (0,), texts)
    source.create_dataset("unwritten texts", (3,), texts)
    source.create_dataset("no rows", (0, 5), "i4", maxshape=(None, 5), compression="gzip")
    named = source.create_dataset("named", (2,), [("n", "i4"), ("s", texts)])
    named[...] = [(1, "x"), (2, "y")]
    lists = source.create_dataset("lists", (3,), h5py.vlen_dtype("i4"))
    lists[0], lists[2] = [1, 2], [5]
    source["kind"] = np.dtype("i4")
    source.create_dataset("of kind", data=np.arange(3, dtype="i4"), dtype=source["kind"])
    plan = h5p.create(h5p.DATASET_CREATE)
    plan.set_layout(h5d.COMPACT)
    compact = h5d.create(source.id, b"compact", h5t.NATIVE_INT32, h5s.create_simple((4,)), plan)
    compact.write(h5s.ALL, h5s.ALL, np.arange(4, dtype="i4"))
    for item in ({"a": "x"}, {"a": ["x", "y"]}, {"a": np.eye(2)}, {"a": h5py.Empty("f4")}):
        source.create_group(f"attributes {len(source)}").attrs.update(item)
    source["scalar"].attrs["unit"] = "µm"
    copy_elements(source, target)
    assert list(target) == list(source)
    for name, old in source.items():
        new = target[name]
        assert type(new) is type(old)
        for key, value in old.attrs.items():
            copied = new.attrs[key]
            assert type(copied) is type(value)
            if not isinstance(value, h5py.Empty):
                np.testing.assert_array_equal(copied, value)
        if isinstance(old, h5py.Dataset):
            assert (new.dtype, new.shape, new.maxshape) == (old.dtype, old.shape, old.maxshape)
            if old.shape is not None:
                np.testing.assert_equal(np.array(new).tolist(), np.array(old).tolist())


@pytest.mark.parametrize("filters", [{}, {"compression": "gzip"}])
@pytest.mark.parametrize("rows", [1, 3, 7])
def test_values_of_varying_length_are_copied_in_blocks(pair, monkeypatch, rows, filters):
    source, target = pair
    monkeypatch.setattr(hdf5_copies, "COPIED_BYTES", rows * hdf5_copies.OBJECT_BYTES)
    kind, kinds = h5py.vlen_dtype("i4"), {"chunks": (1,), **filters}
    for name, lengths in {"equal": [2, 2, 2], "one row": [2], "varying": [3, 0, 1]}.items():
        made = source.create_dataset(name, (len(lengths),), kind, **kinds)
        for at, length in enumerate(lengths):
            made[at] = np.arange(at, at + length)
    source.create_dataset("none", (3,), kind, **kinds)
    source.create_dataset("some", (3,), kind, **kinds)[1] = [4, 5]
    source.create_dataset("no rows", (0,), kind, maxshape=(None,), **kinds)
    table = source.create_dataset("table", (3, 2), kind, chunks=(1, 1), **filters)
    for at in np.ndindex(table.shape):
        table[at] = np.array(at)
    source.create_dataset("texts", data=["a", "bü", ""], **kinds)
    fields = np.array([(1, "x"), (2, "yü")], [("n", "i4"), ("s", h5py.string_dtype())])
    source.create_dataset("fields", data=fields, **kinds)
    copy_elements(source, target)
    for name, old in source.items():
        assert target[name].dtype == old.dtype
        np.testing.assert_equal(target[name][...].tolist(), old[...].tolist())


def test_lists_that_are_attributes_are_copied(pair):
    source, target = pair
    one, several = np.empty((), object), np.empty(3, object)
    one[()] = np.arange(2)
    several[:] = [np.arange(2) + at for at in range(3)]
    made = source.create_group("a").attrs
    made.create("one", one, dtype=h5py.vlen_dtype("i4"))
    made.create("several", several, dtype=h5py.vlen_dtype("i4"))
    copy_elements(source, target)
    led = target["a"].attrs
    assert led["one"].tolist() == [0, 1]
    assert [value.tolist() for value in led["several"]] == [[0, 1], [1, 2], [2, 3]]
    assert led.get_id("one").shape == ()


def test_arrays_of_references_lead_to_copies_and_what_holds_others_is_left_out(pair):
    source, target = pair
    source["X"], source["gone"], made = VALUES, 1, source.create_group("made")
    both = np.array([[source["X"].ref, source["gone"].ref]], h5py.ref_dtype)
    made.attrs.create("both", both, dtype=h5py.ref_dtype)
    made.attrs.create("null", h5py.Empty(h5py.ref_dtype))
    made.attrs["region"] = source["X"].regionref[2:4]
    fields = np.array([(source["X"].ref, 1)], [("of", h5py.ref_dtype), ("n", "i4")])
    made.attrs.create("fields", fields, dtype=fields.dtype)
    scale = made.create_dataset("scale", data=np.arange(60))
    scale.make_scale("cells")
    made["values"] = VALUES
    made["values"].dims[0].attach_scale(scale)
    copy_elements({"layers/X": source["X"], "made": made}, target)
    led = target["made"].attrs
    assert set(led) == {"both", "null"}
    assert led["both"].shape == (1, 2)
    assert target[led["both"][0, 0]] == target["layers/X"]
    assert not led["both"][0, 1]
    assert "DIMENSION_LIST" not in target["made/values"].attrs
    assert "REFERENCE_LIST" not in target["made/scale"].attrs


def test_links_and_order_are_kept(pair):
    source, target = pair
    group = source.create_group("group", track_order=True)
    group["z"], group["a"] = 1, 2
    group["same"], group["self"] = group["z"], group
    group["soft"] = h5py.SoftLink("/elsewhere")
    copy_elements({"uns/group": group}, target)
    new = target["uns/group"]
    assert list(new) == ["z", "a", "same", "self", "soft"]
    assert new["same"] == new["z"]
    assert new["self"] == new
    assert new.get("soft", getlink=True).path == "/elsewhere"


def test_attributes_that_are_references_lead_to_copies(pair):
    source, target = pair
    source["X"], source["obs/names"], source["gone"] = VALUES, ["a", "b"], 1
    target["obs/names"] = ["a", "b"]
    uns = source.create_group("uns")
    uns["objects"] = np.array([source["X"].ref, source["gone"].ref], h5py.ref_dtype)
    uns["region"] = source["X"].regionref[2:4, 1:6]
    uns["codes"] = [0, 1]
    uns["codes"].attrs["categories"] = source["obs/names"].ref
    uns["codes"].attrs["moved"] = source["X"].ref
    uns["codes"].attrs["nowhere"] = source["gone"].ref
    uns.attrs["itself"] = uns.ref
    copy_elements({"layers/moved": source["X"], "uns": uns}, target)
    made = target["uns"]
    led = dict(made["codes"].attrs)
    assert target[led["categories"]] == target["obs/names"]
    assert target[led["moved"]] == target["layers/moved"]
    assert not led["nowhere"]
    assert target[made.attrs["itself"]] == made
    # References that are values lead nowhere, rather than to another place.
    assert not any(made["objects"][:])
    assert not made["region"][()]


def packed_by_unknown(file, name, kind):
    """Make a dataset with a filter that HDF5 here does not have, as one with it would."""
    plan = h5p.create(h5p.DATASET_CREATE)
    plan.set_chunk((10,))
    plan.set_filter(UNKNOWN, h5z.FLAG_OPTIONAL, ())
    made = h5d.create(file.id, name, kind, h5s.create_simple((40,)), plan)
    made.write_direct_chunk((10,), b"packed by it", 0)


def test_what_cannot_be_unpacked_is_copied_packed_and_texts_are_refused(tmp_path):
    path = tmp_path / "from.h5"
    with h5py.File(path, "w") as file:
        packed_by_unknown(file, b"numbers", h5t.NATIVE_INT32)
        packed_by_unknown(file, b"texts", h5t.py_create(h5py.string_dtype(), logical=True))
        file["numbers"].attrs["encoding-type"] = "array"
    # Such a filter must be called optional to be written here, and is not where it is installed.
    content = path.read_bytes()
    entry = UNKNOWN.to_bytes(2, "little") + bytes(2) + b"\x01\x00"
    assert content.count(entry) == 2
    path.write_bytes(content.replace(entry, entry[:4] + b"\x00\x00"))
    with h5py.File(path) as source, h5py.File(tmp_path / "to.h5", "w") as target:
        refuse_uncopyable(source["numbers"])
        copy_elements({"numbers": source["numbers"]}, target)
        assert chunks(target["numbers"]) == chunks(source["numbers"])
        assert target["numbers"].attrs["encoding-type"] == "array"
        with pytest.raises(ValueError, match=rf"/texts .*{UNKNOWN}.*hdf5plugin"):
            refuse_uncopyable(source)
