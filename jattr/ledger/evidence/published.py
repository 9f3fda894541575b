"""The public log behind a bundle: the window's ends, its entries, the model's leaf."""

from jattr.errors import LedgerError, VerificationError
from jattr.generators.base import Generator
from jattr.ledger.checkpoint import Checkpoint
from jattr.ledger.encoding import shown
from jattr.ledger.evidence.bundle import Bundle
from jattr.ledger.evidence.window import Leaves
from jattr.ledger.merkle import (
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    verify_consistency,
    verify_inclusion,
)
from jattr.ledger.policy import OpenedCheckpoint, Policy
from jattr.ledger.reader import PublishedLog, verify_window


def window_ends(bundle: Bundle, policy: Policy) -> tuple[OpenedCheckpoint | None, OpenedCheckpoint]:
    """Return the checkpoints of the window, their log's signatures checked."""
    trusted = policy.without_quorum()
    try:
        end = trusted.open(bundle.end)
        start = None if bundle.start is None else trusted.open(bundle.start)
    except (LedgerError, VerificationError) as error:
        raise VerificationError(f"window: {error}") from error
    for checkpoint in [opened.checkpoint for opened in (start, end) if opened is not None]:
        if checkpoint.origin != bundle.origin:
            raise VerificationError(
                f"origin or window: the window is of the log {checkpoint.origin}, the bundle of"
                f" {shown(bundle.origin.encode())}"
            )
    return start, end


def window_leaves(
    log: PublishedLog, policy: Policy, start: Checkpoint | None, end: Checkpoint
) -> tuple[Leaves, int]:
    """Return the leaves of the window, its root recomputed, and the size that is published now."""
    nodes = log.nodes(end.size)

    def fetch(number: int) -> bytes | None:
        # An entry before the window: a proof of inclusion ties it to the root of the window's end.
        if number >= end.size:
            return None
        entry = next(log.entries(number, number + 1, end.size))
        try:
            verify_inclusion(
                leaf_hash(entry),
                number,
                end.size,
                inclusion_proof(number, end.size, nodes),
                end.root,
            )
        except VerificationError as error:
            raise VerificationError(f"window: entry {number} before it: {error}") from error
        return entry

    leaves = Leaves(fetch)
    try:
        published = _check_published(log, policy, end)
        verify_window(log, start, end, leaves.read)
    except VerificationError as error:
        raise VerificationError(f"window: {error}") from error
    return leaves, published


def _check_published(log: PublishedLog, policy: Policy, end: Checkpoint) -> int:
    """Check that the log as it is published now still begins with the window; return its size."""
    now = policy.without_quorum().open(log.checkpoint()).checkpoint
    if now.origin != end.origin:
        raise VerificationError(
            f"the log {now.origin} is published at {log.location}, the window is of {end.origin}"
        )
    if now.size < end.size:
        raise VerificationError(
            f"only {now.size} entries are published, the window ends with {end.size}: some are gone"
        )
    if end.size:
        proof = []
        if now.size > end.size:
            proof = consistency_proof(end.size, now.size, log.nodes(now.size))
        verify_consistency(end.size, now.size, end.root, now.root, proof)
    return now.size


def check_model(leaves: Leaves, bundle: Bundle, gen: Generator | None) -> None:
    """Check that the bundle names the model's leaf, and that the weights at hand are its."""
    leaf = leaves.model(bundle.model)
    if leaf is None or leaf.weights_digest != bundle.digest:
        raise VerificationError(
            f"model: entry {bundle.model} is no MODEL leaf of the digest {bundle.digest[:16]}..."
        )
    if gen is not None and gen.weights_digest != bundle.digest:
        raise VerificationError(
            f"model: the weights that were given have the digest {gen.weights_digest[:16]}..., the"
            f" log names {bundle.digest[:16]}...: they are another model's"
        )
