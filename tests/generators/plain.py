"""What a card says, computed step by step as its page defines it.

Numpy, float64, [C, H, W], no folding.

The independent half of the tests of folding. Slow and obvious on purpose.
"""

import numpy as np


def plain_images(card, state, z, label=None):
    """Images [n, H, W, C] in [-1, 1] units."""
    state = {key: np.float64(array) for key, array in state.items()}
    x = condition(card.conditioning, state, np.float64(z), label)
    for layer in card.layers:
        weights = {
            key.rpartition(".")[2]: array
            for key, array in state.items()
            if key.rpartition(".")[0] == layer.key
        }
        x = STEPS[layer.op](layer, weights, x)
    low, high = card.value_range
    return (x.transpose(0, 2, 3, 1) - low) * 2 / (high - low) - 1


def condition(conditioning, state, z, label):
    if conditioning is None:
        return z
    key, one_hot = conditioning.key, np.eye(conditioning.classes)[label]
    match conditioning.type:
        case "onehot_concat":
            return np.concatenate([z, one_hot], axis=1)
        case "onehot_linear_concat":
            row = one_hot @ state[f"{key}.weight"].T + state.get(f"{key}.bias", 0.0)
            return np.concatenate([z, row], axis=1)
        case "embed_concat":
            return np.concatenate([z, state[f"{key}.weight"][label]], axis=1)
        case "embed_multiply":
            return z * state[f"{key}.weight"][label]


def over_channels(vector, x):
    return vector.reshape(-1, *[1] * (x.ndim - 2))


def linear(layer, weights, x):
    y = x.reshape(len(x), -1) @ weights["weight"].T
    return y + weights.get("bias", 0.0)


def conv(layer, weights, x):
    mode = {"zeros": "constant", "replicate": "edge"}[layer.padding_mode]
    pad = layer.padding
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)), mode=mode)
    kernel = weights["weight"]
    outputs, _, kh, kw = kernel.shape
    rows, columns = (
        (n - k) // layer.stride + 1 for n, k in zip(x.shape[2:], (kh, kw), strict=True)
    )
    y = np.zeros((len(x), outputs, rows, columns))
    for row, column in np.ndindex(rows, columns):
        top, left = row * layer.stride, column * layer.stride
        y[:, :, row, column] = np.einsum(
            "nihw,oihw->no", x[:, :, top : top + kh, left : left + kw], kernel
        )
    return y + over_channels(weights.get("bias", np.zeros(outputs)), y)


def conv_transpose(layer, weights, x):
    kernel = weights["weight"]
    _, outputs, kh, kw = kernel.shape
    rows, columns = (
        (n - 1) * layer.stride + k + layer.output_padding
        for n, k in zip(x.shape[2:], (kh, kw), strict=True)
    )
    y = np.zeros((len(x), outputs, rows, columns))
    for row, column in np.ndindex(*x.shape[2:]):
        top, left = row * layer.stride, column * layer.stride
        y[:, :, top : top + kh, left : left + kw] += np.einsum(
            "ni,iohw->nohw", x[:, :, row, column], kernel
        )
    pad = layer.padding
    y = y[:, :, pad : rows - pad, pad : columns - pad]
    return y + over_channels(weights.get("bias", np.zeros(outputs)), y)


def batch_norm(layer, weights, x):
    mean, var = weights["running_mean"], weights["running_var"]
    y = (x - over_channels(mean, x)) / np.sqrt(over_channels(var, x) + layer.eps)
    scale, shift = (
        weights.get("weight", np.ones(len(mean))),
        weights.get("bias", np.zeros(len(mean))),
    )
    return y * over_channels(scale, x) + over_channels(shift, x)


def layer_norm(layer, weights, x):
    axes = tuple(range(1, x.ndim))
    y = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + layer.eps)
    return y * weights.get("weight", 1.0) + weights.get("bias", 0.0)


STEPS = {
    "linear": linear,
    "conv": conv,
    "conv_transpose": conv_transpose,
    "batch_norm": batch_norm,
    "layer_norm": layer_norm,
    "pixel_norm": lambda layer, _, x: x / np.sqrt(np.mean(x**2, axis=1, keepdims=True) + layer.eps),
    "relu": lambda layer, _, x: np.maximum(x, 0),
    "leaky_relu": lambda layer, _, x: np.where(x >= 0, x, layer.slope * x),
    "prelu": lambda layer, weights, x: np.where(x >= 0, x, over_channels(weights["weight"], x) * x),
    "tanh": lambda layer, _, x: np.tanh(x),
    "sigmoid": lambda layer, _, x: 1 / (1 + np.exp(-x)),
    "upsample_nearest": lambda layer, _, x: x.repeat(layer.scale, axis=2).repeat(
        layer.scale, axis=3
    ),
    "dropout": lambda layer, _, x: x,
    "reshape": lambda layer, _, x: x.reshape(len(x), *layer.shape),
}
