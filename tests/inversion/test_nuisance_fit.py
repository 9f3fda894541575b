"""Factors of alterations that are searched together with the latent."""

import jax
import numpy as np
import pytest
from toys import make_toy, own_images

from jattr.alterations import Chain, alter, parse_chain
from jattr.attribution.attribute import attribute
from jattr.errors import ImageError, InputError
from jattr.inversion.config import InvertConfig
from jattr.inversion.nuisance_fit import fit_factors, free_generator

GENS = [make_toy(seed=seed, size=6, name=f"toy{seed}") for seed in range(2)]
CONFIG = InvertConfig(pool=512).search
PIXELS = own_images(GENS[1], 1)[1]
SLOW = pytest.mark.slow


@pytest.mark.slow
@pytest.mark.parametrize(
    ("made", "asked"),
    [
        ("brightness:0.7", "brightness:?"),
        pytest.param("contrast:1.3", "contrast:?", marks=SLOW),
        pytest.param("gamma:0.8", "gamma:?", marks=SLOW),
        pytest.param("flip,contrast:0.8,shift:1:0", "flip,contrast:?,shift:1:0", marks=SLOW),
        pytest.param("gamma:1.25,contrast:0.75", "gamma:?,contrast:?", marks=SLOW),
    ],
)
def test_factors_are_found_and_the_certificate_holds_under_them(made, asked):
    truth = parse_chain(made)
    images = alter(PIXELS, truth)
    chain = fit_factors(images.pixels[0], parse_chain(asked), GENS, CONFIG)
    factors = [step.factor for step in chain.steps if hasattr(step, "factor")]
    expected = [step.factor for step in truth.steps if hasattr(step, "factor")]
    np.testing.assert_allclose(factors, expected, rtol=0.02)
    assert not chain.free
    found = attribute(type(images)(images.pixels, chain), GENS, search=CONFIG)
    assert found.verdicts[0].candidates == ("toy1",)


def test_the_joint_generator_makes_what_the_chain_makes():
    """Each image under its own factor.

    The last number of the latent, as a multiple of its logarithm's deviation.
    """
    gen = free_generator(GENS[0], parse_chain("brightness:?"))
    assert gen.latent_shape == (7,)
    zs = np.asarray(gen.sample_latent(jax.random.key(0), 64))
    assert zs.shape == (64, 7)
    assert 0.2 < np.exp(0.3 * zs[:, -1]).std() < 0.45
    made = np.asarray(gen.generate(zs[:4]))
    plain = np.asarray(GENS[0].generate(zs[:4, :6]))
    factors = np.exp(0.3 * zs[:4, -1])[:, None, None, None]
    np.testing.assert_allclose(made, np.clip((plain + 1) * factors - 1, -1, 1), atol=1e-5)
    assert free_generator(GENS[1], parse_chain("brightness:?")).apply is gen.apply


def test_unknown_factors_are_written_and_read():
    chain = parse_chain("contrast:?,rescale:0.5,gamma:?")
    assert chain.free == (0, 2)
    assert parse_chain(chain.text) == chain
    assert chain.with_factors([1.5, 0.5]).text == "contrast:1.5,rescale:0.5:lanczos,gamma:0.5"
    assert Chain(()).free == ()


def test_what_needs_a_known_factor_says_so():
    with pytest.raises(InputError, match="not known"):
        alter(PIXELS, parse_chain("brightness:?"))
    with pytest.raises(InputError, match="0 free factors"):
        fit_factors(PIXELS[0], parse_chain("blur:1"), GENS)
    with pytest.raises(InputError, match="0 candidates"):
        fit_factors(PIXELS[0], parse_chain("gamma:?"), [])
    with pytest.raises(ImageError, match="makes"):
        fit_factors(PIXELS[0], parse_chain("gamma:?,rescale:2"), GENS, CONFIG)
