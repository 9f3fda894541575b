"""Making evidence: the log's owner shows what the log holds of an image."""

import contextlib
import dataclasses
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from jattr.errors import InputError, LedgerError
from jattr.generators.base import Generator
from jattr.images import encode_png, to_byte
from jattr.images.reading import decode
from jattr.ledger.checkpoint import Checkpoint
from jattr.ledger.commitments import Opening, parse_latent, pixels_value
from jattr.ledger.evidence.bundle import LEVELS, Attribution, Bundle, encode_bundle
from jattr.ledger.evidence.inversion import viewed
from jattr.ledger.evidence.judge import LEAST_SAMPLE, Verdict, judge
from jattr.ledger.evidence.regenerate import (
    Settings,
    check_regenerated,
    latents_match,
    make_questioned_image,
)
from jattr.ledger.evidence.window import Leaves, exact_entries, examine, sample_entries
from jattr.ledger.leaves import ModelLeaf, parse_leaf
from jattr.ledger.perceptual import turned_hashes
from jattr.ledger.policy import Policy
from jattr.ledger.private import PrivateStore
from jattr.ledger.store import LogStore


@dataclass(frozen=True)
class EvidenceRequest:
    """What is asked of a log."""

    name: str  # of the image's file
    image: bytes  # the file
    start: bytes | None  # checkpoints as published; None: from the log's beginning
    end: bytes
    level: str = LEVELS[-1]
    # from whoever asked, or a beacon; None: one is drawn, which convinces nobody else
    nonce: str | None = None
    sample_size: int = LEAST_SAMPLE  # entries that are made again
    extra_entries: tuple[int, ...] = ()  # made again besides


@dataclass(frozen=True)
class Evidence:
    """A bundle, and what it comes to."""

    data: bytes  # of `evidence.json`
    bundle: Bundle
    verdict: Verdict


def make_evidence(
    log: LogStore,
    private: PrivateStore,
    policy: Policy,
    gen: Generator,
    attribution: Attribution,
    request: EvidenceRequest,
    others: Sequence[Generator] = (),
) -> Evidence:
    """Return the evidence about an image.

    Args:
      log: the log.
      private: what its commitments hide.
      policy: the log and its witnesses; the window's ends are judged by it.
      gen: the model in question.
      attribution: the result of inverting the image under it.
      request: image and window.
      others: further generators whose uses the log holds, to make those again, too.

    Raises:
      LedgerError: the window is not of this log, the model was never logged, a level is unknown.
      VerificationError: a checkpoint of the window is not to be trusted.
    """
    level = request.level
    if level not in LEVELS:
        raise LedgerError(f"level {level!r}: choose one of {', '.join(LEVELS)}")

    # The leaves of the window, and the model's leaf, which may stand before it.
    start = 0 if request.start is None else log.own_checkpoint(request.start).size
    end = log.own_checkpoint(request.end)
    leaves = Leaves(lambda number: _visible_entry(log, number, end))
    for number, entry in enumerate(log.entries(start, end.size), start):
        leaves.read(number, entry)
    model = _model_entry(log, end, gen)

    # What the perceptual hashes of all outputs say, where the level opens them.
    pixels = decode(request.image).pixels
    hashes, image_value = turned_hashes(pixels), pixels_value(pixels)
    nonce = secrets.token_hex(16) if request.nonce is None else request.nonce
    sample = sample_entries(leaves.results, nonce, request.sample_size, end.root)
    openings: dict[tuple[int, str], Opening] = {}
    if level != LEVELS[0]:
        openings |= _open(leaves, private, leaves.results, ("perceptual",))
    examined = examine(leaves, openings, gen.weights_digest, hashes, image_value, sample)

    # The images of the sample, and of every entry that may be the questioned image.
    models = {each.weights_digest: each for each in (gen, *others)}
    images: dict[int, bytes] = {}
    if level == LEVELS[-1]:
        close = _close_entries(leaves, private, attribution)
        entries = sorted({*examined.to_regenerate, *request.extra_entries, *close})
        openings |= _open(leaves, private, entries, ("latent", "pixels"))
        images = _images(leaves, private, openings, entries, models)
        examined = dataclasses.replace(examined, exact=exact_entries(openings, image_value))
    question = make_questioned_image(
        request.image, pixels, hashes, gen.weights_digest, attribution, gen
    )
    regenerated = check_regenerated(leaves, openings, images, question, models)

    witnessed = is_witnessed(policy, request.start, request.end)
    verdict = judge(
        attribution.fit, attribution.certificate, examined, regenerated, witnessed, level
    )
    bundle = Bundle(
        origin=log.origin,
        name=request.name,
        image=request.image,
        model=model,
        digest=gen.weights_digest,
        start=request.start,
        end=request.end,
        level=level,
        openings=openings,
        nonce=nonce,
        sample_size=request.sample_size,
        images=images,
        attribution=attribution,
        examined=examined.json,
        verdict=verdict.json,
    )
    return Evidence(encode_bundle(bundle, log.signers), bundle, verdict)


