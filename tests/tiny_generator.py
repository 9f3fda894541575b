"""A tiny generator with random weights, made on the spot.

What tests and examples use where any generator will do.
"""

import numpy as np


def tiny_card_data(*, name="tiny", num_classes=0):
    """A card of an 8x8 RGB generator with 6 latents.

    With classes, 2 numbers of an embedding go beside them.
    """
    label = (
        {"type": "embed_concat", "key": "embed", "classes": num_classes} if num_classes else None
    )
    return {
        "card_version": 1,
        "kind": "layered",
        "name": name,
        "image_shape": [3, 8, 8],
        "value_range": [-1, 1],
        "latent": {"dim": 6, "distribution": "normal"},
        "conditioning": label,
        "state_dict_key": None,
        "ignore": [],
        "layers": [
            {"op": "linear", "key": "fc"},
            {"op": "reshape", "shape": [8, 2, 2]},
            {"op": "batch_norm", "key": "net.0", "eps": 1e-5},
            {"op": "relu"},
            {
                "op": "conv_transpose",
                "key": "net.2",
                "stride": 2,
                "padding": 1,
                "output_padding": 0,
            },
            {"op": "leaky_relu", "slope": 0.2},
            {"op": "upsample_nearest", "scale": 2},
            {"op": "conv", "key": "net.5", "stride": 1, "padding": 1, "padding_mode": "zeros"},
            {"op": "tanh"},
        ],
    }


def tiny_weights(*, seed=0, num_classes=0):
    """Random weights for `tiny_card_data`, as a state dict of PyTorch."""
    rng = np.random.default_rng(seed)
    inputs = 6 + (2 if num_classes else 0)
    shapes = {
        "fc.weight": (32, inputs),
        "fc.bias": (32,),
        "net.0.weight": (8,),
        "net.0.bias": (8,),
        "net.0.running_mean": (8,),
        "net.0.running_var": (8,),
        "net.2.weight": (8, 4, 4, 4),
        "net.2.bias": (4,),
        "net.5.weight": (3, 4, 3, 3),
        "net.5.bias": (3,),
    }
    shapes |= {"embed.weight": (num_classes, 2)} if num_classes else {}
    state = {
        key: rng.normal(size=shape, scale=0.3).astype(np.float32) for key, shape in shapes.items()
    }
    state["net.0.running_var"] = np.square(state["net.0.running_var"]) + np.float32(0.5)
    state["net.0.weight"] += np.float32(1)
    return state | {"net.0.num_batches_tracked": np.array(3, np.int64)}


def make_tiny(*, seed=0, name="tiny", num_classes=0):
    """A tiny generator with random weights."""
    from jattr.converters.layered import convert_layered

    from jattr.generators.card import parse_card
    from jattr.generators.store import make_generator

    card = parse_card(tiny_card_data(name=name, num_classes=num_classes))
    return make_generator(
        card, convert_layered(card, tiny_weights(seed=seed, num_classes=num_classes))
    )
