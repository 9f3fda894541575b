"""Verifying evidence from the bundle, the public log, the verifier's policy, and the weights.

Nothing that the bundle derives is believed. Everything is recomputed from the log's entries, and
what differs is named. What could not be checked is listed, and never passes silently.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from jattr.errors import ImageError, InputError, LedgerError, VerificationError
from jattr.generators.base import Generator
from jattr.images.reading import decode
from jattr.ledger.canonical import encode_canonical
from jattr.ledger.commitments import parse_latent, pixels_value
from jattr.ledger.encoding import shown
from jattr.ledger.evidence.bundle import Attribution, Bundle, parse_bundle
from jattr.ledger.evidence.expected import (
    Expected,
    check_expected,
    unsearched_settings,
    unspecified,
)
from jattr.ledger.evidence.inversion import observe_image, takes
from jattr.ledger.evidence.judge import CONSISTENT, Regenerated, Verdict, judge
from jattr.ledger.evidence.make import is_witnessed
from jattr.ledger.evidence.published import check_model, window_ends, window_leaves
from jattr.ledger.evidence.regenerate import check_regenerated, make_questioned_image
from jattr.ledger.evidence.window import (
    Examination,
    check_openings,
    examine,
    sample_entries,
)
from jattr.ledger.perceptual import turned_hashes
from jattr.ledger.policy import OpenedCheckpoint, Policy
from jattr.ledger.reader import PublishedLog

# (file, generator, alteration; None: one's own) -> result of the search
Invert = Callable[[bytes, Generator, str | None], Attribution]
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
    examined: Examination
    bundle: Bundle
    start: OpenedCheckpoint | None  # of the window; None: it begins with the log
    end: OpenedCheckpoint
    attribution: Attribution  # the verifier's own where the search was run, else as stated
    regenerated: tuple[Regenerated, ...]
    own_search: bool  # whether the attribution is the verifier's own
    unchecked: tuple[str, ...]  # what was not carried out, and why


def verify_evidence(
    data: bytes,
    log: PublishedLog,
    policy: Policy,
    *,
    gen: Generator | None = None,
    others: Sequence[Generator] = (),
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
      gen: the model in question; without it neither inversion nor the images made again are
        checked.
      others: further models whose uses the log holds.
      nonce: what the verifier had asked the sample to be chosen by; None: whoever made the bundle
        chose it.
      image: the file that the verifier asks about; None: the bundle may be about another one.
      end: the signed checkpoint that the verifier had kept when giving the nonce out; the window
        must end with it. None: the sample may have been chosen by adding entries.
      window: sizes of the log between which the verifier asked for evidence; None: what lies
        outside is listed.
      invert: the verifier's own search; None: what the bundle says of an image that does not fit is
        not checked.

    Raises:
      LedgerError: the bundle or the log is malformed, or cannot be read.
      VerificationError: something is not as stated; the message begins with the field.
    """
    bundle = parse_bundle(data, [party.key for party in policy.logs])

    # The window is what the verifier asked for, and its entries lead to the root of its end.
    start_opened, end_opened = window_ends(bundle, policy)
    start = None if start_opened is None else start_opened.checkpoint
    first, last = 0 if start is None else start.size, end_opened.checkpoint.size
    expected = Expected(image, nonce, end, window)
    check_expected(bundle, expected, policy, end_opened, first)
    leaves, published = window_leaves(log, policy, start, end_opened.checkpoint)
    check_model(leaves, bundle, gen)

    # The openings open what the leaves commit to, and lead to what the bundle says of them.
    check_openings(leaves, bundle.openings)
    pixels = _pixels(bundle)
    hashes, image_value = turned_hashes(pixels), pixels_value(pixels)
    sample = sample_entries(
        leaves.results, bundle.nonce, bundle.sample_size, end_opened.checkpoint.root
    )
    examined = examine(leaves, bundle.openings, bundle.digest, hashes, image_value, sample)
    _check_examined(bundle, examined)

    # Inversion, and the entries made again: with the weights, else as the bundle states it.
    attribution, unchecked = _attribution(bundle, gen, invert)
    question = make_questioned_image(bundle.image, pixels, hashes, bundle.digest, attribution, gen)
    models = None if gen is None else {each.weights_digest: each for each in (gen, *others)}
    regenerated = check_regenerated(leaves, bundle.openings, bundle.images, question, models)
    if models is None:
        regenerated = _as_stated(bundle, regenerated)

    witnessed = is_witnessed(policy, bundle.start, bundle.end)
    verdict = judge(
        attribution.fit, attribution.certificate, examined, regenerated, witnessed, bundle.level
    )
    _compare(bundle, verdict)
    own_search = attribution is not bundle.attribution
    unchecked += unspecified(bundle, expected, first, last, published)
    if gen is not None and own_search and attribution.fit != "fits":
        unchecked += unsearched_settings(leaves, gen)
    return Verified(
        verdict,
        examined,
        bundle,
        start_opened,
        end_opened,
        attribution,
        tuple(regenerated),
        own_search,
        tuple(unchecked),
    )


def _pixels(bundle: Bundle) -> np.ndarray:
    """Return the pixels of the questioned image."""
    try:
        return decode(bundle.image).pixels
    except ImageError as error:
        raise LedgerError(f"picture: {error}") from error


