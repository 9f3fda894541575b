"""Who a log is: its name and keys, in the files `log.json` (public) and `keys` (private)."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jattr.bounded_json import read_json_text
from jattr.errors import LedgerError
from jattr.ledger.checkpoint import check_origin
from jattr.ledger.durable import replace_file
from jattr.ledger.keys import ED25519, ML_DSA_44, Signer, Verifier, parse_skey, parse_vkey

PUBLIC_FILE, KEYS_FILE = "log.json", "keys"
SCHEMA = 1
MAX_IDENTITY_BYTES = 100_000  # of either file


@dataclass(frozen=True)
class Identity:
    """The name of a log and its public keys."""

    origin: str
    keys: tuple[Verifier, ...]  # Ed25519, then ML-DSA-44 if there are two

    def __post_init__(self) -> None:
        """Check the fields."""
        check_origin(self.origin)
        kinds = tuple(key.kind for key in self.keys)
        if kinds not in ((ED25519,), (ED25519, ML_DSA_44)):
            raise LedgerError(
                "a log has an Ed25519 key and, if it has two, an ML-DSA-44 key after it"
            )
        for key in self.keys:
            if key.name != self.origin:
                raise LedgerError(
                    f"the key of the log {self.origin} must have its name, not {key.name}"
                )

    @property
    def data(self) -> bytes:
        """The public file."""
        facts = {"schema": SCHEMA, "origin": self.origin, "keys": [key.vkey for key in self.keys]}
        return json.dumps(facts, ensure_ascii=False, indent=1).encode() + b"\n"


def identity_of(origin: str, signers: Sequence[Signer]) -> Identity:
    """Return the identity of a log with these keys.

    Raises:
      LedgerError: the name or the keys will not do.
    """
    return Identity(origin, tuple(signer.verifier for signer in signers))


def write_identity(folder: Path, origin: str, signers: Sequence[Signer]) -> None:
    """Write both files; to replace the keys of a log that is there, keep it locked.

    The private file comes first and may hold more keys than the public one names, so a log that is
    interrupted here still opens.

    Raises:
      LedgerError: the name or the keys will not do.
      OSError: a file cannot be written.
    """
    identity = identity_of(origin, signers)
    keep_private(folder, signers)
    replace_file(folder / PUBLIC_FILE, identity.data)


def keep_private(folder: Path, signers: Sequence[Signer]) -> None:
    """Write private keys before those that the private file has, durably.

    Raises:
      LedgerError: the file is damaged, or would grow larger than it may be.
      OSError: it cannot be written.
    """
    path = folder / KEYS_FILE
    lines = [signer.skey for signer in signers]
    older = [line for line in (_lines(path) if path.exists() else []) if line not in lines]
    data = "".join(f"{line}\n" for line in lines + older).encode()
    if len(data) > MAX_IDENTITY_BYTES:
        raise LedgerError(
            f"{path} would have more than {MAX_IDENTITY_BYTES} bytes; take keys out of it that"
            " sign no more"
        )
    replace_file(path, data, mode=0o600)


def read_private(folder: Path) -> dict[Verifier, Signer]:
    """Return all private keys that are kept, also those that do not sign, or not any more.

    Raises:
      LedgerError: the file is missing or damaged; no private text is shown.
    """
    lines = _lines(folder / KEYS_FILE)
    try:
        return {signer.verifier: signer for signer in map(parse_skey, lines)}
    except LedgerError as error:
        raise LedgerError(
            f"{folder / KEYS_FILE} is damaged: {error}; restore it from a copy"
        ) from None


def read_identity(folder: Path) -> Identity:
    """Return the name and public keys of the log in a folder.

    Raises:
      LedgerError: there is no log, or its file is damaged.
    """
    path = folder / PUBLIC_FILE
    if not path.is_file():
        raise LedgerError(
            f"{folder} has no {PUBLIC_FILE}, so it is no folder of a log; make one with `jattr log"
            " init`"
        )
    data = _read(path)
    try:
        facts: Any = read_json_text(data.decode())
        identity = Identity(facts["origin"], tuple(parse_vkey(key) for key in facts["keys"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LedgerError(f"{path} is damaged: {error}; restore it from a copy") from error
    if facts.get("schema") != SCHEMA or identity.data != data:
        raise LedgerError(
            f"{path} is not as this jattr writes it (schema {SCHEMA}); restore it from a copy"
        )
    return identity


def read_signers(folder: Path, identity: Identity) -> tuple[Signer, ...]:
    """Return the private keys of a log, in the order of its public ones.

    Raises:
      LedgerError: the file is missing or damaged, or lacks a key; no private text is shown.
    """
    signers = read_private(folder)
    missing = [key.vkey for key in identity.keys if key not in signers]
    if missing:
        raise LedgerError(
            f"{folder / KEYS_FILE} lacks the private key of {missing[0]}; restore it from a copy"
        )
    return tuple(signers[key] for key in identity.keys)


def _lines(path: Path) -> list[str]:
    try:
        return _read(path).decode("ascii").splitlines()
    except UnicodeDecodeError:
        raise LedgerError(
            f"{path} is damaged: it is not a text of private keys; restore it from a copy"
        ) from None


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_IDENTITY_BYTES + 1)
    except OSError as error:
        raise LedgerError(
            f"cannot read {path}: {error.strerror}; restore it or mend its permissions"
        ) from error
    if len(data) > MAX_IDENTITY_BYTES:
        raise LedgerError(
            f"{path} has more than {MAX_IDENTITY_BYTES} bytes; it is something else or damaged"
        )
    return data
