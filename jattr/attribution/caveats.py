"""Why an image far from all candidates may be one's own all the same: what its file says.

jattr changes an image to compare it, or leaves out what its file states. Where no alteration models
that, a candidate's own image would end as far away, so "none" is not said; and a calibration has no
such images.
"""

from collections.abc import Sequence

from jattr.alterations.chain import Chain
from jattr.alterations.pointwise import Grey
from jattr.decision.verdict import NO_CAVEAT, Caveat
from jattr.images import LoadedImage
from jattr.images.fitting import is_grey, is_opaque

Shape = tuple[int, int, int]
COMPRESSED = Caveat(
    "a compression with loss that is not modelled",
    "the file is compressed with loss, and a candidate's own image would end as far away after"
    " that; give the file as it was first saved",
)
TRANSPARENT = Caveat(
    "a transparent image that was composited",
    "the image is transparent and was put on white to be compared, and a candidate's own image"
    " that was made transparent would end as far away; give it without transparency, as it was"
    " generated",
)
FLATTENED = Caveat(
    "a file without the transparency that a candidate's images have",
    "a candidate makes images with transparency and the file has none, and its own image would end"
    " as far away without it; give the file as it was first saved",
)
COLOURED = Caveat(
    "a colour image that was reduced to grey",
    "the image was reduced to grey to be compared, and a candidate's own image that was coloured"
    " would end as far away; give it in grey, as it was generated",
)
COLOURS = Caveat(
    "an image whose colour profile or gamma is ignored",
    "the file states a colour profile or gamma other than sRGB's, which was ignored, and a"
    " candidate's own image brought into those colours would end as far away; convert the image to"
    " sRGB, or give the file as it was first saved",
)
STORED = Caveat(
    "a file that asks to be shown turned",
    "the file asks to be shown turned, and a candidate's own image to which that was added would"
    " end as far away; give the image without EXIF orientation",
)


def caveat_of(
    image: LoadedImage,
    alteration: Chain | None,
    shapes: Sequence[Shape],
    *,
    searched_as_stored: bool = True,
) -> Caveat:
    """Return what speaks against "none" for an image, and against judging it by a calibration.

    Args:
      image: as its file stores it.
      alteration: what is taken to have been done to it.
      shapes: (H, W, C) of the images that the candidates make.
      searched_as_stored: whether an image that its file shows turned is searched as it is stored,
        too.
    """
    modelled = image.jpeg and alteration is not None and alteration.jpeg is not None
    if image.compressed and not modelled:
        return COMPRESSED
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
    return STORED if image.orientation != 1 and not searched_as_stored else NO_CAVEAT


def _resized(image: LoadedImage) -> Caveat:
    height, width = image.pixels.shape[:2]
    return Caveat(
        "an image that was resized to be compared",
        "the image was resized to be compared, and a candidate's own image that had been resized,"
        " cropped or padded would end as far away; give it as it was generated, or name what was"
        f" done, without --resize, such as --alteration resize:{height}x{width}:lanczos",
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
        " as far away; give it in colours, as it was generated"
    )
    if original == 3:
        text += ", or name that, as --alteration " + ("grey:3,jpeg" if image.jpeg else "grey:3")
    return Caveat(uncalibrated, text)
