"""Spaces and settings of style-based generators."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattr.errors import GeneratorError
from jattr.generators.base import _generate
from jattr.generators.family import graph_of
from jattr.generators.registry import parse_any_card
from jattr.generators.store import load_generator, make_generator, save_generator
from jattr.generators.stored import as_tree

ARCH = {"channels": [6, 5], "z_dim": 4, "mapping_widths": [8]}


def styled_card(settings=None, name="styled", **arch):
    return {
        "card_version": 1,
        "kind": "stylegan2",
        "name": name,
        "architecture": ARCH | arch,
        "settings": settings or {},
    }


def styled(settings=None, seed=0, **arch):
    card = parse_any_card(styled_card(settings, **arch))
    rng = np.random.default_rng(seed)
    shapes = graph_of(card.kind, card.architecture)[1]
    tensors = {
        path: np.asarray(rng.normal(size=shape), np.float32) for path, shape in shapes.items()
    }
    return make_generator(card, as_tree(tensors))


@pytest.fixture(scope="module")
def gen():
    return styled()


@pytest.fixture(scope="module")
def z(gen):
    return gen.sample_latent(jax.random.key(0), 3)


@pytest.mark.usefixtures("few_optimisations")
@pytest.mark.slow
def test_spaces(gen):
    assert gen.spaces == ("z", "w", "w+")
    assert [gen.latent_shape_of(space) for space in gen.spaces] == [(4,), (8,), (4, 8)]
    for space in gen.spaces:
        sample = gen.sample_latent(jax.random.key(1), 5, space=space)
        assert sample.shape == (5, *gen.latent_shape_of(space))
        assert gen.generate(sample, space=space).shape == (5, 8, 8, 3)
    assert gen.view("w").view("z").generate(jnp.zeros((1, 4))).shape == (1, 8, 8, 3)


@pytest.mark.usefixtures("few_optimisations")
@pytest.mark.slow
def test_samples_of_w_are_what_z_becomes(gen):
    key = jax.random.key(2)
    z = jax.random.normal(jax.random.split(key, 3)[0], (3, 4))
    w = gen.sample_latent(key, 3, space="w")
    np.testing.assert_allclose(gen.generate(w, space="w"), gen.generate(z), atol=1e-5)
    truncated = gen.view("w", psi=0.5)
    np.testing.assert_allclose(
        truncated.generate(truncated.sample_latent(key, 3)), gen.generate(z, psi=0.5), atol=1e-5
    )


@pytest.mark.usefixtures("few_optimisations")
@pytest.mark.slow
def test_psi_pulls_styles_to_their_mean(gen, z):
    mean = gen.generate(gen.state["net"]["w_avg"][...][None], space="w")
    np.testing.assert_allclose(gen.generate(z, psi=0.0), jnp.repeat(mean, 3, 0), atol=1e-5)
    assert np.abs(gen.generate(z, psi=0.7) - gen.generate(z)).max() > 1e-3
    w = gen.sample_latent(jax.random.key(3), 2, space="w")
    np.testing.assert_array_equal(gen.generate(w, space="w", psi=0.3), gen.generate(w, space="w"))


def test_cutoff_leaves_the_other_styles(gen, z):
    np.testing.assert_array_equal(gen.view(psi=0.2, cutoff=0).generate(z), gen.generate(z))
    np.testing.assert_array_equal(gen.view(psi=0.2, cutoff=4).generate(z), gen.generate(z, psi=0.2))
    assert np.abs(gen.view(psi=0.2, cutoff=2).generate(z) - gen.generate(z, psi=0.2)).max() > 1e-3


@pytest.mark.usefixtures("few_optimisations")
@pytest.mark.slow
def test_noise(gen, z):
    none, const = gen.generate(z, noise="none"), gen.generate(z)
    assert np.abs(none - const).max() > 1e-3
    maps = [gen.state["net"]["noise"][i][...] for i in range(3)]
    np.testing.assert_array_equal(gen.generate(z, noise=maps), const)
    np.testing.assert_allclose(gen.generate(z, noise=[0 * part for part in maps]), none, atol=1e-6)
    each = [jnp.stack([part, 0 * part, part]) for part in maps]  # a map for every image
    np.testing.assert_allclose(gen.generate(z, noise=each)[1], none[1], atol=1e-5)
    drawn = gen.generate(z, noise=jax.random.key(7))
    np.testing.assert_array_equal(drawn, gen.generate(z, noise=jax.random.key(7)))
    assert np.abs(drawn - gen.generate(z, noise=jax.random.key(8))).max() > 1e-3


@pytest.mark.usefixtures("few_optimisations")
@pytest.mark.slow
def test_noise_as_part_of_the_latent(gen, z):
    view = gen.view(noise="search")
    assert view.latent_shape == (4 + 16 + 64 + 64,)
    assert not view.proves
    maps = np.concatenate([np.asarray(gen.state["net"]["noise"][i][...]).ravel() for i in range(3)])
    flat = np.concatenate([z, np.repeat(maps[None], 3, 0)], axis=1)
    np.testing.assert_allclose(view.generate(flat), gen.generate(z), atol=1e-6)
    assert np.abs(view.sample_latent(jax.random.key(0), 200)[:, 4:].std() - 1) < 0.05


def test_only_few_unknowns_can_prove(gen):
    assert [gen.view(space).proves for space in gen.spaces] == [True, True, True]
    # 4 layers of 16 numbers, of images with 192: less than four times as many
    assert [view.proves for view in map(styled(mapping_widths=[16]).view, gen.spaces)] == [
        True,
        True,
        False,
    ]


def test_settings_share_one_program(gen, z):
    fn = _generate(gen.apply)
    before = fn._cache_size()
    for view in (
        gen,
        gen.view(psi=0.5),
        gen.view(noise="none"),
        gen.view(psi=0.1, cutoff=1),
        styled(seed=1),
    ):
        view.generate(z)
    assert fn._cache_size() <= before + 1


def test_labels_act_in_z_alone():
    gen = styled(num_classes=3)
    assert (gen.num_classes, gen.view("w").num_classes) == (3, 0)
    w = gen.sample_latent(jax.random.key(0), 2, space="w")
    assert gen.generate(w, space="w").shape == (2, 8, 8, 3)
    with pytest.raises(GeneratorError, match="takes no label in space w"):
        gen.generate(w, space="w", label=[0, 1])
    with pytest.raises(GeneratorError, match="needs a label"):
        gen.generate(gen.sample_latent(jax.random.key(0), 2))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"space": "y"}, "no space 'y'; it has z, w, w\\+"),
        ({"psi": 11.0}, "psi is 11.0; it must be a number from -10 to 10"),
        ({"cutoff": 5}, "whole number from 0 to 4"),
        ({"noise": "loud"}, "noise is 'loud'; it must be const, none or search"),
        ({"noise": [np.zeros((4, 4))]}, "it takes 3 maps, .* of 4x4, 8x8, 8x8"),
        ({"noise": np.zeros((3, 4, 4))}, "an array float64 .3, 4, 4. and no PRNG key"),
    ],
)
def test_settings_that_cannot_be(gen, options, words):
    with pytest.raises(GeneratorError, match=words):
        gen.view(options.pop("space", None), **options)


def test_card_settings_are_kept_and_named_in_the_digest(tmp_path):
    settings = {"psi": 0.7, "cutoff": 2, "noise": "none"}
    made = styled(settings)
    plain = styled()
    assert made.weights_digest == plain.weights_digest
    assert made.digest != plain.digest
    card = parse_any_card(styled_card(settings))
    tensors = as_tree(
        {
            path: np.ones(shape, np.float32)
            for path, shape in graph_of(card.kind, card.architecture)[1].items()
        }
    )
    saved = save_generator(tmp_path / "gen", card, tensors)
    loaded = load_generator(tmp_path / "gen")
    assert loaded.settings.to_json() == settings
    assert (loaded.digest, loaded.card) == (saved.digest, saved.card)
    assert str(loaded.settings) == "psi 0.7 on 2 styles, noise none"
