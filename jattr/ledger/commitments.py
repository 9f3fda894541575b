"""Hiding commitments: what a public leaf says of a secret value, and what opens it later.

A commitment to `value` under `field` is SHA-256("jattr/<field>/v1" || 0x00 || salt || value) with a
salt of 32 random bytes of its own. Without the salt nobody can test guesses, not even of a seed;
nobody can open it to another value without breaking SHA-256. `docs/formats.md` has every value's
spelling, with vectors.
"""

import dataclasses
import hashlib
import hmac
import math
import re
import secrets
from dataclasses import dataclass

import numpy as np

from jattr.errors import LedgerError, VerificationError
from jattr.ledger.canonical import MAX_INTEGER, encode_canonical, parse_canonical
from jattr.ledger.encoding import encode_base64, parse_base64, shown

SALT_BYTES = 32
MAX_LATENT = 2**24  # bytes
MAX_RECIPIENT = 1000  # bytes
# field -> bytes of its value; None: any number
FIELDS = {
    "latent": None,
    "seed": None,
    "file": 32,
    "pixels": 32,
    "perceptual": 32,
    "recipient": None,
}
SEED = re.compile(r"0|[1-9][0-9]{0,19}")
SPACE = re.compile(r"[a-z][a-z0-9_+]{0,19}")
# nothing shown may hold them
CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def commit(field: str, salt: bytes, value: bytes) -> bytes:
    """Return the commitment, 32 bytes, to a value spelt as its field demands.

    Raises:
      LedgerError: unknown field, salt of another length than 32 bytes, value of another length than
        the field has.

    >>> commit("recipient", bytes(32), b"Ada").hex()[:16]
    '4fe96bb4cb13bced'
    """
    if field not in FIELDS:
        raise LedgerError(
            f"there is no field {shown(field.encode(errors='replace'))}; there are"
            f" {', '.join(FIELDS)}"
        )
    if len(salt) != SALT_BYTES:
        raise LedgerError(f"the salt of {field} has {len(salt)} bytes; it must have {SALT_BYTES}")
    if FIELDS[field] not in (None, len(value)):
        raise LedgerError(
            f"the value of {field} has {len(value)} bytes; it must have {FIELDS[field]}"
        )
    return hashlib.sha256(f"jattr/{field}/v1".encode() + b"\0" + salt + value).digest()


@dataclass(frozen=True)
class Opening:
    """What opens one commitment: secrets until it is handed over, which `repr` does not show."""

    field: str  # one of FIELDS
    salt: bytes = dataclasses.field(repr=False)  # 32 bytes
    value: bytes = dataclasses.field(repr=False)  # spelt as the field demands

    def __post_init__(self) -> None:
        """Check the fields."""
        commit(self.field, self.salt, self.value)

    @classmethod
    def new(cls, field: str, value: bytes) -> "Opening":
        """Return the opening of a new commitment, its salt from the system's randomness."""
        return cls(field, secrets.token_bytes(SALT_BYTES), value)

    @property
    def commitment(self) -> bytes:
        """The 32 bytes that a leaf states, in hexadecimal digits."""
        return commit(self.field, self.salt, self.value)

    def check(self, commitment: bytes) -> None:
        """Check that this opens a commitment.

        Raises:
          VerificationError: it does not.
        """
        if not hmac.compare_digest(self.commitment, commitment):
            raise VerificationError(
                f"this {self.field} and salt are not what the leaf committed to: a false opening"
            )

    @property
    def json(self) -> dict[str, str]:
        """The object that stands for it in a bundle."""
        return {"field": self.field, "salt": self.salt.hex(), "value": encode_base64(self.value)}


def parse_opening(fields: object) -> Opening:
    """Return the opening that a JSON object states.

    Raises:
      LedgerError: other keys or types, unknown field, salt or value misspelt.
    """
    if not isinstance(fields, dict) or sorted(fields) != ["field", "salt", "value"]:
        raise LedgerError(
            "an opening is an object with the keys field, salt and value, and no others"
        )
    if not all(isinstance(text, str) for text in fields.values()):
        raise LedgerError("field, salt and value of an opening are texts")
    salt = parse_hex(fields["salt"], "the salt")
    value = parse_base64(fields["value"].encode(errors="replace"), "the value")
    return Opening(fields["field"], salt, value)


def parse_hex(text: str, what: str) -> bytes:
    """Return the 32 bytes that 64 lower-case hexadecimal digits spell."""
    if not re.fullmatch("[0-9a-f]{64}", text):
        raise LedgerError(
            f"{what} is {shown(text.encode(errors='replace'))}: write 64 lower-case hexadecimal"
            " digits"
        )
    return bytes.fromhex(text)


