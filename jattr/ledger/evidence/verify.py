"""Verifying evidence: from the bundle, the public log, a policy of the verifier's own, and the weights.

Nothing that the bundle derives is believed. Everything is recomputed from the log's entries, and what differs is named.
What could not be checked is listed, and never passes silently.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from jattr.errors import LedgerError, VerificationError
from jattr.images.reading import decode_picture
from jattr.ledger.checkpoint import Checkpoint
from jattr.ledger.commitments import parse_latent, pixels_value
from jattr.ledger.evidence.bundle import Attribution, Bundle, parse_bundle
from jattr.ledger.evidence.judge import Shown, Verdict, judge
from jattr.ledger.evidence.make import is_witnessed
from jattr.ledger.evidence.regenerate import accused_picture, check_shown
from jattr.ledger.evidence.window import Examined, Leaves, check_openings, examine
from jattr.ledger.leaves import ModelLeaf, parse_leaf
from jattr.ledger.merkle import consistency_proof, inclusion_proof, leaf_hash, verify_consistency, verify_inclusion
from jattr.ledger.perceptual import is_featureless, perceptual_hash
from jattr.ledger.policy import Policy
from jattr.ledger.reader import PublishedLog, verify_window

Invert = Callable[[bytes, Any, str | None], Attribution]  # (file, generator, alteration) -> what inversion finds


@dataclass(frozen=True)
class Verified:
    """What evidence comes to, all of it recomputed."""

    verdict: Verdict
    examined: Examined
    bundle: Bundle
    attribution: Attribution  # the verifier's own where the search was run, else as stated
    shown: tuple[Shown, ...]
    unchecked: tuple[str, ...]  # what was not carried out, and why


def verify_evidence(
    data: bytes,
    log: PublishedLog,
    policy: Policy,
    *,
    gen: Any = None,
    others: Sequence[Any] = (),
    nonce: str | None = None,
    invert: Invert | None = None,
) -> Verified:
    """Verify a bundle.

    Args:
      data: `evidence.json`.
      log: the public log.
      policy: whom the verifier trusts: the log's key, witnesses, and how many of them.
      gen: the accused model; without it neither inversion nor the pictures made again are checked.
      others: further models whose uses the log holds.
      nonce: what the verifier had asked the sample to be chosen by; None: whoever made the bundle chose it.
      invert: the verifier's own search; None: what the bundle says of a picture that does not fit is not checked.

    Raises:
      LedgerError: the bundle or the log is malformed, or cannot be read.
      VerificationError: something is not as stated; the message begins with the field.
    """
    bundle = parse_bundle(data, [party.key for party in policy.logs])
    start, end = _ends(bundle, policy)
    leaves = _window(log, policy, start, end)
    _check_model(leaves, bundle, gen)
    check_openings(leaves, bundle.openings)
    if nonce is not None and nonce != bundle.nonce:
        raise VerificationError(f"sample: it was chosen by the nonce {bundle.nonce!r}, not by {nonce!r}")
    pixels, _ = decode_picture(bundle.picture)
    accused = (perceptual_hash(pixels), pixels_value(pixels), is_featureless(pixels))
    examined = examine(leaves, bundle.openings, bundle.digest, accused, (bundle.nonce, bundle.wanted, end.root))
    for name, value in examined.json.items():
        if bundle.examined.get(name) != value:
            raise VerificationError(f"examined: {name} is {value}, the bundle states {bundle.examined.get(name)}")
    if set(bundle.examined) != set(examined.json):
        raise VerificationError("examined: it states more than there is")
    attribution, unchecked = _attribution(bundle, gen, invert)
    question = accused_picture(bundle.picture, pixels, bundle.digest, attribution, gen)
    models = None if gen is None else {each.weights_digest: each for each in (gen, *others)}
    shown = check_shown(leaves, bundle.openings, bundle.pictures, question, models)
    witnessed = is_witnessed(policy, bundle.start, bundle.end)
    verdict = judge(attribution.fit, attribution.certificate, examined, shown, witnessed, bundle.level)
    _compare(bundle, verdict)
    if nonce is None:
        unchecked.append("who chose the sample: give the nonce that you had asked for, with --nonce")
    return Verified(verdict, examined, bundle, attribution, tuple(shown), tuple(unchecked))


def _ends(bundle: Bundle, policy: Policy) -> tuple[Checkpoint | None, Checkpoint]:
    """Return the checkpoints of the window, their log's signatures checked."""
    trusted = policy.without_quorum()
    try:
        end = trusted.open(bundle.end).checkpoint
        start = None if bundle.start is None else trusted.open(bundle.start).checkpoint
    except (LedgerError, VerificationError) as error:
        raise VerificationError(f"window: {error}") from error
    for checkpoint in filter(None, (start, end)):
        if checkpoint.origin != bundle.origin:
            raise VerificationError(f"window: it is of the log {checkpoint.origin}, the bundle of {bundle.origin}")
    return start, end


