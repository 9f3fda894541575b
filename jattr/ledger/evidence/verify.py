"""Verifying evidence: from the bundle, the public log, a policy of the verifier's own, and the
weights.

Nothing that the bundle derives is believed. Everything is recomputed from the log's entries, and
what differs is named. What could not be checked is listed, and never passes silently.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jattr.errors import ImageError, InputError, LedgerError, VerificationError
from jattr.images.reading import decode_image
from jattr.ledger.canonical import encode_canonical
from jattr.ledger.commitments import parse_latent, pixels_value
from jattr.ledger.encoding import shown
from jattr.ledger.evidence.asked import Asked, check_asked, left_open, unsearched
from jattr.ledger.evidence.bundle import Attribution, Bundle, parse_bundle
from jattr.ledger.evidence.judge import CONSISTENT, Shown, Verdict, judge
from jattr.ledger.evidence.make import is_witnessed
from jattr.ledger.evidence.published import check_model, window_ends, window_leaves
from jattr.ledger.evidence.regenerate import check_shown, questioned_image
from jattr.ledger.evidence.window import Examined, check_openings, examine
from jattr.ledger.perceptual import turned_hashes
from jattr.ledger.policy import OpenedCheckpoint, Policy
from jattr.ledger.reader import PublishedLog

# (file, generator, alteration; None: one's own) -> findings
Invert = Callable[[bytes, Any, str | None], Attribution]
RELATIVE = 1e-3  # of residuals: machines differ in the last digits
SOURCES = {  # what each thing that was examined follows from
    "counts": "window or openings",
    "closest": "picture or openings",
    "near": "picture or openings",
    "exact": "picture or openings",
    "sample": "sample or window",
    "orphans": "window",
    "featureless": "picture",
    "hash": "picture",
}
CAUSES = {  # words of a weakness -> the field that it comes from
    "entry ": "pictures",
    "had to be made again": "pictures",
    "only the level": "level",
    "independent witness": "window",
    "lead to no use": "window",
    "without structure": "openings",
    "by this model": "window",
    "a sample of": "sample",
    "not opened": "openings",
}


@dataclass(frozen=True)
class Verified:
    """What evidence comes to, all of it recomputed."""

    verdict: Verdict
    examined: Examined
    bundle: Bundle
    start: OpenedCheckpoint | None  # of the window; None: it begins with the log
    end: OpenedCheckpoint
    attribution: Attribution  # the verifier's own where the search was run, else as stated
    shown: tuple[Shown, ...]
    own: bool  # whether the attribution is the verifier's own
    unchecked: tuple[str, ...]  # what was not carried out, and why


def verify_evidence(
    data: bytes,
    log: PublishedLog,
    policy: Policy,
    *,
    gen: Any = None,
    others: Sequence[Any] = (),
    nonce: str | None = None,
    image: bytes | None = None,
    end: bytes | None = None,
    window: tuple[int, int] | None = None,
    invert: Invert | None = None,
) -> Verified:
    """Verify a bundle.

    Args:
      data: `evidence.json`.
      log: the public log.
      policy: whom the verifier trusts: the log's key, witnesses, and how many of them.
      gen: the accused model; without it neither inversion nor the images made again are checked.
      others: further models whose uses the log holds.
      nonce: what the verifier had asked the sample to be chosen by; None: whoever made the bundle
        chose it.
      image: the file that the verifier asks about; None: the bundle may be about another one.
      end: the signed checkpoint that the verifier had kept when giving the nonce out; the window
        must end with it.
        None: the sample may have been chosen by adding entries.
      window: sizes of the log between which the verifier asked for evidence; None: what lies
        outside is listed.
      invert: the verifier's own search; None: what the bundle says of an image that does not fit is
        not checked.

    Raises:
      LedgerError: the bundle or the log is malformed, or cannot be read.
      VerificationError: something is not as stated; the message begins with the field.
    """
    bundle = parse_bundle(data, [party.key for party in policy.logs])
    begins, ends = window_ends(bundle, policy)
    first, last = 0 if begins is None else begins.checkpoint.size, ends.checkpoint.size
    asked = Asked(image, nonce, end, window)
    check_asked(bundle, asked, policy, ends, first)
    leaves, published = window_leaves(
        log, policy, None if begins is None else begins.checkpoint, ends.checkpoint
    )
    check_model(leaves, bundle, gen)
    check_openings(leaves, bundle.openings)
    pixels = _pixels(bundle)
    observation = (turned_hashes(pixels), pixels_value(pixels))
    examined = examine(
        leaves,
        bundle.openings,
        bundle.digest,
        observation,
        (bundle.nonce, bundle.wanted, ends.checkpoint.root),
    )
    _check_examined(bundle, examined)
    attribution, unchecked = _attribution(bundle, gen, invert)
    question = questioned_image(
        bundle.image, pixels, observation[0], bundle.digest, attribution, gen
    )
    models = None if gen is None else {each.weights_digest: each for each in (gen, *others)}
    made_again = check_shown(leaves, bundle.openings, bundle.images, question, models)
    if models is None:
        made_again = _admitted(bundle, made_again)
    witnessed = is_witnessed(policy, bundle.start, bundle.end)
    verdict = judge(
        attribution.fit, attribution.certificate, examined, made_again, witnessed, bundle.level
    )
    _compare(bundle, verdict)
    own = attribution is not bundle.attribution
    unchecked += left_open(bundle, asked, first, last, published)
    if own and attribution.fit != "fits":
        unchecked += unsearched(leaves, gen)
    return Verified(
        verdict,
        examined,
        bundle,
        begins,
        ends,
        attribution,
        tuple(made_again),
        own,
        tuple(unchecked),
    )


def _pixels(bundle: Bundle) -> np.ndarray:
    """Return the accused pixels."""
    try:
        return decode_image(bundle.image)[0]
    except ImageError as error:
        raise LedgerError(f"picture: {error}") from error


def _check_examined(bundle: Bundle, examined: Examined) -> None:
    """Check what the bundle says that log and openings show."""
    if set(bundle.examined) != set(examined.json):
        raise VerificationError(f"examined: it states other things than {', '.join(examined.json)}")
    for name, value in examined.json.items():
        if encode_canonical(bundle.examined[name]) != encode_canonical(value):
            raise VerificationError(
                f"examined ({name}), or {SOURCES[name]}: from the latter follows {_quoted(value)},"
                " the bundle states"
                f" {_quoted(bundle.examined[name])}"
            )


def _attribution(bundle: Bundle, gen: Any, invert: Invert | None) -> tuple[Attribution, list[str]]:
    """Return what inversion says, and what of it was not checked.

    What does not fit is searched for as the verifier takes the image to have been altered, not as
    the bundle says: under a false alteration the model's own images would not fit, either.
    """
    stated = bundle.attribution
    if gen is None:
        return stated, [
            (
                "inversion, and that the model makes the logged images: give the model's weights"
                " with"
                " --candidate"
            )
        ]
    _check_latent(bundle, gen)
    if stated.certificate:
        return stated, []
    if invert is None:
        return stated, [
            (
                "inversion: what the bundle states of it is the developer's word; leave --no-search"
                " away"
            )
        ]
    own = invert(bundle.image, gen, stated.alteration if stated.fit == "fits" else None)
    if own.alteration != stated.alteration:
        raise VerificationError(
            "attribution (alteration): the bundle takes the image to be altered by"
            f" {_quoted(stated.alteration)},"
            f" the verifier's own search by {_quoted(own.alteration)}; if the first is right, name"
            " it with --alteration"
        )
    if (own.fit, own.certificate) != (stated.fit, stated.certificate):
        raise VerificationError(
            f"attribution: the bundle states {stated.fit!r}, the verifier's own search ends with"
            f" {own.fit!r}"
            f"{', with certificate' if own.certificate else ''}: {own.reason}"
        )
    return own, []


def _check_latent(bundle: Bundle, gen: Any) -> None:
    """Check that the stated latent leaves the stated residual, and reproduces the image if it
    must.
    """
    from jattr.ledger.evidence.inversion import seen_by, takes

    stated = bundle.attribution
    try:
        seen = seen_by(bundle.image, gen, stated.alteration)
    except InputError as error:
        raise VerificationError(
            f"attribution (alteration): {shown(str(error).encode(), 300)}"
        ) from error
    if seen.alteration != stated.alteration:
        raise VerificationError(
            f"attribution (alteration): it is spelt {_quoted(stated.alteration)}, not"
            f" {_quoted(seen.alteration)}"
        )
    if stated.latent is None or stated.residual is None:
        return
    z, space, label = parse_latent(stated.latent)
    if space != gen.space or not takes(gen, z, label):
        raise VerificationError(f"attribution (latent): {gen.name} has no such latent")
    found, said = seen.residual(z, label), float(stated.residual)
    if not abs(found - said) <= RELATIVE * abs(said):
        raise VerificationError(
            f"attribution (residual or latent): the latent leaves {found:.6g}, the bundle states"
            f" {stated.residual}"
        )
    if stated.certificate and not seen.explains(z, label):
        raise VerificationError(
            "attribution (latent): the model does not make the image from the latent"
        )


def _admitted(bundle: Bundle, shown: Sequence[Shown]) -> list[Shown]:
    """Return what was made again, with what the bundle says that only the weights would show: all
    of it unchecked.

    That is faults, and that an entry's latent makes the image.
    """
    stated = bundle.verdict.get("weaknesses")
    faults = [text for text in stated if isinstance(text, str)] if isinstance(stated, list) else []
    found, use = [], bundle.verdict.get("use") if bundle.verdict.get("kind") == CONSISTENT else None
    for one in shown:
        head = f"entry {one.entry}: "
        fault = next((text.removeprefix(head) for text in faults if text.startswith(head)), "")
        if fault and not one.problem:
            one = Shown(one.entry, fault, same=False, near=False, latent=False)
        elif one.entry == use and not one.problem:
            one = dataclasses.replace(one, latent=True)
        found.append(one)
    return found


def _compare(bundle: Bundle, verdict: Verdict) -> None:
    """Check that the stated verdict is the one that follows."""
    stated = bundle.verdict
    if encode_canonical(stated) == encode_canonical(verdict.json):
        return
    known = stated.get("weaknesses")
    before = known if isinstance(known, list) else []
    new = [weak for weak in verdict.weaknesses if weak not in before]
    gone = [weak for weak in before if isinstance(weak, str) and weak not in verdict.weaknesses]
    fields = dict.fromkeys(
        name for words, name in CAUSES.items() if any(words in weak for weak in new + gone)
    )
    raise VerificationError(
        f"{', '.join([*fields, 'verdict'])}: the verdict that follows is {verdict.kind}, the"
        " bundle states"
        f" {_quoted(stated.get('kind'))}{': ' + shown('; '.join(new).encode(), 300) if new else ''}"
    )


def _quoted(value: Any) -> str:
    return shown(encode_canonical(value), 120)
