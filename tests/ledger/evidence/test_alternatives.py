"""Several alterations tried in turn: the first that fits, and no denial while one of them leaves it undecided."""

import jax
import numpy as np
import pytest
from tiny_generator import make_tiny

from jattr.errors import ImageError
from jattr.images import encode_png, to_byte
from jattr.ledger.evidence import inversion
from jattr.ledger.evidence.bundle import Attribution
from jattr.ledger.evidence.inversion import invert_alternatives, observed, seen_by
from jattr.nuisances.files import alter
from jattr.nuisances.registry import parse_chain


def said(fit: str, alteration: str | None) -> Attribution:
    return Attribution(fit, False, alteration, None, None, 1, None, "said")


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    fits: dict[str, str] = {}

    def invert(data: bytes, gen: object, *, alteration: str, **options: object) -> Attribution:
        if fits[alteration] == "unfit":
            raise ImageError(f"not {alteration}")
        return said(fits[alteration], alteration)

    monkeypatch.setattr(inversion, "invert_picture", invert)
    return fits


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
def test_the_first_that_fits(answers: dict[str, str], fits: dict[str, str], expected: tuple[str, str]) -> None:
    answers |= fits
    found = invert_alternatives(b"", None, list(fits))
    assert (found.fit, found.alteration) == expected


def test_none_leads_to_its_size(answers: dict[str, str]) -> None:
    answers |= {"centre:0.5": "unfit"}
    with pytest.raises(ImageError, match=r"not centre:0\.5"):
        invert_alternatives(b"", None, ["centre:0.5"])


def test_unknown_brightness_is_found() -> None:
    tiny = make_tiny()
    z = np.asarray(tiny.sample_latent(jax.random.key(3), 1))
    pixels = alter(to_byte(np.asarray(tiny.generate(z))), parse_chain("brightness:0.8")).pixels[0]
    seen = observed(encode_png(pixels), tiny, "brightness:?")
    (step,) = seen.chain.steps
    assert abs(step.factor - 0.8) < 0.02
    assert seen_by(encode_png(pixels), tiny, seen.chain.text).alteration == seen.chain.text
