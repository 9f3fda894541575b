"""What an attacker does to attribution by inversion and to a classifier, within a few bytes.

    python scripts/bench_attacks.py --quick
    python scripts/bench_attacks.py --candidates dcgan_a progan_a stylegan2_b --images 4 \\
      --eps 1 2 4 8
    python scripts/bench_attacks.py --attack frame classifier-frame --source nobody other \\
      --images 10
    # JATTR_REFERENCE
    python scripts/bench_attacks.py --pool faces --images 50 --attack frame --eps 8

Evasion (of own images): noise, orthogonal, unrolled, classifier (gradient ascent on the
classifier's loss; against inversion it is a transfer attack). Framing (of images that nobody made:
the renderer's faces, photographs in the pool of faces; or of other candidates' images): frame (of
all candidates the one that comes closest is blamed), classifier-frame. Every image is shown to both
methods. Success of an evasion: the maker is not named. Of a framing: a model that did not make the
image is. `--rule` decides the same evidence again with other thresholds, WINNER:RATIO of
`DecisionConfig`. Prints a line for each attack and eps and, last, all of them as JSON.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import jax.numpy as jnp
import numpy as np
from bench_accuracy import FACES, load_pool, origin, reference_folder
from bench_altered import nobodys
from bench_json import add_json_option, write_json

from jattr.attacks.evade import EVASIONS, EvadeConfig, evade
from jattr.attacks.frame import FrameConfig, frame
from jattr.attacks.pgd import PgdConfig, pgd
from jattr.attribution.attribute import attribute
from jattr.attribution.calibrate import own_images
from jattr.attribution.result import Attribution
from jattr.baselines.classifier import Classifier, ClassifierConfig, predict, source_loss, train
from jattr.decision.verdict import DecisionConfig, Verdict, decide
from jattr.generators.base import Generator
from jattr.inversion.config import InvertConfig
from jattr.runtime import enable_compilation_cache
from jattr.zoo.faces import render_faces

BLOCK = 30  # images searched together
NONE = "none"
ASCENT = PgdConfig(steps=20)
TRAINING_SEED = 1_000  # of the classifier's images: far from those that are attacked
FRAMINGS = ("frame", "classifier-frame")
ALL = 10**6
LEARNT = 50  # photographs that the classifier learns from and that are not attacked
ATTACKS = (*EVASIONS, "classifier", *FRAMINGS)


class Given(NamedTuple):
    """Images before the attack."""

    pixels: np.ndarray  # uint8 [n, H, W, C]
    truth: list[str]  # the maker of each, or NONE
    z: np.ndarray | None  # [n, *latent_shape] of generated ones


def generated(generators: Sequence[Generator], count: int, seed: int) -> Given:
    """Return images of every candidate, with their latents."""
    keys = jax.random.split(jax.random.key(seed), len(generators))
    z = [
        np.asarray(gen.sample_latent(key, count)) for gen, key in zip(generators, keys, strict=True)
    ]
    pixels = [gen.make_bytes(some) for gen, some in zip(generators, z, strict=True)]
    return Given(
        np.concatenate(pixels),
        [gen.name for gen in generators for _ in range(count)],
        np.concatenate(z),
    )


def trained(
    generators: Sequence[Generator],
    count: int,
    epochs: int,
    key: jax.Array,
    nobody: np.ndarray | None,
) -> tuple[Classifier, float]:
    """Return a classifier of the candidates and nobody, and its accuracy on 50 other images of
    each.

    `nobody`: the few images there are for training, none of them attacked or tested; None: the
    renderer makes some.
    """

    def images(number: int, seed: int, nobody: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        own = [own_images(gen, number, seed) for gen in generators]
        own.append(
            np.asarray(render_faces(jax.random.key(seed), number)) if nobody is None else nobody
        )
        return np.concatenate(own), np.repeat(np.arange(len(own)), [len(each) for each in own])

    if nobody is not None:
        nobody = np.resize(nobody, (count, *nobody.shape[1:]))  # as often as the others' are seen
    classifier = train(
        *images(count, TRAINING_SEED, nobody), key, config=ClassifierConfig(epochs=epochs)
    )
    pixels, labels = images(50, TRAINING_SEED + 1, None if nobody is None else nobody[:0])
    return classifier, float((predict(classifier, pixels) == labels).mean())


def against_classifier(
    classifier: Classifier, pixels: np.ndarray, labels: np.ndarray, eps: int, key: jax.Array
) -> np.ndarray:
    """Return images that raise the classifier's loss of the true source."""

    @jax.jit
    def attack(state: Any, pixels: jax.Array, labels: jax.Array) -> Any:
        return pgd(
            lambda x: source_loss(classifier, state, x, labels), pixels, eps, key=key, config=ASCENT
        ).pixels

    return np.asarray(attack(classifier.state, jnp.asarray(pixels), jnp.asarray(labels, jnp.int32)))


