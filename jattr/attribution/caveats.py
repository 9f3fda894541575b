"""Why an image far from all candidates may be one's own all the same: what its file says.

jattr changes an image to compare it, or leaves out what its file states. Where no alteration models
that, a candidate's own image would end as far away, so "none" is not said; and a calibration has no
such images.
"""

from collections.abc import Sequence

import jax
import numpy as np

from jattr.alterations.chain import Chain
from jattr.alterations.history import NO_TRACES, Traces, traces_of
from jattr.alterations.pointwise import Grey
from jattr.decision.verdict import NO_CAVEAT, Caveat
from jattr.generators.base import Generator
from jattr.images import LoadedImage
from jattr.images.fitting import is_grey, is_opaque
from jattr.images.reduction import Levels, ReductionSettings, levels_of

Shape = tuple[int, int, int]
COMPRESSED = Caveat(
    "a compression with loss that is not modelled",
    "the file is compressed with loss, and a candidate's own image would end as far away after"
    " that, in a PNG made of it, too; give the file as it was first saved",
)
TRANSPARENT = Caveat(
    "a transparent image that was composited",
    "the image is transparent and was put on white to be compared, and a candidate's own image"
    " that was made transparent would end as far away; give the file as it was first saved,"
    " without transparency",
)
FLATTENED = Caveat(
    "a file without the transparency that a candidate's images have",
    "a candidate makes images with transparency and the file has none, and its own image would end"
    " as far away without it; give the file as it was first saved",
)
COLOURED = Caveat(
    "a colour image that was reduced to grey",
    "the image was reduced to grey to be compared, and a candidate's own image that was coloured"
    " would end as far away; give the file as it was first saved, in grey",
)
COLOURS = Caveat(
    "an image whose colour profile or gamma is ignored",
    "the file states a colour profile or gamma other than sRGB's, which was ignored, and a"
    " candidate's own image brought into those colours would end as far away; give the file as it"
    " was first saved",
)
STORED = Caveat(
    "a file that asks to be shown turned",
    "the file asks to be shown turned, and a candidate's own image to which that was added would"
    " end as far away; give the file as it was first saved, without EXIF orientation",
)


def caveat_of(
    image: LoadedImage,
    alteration: Chain | None,
    shapes: Sequence[Shape],
    *,
    searched_as_stored: bool = True,
    traces: Traces = NO_TRACES,
    tried: Sequence[Chain] = (),
    own_levels: "OwnLevels | None" = None,
) -> Caveat:
    """Return what speaks against "none" for an image, and against judging it by a calibration.

    Args:
      image: as its file stores it.
      alteration: what is taken to have been done to it.
      shapes: (H, W, C) of the images that the candidates make.
      searched_as_stored: whether an image that its file shows turned is searched as it is stored,
        too.
      traces: what its samples show of losses before the file was saved: `traces_of`.
      tried: all that was taken to have been done to it, one after the other: what one of them
        explains is no caveat.
      own_levels: of the candidates' own images; None: few colours are not looked at.
    """
    modelled = image.jpeg and alteration is not None and alteration.jpeg is not None
    if image.compressed and not modelled:
        return COMPRESSED
    losses = _losses(traces, alteration, tried)
    if losses:
        return _traced(losses)
    if image.reduced:
        return _reduced(f"the file stores {image.reduced}")
    altered_shapes = {
        shape: shape if alteration is None else alteration.out_shape(shape) for shape in shapes
    }
    if any(image.pixels.shape[:2] != after[:2] for after in altered_shapes.values()):
        return _resized(image)
    greyed = alteration is not None and any(isinstance(step, Grey) for step in alteration.steps)
    for shape, after in altered_shapes.items():
        caveat = _of_channels(image, shape[2], after[2], greyed=greyed)
        if caveat != NO_CAVEAT:
            return caveat
    if not image.srgb:
        return COLOURS
    few = "" if own_levels is None else own_levels.fewer(image.pixels, alteration)
    if few:
        return _reduced(few)
    return STORED if image.orientation != 1 and not searched_as_stored else NO_CAVEAT


def caveat_of_samples(
    pixels: np.ndarray, alteration: Chain | None, own_levels: "OwnLevels"
) -> Caveat:
    """Return what the samples of an image uint8 [H, W, C] say that comes from no file.

    Args:
      pixels: the image.
      alteration: what is taken to have been done to it.
      own_levels: of the candidates' own images.
    """
    losses = _losses(traces_of(pixels), alteration, ())
    if losses:
        return _traced(losses)
    few = own_levels.fewer(pixels, alteration)
    return _reduced(few) if few else NO_CAVEAT


