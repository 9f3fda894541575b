"""Commitments and the spelling of what they hide, against hashlib and hostile spellings."""

import hashlib
import json
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jattr.errors import LedgerError, VerificationError
from jattr.ledger import commitments as c
from jattr.ledger.canonical import encode_canonical, parse_canonical

SETTINGS = settings(deadline=None, max_examples=150, database=None, derandomize=True)
SALT = bytes(range(32))
LATENT = np.arange(-3, 3, dtype=np.float32).reshape(2, 3)


def test_a_commitment_is_the_hash_of_the_format() -> None:
    for field in c.FIELDS:
        value = bytes(32)
        assert (
            c.commit(field, SALT, value)
            == hashlib.sha256(f"jattr/{field}/v1\0".encode() + SALT + value).digest()
        )
    assert len({c.commit(field, SALT, bytes(32)) for field in c.FIELDS}) == len(c.FIELDS)


def test_a_new_opening_has_a_salt_of_its_own() -> None:
    one, two = c.Opening.new("recipient", b"Ada"), c.Opening.new("recipient", b"Ada")
    assert one.salt != two.salt
    assert one.commitment != two.commitment
    assert "Ada" not in repr(one)
    assert one.salt.hex() not in repr(one)


def test_every_changed_bit_is_a_false_opening() -> None:
    opening = c.Opening("seed", SALT, c.seed_value(7, 3))
    opening.check(opening.commitment)
    for part in ("salt", "value"):
        data = getattr(opening, part)
        for bit in range(8 * len(data)):
            changed = bytearray(data)
            changed[bit // 8] ^= 1 << bit % 8
            parts = {"salt": opening.salt, "value": opening.value} | {part: bytes(changed)}
            with pytest.raises(VerificationError, match="false opening"):
                c.Opening("seed", **parts).check(opening.commitment)
    with pytest.raises(VerificationError):
        c.Opening("recipient", SALT, opening.value).check(opening.commitment)


@pytest.mark.parametrize(
    ("field", "salt", "value"),
    [
        ("sex", SALT, b""),
        ("seed", SALT[:31], b""),
        ("file", SALT, bytes(31)),
        ("pixels", SALT, bytes(33)),
    ],
)
def test_what_cannot_be_committed_to(field: str, salt: bytes, value: bytes) -> None:
    with pytest.raises(LedgerError):
        c.Opening(field, salt, value)


def test_openings_as_json() -> None:
    opening = c.Opening("file", SALT, bytes(range(32)))
    assert c.parse_opening(json.loads(json.dumps(opening.json))) == opening
    for change in (
        {"field": "sex"},
        {"salt": SALT.hex().upper()},
        {"value": "AA="},
        {"value": 3},
        {"more": ""},
    ):
        with pytest.raises(LedgerError):
            c.parse_opening(opening.json | change)
    for found in (None, [], "x", {}, {"field": "file", "salt": SALT.hex()}):
        with pytest.raises(LedgerError):
            c.parse_opening(found)


def test_latents_are_spelt_little_endian_in_c_order() -> None:
    value = b'[[2,3],"float32","w+"]\n' + struct.pack("<6f", -3, -2, -1, 0, 1, 2)
    for latent in (LATENT, LATENT.astype(">f4").astype(np.float32), np.asfortranarray(LATENT)):
        assert c.latent_value(latent, "w+") == value
    again, space, label = c.parse_latent(value)
    assert (space, label) == ("w+", None)
    assert again.dtype == np.float32
    np.testing.assert_array_equal(again, LATENT, strict=True)


def test_the_label_stands_behind_the_space() -> None:
    value = c.latent_value(np.float32([1]), "z", 7)
    assert value == b'[[1],"float32","z",7]\n' + struct.pack("<f", 1)
    assert c.parse_latent(value)[1:] == ("z", 7)
    assert c.latent_value(np.float32([1]), "z", 0) != c.latent_value(np.float32([1]), "z")
    with pytest.raises(LedgerError):
        c.latent_value(np.float32([1]), "z", -1)


@pytest.mark.parametrize(
    ("latent", "space"),
    [
        (LATENT.astype(np.float64), "z"),
        (np.float32([np.nan]), "z"),
        (np.float32([np.inf]), "z"),
        (np.zeros(0, np.float32), "z"),
        (np.zeros(2**22 + 1, np.float32), "z"),
        (LATENT, ""),
        (LATENT, "Z"),
    ],
)
def test_latents_that_are_refused(latent: np.ndarray, space: str) -> None:
    with pytest.raises(LedgerError):
        c.latent_value(latent, space)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b'[[1],"float32","z"]',
        b'[[1],"float32","z"]\n',
        b'[[1], "float32","z"]\n1234',
        b'[[1],"float64","z"]\n1234',
        b'[[-1],"float32","z"]\n1234',
        b'[[true],"float32","z"]\n1234',
        b'[[1.0],"float32","z"]\n1234',
        b'[1,"float32","z"]\n1234',
        b'[[1],"float32",1]\n1234',
        b'[[1],"float32","z",-1]\n1234',
        b'[[1],"float32","z",true]\n1234',
        b'[[1],"float32","z",null]\n1234',
        b'[[1],"float32","z",1,1]\n1234',
        b'[[1],"float32","z"]\n12345',
        b'[[9007199254740991,9007199254740991],"float32","z"]\n1234',
        b'[[1],"float32","z"]\n' + struct.pack("<f", float("nan")),
    ],
)
def test_values_that_are_no_latents(value: bytes) -> None:
    with pytest.raises(LedgerError):
        c.parse_latent(value)