def against_inversion(
    attack: str,
    generators: Sequence[Generator],
    given: Given,
    eps: int,
    key: jax.Array,
    restarts: int,
) -> tuple[np.ndarray, dict[str, Any]]:
    """Return the attacked images, and what the attacker knows of them."""
    made = given.pixels.copy()
    if attack == "frame":
        lowest, needed = np.full(len(made), np.inf), np.full(len(made), 256)
        for gen in generators:
            own = [i for i, truth in enumerate(given.truth) if truth != gen.name]
            if own:
                result = frame(
                    gen, given.pixels[own], eps, key=key, config=FrameConfig(restarts=restarts)
                )
                for at, i in enumerate(own):
                    needed[i] = min(needed[i], result.needed[at])
                    if result.residual[at] < lowest[i]:
                        made[i], lowest[i] = result.pixels[at], result.residual[at]
        return made, {"least_residual": float(lowest.min()), "least_eps_needed": int(needed.min())}
    assert given.z is not None
    left = []
    for gen in generators:
        own = [i for i, truth in enumerate(given.truth) if truth == gen.name]
        config = EvadeConfig(method=attack)
        one = evade(gen, given.z[own], given.pixels[own], eps, key=key, config=config)
        made[own] = one.pixels
        left += list(one.residual)
    return made, {
        "median_residual": float(np.median(left)),
        "largest_residual": float(np.max(left)),
    }


def found(
    pixels: np.ndarray, generators: Sequence[Generator], config: InvertConfig
) -> list[tuple[Attribution, int]]:
    """Return what attribution finds of every image."""
    indices: list[tuple[Attribution, int]] = []
    for at in range(0, len(pixels), BLOCK):
        att = attribute(pixels[at : at + BLOCK], generators, search=config)
        indices += [(att, i) for i in range(len(att.verdicts))]
        print(f"{len(indices)} of {len(pixels)}", file=sys.stderr, flush=True)
    return indices


def judged(verdicts: Sequence[Verdict], truth: Sequence[str], framing: bool) -> dict[str, Any]:
    """Return shares: of attacks that succeed, and of what is said."""
    named = [set(v.candidates) if v.kind == "made-by" else set() for v in verdicts]
    right = [t in n for n, t in zip(named, truth, strict=True)]
    wrong = [bool(n) and t not in n for n, t in zip(named, truth, strict=True)]
    proofs = [v.certificate is not None for v in verdicts]
    return {
        "success": float(np.mean(wrong if framing else [not r for r in right])),
        "right": float(np.mean(right)),
        "blamed": float(np.mean(wrong)),
        "right_certified": float(np.mean([r and p for r, p in zip(right, proofs, strict=True)])),
        "blamed_certified": float(np.mean([w and p for w, p in zip(wrong, proofs, strict=True)])),
        "undecided": float(np.mean([v.kind == "undecided" for v in verdicts])),
        "none": float(np.mean([v.kind == "none" for v in verdicts])),
    }


def by_inversion(
    pixels: np.ndarray,
    truth: Sequence[str],
    generators: Sequence[Generator],
    config: InvertConfig,
    rules: Sequence[str],
    framing: bool,
) -> dict[str, Any]:
    """Return the success against inversion, at the usual thresholds and at others."""
    indices = found(pixels, generators, config)
    row = judged([att.verdicts[i] for att, i in indices], truth, framing)
    closest = [generators[int(att.residual[i].argmin())].name for att, i in indices]
    row["closest_right"] = float(np.mean([c == t for c, t in zip(closest, truth, strict=True)]))
    row["median_lowest"] = float(np.median([att.residual[i].min() for att, i in indices]))
    for rule in rules:
        winner, ratio = map(float, rule.split(":"))
        again = [
            decide(att.evidence[i], DecisionConfig(winner=winner, ratio=ratio))
            for att, i in indices
        ]
        row[f"rule {rule}"] = judged(again, truth, framing)["success"]
    return row


def by_classifier(
    classifier: Classifier, pixels: np.ndarray, labels: np.ndarray, framing: bool
) -> dict[str, float]:
    """Return the success against the classifier."""
    said, none = predict(classifier, pixels), classifier.classes - 1
    blamed = (said != labels) & (said != none)
    return {
        "success": float((blamed if framing else said != labels).mean()),
        "blamed": float(blamed.mean()),
    }


