"""Ways to damage a file of the ledger, from a seed."""

import random
from collections.abc import Callable

INTERESTING = [
    b"",
    b"\n",
    b"\n\n",
    b"\r\n",
    b"\r",
    b"\t",
    b" ",
    b"\x00",
    b"\x0b",
    b"\x0c",
    b"\x1c",
    b"\x7f",
    b"\x80",
    b"\xff",
    b"\xc2\x85",
    b"\xc2\xa0",
    b"\xe2\x80\xa8",
    b"\xe2\x80\x93 ",
    b"\xe2\x80\x94 ",
    b"\xe2\x80\xae",
    b"\xef\xbb\xbf",
    b"\xed\xa0\x80",
    b"\xd9\xa1",
    b"\xef\xbc\x91",
    b"0",
    b"00",
    b"-",
    b"-1",
    b"+",
    b"+1",
    b"_",
    b"1_0",
    b"1e3",
    b"0x1",
    b"=",
    b"==",
    b"AA==",
    b"-_",
    b"#",
    b".",
    b"..",
    b"/",
    b"\\ud800",
    b"x001/",
    b".p/1",
    b".p/256",
    b"\xff\xff",
    b"9223372036854775807",
    b"9223372036854775808",
    b"18446744073709551616",
    b"1" * 5000,
    b"[" * 5000,
    b"old 0",
    b"index 0\n",
    b"extra AA==\n",
    b"quorum none\n",
    b"c2sp.org/tlog-proof@v1\n",
]


def flip_bit(data: bytearray, rng: random.Random) -> None:
    """Flip one bit."""
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def set_byte(data: bytearray, rng: random.Random) -> None:
    """Set one byte, often to one that is there elsewhere."""
    data[rng.randrange(len(data))] = rng.choice([rng.randrange(256), rng.choice(data)])


def insert(data: bytearray, rng: random.Random) -> None:
    """Insert something that parsers stumble over."""
    place = rng.randrange(len(data) + 1)
    data[place:place] = rng.choice(INTERESTING)


def replace(data: bytearray, rng: random.Random) -> None:
    """Put such a thing in place of some bytes."""
    place = rng.randrange(len(data))
    data[place : place + rng.choice([1, 1, 2, 4, rng.randrange(1, 50)])] = rng.choice(INTERESTING)


def delete(data: bytearray, rng: random.Random) -> None:
    """Take some bytes away."""
    place = rng.randrange(len(data))
    del data[place : place + rng.choice([1, 1, 2, 3, 32, rng.randrange(1, 100)])]


def cut_off(data: bytearray, rng: random.Random) -> None:
    """Take the end away, or the beginning."""
    place = rng.randrange(len(data))
    del data[slice(place, None) if rng.random() < 0.7 else slice(place)]


def repeat(data: bytearray, rng: random.Random) -> None:
    """Repeat a part of it elsewhere."""
    start, place = rng.randrange(len(data)), rng.randrange(len(data) + 1)
    data[place:place] = data[start : start + rng.randrange(1, 80)]


def lines(data: bytearray, rng: random.Random) -> None:
    """Swap, repeat, or take away lines."""
    parts = bytes(data).split(b"\n")
    first, second = rng.randrange(len(parts)), rng.randrange(len(parts))
    kind = rng.randrange(3)
    if kind == 0:
        parts[first], parts[second] = parts[second], parts[first]
    elif kind == 1:
        parts.insert(second, parts[first])
    else:
        del parts[first]
    data[:] = b"\n".join(parts)


def count(data: bytearray, rng: random.Random) -> None:
    """Change a digit to its neighbour, or put a zero before a number."""
    digits = [place for place, byte in enumerate(data) if 0x30 <= byte <= 0x39]
    if digits:
        place = rng.choice(digits)
        if rng.random() < 0.3:
            data[place:place] = b"0"
        else:
            data[place] = 0x30 + (data[place] - 0x30 + rng.choice([1, 9])) % 10


def case(data: bytearray, rng: random.Random) -> None:
    """Change the case of a letter."""
    letters = [place for place, byte in enumerate(data) if chr(byte).isalpha() and byte < 0x80]
    if letters:
        data[rng.choice(letters)] ^= 0x20


WAYS: list[Callable[[bytearray, random.Random], None]] = [
    flip_bit,
    flip_bit,
    set_byte,
    insert,
    replace,
    delete,
    cut_off,
    repeat,
    lines,
    count,
    case,
]


def mutated(sound: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """Return a file that differs from the sound one.

    Damaged in one to three ways, or joined with another.
    """
    while True:
        data = bytearray(sound)
        if rng.random() < 0.1:
            other = rng.choice(others)
            data = data[: rng.randrange(len(data) + 1)] + other[rng.randrange(len(other)) :]
        for _ in range(rng.choice([1, 1, 1, 2, 3])):
            if data:
                rng.choice(WAYS)(data, rng)
        if data != sound:
            return bytes(data)
