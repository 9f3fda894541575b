"""Keys that sign notes: Ed25519, timestamped Ed25519 cosignatures, ML-DSA-44 (sub)tree signatures.

A key is told by its name and a 4-byte ID, which is an identifier and no proof: what is trusted is
the whole public key. https://c2sp.org/signed-note, https://c2sp.org/tlog-cosignature
"""

import hashlib
import secrets
import struct
from dataclasses import dataclass, field
from typing import TypeAlias

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ed25519, mldsa

from jattr.errors import LedgerError, VerificationError
from jattr.ledger.checkpoint import parse_checkpoint
from jattr.ledger.encoding import MAX_LOG_SIZE, encode_base64, encode_text, parse_base64, shown

ED25519, COSIGNATURE, ML_DSA_44 = 0x01, 0x04, 0x06  # signature types assigned by C2SP
KINDS = {ED25519: "ed25519", COSIGNATURE: "cosignature", ML_DSA_44: "ml-dsa-44"}
PUBLIC_BYTES = {ED25519: 32, COSIGNATURE: 32, ML_DSA_44: 1312}
SEED_BYTES = 32
SIGNATURE_BYTES = {ED25519: 64, COSIGNATURE: 64, ML_DSA_44: 2420}
PRIVATE_PREFIX = "PRIVATE+KEY+"

PublicKey: TypeAlias = ed25519.Ed25519PublicKey | mldsa.MLDSA44PublicKey
PrivateKey: TypeAlias = ed25519.Ed25519PrivateKey | mldsa.MLDSA44PrivateKey


@dataclass(frozen=True)
class Verifier:
    """A public key with its name."""

    name: str
    kind: int  # one of KINDS
    public: bytes

    def __post_init__(self) -> None:
        """Check the fields."""
        check_name(self.name)
        if self.kind not in KINDS:
            raise LedgerError(f"key of type 0x{self.kind:02x}: the types known are {_kinds()}")
        if len(self.public) != PUBLIC_BYTES[self.kind]:
            raise LedgerError(
                f"public key of {len(self.public)} bytes: {KINDS[self.kind]} has"
                f" {PUBLIC_BYTES[self.kind]}"
            )
        try:
            _public_key(self.kind, self.public)
        except ValueError as error:
            raise LedgerError(
                f"the key of {self.name} is no {KINDS[self.kind]} public key: {error}"
            ) from error

    @property
    def key_id(self) -> bytes:
        """The first 4 bytes of the hash of name, type and key (signed-note, "Signatures")."""
        return hashlib.sha256(
            self.name.encode() + b"\n" + bytes([self.kind]) + self.public
        ).digest()[:4]

    @property
    def vkey(self) -> str:
        """The key as one line of text, to be handed to whoever verifies."""
        return f"{self.name}+{self.key_id.hex()}+{encode_base64(bytes([self.kind]) + self.public)}"

    def verify(self, text: str, signature: bytes) -> int | None:
        """Check a signature of a note's text and return its time.

        Returns:
          Seconds since 1970; None where it states none.

        Raises:
          VerificationError: the signature is not this key's over this text.
        """
        # tlog-cosignature, "Format": a timestamped_signature is a time and then the signature.
        time, bare = _split_time(self.kind, signature)
        if len(bare) != SIGNATURE_BYTES[self.kind]:
            raise VerificationError(f"the signature of {self.name} has the wrong length")
        try:
            _public_key(self.kind, self.public).verify(
                bare, _message(self.kind, self.name, text, time)
            )
        except (InvalidSignature, LedgerError) as error:
            raise VerificationError(
                f"invalid signature of {self.name} ({self.key_id.hex()})"
            ) from error
        return time or None


@dataclass(frozen=True)
class Signer:
    """A private key with its name. Its text and its seed are secrets; `repr` shows neither."""

    name: str
    kind: int
    seed: bytes = field(repr=False)  # 32 bytes

    @classmethod
    def generate(cls, name: str, kind: int = ED25519) -> "Signer":
        """Return a new key from the system's randomness."""
        signer = cls(name, kind, secrets.token_bytes(SEED_BYTES))
        signer.verifier  # noqa: B018  checks name and type
        return signer

    @property
    def skey(self) -> str:
        """The private key as one line of text, as Go's `note` package writes it."""
        secret = encode_base64(bytes([self.kind]) + self.seed)
        return f"{PRIVATE_PREFIX}{self.name}+{self.verifier.key_id.hex()}+{secret}"

    @property
    def verifier(self) -> Verifier:
        """The public key that belongs to it."""
        return Verifier(self.name, self.kind, self._key().public_key().public_bytes_raw())

    def sign(self, text: str, *, time: int = 0) -> bytes:
        """Return the signature of a note's text.

        Args:
          text: the text.
          time: seconds since 1970, stated where the key's type states a time.
        """
        if not 0 <= time <= MAX_LOG_SIZE:
            raise LedgerError(f"time {time}: seconds since 1970, from 0 to 2^63 - 1")
        stamp = b"" if self.kind == ED25519 else struct.pack(">Q", time)
        return stamp + self._key().sign(_message(self.kind, self.name, text, time))

    def _key(self) -> PrivateKey:
        if self.kind == ML_DSA_44:
            return mldsa.MLDSA44PrivateKey.from_seed_bytes(self.seed)
        return ed25519.Ed25519PrivateKey.from_private_bytes(self.seed)


