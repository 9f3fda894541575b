"""Names of candidates: no two that a reader could take for one another."""

import dataclasses

import numpy as np
import pytest

import jattr
from jattr.errors import GeneratorError
from jattr.generators.names import check_candidate_names, look_alike

ALIKE = [
    ("gan_a", "gan_a"),
    ("gan_a", "GAN_A"),
    ("gan_a", "g\u0430n_a"),  # Cyrillic a
    ("gan_a", "\uff47\uff41\uff4e_\uff41"),  # full width
    ("gan_0", "gan_O"),
    ("gan_0", "gan_o"),
    ("gan_1", "gan_l"),
    ("gan_1", "gan_I"),
    ("gan_i", "gan_I"),
    ("modern", "modem"),
    ("straße", "strasse"),
    ("gan-a", "gan\u2010a"),
    ("gan a", "gan\u00a0a"),
    ("gan a", "gan  a"),
    ("caf\u00e9", "cafe\u0301"),
    ("\u0391lpha", "Alpha"),  # Greek Alpha
    ("\ufb01ne", "fine"),  # a ligature
]
APART = [
    ("gan_a", "gan_b"),
    ("stylegan2_a", "stylegan2_a_early"),
    ("stylegan2", "stylegan3"),
    ("gan psi 0.5", "gan psi 0.7"),
    ("\u6a21\u578b", "\u6a21\u578b2"),
]


@pytest.mark.parametrize(("a", "b"), ALIKE, ids=range(len(ALIKE)))
def test_names_that_look_alike_are_refused(a, b):
    assert look_alike(a, b)
    with pytest.raises(GeneratorError, match="two candidates are called") as error:
        check_candidate_names(["other", a, b])
    assert str(error.value).isascii() or a == b
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("a", "b"), APART, ids=range(len(APART)))
def test_names_that_do_not_are_taken(a, b):
    assert not look_alike(a, b)
    check_candidate_names([a, b])


@pytest.mark.parametrize(
    "name",
    [
        "",
        " gan",
        "gan ",
        "gan\u00a0",
        "g\u200ban",
        "gan\u202e",
        "g\u00adan",
        "gan\u3164",
        "gan\ufe0f",
        "g\x00n",
    ],
    ids=range(10),
)
def test_names_with_blanks_at_their_ends_or_what_is_not_seen_are_refused(name):
    with pytest.raises(GeneratorError, match="a candidate is called"):
        check_candidate_names(["other", name])


def test_attribute_and_calibrate_refuse_them(tiny):
    twin = dataclasses.replace(tiny, name="t\u0456ny")
    pixels = np.zeros((1, *tiny.image_shape), np.uint8)
    with pytest.raises(GeneratorError, match="look alike"):
        jattr.attribute(pixels, [tiny, twin])
    with pytest.raises(GeneratorError, match="look alike"):
        jattr.calibrate([tiny, twin], own=2, others=0)
