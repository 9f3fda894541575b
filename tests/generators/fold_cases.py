"""Rows of layers, one for each way in which they are folded together."""

LINEAR = {"op": "linear", "key": "a"}
NORM = {"op": "batch_norm", "key": "n", "eps": 1e-5}
STRIDE2 = {"op": "conv_transpose", "key": "t", "stride": 2, "padding": 1, "output_padding": 0}
CONV3 = {"op": "conv", "key": "c", "stride": 1, "padding": 1, "padding_mode": "zeros"}
TANH, RELU = {"op": "tanh"}, {"op": "relu"}


def norm_shapes(channels, key="n"):
    return {
        f"{key}.{field}": (channels,) for field in ("weight", "bias", "running_mean", "running_var")
    }


def shape_of(*sides):
    return {"op": "reshape", "shape": list(sides)}


def affine(key, weight, outputs):
    return {f"{key}.weight": weight, f"{key}.bias": (outputs,)}


# name -> layers, image [C, H, W], shapes of the tensors, steps after folding; the latent has 4
# numbers
CASES = {
    "linear, reshape": (
        [LINEAR, shape_of(3, 2, 2)],
        (3, 2, 2),
        affine("a", (12, 4), 12),
        ["dense", "reshape"],
    ),
    "linear, norm, reshape": (
        [LINEAR, NORM, shape_of(3, 2, 2)],
        (3, 2, 2),
        affine("a", (12, 4), 12) | norm_shapes(12),
        ["dense", "reshape"],
    ),
    "linear, relu, reshape": (
        [LINEAR, RELU, shape_of(3, 2, 2)],
        (3, 2, 2),
        affine("a", (12, 4), 12),
        ["dense", "relu", "reshape"],
    ),
    "linear, reshape, norm": (
        [LINEAR, shape_of(3, 2, 2), NORM],
        (3, 2, 2),
        affine("a", (12, 4), 12) | norm_shapes(3),
        ["dense", "reshape"],
    ),
    "linear, reshape to one channel, norm": (
        [LINEAR, shape_of(1, 3, 4), NORM],
        (1, 3, 4),
        affine("a", (12, 4), 12) | norm_shapes(1),
        ["dense", "reshape"],
    ),
    "linear without bias, norm without affine": (
        [LINEAR, shape_of(3, 2, 2), NORM],
        (3, 2, 2),
        {"a.weight": (12, 4), "n.running_mean": (3,), "n.running_var": (3,)},
        ["dense", "reshape"],
    ),
    "linear, relu, norm, reshape": (
        [LINEAR, RELU, NORM, shape_of(3, 2, 2)],
        (3, 2, 2),
        affine("a", (12, 4), 12) | norm_shapes(12),
        ["dense", "relu", "affine", "from_channels_first"],
    ),
    "linear, prelu, reshape": (
        [LINEAR, {"op": "prelu", "key": "p"}, shape_of(3, 2, 2)],
        (3, 2, 2),
        affine("a", (12, 4), 12) | {"p.weight": (12,)},
        ["dense", "prelu", "from_channels_first"],
    ),
    "norm first": ([NORM, shape_of(4, 1, 1)], (4, 1, 1), norm_shapes(4), ["affine", "reshape"]),
    "reshape first": ([shape_of(1, 2, 2)], (1, 2, 2), {"x.weight": (1,)}, ["reshape"]),
    "linear, two reshapes, norm": (
        [LINEAR, shape_of(1, 3, 4), shape_of(12, 1, 1), NORM],
        (12, 1, 1),
        affine("a", (12, 4), 12) | norm_shapes(12),
        ["dense", "reshape", "reshape", "affine"],
    ),
    "restack": (
        [LINEAR, shape_of(3, 2, 4), shape_of(2, 4, 3)],
        (2, 4, 3),
        affine("a", (24, 4), 24),
        ["dense", "reshape", "restack"],
    ),
    "restack and linear": (
        [
            LINEAR,
            shape_of(3, 2, 2),
            RELU,
            shape_of(12, 1, 1),
            {"op": "linear", "key": "b"},
            shape_of(2, 3, 1),
        ],
        (2, 3, 1),
        affine("a", (12, 4), 12) | affine("b", (6, 12), 6),
        ["dense", "reshape", "relu", "restack", "dense", "reshape"],
    ),
    "the same reshape twice": (
        [LINEAR, shape_of(3, 2, 2), shape_of(3, 2, 2)],
        (3, 2, 2),
        affine("a", (12, 4), 12),
        ["dense", "reshape"],
    ),
    "transposed convolution of a pixel": (
        [shape_of(4, 1, 1), {**STRIDE2, "stride": 1, "padding": 0}, NORM, RELU],
        (5, 4, 4),
        affine("t", (4, 5, 4, 4), 5) | norm_shapes(5),
        ["reshape", "dense", "reshape", "relu"],
    ),
    "transposed convolution of a pixel, cut": (
        [shape_of(4, 1, 1), STRIDE2],
        (5, 2, 2),
        affine("t", (4, 5, 4, 4), 5),
        ["reshape", "dense", "reshape"],
    ),
    "transposed convolution of a pixel, with output padding": (
        [shape_of(4, 1, 1), {**STRIDE2, "padding": 0, "output_padding": 1}],
        (5, 3, 4),
        affine("t", (4, 5, 2, 3), 5),
        ["reshape", "dense", "reshape"],
    ),
    "transposed convolution, norm": (
        [LINEAR, shape_of(3, 2, 2), STRIDE2, NORM, TANH],
        (5, 4, 4),
        affine("a", (12, 4), 12) | {"t.weight": (3, 5, 4, 4)} | norm_shapes(5),
        ["dense", "reshape", "conv_transpose", "tanh"],
    ),
    "convolution, norm": (
        [LINEAR, shape_of(3, 4, 3), CONV3, NORM],
        (2, 4, 3),
        affine("a", (36, 4), 36) | affine("c", (2, 3, 3, 3), 2) | norm_shapes(2),
        ["dense", "reshape", "conv"],
    ),
    "convolution with replicated border and stride": (
        [LINEAR, shape_of(3, 5, 4), {**CONV3, "stride": 2, "padding_mode": "replicate"}],
        (2, 3, 2),
        affine("a", (60, 4), 60) | affine("c", (2, 3, 3, 3), 2),
        ["dense", "reshape", "conv"],
    ),
    "upsampling into a convolution": (
        [LINEAR, shape_of(3, 2, 3), {"op": "upsample_nearest", "scale": 2}, CONV3, NORM, TANH],
        (2, 4, 6),
        affine("a", (18, 4), 18) | affine("c", (2, 3, 3, 3), 2) | norm_shapes(2),
        ["dense", "reshape", "conv_transpose", "tanh"],
    ),
    "upsampling by 3 stays": (
        [LINEAR, shape_of(3, 2, 2), {"op": "upsample_nearest", "scale": 3}, CONV3],
        (2, 6, 6),
        affine("a", (12, 4), 12) | affine("c", (2, 3, 3, 3), 2),
        ["dense", "reshape", "upsample_nearest", "conv"],
    ),
    "upsampling before a replicated border stays": (
        [
            LINEAR,
            shape_of(3, 2, 2),
            {"op": "upsample_nearest", "scale": 2},
            {**CONV3, "padding_mode": "replicate"},
        ],
        (2, 4, 4),
        affine("a", (12, 4), 12) | affine("c", (2, 3, 3, 3), 2),
        ["dense", "reshape", "upsample_nearest", "conv"],
    ),
    "norm after a nonlinearity": (
        [LINEAR, shape_of(3, 2, 2), {"op": "leaky_relu", "slope": 0.1}, NORM],
        (3, 2, 2),
        affine("a", (12, 4), 12) | norm_shapes(3),
        ["dense", "reshape", "leaky_relu", "affine"],
    ),
    "prelu of channels": (
        [LINEAR, shape_of(3, 2, 2), {"op": "prelu", "key": "p"}],
        (3, 2, 2),
        affine("a", (12, 4), 12) | {"p.weight": (3,)},
        ["dense", "reshape", "prelu"],
    ),
    "prelu of one slope": (
        [LINEAR, {"op": "prelu", "key": "p"}, shape_of(3, 2, 2)],
        (3, 2, 2),
        affine("a", (12, 4), 12) | {"p.weight": (1,)},
        ["dense", "prelu", "from_channels_first"],
    ),
    "layer norm of images": (
        [LINEAR, shape_of(3, 2, 4), {"op": "layer_norm", "key": "l", "eps": 1e-3}],
        (3, 2, 4),
        affine("a", (24, 4), 24) | {"l.weight": (3, 2, 4), "l.bias": (3, 2, 4)},
        ["dense", "reshape", "layer_norm"],
    ),
    "layer norm of features": (
        [LINEAR, {"op": "layer_norm", "key": "l", "eps": 1e-5}, shape_of(3, 2, 2)],
        (3, 2, 2),
        affine("a", (12, 4), 12) | {"l.weight": (12,), "l.bias": (12,)},
        ["dense", "layer_norm", "from_channels_first"],
    ),
    "layer norm without weights": (
        [LINEAR, shape_of(3, 2, 2), {"op": "layer_norm", "key": "l", "eps": 1e-5}],
        (3, 2, 2),
        affine("a", (12, 4), 12),
        ["dense", "reshape", "layer_norm"],
    ),
    "pixel norm, sigmoid": (
        [
            {"op": "pixel_norm", "eps": 1e-8},
            LINEAR,
            shape_of(3, 2, 2),
            {"op": "pixel_norm", "eps": 1e-2},
            {"op": "sigmoid"},
        ],
        (3, 2, 2),
        affine("a", (12, 4), 12),
        ["pixel_norm", "dense", "reshape", "pixel_norm", "sigmoid"],
    ),
    "dropout is off": (
        [{"op": "dropout", "p": 0.5}, LINEAR, {"op": "dropout", "p": 0.2}, NORM, shape_of(3, 2, 2)],
        (3, 2, 2),
        affine("a", (12, 4), 12) | norm_shapes(12),
        ["dense", "reshape"],
    ),
}
# type -> shapes of its tensors for 3 classes, and what then enters the first layer (latent: 4)
CONDITIONS = {
    "onehot_concat": ({}, 7),
    "onehot_linear_concat": ({"e.weight": (5, 3), "e.bias": (5,)}, 9),
    "embed_concat": ({"e.weight": (3, 2)}, 6),
    "embed_multiply": ({"e.weight": (3, 4)}, 4),
}