def is_witnessed(policy: Policy, start: bytes | None, end: bytes) -> bool:
    """Return whether the policy's quorum of witnesses has cosigned both ends of a window.

    A policy that asks for no witness has none: whoever cosigned is then nobody's choice.

    Raises:
      VerificationError: the log's own signature is missing or wrong.
    """
    trusted = policy.without_quorum()
    opened = [trusted.open(note) for note in (start, end) if note is not None]
    return all(each.witnessed for each in opened)


def _visible_entry(log: LogStore, number: int, end: Checkpoint) -> bytes | None:
    """Return an entry that a verifier can see, too."""
    return log.entry(number) if number < end.size else None


def _model_entry(log: LogStore, end: Checkpoint, gen: Generator) -> int:
    """Return the first MODEL entry of a generator up to the window's end."""
    for number, entry in enumerate(log.entries(0, end.size)):
        # Canonical JSON: what does not hold these bytes is no MODEL leaf and need not be parsed.
        if b'"kind":"model"' not in entry:
            continue
        try:
            leaf = parse_leaf(entry)
        except LedgerError:
            continue
        if isinstance(leaf, ModelLeaf) and leaf.weights_digest == gen.weights_digest:
            return number
    raise LedgerError(
        f"the log {log.origin} has no MODEL leaf of {gen.name} ({gen.weights_digest[:16]}...) in"
        f" its first {end.size} entries: a log says nothing of a model that it does not name; log"
        " it before its first use"
    )


def _open(
    leaves: Leaves, private: PrivateStore, entries: Iterable[int], names: tuple[str, ...]
) -> dict[tuple[int, str], Opening]:
    """Return the openings of entries that are there; erased and lost ones are left out."""
    openings = {}
    for entry in entries:
        for name in names:
            commitment = leaves.commitment(entry, name)
            opening = None if commitment is None else private.opening(commitment)
            if opening is not None:
                openings[entry, name] = opening
    return openings


def _close_entries(leaves: Leaves, private: PrivateStore, attribution: Attribution) -> list[int]:
    """Return the entries whose latent is close to that by inversion: only their owner can tell."""
    if attribution.fit != "fits" or attribution.latent is None:
        return []
    close = []
    for entry in [*leaves.results, *leaves.orphans()]:
        intent = leaves.intent_of(entry)
        opening = None if intent is None else private.opening(intent.latent)
        if opening is not None and latents_match(opening.value, attribution.latent):
            close.append(entry)
    return close


def _images(
    leaves: Leaves,
    private: PrivateStore,
    openings: Mapping[tuple[int, str], Opening],
    entries: Iterable[int],
    models: Mapping[str, Generator],
) -> dict[int, bytes]:
    """Return the images of entries as PNGs: as they were kept, else made again."""
    images = {}
    for entry in entries:
        commitment = leaves.commitment(entry, "pixels")
        png = None if commitment is None else private.image(commitment)
        latent = openings.get((entry, "latent"))
        model = leaves.model_of(entry)
        gen = None if model is None else models.get(model.weights_digest)
        if png is None and latent is not None and model is not None and gen is not None:
            # a latent or settings that the model does not take: left out
            with contextlib.suppress(InputError):
                png = _generate_png(gen, model.settings, latent.value)
        if png is not None:
            images[entry] = png
    return images


def _generate_png(gen: Generator, settings: Settings, latent: bytes) -> bytes:
    z, space, label = parse_latent(latent)
    view = viewed(gen, {**settings, "space": space})
    labels = None if label is None else np.array([label], np.int32)
    images = np.asarray(view.generate(z[None], label=labels))
    return encode_png(to_byte(images, rule=gen.rounding or "round")[0])