def _window(log: PublishedLog, policy: Policy, start: Checkpoint | None, end: Checkpoint) -> Leaves:
    """Return the leaves of the window; its root was recomputed over all of them."""
    nodes = log.nodes(end.size)

    def fetch(number: int) -> bytes:
        if not 0 <= number < end.size:
            raise LedgerError(f"entry {number} is after the window")
        entry = next(log.entries(number, number + 1, end.size))
        verify_inclusion(leaf_hash(entry), number, end.size, inclusion_proof(number, end.size, nodes), end.root)
        return entry

    leaves = Leaves(fetch)
    try:
        _check_published(log, policy, end)
        verify_window(log, start, end, leaves.read)
    except VerificationError as error:
        raise VerificationError(f"window: {error}") from error
    return leaves


def _check_published(log: PublishedLog, policy: Policy, end: Checkpoint) -> None:
    """Check that the log as it is published now still begins with the window."""
    now = policy.without_quorum().open(log.checkpoint()).checkpoint
    if now.origin != end.origin:
        raise VerificationError(f"the log {now.origin} is published at {log.place}, the window is of {end.origin}")
    if now.size < end.size:
        raise VerificationError(
            f"only {now.size} entries are published, the window ends with {end.size}: some are gone"
        )
    if end.size:
        proof = [] if now.size == end.size else consistency_proof(end.size, now.size, log.nodes(now.size))
        verify_consistency(end.size, now.size, end.root, now.root, proof)


def _check_model(leaves: Leaves, bundle: Bundle, gen: Any) -> None:
    try:
        leaf = leaves.models.get(bundle.model) or parse_leaf(leaves.fetch(bundle.model))
    except LedgerError as error:
        raise VerificationError(f"model: entry {bundle.model}: {error}") from error
    if not isinstance(leaf, ModelLeaf) or leaf.weights_digest != bundle.digest:
        raise VerificationError(f"model: entry {bundle.model} is no MODEL leaf of the digest {bundle.digest[:16]}...")
    if gen is not None and gen.weights_digest != bundle.digest:
        raise VerificationError(
            f"model: the weights that were given have the digest {gen.weights_digest[:16]}..., the log names"
            f" {bundle.digest[:16]}...: they are another model's"
        )


def _attribution(bundle: Bundle, gen: Any, invert: Invert | None) -> tuple[Attribution, list[str]]:
    """Return what inversion says, and what of it was not checked."""
    stated = bundle.attribution
    if gen is None:
        return stated, [
            "inversion, and that the model makes the logged pictures: give the model's weights with --candidate"
        ]
    if stated.fit == "fits" and stated.certificate and stated.latent is not None:
        from jattr.ledger.evidence.inversion import explainer

        z, space, label = parse_latent(stated.latent)
        if space != gen.space or not explainer(bundle.picture, gen, stated.alteration)(z, label):
            raise VerificationError("attribution: the model does not make the picture from the latent that is stated")
        return stated, []
    if invert is None:
        return stated, ["inversion: what the bundle states of it is the developer's word; leave --no-search away"]
    own = invert(bundle.picture, gen, stated.alteration)
    if (own.fit, own.certificate) != (stated.fit, stated.certificate):
        raise VerificationError(
            f"attribution: the bundle states {stated.fit!r}, the verifier's own search ends with {own.fit!r}"
            f"{', with certificate' if own.certificate else ''}: {own.reason}"
        )
    return own, []


def _compare(bundle: Bundle, verdict: Verdict) -> None:
    """Check that the stated verdict is the one that follows."""
    stated = bundle.verdict
    if stated == verdict.json:
        return
    known = stated.get("weaknesses")
    new = [weak for weak in verdict.weaknesses if not isinstance(known, list) or weak not in known]
    field = "pictures" if any(weak.startswith("entry ") for weak in new) else "verdict"
    raise VerificationError(
        f"{field}: the verdict that follows is {verdict.kind}, the bundle states {str(stated.get('kind'))[:40]!r}"
        f"{': ' + '; '.join(new) if new else ''}"
    )