def rows_of(
    args: argparse.Namespace,
    generators: Sequence[Generator],
    nobody: np.ndarray,
    classifier: Classifier,
    tell: Callable[[Any], None],
) -> None:
    """Carry every attack out and tell each row."""
    numbers = {gen.name: i for i, gen in enumerate(generators)} | {NONE: len(generators)}
    own = generated(generators, args.images, args.seed)
    sources = {"own": own, "other": own, "nobody": Given(nobody, [NONE] * len(nobody), None)}
    key, config = jax.random.key(args.seed), InvertConfig(restarts=args.restarts, seed=args.seed)
    plan = [(a, s) for a in args.attack for s in (args.source if a in FRAMINGS else ["own"])]
    for attack, source in plan:
        given, framing = sources[source], attack in FRAMINGS
        labels = np.array([numbers[truth] for truth in given.truth])
        for eps in args.eps:
            start = time.perf_counter()
            known: dict[str, Any] = {}
            if attack.startswith("classifier"):
                pixels = against_classifier(classifier, given.pixels, labels, eps, key)
            else:
                pixels, known = against_inversion(
                    attack, generators, given, eps, key, args.frame_restarts
                )
            assert np.abs(pixels.astype(int) - given.pixels).max() <= eps
            row = {"attack": attack, "source": source, "eps": eps, "pictures": len(pixels), **known}
            row["classifier"] = by_classifier(classifier, pixels, labels, framing)
            row["inversion"] = by_inversion(
                pixels, given.truth, generators, config, args.rule, framing
            )
            row["seconds"] = round(time.perf_counter() - start, 1)
            tell(row)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pool", default="bundled", choices=("bundled", "faces"))
    parser.add_argument(
        "--reference", help="folder with weights/ and images/ (default: $JATTR_REFERENCE)"
    )
    parser.add_argument(
        "--candidates", nargs="+", metavar="NAME", help="(default: all of the pool)"
    )
    parser.add_argument(
        "--images",
        "--pictures",
        type=int,
        default=3,
        help="of each candidate; as many of nobody (default 3)",
    )
    parser.add_argument("--eps", type=int, nargs="+", default=[0, 1, 2, 4, 8], help="bytes")
    parser.add_argument("--attack", nargs="+", choices=ATTACKS, default=list(ATTACKS))
    parser.add_argument(
        "--source", nargs="+", choices=("nobody", "other"), default=["nobody", "other"]
    )
    parser.add_argument(
        "--rule", nargs="*", default=["2e-3:10", "5e-3:10", "5e-3:3"], metavar="WINNER:RATIO"
    )
    parser.add_argument("--restarts", type=int, default=8, help="of the defender (default 8)")
    parser.add_argument("--frame-restarts", type=int, default=8, help="of the framer (default 8)")
    parser.add_argument(
        "--training", type=int, default=1_000, help="images of each source that the classifier sees"
    )
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--quick", action="store_true", help="2 candidates, 1 image, eps 4, few steps: does it run"
    )
    add_json_option(parser)
    args = parser.parse_args()
    if args.quick:
        args.candidates = (
            args.candidates
            or {"bundled": ["dcgan_a", "dcgan_b"], "faces": list(FACES[:2])}[args.pool]
        )
        args.images, args.eps = 1, [4]
        args.training, args.epochs, args.frame_restarts = 64, 2, 2
    enable_compilation_cache()
    reference = reference_folder(parser, args.reference) if args.pool == "faces" else None
    with tempfile.TemporaryDirectory() as folder:
        generators = load_pool(reference, args.candidates, Path(folder))
        count = args.images * len(generators)
        if reference is None:
            nobody, training = np.asarray(render_faces(jax.random.key(args.seed), count)), None
        else:
            photographs = nobodys(args.pool, ALL, generators[0].image_shape, reference)
            nobody, training = photographs[:-LEARNT][:count], photographs[-LEARNT:]
        if len(nobody) < count:
            parser.error(
                f"--images {args.images}: the photographs allow at most"
                f" {len(nobody) // len(generators)}"
            )
        measure(args, generators, nobody, training)


def measure(
    args: argparse.Namespace,
    generators: Sequence[Generator],
    nobody: np.ndarray,
    training: np.ndarray | None,
) -> None:
    """Train the classifier, carry the attacks out and print."""
    start = time.perf_counter()
    classifier, accuracy = trained(
        generators, args.training, args.epochs, jax.random.key(args.seed), training
    )
    facts = {
        "classifier_accuracy": accuracy,
        "classifier_seconds": round(time.perf_counter() - start, 1),
    }
    print(json.dumps(facts), flush=True)
    rows: list[Any] = []

    def tell(row: dict[str, Any]) -> None:
        rows.append(row)
        names, said = ("attack", "source", "eps", "pictures"), row["inversion"]
        line = "  ".join(f"{name} {row[name]}" for name in names)
        told = "  ".join(f"{name} {value:.3g}" for name, value in said.items())
        print(
            f"{line}  | classifier {row['classifier']['success']:.3g}  | inversion {told}",
            flush=True,
        )

    rows_of(args, generators, nobody, classifier, tell)
    settings = {name: value for name, value in vars(args).items() if name != "json"}
    print(json.dumps({"settings": settings, **facts, "rows": rows, **origin()}))
    write_json(args, [row | facts for row in rows], generators=generators)


if __name__ == "__main__":
    main()
