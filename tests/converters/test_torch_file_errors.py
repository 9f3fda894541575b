"""Files that must be refused: each by one clear line that names the file, and none by another
kind of error.
"""

import io
import os
import struct
import zipfile

import numpy as np
import pytest
from fuzz_files import (
    group,
    legacy_file,
    mapping,
    named,
    program,
    sound_checkpoints,
    storage,
    tensor,
    text,
    zip_file,
)
from jattr.converters.torch_file import read_checkpoint
from privileges import without_privileges

from jattr.errors import CheckpointError

LINE = np.arange(24, dtype=np.float32)
EMPTY = program(mapping({}))


def archive(members, compression=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()


def over_line(offset, shape, strides, count=24):
    return zip_file(
        program(tensor(storage("Float", "0", count), offset, shape, strides)), {"0": LINE}
    )


def replaced(content, old, new):
    assert old in content
    return content.replace(old, new)


def encrypted():
    content = bytearray(zip_file(EMPTY, {}))
    at = content.index(b"PK\x01\x02")
    content[at + 8] |= 1
    return bytes(content)


def overlapping():
    """Two members of one content: the table points into the first member, which holds a whole
    second one.
    """
    inner = archive({"a/data.pkl": EMPTY})
    inner = inner[: inner.index(b"PK\x01\x02")]
    content = bytearray(archive({"a/x": inner, "a/data.pkl": EMPTY}))
    entry = content.rindex(b"PK\x01\x02")
    content[entry + 42 : entry + 46] = struct.pack("<I", 30 + len("a/x"))
    return bytes(content)


def with_facts(facts):
    return legacy_file(EMPTY, {}).replace(text("little_endian") + b"\x88", facts)


def legacy_line():
    return legacy_file(program(tensor(storage("Float", "0", 24), 0, (24,), (1,))), {"0": LINE})


def safetensors_header(raw):
    return struct.pack("<Q", len(raw)) + raw + b"\0" * 8


TRANSCRIPT = {
    "m/data.pkl": EMPTY,
    "m/constants.pkl": EMPTY,
    "m/code/__torch__.py": b"x" * 1000,
}
BAD_FILES = {  # name -> content, and words that the message must have
    "empty": (b"", "is empty"),
    "noise": (b"\x01\x02" * 300, "no weights file that is read"),
    "web page": (b"<!DOCTYPE html><html>", "web page"),
    "git lfs": (b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + b"\0" * 100, "HDF5"),
    "gzip": (b"\x1f\x8b\x08" + b"\0" * 100, "gzip"),
    "tar": (b"\0" * 257 + b"ustar" + b"\0" * 100, "tar file"),
    "empty zip": (archive({}), "empty zip"),
    "other zip": (archive({"arr_0.txt": b"x"}), "holds no weights"),
    "two pickles": (archive({"a/data.pkl": EMPTY, "b/data.pkl": EMPTY}), "2 members"),
    "torchscript": (archive(TRANSCRIPT, zipfile.ZIP_DEFLATED), "TorchScript"),
    "compressed": (
        archive({"a/data.pkl": EMPTY + b"\0" * 5000}, zipfile.ZIP_DEFLATED),
        "compressed",
    ),
    "encrypted": (encrypted(), "encrypted"),
    "overlapping": (overlapping(), "members overlap"),
    "checksum": (replaced(zip_file(EMPTY, {"0": LINE}), b"little", b"LITTLE"), "checksum"),
    "byte order": (zip_file(EMPTY, {}, order="middle"), "byte order"),
    "after data.pkl": (zip_file(EMPTY + b"N.", {}), "after the pickle"),
    "after pickle": (EMPTY + b"N.", "after its pickle"),
    "after legacy": (legacy_file(EMPTY, {}) + b"\0", "after its last storage"),
    "unused legacy storage": (legacy_file(EMPTY, {"0": LINE}), "other storages"),
    "big-endian legacy": (with_facts(text("little_endian") + b"\x89"), "big-endian"),
    "legacy protocol": (
        replaced(legacy_file(EMPTY, {}), b"M\xe9\x03.", b"M\xea\x03."),
        "protocol 1002",
    ),
    "no storage": (
        zip_file(program(tensor(storage("Float", "7", 1), 0, (1,), (1,))), {}),
        "lacks its member",
    ),
    "storage too small": (over_line(0, (24,), (1,), count=25), "declares 25 elements"),
    "past the storage": (over_line(5, (20,), (1,)), "reaches element 24"),
    "past it by strides": (over_line(0, (4, 7), (7, 1)), "reaches element 27"),
    "negative offset": (over_line(-1, (2,), (1,)), "-1"),
    "negative stride": (over_line(5, (2,), (-1,)), "-1"),
    "negative size": (over_line(0, (-2,), (1,)), "-2"),
    "huge size": (over_line(0, (2**62,), (0,)), "shape"),
    "huge and empty": (over_line(0, (0, 2**61), (0, 0)), "damaged"),
    "expanded": (over_line(0, (2**20, 2**20), (0, 0)), "expanded"),
    "strides missing": (over_line(0, (2, 2), (1,)), "strides"),
    "complex": (
        zip_file(program(named("torch", "ComplexFloatStorage")), {}),
        "torch.ComplexFloatStorage",
    ),
    "module": (program(named("torch.nn.modules.linear", "Linear")), r"model\.state_dict\(\)"),
    "own module": (program(named("networks", "Generator")), r"model\.state_dict\(\)"),
    "surrogate": (program(b"X\x03\0\0\0\xed\xa0\x80"), "UTF-8"),
    "long integer": (program(b"\x8a\xff" + b"\1" * 255), "integer of 255 bytes"),
    "frame": (program(b"\x95" + struct.pack("<Q", 100) + b"N"), "cut short"),
    "legacy storage size": (
        replaced(legacy_line(), struct.pack("<q", 24), struct.pack("<q", 23)),
        "23 elements",
    ),
    "endless name": (b"\x80\x02c" + b"a" * 10_000, "name without end"),
    "newlines in a name": (program(text("os\n\x1b[31m") + text("x") + b"\x93"), "names os"),
    "contains itself": (program(b"]q\0h\0a"), "inside themselves"),
    "too deep": (program(b"]" * 200 + b"a" * 199), "deep"),
    "billion laughs": (
        program(b"]q\x000" + b"](h\0h\0h\0h\0eq\x000" * 40 + b"h\0"),
        "values when written out",
    ),
    "safetensors header": (safetensors_header(b'{"a": 1'), "sound safetensors"),
    "safetensors dtype": (
        safetensors_header(b'{"a":{"dtype":"F8_E4M3","shape":[8],"data_offsets":[0,8]}}'),
        "F8_E4M3",
    ),
    "safetensors offsets": (
        safetensors_header(b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,800]}}'),
        "sound safetensors",
    ),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_file_is_refused_in_one_line_that_names_it(name, tmp_path):
    content, words = BAD_FILES[name]
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=words) as caught:
        read_checkpoint(path)
    assert str(caught.value).startswith(str(path))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", sound_checkpoints())
