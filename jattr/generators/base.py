"""`Generator`: a pure function from latents to images, its weights, and facts about both."""

import dataclasses
import functools
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jattr.errors import GeneratorError
from jattr.generators import ops
from jattr.generators.digest import function_digest, tensors_digest
from jattr.generators.exported import exported_apply
from jattr.generators.forward import ApplyFn, batch_size, batched_images
from jattr.generators.hook import GENERATE_HOOK
from jattr.generators.latents import LatentTree, OfTree, latent_tree
from jattr.generators.settings import Settings
from jattr.images import BYTE_RULES, to_byte
from jattr.runtime import jax_defaults
from jattr.typing import PyTree

# "const", "none" or "search", a PRNG key, the maps themselves; None: as it is (see `view`)
Noise: TypeAlias = str | jax.Array | Sequence[ArrayLike] | None
SampleFn: TypeAlias = Callable[[jax.Array, int], jax.Array]  # (key, n) -> z [n, *latent_shape]


class Route(NamedTuple):
    """A generator in two steps: from latents to styles, and from styles to images."""

    # (state, z [n, *latent_shape], *, label=None) -> styles [n, w_dim]; the generator's state
    mapping: ApplyFn
    styles: "Generator"  # makes the generator's images of styles [n, w_dim]


class Samples(NamedTuple):
    """Images that a generator makes of latents from its prior."""

    latents: np.ndarray  # float32 [n, *latent_shape]
    labels: np.ndarray | None  # int32 [n]; None: the generator is unconditional
    images: np.ndarray  # uint8 [n, H, W, C]


class FinalLayer(NamedTuple):
    """A generator in two steps, the second its last linear layer and what follows."""

    activations: ApplyFn  # (the generator's state, z [n, *latent_shape], *, label=None) -> [n, ...]
    # (the generator's state, activations) -> [n, H, W, C]
    linear: Callable[[PyTree, jax.Array], jax.Array]
    output: str  # what follows: "identity", "tanh" or "sigmoid"
    value_range: tuple[float, float] = (-1.0, 1.0)  # of what follows, that [-1, 1] units stand for


def sample_normal(latent_shape: tuple[int, ...]) -> SampleFn:
    """Return the sampler of the standard normal prior."""
    return lambda key, n: jax.random.normal(key, (n, *latent_shape), jnp.float32)


def sample_uniform(latent_shape: tuple[int, ...]) -> SampleFn:
    """Return the sampler of the uniform prior on (-1, 1)."""
    return lambda key, n: jax.random.uniform(
        key, (n, *latent_shape), jnp.float32, minval=-1.0, maxval=1.0
    )


PRIORS: dict[str, Callable[[tuple[int, ...]], SampleFn]] = {
    "normal": sample_normal,
    "uniform": sample_uniform,
}


