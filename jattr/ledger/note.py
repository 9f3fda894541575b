"""Signed notes: a text and signature lines under it (https://c2sp.org/signed-note).

Signatures of keys that are not trusted are carried along and mean nothing. A signature that claims
to be a trusted key's and is not spoils the whole note.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from jattr.errors import LedgerError, VerificationError
from jattr.ledger.encoding import encode_base64, parse_base64, shown, split_lines
from jattr.ledger.keys import Signer, Verifier, check_name

MAX_NOTE_BYTES = 1_000_000
MAX_SIGNATURES = 100
DASH = "\N{EM DASH} "


@dataclass(frozen=True)
class Signature:
    """One signature line."""

    name: str
    key_id: bytes  # 4 bytes
    signed: bytes  # what the key's type makes of it

    @property
    def line(self) -> str:
        """The line, with its newline."""
        return f"{DASH}{self.name} {encode_base64(self.key_id + self.signed)}\n"


@dataclass(frozen=True)
class Note:
    """A parsed note. Nothing in it is verified."""

    text: str  # ends in a newline
    signatures: tuple[Signature, ...]

    @property
    def data(self) -> bytes:
        """The note as it is stored and sent."""
        return (
            self.text + "\n" + "".join(signature.line for signature in self.signatures)
        ).encode()


@dataclass(frozen=True)
class OpenedNote:
    """A note that a trusted key has signed; no signature of a trusted key in it is wrong."""

    text: str
    verified: dict[Verifier, int | None]  # key -> the time it states, seconds since 1970
    unknown: tuple[Signature, ...]


def parse_note(data: bytes) -> Note:
    """Return a note's text and signatures, unverified.

    Raises:
      LedgerError: it is not spelt as the format demands.
    """
    if len(data) > MAX_NOTE_BYTES:
        raise LedgerError(f"the note has {len(data)} bytes; at most {MAX_NOTE_BYTES} are read")
    try:
        whole = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise LedgerError(f"the note is not UTF-8: {error}") from error
    if any(letter < " " and letter != "\n" for letter in whole):
        raise LedgerError("the note has a control character; only newlines may occur")
    # "Format": the last empty line separates; the text itself may have empty lines.
    text, blank, block = whole.rpartition("\n\n")
    if not blank or not block:
        raise LedgerError("the note has no signatures: they follow an empty line, one a line")
    return Note(text + "\n", parse_signatures(block.encode()))


def parse_signatures(block: bytes) -> tuple[Signature, ...]:
    """Return the signatures of lines that each begin with an em dash."""
    lines = split_lines(block, "the block of signatures")
    if len(lines) > MAX_SIGNATURES:
        raise LedgerError(f"{len(lines)} signatures; at most {MAX_SIGNATURES} are read")
    return tuple(_parse_signature(line) for line in lines)


def open_note(data: bytes, verifiers: Iterable[Verifier]) -> OpenedNote:
    """Verify a note with the keys that are trusted.

    Raises:
      LedgerError: the note is malformed, or two keys share the name and the ID of a signature.
      VerificationError: a trusted key's signature is wrong, or no trusted key has signed.
    """
    note = parse_note(data)
    trusted: dict[tuple[str, bytes], list[Verifier]] = {}
    for verifier in verifiers:
        trusted.setdefault((verifier.name, verifier.key_id), []).append(verifier)
    # "Signatures": by name and ID a line finds its key, and only the whole key decides. What no
    # trusted key has signed is passed over; what a trusted key should have signed must be right.
    verified: dict[Verifier, int | None] = {}
    unknown = []
    for signature in note.signatures:
        keys = trusted.get((signature.name, signature.key_id), [])
        if len(keys) > 1:
            raise LedgerError(
                f"two keys have the name {signature.name} and the ID {signature.key_id.hex()};"
                " give one"
            )
        if not keys:
            unknown.append(signature)
        # a key's further lines are dropped, as Go's implementation does
        elif keys[0] not in verified:
            verified[keys[0]] = keys[0].verify(note.text, signature.signed)
    if not verified:
        signers = ", ".join(sorted({signature.name for signature in note.signatures}))
        raise VerificationError(
            "no trusted key has signed the note; its signatures claim to be by"
            f" {shown(signers.encode())}"
        )
    return OpenedNote(note.text, verified, tuple(unknown))


def sign_note(
    text: str, signers: Sequence[Signer], *, time: int = 0, existing: Sequence[Signature] = ()
) -> bytes:
    """Return the note of a text with the signatures of `signers` after those it has.

    Raises:
      LedgerError: the text cannot stand in a note.
    """
    if not text.endswith("\n") or any(letter < " " and letter != "\n" for letter in text):
        raise LedgerError(
            "the text of a note ends in a newline and has no other control characters"
        )
    for signature in existing:
        check_name(signature.name)
    new = [Signature(key.name, key.verifier.key_id, key.sign(text, time=time)) for key in signers]
    # A key that signs again takes the place of its older line.
    new_ids = {(signature.name, signature.key_id) for signature in new}
    old = [each for each in existing if (each.name, each.key_id) not in new_ids]
    if len(old) + len(new) > MAX_SIGNATURES:
        raise LedgerError(f"a note has at most {MAX_SIGNATURES} signatures")
    return Note(text, (*old, *new)).data


def _parse_signature(line: bytes) -> Signature:
    text = line.decode()
    if not text.startswith(DASH):
        raise LedgerError(
            f"the signature line {shown(line)} does not begin with an em dash and a space"
        )
    name, space, data = text.removeprefix(DASH).partition(" ")
    if not space:
        raise LedgerError(f"the signature line {shown(line)} is not a name, a space and base64")
    check_name(name)
    # "Format": the base64 is of the 4-byte key ID and then what the key's type makes.
    signature = parse_base64(data.encode(), f"the signature of {name}")
    if len(signature) < 5:
        raise LedgerError(
            f"the signature of {name} is empty: it has a 4-byte key ID and then the signature"
        )
    return Signature(name, signature[:4], signature[4:])
