"""Other methods of attribution on images of known origin: right among the sources, and told from
nobody's images?

    python scripts/bench_baselines.py --only dcgan_a progan_a stylegan2_b stylegan_a \\
      --training 300 --test 50
    python scripts/bench_baselines.py --baseline thresholded --only dcgan_a progan_a \\
      --known 30 --test 16 --nobody 16
    python scripts/bench_baselines.py --pool autoencoders --training 100 --test 50

Training and test images come from different seeds; nobody's are the renderer's faces. Where the
whole pool is not fit for a method, it is run on those of the pool that are. `--pool autoencoders`
trains small autoencoders on the renderer's faces first; their images are decoded from the latents
of further faces, as a latent diffusion model would draw them. Prints for every method a table and a
line of JSON.
"""

import argparse
import dataclasses
import functools
import json
import sys
import time
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import jax.numpy as jnp
import numpy as np
import optax
from bench_accuracy import origin, show
from bench_calibration import auroc
from bench_json import add_json_option, write_json
from flax import nnx

from jattr.attribution.calibrate import own_images
from jattr.baselines.base import in_batches
from jattr.baselines.registry import BASELINES
from jattr.baselines.thresholded import SEARCH, ThresholdedConfig
from jattr.errors import InputError
from jattr.generators import ops
from jattr.generators.autoencoder_kl import Architecture, Net
from jattr.generators.base import Generator, sample_normal
from jattr.generators.store import bundled_generators, load_generator
from jattr.images import to_byte
from jattr.inversion.config import InvertConfig
from jattr.runtime import enable_compilation_cache
from jattr.zoo.faces import render_faces

SMALL = Architecture(
    block_out_channels=(16, 32),
    layers_per_block=1,
    latent_channels=4,
    latent_height=16,
    latent_width=16,
    norm_num_groups=4,
    mid_block_add_attention=False,
)
AUTOENCODERS, RATE = 2, 2e-3


def measure(
    name: str,
    generators: Sequence[Generator],
    images: Mapping[str, Mapping[str, np.ndarray]],
    nobody: np.ndarray,
    config: Any,
    seed: int,
) -> dict[str, Any]:
    """Return what one method gets right, and its seconds, compilation included."""
    start = time.perf_counter()
    attributor = BASELINES[name].fit(
        generators, images["training"], jax.random.key(seed), config=config
    )
    fitted = time.perf_counter()
    scores = [attributor.scores(images["test"][gen.name]) for gen in generators]
    foreign = attributor.scores(nobody)
    scored = time.perf_counter()
    right = [float((some.argmax(1) == at).mean()) for at, some in enumerate(scores)]
    alone = [auroc(some[:, at], foreign[:, at]) for at, some in enumerate(scores)]
    return {
        "sources": [gen.name for gen in generators],
        "closed_set": float(np.mean(right)),
        "closed_set_each": right,
        "open_set_auroc": auroc(np.concatenate(scores).max(1), foreign.max(1)),
        "auroc_each_alone": alone,
        "seconds_fit": round(fitted - start, 1),
        "seconds_a_picture": round((scored - fitted) / (len(nobody) + sum(map(len, scores))), 4),
    }


def bundled(args: argparse.Namespace) -> tuple[list[Generator], dict[str, dict[str, np.ndarray]]]:
    """Return the bundled generators and their images."""
    generators = [load_generator(name) for name in args.only or bundled_generators()]
    return generators, {
        "training": {gen.name: own_images(gen, args.training, args.seed) for gen in generators},
        "test": {gen.name: own_images(gen, args.test, args.seed + 1_000) for gen in generators},
    }


def autoencoders(
    args: argparse.Namespace,
) -> tuple[list[Generator], dict[str, dict[str, np.ndarray]]]:
    """Return autoencoders that differ in their seed, trained here, and their images."""
    generators = [_trained(f"autoencoder_{seed}", seed, args.steps) for seed in range(AUTOENCODERS)]
    images: dict[str, dict[str, np.ndarray]] = {"training": {}, "test": {}}
    for number, gen in enumerate(generators):
        for part, count, seed in (("training", args.training, 7), ("test", args.test, 1_007)):
            faces = render_faces(jax.random.key(args.seed + seed + number), count)
            images[part][gen.name] = to_byte(_reproduced(gen, faces), rule="round")
    return generators, images


