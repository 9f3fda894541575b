"""Making entries of the log again: whether latent, image and commitments belong together."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from jattr.errors import ImageError, InputError, LedgerError
from jattr.images.reading import decode_image
from jattr.ledger.canonical import encode_canonical
from jattr.ledger.commitments import Opening, parse_latent, pixels_value
from jattr.ledger.evidence.bundle import Attribution
from jattr.ledger.evidence.judge import Shown
from jattr.ledger.evidence.window import Leaves
from jattr.ledger.perceptual import near, perceptual_hash

ALIKE = 0.5  # root mean square difference of latents over the logged one's own: worth a closer look
SAME_LATENT = 0.05  # the same where the weights are not at hand to tell

Openings = Mapping[tuple[int, str], Opening]
Models = Mapping[str, Any]  # digest of weights -> generator
Settings = Mapping[str, Any]  # of a MODEL leaf, with the space of the latent
# whether a latent's image is the accused one
Explains = Callable[[Settings, np.ndarray, int | None], bool]


@dataclass(frozen=True)
class Observation:
    """The image, as entries are compared with it."""

    pixels: np.ndarray  # uint8 [H, W, C]
    hashes: tuple[bytes, ...]  # its perceptual hash, and those of its turns and mirrors
    digest: str  # of the accused model's weights
    found: bytes | None  # the latent that inversion found, spelt as it is committed to
    explains: Explains | None  # by the certificate test; None: the weights are not at hand


def questioned_image(
    data: bytes,
    pixels: np.ndarray,
    hashes: tuple[bytes, ...],
    digest: str,
    attribution: Attribution,
    gen: Any | None,
) -> Observation:
    """Return the image of a file, under what inversion took to have been done to it."""
    found = attribution.latent if attribution.fit == "fits" else None
    if gen is None:
        return Observation(pixels, hashes, digest, found, None)
    from jattr.ledger.evidence.inversion import seen_by, viewed

    known: dict[bytes, Callable[[np.ndarray, int | None], bool]] = {}

    def explains(settings: Settings, z: np.ndarray, label: int | None) -> bool:
        key = encode_canonical(settings)
        if key not in known:
            known[key] = seen_by(data, viewed(gen, dict(settings)), attribution.alteration).explains
        return known[key](z, label)

    return Observation(pixels, hashes, digest, found, explains)


def check_shown(
    leaves: Leaves,
    openings: Openings,
    images: Mapping[int, bytes],
    observation: Observation,
    models: Models | None,
) -> list[Shown]:
    """Return what each entry that was made again shows.

    Args:
      leaves: of the window.
      openings: checked.
      images: PNGs by entry.
      observation: the image in question.
      models: the generators by digest, to make the images again; None: that is left out.
    """
    return [
        _shown(leaves, openings, entry, data, observation, models) for entry, data in images.items()
    ]


def _shown(
    leaves: Leaves,
    openings: Openings,
    entry: int,
    data: bytes,
    observation: Observation,
    models: Models | None,
) -> Shown:
    try:
        pixels, _ = decode_image(data)
        hash_ = perceptual_hash(pixels)
        problem = _problem(leaves, openings, entry, pixels, hash_)
        latent = openings.get((entry, "latent"))
        if not problem and models is not None and latent is not None:
            problem = _not_made(leaves, entry, latent.value, pixels, models)
        explains = (
            latent is not None
            and not problem
            and _explains(leaves, entry, latent.value, observation)
        )
    except (ImageError, LedgerError, InputError) as error:
        return Shown(entry, str(error), same=False, near=False, latent=False)
    same = pixels.shape == observation.pixels.shape and bool((pixels == observation.pixels).all())
    return Shown(
        entry, problem, same, any(near(hash_, mine) for mine in observation.hashes), explains
    )


def _explains(leaves: Leaves, entry: int, latent: bytes, observation: Observation) -> bool:
    """Whether an entry's latent makes the image, under what was done to it."""
    model = leaves.model_of(entry)
    if model is None or model.weights_digest != observation.digest:
        return False
    if observation.explains is None:
        return alike(latent, observation.found, SAME_LATENT)
    z, space, label = parse_latent(latent)
    return observation.explains({**model.settings, "space": space}, z, label)


def _problem(
    leaves: Leaves, openings: Openings, entry: int, pixels: np.ndarray, hash_: bytes
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
    if openings[entry, "perceptual"].value != hash_:
        return "the perceptual hash that was logged is not that of the image that was logged"
    return ""


def _not_made(leaves: Leaves, entry: int, latent: bytes, pixels: np.ndarray, models: Models) -> str:
    """Return why its model does not make an image of its latent; empty if it does."""
    from jattr.ledger.evidence.inversion import reproduces, viewed

    model = leaves.model_of(entry)
    if model is None:
        return "it leads to no model"
    if model.weights_digest not in models:
        return (
            f"it is of {model.name[:60]} (weights {model.weights_digest[:16]}...), which was"
            " not given"
        )
    z, space, label = parse_latent(latent)
    view = viewed(models[model.weights_digest], {**model.settings, "space": space})
    return (
        ""
        if reproduces(view, z, label, pixels)
        else "the model does not make the logged image from its latent"
    )


def alike(logged: bytes | None, found: bytes | None, limit: float = ALIKE) -> bool:
    """Whether two latents, spelt as they are committed to, differ by little."""
    if logged is None or found is None:
        return False
    try:
        (a, space, label), (b, other, found_label) = parse_latent(logged), parse_latent(found)
    except LedgerError:
        return False
    if a.shape != b.shape or (space, label) != (other, found_label):
        return False
    return bool(np.sqrt(np.mean((a - b) ** 2)) <= limit * np.sqrt(np.mean(a**2)))
