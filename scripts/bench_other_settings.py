"""Images of style-based generators under settings that were not searched, and images of nobody.

    python scripts/bench_other_settings.py own --images 5 --json FILE
    python scripts/bench_other_settings.py nobody --photographs 200 --faces 100 --json FILE
    python scripts/bench_other_settings.py evidence --images 2 --json FILE

`own` makes images of stylegan_a, stylegan2_a and of a random-weight StyleGAN2 whose noise shows,
under every kind of setting, and counts the verdicts. `nobody` attributes images that no candidate
made, photographs of the reference folder and the renderer's faces, to the bundled ten, with and
without the tries, and times both. `evidence` counts the images of `own` that inversion would deny.
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import numpy as np
from bench_accuracy import reference_folder
from bench_json import add_json_option, write_json
from random_families import random_generator

from jattr.attribution.attribute import OTHER_SETTINGS, attribute
from jattr.generators.base import Generator
from jattr.generators.store import bundled_generators, load_generator
from jattr.images import encode_png, read_image
from jattr.ledger.evidence.inversion import invert_image
from jattr.runtime import enable_compilation_cache
from jattr.zoo.faces import render_faces

FAMILIES = ("stylegan_a", "stylegan2_a", "random")
SIDE = 32


def noisy_stylegan2(seed: int, strength: float) -> Generator:
    """Return a StyleGAN2 of 32x32 pixels with random weights, whose noise maps show."""
    gen = random_generator("stylegan2", seed=seed, styles=0.3, channels=(48, 48, 32, 16))

    def set_strength(path: tuple[object, ...], leaf: jax.Array) -> jax.Array:
        return leaf * 0 + strength if "noise_strength" in jax.tree_util.keystr(path) else leaf

    net = jax.tree_util.tree_map_with_path(set_strength, gen.state["net"])
    return gen.__class__(**{**vars(gen), "state": gen.state | {"net": net}, "name": "random"})


def candidates_of(strength: float) -> dict[str, Generator]:
    """Return the style-based generators that are measured, by name."""
    named = {name: load_generator(name) for name in FAMILIES if name != "random"}
    return named | {"random": noisy_stylegan2(0, strength)}


def _random_noise(gen: Generator, z: np.ndarray, key: jax.Array) -> np.ndarray:
    keys = jax.random.split(key, len(z))
    return np.concatenate(
        [gen.view(noise=of).make_bytes(z[i : i + 1]) for i, of in enumerate(keys)]
    )


def _mixed(gen: Generator, z: np.ndarray, key: jax.Array, *, each: bool = False) -> np.ndarray:
    """Return images of mixed styles: two latents that cross over, or `each` layer by chance."""
    styles = np.asarray(gen.view("w").sample_latent(key, 2 * len(z)))
    layers = gen.latent_shape_of("w+")[0]
    rng = np.random.default_rng(0)
    first = rng.random((len(z), layers)) < 0.5 if each else np.arange(layers)[None] < layers // 2
    ws = np.where(first[..., None], styles[: len(z), None], styles[len(z) :, None])
    return gen.view("w+").make_bytes(ws)


KINDS: dict[str, Callable[[Generator, np.ndarray, jax.Array], np.ndarray]] = {
    "as searched": lambda gen, z, key: gen.make_bytes(z),
    "noise random": _random_noise,
    "noise none": lambda gen, z, key: gen.view(noise="none").make_bytes(z),
    "psi 0.7": lambda gen, z, key: gen.view(psi=0.7).make_bytes(z),
    "psi 0.5": lambda gen, z, key: gen.view(psi=0.5).make_bytes(z),
    "psi 0.5, noise none": lambda gen, z, key: gen.view(psi=0.5, noise="none").make_bytes(z),
    "psi 0.5, cutoff 4": lambda gen, z, key: gen.view(psi=0.5, cutoff=4).make_bytes(z),
    "psi 0.7, noise random": lambda gen, z, key: _random_noise(gen.view(psi=0.7), z, key),
    "styles crossed": _mixed,
    "styles mixed by layer": lambda gen, z, key: _mixed(gen, z, key, each=True),
    "styles crossed, noise none": lambda gen, z, key: _mixed(gen.view(noise="none"), z, key),
}


def own(args: argparse.Namespace) -> None:
    """Attribute own images of every kind, of each family beside two others."""
    rows, families = [], candidates_of(args.strength)
    beside = [load_generator("dcgan_a"), load_generator("progan_a")]
    for name in args.families:
        gen = families[name]
        for number, (kind, make) in enumerate(KINDS.items()):
            key, noise_key = jax.random.split(jax.random.key(args.seed + number))
            pixels = make(gen, np.asarray(gen.sample_latent(key, args.images)), noise_key)
            start = time.monotonic()
            found = attribute(pixels, [gen, *beside])
            counts = Counter(verdict.kind for verdict in found.verdicts)
            wrong = sum(
                not chosen.startswith(gen.name)
                for verdict in found.verdicts
                for chosen in verdict.candidates
            )
            row = {
                "family": name,
                "kind": kind,
                "images": len(pixels),
                "named": counts["made-by"],
                "certified": sum(v.certificate is not None for v in found.verdicts),
                "undecided": counts["undecided"],
                "none": counts["none"],
                "wrong name": wrong,
                "seconds": round(time.monotonic() - start, 1),
                "names": sorted({one for v in found.verdicts for one in v.candidates}),
            }
            rows.append(row)
            print(row, flush=True)
            write_json(args, rows, generators=families.values(), count=args.images)


def nobody(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Attribute images of nobody to the bundled ten, with the tries and without."""
    generators = [load_generator(name) for name in bundled_generators()]
    folder = reference_folder(parser, args.reference) / "images" / "real_faces_64"
    files = sorted(folder.iterdir())[: args.photographs]
    photographs = [read_image(file, channels=3, size=(SIDE, SIDE), resize=True) for file in files]
    kinds = {"photographs": photographs}
    kinds["renderer faces"] = list(render_faces(jax.random.key(args.seed), args.faces, size=SIDE))
    rows = []
    for kind, images in kinds.items():
        for name, settings in (("without", None), ("with", OTHER_SETTINGS)):
            counts: Counter[str] = Counter()
            seconds = 0.0
            names: set[str] = set()
            for at in range(0, len(images), args.block):
                pixels = np.stack(images[at : at + args.block])
                start = time.monotonic()
                found = attribute(pixels, generators, other_settings=settings)
                seconds += time.monotonic() - start
                counts.update(verdict.kind for verdict in found.verdicts)
                names |= {one for verdict in found.verdicts for one in verdict.candidates}
                print(kind, name, at, dict(counts), round(seconds, 1), names, flush=True)
            row = {"kind": kind, "tries": name, "images": len(images), "named": counts["made-by"]}
            row |= {"undecided": counts["undecided"], "none": counts["none"]}
            rows.append(row | {"seconds": round(seconds, 1), "names": sorted(names)})
            write_json(args, rows, generators=generators)


