"""Generators of kind "layered": the layers of an architecture card as a Flax NNX network.

`fold` turns a card and its stored tensors into `Step`s: few, fast, with normalisation folded into
the weights beside it. What is static in them is the architecture (`Plan`), what is not is the
state; one plan has one `apply`, so that candidates of one architecture share one compiled program.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jattr.generators import ops
from jattr.generators.base import FinalLayer, Generator
from jattr.generators.card import Card
from jattr.generators.fold import LINEAR_STEPS, Option, Step, fold
from jattr.generators.stored import Params


@dataclass(frozen=True)
class Plan:
    """The architecture of a folded network, hashable: everything but the numbers in its tensors."""

    steps: tuple[
        tuple[str, tuple[tuple[str, Option], ...], tuple[tuple[str, tuple[int, ...]], ...]], ...
    ]
    latent_dim: int
    conditioning: str | None
    classes: int
    image_shape: tuple[int, ...]  # (H, W, C)
    value_range: tuple[float, float]


class StepModule(nnx.Module):
    """One step with its arrays; `options` are static."""

    def __init__(
        self, kind: str, options: tuple[tuple[str, Option], ...], arrays: Mapping[str, jax.Array]
    ):
        self.kind, self.options = kind, options
        for name, array in arrays.items():
            setattr(self, name, nnx.Param(array))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the step's output for activations x [n, F] or [n, H, W, C]."""
        return STEPS[self.kind](self, x, **dict(self.options))


class LayeredNet(nnx.Module):
    """The folded network: z [n, dim] and label [n] to images [n, H, W, C] in [-1, 1] units."""

    def __init__(
        self, plan: Plan, arrays: Sequence[Mapping[str, jax.Array]], table: jax.Array | None
    ):
        self.plan = plan
        self.steps = nnx.List(
            [
                StepModule(kind, options, part)
                for (kind, options, _), part in zip(plan.steps, arrays, strict=True)
            ]
        )
        # [classes, width]: what the label adds to z
        self.table = nnx.Param(table) if table is not None else None

    def __call__(self, z: jax.Array, label: jax.Array | None = None) -> jax.Array:
        """Return the images of latents z [n, dim] and labels [n] (conditional networks only)."""
        x = z
        if self.table is not None:
            assert label is not None, "a conditional network takes labels"
            row = jnp.take(self.table[...], label, axis=0)
            x = (
                z * row
                if self.plan.conditioning == "embed_multiply"
                else jnp.concatenate([z, row], axis=-1)
            )
        for step in self.steps:
            x = step(x)
        low, high = self.plan.value_range
        if (low, high) != (-1.0, 1.0):
            x = (x - low) * (2.0 / (high - low)) - 1.0
        return x.reshape(-1, *self.plan.image_shape)


def _bias(step: Any, x: jax.Array) -> jax.Array:
    return x + step.bias[...] if hasattr(step, "bias") else x


def _dense(step: Any, x: jax.Array) -> jax.Array:
    return _bias(step, x.reshape(x.shape[0], -1) @ step.kernel[...])


def _layer_norm(step: Any, x: jax.Array, *, eps: float) -> jax.Array:
    axes = tuple(range(1, x.ndim))
    x = (x - x.mean(axes, keepdims=True)) * jax.lax.rsqrt(x.var(axes, keepdims=True) + eps)
    x = x * step.scale[...] if hasattr(step, "scale") else x
    return _bias(step, x)


def _prelu(step: Any, x: jax.Array) -> jax.Array:
    return jnp.where(x >= 0, x, x * step.slope[...])


def _pixel_norm(_: Any, x: jax.Array, *, eps: float) -> jax.Array:
    return x * jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + eps)


def _to_channels_last(x: jax.Array, shape: tuple[int, int, int]) -> jax.Array:
    return x.reshape(x.shape[0], *shape).transpose(0, 2, 3, 1)


STEPS: dict[str, Callable[..., jax.Array]] = {
    "dense": _dense,
    "conv": lambda step, x, **options: _bias(step, ops.conv(x, step.kernel[...], **options)),
    "conv_transpose": lambda step, x, **options: _bias(
        step, ops.conv_transpose(x, step.kernel[...], **options)
    ),
    "affine": lambda step, x: x * step.scale[...] + step.bias[...],
    "layer_norm": _layer_norm,
    "pixel_norm": _pixel_norm,
    "relu": lambda _, x: jax.nn.relu(x),
    "leaky_relu": lambda _, x, *, slope: jnp.where(x >= 0, x, slope * x),
    "prelu": _prelu,
    "tanh": lambda _, x: jnp.tanh(x),
    "sigmoid": lambda _, x: jax.nn.sigmoid(x),
    "upsample_nearest": lambda _, x, *, scale: ops.upsample_nearest(x, scale),
    "reshape": lambda _, x, *, shape: x.reshape(x.shape[0], *shape),
    "restack": lambda _, x, *, shape: _to_channels_last(x.transpose(0, 3, 1, 2), shape),
    "from_channels_first": lambda _, x, *, shape: _to_channels_last(x, shape),
}


