"""`jax.export.Exported` as a generator's `apply`: differentiated in both modes, and mapped.

An exported program has reverse-mode derivatives, of the orders that it was exported with, but none
of forward mode and no rule for `vmap`. The search needs all three:

* a pull, the vector-Jacobian product, is the program's own `vjp`;
* a push, the Jacobian-vector product J t, is the derivative of the pull c -> J' c, which is linear
  in c: the `vjp` of the `vjp`, at any c, along t;
* lanes become more latents of one call, for images do not act on each other.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jattr.errors import GeneratorError
from jattr.generators.forward import ApplyFn
from jattr.typing import PyTree

ORDER = 2  # of derivatives that a search takes


def exported_apply(exported: jax.export.Exported) -> ApplyFn:
    """Return `apply(state, z)` of an exported function of (state, z).

    It can be differentiated by the latents, once and in both modes.

    Raises:
      GeneratorError: it cannot be differentiated twice, or its number of latents is fixed.
    """
    structure = exported.in_tree
    arguments, options = jax.tree.unflatten(structure, exported.in_avals)
    if len(arguments) != 2 or options or not hasattr(arguments[1], "shape"):
        raise GeneratorError(
            f"the exported {exported.fun_name!r} takes"
            f" {len(arguments)} arguments and {sorted(options)}; export a function of (state, z),"
            " with z an array [n, *latent_shape]"
        )
    z = arguments[1]
    if not jax.export.is_symbolic_dim(z.shape[0]):
        raise GeneratorError(
            f"the exported {exported.fun_name!r} takes {z.shape[0]} latents at a time; export it"
            " for any number: jax.export.symbolic_shape('n') as z's first axis"
        )
    pull = _derivative(exported)
    second = _derivative(pull)
    count = len(exported.in_avals)

    def of_image(*flat: jax.Array) -> jax.Array:
        return _call(exported, flat)[0]

    def of_pull(*flat: jax.Array) -> jax.Array:  # (state, z, cotangent) -> that of z
        return _call(pull, flat)[count - 1]

    def of_push(*flat: jax.Array) -> jax.Array:  # (state, z, tangent) -> that of the images
        *given, tangent = flat
        like = jax.eval_shape(of_image, *given)
        zeros = [jnp.zeros(value.shape, value.dtype) for value in map(jnp.asarray, given[:-1])]
        return _call(second, [*given, jnp.zeros(like.shape, like.dtype), *zeros, tangent])[count]

    image_p, pull_p, push_p = (
        _mapped_primitive(f"exported_{name}", fn, count - 1)
        for name, fn in (("image", of_image), ("pull", of_pull), ("push", of_push))
    )

    def image_jvp(given: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        if not all(isinstance(tangent, ad.Zero) for tangent in tangents[:-1]):
            raise GeneratorError(
                f"the exported {exported.fun_name!r} is differentiated by its weights; only its"
                " latents can be: export the gradient itself"
            )
        tangent = ad.instantiate_zeros(tangents[-1])
        return image_p.bind(*given), push_p.bind(*given, tangent)

    ad.primitive_jvps[image_p] = image_jvp
    _make_linear(push_p, pull_p)
    _make_linear(pull_p, push_p)

    def apply(state: PyTree, z: jax.Array, *, label: jax.Array | None = None) -> jax.Array:
        del label
        return image_p.bind(*jax.tree.leaves((state, z)))

    apply.__name__ = exported.fun_name
    return apply


def _derivative(exported: jax.export.Exported) -> jax.export.Exported:
    if not exported.has_vjp():
        raise GeneratorError(
            f"the exported {exported.fun_name!r} has no derivatives of order {ORDER}, which a"
            f" search takes; serialize it with vjp_order={ORDER}"
        )
    return exported.vjp()


def _call(exported: jax.export.Exported, flat: Sequence[jax.Array]) -> list[jax.Array]:
    """Return the flat results of an exported program for flat arguments."""
    arguments, options = jax.tree.unflatten(exported.in_tree, list(flat))
    return jax.tree.leaves(exported.call(*arguments, **options))


def _mapped_primitive(name: str, fn: Callable[..., jax.Array], num_weights: int) -> Primitive:
    """Return the primitive of fn(*weights, z [n, ...], ...), mapped over z by a larger n."""
    primitive = Primitive(name)

    def batch(given: Sequence[Any], axes: Sequence[int | None]) -> tuple[jax.Array, int]:
        mapped = [axis is not None for axis in axes]
        size = next(x.shape[axis] for x, axis in zip(given, axes, strict=True) if axis is not None)
        first = [
            x if axis is None else jnp.moveaxis(x, axis, 0)
            for x, axis in zip(given, axes, strict=True)
        ]
        if any(mapped[:num_weights]):  # weights for each lane: one lane after the other
            lanes = [
                x if m else jnp.broadcast_to(x, (size, *jnp.shape(x)))
                for x, m in zip(first, mapped, strict=True)
            ]
            return jax.lax.map(lambda lane: primitive.bind(*lane), lanes), 0
        weights, images = first[:num_weights], first[num_weights:]
        images = [
            x if m else jnp.broadcast_to(x, (size, *x.shape))
            for x, m in zip(images, mapped[num_weights:], strict=True)
        ]
        y = primitive.bind(*weights, *(x.reshape(-1, *x.shape[2:]) for x in images))
        return y.reshape(size, -1, *y.shape[1:]), 0

    def shape_of(*given: Any) -> Any:
        y = jax.eval_shape(fn, *(jax.ShapeDtypeStruct(x.shape, x.dtype) for x in given))
        return jax.core.ShapedArray(y.shape, y.dtype)

    primitive.def_impl(jax.jit(fn))
    primitive.def_abstract_eval(shape_of)
    batching.primitive_batchers[primitive] = batch
    mlir.register_lowering(primitive, mlir.lower_fun(fn, multiple_results=False))
    return primitive


def _make_linear(primitive: Primitive, transposed: Primitive) -> None:
    """Say that a primitive is linear in its last argument, and what its transpose is."""

    def transpose(cotangent: Any, *given: Any) -> list[Any]:
        *known, _ = given
        return [None] * len(known) + [transposed.bind(*known, ad.instantiate_zeros(cotangent))]

    ad.primitive_transposes[primitive] = transpose
