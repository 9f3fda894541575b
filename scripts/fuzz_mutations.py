"""Seeded damage to sound files: what a bad download, a bad disk or a bad person does to them."""

import json
import pickletools
import random
import struct
import zlib

from fuzz_files import Saved

EXTREMES = (
    0,
    1,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    2**63 - 1,
    2**63,
    2**64 - 1,
)
ZIP_SIGNATURES = (b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06")
INSTRUCTIONS = [op.code.encode("latin-1") for op in pickletools.opcodes]


def flip_bits(raw: bytes, rng: random.Random) -> bytes:
    """Flip one to eight bits."""
    damaged = bytearray(raw)
    for _ in range(rng.randint(1, 8)):
        damaged[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def set_bytes(raw: bytes, rng: random.Random) -> bytes:
    """Overwrite a short run with random bytes."""
    at = rng.randrange(len(raw))
    run = rng.randbytes(rng.randint(1, 16))
    return raw[:at] + run + raw[at + len(run) :]


def cut(raw: bytes, rng: random.Random) -> bytes:
    """Keep only the beginning."""
    return raw[: rng.randrange(len(raw))]


def drop(raw: bytes, rng: random.Random) -> bytes:
    """Leave a run out."""
    at = rng.randrange(len(raw))
    return raw[:at] + raw[at + rng.randint(1, 200) :]


def insert(raw: bytes, rng: random.Random) -> bytes:
    """Put random bytes in between."""
    at = rng.randrange(len(raw))
    return raw[:at] + rng.randbytes(rng.randint(1, 200)) + raw[at:]


def duplicate(raw: bytes, rng: random.Random) -> bytes:
    """Repeat a run somewhere else, once or many times."""
    start, at = rng.randrange(len(raw)), rng.randrange(len(raw))
    run = raw[start : start + rng.randint(1, 400)] * rng.choice((1, 1, 2, 50))
    return raw[:at] + run + raw[at:]


def set_integer(raw: bytes, rng: random.Random) -> bytes:
    """Overwrite an integer of 1 to 8 bytes, of either byte order, by an extreme."""
    size, at = rng.choice((1, 2, 4, 8)), rng.randrange(len(raw))
    value = (rng.choice(EXTREMES) % (1 << 8 * size)).to_bytes(size, rng.choice(("little", "big")))
    return raw[:at] + value + raw[at + size :]


def set_zip_field(raw: bytes, rng: random.Random) -> bytes:
    """Overwrite an integer inside one of an archive's headers by an extreme."""
    starts = [at for at in range(len(raw) - 4) if raw[at : at + 4] in ZIP_SIGNATURES]
    at, size = rng.choice(starts) + rng.randrange(4, 46), rng.choice((1, 2, 4))
    value = (rng.choice(EXTREMES) % (1 << 8 * size)).to_bytes(size, "little")
    return raw[:at] + value + raw[at + size :]


def swap_instruction(program: bytes, rng: random.Random) -> bytes:
    """Replace, double or leave out one instruction of a pickle, or put another before it."""
    starts = [position for _, _, position in pickletools.genops(program) if position is not None]
    index = rng.randrange(len(starts))
    start, end = starts[index], (*starts, len(program))[index + 1]
    other = rng.choice(INSTRUCTIONS)
    new = rng.choice(
        (other + program[start + 1 : end], program[start:end] * 2, b"", other + program[start:end])
    )
    return program[:start] + new + program[end:]


def edit_header(raw: bytes, rng: random.Random) -> bytes:
    """Change one entry of a safetensors header, keeping the header itself well formed."""
    (size,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + size])
    name = rng.choice(list(header))
    entry = header[name]
    number = rng.choice((-1, 0, 1, 3, 2**31, 2**53, 2**63 - 1, 2**64 - 1, 1.5, None, "4"))
    edits = {
        "dtype": rng.choice(("F64", "BF16", "U8", "BOOL", "F8_E4M3", "", 7)),
        "shape": rng.choice(([number], [], [0, number], [number] * 4, number)),
        "data_offsets": rng.choice(([number, entry["data_offsets"][1]], [0, number], [], [8, 0])),
    }
    field = rng.choice([*edits, "name", "metadata", "gone"])
    if field in edits:
        entry[field] = edits[field]
    elif field == "name":
        header[rng.choice(("", "a" * 5000, "../x", "\x00"))] = header.pop(name)
    elif field == "metadata":
        header["__metadata__"] = rng.choice(({"a": "b"}, {"a": 1}, [], "x"))
    else:
        del header[name]
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + raw[8 + size :]


def edit_png_chunk(raw: bytes, rng: random.Random) -> bytes:
    """Damage the content of one PNG chunk and give it a checksum that fits."""
    starts, at = [], 8
    while at < len(raw):
        starts.append(at)
        at += 12 + int.from_bytes(raw[at : at + 4], "big")
    at = rng.choice(starts)
    end = at + 8 + int.from_bytes(raw[at : at + 4], "big")
    content = raw[at + 4 : at + 8] + rng.choice(RAW)(raw[at + 8 : end] or b"\0", rng)
    chunk = struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))
    return raw[:at] + chunk + raw[end + 4 :]


RAW = (flip_bits, set_bytes, cut, drop, insert, duplicate, set_integer)


def damage_file(raw: bytes, rng: random.Random) -> tuple[bytes, str]:
    """Return a file damaged once or a few times, and what was done."""
    steps = [rng.choice(RAW) for _ in range(rng.choice((1, 1, 1, 2, 4)))]
    for step in steps:
        raw = step(raw or b"\0", rng)
    return raw, "+".join(step.__name__ for step in steps)


def damage_image(raw: bytes, rng: random.Random) -> tuple[bytes, str]:
    """Return a damaged image and what was done; half of the PNG files keep sound checksums."""
    if raw.startswith(b"\x89PNG") and rng.random() < 0.5:
        return edit_png_chunk(raw, rng), edit_png_chunk.__name__
    return damage_file(raw, rng)


def damage_checkpoint(saved: Saved, rng: random.Random) -> tuple[bytes, str, bool]:
    """Return a damaged checkpoint, what was done, and whether checksums still guard its content.

    Half of the time the pickle itself is damaged and the file packed around it anew, so that the
    damage gets past the checksums of a zip archive.
    """
    if saved.program and rng.random() < 0.5:
        step = rng.choice((swap_instruction, swap_instruction, *RAW))
        return saved.pack(step(saved.program, rng)), f"pickle:{step.__name__}", False
    extra = {"zip": set_zip_field, "safetensors": edit_header}.get(saved.form)
    if extra and rng.random() < 0.4:
        return extra(saved.pack(), rng), extra.__name__, saved.form == "zip"
    return *damage_file(saved.pack(), rng), saved.form == "zip"