def test_every_cut_is_refused(name, tmp_path):
    content = sound_checkpoints()[name].pack()
    path = tmp_path / "weights.pth"
    for length in {*range(0, len(content), 7), *range(len(content) - 100, len(content))}:
        path.write_bytes(content[:length])
        with pytest.raises(CheckpointError):
            read_checkpoint(path)


def test_paths_that_are_no_files(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    cases = {
        "absent": "cannot be read",
        "pipe": "not a file",
        ".": "not a file",
        "nul\0": "cannot be read",
    }
    for name, words in cases.items():
        with pytest.raises(CheckpointError, match=words):
            read_checkpoint(f"{tmp_path}/{name}")


def test_unreadable_file(tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(EMPTY)
    path.chmod(0)
    with without_privileges(), pytest.raises(CheckpointError, match="Permission denied"):
        read_checkpoint(path)


def test_file_over_the_limit_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "weights.pth"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # a hole: no disk space
    with pytest.raises(CheckpointError, match=r"max_bytes"):
        read_checkpoint(path)
    path.write_bytes(EMPTY)
    assert read_checkpoint(path, max_bytes=len(EMPTY)) == {}
    with pytest.raises(CheckpointError, match=f"at most {len(EMPTY) - 1}"):
        read_checkpoint(path, max_bytes=len(EMPTY) - 1)


def test_files_inside_files_have_a_depth_limit(tmp_path):
    inner = EMPTY
    path = tmp_path / "weights.pth"
    outcomes = []
    for _ in range(6):
        packed = b"B" + struct.pack("<I", len(inner)) + inner
        inner = program(named("torch.storage", "_load_from_bytes") + group(packed) + b"R")
        path.write_bytes(inner)
        try:
            outcomes.append(read_checkpoint(path) == {})
        except CheckpointError as error:
            outcomes.append("more than 4 deep" in str(error) and "refused")
    assert outcomes == [True] * 4 + ["refused"] * 2


def test_storage_declared_in_two_ways_is_refused(tmp_path):
    kinds = {"a": "Float", "b": "Int"}
    body = mapping(
        {name: tensor(storage(kind, "0", 24), 0, (2,), (1,)) for name, kind in kinds.items()}
    )
    path = tmp_path / "weights.pth"
    path.write_bytes(legacy_file(program(body), {"0": LINE}))
    with pytest.raises(CheckpointError, match="in different ways"):
        read_checkpoint(path)
