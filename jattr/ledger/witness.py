"""A witness: it cosigns a log's checkpoints as long as each extends the one before.

What a witness is worth is that it never goes back. So what it has cosigned and the keys that it
cosigns with lie in one file, compared and replaced in one transaction, and a cosignature leaves
only after that is on the disk. https://c2sp.org/tlog-witness
"""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from jattr.errors import LedgerError, OutputError, VerificationError
from jattr.ledger.checkpoint import Checkpoint, parse_checkpoint
from jattr.ledger.encoding import (
    MAX_LOG_SIZE,
    encode_base64,
    parse_decimal,
    parse_hash,
    split_lines,
)
from jattr.ledger.keys import Verifier
from jattr.ledger.merkle import EMPTY_ROOT, MAX_PROOF, verify_consistency
from jattr.ledger.note import Note, Signature, open_note, parse_note, sign_note
from jattr.ledger.witness_store import LastCosigned, WitnessStore

LOGGER = logging.getLogger(__name__)
# bytes of a request: a note with all 100 signatures that it may have, some of them ML-DSA-44
MAX_BODY = 1 << 18
PLAIN_TEXT, SIZE_TYPE = "text/plain; charset=utf-8", "text/x.tlog.size"
# seconds that a clock may be set back; the last time is stated again until it is reached
CLOCK_STEP = 300


@dataclass(frozen=True)
class Request:
    """What `add-checkpoint` is sent."""

    old: int  # entries of the checkpoint that the witness cosigned last, as the log believes
    proof: tuple[bytes, ...]  # consistency of `old` entries with the checkpoint
    note: bytes  # signed checkpoint, unverified
    checkpoint: Checkpoint

    @property
    def data(self) -> bytes:
        """The request as it is sent."""
        lines = "".join(f"{encode_base64(hash)}\n" for hash in self.proof)
        return f"old {self.old}\n{lines}\n".encode() + self.note


@dataclass(frozen=True)
class Response:
    """What it answers."""

    # of HTTP: 200, 400, 403, 404, 409, 422; 500 if it cannot write, 503 if its clock is wrong
    status: int
    content_type: str
    body: bytes


def make_request(old: int, proof: Sequence[bytes], checkpoint: bytes) -> Request:
    """Return the request that asks for cosignatures of a signed checkpoint.

    Raises:
      LedgerError: the text of the checkpoint is malformed, or the proof longer than any.
    """
    if not 0 <= old <= MAX_LOG_SIZE or len(proof) > MAX_PROOF:
        raise LedgerError(
            f"a request has an old size from 0 to 2^63 - 1 and at most {MAX_PROOF} hashes"
        )
    text, _, _ = checkpoint.rpartition(b"\n\n")
    try:
        return Request(old, tuple(proof), checkpoint, parse_checkpoint(f"{text.decode()}\n"))
    except UnicodeDecodeError as error:
        raise LedgerError(f"the checkpoint is not UTF-8: {error}") from error


def parse_request(body: bytes) -> Request:
    """Return the request that a body states. The signatures of its checkpoint are not looked at.

    Raises:
      LedgerError: it is not spelt as the protocol demands.
    """
    if len(body) > MAX_BODY:
        raise LedgerError(f"the request has {len(body)} bytes; at most {MAX_BODY} are read")
    head, blank, checkpoint = body.partition(b"\n\n")
    if not blank:
        raise LedgerError("the request has no empty line between its proof and its checkpoint")
    first, *lines = split_lines(head + b"\n", "the request")
    if not first.startswith(b"old "):
        raise LedgerError("the request does not begin with a line `old N`")
    old = parse_decimal(first.removeprefix(b"old "), "the old size")
    if len(lines) > MAX_PROOF:
        raise LedgerError(f"the request has {len(lines)} hashes; a proof has at most {MAX_PROOF}")
    return make_request(
        old, [parse_hash(line, "a hash of the proof") for line in lines], checkpoint
    )


