"""The leaves of a log: what its entries say of a model's uses, as canonical JSON (RFC 8785).

`{"jattr":"leaf/v1","kind":"intent",...}`; `docs/formats.md` has all fields and vectors. A leaf
shows commitments only: what they hide is in `commitments.py`. Reading is strict: one spelling, no
keys missing, unknown or twice. Whether one leaf fits another (an intent its model) is not checked
here.
"""

import dataclasses
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

from jattr.errors import LedgerError, VerificationError
from jattr.ledger.canonical import MAX_INTEGER, encode_canonical, parse_canonical
from jattr.ledger.commitments import CONTROLS
from jattr.ledger.encoding import encode_base64, parse_base64, shown
from jattr.ledger.keys import ED25519, SIGNATURE_BYTES, Signer, parse_vkey

LEAF_SCHEMA = "leaf/v1"
MAX_ENTRY = 65_535  # bytes, of tlog-tiles
MAX_TEXT = 1000  # characters
MAX_SETTINGS = 200
# no note's text has a zero byte, so no signature over a note counts here, or the reverse
KEY_CONTEXT = "jattr/key/v1\0"
HEX = re.compile("[0-9a-f]{64}")
Scalar: TypeAlias = str | int | bool | None
Check: TypeAlias = Callable[[object, str], object]  # (value, what it is) -> LedgerError raised


def _text(value: object, what: str) -> None:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TEXT or CONTROLS.search(value):
        raise LedgerError(
            f"{what} is no text of 1 to {MAX_TEXT} characters without control characters"
        )


def _hash(value: object, what: str) -> None:
    if not isinstance(value, str) or not HEX.fullmatch(value):
        raise LedgerError(f"{what} is not 64 lower-case hexadecimal digits")


def _index(value: object, what: str) -> None:
    if type(value) is not int or not 0 <= value <= MAX_INTEGER:
        raise LedgerError(f"{what} is no index: a number from 0 to 2^53 - 1")


def _settings(value: object, what: str) -> None:
    if not isinstance(value, dict) or len(value) > MAX_SETTINGS:
        raise LedgerError(f"{what} is no object of at most {MAX_SETTINGS} keys")
    for name, setting in value.items():
        _text(name, f"a key of {what}")
        whole = type(setting) is int and abs(setting) <= MAX_INTEGER
        if setting != "" and not (setting is None or isinstance(setting, bool) or whole):
            _text(setting, f"{name} of {what}, being no whole number, true, false or null,")


def _indices(value: object, what: str) -> None:
    if not isinstance(value, tuple) or not value:
        raise LedgerError(f"{what} is no list of one entry or more")
    for number in value:
        _index(number, f"an item of {what}")
    if any(later <= earlier for earlier, later in itertools.pairwise(value)):
        raise LedgerError(f"{what} are not in ascending order, each once")


def _vkey(value: object, what: str) -> None:
    _text(value, what)
    if parse_vkey(str(value)).kind != ED25519:
        raise LedgerError(f"{what} is no Ed25519 key; only those are rotated in the log")


def _signatures(value: object, what: str) -> None:
    if (
        not isinstance(value, tuple)
        or len(value) != 2
        or not all(isinstance(text, str) for text in value)
    ):
        raise LedgerError(f"{what} are not two texts, of the old key and of the new one")
    if any(
        len(parse_base64(text.encode(errors="replace"), what)) != SIGNATURE_BYTES[ED25519]
        for text in value
    ):
        raise LedgerError(f"{what} are not of {SIGNATURE_BYTES[ED25519]} bytes each")


def _or_null(check: Check) -> Check:
    return lambda value, what: value is None or check(value, what)


def checked(check: Check) -> Any:
    """Return a dataclass field whose value must pass a check."""
    return dataclasses.field(metadata={"check": check})