@dataclass(frozen=True, eq=False, kw_only=True)
class Generator:
    """A generative model as a candidate.

    `apply` is pure and the same object for every generator of one architecture; `state` is its
    argument, so that they share compiled programs.
    """

    name: str
    # (state, z [n, *latent_shape], *, label=None) -> [n, H, W, C], [-1, 1] units
    apply: ApplyFn = field(repr=False)
    state: PyTree = field(repr=False)  # pytree of arrays
    latent_shape: tuple[int, ...]
    image_shape: tuple[int, int, int]  # (H, W, C)
    sample: SampleFn = field(repr=False)
    prior: str = "normal"  # "normal", "uniform" (support (-1, 1)), or "other"
    num_classes: int = 0  # 0: unconditional
    rounding: str | None = None  # "round", "truncate", or None: unknown, both are tried
    weights_digest: str = ""
    digest: str = ""
    # what `card.json` holds, where there is one
    card: Mapping[str, object] | None = field(default=None, repr=False)
    spaces: tuple[str, ...] = ("z",)
    space: str = "z"  # whose latents `apply` takes
    settings: Settings | None = None  # truncation and noise, of style-based generators
    # of the pytrees that the function takes as latents; None: it takes arrays
    tree: LatentTree | None = field(default=None, repr=False)
    # whether a latent at the rounding floor can be a certificate; not where it could fit anything
    proves: bool = True
    # (state, images [n, H, W, C]) -> z: where to begin
    encoder: ApplyFn | None = field(default=None, repr=False)
    viewer: Callable[..., "Generator"] | None = field(default=None, repr=False)  # see `view`
    # of those with styles between
    router: Callable[["Generator"], Route] | None = field(default=None, repr=False)
    # of those that end so
    final: Callable[["Generator"], FinalLayer] | None = field(default=None, repr=False)

    @staticmethod
    @jax_defaults()
    def from_function(
        apply: ApplyFn | jax.export.Exported,
        state: PyTree = None,
        *,
        latent: PyTree,
        prior: str | None = None,
        name: str | None = None,
        version: str | None = None,
        image_shape: tuple[int, int, int] | None = None,
        sample: SampleFn | None = None,
        num_classes: int = 0,
        rounding: str | None = None,
    ) -> "Generator":
        """Return a Generator of any JAX function.

        Args:
          apply: `apply(state, z, *, label=None)`, pure, z [n, *latent] to images [n, H, W, C]
            float32 in [-1, 1] units; an unconditional one may leave `label` away. Or a
            `jax.export.Exported` of such a function.
          state: its weights, a pytree of arrays; None: it has none. The digest names these: weights
            that `apply` holds itself are not named where a version is given.
          latent: shape of one latent, or a pytree of shapes: `apply` and `sample` then have pytrees
            for z, with leaves [n, *shape], while all else takes them as arrays [n, d], which
            `unravel` and `ravel` turn into pytrees and back.
          prior: "normal", "uniform" on (-1, 1), or "other"; None: "normal", or "other" with
            `sample`.
          name: the candidate's name; None: the function's.
          version: names the code of `apply`: a part of the digest, so change it when the function
            changes. None: the digest names the operations that the function is traced to; other
            versions of JAX may trace the same code to others, and then stored results, calibrations
            and certificates are not recognised as this generator's.
          image_shape: (H, W, C), to have it checked; None: what `apply` returns.
          sample: `sample(key, n)`, the sampler of another prior.
          num_classes: number of labels, 0 if unconditional.
          rounding: how images are saved, see `Generator.rounding`.

        Raises:
          GeneratorError: `apply` cannot be called so, or does not give images, of `image_shape`, in
            float32 and finite; a weight is not finite or no number; the rounding is none; or an
            unknown prior has no sampler.

        >>> import jax, jax.numpy as jnp
        >>> def toy(w, z, *, label=None):
        ...     return jnp.tanh(z @ w).reshape(-1, 2, 2, 1)
        >>> gen = Generator.from_function(toy, jnp.ones((3, 4)), latent=(3,))
        >>> gen.name, gen.generate(gen.sample_latent(jax.random.key(0), 5)).shape
        ('toy', (5, 2, 2, 1))
        """
        if isinstance(apply, jax.export.Exported):
            name = apply.fun_name if name is None else name
            apply = exported_apply(apply)
        name = getattr(apply, "__name__", type(apply).__name__) if name is None else name
        if not callable(apply):
            raise GeneratorError(
                f"generator {name!r} is made of {apply!r}; give a function apply(state, z) that"
                " returns images [n, H, W, C]"
            )
        tree = latent_tree(latent)
        latent = tuple(latent) if tree is None else (tree.size,)
        if prior is None:
            prior = "normal" if sample is None else "other"
        if sample is None:
            if prior not in PRIORS:
                raise GeneratorError(
                    f"generator {name!r} has the prior {prior!r} without a sampler; legal are"
                    f" {', '.join(PRIORS)} without `sample`, and any with it"
                )
            sample = PRIORS[prior](latent)
        elif tree is not None:
            sample = functools.partial(_raveled, tree, sample)
        state = jax.tree.map(_single_precision, state)
        tensors = _tensors(name, state)
        apply, images = _callable_so(name, apply, tree, state, latent, num_classes)
        arguments = _abstract_arguments(state, latent, num_classes)
        image_shape = images.shape[1:] if image_shape is None else image_shape
        weights = tensors_digest(tensors)
        stated = list(latent) if tree is None else tree.stated()
        function = {
            "kind": "function",
            "name": name,
            "version": _traced_version(apply, arguments) if version is None else version,
            "image_shape": list(image_shape),
        }
        generator = Generator(
            name=name,
            apply=apply,
            state=state,
            latent_shape=latent,
            tree=tree,
            image_shape=image_shape,
            sample=sample,
            prior=prior,
            num_classes=num_classes,
            rounding=rounding,
            weights_digest=weights,
            digest=function_digest(weights, function | {"latent_shape": stated}),
        )
        generator.check()
        _check_sample(generator)
        return generator

    @jax_defaults()
    def view(
        self,
        space: str | None = None,
        *,
        psi: float | None = None,
        cutoff: int | None = None,
        noise: Noise = None,
    ) -> "Generator":
        """Return this generator as one of another space or other settings; None keeps what it has.

        Args:
          space: one of `spaces`.
          psi: truncation towards the mean style; it lies between z and w, so that it does not
            change what w makes.
          cutoff: number of styles, from the first, that psi applies to.
          noise: "const" (the stored maps), "none", "search" (the maps become part of the latent), a
            PRNG key (maps drawn by it), or the maps, each [H, W] or [n, H, W].

        Raises:
          GeneratorError: a space or setting that this generator does not have.
        """
        space = self.space if space is None else space
        if space not in self.spaces:
            raise GeneratorError(
                f"generator {self.name!r} has no space {space!r}; it has {', '.join(self.spaces)}"
            )
        if space == self.space and psi is None and cutoff is None and noise is None:
            return self
        if self.viewer is None:
            raise GeneratorError(
                f"generator {self.name!r} has no psi, cutoff or noise settings; omit them:"
                " style-based generators have them"
            )
        return self.viewer(self, space, psi, cutoff, noise)

    def psi_grid(self, values: Sequence[float]) -> tuple["Generator", ...]:
        """Return this generator once for each psi, named after it, for images of unknown psi.

        Raises:
          GeneratorError: it has no psi, or its space is not z: truncation lies between z and w.
        """
        if self.space != "z":
            raise GeneratorError(
                f"generator {self.name!r} is searched in {self.space}, where psi changes nothing;"
                " give one psi at most, or search in z"
            )
        views = {psi: self.view(psi=psi) for psi in values}
        return tuple(
            dataclasses.replace(gen, name=f"{self.name} psi {psi:g}") for psi, gen in views.items()
        )

    def unravel(self, z: ArrayLike) -> PyTree:
        """Return latents [..., *latent_shape] as the pytree that its function takes.

        Of a generator whose latents are arrays: as they are.
        """
        z = jnp.asarray(z)
        return z if self.tree is None else self.tree.unravel(z)

    def ravel(self, latents: PyTree) -> jax.Array:
        """Return a pytree of latents, leaves [n, ...], as an array [n, *latent_shape] float32.

        Raises:
          GeneratorError: another structure or shape than the function takes.
        """
        if self.tree is None:
            return jnp.asarray(latents, jnp.float32)
        return self.tree.ravel(latents)

    def latent_shape_of(self, space: str = "z") -> tuple[int, ...]:
        """Return the shape of one latent of a space."""
        return self.view(space).latent_shape

    @jax_defaults()
    def sample_latent(self, key: jax.Array, n: int, *, space: str | None = None) -> jax.Array:
        """Return n latents [n, *latent_shape] float32 from the prior of `space` (or `apply`'s)."""
        return self.view(space).sample(key, n)

    @jax_defaults()
    def sample_labels(self, key: jax.Array, n: int) -> np.ndarray | None:
        """Return labels int32 [n], uniform over the classes; None if unconditional."""
        if not self.num_classes:
            return None
        return np.asarray(jax.random.randint(key, (n,), 0, self.num_classes))

    @jax_defaults()
    def sample_images(self, key: jax.Array, n: int, *, space: str | None = None) -> Samples:
        """Return n latents from the prior, labels of all classes, and the bytes of their images.

        They are made in batches of one size, at full float32 precision. A log that records
        `generate` does not see them.

        Args:
          key: split into one for the latents and one for the labels.
          n: how many.
          space: one of `spaces`; None: the one of `apply`.
        """
        view = self.view(space)
        latent_key, label_key = jax.random.split(key)
        z = np.asarray(view.sample_latent(latent_key, n))
        label = view.sample_labels(label_key, n)
        return Samples(z, label, view.make_bytes(z, label))

    @jax_defaults()
    def make_bytes(self, z: jax.Array | np.ndarray, label: np.ndarray | None = None) -> np.ndarray:
        """Return the images uint8 [n, H, W, C] of latents z [n, *latent_shape], as it saves them.

        `label` is int [n]; None for an unconditional generator.
        """
        z = np.asarray(z, np.float32)
        labels = None if label is None else np.asarray(label, np.int32)
        images = batched_images(self.apply, self.state, z, labels, batch_size(self.image_shape))
        return self.to_bytes(images)

    @property
    def byte_rule(self) -> str:
        """How its images become bytes: `rounding`, and "round" where that is unknown."""
        return self.rounding or "round"

    def to_bytes(self, images: jax.Array | np.ndarray) -> np.ndarray:
        """Return images in [-1, 1] units, of any shape, as bytes by its own rounding rule."""
        return to_byte(images, rule=self.byte_rule)

    def label_argument(self, labels: ArrayLike) -> np.ndarray | None:
        """Return stored labels, int or [n], as `apply` takes them: int32 [n].

        None for an unconditional generator, whose stored labels are -1.
        """
        return np.atleast_1d(np.asarray(labels, np.int32)) if self.num_classes else None

    @jax_defaults(keep=frozenset({"jax_default_matmul_precision"}))
    def generate(
        self,
        z: ArrayLike | PyTree,
        *,
        space: str | None = None,
        label: ArrayLike | None = None,
        psi: float | None = None,
        noise: Noise = None,
    ) -> jax.Array:
        """Return the images [n, H, W, C] float32 of latents z, in [-1, 1] units, not clipped.

        Args:
          z: latents [n, *latent_shape]; or the pytree of them that its function takes.
          space: one of `spaces`; None: the one of `apply`.
          label: int [n], for conditional generators; else None.
          psi: truncation; None is the card's setting. Only for generators that have it.
          noise: as for `view`; None is the card's setting. Only for generators that have noise
            maps.

        Raises:
          GeneratorError: wrong shape, space or label, or a setting that this generator does not
            have.
        """
        view = self.view(space, psi=psi, noise=noise)
        z = view.ravel(z) if _is_tree(view, z) else jnp.asarray(z, jnp.float32)
        if z.shape[1:] != view.latent_shape:
            raise GeneratorError(
                f"generator {self.name!r} got latents of shape {z.shape} for space {view.space}; it"
                f" takes [n, {', '.join(map(str, view.latent_shape))}] there"
            )
        labels = view.check_label(label, len(z))
        hook = GENERATE_HOOK.get()
        if hook is None:
            return _generate(view.apply)(view.state, z, label=labels)
        return hook(view, z, labels, lambda: _generate(view.apply)(view.state, z, label=labels))

    def check_label(self, label: ArrayLike | None, n: int) -> jax.Array | None:
        """Return labels as int32 [n], or None for an unconditional generator.

        Raises:
          GeneratorError: a label is missing, out of range, of a wrong number, or given to an
            unconditional generator.
        """
        if self.num_classes == 0:
            if label is not None:
                what = (
                    "is unconditional"
                    if self.space == "z"
                    else f"takes no label in space {self.space}, where it has no effect"
                )
                raise GeneratorError(f"generator {self.name!r} {what}; omit the label")
            return None
        if label is None:
            raise GeneratorError(
                f"generator {self.name!r} needs a label: an integer from 0 to"
                f" {self.num_classes - 1}"
            )
        values = np.asarray(label)
        if values.shape not in ((), (n,)):
            raise GeneratorError(
                f"generator {self.name!r} got labels of shape {values.shape} for {n} latents; give"
                f" one, or [{n}]"
            )
        values = np.broadcast_to(values, (n,))
        if values.dtype.kind not in "iu" or ((values < 0) | (values >= self.num_classes)).any():
            raise GeneratorError(
                f"generator {self.name!r} got label {np.unique(values)[:5].tolist()}; labels are"
                f" integers from 0 to {self.num_classes - 1}"
            )
        return jnp.asarray(values, jnp.int32)

    def check(self) -> None:
        """Check the rounding rule, that weights are finite and that `apply` gives `image_shape`.

        Raises:
          GeneratorError: one of them is not so.
        """
        if self.rounding not in (None, *BYTE_RULES):
            raise GeneratorError(
                f"generator {self.name!r} has the rounding {self.rounding!r}; legal are"
                f" {', '.join(map(repr, BYTE_RULES))} and None"
            )
        for path, leaf in jax.tree_util.tree_flatten_with_path(self.state)[0]:
            if not np.isfinite(np.asarray(leaf)).all():
                raise GeneratorError(
                    f"generator {self.name!r} has weights that are not finite"
                    f" ({jax.tree_util.keystr(path)}); the file is damaged or training diverged"
                )
        arguments = _abstract_arguments(self.state, self.latent_shape, self.num_classes)
        out = jax.eval_shape(_with_label(self.apply), *arguments)
        if out.shape != (2, *self.image_shape) or out.dtype != jnp.float32:
            raise GeneratorError(
                f"generator {self.name!r} makes {out.dtype} {out.shape} of 2 latents; it"
                f" states float32 {(2, *self.image_shape)}: give [n, H, W, C], and"
                " images.astype(jnp.float32) of another type"
            )