def parse_vkey(text: str) -> Verifier:
    """Return the key that a line of text states, `name+ID+base64`.

    Raises:
      LedgerError: it is misspelt, of an unknown type, or its ID is another key's.
    """
    if text.startswith(PRIVATE_PREFIX):
        raise LedgerError("this is a private key, which nobody else may see: give the public one")
    name, key_id, data = _split(text, "public key")
    verifier = Verifier(name, data[0], data[1:])
    if verifier.key_id.hex() != key_id:
        raise LedgerError(
            f"public key {shown(text.encode())}: its ID should be {verifier.key_id.hex()}; it is"
            " damaged"
        )
    return verifier


def parse_skey(text: str) -> Signer:
    """Return the private key that a line of text states; the text is not repeated in errors."""
    if not text.startswith(PRIVATE_PREFIX):
        raise LedgerError(f"a private key begins with {PRIVATE_PREFIX!r}; this text does not")
    name, key_id, data = _split(text.removeprefix(PRIVATE_PREFIX), "private key", secret=True)
    if len(data) != 1 + SEED_BYTES or data[0] not in KINDS:
        raise LedgerError(
            f"the private key is not a seed of {SEED_BYTES} bytes of a type known: {_kinds()}"
        )
    signer = Signer(name, data[0], data[1:])
    if signer.verifier.key_id.hex() != key_id:
        raise LedgerError("the private key does not have the ID it states; it is damaged")
    return signer


def check_name(name: str) -> None:
    """Check a key name: not empty, printable, as errors repeat it, no spaces, no plus signs."""
    if not name or "+" in name or " " in name or not name.isprintable():
        raise LedgerError(
            f"key name {name[:60]!a}: choose one without spaces, plus signs or control letters"
        )


def _split(text: str, what: str, *, secret: bool = False) -> tuple[str, str, bytes]:
    parts, raw = text.split("+", 2), encode_text(text, f"the {what}")
    quoted = "" if secret else f" {shown(raw)}"
    if len(parts) != 3 or len(parts[1]) != 8 or set(parts[1]) - set("0123456789abcdef"):
        raise LedgerError(f"{what}{quoted}: write name+ID+base64, the ID as 8 hexadecimal digits")
    try:
        check_name(parts[0])
        data = parse_base64(parts[2].encode(), "the key")
    except LedgerError as error:
        if secret:
            raise LedgerError(f"{what}: its name or its base64 is misspelt") from None
        raise LedgerError(f"{what}{quoted}: {error}") from error
    if not data:
        raise LedgerError(f"{what}{quoted}: it is empty")
    return parts[0], parts[1], data


def _public_key(kind: int, public: bytes) -> PublicKey:
    if kind == ML_DSA_44:
        return mldsa.MLDSA44PublicKey.from_public_bytes(public)
    return ed25519.Ed25519PublicKey.from_public_bytes(public)


def _split_time(kind: int, signature: bytes) -> tuple[int, bytes]:
    if kind == ED25519:
        return 0, signature
    if len(signature) < 8 or (time := struct.unpack(">Q", signature[:8])[0]) > MAX_LOG_SIZE:
        raise VerificationError("a cosignature begins with its time, 8 bytes, below 2^63")
    return time, signature[8:]


def _message(kind: int, name: str, text: str, time: int) -> bytes:
    """Return the bytes that are signed: the text, the text and a time, or the tree it states."""
    # signed-note, "Ed25519 signatures": the note's text.
    if kind == ED25519:
        return text.encode()
    # tlog-cosignature, "Ed25519 signed message": a header that keeps it apart from a plain note.
    if kind == COSIGNATURE:
        return f"cosignature/v1\ntime {time}\n{text}".encode()
    # "ML-DSA-44 signed message": a cosigned_message, here of the subtree that is the whole tree.
    tree = parse_checkpoint(text)
    cosigner, origin = name.encode(), tree.origin.encode()
    if max(len(cosigner), len(origin)) > 255:
        raise LedgerError("ML-DSA-44 signs names of at most 255 bytes, of the key and of the log")
    head = b"subtree/v1\n\0" + bytes([len(cosigner)]) + cosigner + struct.pack(">Q", time)
    return head + bytes([len(origin)]) + origin + struct.pack(">QQ", 0, tree.size) + tree.root


def _kinds() -> str:
    return ", ".join(f"0x{kind:02x} ({name})" for kind, name in KINDS.items())
