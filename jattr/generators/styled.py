"""Spaces and settings of style-based generators: z, w, w+; truncation; noise maps.

A `View` of a generator is a generator too, whose `apply` takes the latents of one space under given
settings. What the settings say is part of the state (psi for each style, the noise maps), so all of
them share one compiled program.

In w and w+ latents enter the synthesis network as they are: truncation lies on the way from z to w.
Abdal, Qin, Wonka, Image2StyleGAN, arXiv 1904.03189 (w+).
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import ArrayLike

from jattr.errors import GeneratorError
from jattr.generators.base import Generator, Noise, Route, SampleFn
from jattr.generators.family import StyledArchitecture, graph_of
from jattr.generators.settings import NOISE, Settings
from jattr.typing import PyTree


@functools.lru_cache(maxsize=256)
def styled_apply(
    kind: str, arch: StyledArchitecture, space: str, searched: bool
) -> Callable[..., jax.Array]:
    """Return `apply(state, z, *, label=None)` for a space's latents, one object an architecture.

    `searched`: the noise maps follow the latent in one flat vector.
    """
    graphdef, _ = graph_of(kind, arch)

    def apply(
        state: dict[str, PyTree], z: jax.Array, *, label: jax.Array | None = None
    ) -> jax.Array:
        net = nnx.merge(graphdef, state["net"])
        noise = state["noise"]
        if searched:
            z, noise = _split_noise(arch, space, z)
        if space == "z":
            ws = _truncated(net, state["psi"], net.mapping(z, label))
        else:
            ws = _repeat_styles(z, arch.num_ws) if space == "w" else z
        return net.synthesis(ws, noise)

    return apply


@functools.lru_cache(maxsize=256)
def styled_router(kind: str, arch: StyledArchitecture) -> Callable[[Generator], Route]:
    """Return the function that splits a generator of latents z after its mapping network.

    Truncation and noise belong to the second part.
    """
    graphdef, _ = graph_of(kind, arch)

    def mapping(
        state: dict[str, PyTree], z: jax.Array, *, label: jax.Array | None = None
    ) -> jax.Array:
        w: jax.Array = nnx.merge(graphdef, state["net"]).mapping(z, label)
        return w

    def apply(
        state: dict[str, PyTree], w: jax.Array, *, label: jax.Array | None = None
    ) -> jax.Array:
        net = nnx.merge(graphdef, state["net"])
        return net.synthesis(_truncated(net, state["psi"], w), state["noise"])

    def router(gen: Generator) -> Route:
        untruncated = gen.state | {"psi": jnp.ones_like(gen.state["psi"])}
        styles = dataclasses.replace(
            gen,
            apply=apply,
            latent_shape=(arch.w_dim,),
            sample=_sampler(kind, arch, "w", untruncated, 0),
            prior="other",
            num_classes=0,
            router=None,
        )
        return Route(mapping, styles)

    return router


@functools.lru_cache(maxsize=256)
def _to_styles(kind: str, arch: StyledArchitecture) -> Callable[..., jax.Array]:
    """Return compiled `fn(state, z, label) -> ws [n, num_ws, w_dim]`, truncated."""
    graphdef, _ = graph_of(kind, arch)

    def fn(state: dict[str, PyTree], z: jax.Array, label: jax.Array | None) -> jax.Array:
        net = nnx.merge(graphdef, state["net"])
        return _truncated(net, state["psi"], net.mapping(z, label))

    return jax.jit(fn)


def styled_state(net: nnx.State, arch: StyledArchitecture, settings: Settings) -> dict[str, PyTree]:
    """Return the state of a styled generator: its network, psi of each style, noise maps."""
    return {"net": net, "psi": _psi(arch, settings), "noise": _maps(net, arch, settings.noise)}


def styled_view(
    kind: str,
    arch: StyledArchitecture,
    gen: Generator,
    space: str,
    psi: float | None,
    cutoff: int | None,
    noise: Noise,
) -> Generator:
    """Return the generator as one of another space or settings.

    Args:
      kind: of its card.
      arch: of its card.
      gen: the generator.
      space: "z", "w" or "w+".
      psi: None: the generator's.
      cutoff: None: the generator's.
      noise: "const", "none", "search" (the maps are part of the latent), a PRNG key (maps drawn by
        it), or the maps themselves, each [H, W] or [n, H, W]; None: the generator's.

    Raises:
      GeneratorError: a setting that is not legal.
    """
    settings, maps = _changed(gen, arch, psi, cutoff, noise)
    state = gen.state | {"psi": _psi(arch, settings), "noise": maps}
    searched = settings.noise == "search"
    base = {"z": arch.latent_shape, "w": (arch.w_dim,), "w+": (arch.num_ws, arch.w_dim)}[space]
    count = sum(math.prod(shape) for shape in arch.noise_shapes)
    return dataclasses.replace(
        gen,
        apply=styled_apply(kind, arch, space, searched),
        state=state,
        latent_shape=(math.prod(base) + count,) if searched else base,
        sample=_sampler(kind, arch, space, state, count if searched else 0),
        prior="normal" if space == "z" else "other",
        num_classes=arch.num_classes if space == "z" else 0,
        space=space,
        settings=settings,
        proves=not searched and (space != "w+" or _can_prove(math.prod(base), gen.image_shape)),
        router=styled_router(kind, arch) if space == "z" and not searched else None,
    )


def _can_prove(
    numbers: int, image_shape: tuple[int, int, int], *, share: int = 4, most: int = 1 << 28
) -> bool:
    """Return whether a latent of w+ at the rounding floor can be a certificate.

    Args:
      numbers: of the latent.
      image_shape: of the images.
      share: an image has at least so many times more numbers.
      most: numbers of the Jacobian that the test needs: 1 GiB.
    """
    size = math.prod(image_shape)
    return share * numbers <= size and numbers * size <= most


def _changed(
    gen: Generator, arch: StyledArchitecture, psi: float | None, cutoff: int | None, noise: Noise
) -> tuple[Settings, Sequence[jax.Array]]:
    """Return the new settings and the noise maps that they name."""
    old = gen.settings or Settings()
    if noise is None:
        mode = old.noise
    elif isinstance(noise, str):
        mode = noise
    else:
        mode = "given" if isinstance(noise, (list, tuple)) else "random"
    new = Settings(
        psi=old.psi if psi is None else float(psi),
        cutoff=old.cutoff if cutoff is None else cutoff,
        noise=mode,
    )
    problems = list(new.problems(arch.num_ws))
    if isinstance(noise, str) and noise not in (*NOISE, "search"):
        problems.append(
            f"noise is {noise!r}; it must be const, none or search, a PRNG key, or the maps"
        )
    if isinstance(noise, (jax.Array, np.ndarray)) and not _is_key(noise):
        problems.append(
            f"noise is an array {noise.dtype} {list(noise.shape)} and no PRNG key; give maps as a"
            " list"
        )
    if noise is not None and not arch.noise_shapes:
        problems.append("it has no noise maps; omit noise")
    if problems:
        raise GeneratorError(f"generator {gen.name!r}: {'; '.join(problems)}")
    if noise is None:
        return new, gen.state["noise"]
    if isinstance(noise, str):
        return new, _maps(gen.state["net"], arch, noise)
    if isinstance(noise, (list, tuple)):
        return new, _given(gen, arch, noise)
    keys = jax.random.split(cast(jax.Array, noise), max(1, len(arch.noise_shapes)))
    return new, tuple(
        jax.random.normal(key, shape) for key, shape in zip(keys, arch.noise_shapes, strict=False)
    )


def _is_key(array: jax.Array | np.ndarray) -> bool:
    raw = array.dtype == np.uint32 and array.shape == (2,)
    return raw or jnp.issubdtype(array.dtype, jax.dtypes.prng_key)


def _given(
    gen: Generator, arch: StyledArchitecture, maps: Sequence[ArrayLike]
) -> tuple[jax.Array, ...]:
    arrays = tuple(jnp.asarray(part, jnp.float32) for part in maps)
    fits = [part.shape[-2:] for part in arrays] == list(arch.noise_shapes)
    if not fits or any(part.ndim > 3 for part in arrays):
        shapes = ", ".join(f"{h}x{w}" for h, w in arch.noise_shapes)
        raise GeneratorError(
            f"generator {gen.name!r} got noise maps of shapes {[part.shape for part in arrays]}; it"
            f" takes {len(arch.noise_shapes)} maps, [H, W] or [n, H, W], of {shapes}"
        )
    return arrays


def _psi(arch: StyledArchitecture, settings: Settings) -> jax.Array:
    cutoff = arch.num_ws if settings.cutoff is None else settings.cutoff
    return jnp.asarray(np.where(np.arange(arch.num_ws) < cutoff, settings.psi, 1.0), jnp.float32)


def _maps(net: nnx.State, arch: StyledArchitecture, mode: str) -> tuple[jax.Array, ...]:
    if mode == "const":
        stored: Any = net["noise"] if arch.noise_shapes else ()
        return tuple(stored[i][...] for i in range(len(arch.noise_shapes)))
    return tuple(jnp.zeros(shape) for shape in arch.noise_shapes)


def _truncated(net: Any, psi: jax.Array, w: jax.Array) -> jax.Array:
    # arXiv 1812.04958, appendix B: w_avg + psi (w - w_avg), psi for each style.
    average = net.w_avg[...]
    return average + psi[:, None] * (w[:, None, :] - average)


def _repeat_styles(w: jax.Array, count: int) -> jax.Array:
    return jnp.broadcast_to(w[:, None, :], (len(w), count, w.shape[-1]))


def _split_noise(
    arch: StyledArchitecture, space: str, flat: jax.Array
) -> tuple[jax.Array, list[jax.Array]]:
    """Return latents and noise maps [n, H, W] of flat vectors [n, all of them]."""
    shapes = [
        (arch.num_ws, arch.w_dim)
        if space == "w+"
        else (arch.w_dim,)
        if space == "w"
        else arch.latent_shape
    ]
    shapes += list(arch.noise_shapes)
    ends = np.cumsum([math.prod(shape) for shape in shapes])[:-1]
    parts = jnp.split(flat, ends.tolist(), axis=1)
    shaped = [part.reshape(len(flat), *shape) for part, shape in zip(parts, shapes, strict=True)]
    return shaped[0], shaped[1:]


def _sampler(
    kind: str, arch: StyledArchitecture, space: str, state: dict[str, PyTree], noise: int
) -> SampleFn:
    """Return the sampler of a space.

    z is normal; w and w+ are what the mapping network returns for normal z; noise is normal.
    """

    def sample(key: jax.Array, n: int) -> jax.Array:
        if space == "z" and not noise:
            return jax.random.normal(key, (n, *arch.latent_shape))
        keys = jax.random.split(key, 3)
        z = jax.random.normal(keys[0], (n, *arch.latent_shape))
        if space != "z":
            label = (
                jax.random.randint(keys[1], (n,), 0, arch.num_classes) if arch.num_classes else None
            )
            ws = _to_styles(kind, arch)(state, z, label)
            z = ws if space == "w+" else ws[:, 0]
        if not noise:
            return z
        return jnp.concatenate([z.reshape(n, -1), jax.random.normal(keys[2], (n, noise))], axis=1)

    return sample