def refusal(request: Request, last: LastCosigned | None) -> Response | None:
    """Return why a witness that cosigned `last` before does not cosign; None if it does.

    That the log has signed is checked before. One size with two roots is answered with 422, as the
    checkpoints of a wrong proof are, and not with 409, which tells a log to try again from another
    size.
    """
    # tlog-witness, "add-checkpoint": its checks, in its order.
    tree = request.checkpoint
    size, root = (last.size, last.root) if last else (0, EMPTY_ROOT)
    if request.old > tree.size:
        return _says(
            400, f"the old size {request.old} is above that of the checkpoint, {tree.size}"
        )
    # The log believes that another checkpoint was the last: tell it the size to prove from.
    if request.old != size:
        return Response(409, SIZE_TYPE, f"{size}\n".encode())
    if tree.size == 0 and tree.root != EMPTY_ROOT:
        return _says(
            422, "a checkpoint of no entries has the root of the empty tree, SHA-256 of nothing"
        )
    if request.old == 0:
        return _says(422, "a consistency proof from 0 entries is empty") if request.proof else None
    try:
        verify_consistency(size, tree.size, root, tree.root, request.proof)
    except VerificationError as error:
        return _says(422, f"the consistency proof does not hold: {error}")
    return None


def cosigning_time(now: int, last: int) -> int | None:
    """Return the time to state, seconds since 1970; None if the clock is far behind the last one.

    It is never before the last one: a cosignature states that no larger tree was cosigned by then.
    """
    if 0 < now >= last:
        return now
    return last if 0 < last <= now + CLOCK_STEP else None


class Witness:
    """A witness of some logs.

    Args:
      store: its keys, and what it has cosigned.
      logs: public keys of the logs, whose names are their origins; a log may have several.
      clock: seconds since 1970.

    Raises:
      LedgerError: there is no log, or a key cannot sign for one.
    """

    def __init__(
        self,
        store: WitnessStore,
        logs: Iterable[Verifier],
        *,
        clock: Callable[[], float] = time.time,
    ):
        self.store, self.clock = store, clock
        self.logs: dict[str, list[Verifier]] = {}
        for key in dict.fromkeys(logs):
            self.logs.setdefault(key.name, []).append(key)
        if not self.logs:
            raise LedgerError("a witness needs the public key of at least one log")
        for origin, keys in self.logs.items():
            if len({key.key_id for key in keys}) < len(keys):
                raise LedgerError(f"two keys of the log {origin} have the same ID; give one")
            # ML-DSA-44 has a limit on names
            sign_note(Checkpoint(origin, 0, EMPTY_ROOT).text, store.signers, time=1)

    def add_checkpoint(self, body: bytes) -> Response:
        """Answer a request: cosignatures if the checkpoint extends the last one, else why not."""
        try:
            request = parse_request(body)
        except LedgerError as error:
            return _says(400, str(error))
        keys = self.logs.get(request.checkpoint.origin)
        if keys is None:
            return _says(404, "unknown log: this witness has no key of that origin")
        try:
            opened = open_note(request.note, keys)
        except (VerificationError, LedgerError) as error:  # a note with a misspelt signature, too
            return _says(403, f"invalid signature: {error}")
        # Of the note only what was verified is kept: of each key of the log its first line.
        signatures: dict[bytes, Signature] = {}
        for signature in parse_note(request.note).signatures:
            if signature.name == keys[0].name:
                signatures.setdefault(signature.key_id, signature)
        ids = sorted(key.key_id for key in opened.verified)
        note = Note(opened.text, tuple(signatures[key_id] for key_id in ids))
        try:
            return self._compare_and_keep(request, note)
        except (OutputError, LedgerError) as error:
            LOGGER.error("%s", error)
            why = "this witness cannot write its memory, so it does not cosign"
            return _says(500, f"{why}; its keeper must see to it")

    def _compare_and_keep(self, request: Request, note: Note) -> Response:
        """Answer for a checkpoint that its log has signed; `note` has the log's signatures only."""
        tree = request.checkpoint
        # Comparing and persisting are one transaction, which ends before the cosignature leaves:
        # else two requests at a time could take the witness back to the smaller tree.
        with self.store.transaction() as memory:
            last = memory.last_cosigned(tree.origin)
            # Two roots of one size: the log shows different histories to different people.
            if last and last.size == tree.size and last.root != tree.root:
                memory.add_split_view(tree.origin, note.data)
            if refused := refusal(request, last):
                return refused
            now = cosigning_time(int(self.clock()), memory.last_time())
            if now is None:
                why = "the clock of this witness is behind its last cosignature"
                return _says(503, f"{why}; its keeper must set it")
            cosigned = parse_note(sign_note(note.text, self.store.signers, time=now)).signatures
            memory.replace(tree.origin, LastCosigned(tree.size, tree.root, now, note.data))
        return Response(200, PLAIN_TEXT, "".join(signature.line for signature in cosigned).encode())


def _says(status: int, message: str) -> Response:
    return Response(status, PLAIN_TEXT, f"{message}\n".encode())