@functools.lru_cache(maxsize=64)
def _generate(apply: ApplyFn) -> ApplyFn:
    return jax.jit(apply)


def _is_tree(generator: Generator, z: PyTree) -> bool:
    """Return whether latents are given as the generator's pytree rather than as an array."""
    return generator.tree is not None and not isinstance(z, (np.ndarray, jax.Array))


def _with_label(apply: ApplyFn) -> ApplyFn:
    """Return `apply` with its label as the third argument."""
    return lambda state, z, label: apply(state, z, label=label)


def _raveled(tree: LatentTree, sample: SampleFn, key: jax.Array, n: int) -> jax.Array:
    """Return samples of pytrees as arrays [n, d]."""
    return tree.ravel(sample(key, n))


def _tensors(name: str, state: PyTree) -> dict[str, np.ndarray]:
    """Return the leaves of a state by path.

    Raises:
      GeneratorError: one is no array of numbers.
    """
    tensors = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(state)[0]:
        where = jax.tree_util.keystr(path, simple=True, separator="/")
        dtype = getattr(leaf, "dtype", np.result_type(type(leaf)) if np.isscalar(leaf) else None)
        numbers = dtype is not None and jnp.issubdtype(dtype, jnp.number)
        if not numbers and dtype != jnp.bool_:
            raise GeneratorError(
                f"generator {name!r} has a state whose {where!r} is {type(leaf).__name__}, no array"
                " of numbers; split such parts off and hold them in the function (equinox:"
                " eqx.partition(model, eqx.is_array), flax.nnx: nnx.split)"
            )
        tensors[where] = np.asarray(leaf)
    return tensors


