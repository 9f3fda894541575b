"""`Chain`: a sequence of alterations as a function of a generator's images."""

import functools
import hashlib
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from jattr.alterations.base import Alteration, Shape, SmoothFn, clip
from jattr.alterations.jpeg import Jpeg
from jattr.errors import InputError
from jattr.generators.base import ApplyFn
from jattr.generators.forward import AfterFn, Followed
from jattr.images import to_float
from jattr.typing import PyTree

MAX_STEPS = 8
WEAKEST = 1.0 / 16.0  # of a direction's strength: sixteen bytes before it are one after it


@dataclass(frozen=True)
class Chain:
    """What was done to an image, first things first."""

    steps: tuple[Alteration, ...]

    def __post_init__(self) -> None:
        """Check the steps.

        Raises:
          InputError: too many, a compression that is not the last, a way of saving that is not the
            first, or a cover before other steps.
        """
        if len(self.steps) > MAX_STEPS:
            raise InputError(
                f"there are {len(self.steps)} alterations one after the other; at most {MAX_STEPS}"
                " are legal"
            )
        if any(isinstance(step, Jpeg) for step in self.steps[:-1]):
            raise InputError(
                "a JPEG compression is not the last alteration; only the last one can be modelled"
            )
        late = next((step.name for step in self.steps[1:] if step.saves), None)
        if late is not None:
            raise InputError(
                f"{late} is how values are saved as bytes, and other alterations come before it;"
                " write it first"
            )
        after = next(
            (b for a, b in itertools.pairwise(self.steps) if a.hides and not b.hides), None
        )
        if after is not None:
            raise InputError(
                f"{after.name} comes after cover; what is covered is left out of the comparison, so"
                " write cover last, without a compression"
            )

    @property
    def text(self) -> str:
        """The chain as `parse_chain` reads it."""
        return ",".join(step.text for step in self.steps)

    @property
    def digest(self) -> str:
        """SHA-256 of what the chain does."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def jpeg(self) -> Jpeg | None:
        """The last step, if it is a compression: then coefficients are observed, else bytes."""
        return self.steps[-1] if self.steps and isinstance(self.steps[-1], Jpeg) else None

    @property
    def before(self) -> tuple[Alteration, ...]:
        """The steps that lead to the bytes that are compressed, or that are observed."""
        return self.steps if self.jpeg is None else self.steps[:-1]

    @property
    def free(self) -> tuple[int, ...]:
        """Of each unknown number the index of its step."""
        return tuple(index for index, step in enumerate(self.steps) for _ in range(step.num_free))

    def with_factors(self, factors: Sequence[float]) -> "Chain":
        """Return the chain with its unknown numbers given, by factors in the order of `free`."""
        given = list(zip(self.free, factors, strict=True))
        steps = list(self.steps)
        for index in dict.fromkeys(self.free):
            own = [factor for at, factor in given if at == index]
            steps[index] = steps[index].with_factors(own)
        return Chain(tuple(steps))

    @property
    def proves(self) -> bool:
        """Whether what is observed can be a proof: nothing random."""
        return all(step.deterministic for step in self.before)

    @property
    def copies(self) -> bool:
        """Whether bytes only move, vanish or change places one to one."""
        return all(step.copies for step in self.steps)

    @property
    def inverse(self) -> "Chain | None":
        """The chain that undoes this one on bytes; None where something is lost."""
        undone = [step.inverse for step in reversed(self.steps)]
        steps = tuple(step for step in undone if step is not None)
        return Chain(steps) if len(steps) == len(undone) else None

    @property
    def saves(self) -> bool:
        """Whether it begins with how values were saved, and so takes values in place of bytes."""
        return bool(self.steps) and self.steps[0].saves

    @property
    def rounds_once(self) -> bool:
        """Whether what is observed are the maker's values, moved and rounded a single time.

        Then the test of unaltered images holds.
        """
        return all(step.copies for step in (self.steps[1:] if self.saves else self.steps))

    def out_shape(self, shape: Shape) -> Shape:
        """Return the shape of the altered image.

        Raises:
          InputError: a step cannot be applied.
        """
        for step in self.steps:
            shape = step.out_shape(shape)
        return shape

    def parameters(self, shape: Shape) -> tuple[PyTree, ...]:
        """Return what the smooth forms of the steps before compression take."""
        parameters = []
        for step in self.before:
            parameters.append(step.parameters(shape))
            shape = step.out_shape(shape)
        return tuple(parameters)

    def discrete(self, pixels: np.ndarray) -> np.ndarray:
        """Return images [n, H, W, C] as the bytes [n, H', W', C'] that programs would compress."""
        for step in self.before:
            pixels = step.discrete(pixels)
        return pixels

    def discrete_of_values(
        self, values: np.ndarray, to_bytes: Callable[[np.ndarray], np.ndarray]
    ) -> np.ndarray:
        """Return `discrete` of values float32 [n, H, W, C], [-1, 1] units, not clipped.

        Args:
          values: as a generator makes them.
          to_bytes: the rule by which its images become bytes, where the chain does not say how.
        """
        if not self.saves:
            return self.discrete(to_bytes(values))
        return Chain(self.before[1:]).discrete(self.before[0].saved(np.asarray(values)))

    def observed(self, pixels: np.ndarray) -> np.ndarray:
        """Return what is compared of altered images uint8 [n, H, W, C]."""
        for step in self.before:
            if step.hides:
                pixels = step.discrete(pixels)
        return pixels

    def drawn(self, *numbers: int) -> "Chain":
        """Return the chain with random choices drawn by these numbers and each step's index."""
        return Chain(tuple(step.drawn(index, *numbers) for index, step in enumerate(self.steps)))

    def num_independent(self, shape: Shape) -> int:
        """Return how many independent numbers of an image get through.

        A resize to one pixel and back leaves few. A direction counts unless it is weakened below
        `WEAKEST`, where rounding drowns it.
        """
        return _passed(self, shape)

    def final_pixels(self, pixels: np.ndarray) -> np.ndarray:
        """Return images [n, H, W, C] as bytes after all steps, decompressed after a compression."""
        pixels = self.discrete(pixels)
        return pixels if self.jpeg is None else self.jpeg.discrete(pixels)


@functools.lru_cache(maxsize=256)
def _passed(chain: Chain, shape: Shape) -> int:
    rows, columns, channels = np.eye(shape[0]), np.eye(shape[1]), shape[2]
    for step in chain.steps:
        down, across, out = step.transfer_matrices(shape)
        rows, columns = (columns, rows) if step.swaps else (rows, columns)
        rows, columns, channels = down @ rows, across @ columns, min(channels, out)
        shape = step.out_shape(shape)
    # The singular values of a Kronecker product are all products of its factors'.
    strengths = np.outer(*(np.linalg.svd(matrix, compute_uv=False) for matrix in (rows, columns)))
    return int((strengths > WEAKEST).sum()) * channels


def smooth_pixels(apply: ApplyFn, chain: Chain, shape: Shape) -> Followed:
    """Return `apply`, of images of a shape, followed by the steps before compression.

    It makes [n, H', W', C'], [-1, 1] units; its state is that of `smooth_observation`.
    """
    kinds = tuple(step.smooth for step in chain.before)
    return Followed(apply, _after(kinds, None, of_values=chain.saves), shape)


def smooth_observation(apply: ApplyFn, chain: Chain, shape: Shape) -> Followed:
    """Return `apply` followed by all steps, times the state's weight.

    It returns values of bytes, or coefficients [n, 1, N, 1]. The state has `generator`, the
    candidate's own; `shift`, added to its images; `parameters`; and `weight`.
    """
    last = None if chain.jpeg is None else chain.jpeg.smooth
    kinds = tuple(step.smooth for step in chain.before)
    return Followed(apply, _after(kinds, last, of_values=chain.saves), shape)


@functools.lru_cache(maxsize=256)
def _after(
    kinds: tuple[SmoothFn, ...], last: SmoothFn | None, *, of_values: bool = False
) -> AfterFn:
    def altered(state: dict[str, PyTree], x: jax.Array) -> jax.Array:
        # bytes are cut off at the ends and made by the maker's rule; values are not bytes yet
        x = x if of_values else clip(x) + state["shift"]
        for kind, parameters in zip(kinds, state["parameters"], strict=True):
            x = kind(parameters, x)
        return x if last is None else last((), x) * state["weight"]

    return altered


def smooth_of_bytes(chain: Chain, pixels: np.ndarray) -> np.ndarray:
    """Return the smooth observation of images of bytes [n, H, W, C], unweighted."""
    state = {
        "generator": jnp.asarray(to_float(pixels)), "shift": jnp.float32(0),
        "parameters": chain.parameters(pixels.shape[1:]), "weight": jnp.float32(1),
    }  # fmt: skip
    return np.asarray(
        smooth_observation(_itself, chain, pixels.shape[1:])(state, jnp.zeros((len(pixels), 1)))
    )


def _itself(state: jax.Array, z: jax.Array, *, label: jax.Array | None = None) -> jax.Array:
    return state
