"""Whom to trust: logs, witnesses and how many of them must agree (https://c2sp.org/tlog-policy).

Opening a checkpoint goes through a policy, always: without one, a signature is only somebody's.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from jattr.errors import LedgerError, VerificationError
from jattr.ledger.checkpoint import Checkpoint, parse_checkpoint
from jattr.ledger.encoding import parse_decimal, shown
from jattr.ledger.keys import COSIGNATURE, ED25519, KINDS, ML_DSA_44, Verifier, parse_vkey
from jattr.ledger.note import Signature, open_note

NO_QUORUM = b"none"
RESERVED = (NO_QUORUM, b"all", b"any")
MAX_POLICY_BYTES = 1_000_000
MAX_LINES = 1000  # far above the 32 logs, witnesses and groups that must be taken
MAX_GROUP_DEPTH = 32  # of groups within groups


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
    # of the policy, with the time of each cosignature, if it states one
    witnesses: dict[Verifier, int | None]
    unknown: tuple[Signature, ...]  # signatures of keys that the policy does not name
    # the witnesses are the policy's quorum; never under `quorum none`, which asks for nobody
    witnessed: bool
    # seconds since 1970, when the quorum was complete: no later was this made. None: no time stated
    time: int | None
    dated_by: tuple[str, ...]  # names of the witnesses that were the quorum by then, sorted


@dataclass(frozen=True)
class Policy:
    """Logs, witnesses and groups by name, the quorum, and whether a checkpoint must have it."""

    logs: tuple[Party, ...] = ()
    witnesses: Mapping[bytes, Party] = field(default_factory=dict)
    groups: Mapping[bytes, Group] = field(default_factory=dict)
    quorum: bytes = NO_QUORUM
    required: bool = True

    def open(self, data: bytes) -> OpenedCheckpoint:
        """Verify a signed checkpoint.

        Raises:
          LedgerError: the note or its text is malformed.
          VerificationError: a signature is wrong, no log of the policy signed it under its own
            name, or too few witnesses did.
        """
        logs = [log.key for log in self.logs]
        witnesses = [witness.key for witness in self.witnesses.values()]
        note = open_note(data, [*logs, *witnesses])
        checkpoint = parse_checkpoint(note.text)
        signed = [key for key in logs if key in note.verified and key.name == checkpoint.origin]
        if not signed:
            raise VerificationError(
                f"no log key of the policy has signed for the log {checkpoint.origin}"
            )
        cosigned = {key: note.verified[key] for key in witnesses if key in note.verified}
        witnessed = self.is_quorum(cosigned)
        if self.required and self.quorum != NO_QUORUM and not witnessed:
            have = ", ".join(sorted(key.name for key in cosigned)) or "none"
            raise VerificationError(
                f"the checkpoint of {checkpoint.size} entries lacks the quorum"
                f" {shown(self.quorum)} of witnesses; those that cosigned it: {have}"
            )
        time, counted = self._dated(cosigned)
        names = tuple(sorted(key.name for key in counted))
        return OpenedCheckpoint(
            checkpoint, signed[0], cosigned, note.unknown, witnessed, time, names
        )

    def is_quorum(self, keys: Collection[Verifier]) -> bool:
        """Whether witnesses with these keys are the quorum. Under `quorum none` nobody is."""
        return bool(self._counted(self.quorum, keys))

    def without_quorum(self) -> "Policy":
        """Return the same policy, which also opens checkpoints without their quorum."""
        return replace(self, required=False)

    def _dated(
        self, cosigned: Mapping[Verifier, int | None]
    ) -> tuple[int | None, frozenset[Verifier]]:
        """Return when the quorum was complete, and who was it then.

        Whoever lies about the time can move this only as far as an honest witness of the quorum had
        signed by then.
        """
        # The earliest time by which those that had signed are a quorum: later ones add nothing.
        times = {key: time for key, time in cosigned.items() if time is not None}
        for latest in sorted(set(times.values())):
            if counted := self._counted(
                self.quorum, [key for key, time in times.items() if time <= latest]
            ):
                return latest, counted
        return None, frozenset()

    def _counted(self, name: bytes, keys: Collection[Verifier]) -> frozenset[Verifier]:
        """Return those of the keys by which a witness or group has witnessed; none: it has not."""
        if name == NO_QUORUM:
            return frozenset()
        if name in self.witnesses:
            return frozenset({self.witnesses[name].key} & set(keys))
        group = self.groups[name]
        witnessed = [self._counted(member, keys) for member in group.members]
        if sum(map(bool, witnessed)) < group.threshold:
            return frozenset()
        return frozenset().union(*witnessed)


def parse_policy(data: bytes, *, lenient: bool = False) -> Policy:
    """Return the policy that a file states.

    Args:
      data: the file.
      lenient: take what other readers take and the specification forbids: one key under two names
        (by which one witness can fill a quorum of two), comments behind a statement, and witnesses
        by their plain Ed25519 keys. Nothing in jattr that decides does.

    Raises:
      LedgerError: it is malformed, names what it has not defined, or has no quorum; the message
        names the line.
    """
    if len(data) > MAX_POLICY_BYTES or data.count(b"\n") > MAX_LINES:
        raise LedgerError(f"the policy has more than {MAX_POLICY_BYTES} bytes or {MAX_LINES} lines")
    if bad := re.search(rb"[^\t\n\x20-\x7e\x80-\xff]", data):
        raise LedgerError(
            f"the policy has the control byte 0x{bad[0][0]:02x}; only tabs and newlines may occur"
        )
    reader = _Reader(lenient)
    for number, line in enumerate(data.split(b"\n"), 1):
        words = re.findall(rb"[^ \t]+", line)
        comment = next(
            (place for place, word in enumerate(words) if word.startswith(b"#")), len(words)
        )
        try:
            if 0 < comment < len(words) and not lenient:
                raise LedgerError(
                    f"the comment {shown(words[comment])} follows a statement; give it a line of"
                    " its own"
                )
            if words := words[:comment]:
                reader.read(words)
        except LedgerError as error:
            raise LedgerError(f"policy, line {number}: {error}") from error
    if reader.quorum is None:
        raise LedgerError(
            "the policy defines no quorum; end it with `quorum NAME`, or `quorum none` for no"
            " witnesses"
        )
    return Policy(tuple(reader.logs), reader.witnesses, reader.groups, reader.quorum)


def with_key(policy: bytes, vkey: str) -> bytes:
    """Return the text of a policy with a further key of the log, after those that it has."""
    lines = policy.removesuffix(b"\n").split(b"\n")
    if any(line.split()[:2] == [b"log", vkey.encode()] for line in lines):
        return policy
    keys = [index for index, line in enumerate(lines) if line.split()[:1] == [b"log"]]
    lines.insert(max(keys, default=len(lines) - 1) + 1, f"log {vkey}".encode())
    return b"".join(line + b"\n" for line in lines)


class _Reader:
    def __init__(self, lenient: bool) -> None:
        self.lenient = lenient
        self.logs: list[Party] = []
        self.witnesses: dict[bytes, Party] = {}
        self.groups: dict[bytes, Group] = {}
        self.depth: dict[bytes, int] = {}
        self.members: set[bytes] = set()
        self.quorum: bytes | None = None

    def read(self, words: list[bytes]) -> None:
        kind, *rest = words
        if kind == b"log" and len(rest) in (1, 2):
            self.logs.append(
                self.party(rest, (ED25519, ML_DSA_44), self.logs, [*self.witnesses.values()])
            )
        elif kind == b"witness" and len(rest) in (2, 3):
            others = [*self.witnesses.values()]
            self.witnesses[self.new(rest[0])] = self.party(
                rest[1:], (COSIGNATURE, ML_DSA_44), others, self.logs
            )
        elif kind == b"group" and len(rest) >= 3:
            self.group(*rest)
        elif kind == b"quorum" and len(rest) == 1:
            self.set_quorum(rest[0])
        else:
            raise LedgerError(
                f"{shown(b' '.join(words))}: write `log VKEY [URL]`, `witness NAME VKEY [URL]`,"
                " `group NAME all|any|K NAME...` or `quorum NAME`"
            )

    def party(
        self, words: list[bytes], kinds: tuple[int, ...], others: list[Party], apart: list[Party]
    ) -> Party:
        try:
            key = parse_vkey(words[0].decode())
        except UnicodeDecodeError as error:
            raise LedgerError(f"the key {shown(words[0])} is not UTF-8") from error
        if key.kind == ED25519 and COSIGNATURE in kinds and self.lenient:
            key = Verifier(key.name, COSIGNATURE, key.public)
        if key.kind not in kinds:
            raise LedgerError(_unfit(key, kinds))
        if not self.lenient and any(key.public == other.key.public for other in others):
            raise LedgerError(f"the key of {key.name} is listed twice")
        if any(key.public == other.key.public for other in apart):
            raise LedgerError(
                f"the key of {key.name} is a log's and a witness's at once: a log cannot vouch for"
                " itself. List witnesses that others run, by keys of their own, or write `quorum"
                " none`"
            )
        return Party(key, words[1] if len(words) > 1 else None)

    def new(self, name: bytes) -> bytes:
        if name in RESERVED or name in self.witnesses or name in self.groups:
            raise LedgerError(
                f"the name {shown(name)} is taken; witnesses and groups need names of their own"
            )
        return name

    def defined(self, name: bytes) -> bytes:
        if name not in self.witnesses and name not in self.groups:
            raise LedgerError(
                f"{shown(name)} not found: no witness or group of that name in the lines above"
            )
        return name

    def group(self, name: bytes, rule: bytes, *members: bytes) -> None:
        self.new(name)
        for member in members:
            if self.defined(member) in self.members:
                raise LedgerError(
                    f"{shown(member)} is a member of a group already; each counts in one place only"
                )
            self.members.add(member)
        thresholds = {b"all": len(members), b"any": 1}
        if rule in thresholds:
            threshold = thresholds[rule]
        else:
            threshold = parse_decimal(rule, "the threshold of the group")
        if not 1 <= threshold <= len(members):
            raise LedgerError(
                f"a group of {len(members)} needs from 1 to {len(members)} of them, not {threshold}"
            )
        self.depth[name] = 1 + max(self.depth.get(member, 0) for member in members)
        if self.depth[name] > MAX_GROUP_DEPTH:
            raise LedgerError(f"groups are nested more than {MAX_GROUP_DEPTH} deep")
        self.groups[name] = Group(threshold, members)

    def set_quorum(self, name: bytes) -> None:
        if self.quorum is not None:
            raise LedgerError("a second quorum; a policy has one")
        self.quorum = name if name == NO_QUORUM else self.defined(name)


def _unfit(key: Verifier, kinds: tuple[int, ...]) -> str:
    """Return why a key cannot stand where it does."""
    legal = " or ".join(f"0x{kind:02x} ({KINDS[kind]})" for kind in kinds)
    text = (
        f"the key of {key.name} is of type 0x{key.kind:02x} ({KINDS[key.kind]}), which does not do"
        f" this work: {legal}"
    )
    if key.kind == ED25519:
        text += (
            f". If it cosigns, its vkey is {Verifier(key.name, COSIGNATURE, key.public).vkey}; ask"
            " its keeper"
        )
    return text
