"""`--alteration`: what may have been done to the images, and each image as it looks under that."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jattr.alterations.chain import Chain
from jattr.alterations.files import AlteredImages, from_decoded, from_jpeg
from jattr.alterations.geometry import only_tagged
from jattr.alterations.history import find_jpeg
from jattr.alterations.jpeg import DECODED
from jattr.alterations.registry import REGISTRY, parse_chain
from jattr.errors import ImageError, InputError, UnreadableJpegError
from jattr.generators.base import Generator
from jattr.images import LoadedImage, load_image
from jattr.images.fitting import channel_notes, with_channels
from jattr.images.jpeg import read_coefficients
from jattr.images.reading import read_bytes

if TYPE_CHECKING:
    from jattr.alterations.files import AlteredImages
    from jattr.generators.base import Generator
    from jattr.inversion.config import InvertConfig

if TYPE_CHECKING:
    from jattr.attribution.attribute import Attribution


class Explanation(NamedTuple):
    """An image in an attribution that took it as altered in one way."""

    attribution: Attribution
    image: int  # its number there


def best_explanation(found: Sequence[Explanation]) -> Explanation:
    """Return the explanation with a certificate, the one of the largest p-value; without any, the
    closest one.

    The closest one has the least residual as a multiple of what the true latent would leave under
    its alteration.
    """

    def rank(explanation: Explanation) -> tuple[bool, float, float]:
        att, i = explanation
        certificate = att.verdicts[i].certificate
        return (
            certificate is not None,
            0.0 if certificate is None else certificate.p_value,
            -float(np.min(att.residual[i] / att.noise)),
        )

    return max(found, key=rank)


AS_IT_IS = ", or take the pixels that a decoder makes of it as they are (--alteration none)"


@dataclass(frozen=True, eq=False)
class ImageHypotheses:
    """One image as read."""

    file: str
    image: LoadedImage | None  # None: it cannot be used
    forms: tuple[LoadedImage, ...]  # for every candidate, where it may be unaltered
    altered: tuple[AlteredImages | None, ...]  # as it looks under each alternative; None: unaltered
    reason: str  # why it cannot be used
    notes: tuple[str, ...] = ()  # on the alternatives
    incomplete: bool = False  # whether an alternative that should have been tried was not

    def all_notes(self) -> list[str]:
        """Return what was changed to read the image and to fit it to any candidate, each once."""
        assert self.image is not None
        forms = self.forms or (self.image,)
        return list(dict.fromkeys([*(note for form in forms for note in form.notes), *self.notes]))


@dataclass(frozen=True, eq=False)
class ImageReader:
    """Reads images for candidates, under alternatives of what may have been done to them."""

    generators: Sequence[Generator]
    alternatives: Sequence[Alternative]
    config: InvertConfig
    resize: bool  # bring images to the candidates' sizes

    def read(self, file: str) -> ImageHypotheses:
        """Return an image; where it cannot be used, with the reason."""
        try:
            image = load_image(file)
            altered, notes, problems = [], [], []
            each, incomplete = alternatives_of(
                self.alternatives, image, self.generators, resize=self.resize
            )
            for alternative in each:
                try:
                    altered.append(self._altered(alternative, image))
                except ImageError as error:
                    sound = not isinstance(error, UnreadableJpegError)
                    problems.append(f"{file!r}: {error}{'' if sound else AS_IT_IS}")
                    if alternative.guessed:
                        altered += [None] if sound else []
                        notes.append(f"not modelled as JPEG: {error}")
            if not altered:
                raise ImageError(problems[0])
            unaltered = None in altered
            forms = (
                [image.fit(gen.image_shape, resize=self.resize) for gen in self.generators]
                if unaltered
                else []
            )
            notes += [
                note
                for images in altered
                if images is not None
                for note in self._changed(image, images)
            ]
            return ImageHypotheses(
                file,
                image,
                tuple(forms),
                tuple(dict.fromkeys(altered)),
                "",
                tuple(notes),
                incomplete,
            )
        except ImageError as error:
            return ImageHypotheses(file, None, (), (), str(error))

    def _altered(self, alternative: Alternative, image: LoadedImage) -> AlteredImages | None:
        """Return an image under an alternative; one that nobody asked for is not tried on other
        sizes.
        """
        if alternative.guessed:
            sizes = {gen.image_shape[:2] for gen in self.generators}
            if not image.jpeg:
                return None
            if sizes != {image.pixels.shape[:2]}:
                check_readable(image)
                return None
            if len({gen.image_shape for gen in self.generators}) > 1:
                check_readable(image)
                raise ImageError(
                    "the candidates make images of several kinds; give those of one kind"
                )
        if alternative.before is not None and alternative.before.free:
            from jattr.inversion.nuisance_fit import fit_factors

            pixels = with_channels(
                image.pixels, alternative.before.out_shape(self.generators[0].image_shape)[2]
            )
            fitted = fit_factors(pixels, alternative.before, self.generators, self.config)
            alternative = dataclasses.replace(alternative, before=fitted)
        return altered_image(alternative, image, self.generators[0])

    def _changed(self, image: LoadedImage, images: AlteredImages) -> tuple[str, ...]:
        """Return what was changed to give an image the channels that the alteration leaves."""
        if images.quantised is not None and image.jpeg:
            return ()  # coefficients as the file has them
        return channel_notes(
            image.pixels, images.chain.out_shape(self.generators[0].image_shape)[2]
        )


AUTO, NONE, JPEG = "auto", "none", "jpeg"


@dataclass(frozen=True)
class Alternative:
    """One of the alterations to be tried."""

    text: str
    before: Chain | None  # None: bytes as they are
    jpeg: bool  # followed by the compression that the file states
    guessed: bool = False  # not asked for: where it does not fit, the image is taken as it is


def parse_alternatives(texts: Sequence[str]) -> tuple[Alternative, ...]:
    """Return the alternatives that were named; an alteration that ends with `jpeg` alone takes the
    file's own.

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
                raise InputError(
                    f"--alteration is {text!r}; it is auto, none, or a chain of"
                    f" {', '.join(REGISTRY)}"
                )
            found.append(
                Alternative(text, parse_chain(",".join(parts[: len(parts) - own])), jpeg=own)
            )
    return tuple(found)