def _losses(traces: Traces, alteration: Chain | None, tried: Sequence[Chain]) -> str:
    """Return the traces, as a noun, that nothing explains that was tried; "" where there are none.

    As it is, an image is searched beside its compression where that could be told from the traces.
    """
    jpeg = None if alteration is None else alteration.jpeg
    if jpeg is None and traces.jpeg is not None:
        jpeg = next((chain.jpeg for chain in tried if chain.jpeg == traces.jpeg), None)
    return traces.unexplained(jpeg)


def _traced(losses: str) -> Caveat:
    return Caveat(
        "an image with losses from before it was saved",
        f"the image shows {losses}, the trace of a compression with loss before the file was saved,"
        " and a candidate's own image would end as far away after that; give the file as it was"
        " first saved",
    )


def _reduced(what: str) -> Caveat:
    return Caveat(
        "an image whose colours were reduced",
        f"{what}, and a candidate's own image whose colours were reduced would end as far away;"
        " give the file as it was first saved",
    )


class OwnLevels:
    """How many colours and levels the candidates' own images use; made when first asked for."""

    def __init__(self, candidates: Sequence[Generator], settings: ReductionSettings | None = None):
        self.candidates, self.settings = tuple(candidates), settings or ReductionSettings()
        self._levels: dict[tuple[Generator, Chain | None], list[Levels]] = {}

    def fewer(self, pixels: np.ndarray, alteration: Chain | None) -> str:
        """Return in words that an image uses fewer than a candidate's own images; "" if not.

        Args:
          pixels: uint8 [H, W, C].
          alteration: what was done to the image, and is done to the candidates'; after a
            compression colours say nothing.
        """
        levels = levels_of(pixels, self.settings)
        compressed = alteration is not None and alteration.jpeg is not None
        if compressed or not levels.is_suspicious(self.settings):
            return ""
        for gen in self.candidates:
            if levels.is_reduced(self._of(gen, alteration), self.settings):
                return (
                    f"the image has {levels.colours} colours and uses {levels.filled:.0%} of the"
                    f" levels between them, fewer than any of {self.settings.num_own} images of"
                    f" {gen.name}"
                )
        return ""

    def _of(self, gen: Generator, alteration: Chain | None) -> list[Levels]:
        if (gen, alteration) not in self._levels:
            settings = self.settings
            most = settings.max_numbers // int(np.prod(gen.image_shape))
            count = int(np.clip(most, 4, settings.num_own))
            images = gen.sample_images(jax.random.key(settings.num_own), count).images
            if alteration is not None:
                images = alteration.final_pixels(images)
            self._levels[gen, alteration] = [levels_of(image, settings) for image in images]
        return self._levels[gen, alteration]


def _resized(image: LoadedImage) -> Caveat:
    height, width = image.pixels.shape[:2]
    return Caveat(
        "an image that was resized to be compared",
        "the image was resized to be compared, and a candidate's own image that had been resized,"
        " cropped or padded would end as far away; give the file as it was first saved, or name"
        f" what was done, without --resize, such as --alteration resize:{height}x{width}:lanczos",
    )


def _of_channels(image: LoadedImage, original: int, altered: int, *, greyed: bool) -> Caveat:
    """Return the caveat that an image's channels leave.

    Args:
      image: as its file stores it.
      original: channels of a candidate's images.
      altered: channels of these after the alteration.
      greyed: whether the alteration takes the colours.
    """
    pixels = image.pixels
    channels, colourless = pixels.shape[2], is_grey(pixels[..., :3])
    if channels == 4 > altered and not is_opaque(pixels):
        return TRANSPARENT
    if channels < 4 == altered:
        return FLATTENED
    if altered == 1 and not colourless:
        return COLOURED
    if not colourless or original == 1 or greyed:
        return NO_CAVEAT
    # A candidate may make colour images without colours itself; a grey file is surely changed.
    uncalibrated = "a grey file of a candidate's colour images" if channels == 1 else ""
    text = (
        "the image has no colours, and a candidate's own image that was brought to grey would end"
        " as far away; give the file as it was first saved, in colours"
    )
    if original == 3:
        text += ", or name that, as --alteration " + ("grey:3,jpeg" if image.jpeg else "grey:3")
    return Caveat(uncalibrated, text)
