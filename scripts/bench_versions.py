"""Time a version against another one, in turns on one machine.

    python scripts/bench_versions.py --old DIR --new DIR --runs 5 --json versions.json
    python scripts/bench_versions.py --old DIR --new DIR --case attribute --runs 9

Two checkouts are run in turns, old, new, old, new, so that what else the machine does meets both.
Each run of one is divided by the run of the other beside it; the median of these ratios is what to
quote, with the smallest and the largest. Below 1 the new version is faster. Cases:

* `demo`: `jattr demo`, a whole process;
* `attribute`: one image, by the first of three bundled candidates, a whole process of
  `jattr attribute`;
* `ten`: 20 own images against the ten bundled candidates in one process: the second call of
  `jattr.attribute`, when everything is compiled;
* `steps`: milliseconds of a gradient step of one lane, of four families in programs of 1, 8 and 32
  lanes;
* `compile`: programs that `attribute` compiles for one image of each of the demo's candidates, with
  empty caches, and the seconds that they take.

Each checkout has a cache folder of its own, which one run of every case fills before anything is
timed; `--cold` empties it before every run of the command line instead. From Python only
`jattr.load_generator`, `sample_latent`, `generate` and `jattr.attribute` are used.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench_json import add_json_option, write_json

THREE = ("progan_a", "progan_b", "dcgan_a")
TEN = (
    *("dcgan_a", "dcgan_b", "progan_a", "progan_b", "stylegan_a", "stylegan_b"),
    *("stylegan2_a", "stylegan2_b", "stylegan2_a_early", "stylegan2_a_tuned"),
)
DEMO = ("dcgan_a", "dcgan_b", "progan_a", "progan_b")
IMAGES_EACH = 2  # 20 of the ten

# Prints the seconds of each call of `jattr.attribute`.
SECOND_CALL = """
import json, sys, time
import jax, numpy as np
import jattr

names, count = json.loads(sys.argv[1]), int(sys.argv[2])
gens = [jattr.load_generator(name) for name in names]
keys = jax.random.split(jax.random.key(1), len(gens))
images = [np.asarray(gen.generate(gen.sample_latent(key, count))) for gen, key in zip(gens, keys)]
values = np.clip(np.concatenate(images), -1, 1)
pixels = np.floor((values + 1) * 127.5 + 0.5).clip(0, 255).astype(np.uint8)
seconds = []
for _ in range(2):
    start = time.perf_counter()
    jattr.attribute(pixels, gens)
    seconds.append(time.perf_counter() - start)
print(json.dumps(seconds))
"""


# Prints milliseconds of a step of one lane, by generator and number of lanes.
STEPS = """
import inspect, json, sys
import jax, jax.numpy as jnp
import jattr
from jattr.sweep import speed


def apply(state, z, *, label=None):
    for layer in state[:-1]:
        z = jax.nn.relu(z @ layer)
    return jnp.tanh(z @ state[-1]).reshape(-1, 32, 32, 3)


sizes = (64, 256, 512, 3072)
keys = jax.random.split(jax.random.key(0), 3)
layers = [
    jax.random.normal(key, (a, b)) * (2 / a) ** 0.5 for key, a, b in zip(keys, sizes, sizes[1:])
]
from_function = jattr.Generator.from_function
of_latent = {"latent": (64,)} if "latent" in inspect.signature(from_function).parameters else {
    "latent_shape": (64,)
}
mlp = from_function(
    apply, layers, name="mlp", version="1", image_shape=(32, 32, 3), **of_latent,
    sample=lambda key, n: jax.random.normal(key, (n, 64)),
)
gens = [*(jattr.load_generator(name) for name in json.loads(sys.argv[1])), mlp]
speed.REPEATS = 2
speeds = speed.step_speeds(gens, (1, 8, 32))
print(json.dumps({f"{one.generator}, {one.lanes} lanes": one.milliseconds for one in speeds}))
"""
FAMILIES = ("dcgan_a", "progan_a", "stylegan2_a")  # and a small MLP

# Prints how many programs were compiled, and the seconds that it took.
COMPILATIONS = """
import json, sys
import jax, numpy as np
import jattr