def alternatives_of(
    alternatives: Sequence[Alternative],
    image: LoadedImage,
    generators: Sequence[Generator],
    *,
    resize: bool,
) -> tuple[tuple[Alternative, ...], bool]:
    """Return the alternatives for an image, and whether one that should be among them is not.

    Where nothing was named and the file asks to be shown turned, either the image was turned when
    it was saved, or only that request was added to its file. The second can be tried on candidates
    of one size only.
    """
    text = only_tagged(image.orientation, jpeg=image.jpeg)
    if not text or not any(alternative.guessed for alternative in alternatives):
        return tuple(alternatives), False
    if resize or len({gen.image_shape for gen in generators}) > 1:
        return tuple(alternatives), True
    size, wanted = image.pixels.shape[:2], generators[0].image_shape[:2]
    if (size[::-1] if image.orientation >= 5 else size) != wanted:
        return tuple(alternatives), False
    fitting = [
        alternative for alternative in alternatives if size == wanted or not alternative.guessed
    ]
    return (*fitting, *parse_alternatives([text])), False


def check_candidates(
    alternatives: Sequence[Alternative], generators: Sequence[Generator], *, resize: bool
) -> None:
    """Check that the alternatives can be applied to what the candidates make.

    Raises:
      InputError: they cannot, or the candidates' sizes differ.
    """
    asked = [
        alternative
        for alternative in alternatives
        if not alternative.guessed and alternative.before is not None
    ]
    if not asked:
        return
    shapes = {gen.image_shape for gen in generators}
    if resize or len(shapes) > 1:
        raise InputError(
            "--alteration needs candidates of one size and no --resize; name the resize as an"
            " alteration"
        )
    for alternative in asked:
        assert alternative.before is not None
        alternative.before.out_shape(generators[0].image_shape)


def check_one(alternatives: Sequence[Alternative]) -> None:
    """Check that nothing is chosen after looking: a calibration's error rates hold for one
    alteration, named before.

    Raises:
      InputError: there are several, or one has an unknown factor, which is fitted to the image.
    """
    free = [each.text for each in alternatives if each.before is not None and each.before.free]
    if len(alternatives) == 1 and not free:
        return
    what = f"the unknown factor of {free[0]!r}" if free else f"{len(alternatives)} alterations"
    raise InputError(
        f"--calibration and {what}: what fits best would be chosen after looking, which no error"
        " rate allows"
        " for; name one alteration, every factor given, or leave --calibration away"
    )


