"""jattr beside PyTorch: same generator, same images, one run, taking turns.

    # JATTR_REFERENCE names the reference folder
    python scripts/compare_with_torch.py
    python scripts/compare_with_torch.py --part a --quick --reference DIR
    # appends rows for BUILD_NOTES.md
    python scripts/compare_with_torch.py --part a d --table regression.md

a: latent-steps per second, a step being value and gradient of the mean squared error and one Adam
update; b: wall time until 15 of 16 face images are recovered; c: share of the measured matmul peak
(bandwidth, for small networks); d: peak memory of Adam steps, each framework in a process of its
own. PyTorch is as a user would write it (`torch_layered.py`): eager, batched over lanes, frozen
weights, the fastest of memory formats and threads (one, or all cores). Ratios are torch's time over
ours. Prints tables and, last, one line of JSON.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import jax.numpy as jnp
import numpy as np
import torch
from bench_accuracy import Entry, find_entries, load, origin, reference_folder
from bench_json import add_json_option, commit, write_json
from bench_ops import bandwidth, matmul_peak, seconds_of
from jattr.converters.layered import convert_layered
from jattr.converters.torch_file import find_state_dict, read_checkpoint
from regression_table import append
from torch_layered import RECIPES, Net, Race, adam_steps, choose_setting
from torch_memory import measured

import jattr
from jattr.generators.base import Generator
from jattr.generators.card import layer_shapes, read_card
from jattr.generators.fold import fold
from jattr.images import to_byte, to_float
from jattr.inversion.config import InvertConfig
from jattr.inversion.invert import invert
from jattr.inversion.problem import FLOOR, make_problem_fn, target_of
from jattr.inversion.scheduler import default_lanes
from jattr.inversion.warm_start import forget_pools
from jattr.runtime import enable_compilation_cache
from jattr.solvers import METHODS
from jattr.solvers.base import Prior
from jattr.solvers.solve import make_engine

FACE = "efleurine_faces_generator"
CONVOLUTIONAL = (FACE, "fletchersarip93_face", "stonerain_dcgan")
NAMES = (*CONVOLUTIONAL, "jasonk819_mnist")
LANES = (1, 8, 32)
THRESHOLDS = (1e-4, 1.2 * FLOOR)
GIVE_UP = 20.0  # times our time
QUICK_GIVE_UP = 3.0


class Pair(NamedTuple):
    """One generator twice, and images that it made."""

    gen: Generator
    net: Net
    pixels: np.ndarray  # uint8 [n, H, W, C]

    def target(self) -> torch.Tensor:
        """Return the images as torch has them: [n, C, H, W] in [-1, 1]."""
        return torch.from_numpy(to_float(self.pixels).transpose(0, 3, 1, 2).copy())


def make_pair(entries: dict[str, Entry], name: str, count: int, folder: Path) -> Pair:
    """Return a generator in both frameworks, after checking that they agree."""
    (gen,) = load(entries, [name], folder)
    net = Net(entries[name].path)
    z = gen.sample_latent(jax.random.key(5), count)
    made = np.asarray(gen.generate(z))
    theirs = net(torch.from_numpy(np.array(z))).numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(made, theirs, atol=1e-4)
    return Pair(gen, net, to_byte(made))


def stepper(
    gen: Generator, pixels: np.ndarray, lanes: int, method: str
) -> tuple[Callable[[], None], int]:
    """Return a function that runs one segment on every image, in programs of `lanes` lanes, and
    its steps.
    """
    engine = make_engine(
        make_problem_fn(gen.apply, gen.latent_shape), METHODS[method], 500, "default"
    )
    chunks = [pixels[at : at + lanes] for at in range(0, len(pixels), lanes)]
    targets = [target_of(jnp.asarray(chunk)) for chunk in chunks]
    z = gen.sample_latent(jax.random.key(3), len(pixels)).reshape(len(pixels), -1)
    prior = Prior(jnp.zeros(z.shape[1]), jnp.ones(z.shape[1]))
    carries = [engine.begin(z[at : at + lanes]) for at in range(0, len(pixels), lanes)]

    def run() -> None:
        for number, target in enumerate(targets):
            carries[number] = engine.advance(gen.state, prior, target, None, carries[number])
        jax.block_until_ready(carries)

    run()
    return run, engine.segment


def part_a(pairs: dict[str, Pair], repeats: int, threads: Sequence[int]) -> list[dict[str, Any]]:
    """Compare latent-steps per second."""
    rows = []
    for name, pair in pairs.items():
        for lanes in LANES:
            pixels, target = pair.pixels[:lanes], pair.target()[:lanes]
            forms = {
                size: stepper(pair.gen, pixels, size, "adam-cosine")
                for size in sorted({min(lanes, 8), lanes})
            }
            size = min(forms, key=lambda size: min(seconds_of(forms[size][0]) for _ in range(2)))
            ours, steps = forms[size]
            setting = choose_setting(pair.net, lanes, target, threads)
            z = torch.from_numpy(np.array(pair.gen.sample_latent(jax.random.key(3), lanes)))
            theirs_fn = partial(adam_steps, pair.net, z, setting.place(target), steps)
            times = np.array([(seconds_of(ours), seconds_of(theirs_fn)) for _ in range(repeats)])
            ratios = times[:, 1] / times[:, 0]
            mine, theirs = np.median(times, 0)
            rows.append(
                {
                    "generator": name,
                    "lanes": lanes,
                    "jattr_steps_per_second": lanes * steps / mine,
                    "torch_steps_per_second": lanes * steps / theirs,
                    "jattr_ms_a_latent_step": 1e3 * mine / (lanes * steps),
                    "torch_ms_a_latent_step": 1e3 * theirs / (lanes * steps),
                    "ratio": float(np.median(ratios)),
                    "ratio_range": [float(ratios.min()), float(ratios.max())],
                    "jattr_lanes_a_program": size,
                    "torch": setting._asdict(),
                }
            )
            print_row(rows[-1])
    return rows


def recover(pair: Pair, config: InvertConfig) -> dict[str, Any]:
    """Run `invert` on the images and return its time, all of it, and how many images arrived at
    what.
    """
    start = time.perf_counter()
    forget_pools()  # every timed call makes its pool anew, as a first call does
    result = invert(pair.gen, pair.pixels, search=config)
    seconds = time.perf_counter() - start
    best = np.argmin(result.loss, axis=1)
    z = np.stack([result.z[i, r] for i, r in enumerate(best)])
    difference = np.asarray(pair.gen.generate(jnp.asarray(z))) - to_float(pair.pixels)
    loss = np.mean(np.square(difference), axis=(1, 2, 3))
    return {
        "seconds": seconds,
        "arrived": [int((loss <= threshold).sum()) for threshold in THRESHOLDS],
    }


def part_b(
    pair: Pair, recipes: list[str], seed: int, threads: Sequence[int], give_up: float
) -> list[dict[str, Any]]:
    """Compare the time to recover.

    Ours is the whole of `invert`, which ends beyond the floor, for both thresholds.
    """
    default, search = InvertConfig(seed=seed), InvertConfig(seed=seed, interval_steps=0)
    cold = recover(pair, default)["seconds"]
    needed = len(pair.pixels) - 1
    runs = [recover(pair, default)]
    rows: list[dict[str, Any]] = []
    for name in recipes:
        ours = float(np.median([run["seconds"] for run in runs]))
        setting = choose_setting(
            pair.net, RECIPES[name].lanes(len(pair.pixels)), pair.target(), threads
        )
        race = Race(THRESHOLDS, needed, (give_up * ours,) * 2, len(pair.pixels))
        RECIPES[name].run(pair.net, pair.target(), race, setting, seed)
        rows += [{"method": name, "torch": setting._asdict(), **result} for result in race.result()]
        print_row(
            {
                "method": name,
                "jattr_seconds": ours,
                "seconds": [row["seconds"] for row in rows[-2:]],
            }
        )
        runs.append(recover(pair, default))
    ours = float(np.median([run["seconds"] for run in runs]))
    for row in rows:  # a method that never arrived: at least as far as it was watched
        late = row["seconds"] is None
        row["ratio"] = f"> {row['watched_seconds'] / ours:.3g}x" if late else row["seconds"] / ours
    own = {
        "method": "jattr invert, default, warm",
        "seconds": ours,
        "runs": [run["seconds"] for run in runs],
        "arrived_1e-4_and_floor": [run["arrived"] for run in runs],
        "needed": needed,
        "pictures_per_minute": 60 * len(pair.pixels) / ours,
        "first_run_with_compilation": cold,
        "without_interval_polish": recover(pair, search)["seconds"],
    }
    for row in (own, *rows):
        print_row(row)
    return [own, *rows]


def forward_work(path: Path) -> dict[str, int]:
    """Return the floating-point operations of one forward pass (2 a multiplication), and the bytes
    of the weights.

    "card": the layers as the card has them; "folded": as jattr runs them, upsampling folded into
    convolutions. Taps on padding and output that is cut off count, elementwise work does not.
    """
    card = read_card(path)
    state = find_state_dict(read_checkpoint(path.parent / str(card.weights)), card.state_dict_key)
    steps, _ = fold(card, convert_layered(card, state))
    weights = {key: tuple(value.shape) for key, value in state.items()}
    mults = 0
    for layer, shape in zip(card.layers, layer_shapes(card, weights), strict=True):
        if layer.op in ("linear", "conv", "conv_transpose"):
            side = shape.input if layer.op == "conv_transpose" else shape.output
            mults += int(np.prod(weights[f"{layer.key}.weight"])) * int(np.prod(side[1:]))
    folded, before = 0, (card.latent.dim,)
    for step in steps:
        if "kernel" in step.arrays:
            side = before if step.kind == "conv_transpose" else step.output
            folded += step.arrays["kernel"].size * (
                1 if step.kind == "dense" else int(np.prod(side[:2]))
            )
        before = step.output
    return {
        "card": 2 * mults,
        "folded": 2 * folded,
        "bytes": sum(4 * array.size for step in steps for array in step.arrays.values()),
    }


def part_c(pairs: dict[str, Pair], entries: dict[str, Entry], repeats: int) -> list[dict[str, Any]]:
    """Measure the share of the machine's peak.

    Adam steps at 8 lanes, and Levenberg-Marquardt steps.
    """
    rows = []
    for name, pair in pairs.items():
        work = forward_work(entries[name].path)
        size, pixels = int(np.prod(pair.gen.latent_shape)), int(np.prod(pair.gen.image_shape))
        lanes = default_lanes(pair.gen, METHODS["levenberg-marquardt"])
        forwards = {
            "adam-cosine": (8, 2, 0),
            "levenberg-marquardt": (lanes, size + 1, 2 * size * size * pixels),
        }
        for method, (lanes, passes, rest) in forwards.items():
            run, steps = stepper(pair.gen, pair.pixels[:lanes], lanes, method)
            samples = [(matmul_peak(), seconds_of(run) / steps / lanes) for _ in range(repeats)]
            peak, seconds = max(p for p, _ in samples), float(np.median([s for _, s in samples]))
            flops = {kind: passes * work[kind] + rest for kind in ("card", "folded")}
            row = {
                "generator": name,
                "method": method,
                "lanes": lanes,
                "gflop_a_latent_step": flops["folded"] / 1e9,
                "gflops": flops["folded"] / seconds / 1e9,
                "peak_gflops": peak / 1e9,
                "fraction": flops["folded"] / seconds / peak,
                "fraction_unfolded": flops["card"] / seconds / peak,
            }
            if name not in CONVOLUTIONAL:
                speed = bandwidth(work["bytes"])
                # the lanes share the weights
                reads = (2 if method == "adam-cosine" else 1) * work["bytes"] / lanes
                bound = max(flops["folded"] / peak, reads / speed)
                row |= {"gigabytes_per_second": speed / 1e9, "fraction_of_bound": bound / seconds}
            rows.append(row)
            print_row(row)
    return rows


def print_row(row: dict[str, Any]) -> None:
    """Print one row of a table as it comes."""
    print("  ".join(f"{name} {_shown(value)}" for name, value in row.items()), flush=True)


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_shown(item) for item in value) + "]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--reference", help="folder with weights/ (default: $JATTR_REFERENCE)")
    parser.add_argument(
        "--part", nargs="+", choices=("a", "b", "c", "d"), default=["a", "b", "c", "d"]
    )
    parser.add_argument(
        "--only",
        nargs="+",
        choices=NAMES,
        default=list(NAMES),
        help="generators of parts a, c and d",
    )
    parser.add_argument(
        "--recipes", nargs="+", choices=tuple(RECIPES), default=list(RECIPES), help="of part b"
    )
    parser.add_argument(
        "--quick", action="store_true", help="few repeats, 4 images: to try the script"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--table",
        type=Path,
        metavar="FILE",
        help="append a row for each generator of parts a and d",
    )
    add_json_option(parser)
    args = parser.parse_args()
    entries = find_entries(reference_folder(parser, args.reference))
    enable_compilation_cache()
    versions = origin()
    threads = sorted({1, versions["cores"]})
    versions["versions"] |= {"torch": torch.__version__, "jattr": jattr.__version__}
    versions |= {"commit": commit(), "matmul_gflops": max(matmul_peak() for _ in range(3)) / 1e9}
    repeats = 2 if args.quick else 9
    result: dict[str, Any] = {"quick": args.quick, "seed": args.seed}
    with tempfile.TemporaryDirectory() as folder:
        wanted = [*args.only, *([FACE] if "b" in args.part else [])]
        pairs = {
            name: make_pair(entries, name, max(LANES), Path(folder))
            for name in dict.fromkeys(wanted)
        }
        chosen = {name: pairs[name] for name in args.only}
        if "a" in args.part:
            result["a"] = part_a(chosen, repeats, threads)
        if "b" in args.part:
            face = pairs[FACE]._replace(pixels=pairs[FACE].pixels[: 4 if args.quick else 16])
            result["b"] = part_b(
                face, args.recipes, args.seed, threads, QUICK_GIVE_UP if args.quick else GIVE_UP
            )
        if "c" in args.part:
            result["c"] = part_c(chosen, entries, repeats)
        if "d" in args.part:
            indices = {
                name: {"jattr": Path(folder) / name, "torch": entries[name].path}
                for name in args.only
            }
            result["d"] = measured(indices, LANES)
            for row in result["d"]:
                print_row(row)
    result |= versions
    if args.table is not None:
        append(args.table, result)
    print(json.dumps({**result, "load_average_at_end": os.getloadavg()[0]}))
    rows = [{"part": part, **row} for part in args.part for row in result[part]]
    write_json(args, [{**row, "matmul_gflops": result["matmul_gflops"]} for row in rows])


if __name__ == "__main__":
    main()