def evidence(args: argparse.Namespace) -> None:
    """Count the own images of every kind that inversion would deny, as evidence asks it."""
    rows, families = [], candidates_of(args.strength)
    for name in args.families:
        gen = families[name]
        for number, (kind, make) in enumerate(KINDS.items()):
            key, noise_key = jax.random.split(jax.random.key(args.seed + number))
            pixels = make(gen, np.asarray(gen.sample_latent(key, args.images)), noise_key)
            fits = Counter(invert_image(encode_png(image), gen).fit for image in pixels)
            row = {"family": name, "kind": kind, "images": len(pixels), **fits}
            rows.append(row)
            print(row, flush=True)
            write_json(args, rows, generators=families.values(), count=args.images)


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("own", "nobody", "evidence"))
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=FAMILIES)
    parser.add_argument("--images", type=int, default=5, help="of each kind")
    parser.add_argument("--photographs", type=int, default=200)
    parser.add_argument("--faces", type=int, default=100)
    parser.add_argument("--block", type=int, default=32, help="images searched together")
    parser.add_argument("--strength", type=float, default=0.1, help="of the random one's noise")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reference", metavar="DIR", help="default: $JATTR_REFERENCE")
    add_json_option(parser)
    args = parser.parse_args()
    enable_compilation_cache()
    if args.what == "nobody":
        nobody(args, parser)
    else:
        {"own": own, "evidence": evidence}[args.what](args)


if __name__ == "__main__":
    main()
