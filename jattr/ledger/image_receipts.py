"""Receipts of images: a tlog-proof with the RESULT leaf and what opens it for the recipient.

Receipt and image are enough to verify offline that the log holds this image, and under whose name
it left.
"""

from dataclasses import dataclass

import numpy as np

from jattr.errors import LedgerError, VerificationError
from jattr.ledger.canonical import encode_canonical, parse_canonical
from jattr.ledger.commitments import file_value, parse_opening, parse_recipient, pixels_value
from jattr.ledger.encoding import encode_base64, parse_base64
from jattr.ledger.leaves import ResultLeaf, parse_leaf
from jattr.ledger.log_view import LogView
from jattr.ledger.policy import OpenedCheckpoint, Policy
from jattr.ledger.recording import OPENED, Released
from jattr.ledger.tlog_proof import TlogProof, parse_tlog_proof

MAX_EXTRA = 200_000  # bytes


def make_receipt(log: LogView, released: Released, checkpoint: bytes) -> bytes:
    """Return the receipt of an image under a signed checkpoint of the log that reaches as far."""
    proof = log.receipt(released.entry, checkpoint)
    facts = {
        "leaf": encode_base64(log.entry(released.entry)),
        "openings": [opening.json for opening in released.openings],
    }
    return TlogProof(proof.index, proof.hashes, proof.checkpoint, encode_canonical(facts)).data


def renewed(log: LogView, receipt: bytes, checkpoint: bytes) -> bytes:
    """Return a receipt under another checkpoint of the log, such as one with cosignatures.

    Raises:
      LedgerError: it is malformed, or of another log, or the checkpoint does not reach as far.
    """
    old = parse_tlog_proof(receipt)
    entry, _ = _read_extra(old)
    if old.index >= log.size or log.entry(old.index) != entry:
        raise LedgerError(
            f"the receipt is not of entry {old.index} of the log {log.origin}; give those of this"
            " log"
        )
    new = log.receipt(old.index, checkpoint)
    return TlogProof(new.index, new.hashes, new.checkpoint, old.extra).data


def _read_extra(proof: TlogProof) -> tuple[bytes, list[object]]:
    """Return the entry and the openings, as JSON, that a receipt's extra line states."""
    facts = parse_canonical(proof.extra or b"", "the extra line of the receipt", MAX_EXTRA)
    if (
        not isinstance(facts, dict)
        or sorted(facts) != ["leaf", "openings"]
        or not isinstance(facts["openings"], list)
    ):
        raise LedgerError(
            "the extra line of the receipt is no object of a leaf and its openings; it is not of"
            " jattr"
        )
    if not isinstance(facts["leaf"], str):
        raise LedgerError("the leaf of the receipt is no text")
    entry = parse_base64(facts["leaf"].encode(errors="replace"), "the leaf of the receipt")
    return entry, facts["openings"]


@dataclass(frozen=True)
class CheckedReceipt:
    """What a receipt proves of an image."""

    entry: int
    checkpoint: OpenedCheckpoint
    matches: str  # "file": this very file was logged; "pixels": the same pixels in another file
    recipient: str | None  # as the log's owner stated it


def check_receipt(data: bytes, image: bytes, pixels: np.ndarray, policy: Policy) -> CheckedReceipt:
    """Check that a receipt shows an image to be in a log.

    Args:
      data: the receipt, a tlog-proof with the `extra` line of `make_receipt`.
      image: the bytes of the image's file.
      pixels: uint8 [H, W, C], what it decodes to.
      policy: whom to trust.

    Raises:
      LedgerError: the receipt is malformed.
      VerificationError: it does not show that.
    """
    proof = parse_tlog_proof(data)
    entry, stated = _read_extra(proof)
    leaf = parse_leaf(entry)
    if not isinstance(leaf, ResultLeaf):
        raise LedgerError(
            f"the receipt is of a {leaf.kind} leaf; only result leaves speak of images"
        )
    opened = proof.verify(entry, policy)
    openings = {}
    for opening in [parse_opening(item) for item in stated]:
        if opening.field in openings:
            raise LedgerError("the receipt opens a field twice")
        openings[opening.field] = opening
    for name, opening in openings.items():
        if name not in OPENED or getattr(leaf, name) is None:
            raise LedgerError(f"the receipt opens {name}, which its leaf does not state")
        opening.check(bytes.fromhex(getattr(leaf, name)))
    # The file itself is more than the same pixels in another file, so it is named first.
    values = {"file": file_value(image), "pixels": pixels_value(pixels)}
    matches = [
        name for name, value in values.items() if name in openings and openings[name].value == value
    ]
    if not matches:
        raise VerificationError(
            "the receipt is of another image: neither its file nor its pixels are these"
        )
    recipient = parse_recipient(openings["recipient"].value) if "recipient" in openings else None
    return CheckedReceipt(proof.index, opened, matches[0], recipient)
