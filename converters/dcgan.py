"""The generator of PyTorch's DCGAN example: recognised by its tensors, described as a card.

Radford, Metz, Chintala, Unsupervised Representation Learning with Deep Convolutional Generative
Adversarial Networks, arXiv 1511.06434, as in https://github.com/pytorch/examples/tree/main/dcgan
and PyTorch's DCGAN tutorial. One `nn.Sequential` called `main`: transposed 4x4 convolutions without
bias, all but the first doubling the size, each but the last followed by BatchNorm and ReLU, the
last by tanh. Sizes are the file's; 64 pixels are five convolutions.
"""

from jattr.errors import CardError, show
from jattr.generators.card import Card, parse_card
from jattr.typing import JsonObject

from .rules import Shape, StateDict, UnfitError
from .torch_file import strip_module_prefix

BATCH_NORM = ("weight", "bias", "running_mean", "running_var")
# of BatchNorm: in files of PyTorch 0.4.1 and later, no part of the function
COUNTER = "num_batches_tracked"
BATCH_NORM_EPSILON = 1e-5  # PyTorch's default
MAX_CONVOLUTIONS = 10  # convolutions: 2048 pixels


def card_of(tensors: StateDict) -> Card:
    """Return the card of a DCGAN generator, called "dcgan".

    Raises:
      UnfitError: the tensors are not those of one; the text says what differs, and what else it is
        where that shows.
    """
    tensors = strip_module_prefix(dict(tensors))
    depth = _depth(tensors)
    expected = _expected_shapes(tensors, depth)
    problems = [f"no {name}" for name in expected if name not in tensors]
    problems += [
        f"{name} has the shape {list(tensors[name].shape)}, not {list(shape)}"
        for name, shape in expected.items()
        if name in tensors and tensors[name].shape != shape
    ]
    problems += [
        f"{show(name)} is none of its"
        f" tensors{' (its convolutions have no bias)' if name.endswith('.bias') else ''}"
        for name in tensors
        if name not in expected and not name.endswith(f".{COUNTER}")
    ]
    if problems:
        raise UnfitError(
            f"not a DCGAN generator of {depth} convolutions: {'; '.join(problems[:5])}"
        )
    try:
        return parse_card(_card_data([tensors[f"main.{3 * i}.weight"].shape for i in range(depth)]))
    except CardError as error:
        raise UnfitError(str(error)) from error


def _depth(tensors: StateDict) -> int:
    """Return the number of convolutions: main.0, main.3, main.6, ..."""
    if "main.0.weight" not in tensors:
        raise UnfitError("no main.0.weight: the first transposed convolution of a DCGAN generator")
    if "main.2.weight" in tensors and not any(name.startswith("main.1.") for name in tensors):
        raise UnfitError(
            "this is a DCGAN's discriminator: no BatchNorm (main.1) follows its first convolution,"
            f" main.0.weight {list(tensors['main.0.weight'].shape)} = [ndf, nc, 4, 4]; the"
            " generator is netG"
        )
    depth = 0
    while f"main.{3 * depth}.weight" in tensors:
        depth += 1
    if not 2 <= depth <= MAX_CONVOLUTIONS:
        raise UnfitError(
            f"{depth} convolutions main.0, main.3, ...; a DCGAN generator has 2 to"
            f" {MAX_CONVOLUTIONS}"
        )
    return depth


def _expected_shapes(tensors: StateDict, depth: int) -> dict[str, Shape]:
    """Return the tensors that a generator has whose convolutions' widths are those of the file."""
    weights = [tensors[f"main.{3 * i}.weight"] for i in range(depth)]
    for i, weight in enumerate(weights):
        if weight.ndim != 4:
            raise UnfitError(
                f"main.{3 * i}.weight has the shape {list(weight.shape)}, not [in, out, 4, 4]"
            )
    expected: dict[str, Shape] = {}
    inputs = weights[0].shape[0]
    for i, weight in enumerate(weights):
        outputs = weight.shape[1]
        expected[f"main.{3 * i}.weight"] = (inputs, outputs, 4, 4)
        if i < depth - 1:
            expected |= {f"main.{3 * i + 1}.{name}": (outputs,) for name in BATCH_NORM}
        inputs = outputs
    return expected


def _card_data(shapes: list[Shape]) -> JsonObject:
    """Return the card's JSON for the shapes [in, out, 4, 4] of the convolutions."""
    dim, side = shapes[0][0], 4 << (len(shapes) - 1)
    layers: list[JsonObject] = [{"op": "reshape", "shape": [dim, 1, 1]}]
    for i in range(len(shapes)):
        stride, padding = (2, 1) if i else (1, 0)
        conv = {"op": "conv_transpose", "key": f"main.{3 * i}", "output_padding": 0}
        layers.append(conv | {"stride": stride, "padding": padding})
        if i < len(shapes) - 1:
            layers += [
                {"op": "batch_norm", "key": f"main.{3 * i + 1}", "eps": BATCH_NORM_EPSILON},
                {"op": "relu"},
            ]
    return {
        "card_version": 1,
        "kind": "layered",
        "name": "dcgan",
        "image_shape": [shapes[-1][1], side, side],
        "value_range": [-1, 1],
        "latent": {"dim": dim, "distribution": "normal"},
        "layers": [*layers, {"op": "tanh"}],
    }
