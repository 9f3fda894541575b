"""Several alterations tried in turn.

The first that fits, and no denial while one of them leaves it undecided.
"""

import jax
import numpy as np
import pytest
from image_files import encoded
from PIL import Image
from tiny_generator import make_tiny
from tiny_world import FOREIGN, Z, inverted, pixels_of, tiny

from jattr.alterations.files import alter
from jattr.alterations.registry import parse_chain
from jattr.errors import ImageError
from jattr.images import encode_png, to_byte
from jattr.images.jpeg import encode_jpeg, quality_format
from jattr.images.reading import decode
from jattr.ledger.evidence.bundle import Attribution
from jattr.ledger.evidence.inversion import first_fit, observe_image, observed


def said(fit: str, alteration: str | None) -> Attribution:
    return Attribution(fit, False, alteration, None, None, 1, None, "said")


def first_of(fits: dict[str, str]) -> Attribution:
    def invert(alteration: str) -> Attribution:
        if fits[alteration] == "unfit":
            raise ImageError(f"not {alteration}")
        return said(fits[alteration], alteration)

    return first_fit(fits, invert)


@pytest.mark.parametrize(
    ("fits", "expected"),
    [
        ({"auto": "does-not-fit", "blur:1": "fits", "grey": "unfit"}, ("fits", "blur:1")),
        ({"auto": "does-not-fit", "blur:1": "undecided"}, ("undecided", "blur:1")),
        ({"auto": "undecided", "blur:1": "fits"}, ("fits", "blur:1")),
        ({"auto": "does-not-fit", "blur:1": "does-not-fit"}, ("does-not-fit", "auto")),
        ({"auto": "unfit", "blur:1": "does-not-fit"}, ("does-not-fit", "blur:1")),
    ],
)
def test_the_first_that_fits(fits: dict[str, str], expected: tuple[str, str]) -> None:
    result = first_of(fits)
    assert (result.fit, result.alteration) == expected


def test_none_leads_to_its_size() -> None:
    with pytest.raises(ImageError, match=r"not centre:0\.5"):
        first_of({"centre:0.5": "unfit"})


@pytest.mark.slow
def test_unknown_brightness_is_found() -> None:
    tiny = make_tiny()
    z = np.asarray(tiny.sample_latent(jax.random.key(3), 1))
    pixels = alter(to_byte(np.asarray(tiny.generate(z))), parse_chain("brightness:0.8")).pixels[0]
    seen = observed(encode_png(pixels), tiny, "brightness:?")
    (step,) = seen.chain.steps
    assert abs(step.factor - 0.8) < 0.02
    assert observe_image(encode_png(pixels), tiny, seen.chain.text).alteration == seen.chain.text


@pytest.mark.slow
@pytest.mark.parametrize("orientation", [2, 5, 8])
def test_an_image_in_a_file_that_is_shown_turned(orientation: int) -> None:
    """Whether it was turned when it was saved, or its file was only told so afterwards.

    JPEG and PNG.
    """
    pixels = pixels_of(tiny(), Z[:1])[0]
    tags = Image.Exif()
    tags[0x0112] = orientation
    told = encoded(pixels, "JPEG", quality=95, subsampling=0, exif=tags)
    turned = encode_jpeg(pixels, quality_format(95, "4:4:4", 3), orientation)
    found = [inverted(data) for data in (turned, told, encoded(pixels, "PNG", exif=tags))]
    assert [(one.fit, one.certificate) for one in found] == [("fits", True)] * 3
    assert found[0].alteration == f"jpeg:95:4:4:4:exif{orientation}"
    assert found[1].alteration == f"{found[2].alteration},{found[0].alteration}"
    for one, data in zip(found, (turned, told), strict=False):
        assert observe_image(data, tiny(), one.alteration).alteration == one.alteration


@pytest.mark.slow
def test_an_image_whose_kind_was_changed_is_not_denied() -> None:
    own = Image.fromarray(pixels_of(tiny(), Z[:1])[0])
    veiled = own.convert("RGBA")
    veiled.putalpha(128)
    grey = inverted(encoded(own.convert("L"), "PNG"))
    assert (grey.fit, grey.reason.endswith("grey:3")) == ("undecided", True)
    assert grey.reason.startswith("undecided: every candidate ends far above")
    # a veil over white is a stretch
    found = inverted(encoded(veiled, "PNG"))
    assert (found.fit, found.certificate) == ("fits", True)
    assert found.alteration.startswith("stretch:-25")
    assert inverted(encoded(own.convert("L"), "PNG"), "grey:3").fit == "fits"


@pytest.mark.slow
def test_a_colour_profile_that_is_ignored_allows_no_denial() -> None:
    pixels = decode(FOREIGN).pixels
    assert inverted(FOREIGN).fit == "does-not-fit"
    for data in (
        encoded(pixels, "PNG", icc_profile=b"of a printer"),
        encoded(pixels, "JPEG", quality=95, subsampling=0, icc_profile=b"of a printer"),
    ):
        found = inverted(data)
        assert found.fit == "undecided"
        assert "colour profile or gamma" in found.reason