def _single_precision(leaf: PyTree) -> PyTree:
    """Return an array of JAX in 32 bits, as it would be without `jax_enable_x64`."""
    if isinstance(leaf, jax.Array) and not jnp.issubdtype(leaf.dtype, jax.dtypes.extended):
        return jnp.asarray(leaf, jax.dtypes.canonicalize_dtype(leaf.dtype))
    return leaf


def _callable_so(
    name: str,
    apply: ApplyFn,
    tree: LatentTree | None,
    state: PyTree,
    latent: tuple[int, ...],
    num_classes: int,
) -> tuple[ApplyFn, jax.ShapeDtypeStruct]:
    """Return `apply` as the engine calls it, and what it makes of two latents.

    Raises:
      GeneratorError: it cannot be called with (state, z), or makes no images.
    """
    # An unconditional function may have no label: it is tried first as the contract has it.
    ways: list[ApplyFn] = [apply] if num_classes else [apply, _Unlabelled(apply)]
    if not num_classes and not _may_take_label(apply):
        ways = ways[1:]
    for way in ways:
        whole: ApplyFn = way if tree is None else OfTree(way, tree)
        try:
            images = jax.eval_shape(
                _with_label(whole), *_abstract_arguments(state, latent, num_classes)
            )
            break
        except Exception as error:
            problem = error
    else:
        call = "apply(state, z, label=label)" if num_classes else "apply(state, z)"
        raise GeneratorError(
            f"generator {name!r} cannot be called as {call} with latents of shape"
            f" {(2, *latent) if tree is None else jax.tree.map(jnp.shape, tree.example(2))}:"
            f" {type(problem).__name__}: {str(problem).splitlines()[0] if str(problem) else ''}"
        ) from problem
    if not isinstance(images, jax.ShapeDtypeStruct) or len(images.shape) != 4:
        shape = list(images.shape) if hasattr(images, "shape") else type(images).__name__
        raise GeneratorError(
            f"generator {name!r} makes {shape} of 2 latents, no images; it must return [n, H, W, C]"
        )
    return whole, images


