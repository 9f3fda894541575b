"""Our quasi-Newton methods beside those of optimistix, in one loop, on the same problems.

    python scripts/bench_solvers.py --json solvers.json

Needs the extra `optimistix`. Own images of the bundled DCGAN and of a random multi-layer perceptron
of three layers are searched from starts of the prior, every search a fixed number of steps; a step
of each method is one value, and one gradient where its test accepts the point (lanes of `vmap`
compute it always).

Prints for each generator and method the share of searches that reach the rounding floor and the
median loss after so many steps, and the milliseconds of a step of one lane: the fastest of
`--turns` runs of all lanes, methods taking turns, compilation left out.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import jax.numpy as jnp
import numpy as np
import optimistix
from bench_json import add_json_option, write_json

import jattr
from jattr.inversion.problem import floors_of
from jattr.solvers.base import Solver

MARKS = (25, 50, 100, 200)  # steps after which losses are stated


def methods() -> dict[str, Solver]:
    """Return what is compared; optimistix' own tests end a search only at the last bits."""
    never = {"rtol": 1e-8, "atol": 1e-8}
    return {
        "BFGS": jattr.solvers.BFGS(),
        "optimistix BFGS": jattr.solvers.Optimistix(optimistix.BFGS(**never)),
        "LBFGS": jattr.solvers.LBFGS(),
        "optimistix LBFGS": jattr.solvers.Optimistix(optimistix.LBFGS(**never, history_length=20)),
    }


def perceptron(seed: int) -> jattr.Generator:
    """Return a random perceptron of 32 latents and images of 16 x 16 pixels."""
    sizes = (32, 128, 256, 16 * 16 * 3)
    keys = jax.random.split(jax.random.key(seed), len(sizes) - 1)
    weights = [
        jax.random.normal(key, (a, b)) * np.sqrt(2.0 / a)
        for key, a, b in zip(keys, sizes[:-1], sizes[1:], strict=True)
    ]

    def apply(state: list[jax.Array], z: jax.Array, *, label: jax.Array | None = None) -> jax.Array:
        del label
        for layer in state[:-1]:
            z = jax.nn.leaky_relu(z @ layer, 0.2)
        return jnp.tanh(0.5 * (z @ state[-1])).reshape(-1, 16, 16, 3)

    return jattr.Generator.from_function(apply, weights, latent=(32,), name="perceptron")


def searcher(gen: jattr.Generator, solver: Solver, steps: int) -> Callable[..., jax.Array]:
    """Return compiled `fn(images, starts) -> lowest losses so far [lanes, steps]`."""

    def search(image: jax.Array, start: jax.Array) -> jax.Array:
        problem = jattr.problem_of(gen, image, prior=None)
        solution = jattr.solve(problem, solver, start, steps=steps, trace=True)
        assert solution.trace is not None
        losses = jnp.where(jnp.isfinite(solution.trace), solution.trace, jnp.inf)
        return jax.lax.cummin(losses)

    return jax.jit(jax.vmap(search))


def measure(gen: jattr.Generator, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Return a row for each method."""
    _, _, images = gen.sample_images(jax.random.key(args.seed), args.images)
    pixels = np.repeat(images, args.starts, axis=0)
    starts = np.asarray(gen.sample_latent(jax.random.key(args.seed + 1), len(pixels)))
    floors = floors_of(pixels)
    fns = {name: searcher(gen, solver, max(MARKS)) for name, solver in methods().items()}
    losses = {name: np.asarray(fn(pixels, starts)) for name, fn in fns.items()}
    seconds: dict[str, list[float]] = {name: [] for name in fns}
    for _ in range(args.turns):
        for name, fn in fns.items():
            begin = time.perf_counter()
            fn(pixels, starts).block_until_ready()
            seconds[name].append(time.perf_counter() - begin)
    rows = []
    for name, found in losses.items():
        row: dict[str, Any] = {"generator": gen.name, "method": name, "searches": len(pixels)}
        for mark in MARKS:
            row[f"reached_{mark}"] = float((found[:, mark - 1] <= floors).mean())
            row[f"median_loss_{mark}"] = float(np.median(found[:, mark - 1]))
        row["ms_per_step"] = 1e3 * min(seconds[name]) / max(MARKS) / len(pixels)
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--starts", type=int, default=4, help="of each image")
    parser.add_argument("--turns", type=int, default=5, help="timed runs of each method")
    parser.add_argument("--seed", type=int, default=11)
    add_json_option(parser)
    args = parser.parse_args()
    generators = [jattr.load_generator("dcgan_a"), perceptron(args.seed)]
    rows = []
    for gen in generators:
        for row in measure(gen, args):
            rows.append(row)
            shares = "  ".join(
                f"{mark}: {row[f'reached_{mark}']:.2f}, {row[f'median_loss_{mark}']:.1e}"
                for mark in MARKS
            )
            print(
                f"{row['generator']:12}{row['method']:18}{shares}  {row['ms_per_step']:.3f} ms",
                flush=True,
            )
    write_json(args, rows, generators=generators, count=args.images * args.starts)


if __name__ == "__main__":
    main()