@functools.lru_cache(maxsize=256)
def _merge_parts(plan: Plan) -> tuple[Any, Callable[..., jax.Array]]:
    """Return the graph definition of a plan and its pure function, one object a plan."""
    abstract = nnx.eval_shape(lambda: LayeredNet(plan, *_zeros(plan)))
    graphdef, _ = nnx.split(abstract)

    def apply(state: nnx.State, z: jax.Array, *, label: jax.Array | None = None) -> jax.Array:
        return nnx.merge(graphdef, state)(z, label)

    return graphdef, apply


def _zeros(plan: Plan) -> tuple[list[dict[str, jax.Array]], jax.Array | None]:
    arrays = [{name: jnp.zeros(shape) for name, shape in shapes} for _, _, shapes in plan.steps]
    width = {None: 0, "onehot_concat": 0}.get(plan.conditioning, 1)
    return arrays, jnp.zeros((plan.classes, width)) if plan.conditioning else None


def build(
    card: Card, params: Params
) -> tuple[Callable[..., jax.Array], nnx.State, Callable[[Generator], FinalLayer] | None]:
    """Return (apply, state, split before the last linear layer) of a card and its stored tensors.

    `stored.check_params` has checked them. The split is None where the network ends otherwise.
    """
    steps, table = fold(card, params)
    channels, height, width = card.image_shape
    plan = Plan(
        steps=tuple((step.kind, step.options, _shapes(step)) for step in steps),
        latent_dim=card.latent.dim,
        conditioning=None if card.conditioning is None else card.conditioning.type,
        classes=0 if card.conditioning is None else card.conditioning.classes,
        image_shape=(height, width, channels),
        value_range=card.value_range,
    )
    _, apply = _merge_parts(plan)
    parts = [dict(step.arrays) for step in steps]
    # `jnp.asarray` would compile a program for each shape
    arrays, table = jax.device_put((parts, table))
    _, state = nnx.split(LayeredNet(plan, arrays, table))
    return apply, state, _final(plan, tuple(step.output for step in steps))


@functools.lru_cache(maxsize=256)
def _final(
    plan: Plan, outputs: tuple[tuple[int, ...], ...]
) -> Callable[[Generator], FinalLayer] | None:
    """Return the function that splits a network before its last linear step.

    None if anything but an output function and reshapes follows that step. `outputs` are the shapes
    after each step.
    """
    kinds = [kind for kind, _, _ in plan.steps]
    last = len(kinds) - 1
    while last > 0 and kinds[last] == "reshape":
        last -= 1
    output = kinds[last] if kinds[last] in ("tanh", "sigmoid") else "identity"
    last -= output != "identity"
    while last > 0 and kinds[last] == "reshape":
        last -= 1
    if last < 1 or kinds[last] not in LINEAR_STEPS:
        return None
    kind, options, _ = plan.steps[last]
    before = dataclasses.replace(
        plan, steps=plan.steps[:last], image_shape=outputs[last - 1], value_range=(-1.0, 1.0)
    )

    def activations(state: nnx.State, z: jax.Array, *, label: jax.Array | None = None) -> jax.Array:
        parts = {name: part for name, part in state.items() if name != "steps"}
        parts["steps"] = {
            number: step for number, step in state.get("steps", {}).items() if number < last
        }
        return nnx.merge(_merge_parts(before)[0], nnx.State(parts))(z, label)

    def linear(state: nnx.State, x: jax.Array) -> jax.Array:
        arrays = {name: leaf[...] for name, leaf in state["steps"][last].items()}
        return StepModule(kind, options, arrays)(x).reshape(-1, *plan.image_shape)

    split = FinalLayer(activations, linear, output, plan.value_range)
    return lambda gen: split


def _shapes(step: Step) -> tuple[tuple[str, tuple[int, ...]], ...]:
    return tuple((name, tuple(array.shape)) for name, array in sorted(step.arrays.items()))
