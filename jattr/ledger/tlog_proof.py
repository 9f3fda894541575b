"""Receipts, to be verified offline: an entry's place, its inclusion proof, the signed checkpoint.

https://c2sp.org/tlog-proof
"""

from dataclasses import dataclass

from jattr.errors import LedgerError
from jattr.ledger.encoding import (
    encode_base64,
    parse_base64,
    parse_decimal,
    parse_hash,
    split_lines,
)
from jattr.ledger.merkle import MAX_PROOF, leaf_hash, verify_inclusion
from jattr.ledger.policy import OpenedCheckpoint, Policy

HEADER = b"c2sp.org/tlog-proof@v1"
SUFFIX = ".tlog-proof"
MAX_PROOF_BYTES = 2_000_000


@dataclass(frozen=True)
class TlogProof:
    """A receipt as it was read. Nothing in it is verified; `extra` never is."""

    index: int  # of the entry, from 0
    hashes: tuple[bytes, ...]  # inclusion proof, from the leaf's sibling up
    checkpoint: bytes  # signed note
    extra: bytes | None = None

    @property
    def data(self) -> bytes:
        """The receipt as it is stored and sent."""
        extra = "" if self.extra is None else f"extra {encode_base64(self.extra)}\n"
        hashes = "".join(f"{encode_base64(hash)}\n" for hash in self.hashes)
        return HEADER + f"\n{extra}index {self.index}\n{hashes}\n".encode() + self.checkpoint

    def verify(self, entry: bytes, policy: Policy) -> OpenedCheckpoint:
        """Check that the log of the policy holds `entry` at this place, and return its checkpoint.

        Raises:
          LedgerError: the checkpoint is malformed.
          VerificationError: the checkpoint is not to be trusted, or the entry is not where the
            proof says.
        """
        # The checkpoint first: without a trusted root the proof says nothing.
        opened = policy.open(self.checkpoint)
        tree = opened.checkpoint
        verify_inclusion(leaf_hash(entry), self.index, tree.size, self.hashes, tree.root)
        return opened


def parse_tlog_proof(data: bytes) -> TlogProof:
    """Return the receipt that a file states, unverified.

    Raises:
      LedgerError: it is not spelt as the format demands.
    """
    if len(data) > MAX_PROOF_BYTES:
        raise LedgerError(f"the receipt has {len(data)} bytes; at most {MAX_PROOF_BYTES} are read")
    # The first empty line separates: the proof before it has none, the checkpoint may.
    head, blank, checkpoint = data.partition(b"\n\n")
    if not blank:
        raise LedgerError("the receipt has no empty line between its proof and its checkpoint")
    lines = split_lines(head + b"\n", "the receipt")
    if lines.pop(0) != HEADER:
        raise LedgerError(f"the receipt does not begin with the line {HEADER.decode()!r}")
    extra = None
    if lines and lines[0].startswith(b"extra "):
        extra = parse_base64(lines.pop(0).removeprefix(b"extra "), "the extra data")
    if not lines or not lines[0].startswith(b"index "):
        raise LedgerError("the receipt has no line `index N`")
    index = parse_decimal(lines.pop(0).removeprefix(b"index "), "the index")
    if len(lines) > MAX_PROOF:
        raise LedgerError(f"the receipt has {len(lines)} hashes; a proof has at most {MAX_PROOF}")
    hashes = tuple(
        parse_hash(line, f"hash {number} of the proof") for number, line in enumerate(lines)
    )
    if not checkpoint:
        raise LedgerError("the receipt has no checkpoint")
    return TlogProof(index, hashes, checkpoint, extra)