def _trained(name: str, seed: int, steps: int) -> Generator:
    """Return an autoencoder after some steps of 16 faces.

    Mean absolute error, the latents' deviation near 1.
    """
    graph, state = nnx.split(Net(SMALL))
    keys = jax.random.split(jax.random.key(seed), 3)
    state = _drawn(state, keys[0])
    optimiser = optax.adam(RATE)
    faces = render_faces(keys[1], 2_048)

    def loss_of(state: Any, x: jax.Array, key: jax.Array) -> jax.Array:
        net = nnx.merge(graph, state)
        with ops.for_weights():
            mean, _ = net.encode(x)
            made = net(mean + 0.1 * jax.random.normal(key, mean.shape))
        return jnp.abs(made - x).mean() + 1e-2 * jnp.square(jnp.square(mean).mean() - 1.0)

    @jax.jit
    def step(state: Any, moments: Any, x: jax.Array, key: jax.Array) -> Any:
        loss, gradient = jax.value_and_grad(loss_of)(state, x, key)
        with jax.numpy_dtype_promotion("standard"):
            updates, moments = optimiser.update(gradient, moments, state)
        return optax.apply_updates(state, updates), moments, loss

    moments = optimiser.init(state)
    for number, key in enumerate(jax.random.split(keys[2], steps)):
        some = faces[np.arange(16 * number, 16 * number + 16) % len(faces)] / np.float32(127.5) - 1
        state, moments, loss = step(state, moments, some, key)
    print(f"{name}: loss {float(loss):.3f} after {steps} steps", file=sys.stderr, flush=True)

    def encode(state: Any, images: jax.Array) -> jax.Array:
        return jnp.asarray(nnx.merge(graph, state).encode(images)[0])

    gen = Generator.from_function(
        lambda state, z, *, label=None: nnx.merge(graph, state)(z),
        state,
        name=name,
        version="1",
        latent=SMALL.latent_shape,
        image_shape=SMALL.image_shape,
        sample=sample_normal(SMALL.latent_shape),
    )
    return dataclasses.replace(gen, encoder=encode)


def _drawn(state: Any, key: jax.Array) -> Any:
    """Return random kernels, scales of 1, biases of 0."""

    def draw(path: Any, a: jax.Array) -> jax.Array:
        name = jax.tree_util.keystr(path)
        if a.ndim > 1:
            own = jax.random.fold_in(key, zlib.crc32(name.encode()))
            return jax.random.normal(own, a.shape) / np.float32(np.prod(a.shape[:-1]) ** 0.5)
        return jnp.ones_like(a) if "scale" in name else a

    return jax.tree_util.tree_map_with_path(draw, state)


def _reproduced(gen: Generator, pixels: np.ndarray) -> np.ndarray:
    assert gen.encoder is not None
    encode = gen.encoder
    fn = jax.jit(lambda state, x: gen.apply(state, encode(state, x)))
    return in_batches(lambda some: fn(gen.state, some / np.float32(127.5) - 1), pixels, 50)


def fit_for(name: str, generators: Sequence[Generator]) -> list[Generator]:
    """Return the generators that a method applies to."""
    needed = {"final-layer": "final", "double-reconstruction": "encoder"}.get(name)
    return [gen for gen in generators if needed is None or getattr(gen, needed) is not None]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pool", default="bundled", choices=("bundled", "autoencoders"))
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help="these bundled generators instead of all"
    )
    parser.add_argument(
        "--baseline", nargs="+", default=list(BASELINES), choices=list(BASELINES), metavar="NAME"
    )
    parser.add_argument(
        "--training", type=int, default=300, help="training images of each source (default 300)"
    )
    parser.add_argument(
        "--test", type=int, default=50, help="test images of each source (default 50)"
    )
    parser.add_argument("--nobody", type=int, default=100, help="images of nobody (default 100)")
    parser.add_argument(
        "--known", type=int, default=50, help="thresholded: own images searched (default 50)"
    )
    parser.add_argument(
        "--search", choices=("paper", "ours"), default="paper", help="thresholded: whose search"
    )
    parser.add_argument(
        "--steps", type=int, default=300, help="training steps of an autoencoder (default 300)"
    )
    parser.add_argument("--seed", type=int, default=1)
    add_json_option(parser)
    args = parser.parse_args()
    enable_compilation_cache()
    generators, images = {"bundled": bundled, "autoencoders": autoencoders}[args.pool](args)
    nobody = np.asarray(render_faces(jax.random.key(99), args.nobody))
    search = SEARCH if args.search == "paper" else InvertConfig()
    configs = {"thresholded": functools.partial(ThresholdedConfig, known=args.known, search=search)}
    rows = []
    for name in args.baseline:
        row = {
            "baseline": name,
            "training": args.training,
            "test": args.test,
            "nobody": args.nobody,
        }
        row |= {"search": args.search} if name == "thresholded" else {}
        fit = fit_for(name, generators)
        try:
            row |= measure(
                name,
                fit,
                images_of(images, fit),
                nobody,
                configs.get(name, lambda: None)(),
                args.seed,
            )
        except InputError as error:
            row |= {"refused": str(error)}
        show(row)
        print(json.dumps({**row, "pool": args.pool, "seed": args.seed, **origin()}), flush=True)
        rows.append(row)
    write_json(args, rows, generators=generators)


def images_of(
    images: Mapping[str, Mapping[str, np.ndarray]], generators: Sequence[Generator]
) -> dict[str, dict[str, np.ndarray]]:
    """Return the images of these generators alone."""
    return {part: {gen.name: made[gen.name] for gen in generators} for part, made in images.items()}


if __name__ == "__main__":
    main()