@dataclass(frozen=True)
class Leaf:
    """What all leaves can do. `data` is the entry of the log."""

    kind: ClassVar[str] = ""

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
          LedgerError: one is not legal.
        """
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            if isinstance(value, Mapping):
                # of its own, lest it change later
                object.__setattr__(self, item.name, value := dict(value))
            item.metadata["check"](value, f"{item.name} of the {self.kind} leaf")

    @property
    def json(self) -> dict[str, object]:
        """The leaf as a JSON object."""
        fields = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        return {"jattr": LEAF_SCHEMA, "kind": self.kind, **fields}

    @property
    def data(self) -> bytes:
        """The leaf as canonical JSON.

        Raises:
          LedgerError: it is larger than an entry may be.
        """
        data = encode_canonical(self.json)
        if len(data) > MAX_ENTRY:
            raise LedgerError(
                f"the {self.kind} leaf has {len(data)} bytes; an entry has at most {MAX_ENTRY}"
            )
        return data


@dataclass(frozen=True)
class ModelLeaf(Leaf):
    """A model, before its first use: its function, and the code and settings around it."""

    kind = "model"
    name: str = checked(_text)
    digest: str = checked(_hash)  # of the function; docs/digests.md
    weights_digest: str = checked(_hash)
    code: str = checked(_text)  # such as jattr 0.1.0
    code_digest: str = checked(_hash)
    settings: Mapping[str, Scalar] = checked(_settings)  # flat; fractions as decimal texts


@dataclass(frozen=True)
class IntentLeaf(Leaf):
    """A use of a model, before the image is made."""

    kind = "intent"
    model: int = checked(_index)  # entry of its MODEL leaf
    latent: str = checked(_hash)  # commitment
    # commitment; None: the latent was given, not drawn from a seed
    seed: str | None = checked(_or_null(_hash))
    settings: Mapping[str, Scalar] = checked(_settings)  # of this use
    beacon: str | None = checked(_or_null(_text))  # public randomness of its time, as given


@dataclass(frozen=True)
class ResultLeaf(Leaf):
    """What a use made, before it leaves the house."""

    kind = "result"
    intent: int = checked(_index)  # entry of its INTENT leaf
    # commitments; None: it left as an array, not as a file
    file: str | None = checked(_or_null(_hash))
    pixels: str = checked(_hash)
    perceptual: str = checked(_hash)
    recipient: str | None = checked(_or_null(_hash))


@dataclass(frozen=True)
class KeyLeaf(Leaf):
    """A rotation of the log's Ed25519 key, signed by both keys; `verify` checks that."""

    kind = "key"
    old: str = checked(_vkey)
    new: str = checked(_vkey)
    signatures: tuple[str, str] = checked(_signatures)  # base64, of the old key and of the new one

    @classmethod
    def signed(cls, old: Signer, new: Signer) -> "KeyLeaf":
        """Return the leaf that rotates from one key to another.

        Raises:
          LedgerError: they are one key, have different names, or another type than Ed25519.
        """
        if not old.kind == new.kind == ED25519:
            raise LedgerError("only Ed25519 keys are rotated in the log")
        names = old.verifier.vkey, new.verifier.vkey
        statement = _rotation(*names)
        signatures = encode_base64(old.sign(statement)), encode_base64(new.sign(statement))
        return cls(*names, signatures)

    def __post_init__(self) -> None:
        """Check every field, and that old and new are two keys of one name."""
        super().__post_init__()
        old, new = parse_vkey(self.old), parse_vkey(self.new)
        if old.name != new.name or old.public == new.public:
            raise LedgerError("old and new of the key leaf are not two different keys of one name")

    def verify(self) -> None:
        """Check both signatures.

        Raises:
          VerificationError: one is not of its key.
        """
        for vkey, signature in zip((self.old, self.new), self.signatures, strict=True):
            try:
                signed = parse_base64(signature.encode(), "the signature")
                parse_vkey(vkey).verify(_rotation(self.old, self.new), signed)
            except VerificationError as error:
                raise VerificationError(
                    f"the key leaf is not signed by {vkey}: the rotation is void"
                ) from error


@dataclass(frozen=True)
class EraseLeaf(Leaf):
    """Entries whose salts and values were deleted: unopened for ever. Root and proofs stay."""

    kind = "erase"
    entries: tuple[int, ...] = checked(_indices)  # ascending
    reason: str = checked(_text)


LEAVES: dict[str, type[Leaf]] = {
    leaf.kind: leaf for leaf in (ModelLeaf, IntentLeaf, ResultLeaf, KeyLeaf, EraseLeaf)
}


def parse_leaf(data: bytes) -> Leaf:
    """Return the leaf that an entry of a log states, one of LEAVES.

    Raises:
      LedgerError: it is no canonical JSON of a leaf of this schema; the message says what is wrong.
    """
    fields = parse_canonical(data, "the leaf", MAX_ENTRY)
    if not isinstance(fields, dict) or fields.get("jattr") != LEAF_SCHEMA:
        raise LedgerError(
            f'the entry is no leaf of this schema: an object with "jattr":"{LEAF_SCHEMA}"'
        )
    kind = fields.get("kind")
    if not isinstance(kind, str) or kind not in LEAVES:
        raise LedgerError(f"the leaf is of no known kind: {', '.join(LEAVES)}")
    names = {item.name for item in dataclasses.fields(LEAVES[kind])}
    if differing := sorted({"jattr", "kind", *names} ^ set(fields)):
        raise LedgerError(
            f"the {kind} leaf lacks keys, or has unknown ones:"
            f" {shown(', '.join(differing).encode())}"
        )
    values = {}
    for name in names:
        value = fields[name]
        values[name] = tuple(value) if isinstance(value, list) else value
    return LEAVES[kind](**values)


def _rotation(old: str, new: str) -> str:
    statement = {"jattr": LEAF_SCHEMA, "kind": KeyLeaf.kind, "old": old, "new": new}
    return KEY_CONTEXT + encode_canonical(statement).decode()


def commitments_of(leaf: Leaf) -> Sequence[tuple[str, str]]:
    """Return (field, commitment in hexadecimal digits) for each commitment that a leaf states."""
    names = {
        "intent": ("latent", "seed"),
        "result": ("file", "pixels", "perceptual", "recipient"),
    }.get(leaf.kind, ())
    return [(name, value) for name in names if (value := getattr(leaf, name)) is not None]
