"""What may have been done to images before they were seen, and each image as it looks under that.

`attribute`, the command line and `jattr.ledger.evidence` take images by the functions here. Where
their rules differ the difference is an argument.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from jattr.alterations.chain import Chain
from jattr.alterations.files import AlteredImages, from_decoded, from_jpeg
from jattr.alterations.geometry import only_tagged
from jattr.alterations.history import NO_TRACES, Traces, find_jpeg, traces_of
from jattr.alterations.jpeg import DECODED
from jattr.alterations.registry import REGISTRY, parse_chain
from jattr.attribution.caveats import OwnLevels, caveat_of
from jattr.decision.verdict import Caveat
from jattr.errors import ImageError, InputError, UnreadableJpegError
from jattr.generators.base import Generator
from jattr.images import LoadedImage
from jattr.images.fitting import channel_notes, with_channels
from jattr.images.jpeg import read_coefficients
from jattr.images.reading import read_bytes
from jattr.inversion.nuisance_fit import fit_factors
from jattr.inversion.settings import MultiStart

AUTO, NONE, JPEG = "auto", "none", "jpeg"
AS_IT_IS = ", or take the pixels that a decoder makes of it as they are (--alteration none)"


@dataclass(frozen=True)
class Alternative:
    """One of the alterations to be tried."""

    text: str
    before: Chain | None  # None: bytes as they are
    jpeg: bool  # followed by the compression that the file states
    guessed: bool = False  # nobody named it: where it does not fit, the image is taken as it is


@dataclass(frozen=True, eq=False)
class Hypotheses:
    """One image as it looks under every alternative."""

    image: LoadedImage
    fitted: tuple[LoadedImage, ...]  # to every candidate; empty where it is taken as altered only
    altered: tuple[AlteredImages | None, ...]  # None: unaltered
    notes: tuple[str, ...] = ()  # on the alternatives
    incomplete: bool = False  # an alternative that should have been tried was not
    traces: Traces = NO_TRACES  # of losses before the file was saved

    def all_notes(self) -> list[str]:
        """Return what was changed to read the image and to fit it to any candidate, each once."""
        images = self.fitted or (self.image,)
        return list(dict.fromkeys([*(note for each in images for note in each.notes), *self.notes]))


def parse_alternatives(
    alterations: str | Chain | Sequence[str | Chain],
) -> tuple[Alternative, ...]:
    """Return the alternatives that are named, each once.

    Args:
      alterations: "auto", "none", chains, or their texts; one that ends with `jpeg` alone takes the
        file's own compression.

    Raises:
      InputError: one cannot be read, or there are none.
    """
    if isinstance(alterations, (str, Chain)):
        alterations = [alterations]
    if not alterations:
        raise InputError("there are 0 alterations to try; give auto, none, or a chain")
    return tuple(_parse(each) for each in dict.fromkeys(alterations))


def _parse(alteration: str | Chain) -> Alternative:
    if isinstance(alteration, Chain):
        return Alternative(alteration.text, alteration, jpeg=False)
    if alteration == AUTO:
        return Alternative(AUTO, Chain(()), jpeg=True, guessed=True)
    if alteration == NONE:
        return Alternative(NONE, None, jpeg=False)
    steps = [step.strip() for step in alteration.split(",") if step.strip()]
    if not steps:
        raise InputError(
            f"--alteration is {alteration!r}; it is auto, none, or a chain of {', '.join(REGISTRY)}"
        )
    own = steps[-1] == JPEG
    return Alternative(alteration, parse_chain(",".join(steps[: len(steps) - own])), jpeg=own)


def parse_for_file(text: str, *, jpeg: bool) -> Alternative:
    """Return the alternative that a text names of one file, whose own compression always counts.

    What the text says of compressions counts only where the file is no JPEG.

    Raises:
      InputError: it cannot be read.
    """
    if text == NONE or (text == AUTO and not jpeg):
        return Alternative(text, None, jpeg=False)
    if text == AUTO:
        return Alternative(text, Chain(()), jpeg=True, guessed=True)
    steps = text.split(",")
    if jpeg:
        steps = [step for step in steps if not step.strip().startswith(JPEG)]
    chain = parse_chain(",".join(steps))
    return Alternative(text, chain if chain.steps or jpeg else None, jpeg=jpeg)


def without_alterations(alternatives: Sequence[Alternative]) -> tuple[Alternative, ...]:
    """Return what images are taken as where a distance compares them: as they are.

    Raises:
      InputError: an alteration was named.
    """
    named = [each.text for each in alternatives if not each.guessed and each.before is not None]
    if named:
        raise InputError(f"--distance and --alteration {named[0]}; give one of them")
    return parse_alternatives(NONE)


def check_candidates(
    alternatives: Sequence[Alternative], candidates: Sequence[Generator], *, resize: bool
) -> None:
    """Check that the alternatives can be applied to what the candidates make.

    Raises:
      InputError: they cannot, or the candidates' sizes differ.
    """
    chains = [each.before for each in alternatives if not each.guessed and each.before is not None]
    if not chains:
        return
    if resize or len({gen.image_shape for gen in candidates}) > 1:
        raise InputError(
            "--alteration needs candidates of one size and no --resize; name the resize as an"
            " alteration"
        )
    for chain in chains:
        chain.out_shape(candidates[0].image_shape)


def check_one(alternatives: Sequence[Alternative]) -> None:
    """Check that nothing is chosen after looking, as the error rates of a calibration demand.

    They hold for one alteration, named before.

    Raises:
      InputError: there are several, or one has an unknown factor, which is fitted to the image.
    """
    free = [each.text for each in alternatives if each.before is not None and each.before.free]
    if len(alternatives) == 1 and not free:
        return
    what = f"the unknown factor of {free[0]!r}" if free else f"{len(alternatives)} alterations"
    raise InputError(
        f"--calibration and {what}: what fits best would be chosen after looking, which no error"
        " rate allows for; name one alteration, every factor given, or leave --calibration away"
    )


def hypotheses_of(
    image: LoadedImage,
    alternatives: Sequence[Alternative],
    candidates: Sequence[Generator],
    *,
    search: MultiStart,
    resize: bool = False,
) -> Hypotheses:
    """Return an image as it looks under every alternative that fits it.

    Args:
      image: as its file stores it.
      alternatives: what may have been done to it.
      candidates: the models.
      search: settings of the inversion, for unknown factors.
      resize: bring the image to the candidates' sizes.

    Raises:
      ImageError: it cannot be used under any alternative.
    """
    traces = traces_of(image.pixels)
    tried, incomplete = alternatives_of(alternatives, image, candidates, resize=resize)
    tried = (*tried, *by_traces(tried, image, traces, candidates, resize=resize))
    altered: list[AlteredImages | None] = []
    notes: list[str] = []
    problems: list[str] = []
    for alternative in tried:
        try:
            altered.append(altered_image(alternative, image, candidates, search=search))
        except ImageError as error:
            damaged = isinstance(error, UnreadableJpegError)
            problems.append(f"{image.path!r}: {error}{AS_IT_IS if damaged else ''}")
            if alternative.guessed:
                notes.append(f"not modelled as JPEG: {error}")
                if not damaged:
                    altered.append(None)
    if not altered:
        raise ImageError(problems[0])
    fitted: list[LoadedImage] = []
    if None in altered:
        fitted = [image.fit(gen.image_shape, resize=resize) for gen in candidates]
    for images in altered:
        # A JPEG's coefficients are taken as the file has them; pixels may lose or gain channels.
        if images is not None and not (images.quantised is not None and image.jpeg):
            channels = images.chain.out_shape(candidates[0].image_shape)[2]
            notes += channel_notes(image.pixels, channels)
    if traces.jpeg is not None and not image.compressed:
        notes.append(f"shows {traces.text}")
    return Hypotheses(
        image, tuple(fitted), tuple(dict.fromkeys(altered)), tuple(notes), incomplete, traces
    )


def alternatives_of(
    alternatives: Sequence[Alternative],
    image: LoadedImage,
    candidates: Sequence[Generator],
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
    if resize or len({gen.image_shape for gen in candidates}) > 1:
        return tuple(alternatives), True
    shown, own = image.pixels.shape[:2], candidates[0].image_shape[:2]
    stored = shown[::-1] if image.orientation >= 5 else shown
    if stored != own:
        return tuple(alternatives), False
    fitting = [
        alternative for alternative in alternatives if shown == own or not alternative.guessed
    ]
    return (*fitting, *parse_alternatives(text)), False


def by_traces(
    alternatives: Sequence[Alternative],
    image: LoadedImage,
    traces: Traces,
    candidates: Sequence[Generator],
    *,
    resize: bool,
) -> tuple[Alternative, ...]:
    """Return the compression of which a file without loss shows traces, where nothing was named.

    It can be tried on candidates of one image shape only, the image's.
    """
    shapes = {gen.image_shape for gen in candidates}
    guessed = any(alternative.guessed for alternative in alternatives)
    if traces.jpeg is None or image.compressed or not guessed or resize or len(shapes) > 1:
        return ()
    (shape,) = shapes
    components = len(traces.jpeg.format.tables)
    if (*image.pixels.shape[:2], components) != shape or image.orientation != 1:
        return ()
    return (Alternative(traces.jpeg.text, Chain((traces.jpeg,)), jpeg=False),)


def caveat_under(hypotheses: Hypotheses, chain: Chain | None, own_levels: OwnLevels) -> Caveat:
    """Return what is to be said of an image under one alternative.

    Args:
      hypotheses: the image, and all alternatives that are tried.
      chain: what is taken to have been done to it in this one.
      own_levels: of the candidates' own images.
    """
    caveat = caveat_of(
        hypotheses.image,
        chain,
        [gen.image_shape for gen in own_levels.candidates],
        searched_as_stored=not hypotheses.incomplete,
        traces=hypotheses.traces,
        tried=[images.chain for images in hypotheses.altered if images is not None],
        own_levels=own_levels,
    )
    ways = len(hypotheses.altered)
    if ways == 1:
        return caveat
    # What fits best is chosen after looking, which the error rates of a calibration do not allow.
    return caveat._replace(uncalibrated=f"a file that is taken in {ways} ways")


def altered_image(
    alternative: Alternative,
    image: LoadedImage,
    candidates: Sequence[Generator],
    *,
    search: MultiStart | None = None,
    data: bytes | None = None,
    max_growth: int | None = None,
    read_damaged: bool = False,
) -> AlteredImages | None:
    """Return an image as altered in one way; None where it is to be taken as it is.

    Args:
      alternative: the way.
      image: as its file stores it.
      candidates: the models, of one image shape where the alternative is named.
      search: settings of the inversion, for unknown factors.
      data: the file; None: it is read again.
      max_growth: how many times the sides of an image, or of what candidates make, a step may
        reach: the chain may be a stranger's; None: no bound.
      read_damaged: take the pixels of a JPEG file whose compression was guessed and is unreadable.

    Raises:
      ImageError: the alteration does not lead to an image of this size, or the file is no JPEG that
        jattr reads; UnreadableJpegError where its pixels may mislead, too.
    """
    chain, shape = alternative.before, candidates[0].image_shape
    if chain is None or (alternative.guessed and not image.jpeg):
        return None
    if alternative.guessed and read_damaged:
        try:
            return _as_stored(alternative, chain, image, data, shape)
        except ImageError:
            return None
    if alternative.guessed:
        shapes = {gen.image_shape for gen in candidates}
        same_size = {each[:2] for each in shapes} == {image.pixels.shape[:2]}
        if not same_size or len(shapes) > 1:
            check_readable(image)
        if not same_size:
            return None
        if len(shapes) > 1:
            raise ImageError("the candidates make images of several kinds; give those of one kind")
    if max_growth is not None:
        _check_growth(chain, shape, image.pixels, max_growth)
    if chain.free:
        pixels = with_channels(image.pixels, chain.out_shape(shape)[2])
        chain = fit_factors(pixels, chain, candidates, search)
    if alternative.jpeg and image.jpeg:
        return _as_stored(alternative, chain, image, data, shape)
    return _saved_again(alternative, chain, image, shape)


def _as_stored(
    alternative: Alternative,
    chain: Chain,
    image: LoadedImage,
    data: bytes | None,
    shape: tuple[int, int, int],
) -> AlteredImages:
    """Return a JPEG file's image by its coefficients: the file states its compression.

    Raises:
      ImageError: the alteration does not lead to an image of this size, or the file is none that
        jattr reads.
    """
    if data is None:
        data = read_bytes(image.path)
        if hashlib.sha256(data).hexdigest() != image.sha256:
            raise ImageError("was changed while it was read; give a file that nobody writes to")
    altered = from_jpeg([data], chain)
    try:
        after = altered.chain.out_shape(shape)
    except InputError as error:
        raise ImageError(str(error)) from None
    _check_size(alternative, image, after)
    return altered


def _saved_again(
    alternative: Alternative, chain: Chain, image: LoadedImage, shape: tuple[int, int, int]
) -> AlteredImages:
    """Return an image by its pixels: if it was compressed before, that is named or looked for.

    Raises:
      ImageError: the alteration does not lead to an image of this size, or the image shows no
        compression.
    """
    after = chain.out_shape(shape)
    _check_size(alternative, image, after)  # which compression keeps
    if alternative.jpeg:
        traces = find_jpeg(with_channels(image.pixels, after[2]))
        if traces is None:
            raise ImageError(
                "is no JPEG and shows no trace of having been one; write its quality, as jpeg:75,"
                " or leave jpeg away"
            )
        chain = Chain((*chain.steps, traces))
    elif chain.jpeg is not None and image.jpeg:
        raise ImageError(
            "is a JPEG file and states its own compression; write jpeg in place of"
            f" {chain.jpeg.text}"
        )
    chain.out_shape(shape)
    pixels = with_channels(image.pixels, after[2])[None]
    return AlteredImages(pixels, chain) if chain.jpeg is None else from_decoded(pixels, chain)


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


def _check_growth(chain: Chain, shape: tuple[int, int, int], pixels: np.ndarray, most: int) -> None:
    """Check that no step makes an image far larger than what goes in and comes out."""
    side = most * max(*shape[:2], *pixels.shape[:2])
    for step in chain.steps:
        shape = step.out_shape(shape)
        if max(shape[:2]) > side:
            raise ImageError(
                f"{step.text} leads to {shape[1]} x {shape[0]} pixels; sides of at most {side} are"
                " taken"
            )


def _check_size(alternative: Alternative, image: LoadedImage, shape: tuple[int, int, int]) -> None:
    if image.pixels.shape[:2] != shape[:2]:
        height, width = image.pixels.shape[:2]
        raise ImageError(
            f"the image is {height}x{width}, after {alternative.text!r} a candidate's is"
            f" {shape[0]}x{shape[1]}; give the alteration that was made, such as"
            " resize:HEIGHTxWIDTH:FILTER"
        )


Member = tuple[int, AlteredImages | None]  # an image's index, and the image under one alternative


def groups_of(hypotheses: Sequence[Hypotheses]) -> Iterator[list[Member]]:
    """Yield the images that can be searched together: under one chain, of one shape."""
    groups: dict[tuple[Chain, tuple[int, ...]] | None, list[Member]] = {}
    for index, each in enumerate(hypotheses):
        for images in each.altered:
            name = None if images is None else (images.chain, images.pixels.shape)
            groups.setdefault(name, []).append((index, images))
    yield from groups.values()


def join(images: Sequence[AlteredImages]) -> AlteredImages:
    """Return images of one chain and shape as one set."""
    quantised = [each.quantised for each in images if each.quantised is not None]
    pixels = np.concatenate([each.pixels for each in images])
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
    altered = altered_image(Alternative(text, before, jpeg=own), image, [gen])
    assert altered is not None
    if altered.chain.text != text:
        raise ImageError(f"was altered by {altered.chain.text!r}, the result states {text!r}")
    return altered
