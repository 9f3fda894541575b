"""The bundled generators: complete, small, what their records say, and found by their own
images.
"""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from jattr.attribution.attribute import attribute
from jattr.generators.store import bundled_generators, load_generator
from jattr.images import to_byte
from jattr.inversion.config import InvertConfig

NAMES = (
    "dcgan_a",
    "dcgan_b",
    "progan_a",
    "progan_b",
    "stylegan2_a",
    "stylegan2_a_early",
    "stylegan2_a_tuned",
    "stylegan2_b",
    "stylegan_a",
    "stylegan_b",
)


def size_of(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_all_are_there_and_small():
    bundled = bundled_generators()
    assert tuple(bundled) == NAMES
    sizes = [size_of(folder) for folder in bundled.values()]
    assert max(sizes) <= 1_500_000
    assert sum(sizes) <= 15_000_000


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_bundled_generator_is_what_its_record_says(name):
    gen = load_generator(name)
    record = json.loads((Path(bundled_generators()[name]).parent / f"{name}.json").read_text())
    assert (gen.digest, gen.weights_digest) == (record["digest"], record["weights_digest"])
    assert gen.image_shape == (32, 32, 3)
    assert gen.latent_shape == (64,)
    assert gen.rounding == "round"
    assert record["recipe"]["steps"] > 0
    made = np.asarray(gen.generate(gen.sample_latent(jax.random.key(0), 16)))
    assert (np.abs(made) > 1.0).mean() < 0.05  # few values have to be clipped
    # no two are one image
    assert np.abs(made[:, None] - made).mean((2, 3, 4))[np.triu_indices(16, 1)].min() > 0.02


def test_no_two_are_one_model():
    assert len({load_generator(name).digest for name in NAMES}) == len(NAMES)


@pytest.mark.slow
def test_siblings_are_told_apart():
    """The same run at another step, and a fine-tuned child: the hardest pair."""
    names = ("stylegan2_a", "stylegan2_a_early", "stylegan2_a_tuned")
    generators = [load_generator(name).view("w") for name in names]
    pixels = np.concatenate(
        [to_byte(np.asarray(g.generate(g.sample_latent(jax.random.key(1), 1)))) for g in generators]
    )
    att = attribute(pixels, generators, search=InvertConfig(restarts=4))
    assert [verdict.candidates for verdict in att.verdicts] == [(name,) for name in names]
    assert all(verdict.certificate is not None for verdict in att.verdicts)
