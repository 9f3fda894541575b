"""What an architecture card says, as frozen data: `Card` and its parts.

`docs/architecture_card.md` explains every field and gives the formula of every operation.
"""

import json
from dataclasses import dataclass

OPTIONS: dict[str, tuple[str, ...]] = {  # the operations and the fields each has beside `op`
    "linear": ("key",),
    "conv": ("key", "stride", "padding", "padding_mode"),
    "conv_transpose": ("key", "stride", "padding", "output_padding"),
    "batch_norm": ("key", "eps"),
    "layer_norm": ("key", "eps"),
    "pixel_norm": ("eps",),
    "relu": (),
    "leaky_relu": ("slope",),
    "prelu": ("key",),
    "tanh": (),
    "sigmoid": (),
    "upsample_nearest": ("scale",),
    "dropout": ("p",),
    "reshape": ("shape",),
}


@dataclass(frozen=True)
class Layer:
    """One operation of a layered generator.

    The fields that `OPTIONS[op]` does not name keep their defaults.
    """

    op: str  # a key of OPTIONS
    index: int  # index in the card's `layers`, from 0
    key: str | None = None  # state-dict prefix of its weights
    stride: int = 1
    padding: int = 0
    output_padding: int = 0
    padding_mode: str = "zeros"  # "zeros" or "replicate"
    eps: float = 1e-5
    slope: float = 0.01
    p: float = 0.5
    scale: int = 1
    shape: tuple[int, ...] = ()  # (C, H, W)

    @property
    def label(self) -> str:
        """The layer as messages name it: `layer 5 (conv_transpose, key "net.3")`."""
        key = "" if self.key is None else f", key {json.dumps(self.key)}"
        return f"layer {self.index} ({self.op}{key})"


@dataclass(frozen=True)
class Latent:
    """The latent z and the distribution that the generator was trained to draw it from."""

    dim: int
    distribution: str  # "normal": mean 0, variance 1; "uniform": on (-1, 1)


@dataclass(frozen=True)
class Conditioning:
    """How a class label enters.

    Beside z (the concat types, appended after z) or as a factor of it.
    """

    type: str  # "embed_concat", "onehot_concat", "onehot_linear_concat" or "embed_multiply"
    key: str | None  # state-dict prefix of the embedding or linear layer; None for onehot_concat
    classes: int


@dataclass(frozen=True, kw_only=True)
class CardBase:
    """The fields that cards of every kind have."""

    name: str
    kind: str
    image_shape: tuple[int, int, int]  # (C, H, W)
    # the network's (lowest, highest) output, mapped linearly to [-1, 1]
    value_range: tuple[float, float]
    rounding: str | None = None  # "round", "truncate", or None: unknown, both are tried
    weights: str | None = None  # name of the weights file beside the card
    state_dict_key: str | None = None  # where the state dict is nested in that file
    ignore: tuple[str, ...] = ()  # prefixes of state-dict keys that are not the generator's
    source: str | None = None  # free-form JSON value, as JSON text: repository, digest, licence
    domain: str | None = None  # free text
    note: str | None = None  # free text


@dataclass(frozen=True, kw_only=True)
class Card(CardBase):
    """A card of kind "layered": latent, optional label, then `layers` in order."""

    latent: Latent
    conditioning: Conditioning | None = None
    layers: tuple[Layer, ...]
