"""`--alteration`: what may have been done to the accused pictures, and each picture as it looks under that."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jattr.errors import ImageError, InputError, UnreadableJpegError
from jattr.generators.base import Generator
from jattr.images import Picture
from jattr.images.fitting import with_channels
from jattr.images.jpeg import read_coefficients
from jattr.images.reading import read_bytes
from jattr.nuisances.chain import Chain
from jattr.nuisances.files import AlteredPictures, from_decoded, from_jpeg
from jattr.nuisances.geometry import only_tagged
from jattr.nuisances.history import find_jpeg
from jattr.nuisances.jpeg import DECODED
from jattr.nuisances.registry import REGISTRY, parse_chain

AUTO, NONE, JPEG = "auto", "none", "jpeg"


@dataclass(frozen=True)
class Alternative:
    """One of the alterations to be tried."""

    text: str
    before: Chain | None  # None: bytes as they are
    jpeg: bool  # followed by the compression that the file states
    guessed: bool = False  # not asked for: where it does not fit, the picture is taken as it is


def parse_alternatives(texts: Sequence[str]) -> tuple[Alternative, ...]:
    """Return the alternatives that were named; an alteration that ends with `jpeg` alone takes the file's own.

    Raises:
      InputError: one cannot be read.
    """
    found = []
    for text in dict.fromkeys(texts):
        if text == AUTO:
            found.append(Alternative(text, Chain(()), jpeg=True, guessed=True))
        elif text == NONE:
            found.append(Alternative(text, None, jpeg=False))
        else:
            parts = [part.strip() for part in text.split(",") if part.strip()]
            own = bool(parts) and parts[-1] == JPEG
            if not parts:
                raise InputError(f"--alteration is {text!r}; it is auto, none, or a chain of {', '.join(REGISTRY)}")
            found.append(Alternative(text, parse_chain(",".join(parts[: len(parts) - own])), jpeg=own))
    return tuple(found)


def alternatives_of(
    alternatives: Sequence[Alternative], picture: Picture, generators: Sequence[Generator], *, resize: bool
) -> tuple[tuple[Alternative, ...], bool]:
    """Return the alternatives for a picture, and whether one that should be among them is not.

    Where nothing was named and the file asks to be shown turned, either the picture was turned when it was saved, or
    only that request was added to its file. The second can be tried on candidates of one size only.
    """
    text = only_tagged(picture.orientation, jpeg=picture.jpeg)
    if not text or not any(alternative.guessed for alternative in alternatives):
        return tuple(alternatives), False
    if resize or len({gen.image_shape for gen in generators}) > 1:
        return tuple(alternatives), True
    size, wanted = picture.pixels.shape[:2], generators[0].image_shape[:2]
    if (size[::-1] if picture.orientation >= 5 else size) != wanted:
        return tuple(alternatives), False
    fitting = [alternative for alternative in alternatives if size == wanted or not alternative.guessed]
    return (*fitting, *parse_alternatives([text])), False


def check_candidates(alternatives: Sequence[Alternative], generators: Sequence[Generator], *, resize: bool) -> None:
    """Check that the alternatives can be applied to what the candidates make.

    Raises:
      InputError: they cannot, or the candidates' sizes differ.
    """
    asked = [alternative for alternative in alternatives if not alternative.guessed and alternative.before is not None]
    if not asked:
        return
    shapes = {gen.image_shape for gen in generators}
    if resize or len(shapes) > 1:
        raise InputError("--alteration needs candidates of one size and no --resize; name the resize as an alteration")
    for alternative in asked:
        assert alternative.before is not None
        alternative.before.out_shape(generators[0].image_shape)


def check_one(alternatives: Sequence[Alternative]) -> None:
    """Check that nothing is chosen after looking: a calibration's error rates hold for one alteration, named before.

    Raises:
      InputError: there are several, or one has an unknown factor, which is fitted to the picture.
    """
    free = [each.text for each in alternatives if each.before is not None and each.before.free]
    if len(alternatives) == 1 and not free:
        return
    what = f"the unknown factor of {free[0]!r}" if free else f"{len(alternatives)} alterations"
    raise InputError(
        f"--calibration and {what}: what fits best would be chosen after looking, which no error rate allows"
        " for; name one alteration, every factor given, or leave --calibration away"
    )


def altered_picture(alternative: Alternative, picture: Picture, gen: Generator) -> AlteredPictures | None:
    """Return a picture as altered in this way; None where it is to be taken as it is.

    Raises:
      ImageError: the alteration does not lead to a picture of this size, or the file is no JPEG that jattr reads;
        UnreadableJpegError where its pixels may mislead, too.
    """
    if alternative.before is None:
        return None
    if not alternative.jpeg or not (picture.jpeg or alternative.guessed):
        return _saved_again(alternative, picture, gen)
    data = read_bytes(picture.path)
    if hashlib.sha256(data).hexdigest() != picture.sha256:
        raise ImageError("was changed while it was read; give a file that nobody writes to")
    altered = from_jpeg([data], alternative.before)
    try:
        shape = altered.chain.out_shape(gen.image_shape)
    except InputError as error:
        raise ImageError(str(error)) from None
    _check_size(alternative, picture, shape)
    return altered


def check_readable(picture: Picture) -> None:
    """Check that a JPEG file whose compression is not modelled is sound all the same.

    Raises:
      UnreadableJpegError: it is damaged, or coded in a way that jattr does not decode.
    """
    try:
        read_coefficients(read_bytes(picture.path))
    except UnreadableJpegError:
        raise
    except ImageError:
        return  # sound, but of a size, sampling or colour whose coefficients are not read


def _saved_again(alternative: Alternative, picture: Picture, gen: Generator) -> AlteredPictures:
    """Return a picture whose file states no compression; if there was one, it is named or looked for.

    Raises:
      ImageError: the alteration does not lead to a picture of this size, or the picture shows no compression.
    """
    chain = alternative.before
    assert chain is not None
    shape = chain.out_shape(gen.image_shape)
    _check_size(alternative, picture, shape)  # which compression keeps
    if alternative.jpeg:
        found = find_jpeg(with_channels(picture.pixels, chain.out_shape(gen.image_shape)[2]))
        if found is None:
            raise ImageError(
                "is no JPEG and shows no trace of having been one; write its quality, as jpeg:75, or leave jpeg away"
            )
        chain = Chain((*chain.steps, found))
    elif chain.jpeg is not None and picture.jpeg:
        raise ImageError(f"is a JPEG file and states its own compression; write jpeg in place of {chain.jpeg.text}")
    chain.out_shape(gen.image_shape)
    pixels = with_channels(picture.pixels, shape[2])[None]
    return AlteredPictures(pixels, chain) if chain.jpeg is None else from_decoded(pixels, chain)


def _check_size(alternative: Alternative, picture: Picture, shape: tuple[int, int, int]) -> None:
    if picture.pixels.shape[:2] != shape[:2]:
        height, width = picture.pixels.shape[:2]
        raise ImageError(
            f"the picture is {height}x{width}, after {alternative.text!r} a candidate's is {shape[0]}x{shape[1]}; give"
            " the alteration that was made, such as resize:HEIGHTxWIDTH:FILTER"
        )


def joined(pictures: Sequence[AlteredPictures]) -> AlteredPictures:
    """Return pictures of one chain and shape as one set."""
    quantised = [p.quantised for p in pictures if p.quantised is not None]
    pixels = np.concatenate([p.pixels for p in pictures])
    return AlteredPictures(pixels, pictures[0].chain, np.concatenate(quantised) if quantised else None)


def stated_picture(text: str, picture: Picture, gen: Generator) -> AlteredPictures:
    """Return a picture under the alteration that a result states.

    Raises:
      ImageError: the picture cannot have been altered in this way.
      InputError: the text is no alteration.
    """
    steps = text.split(",")
    own = steps[-1].startswith(f"{JPEG}:") and not steps[-1].endswith(f":{DECODED}")
    before = parse_chain(",".join(steps[:-1] if own else steps))
    found = altered_picture(Alternative(text, before, jpeg=own), picture, gen)
    assert found is not None
    if found.chain.text != text:
        raise ImageError(f"was altered by {found.chain.text!r}, the result states {text!r}")
    return found
