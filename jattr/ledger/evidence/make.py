"""Making evidence: the log's owner shows what the log holds of an image."""

import contextlib
import dataclasses
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jattr.errors import InputError, LedgerError
from jattr.images.reading import decode_image
from jattr.ledger.checkpoint import Checkpoint
from jattr.ledger.commitments import Opening, parse_latent, pixels_value
from jattr.ledger.evidence.bundle import LEVELS, Attribution, Bundle, encode_bundle
from jattr.ledger.evidence.judge import LEAST_SAMPLE, Verdict, judge
from jattr.ledger.evidence.regenerate import alike, check_shown, questioned_image
from jattr.ledger.evidence.window import Leaves, exact_entries, examine
from jattr.ledger.leaves import ModelLeaf, parse_leaf
from jattr.ledger.perceptual import turned_hashes
from jattr.ledger.policy import OpenedCheckpoint, Policy
from jattr.ledger.private import PrivateStore
from jattr.ledger.store import LogStore

SAMPLE = LEAST_SAMPLE  # entries that are made again


@dataclass(frozen=True)
class Made:
    """A bundle that was made, and what it comes to."""

    data: bytes  # of `evidence.json`
    bundle: Bundle
    verdict: Verdict


@dataclass(frozen=True)
class Question:
    """What is asked of a log."""

    name: str  # of the image's file
    image: bytes  # the file
    start: bytes | None  # checkpoints as published; None: from the log's beginning
    end: bytes
    level: str = LEVELS[-1]
    # from whoever asked, or a beacon; None: one is drawn, which convinces nobody else
    nonce: str | None = None
    wanted: int = SAMPLE
    also: tuple[int, ...] = ()  # entries to be shown besides


def make_evidence(
    log: LogStore,
    private: PrivateStore,
    policy: Policy,
    gen: Any,
    attribution: Attribution,
    asked: Question,
    others: Sequence[Any] = (),
) -> Made:
    """Return the evidence about an image.

    Args:
      log: the log.
      private: what its commitments hide.
      policy: the log and its witnesses; the window's ends are judged by it.
      gen: the accused generator.
      attribution: what inversion of the image under it found.
      asked: image and window.
      others: further generators whose uses the log holds, to make those again, too.

    Raises:
      LedgerError: the window is not of this log, the model was never logged, a level is unknown.
      VerificationError: a checkpoint of the window is not to be trusted.
    """
    if asked.level not in LEVELS:
        raise LedgerError(f"level {asked.level!r}: choose one of {', '.join(LEVELS)}")
    start, end = _size(log, asked.start), log.own_checkpoint(asked.end)
    leaves = Leaves(lambda number: _before(log, number, end))
    for number, entry in enumerate(log.entries(start, end.size), start):
        leaves.read(number, entry)
    model = _model(log, end, gen)
    pixels, _ = decode_image(asked.image)
    observation = (turned_hashes(pixels), pixels_value(pixels))
    nonce = asked.nonce if asked.nonce is not None else secrets.token_hex(16)
    sample = (nonce, asked.wanted, end.root)
    openings = (
        {} if asked.level == LEVELS[0] else _open(leaves, private, leaves.results, ("perceptual",))
    )
    examined = examine(leaves, openings, gen.weights_digest, observation, sample)
    models = {each.weights_digest: each for each in (gen, *others)}
    images: dict[int, bytes] = {}
    if asked.level == LEVELS[-1]:
        entries = sorted({*examined.to_show, *asked.also, *_alike(leaves, private, attribution)})
        openings |= _open(leaves, private, entries, ("latent", "pixels"))
        images = _images(leaves, private, openings, entries, models)
        examined = dataclasses.replace(examined, exact=exact_entries(openings, observation[1]))
    question = questioned_image(
        asked.image, pixels, observation[0], gen.weights_digest, attribution, gen
    )
    shown = check_shown(leaves, openings, images, question, models)
    witnessed = is_witnessed(policy, asked.start, asked.end)
    verdict = judge(
        attribution.fit, attribution.certificate, examined, shown, witnessed, asked.level
    )
    bundle = Bundle(
        origin=log.origin,
        name=asked.name,
        image=asked.image,
        model=model,
        digest=gen.weights_digest,
        start=asked.start,
        end=asked.end,
        level=asked.level,
        openings=openings,
        nonce=nonce,
        wanted=asked.wanted,
        images=images,
        attribution=attribution,
        examined=examined.json,
        verdict=verdict.json,
    )
    return Made(encode_bundle(bundle, log.signers), bundle, verdict)


def is_witnessed(policy: Policy, start: bytes | None, end: bytes) -> bool:
    """Return whether independent witnesses, by the policy's quorum, have cosigned both ends of a
    window.

    A policy that asks for no witness has none: whoever cosigned is then nobody's choice.

    Raises:
      VerificationError: the log's own signature is missing or wrong.
    """
    opened: list[OpenedCheckpoint] = [
        policy.without_quorum().open(note) for note in (start, end) if note is not None
    ]
    return all(found.witnessed for found in opened)


def _before(log: LogStore, number: int, end: Checkpoint) -> bytes | None:
    """Return an entry that whoever verifies can see, too."""
    return log.entry(number) if number < end.size else None


def _size(log: LogStore, note: bytes | None) -> int:
    return 0 if note is None else log.own_checkpoint(note).size


def _model(log: LogStore, end: Checkpoint, gen: Any) -> int:
    """Return the first MODEL entry of a generator up to the window's end."""
    for number, entry in enumerate(log.entries(0, end.size)):
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
        f" its first {end.size}"
        " entries: a log says nothing of a model that it does not name; log it before its first use"
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


def _alike(leaves: Leaves, private: PrivateStore, attribution: Attribution) -> list[int]:
    """Return the entries of the window whose latent is like the one that inversion found: only
    their owner can tell.
    """
    if attribution.fit != "fits" or attribution.latent is None:
        return []
    found = []
    for entry in [*leaves.results, *leaves.orphans()]:
        intent = leaves.intent_of(entry)
        opening = None if intent is None else private.opening(intent.latent)
        if opening is not None and alike(opening.value, attribution.latent):
            found.append(entry)
    return found


def _images(
    leaves: Leaves,
    private: PrivateStore,
    openings: dict[tuple[int, str], Opening],
    entries: Iterable[int],
    models: Mapping[str, Any],
) -> dict[int, bytes]:
    """Return the images of entries as PNGs: as they were kept, else made again."""
    images = {}
    for entry in entries:
        commitment = leaves.commitment(entry, "pixels")
        kept = None if commitment is None else private.image(commitment)
        latent = openings.get((entry, "latent"))
        model = leaves.model_of(entry)
        if (
            kept is None
            and latent is not None
            and model is not None
            and model.weights_digest in models
        ):
            # a latent or settings that the model does not take: left out
            with contextlib.suppress(InputError):
                kept = _made_again(models[model.weights_digest], model.settings, latent.value)
        if kept is not None:
            images[entry] = kept
    return images


def _made_again(gen: Any, settings: Any, latent: bytes) -> bytes:
    from jattr.images import encode_png
    from jattr.ledger.evidence.inversion import viewed

    z, space, label = parse_latent(latent)
    view = viewed(gen, {**settings, "space": space})
    made = view.generate(z[None], label=None if label is None else np.array([label], np.int32))
    return encode_png(gen.to_bytes(made)[0])