def latent_value(latent: np.ndarray, space: str, label: int | None = None) -> bytes:
    """Return the value of a latent, float32, of one image: its JSON header, a newline, its numbers.

    The header is the canonical JSON of [shape, "float32", space], and of conditional generators
    [shape, "float32", space, label]; the numbers are little-endian, in C order.

    Raises:
      LedgerError: another type, a number that is not finite, no numbers, more than 16 MiB, a space
        without a name, a negative label.

    >>> latent_value(np.zeros(1, np.float32), "z")
    b'[[1],"float32","z"]\\n\\x00\\x00\\x00\\x00'
    """
    if (
        latent.dtype != np.float32
        or not 0 < latent.nbytes <= MAX_LATENT
        or not np.isfinite(latent).all()
    ):
        raise LedgerError(
            f"latent {latent.dtype} {latent.shape}: give finite float32 numbers, at most 16 MiB"
        )
    if not SPACE.fullmatch(space):
        raise LedgerError(f"the space is {shown(space.encode())}: write a name such as z, w or w+")
    if label is not None and not 0 <= label <= MAX_INTEGER:
        raise LedgerError(
            f"label {label}: give a number from 0 to 2^53 - 1, or None for unconditional generators"
        )
    header = encode_canonical(
        [list(latent.shape), "float32", space, *([] if label is None else [label])]
    )
    return header + b"\n" + latent.astype("<f4").tobytes(order="C")


def parse_latent(value: bytes) -> tuple[np.ndarray, str, int | None]:
    """Return the latent, float32, its space and its label (None: unconditional).

    Raises:
      LedgerError: it is not spelt as `latent_value` writes it.
    """
    head, newline, numbers = value.partition(b"\n")
    header = parse_canonical(head, "the header of the latent", 1000)
    if (
        not newline
        or not isinstance(header, list)
        or len(header) not in (3, 4)
        or header[1] != "float32"
    ):
        raise LedgerError(
            'a latent begins with the line [shape,"float32",space] or [shape,"float32",space,label]'
        )
    shape, _, space, *label = header
    if label and type(label[0]) is not int:
        raise LedgerError("the label of the latent is no whole number")
    if (
        not isinstance(shape, list)
        or len(shape) > 8
        or not all(type(n) is int and n > 0 for n in shape)
    ):
        raise LedgerError("the shape of the latent is no list of at most 8 positive numbers")
    if not isinstance(space, str) or len(numbers) != 4 * math.prod(shape):
        raise LedgerError(
            f"the latent has {len(numbers)} bytes of numbers, or a space without a name"
        )
    latent = np.frombuffer(numbers, "<f4").astype(np.float32).reshape(shape)
    latent_value(latent, space, *label)
    return latent, space, label[0] if label else None


def seed_value(seed: int, index: int) -> bytes:
    """Return the value of a seed, 0 to 2^64 - 1, and the image's index among those it gives.

    >>> seed_value(7, 0)
    b'{"index":0,"seed":"7"}'
    """
    if not 0 <= seed < 2**64 or not 0 <= index <= MAX_INTEGER:
        raise LedgerError(
            f"seed {seed}, index {index}: give a seed from 0 to 2^64 - 1 and an index from 0 to"
            " 2^53 - 1"
        )
    return encode_canonical({"seed": str(seed), "index": index})


def parse_seed(value: bytes) -> tuple[int, int]:
    """Return seed and index.

    Raises:
      LedgerError: they are not spelt as `seed_value` writes them.
    """
    fields = parse_canonical(value, "the seed", 200)
    if (
        not isinstance(fields, dict)
        or sorted(fields) != ["index", "seed"]
        or type(fields["index"]) is not int
    ):
        raise LedgerError("a seed is an object of a seed and an index")
    if not isinstance(fields["seed"], str) or not SEED.fullmatch(fields["seed"]):
        raise LedgerError("the seed is no decimal number in a text")
    seed, index = int(fields["seed"]), fields["index"]
    seed_value(seed, index)  # checks their ranges
    return seed, index


def file_value(data: bytes) -> bytes:
    """Return the value of a file: the SHA-256 of its bytes, 32 bytes."""
    return hashlib.sha256(data).digest()


def pixels_value(pixels: np.ndarray) -> bytes:
    """Return the value of decoded pixels, uint8 [H, W, C]: a SHA-256, 32 bytes.

    Of the canonical JSON of [H, W, C], a newline and the bytes in C order, rows from the top,
    channels last.

    Raises:
      LedgerError: another type or number of axes.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or not pixels.size:
        raise LedgerError(f"pixels are {pixels.dtype} {pixels.shape}: give uint8 [H, W, C]")
    return hashlib.sha256(
        encode_canonical(list(pixels.shape)) + b"\n" + pixels.tobytes(order="C")
    ).digest()


def recipient_value(text: str) -> bytes:
    """Return the value of a recipient's name: 1 to 1000 bytes, no control characters."""
    try:
        value = text.encode()
    except UnicodeEncodeError as error:
        raise LedgerError("the recipient cannot be spelt in UTF-8") from error
    if not 0 < len(value) <= MAX_RECIPIENT or CONTROLS.search(text):
        raise LedgerError(
            f"the recipient is {shown(value)}: give 1 to {MAX_RECIPIENT} bytes, no control"
            " characters"
        )
    return value


def parse_recipient(value: bytes) -> str:
    """Return the recipient's name.

    Raises:
      LedgerError: it is not spelt as `recipient_value` writes it.
    """
    try:
        text = value.decode()
    except UnicodeDecodeError as error:
        raise LedgerError("the recipient is not spelt in UTF-8") from error
    recipient_value(text)
    return text