@SETTINGS
@given(st.integers(0, 2**64 - 1), st.integers(0, 2**53 - 1))
def test_seeds_come_back(seed: int, index: int) -> None:
    assert c.parse_seed(c.seed_value(seed, index)) == (seed, index)


@pytest.mark.parametrize(
    "value",
    [
        b'{"index":0,"seed":7}',
        b'{"index":0,"seed":"07"}',
        b'{"index":0,"seed":"-7"}',
        b'{"index":0,"seed":" 7"}',
        b'{"index":0,"seed":"18446744073709551616"}',
        '{"index":0,"seed":"\u0667"}'.encode(),
        b'{"index":-1,"seed":"7"}',
        b'{"index":true,"seed":"7"}',
        b'{"seed":"7","index":0}',
        b'{"index":0,"index":0,"seed":"7"}',
        b'{"index":0,"more":0,"seed":"7"}',
        b"7",
    ],
)
def test_values_that_are_no_seeds(value: bytes) -> None:
    with pytest.raises(LedgerError):
        c.parse_seed(value)
    with pytest.raises(LedgerError):
        c.seed_value(-1, 0)


def test_pixels_and_files_are_hashed() -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert c.pixels_value(pixels) == hashlib.sha256(b"[2,4,3]\n" + bytes(range(24))).digest()
    assert c.pixels_value(np.asfortranarray(pixels)) == c.pixels_value(pixels)
    assert c.pixels_value(pixels.reshape(4, 2, 3)) != c.pixels_value(pixels)
    assert c.file_value(b"abc") == hashlib.sha256(b"abc").digest()
    for wrong in (pixels.astype(np.int16), pixels[0], pixels[:0]):
        with pytest.raises(LedgerError):
            c.pixels_value(wrong)


def test_recipients() -> None:
    assert (
        c.parse_recipient(c.recipient_value("Ada Lovelace, København")) == "Ada Lovelace, København"
    )
    for text in ("", "a\nb", "\x1b[2J", "\u202egnp", "x" * 1001, "\ud800"):
        with pytest.raises(LedgerError):
            c.recipient_value(text)
    with pytest.raises(LedgerError):
        c.parse_recipient(b"\xff")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@pytest.mark.slow
@SETTINGS
@given(JSON)
def test_canonical_json_comes_back(value: object) -> None:
    assert parse_canonical(encode_canonical(value), "it", 10**6) == value


@SETTINGS
@given(JSON)
def test_every_other_spelling_is_refused(value: object) -> None:
    canonical = encode_canonical(value)
    for text in (
        json.dumps(value, indent=1),
        json.dumps(value),
        json.dumps(value, separators=(",", ":")),
    ):
        if text.encode() != canonical:
            with pytest.raises(LedgerError):
                parse_canonical(text.encode(), "it", 10**6)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"1.0",
        b"1e3",
        b"-0",
        b"NaN",
        b"Infinity",
        b"9007199254740992",
        b"1" * 5000,
        b'{"a":1,"a":1}',
        b'{"b":1,"a":1}',
        b'"\\ud800"',
        b'"\\u0041"',
        b'{"\\ud800":1}',
        b"\xff",
        b"\xef\xbb\xbf1",
        b"[" * 60_000,
        b"[1] ",
        b'"\xed\xa0\x80"',
        '{"\U0001f600":1,"\ufb33":2}'.encode("utf-16-be"),
        '{"\ufb33":2,"\U0001f600":1}'.encode(),  # by code points, not by UTF-16
    ],
)
def test_json_that_is_refused(data: bytes) -> None:
    with pytest.raises(LedgerError):
        parse_canonical(data, "it", 65_535)


def test_what_canonical_json_cannot_spell() -> None:
    for value in (float("nan"), 2**53, b"bytes", {1: 2}, "\ud800", {"\ud800": 1}):
        with pytest.raises(LedgerError):
            encode_canonical(value)
    with pytest.raises(LedgerError, match="at most 3"):
        parse_canonical(b"[1,2]", "it", 3)
