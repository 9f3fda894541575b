"""Train the bundled generators on procedural faces.

    python scripts/train_zoo.py --work DIR                      # all ten, one after another
    # one; stop it at any time, the same command goes on
    python scripts/train_zoo.py --work DIR --only progan_a

Non-saturating loss with R1 penalty (Goodfellow et al., arXiv 1406.2661; Mescheder et al., arXiv
1801.04406), Adam, a moving average of the generator. The run is determined by its recipe: data,
latents and order come from its seed. Writes `jattr/zoo/generators/NAME` and, beside it,
`NAME.json`: the recipe, its numbers, versions and digests.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
from absl import logging
from PIL import Image
from zoo_networks import Z_DIM, Params, Trainable, discriminate, init_discriminator, trainable

from jattr.generators import ops
from jattr.generators.store import save_generator
from jattr.runtime import enable_compilation_cache
from jattr.zoo.faces import FACE_SIZE, render_faces

GENERATORS = Path(__file__).resolve().parents[1] / "jattr" / "zoo" / "generators"
FACES = 40_000  # of a run's training set
BATCH = 32
RATE = 0.0025
NOISE_RATE = 0.02  # of the noise strengths, times the others'
PLAIN_RATE = 0.1  # of DCGAN's numbers, times the others'
PENALTY, EVERY = 1.0, 8  # of R1, and how often it is taken
HALF_LIFE = 10_000  # images, of the moving average
SAVE_EVERY = 250  # steps
SHEET = (8, 12)  # samples, rows and columns


@dataclass(frozen=True)
class Recipe:
    """What determines a run."""

    kind: str
    seed: int
    steps: int
    parent: str | None = None  # start from where this one ended
    # where along the parent's run instead: this is an earlier checkpoint of it
    parent_steps: int | None = None
    faces_seed: int = 0


STEPS = 6_000
RECIPES = {
    f"{kind}_{letter}": Recipe(kind, seed, STEPS)
    for kind in ("stylegan2", "progan", "stylegan", "dcgan")
    for seed, letter in enumerate("ab")
} | {
    "progan_b": Recipe("progan", 1, 4_000),
    "stylegan_b": Recipe("stylegan", 1, 3_000),
    "dcgan_a": Recipe("dcgan", 0, 4_000),
    "dcgan_b": Recipe("dcgan", 1, 4_000),
    "stylegan2_a_early": Recipe(
        "stylegan2", 0, STEPS - 500, parent="stylegan2_a", parent_steps=STEPS - 500
    ),
    "stylegan2_a_tuned": Recipe("stylegan2", 7, 250, parent="stylegan2_a", faces_seed=7),
}


class State(NamedTuple):
    """Everything that a run needs to go on."""

    generator: Params
    discriminator: Params
    average: Params
    generator_optimiser: Any
    discriminator_optimiser: Any


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--work", type=Path, required=True, help="folder of checkpoints and sample sheets"
    )
    parser.add_argument("--only", nargs="+", choices=tuple(RECIPES), default=list(RECIPES))
    parser.add_argument("--out", type=Path, default=GENERATORS)
    args = parser.parse_args()
    enable_compilation_cache()
    logging.set_verbosity(logging.ERROR)  # orbax warns of what does not concern us
    there = [name for name in args.only if (args.out / name).exists()]
    if there:
        raise SystemExit(
            f"error: {args.out / there[0]} exists; choose another --out, or move it away first"
        )
    for name in args.only:
        train(name, RECIPES[name], args.work.resolve(), args.out)


def train(name: str, recipe: Recipe, work: Path, out: Path) -> None:
    """Train one generator, from its last checkpoint if there is one, and write it."""
    network = trainable(recipe.kind)
    if recipe.parent_steps is not None:
        assert recipe.parent
        state = restore(work / recipe.parent, _fresh(network, recipe.seed), recipe.parent_steps)
        write(name, recipe, network, state, [], 0.0, out, work)
        return
    state, start = resume(name, recipe, network, work)
    faces = render_faces(jax.random.key(recipe.faces_seed), FACES)
    step_fns = {
        penalised: jax.jit(partial(_step, network, penalised), donate_argnums=0)
        for penalised in (True, False)
    }
    log = work / f"{name}.losses.json"
    losses: list[list[float]] = json.loads(log.read_text())[: start // SAVE_EVERY] if start else []
    began = time.perf_counter()
    for step in range(start, recipe.steps):
        rng = np.random.default_rng([recipe.seed, step])
        real = faces[rng.integers(0, FACES, BATCH)]
        state, result = step_fns[step % EVERY == 0](
            state, real, jax.random.key(int(rng.integers(2**31))), step
        )
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == recipe.steps:
            losses.append([step + 1, *(round(float(value), 4) for value in result)])
            seconds = (time.perf_counter() - began) / (step + 1 - start)
            print(name, *losses[-1], f"{seconds:.3f} s a step", flush=True)
            save(work / name, state, step + 1)
            log.write_text(json.dumps(losses))
            sheet(network, state.average, work / f"{name}.png")
    write(name, recipe, network, state, losses, time.perf_counter() - began, out, work)


def _fresh(network: Trainable, seed: int) -> State:
    generator, discriminator = network.init(seed), init_discriminator(seed)
    optimisers = [_optimiser().init(params) for params in (generator, discriminator)]
    return State(generator, discriminator, jax.tree.map(jnp.copy, generator), *optimisers)


def _optimiser() -> optax.GradientTransformation:
    return optax.chain(optax.adam(RATE, b1=0.0, b2=0.99), optax.stateless(_calmed))


def _calmed(updates: Params, _: Any) -> Params:
    """Slow down DCGAN, which has no equalised rates, and noise strengths, which else grow before
    the styles learn.
    """
    rates = {
        path: PLAIN_RATE if path.startswith("main.") else NOISE_RATE if "strength" in path else 1
        for path in updates
    }
    return {path: update * rates[path] for path, update in updates.items()}


def _step(
    network: Trainable,
    penalised: bool,
    state: State,
    real: jax.Array,
    key: jax.Array,
    step: jax.Array,
) -> tuple[State, tuple[jax.Array, jax.Array]]:
    """Return the state after a step of both networks on uint8 images, and their losses."""
    with ops.for_weights():
        return _step_of_both(network, penalised, state, real, key, step)


def _step_of_both(
    network: Trainable,
    penalised: bool,
    state: State,
    real: jax.Array,
    key: jax.Array,
    step: jax.Array,
) -> tuple[State, tuple[jax.Array, jax.Array]]:
    keys = jax.random.split(key, 5)
    images = real.astype(jnp.float32) / 127.5 - 1.0
    images = images + jax.random.uniform(keys[4], images.shape, minval=-1.0, maxval=1.0) / 255.0

    def discriminator_loss(params: Params) -> jax.Array:
        fake = network.apply(state.generator, jax.random.normal(keys[0], (BATCH, Z_DIM)), keys[1])
        scores = discriminate(params, jnp.concatenate([images, jax.lax.stop_gradient(fake)]))
        loss = jax.nn.softplus(-scores[:BATCH]).mean() + jax.nn.softplus(scores[BATCH:]).mean()
        if penalised:
            slope = jax.grad(lambda x: discriminate(params, x).sum())(images)
            loss += PENALTY / 2 * EVERY * jnp.square(slope).sum((1, 2, 3)).mean()
        return loss

    def generator_loss(params: Params) -> jax.Array:
        fake = network.apply(params, jax.random.normal(keys[2], (BATCH, Z_DIM)), keys[3])
        return jax.nn.softplus(-discriminate(discriminator, fake)).mean()

    first, gradient = jax.value_and_grad(discriminator_loss)(state.discriminator)
    updates, discriminator_optimiser = _optimiser().update(gradient, state.discriminator_optimiser)
    discriminator = optax.apply_updates(state.discriminator, updates)
    second, gradient = jax.value_and_grad(generator_loss)(state.generator)
    updates, generator_optimiser = _optimiser().update(gradient, state.generator_optimiser)
    generator = optax.apply_updates(state.generator, updates)
    keep = jnp.minimum(0.5 ** (BATCH / HALF_LIFE), (step + 1) / (step + 10))
    average = jax.tree.map(lambda old, new: keep * old + (1 - keep) * new, state.average, generator)
    return State(generator, discriminator, average, generator_optimiser, discriminator_optimiser), (
        first,
        second,
    )


def save(folder: Path, state: State, step: int) -> None:
    """Write a checkpoint: whole or not at all."""
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder / f"{step:06d}", state._asdict(), force=True)


def restore(folder: Path, like: State, step: int) -> State:
    """Return the state of a checkpoint."""
    with ocp.StandardCheckpointer() as checkpointer:
        return State(**checkpointer.restore(folder / f"{step:06d}", like._asdict()))


def resume(name: str, recipe: Recipe, network: Trainable, work: Path) -> tuple[State, int]:
    """Return the last state of a run and its step, or its first: fresh, or the parent's last."""
    fresh = _fresh(network, recipe.seed)
    if done := checkpoints(work / name):
        return restore(work / name, fresh, done[-1]), done[-1]
    if recipe.parent is not None:
        return restore(work / recipe.parent, fresh, RECIPES[recipe.parent].steps), 0
    return fresh, 0


