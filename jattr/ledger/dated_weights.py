"""Proof that weights existed by a date: the MODEL leaf of a log under a witnessed checkpoint.

A generator that was built after an image was seen can reproduce that image. So a certificate is
worth as much as what is known of the age of the weights, and a log's MODEL leaf states their digest
and its witnesses the time. The proof is a tlog-proof (https://c2sp.org/tlog-proof) whose extra line
holds the leaf; `docs/ledger.md` shows how one is made.
"""

from jattr.decision.weights_age import DatedWeights
from jattr.errors import LedgerError, VerificationError
from jattr.ledger.canonical import encode_canonical, parse_canonical
from jattr.ledger.encoding import encode_base64, parse_base64
from jattr.ledger.leaves import ModelLeaf, parse_leaf
from jattr.ledger.log_view import LogView
from jattr.ledger.policy import Policy
from jattr.ledger.tlog_proof import TlogProof, parse_tlog_proof

MAX_EXTRA = 200_000  # bytes


def model_entry(log: LogView, digest: str, weights_digest: str) -> int | None:
    """Return the first entry of a log that states a model; None: it has none."""
    for number, entry in enumerate(log.entries(0, log.size)):
        # Canonical JSON: what does not hold these bytes is no MODEL leaf and need not be parsed.
        if b'"kind":"model"' not in entry:
            continue
        try:
            leaf = parse_leaf(entry)
        except LedgerError:
            continue
        if isinstance(leaf, ModelLeaf) and (leaf.digest, leaf.weights_digest) == (
            digest,
            weights_digest,
        ):
            return number
    return None


def make_weights_proof(log: LogView, entry: int, checkpoint: bytes) -> bytes:
    """Return the proof of a MODEL leaf under a signed checkpoint of the log that reaches as far.

    Raises:
      LedgerError: the entry is no MODEL leaf, or the checkpoint does not reach as far.
    """
    data = log.entry(entry)
    if not isinstance(parse_leaf(data), ModelLeaf):
        raise LedgerError(f"entry {entry} of the log {log.origin} is no model leaf")
    proof = log.receipt(entry, checkpoint)
    extra = encode_canonical({"leaf": encode_base64(data)})
    return TlogProof(proof.index, proof.hashes, proof.checkpoint, extra).data


def date_weights(data: bytes, policy: Policy) -> DatedWeights:
    """Return what a proof shows of the age of weights.

    Args:
      data: a tlog-proof as `make_weights_proof` makes it.
      policy: whom to trust: the log's key, and the witnesses whose time counts.

    Raises:
      LedgerError: the proof is malformed, or of another kind of leaf.
      VerificationError: the policy does not accept it, or no quorum of its witnesses states a time:
        a log's own word dates nothing.
    """
    proof = parse_tlog_proof(data)
    facts = parse_canonical(proof.extra or b"", "the extra line of the proof", MAX_EXTRA)
    if not isinstance(facts, dict) or not isinstance(facts.get("leaf"), str):
        raise LedgerError(
            "the extra line of the proof holds no leaf; make it with `jattr log model`"
        )
    entry = parse_base64(facts["leaf"].encode(errors="replace"), "the leaf of the proof")
    leaf = parse_leaf(entry)
    if not isinstance(leaf, ModelLeaf):
        raise LedgerError(
            f"the proof is of a {leaf.kind} leaf; only model leaves speak of weights: make one with"
            " `jattr log model`"
        )
    opened = proof.verify(entry, policy)
    if opened.time is None:
        raise VerificationError(
            f"no quorum of the policy's witnesses states when it saw the log"
            f" {opened.checkpoint.origin}, and its own word dates nothing; have it witnessed"
        )
    return DatedWeights(
        leaf.digest,
        leaf.weights_digest,
        opened.time,
        opened.dated_by,
        opened.checkpoint.origin,
        proof.index,
    )
