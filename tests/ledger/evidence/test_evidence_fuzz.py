"""Damaged bundles: an error of one line, or nothing that is trusted has changed.

Bytes are damaged as they stand, which the signature catches, and values are damaged at random
before the log's own key signs them, which gets them past it.
"""

import base64
import contextlib
import os
import random
from typing import Any

import pytest
from ledger_mutations import INTERESTING, mutated
from tiny_world import DENIED, FOREIGN, NONCE, World, made_of, saying, tiny

from jattr.errors import ImageError, LedgerError, VerificationError
from jattr.ledger.canonical import encode_canonical, parse_canonical
from jattr.ledger.evidence.bundle import Bundle, _statement, encode_bundle, parse_bundle
from jattr.ledger.evidence.verify import Verified, verify_evidence
from jattr.ledger.note import sign_note

COUNT = int(os.environ.get("JATTR_FUZZ", "3000"))
COUNTS = pytest.mark.parametrize("count", [300, pytest.param(COUNT, marks=pytest.mark.corpus)])
Refused = LedgerError | VerificationError | ImageError


@pytest.fixture(scope="module")
def bundles(world: World) -> list[bytes]:
    levels = ("regenerated", "perceptual", "commitments")
    return [made_of(world.mine, FOREIGN, world.end, DENIED, level=level).data for level in levels]


def clear(error: Exception) -> bool:
    """Whether the message is one line that can be printed, and not too long."""
    return 0 < len(str(error)) < 1500 and str(error).isprintable()


def read(world: World, data: bytes) -> Bundle | Refused:
    try:
        return parse_bundle(data, [party.key for party in world.mine.policy.logs])
    except (LedgerError, VerificationError, ImageError) as error:
        return error


def verify(world: World, data: bytes, *, weights: bool) -> Verified | Refused:
    gen = tiny() if weights else None
    try:
        return verify_evidence(
            data, world.mine.public, world.mine.policy, gen=gen, nonce=NONCE, invert=saying(DENIED)
        )
    except (LedgerError, VerificationError, ImageError) as error:
        return error


@COUNTS
def test_damaged_bytes(world: World, bundles: list[bytes], count: int) -> None:
    rng, refused = random.Random("bytes"), 0
    sound = [read(world, data) for data in bundles]
    for number in range(count):
        found = read(world, mutated(bundles[number % 3], rng, bundles))
        if isinstance(found, Exception):
            assert clear(found), str(found)
            refused += 1
        else:  # a line of an unknown key in the signature
            assert found in sound
    assert refused > 0.99 * count


def test_the_signature_covers_every_field(world: World, bundles: list[bytes]) -> None:
    """What is parsed is spelt again to the same bytes, so nothing unsigned is in it."""
    for data in bundles:
        bundle = read(world, data)
        assert isinstance(bundle, Bundle)
        assert encode_bundle(bundle, world.mine.log.signers) == data


VALUES: list[Any] = [
    None,
    True,
    False,
    0,
    1,
    -1,
    255,
    2**53 - 1,
    -(2**53) + 1,
    "",
    "0",
    "1",
    "nan",
    "x" * 3000,
    "\x00",
    "\x1b[31m",
    "\u202e",
    "\x9b31m",
    "é",
    "supported-denial",
    "fits",
    "regenerated",
    [],
    {},
    [[]],
    [0],
    [None],
    {"entry": 0},
    "blur:2",
    "jpeg:75",
    "resize:4",
    "crop:0,0,4,4",
    "../../etc/passwd",
    "1e308",
    "-0",
    "0" * 64,
]


def damaged(value: Any, rng: random.Random) -> Any:
    """A copy with one thing in it changed."""
    if isinstance(value, dict) and value and rng.random() < 0.92:
        key = rng.choice([*value])
        return {**value, key: damaged(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.8:
        place = rng.randrange(len(value))
        way = rng.randrange(6)
        if way == 0:
            return value[:place] + value[place + 1 :]
        if way == 1:
            return [*value, value[place]]
        if way == 2:
            return rng.sample(value, len(value))
        return [*value[:place], damaged(value[place], rng), *value[place + 1 :]]
    if isinstance(value, str) and value and rng.random() < 0.7:
        return damaged_text(value, rng)
    if type(value) is int and rng.random() < 0.6:
        return value + rng.choice([-1, 1, 2, 100])
    return rng.choice(VALUES)


def damaged_text(text: str, rng: random.Random) -> str:
    """Damage what a text spells in base64, where it does, else the text."""
    with contextlib.suppress(ValueError):
        inner = base64.b64decode(text, validate=True)
        if inner and rng.random() < 0.9:
            return base64.b64encode(mutated(inner, rng, INTERESTING[4:])).decode()
    return mutated(text.encode(), rng, INTERESTING[4:]).decode("utf-8", "replace")


@COUNTS
@pytest.mark.parametrize("weights", [False, True])
def test_damaged_values_under_a_good_signature(
    world: World, bundles: list[bytes], weights: bool, count: int
) -> None:
    rng, signer = random.Random(f"values {weights}"), world.mine.log.signers[0]
    sound = [parse_canonical(data, "it", 10**8) for data in bundles]
    for fields in sound:
        del fields["signature"]
    accepted = 0
    for number in range(count // 5):
        fields = damaged(sound[number % 3], rng)
        if not isinstance(fields, dict) or fields == sound[number % 3]:
            continue
        try:
            note = base64.b64encode(sign_note(_statement(fields), [signer])).decode()
            data = encode_canonical(fields | {"signature": note})
        except LedgerError:  # nothing that JSON can spell
            continue
        found = verify(world, data, weights=weights)
        if isinstance(found, Exception):
            assert clear(found), str(found)
            continue
        accepted += 1
        same = read(world, bundles[number % 3])
        assert isinstance(same, Bundle)
        assert found.verdict.json == same.verdict
        assert said(found.bundle, weights) == said(same, weights)
    assert accepted < 0.15 * count / 5


def said(bundle: Bundle, weights: bool) -> tuple[Any, ...]:
    """What is verified of a bundle.

    What only its owner can know is left out, and without weights inversion is.
    """
    checked = (
        bundle.origin,
        bundle.digest,
        bundle.level,
        bundle.examined,
        bundle.verdict,
        bundle.openings,
        bundle.nonce,
    )
    return (*checked, bundle.attribution.fit, bundle.attribution.alteration) if weights else checked
