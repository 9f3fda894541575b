"""Making entries of the log again: whether latent, image and commitments belong together."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from jattr.errors import ImageError, InputError, LedgerError
from jattr.generators.base import Generator
from jattr.images.reading import decode
from jattr.ledger.canonical import encode_canonical
from jattr.ledger.commitments import Opening, parse_latent, pixels_value
from jattr.ledger.evidence.bundle import Attribution
from jattr.ledger.evidence.inversion import observe_image, reproduces, viewed
from jattr.ledger.evidence.judge import Regenerated
from jattr.ledger.evidence.window import Leaves
from jattr.ledger.leaves import Scalar
from jattr.ledger.perceptual import near, perceptual_hash

# Root mean square difference of two latents, relative to the root mean square of the logged one.
CLOSE_LATENT = 0.5  # worth a closer look
SAME_LATENT = 0.05  # taken for the same where the weights are not at hand to tell

Openings = Mapping[tuple[int, str], Opening]  # (entry, field) -> opening
Models = Mapping[str, Generator]  # digest of weights -> generator
Settings = Mapping[str, Scalar]  # of a MODEL leaf, with the space of the latent
# (settings, latent, label) -> whether the latent's image is the questioned one
Explains = Callable[[Settings, np.ndarray, int | None], bool]


@dataclass(frozen=True)
class QuestionedImage:
    """The questioned image, as entries are compared with it."""

    pixels: np.ndarray  # uint8 [H, W, C]
    hashes: tuple[bytes, ...]  # its perceptual hash, and those of its turns and mirrors
    digest: str  # of the weights of the model in question
    solution: bytes | None  # the latent by inversion, spelt as it is committed to
    explains: Explains | None  # by the certificate test; None: the weights are not at hand


def make_questioned_image(
    data: bytes,
    pixels: np.ndarray,
    hashes: tuple[bytes, ...],
    digest: str,
    attribution: Attribution,
    gen: Generator | None,
) -> QuestionedImage:
    """Return the image of a file, under what inversion took to have been done to it."""
    solution = attribution.latent if attribution.fit == "fits" else None
    if gen is None:
        return QuestionedImage(pixels, hashes, digest, solution, None)
    tests: dict[bytes, Callable[[np.ndarray, int | None], bool]] = {}

    def explains(settings: Settings, z: np.ndarray, label: int | None) -> bool:
        # One observation for all entries of the same settings: making it is dear.
        key = encode_canonical(settings)
        if key not in tests:
            view = viewed(gen, dict(settings))
            tests[key] = observe_image(data, view, attribution.alteration).explains
        return tests[key](z, label)

    return QuestionedImage(pixels, hashes, digest, solution, explains)


def check_regenerated(
    leaves: Leaves,
    openings: Openings,
    images: Mapping[int, bytes],
    question: QuestionedImage,
    models: Models | None,
) -> list[Regenerated]:
    """Return what each entry that was made again shows.

    Args:
      leaves: of the window.
      openings: checked.
      images: PNGs by entry.
      question: the image in question.
      models: the generators by digest, to make the images again; None: that is left out.
    """
    return [
        _check(leaves, openings, entry, data, question, models) for entry, data in images.items()
    ]


def _check(
    leaves: Leaves,
    openings: Openings,
    entry: int,
    data: bytes,
    question: QuestionedImage,
    models: Models | None,
) -> Regenerated:
    explains = False
    try:
        pixels = decode(data).pixels
        image_hash = perceptual_hash(pixels)
        # What is shown must be what was committed to, and what the model makes of the latent. Only
        # then does it mean anything that the latent makes the questioned image, too.
        problem = _problem(leaves, openings, entry, pixels, image_hash)
        latent = openings.get((entry, "latent"))
        if not problem and models is not None and latent is not None:
            problem = _irreproducible(leaves, entry, latent.value, pixels, models)
        if not problem and latent is not None:
            explains = _explains(leaves, entry, latent.value, question)
    except (ImageError, LedgerError, InputError) as error:
        return Regenerated(entry, str(error), same=False, near=False, explains=False)
    same = pixels.shape == question.pixels.shape and bool((pixels == question.pixels).all())
    is_near = any(near(image_hash, other) for other in question.hashes)
    return Regenerated(entry, problem, same, is_near, explains)


def _explains(leaves: Leaves, entry: int, latent: bytes, question: QuestionedImage) -> bool:
    """Return whether an entry's latent makes the image, under what was done to it."""
    model = leaves.model_of(entry)
    if model is None or model.weights_digest != question.digest:
        return False
    if question.explains is None:
        return latents_match(latent, question.solution, SAME_LATENT)
    z, space, label = parse_latent(latent)
    return question.explains({**model.settings, "space": space}, z, label)


def _problem(
    leaves: Leaves, openings: Openings, entry: int, pixels: np.ndarray, image_hash: bytes
) -> str:
    """Return why an image is not that of its entry, as far as commitments tell."""
    if (entry, "latent") not in openings:
        return "its latent was not opened"
    if entry not in leaves.results:
        return "" if entry in leaves.intents else "it is no use in the window"
    if (entry, "pixels") not in openings or (entry, "perceptual") not in openings:
        return "its pixels or its perceptual hash were not opened"
    if openings[entry, "pixels"].value != pixels_value(pixels):
        return "the image that is shown is not the one that was logged"
    if openings[entry, "perceptual"].value != image_hash:
        return "the perceptual hash that was logged is not that of the image that was logged"
    return ""


def _irreproducible(
    leaves: Leaves, entry: int, latent: bytes, pixels: np.ndarray, models: Models
) -> str:
    """Return why its model does not make an image of its latent; empty if it does."""
    model = leaves.model_of(entry)
    if model is None:
        return "it leads to no model"
    if model.weights_digest not in models:
        return (
            f"it is of {model.name[:60]} (weights {model.weights_digest[:16]}...), which was not"
            " given"
        )
    z, space, label = parse_latent(latent)
    view = viewed(models[model.weights_digest], {**model.settings, "space": space})
    if reproduces(view, z, label, pixels):
        return ""
    return "the model does not make the logged image from its latent"


def latents_match(
    logged: bytes | None, solution: bytes | None, tolerance: float = CLOSE_LATENT
) -> bool:
    """Return whether two latents, spelt as they are committed to, differ by little."""
    if logged is None or solution is None:
        return False
    try:
        a, *space_and_label = parse_latent(logged)
        b, *others = parse_latent(solution)
    except LedgerError:
        return False
    if a.shape != b.shape or space_and_label != others:
        return False
    return bool(np.sqrt(np.mean((a - b) ** 2)) <= tolerance * np.sqrt(np.mean(a**2)))