seconds = []
jax.monitoring.register_event_duration_secs_listener(
    lambda name, took, **more: seconds.append(took) if "backend_compile" in name else None
)
gens = [jattr.load_generator(name) for name in json.loads(sys.argv[1])]
images = [np.asarray(gen.generate(gen.sample_latent(jax.random.key(1), 1))) for gen in gens]
values = np.clip(np.concatenate(images), -1, 1)
pixels = np.floor((values + 1) * 127.5 + 0.5).clip(0, 255).astype(np.uint8)
seconds.clear()
jattr.attribute(pixels, gens)
print(json.dumps({"programs": len(seconds), "seconds": sum(seconds)}))
"""


class Version:
    """A checkout, run in a folder and with a cache of its own."""

    def __init__(self, tree: str, work: Path):
        """Prepare the environment."""
        self.tree, self.work = Path(tree).resolve(), work
        self.work.mkdir()
        outside = re.compile(r"(JAX|JATTR|XLA|PYTHON)_?.*")
        kept = {name: value for name, value in os.environ.items() if not outside.fullmatch(name)}
        self.cache = work / "cache"
        self.environment = kept | {
            "PYTHONPATH": str(self.tree),
            "JATTR_CACHE": str(self.cache / "compiled"),
            "JAX_COMPILATION_CACHE_DIR": str(self.cache / "compiled"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "XDG_CACHE_HOME": str(self.cache),
        }

    def python(self, *args: str) -> tuple[float, str]:
        """Run Python; return its seconds and what it prints."""
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, *args],
            cwd=self.work,
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        seconds = time.perf_counter() - start
        if done.returncode:
            raise SystemExit(f"a command ended with {done.returncode}; its message stands above")
        return seconds, done.stdout

    def checked(self) -> str:
        """Return the version's name, after making sure that it is the tree's."""
        code = "import jattr; print(jattr.__file__, jattr.__version__, sep='\\n')"
        index, name = self.python("-c", code)[1].split("\n")[:2]
        if Path(index).resolve().parents[1] != self.tree:
            raise SystemExit("the jattr that would be run is not that of the given folder")
        return name

    def make_image(self) -> None:
        """Make the image of the case `attribute`."""
        making = ("generate", THREE[0], "--n", "1", "--seed", "5", "--out", "image", "--json")
        self.python("-m", "jattr", *making)

    def forget(self) -> None:
        """Empty the cache."""
        shutil.rmtree(self.cache, ignore_errors=True)


Measures = dict[str, float]  # name -> number, the lower the better


def time_demo(version: Version) -> Measures:
    """Return the seconds of `jattr demo`."""
    return {
        "seconds": version.python("-m", "jattr", "demo", "--out", "demo", "--overwrite", "--json")[
            0
        ]
    }


def time_attribute(version: Version) -> Measures:
    """Return the seconds of one image against three candidates."""
    candidates = ("--candidates", *THREE, "--out", "one", "--overwrite", "--json")
    return {
        "seconds": version.python("-m", "jattr", "attribute", "image/00000.png", *candidates)[0]
    }


def time_ten(version: Version) -> Measures:
    """Return the seconds of the second call of `jattr.attribute`."""
    output = version.python("-c", SECOND_CALL, json.dumps(TEN), str(IMAGES_EACH))[1]
    return {"seconds": float(json.loads(output.splitlines()[-1])[1])}


def time_steps(version: Version) -> Measures:
    """Return the milliseconds of steps."""
    output = version.python("-c", STEPS, json.dumps(FAMILIES))[1]
    measures: Measures = json.loads(output.splitlines()[-1])
    return measures


def count_compilations(version: Version) -> Measures:
    """Return how many programs `attribute` compiles, and their seconds."""
    version.forget()
    output = version.python("-c", COMPILATIONS, json.dumps(DEMO))[1]
    measures: Measures = json.loads(output.splitlines()[-1])
    return measures


class Case(NamedTuple):
    """What is measured, in words and as a function."""

    text: str
    measure: Callable[[Version], Measures]
    in_process: bool = False  # the function warms up by itself; an emptied cache changes nothing


CASES = {
    "demo": Case("jattr demo", time_demo),
    "attribute": Case("one image against three candidates, command line", time_attribute),
    "ten": Case("20 own images against ten candidates, second call", time_ten, in_process=True),
    "steps": Case("milliseconds of a step of one lane", time_steps, in_process=True),
    "compile": Case("compilation for the demo's candidates", count_compilations, in_process=True),
}


def compare(
    case: Case, old: Version, new: Version, runs: int, *, cold: bool
) -> list[dict[str, Any]]:
    """Return the numbers of both versions in turns, and their ratios; a row for each number."""
    taken: dict[str, list[Measures]] = {"old": [], "new": []}
    cold = cold and not case.in_process
    if not cold and not case.in_process:
        for version in (old, new):
            case.measure(version)
    for number in range(runs):
        for name, version in (("old", old), ("new", new)):
            if cold:
                version.forget()
            taken[name].append(case.measure(version))
        for what in taken["new"][-1]:
            pair = f"old {taken['old'][-1][what]:.4g}, new {taken['new'][-1][what]:.4g}"
            print(f"{case.text}: {what}, run {number + 1} of {runs}: {pair}", flush=True)
    rows = []
    for what in taken["new"][0]:
        befores, afters = ([one[what] for one in taken[name]] for name in ("old", "new"))
        ratios = [after / before for before, after in zip(befores, afters, strict=True)]
        rows.append(
            {
                "case": case.text,
                "measure": what,
                "cache": "cold" if cold else "warm",
                "runs": runs,
                "old": befores,
                "new": afters,
                "old_median": statistics.median(befores),
                "new_median": statistics.median(afters),
                "ratio_median": statistics.median(ratios),
                "ratio_min": min(ratios),
                "ratio_max": max(ratios),
            }
        )
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--old", required=True, metavar="DIR", help="a checkout")
    parser.add_argument("--new", required=True, metavar="DIR", help="another checkout")
    parser.add_argument("--runs", type=int, default=5, metavar="N", help="of each (default 5)")
    parser.add_argument("--case", nargs="+", choices=CASES, default=list(CASES), help="default all")
    parser.add_argument("--cold", action="store_true", help="empty the caches before every run")
    add_json_option(parser)
    args = parser.parse_args(arguments)
    if args.runs < 1:
        parser.error("--runs is at least 1")
    with tempfile.TemporaryDirectory(prefix="jattr-versions-") as folder:
        old, new = Version(args.old, Path(folder) / "old"), Version(args.new, Path(folder) / "new")
        names = {"old_version": old.checked(), "new_version": new.checked()}
        for version in (old, new):
            version.make_image()
        rows = [
            row
            for name in args.case
            for row in compare(CASES[name], old, new, args.runs, cold=args.cold)
        ]
    for row in rows:
        print(
            f"{row['case']}: {row['measure']} ({row['cache']} cache): old {row['old_median']:.4g},"
            f" new {row['new_median']:.4g}, new/old {row['ratio_median']:.3f}"
            f" ({row['ratio_min']:.2f} to {row['ratio_max']:.2f}), {row['runs']} runs"
        )
    write_json(args, [row | names for row in rows], count=args.runs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