def _check_examined(bundle: Bundle, examined: Examination) -> None:
    """Check what the bundle says that log and openings show."""
    if set(bundle.examined) != set(examined.json):
        raise VerificationError(f"examined: it states other things than {', '.join(examined.json)}")
    for name, value in examined.json.items():
        if encode_canonical(bundle.examined[name]) != encode_canonical(value):
            raise VerificationError(
                f"examined ({name}), or {SOURCES[name]}: from the latter follows {_quoted(value)},"
                f" the bundle states {_quoted(bundle.examined[name])}"
            )


def _attribution(
    bundle: Bundle, gen: Generator | None, invert: Invert | None
) -> tuple[Attribution, list[str]]:
    """Return the result of inversion, and what of it was not checked.

    What does not fit is searched for as the verifier takes the image to have been altered, not as
    the bundle says: under a false alteration the model's own images would not fit, either.
    """
    stated = bundle.attribution
    if gen is None:
        missing = "inversion, and that the model makes the logged images"
        return stated, [f"{missing}: give the model's weights with --candidate"]
    _check_latent(bundle, gen)
    if stated.certificate:
        return stated, []
    if invert is None:
        word = "what the bundle states of it is the developer's word"
        return stated, [f"inversion: {word}; leave --no-search away"]
    own = invert(bundle.image, gen, stated.alteration if stated.fit == "fits" else None)
    if own.alteration != stated.alteration:
        raise VerificationError(
            "attribution (alteration): the bundle takes the image to be altered by"
            f" {_quoted(stated.alteration)}, the verifier's own search by"
            f" {_quoted(own.alteration)}; if the first is right, name it with --alteration"
        )
    if (own.fit, own.certificate) != (stated.fit, stated.certificate):
        certificate = ", with certificate" if own.certificate else ""
        raise VerificationError(
            f"attribution: the bundle states {stated.fit!r}, the verifier's own search ends with"
            f" {own.fit!r}{certificate}: {own.reason}"
        )
    return own, []


def _check_latent(bundle: Bundle, gen: Generator) -> None:
    """Check that the latent leaves the stated residual, and reproduces the image if it must."""
    stated = bundle.attribution
    try:
        observed = observe_image(bundle.image, gen, stated.alteration)
    except InputError as error:
        raise VerificationError(
            f"attribution (alteration): {shown(str(error).encode(), 300)}"
        ) from error
    if observed.alteration != stated.alteration:
        raise VerificationError(
            f"attribution (alteration): it is spelt {_quoted(stated.alteration)}, not"
            f" {_quoted(observed.alteration)}"
        )
    if stated.latent is None or stated.residual is None:
        return
    z, space, label = parse_latent(stated.latent)
    if space != gen.space or not takes(gen, z, label):
        raise VerificationError(f"attribution (latent): {gen.name} has no such latent")
    residual, stated_residual = observed.residual(z, label), float(stated.residual)
    if not abs(residual - stated_residual) <= RELATIVE * abs(stated_residual):
        raise VerificationError(
            f"attribution (residual or latent): the latent leaves {residual:.6g}, the bundle"
            f" states {stated.residual}"
        )
    if stated.certificate and not observed.explains(z, label):
        raise VerificationError(
            "attribution (latent): the model does not make the image from the latent"
        )


def _as_stated(bundle: Bundle, regenerated: Sequence[Regenerated]) -> list[Regenerated]:
    """Return what was made again, with what only the weights would show as the bundle states it.

    That is faults, and that an entry's latent makes the image. All of it is unchecked.
    """
    stated = bundle.verdict.get("weaknesses")
    faults = [text for text in stated if isinstance(text, str)] if isinstance(stated, list) else []
    use = bundle.verdict.get("use") if bundle.verdict.get("kind") == CONSISTENT else None
    result = []
    for each in regenerated:
        head = f"entry {each.entry}: "
        fault = next((text.removeprefix(head) for text in faults if text.startswith(head)), "")
        if fault and not each.problem:
            each = Regenerated(each.entry, fault, same=False, near=False, explains=False)
        elif each.entry == use and not each.problem:
            each = dataclasses.replace(each, explains=True)
        result.append(each)
    return result


def _compare(bundle: Bundle, verdict: Verdict) -> None:
    """Check that the stated verdict is the one that follows."""
    stated = bundle.verdict
    if encode_canonical(stated) == encode_canonical(verdict.json):
        return
    weaknesses = stated.get("weaknesses")
    before = weaknesses if isinstance(weaknesses, list) else []
    added = [weak for weak in verdict.weaknesses if weak not in before]
    removed = [weak for weak in before if isinstance(weak, str) and weak not in verdict.weaknesses]
    fields = dict.fromkeys(
        name for words, name in CAUSES.items() if any(words in weak for weak in added + removed)
    )
    details = ": " + shown("; ".join(added).encode(), 300) if added else ""
    raise VerificationError(
        f"{', '.join([*fields, 'verdict'])}: the verdict that follows is {verdict.kind}, the"
        f" bundle states {_quoted(stated.get('kind'))}{details}"
    )


def _quoted(value: object) -> str:
    return shown(encode_canonical(value), 120)
