"""Whom to trust: logs, witnesses and how many of them must agree (https://c2sp.org/tlog-policy).

Opening a checkpoint goes through a policy, always: without one, a signature is only somebody's.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from jattr.errors import LedgerError, VerificationError
from jattr.ledger.checkpoint import Checkpoint, parse_checkpoint
from jattr.ledger.encoding import parse_decimal, shown
from jattr.ledger.keys import COSIGNATURE, ED25519, ML_DSA_44, Verifier, parse_vkey
from jattr.ledger.note import Signature, open_note

NO_QUORUM = b"none"
RESERVED = (NO_QUORUM, b"all", b"any")
MAX_BYTES = 1_000_000
MAX_LINES = 1000  # far above the 32 logs, witnesses and groups that must be taken
MAX_DEPTH = 32  # of groups within groups


@dataclass(frozen=True)
class Party:
    """A log or a witness of a policy."""

    key: Verifier
    url: bytes | None = None


@dataclass(frozen=True)
class Group:
    """Witnesses or groups of which so many must have signed."""

    threshold: int
    members: tuple[bytes, ...]


@dataclass(frozen=True)
class OpenedCheckpoint:
    """A checkpoint that a policy accepts."""

    checkpoint: Checkpoint
    log: Verifier
    witnesses: dict[Verifier, int]  # of the policy, with the time of each cosignature, seconds since 1970
    unknown: tuple[Signature, ...]  # signatures of keys that the policy does not name

    @property
    def time(self) -> int | None:
        """The earliest cosignature, seconds since 1970: no later was this checkpoint made. None without witnesses."""
        return min(self.witnesses.values(), default=None)


@dataclass(frozen=True)
class Policy:
    """Logs, witnesses by name, groups by name, and the name of the quorum."""

    logs: tuple[Party, ...] = ()
    witnesses: Mapping[bytes, Party] = field(default_factory=dict)
    groups: Mapping[bytes, Group] = field(default_factory=dict)
    quorum: bytes = NO_QUORUM

    def open(self, data: bytes) -> OpenedCheckpoint:
        """Verify a signed checkpoint.

        Raises:
          LedgerError: the note or its text is malformed.
          VerificationError: a signature is wrong, no log of the policy signed it under its own name, or too few
            witnesses did.
        """
        logs, witnesses = [log.key for log in self.logs], [witness.key for witness in self.witnesses.values()]
        note = open_note(data, [*logs, *witnesses])
        checkpoint = parse_checkpoint(note.text)
        signed = [key for key in logs if key in note.verified and key.name == checkpoint.origin]
        if not signed:
            raise VerificationError(f"no log key of the policy has signed for the log {checkpoint.origin}")
        cosigned = {key: note.verified[key] or 0 for key in witnesses if key in note.verified}
        if not self.is_quorum(cosigned):
            have = ", ".join(sorted(key.name for key in cosigned)) or "none"
            raise VerificationError(
                f"the checkpoint of {checkpoint.size} entries lacks the quorum {shown(self.quorum)} of witnesses;"
                f" those that cosigned it: {have}"
            )
        return OpenedCheckpoint(checkpoint, signed[0], cosigned, note.unknown)

    def is_quorum(self, keys: Mapping[Verifier, int]) -> bool:
        """Whether witnesses with these keys are enough."""
        return self.quorum == NO_QUORUM or self._agrees(self.quorum, keys)

    def without_quorum(self) -> "Policy":
        """The same logs and witnesses, none of whom need to have signed."""
        return replace(self, quorum=NO_QUORUM)

    def _agrees(self, name: bytes, keys: Mapping[Verifier, int]) -> bool:
        if name in self.witnesses:
            return self.witnesses[name].key in keys
        group = self.groups[name]
        return sum(self._agrees(member, keys) for member in group.members) >= group.threshold


def parse_policy(data: bytes, *, duplicates: bool = False) -> Policy:
    """Return the policy that a file states.

    Args:
      data: the file.
      duplicates: take one key under two names, as some readers do. One witness can then fill a quorum of two, so the
        specification forbids it, and so does everything in jattr that decides.

    Raises:
      LedgerError: it is malformed, names what it has not defined, or has no quorum; the message names the line.
    """
    if len(data) > MAX_BYTES or data.count(b"\n") > MAX_LINES:
        raise LedgerError(f"the policy has more than {MAX_BYTES} bytes or {MAX_LINES} lines")
    if bad := re.search(rb"[^\t\n\x20-\x7e\x80-\xff]", data):
        raise LedgerError(f"the policy has the control byte 0x{bad[0][0]:02x}; only tabs and newlines may occur")
    reader = _Reader(duplicates)
    for number, line in enumerate(data.split(b"\n"), 1):
        words = re.findall(rb"[^ \t]+", line)
        comment = next((place for place, word in enumerate(words) if word.startswith(b"#")), len(words))
        if words := words[:comment]:
            try:
                reader.read(words)
            except LedgerError as error:
                raise LedgerError(f"policy, line {number}: {error}") from error
    if reader.quorum is None:
        raise LedgerError("the policy defines no quorum; end it with `quorum NAME`, or `quorum none` for no witnesses")
    return Policy(tuple(reader.logs), reader.witnesses, reader.groups, reader.quorum)


class _Reader:
    def __init__(self, duplicates: bool) -> None:
        self.duplicates = duplicates
        self.logs: list[Party] = []
        self.witnesses: dict[bytes, Party] = {}
        self.groups: dict[bytes, Group] = {}
        self.depth: dict[bytes, int] = {}
        self.members: set[bytes] = set()
        self.quorum: bytes | None = None

    def read(self, words: list[bytes]) -> None:
        kind, *rest = words
        if kind == b"log" and len(rest) in (1, 2):
            self.logs.append(self.party(rest, (ED25519, ML_DSA_44), self.logs))
        elif kind == b"witness" and len(rest) in (2, 3):
            others = [*self.witnesses.values()]
            self.witnesses[self.new(rest[0])] = self.party(rest[1:], (COSIGNATURE, ML_DSA_44), others)
        elif kind == b"group" and len(rest) >= 3:
            self.group(*rest)
        elif kind == b"quorum" and len(rest) == 1:
            self.set_quorum(rest[0])
        else:
            raise LedgerError(
                f"{shown(b' '.join(words))}: write `log VKEY [URL]`, `witness NAME VKEY [URL]`,"
                " `group NAME all|any|K NAME...` or `quorum NAME`"
            )

    def party(self, words: list[bytes], kinds: tuple[int, ...], others: list[Party]) -> Party:
        try:
            key = parse_vkey(words[0].decode())
        except UnicodeDecodeError as error:
            raise LedgerError(f"the key {shown(words[0])} is not UTF-8") from error
        if key.kind == ED25519 and COSIGNATURE in kinds:
            key = Verifier(key.name, COSIGNATURE, key.public)  # witnesses are often listed by their plain Ed25519 key
        if key.kind not in kinds:
            raise LedgerError(f"the key of {key.name} is of type 0x{key.kind:02x}, which does not do this work")
        if not self.duplicates and any(key.public == other.key.public for other in others):
            raise LedgerError(f"the key of {key.name} is listed twice")
        return Party(key, words[1] if len(words) > 1 else None)

    def new(self, name: bytes) -> bytes:
        if name in RESERVED or name in self.witnesses or name in self.groups:
            raise LedgerError(f"the name {shown(name)} is taken; witnesses and groups need names of their own")
        return name

    def known(self, name: bytes) -> bytes:
        if name not in self.witnesses and name not in self.groups:
            raise LedgerError(f"{shown(name)} not found: no witness or group of that name in the lines above")
        return name

    def group(self, name: bytes, rule: bytes, *members: bytes) -> None:
        self.new(name)
        for member in members:
            if self.known(member) in self.members:
                raise LedgerError(f"{shown(member)} is a member of a group already; each counts in one place only")
            self.members.add(member)
        words = {b"all": len(members), b"any": 1}
        threshold = words[rule] if rule in words else parse_decimal(rule, "the threshold of the group")
        if not 1 <= threshold <= len(members):
            raise LedgerError(f"a group of {len(members)} needs from 1 to {len(members)} of them, not {threshold}")
        self.depth[name] = 1 + max(self.depth.get(member, 0) for member in members)
        if self.depth[name] > MAX_DEPTH:
            raise LedgerError(f"groups are nested more than {MAX_DEPTH} deep")
        self.groups[name] = Group(threshold, members)

    def set_quorum(self, name: bytes) -> None:
        if self.quorum is not None:
            raise LedgerError("a second quorum; a policy has one")
        self.quorum = name if name == NO_QUORUM else self.known(name)
