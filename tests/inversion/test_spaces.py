"""Searches in the spaces and under the settings of style-based generators, and from an
autoencoder's guess.
"""

import jax
import numpy as np
import pytest
from fake_files import random_tensors

from jattr.attribution.attribute import attribute
from jattr.errors import GeneratorError
from jattr.generators.registry import parse_any_card
from jattr.generators.store import make_generator
from jattr.generators.stored import as_tree
from jattr.images import to_byte
from jattr.inversion.config import InvertConfig
from jattr.inversion.invert import invert
from jattr.inversion.scheduler import Status
from jattr.inversion.warm_start import make_pool, make_starts

FEW = InvertConfig(restarts=2, pool=128).search


def styled(name="styled", seed=0, **settings):
    """An 8x8 StyleGAN2 with 6 numbers in w, whose images are seldom clipped."""
    data = {
        "card_version": 1,
        "kind": "stylegan2",
        "name": name,
        "settings": settings,
        "architecture": {"channels": [6, 5], "z_dim": 4, "mapping_widths": [6], "equalised": True},
    }
    card = parse_any_card(data)
    tensors = random_tensors("stylegan2", card.architecture, seed)
    for path, array in tensors.items():
        tensors[path] = (
            array * np.float32(100)
            if "mapper" in path and array.ndim == 2
            else array / np.float32(2)
        )
        if path.endswith("to_image/bias"):
            tensors[path] = array * np.float32(0)
    return make_generator(card, as_tree(tensors))


@pytest.fixture(scope="module")
def gen():
    return styled()


@pytest.fixture(scope="module")
def pixels(gen):
    """Two own images, made with psi 0.5."""
    half = gen.view(psi=0.5)
    return to_byte(half.generate(half.sample_latent(jax.random.key(5), 2)))


def arrived(found):
    return (found.status == Status.ARRIVED).any(axis=1)


@pytest.mark.slow
def test_an_image_of_unknown_psi_is_found_in_w(gen, pixels):
    config = InvertConfig(space="w", restarts=4, pool=128).search
    found = invert(gen, pixels, search=config)
    assert found.z.shape == (2, 4, 6)
    assert arrived(found).all()
    other = styled("other", seed=1)
    att = attribute(pixels, [gen, other], search=config)
    assert [verdict.candidates for verdict in att.verdicts] == [("styled",)] * 2
    assert all(verdict.certificate.holds for verdict in att.verdicts)
    assert att.candidates[0].space == "w"
    np.testing.assert_array_equal(to_byte(att.reproduction(0, 0)).shape, pixels[0].shape)


@pytest.mark.slow
def test_the_right_psi_finds_what_the_wrong_one_does_not(gen, pixels):
    right = invert(gen, pixels, search=InvertConfig(psi=0.5, restarts=8, pool=128))
    wrong = invert(gen, pixels, search=InvertConfig(psi=1.0, restarts=8, pool=128))
    assert arrived(right).all()
    assert right.loss.min(axis=1).max() < wrong.loss.min(axis=1).min() / 10


@pytest.mark.slow
def test_a_grid_of_psi_names_the_one_that_the_image_was_made_with(gen, pixels):
    config = InvertConfig(restarts=8, pool=128).search
    att = attribute(
        pixels, [*gen.psi_grid((1.0, 0.5, 0.5)), styled("other", seed=1)], search=config
    )
    assert [candidate.name for candidate in att.candidates] == [
        "styled psi 1",
        "styled psi 0.5",
        "other",
    ]
    assert [verdict.candidates for verdict in att.verdicts] == [("styled psi 0.5",)] * len(pixels)
    assert att.candidates[0].digest == att.candidates[1].digest


def test_a_grid_of_psi_needs_the_space_z(gen, tiny):
    with pytest.raises(GeneratorError, match="is searched in w, where psi changes nothing"):
        gen.view("w").psi_grid((0.5, 1.0))
    with pytest.raises(GeneratorError, match="'tiny' has no psi"):
        tiny.psi_grid((0.5, 1.0))


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"space": "w+", "noise": "search"}, {"noise": "search"}])
def test_what_can_fit_anything_proves_nothing(gen, pixels, options):
    config = InvertConfig(restarts=1, pool=64, **options).search
    att = attribute(pixels[:1], [gen, styled("other", seed=1)], search=config)
    assert all(evidence.certificate is None for evidence in att.evidence[0])
    assert att.verdicts[0].certificate is None


def test_a_candidate_without_the_space_is_named(gen, tiny):
    with pytest.raises(GeneratorError, match="'tiny' has no space 'w'; it has z"):
        invert(tiny, np.zeros((1, 8, 8, 3), np.uint8), search=InvertConfig(space="w"))
    with pytest.raises(GeneratorError, match="'tiny' has no psi"):
        attribute(np.zeros((1, 8, 8, 3), np.uint8), [tiny], search=InvertConfig(psi=0.7))


@pytest.mark.slow
def test_an_autoencoder_begins_at_its_encoders_guess():
    arch = {
        "block_out_channels": [4, 4],
        "layers_per_block": 1,
        "latent_channels": 2,
        "latent_height": 4,
        "latent_width": 4,
        "norm_num_groups": 2,
        "scaling_factor": 0.5,
    }
    card = parse_any_card(
        {"card_version": 1, "kind": "autoencoder_kl", "name": "vae", "architecture": arch}
    )
    tensors = random_tensors("autoencoder_kl", card.architecture)
    gen = make_generator(
        card, as_tree({path: array / np.float32(4) for path, array in tensors.items()})
    )
    assert gen.latent_shape == (4, 4, 2)
    z = gen.sample_latent(jax.random.key(0), 500)
    assert abs(float(z.std()) - 2.0) < 0.1  # the prior's deviation is 1 / scaling_factor
    images = np.asarray(gen.generate(z[:2]))
    pool = make_pool(gen, FEW.pooling, jax.random.key(1), 2)
    starts = make_starts(FEW.warm_start, gen, images, 2, jax.random.key(2), pool)
    guess = np.asarray(gen.encoder(gen.state, images)).reshape(2, -1)
    np.testing.assert_allclose(starts.z[:, 0], guess, rtol=1e-4, atol=1e-5)
    assert pool.features.size == 0
