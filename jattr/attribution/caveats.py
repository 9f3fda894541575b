"""Why a picture that is far from all candidates may be one's own all the same: what its file says was done to it.

jattr changes a picture to compare it, or leaves out what its file states. Where no alteration models that, a
candidate's own picture would end as far away, so "none" is not said; and a calibration has no such pictures.
"""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from jattr.alterations.pointwise import Grey
from jattr.decision.judgement import Judgement
from jattr.decision.verdict import Verdict
from jattr.images.fitting import is_grey, is_opaque

if TYPE_CHECKING:
    from jattr.alterations.chain import Chain
    from jattr.images import Picture
    from jattr.images.reading import Decoded

    AsStored = Picture | Decoded

Shape = tuple[int, int, int]
FAR = "every candidate ends far above its usual misses on its own pictures, but"
DENIED = "Undecided: every candidate is denied, but"


class Doubt(NamedTuple):
    """What is to be said of a picture besides what its searches found."""

    apart: str = ""  # what sets it apart from the pictures of a calibration, as a noun; "": nothing
    text: str = ""  # why it may be a candidate's own, and what would settle it; "": nothing says so


NO_DOUBT = Doubt()
COMPRESSED = Doubt(
    "a compression with loss that is not modelled",
    "the file is compressed with loss, and a candidate's own picture would end as far away after that; give the file as"
    " it was first saved",
)
TRANSPARENT = Doubt(
    "a transparent picture that was composited",
    "the picture is transparent and was put on white to be compared, and a candidate's own picture that was made"
    " transparent would end as far away; give it without transparency, as it was generated",
)
FLATTENED = Doubt(
    "a file without the transparency that a candidate's pictures have",
    "a candidate makes pictures with transparency and the file has none, and its own picture would end as far away"
    " without it; give the file as it was first saved",
)
COLOURED = Doubt(
    "a colour picture that was reduced to grey",
    "the picture was reduced to grey to be compared, and a candidate's own picture that was coloured would end as far"
    " away; give it in grey, as it was generated",
)
COLOURS = Doubt(
    "a picture whose colour profile or gamma is ignored",
    "the file states a colour profile or gamma other than sRGB's, which was ignored, and a candidate's own picture"
    " brought into those colours would end as far away; convert the picture to sRGB, or give the file as it was first"
    " saved",
)
STORED = Doubt(
    "a file that asks to be shown turned",
    "the file asks to be shown turned, and a candidate's own picture to which that was added would end as far away;"
    " give the picture without EXIF orientation",
)


def doubt_of(
    picture: "AsStored",
    alteration: "Chain | None",
    shapes: Sequence[Shape],
    *,
    searched_as_stored: bool = True,
) -> Doubt:
    """Return what speaks against calling a picture none of the candidates', and against judging it by a calibration.

    Args:
      picture: as its file stores it.
      alteration: what is taken to have been done to it.
      shapes: (H, W, C) of the pictures that the candidates make.
      searched_as_stored: whether a picture that its file shows turned is searched as it is stored, too.
    """
    if picture.compressed and not (picture.jpeg and alteration is not None and alteration.jpeg is not None):
        return COMPRESSED
    wanted = {shape: shape if alteration is None else alteration.out_shape(shape) for shape in shapes}
    if any(picture.pixels.shape[:2] != shape[:2] for shape in wanted.values()):
        return _resized(picture)
    greyed = alteration is not None and any(isinstance(step, Grey) for step in alteration.steps)
    for shape, after in wanted.items():
        doubt = _of_channels(picture, shape[2], after[2], greyed=greyed)
        if doubt != NO_DOUBT:
            return doubt
    if not picture.srgb:
        return COLOURS
    return STORED if picture.orientation != 1 and not searched_as_stored else NO_DOUBT


def doubted(verdict: Verdict, doubt: Doubt) -> Verdict:
    """Return the verdict of thresholds that a doubt leaves: no "none"."""
    if verdict.kind != "none" or not doubt.text:
        return verdict
    return dataclasses.replace(verdict, kind="undecided", reason=f"{FAR} {doubt.text}")


def doubted_judgement(judgement: Judgement, doubt: Doubt) -> Judgement:
    """Return the judgement of a calibration that a doubt leaves: no "none"."""
    if judgement.kind != "none" or not doubt.text:
        return judgement
    return dataclasses.replace(judgement, kind="undecided", sentence=f"{DENIED} {doubt.text}.")


def _resized(picture: "AsStored") -> Doubt:
    height, width = picture.pixels.shape[:2]
    return Doubt(
        "a picture that was resized to be compared",
        "the picture was resized to be compared, and a candidate's own picture that had been resized, cropped or padded"
        " would end as far away; give it as it was generated, or name what was done, without --resize, such as"
        f" --alteration resize:{height}x{width}:lanczos",
    )


def _of_channels(picture: "AsStored", made: int, wanted: int, *, greyed: bool) -> Doubt:
    """Return the doubt that a picture's kind leaves.

    Args:
      picture: as its file stores it.
      made: channels of a candidate's pictures.
      wanted: of these after the alteration.
      greyed: whether the alteration takes the colours.
    """
    pixels = picture.pixels
    channels, colourless = pixels.shape[2], is_grey(pixels[..., :3])
    if channels == 4 > wanted and not is_opaque(pixels):
        return TRANSPARENT
    if channels < 4 == wanted:
        return FLATTENED
    if wanted == 1 and not colourless:
        return COLOURED
    if not colourless or made == 1 or greyed:
        return NO_DOUBT
    named = " or name that, as --alteration " + ("grey:3,jpeg" if picture.jpeg else "grey:3") if made == 3 else ""
    return Doubt(
        "a grey file of a candidate's colour pictures" if channels == 1 else "",  # else the candidate may make such
        "the picture has no colours, and a candidate's own picture that was brought to grey would end as far away; give"
        f" it in colours, as it was generated,{named}".rstrip(","),
    )