def checkpoints(folder: Path) -> list[int]:
    """Return the steps at which a run has whole checkpoints."""
    return sorted(int(path.name) for path in folder.glob("*") if path.name.isdigit())


def sheet(network: Trainable, params: Params, path: Path) -> None:
    """Write a sheet of samples."""
    rows, columns = SHEET
    z = jax.random.normal(jax.random.key(5), (rows * columns, Z_DIM))
    made = np.asarray(network.apply(params, z, jax.random.key(6)))
    pixels = np.clip((made + 1) * 127.5 + 0.5, 0, 255).astype(np.uint8)
    pixels = (
        pixels.reshape(rows, columns, FACE_SIZE, FACE_SIZE, 3)
        .transpose(0, 2, 1, 3, 4)
        .reshape(rows * FACE_SIZE, columns * FACE_SIZE, 3)
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).resize(
        (columns * FACE_SIZE * 3, rows * FACE_SIZE * 3), Image.Resampling.NEAREST
    ).save(path)


def write(
    name: str,
    recipe: Recipe,
    network: Trainable,
    state: State,
    losses: list[Any],
    seconds: float,
    out: Path,
    work: Path,
) -> None:
    """Write the generator and its training record."""
    source = {
        "trained by": "scripts/train_zoo.py",
        "recipe": asdict(recipe),
        "licence": "Apache-2.0",
    }
    card, params = network.export(state.average, name, source)
    generator = save_generator(out / name, card, params)
    sheet(network, state.average, work / f"{name}.png")
    record = {
        "recipe": asdict(recipe), "batch": BATCH, "rate": RATE, "penalty": PENALTY, "faces": FACES,
        "losses of discriminator and generator by step": losses,
        "seconds of this call": round(seconds, 1),
        "digest": generator.digest, "weights_digest": generator.weights_digest,
        "versions": {"jax": jax.__version__, "optax": optax.__version__, "numpy": np.__version__},
    }  # fmt: skip
    (out / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
