"""The archive around a checkpoint: 64-bit tables, and headers that contradict each other."""

import io
import struct
import zipfile

import numpy as np
import pytest
from fuzz_files import mapping, program, storage, tensor, zip_file
from jattr.converters.torch_file import read_checkpoint

from jattr.errors import CheckpointError

LINE = np.arange(6, dtype=np.float32)
SOUND = zip_file(
    program(mapping({"a": tensor(storage("Float", "0", 6), 0, (6,), (1,))})), {"0": LINE}
)
NARROW, WIDE = 0xFFFF, 0xFFFFFFFF


def as_zip64(content):
    """The same members with a table that keeps every size and place in 64 bits, as PyTorch
    writes large files.
    """
    archive = zipfile.ZipFile(io.BytesIO(content))
    table = b""
    for member in archive.infolist():
        name = member.filename.encode()
        extra = struct.pack(
            "<HHQQQ", 1, 24, member.file_size, member.compress_size, member.header_offset
        )
        numbers = (
            45,
            45,
            0,
            0,
            0,
            0,
            member.CRC,
            WIDE,
            WIDE,
            len(name),
            len(extra),
            0,
            0,
            0,
            0,
            WIDE,
        )
        table += struct.pack("<4s6H3I5H2I", b"PK\1\2", *numbers) + name + extra
    start, count = archive.start_dir, len(archive.infolist())
    record = struct.pack(
        "<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, count, count, len(table), start
    )
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, start + len(table), 1)
    end = struct.pack("<4s4HIIH", b"PK\5\6", 0, 0, NARROW, NARROW, WIDE, WIDE, 0)
    return content[:start] + table + record + locator + end


def patched(content, marker, offset, form, value):
    """`content` with the number at `offset` after the last `marker` replaced."""
    at = content.rindex(marker) + offset
    raw = struct.pack(form, value)
    return content[:at] + raw + content[at + len(raw) :]


def read(content, tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(content)
    return read_checkpoint(path)


def test_64_bit_table_is_read(tmp_path):
    np.testing.assert_array_equal(read(as_zip64(SOUND), tmp_path)["a"], LINE)


def test_archive_with_a_comment_is_read(tmp_path):
    content = patched(SOUND, b"PK\5\6", 20, "<H", 5) + b"hello"
    np.testing.assert_array_equal(read(content, tmp_path)["a"], LINE)


TWICE = zip_file(program(mapping({})), {}, versio2=b"3\n")
BROKEN = patched(patched(SOUND, b"PK\1\2", 20, "<I", 9999), b"PK\1\2", 24, "<I", 9999)
WIDE_SOUND = as_zip64(SOUND)
CONTRADICTIONS = {
    "local name": (SOUND.replace(b"archive/version", b"archive/vorsion", 1), "disagree"),
    "local signature": (patched(SOUND, b"PK\3\4", 0, "<I", 0), "not where its table says"),
    "table signature": (patched(SOUND, b"PK\1\2", 0, "<I", 0), "table of members is broken"),
    "name length": (patched(SOUND, b"PK\1\2", 28, "<H", 0xFFFF), "table of members is broken"),
    "member start": (patched(SOUND, b"PK\1\2", 42, "<I", len(SOUND)), "not where its table says"),
    "member size": (BROKEN, "reaches past the end"),
    "packed size": (patched(SOUND, b"PK\1\2", 20, "<I", 3), "compressed"),
    "name bytes": (SOUND.replace(b"archive/version", b"archive/versi\xff\xff"), "not UTF-8"),
    "two of one name": (
        TWICE.replace(b"archive/versio2", b"archive/version"),
        "two members are called",
    ),
    "number of members": (patched(SOUND, b"PK\5\6", 10, "<H", 0xFFFF), "does not fit the file"),
    "fewer members": (patched(SOUND, b"PK\5\6", 10, "<H", 1), "lacks its member"),
    "table start": (patched(SOUND, b"PK\5\6", 16, "<I", 2**31), "does not fit the file"),
    "disk": (patched(SOUND, b"PK\5\6", 4, "<H", 1), "does not fit the file"),
    "no end": (SOUND[:-22], "cut short"),
    "64-bit record": (patched(WIDE_SOUND, b"PK\6\7", 8, "<Q", 2**63), "64-bit table"),
    "64-bit count": (patched(WIDE_SOUND, b"PK\6\6", 32, "<Q", 2**62), "does not fit the file"),
    "64-bit start": (patched(WIDE_SOUND, b"PK\6\6", 48, "<Q", 2**64 - 1), "does not fit the file"),
    "64-bit member": (
        patched(WIDE_SOUND, struct.pack("<HH", 1, 24), 20, "<Q", 2**64 - 1),
        "not where its table says",
    ),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_contradiction_is_refused(name, tmp_path):
    content, words = CONTRADICTIONS[name]
    assert content not in (SOUND, WIDE_SOUND)
    with pytest.raises(CheckpointError, match=words):
        read(content, tmp_path)