def _may_take_label(apply: ApplyFn) -> bool:
    """Return whether a function can be called with `label=`, as far as its signature says."""
    try:
        parameters = inspect.signature(apply).parameters
    except (TypeError, ValueError):
        return True
    kinds = {parameter.kind for parameter in parameters.values()}
    return "label" in parameters or inspect.Parameter.VAR_KEYWORD in kinds


def _check_sample(generator: Generator) -> None:
    """Check the prior and the image of one latent from it.

    Raises:
      GeneratorError: the latent is of a wrong shape, or the image not finite.
    """
    z = np.asarray(generator.sample_latent(jax.random.key(0), 1), np.float32)
    if z.shape != (1, *generator.latent_shape):
        raise GeneratorError(
            f"the sampler of generator {generator.name!r} gives shape {z.shape} for 1 latent; it"
            f" must give {(1, *generator.latent_shape)}"
        )
    label = np.zeros(1, np.int32) if generator.num_classes else None
    size = batch_size(generator.image_shape)
    image = batched_images(generator.apply, generator.state, z, label, size)
    if not np.isfinite(image).all():
        raise GeneratorError(
            f"generator {generator.name!r} makes values that are not finite of a latent from its"
            " prior; images are finite, in [-1, 1] units"
        )


@dataclass(frozen=True)
class _Unlabelled:
    """An `apply` of a function that takes no label."""

    first: ApplyFn

    def __call__(self, state: PyTree, z: PyTree, *, label: jax.Array | None = None) -> jax.Array:
        """Return the images of the latents."""
        del label
        return self.first(state, z)


def _abstract_arguments(
    state: PyTree, latent: tuple[int, ...], num_classes: int
) -> tuple[PyTree, jax.ShapeDtypeStruct, jax.ShapeDtypeStruct | None]:
    """Return (state, z, label) of two latents, as tracing takes them."""
    z = jax.ShapeDtypeStruct((2, *latent), jnp.float32)
    return state, z, jax.ShapeDtypeStruct((2,), jnp.int32) if num_classes else None


def _traced_version(apply: ApplyFn, arguments: tuple[PyTree, ...]) -> str:
    """Return a text that names the operations and constants that a function is traced to."""
    with ops.for_platform("cpu"):  # on every machine the same
        traced = jax.make_jaxpr(_with_label(apply))(*arguments)
    operations = re.sub(r" at 0x[0-9a-f]+", "", str(traced.jaxpr))  # of functions in memory
    constants = {str(index): np.asarray(value) for index, value in enumerate(traced.consts)}
    return f"traced {function_digest(tensors_digest(constants), {'operations': operations})}"
