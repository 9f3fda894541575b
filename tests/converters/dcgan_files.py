"""State dicts of PyTorch's DCGAN example."""

from itertools import pairwise

import numpy as np


def generator_state(nz=5, widths=(8, 4, 3)):
    """The state dict of a generator.

    `widths` are the convolutions' outputs, the last of them the channels.
    """
    rng = np.random.default_rng(0)
    state, inputs = {}, nz
    for i, outputs in enumerate(widths):
        state[f"main.{3 * i}.weight"] = rng.normal(size=(inputs, outputs, 4, 4)).astype(np.float32)
        if i < len(widths) - 1:
            for name in ("weight", "bias", "running_mean", "running_var"):
                state[f"main.{3 * i + 1}.{name}"] = np.abs(rng.normal(size=outputs)).astype(
                    np.float32
                )
            state[f"main.{3 * i + 1}.num_batches_tracked"] = np.array(7)
        inputs = outputs
    return state


def discriminator_state(widths=(3, 4, 8, 1)):
    state = {"main.0.weight": np.ones((widths[1], widths[0], 4, 4), np.float32)}
    for i, (inputs, outputs) in enumerate(pairwise(widths[1:])):
        state[f"main.{3 * i + 2}.weight"] = np.ones((outputs, inputs, 4, 4), np.float32)
        if i < len(widths) - 3:
            names = ("weight", "bias", "running_mean", "running_var")
            state |= {f"main.{3 * i + 3}.{name}": np.ones(outputs, np.float32) for name in names}
    return state