def altered_image(
    alternative: Alternative, image: LoadedImage, gen: Generator
) -> AlteredImages | None:
    """Return an image as altered in this way; None where it is to be taken as it is.

    Raises:
      ImageError: the alteration does not lead to an image of this size, or the file is no JPEG that
        jattr reads; UnreadableJpegError where its pixels may mislead, too.
    """
    if alternative.before is None:
        return None
    if not alternative.jpeg or not (image.jpeg or alternative.guessed):
        return _saved_again(alternative, image, gen)
    data = read_bytes(image.path)
    if hashlib.sha256(data).hexdigest() != image.sha256:
        raise ImageError("was changed while it was read; give a file that nobody writes to")
    altered = from_jpeg([data], alternative.before)
    try:
        shape = altered.chain.out_shape(gen.image_shape)
    except InputError as error:
        raise ImageError(str(error)) from None
    _check_size(alternative, image, shape)
    return altered


def check_readable(image: LoadedImage) -> None:
    """Check that a JPEG file whose compression is not modelled is sound all the same.

    Raises:
      UnreadableJpegError: it is damaged, or coded in a way that jattr does not decode.
    """
    try:
        read_coefficients(read_bytes(image.path))
    except UnreadableJpegError:
        raise
    except ImageError:
        return  # sound, but of a size, sampling or colour whose coefficients are not read


def _saved_again(alternative: Alternative, image: LoadedImage, gen: Generator) -> AlteredImages:
    """Return an image whose file states no compression; if there was one, it is named or looked
    for.

    Raises:
      ImageError: the alteration does not lead to an image of this size, or the image shows no
        compression.
    """
    chain = alternative.before
    assert chain is not None
    shape = chain.out_shape(gen.image_shape)
    _check_size(alternative, image, shape)  # which compression keeps
    if alternative.jpeg:
        found = find_jpeg(with_channels(image.pixels, chain.out_shape(gen.image_shape)[2]))
        if found is None:
            raise ImageError(
                "is no JPEG and shows no trace of having been one; write its quality, as jpeg:75,"
                " or leave jpeg away"
            )
        chain = Chain((*chain.steps, found))
    elif chain.jpeg is not None and image.jpeg:
        raise ImageError(
            "is a JPEG file and states its own compression; write jpeg in place of"
            f" {chain.jpeg.text}"
        )
    chain.out_shape(gen.image_shape)
    pixels = with_channels(image.pixels, shape[2])[None]
    return AlteredImages(pixels, chain) if chain.jpeg is None else from_decoded(pixels, chain)


def _check_size(alternative: Alternative, image: LoadedImage, shape: tuple[int, int, int]) -> None:
    if image.pixels.shape[:2] != shape[:2]:
        height, width = image.pixels.shape[:2]
        raise ImageError(
            f"the image is {height}x{width}, after {alternative.text!r} a candidate's is"
            f" {shape[0]}x{shape[1]}; give"
            " the alteration that was made, such as resize:HEIGHTxWIDTH:FILTER"
        )


def joined(images: Sequence[AlteredImages]) -> AlteredImages:
    """Return images of one chain and shape as one set."""
    quantised = [p.quantised for p in images if p.quantised is not None]
    pixels = np.concatenate([p.pixels for p in images])
    return AlteredImages(pixels, images[0].chain, np.concatenate(quantised) if quantised else None)


def stated_image(text: str, image: LoadedImage, gen: Generator) -> AlteredImages:
    """Return an image under the alteration that a result states.

    Raises:
      ImageError: the image cannot have been altered in this way.
      InputError: the text is no alteration.
    """
    steps = text.split(",")
    own = steps[-1].startswith(f"{JPEG}:") and not steps[-1].endswith(f":{DECODED}")
    before = parse_chain(",".join(steps[:-1] if own else steps))
    found = altered_image(Alternative(text, before, jpeg=own), image, gen)
    assert found is not None
    if found.chain.text != text:
        raise ImageError(f"was altered by {found.chain.text!r}, the result states {text!r}")
    return found
