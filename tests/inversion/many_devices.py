"""Run by test_devices.py in processes with 1 and with 8 devices: what they find, as .npz."""

import sys

import jax
import numpy as np
from compilations import counted_compilations
from tiny_generator import make_tiny

from jattr.attribution.attribute import attribute
from jattr.attribution.calibrate import own_images
from jattr.inversion.config import InvertConfig
from jattr.inversion.invert import invert
from jattr.inversion.problem import make_problem, target_of
from jattr.inversion.scheduler import device_count, is_spread, spread, weights_for
from jattr.solvers.first_order import loss_and_gradient


def main(out):
    pair = [make_tiny(), make_tiny(seed=1, name="tiny_b")]
    pixels = np.concatenate([own_images(gen, 20, 3) for gen in pair])
    z = np.asarray(pair[0].sample_latent(jax.random.key(1), 40))

    @jax.jit
    def measure(state, pixels, z):
        def one(image, z):
            return loss_and_gradient(
                make_problem(pair[0].apply, state, target_of(image), (6,), None), z
            )

        return jax.vmap(one)(pixels, z)

    loss, gradient = measure(weights_for(40, pair[0]), spread(40, pixels), spread(40, z))
    assert len(loss.sharding.device_set) == device_count(), loss.sharding
    assert is_spread(40) == (device_count() > 1)
    found = attribute(pixels, pair, search=InvertConfig(pool=64))
    invert(pair[0], pixels, search=InvertConfig(pool=64, early_stop=False, restarts=2))
    with counted_compilations() as compiled:
        invert(pair[1], pixels, search=InvertConfig(pool=64, early_stop=False, restarts=2))
    facts = {"devices": device_count(), "recompiled": len(compiled)}
    certified = [v.certificate is not None for v in found.verdicts]
    np.savez(
        out,
        loss=loss,
        gradient=gradient,
        verdicts=[v.text for v in found.verdicts],
        certified=certified,
        z0=found.latents[0],
        z1=found.latents[1],
        **facts,
    )


if __name__ == "__main__":
    main(sys.argv[1])
