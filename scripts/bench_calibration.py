"""Do calibrated verdicts hold what they promise? Scores of one half of known images judge the other
half.

    # JATTR_REFERENCE: photographs
    python scripts/bench_calibration.py --pool faces --own 200 --test 200 --work DIR
    python scripts/bench_calibration.py --pool bundled --own 200 --others 20 --test 50 --work DIR
    python scripts/bench_calibration.py --pool bundled --own 60 --test 40 \\
      --alteration jpeg:75:4:2:0 --work DIR

Calibration and test images come from different seeds, photographs and faces of the renderer from
different halves. Scores are kept in DIR and searched once: run again with the same DIR, it only
counts anew. Prints, for each alteration, a row and a line of JSON: true, false and wrong
attribution over distinct images, closed-set accuracy, AUROC with each candidate left out in turn,
denial rates against their intervals, Cllr, the error of the posterior and of its likeliest answer.
A bound on false names is null where the negatives are too few for any name.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import numpy as np
from bench_accuracy import load_pool, origin, reference_folder, show
from bench_altered import nobodys
from bench_json import add_json_option, write_json

from jattr.alterations.registry import parse_chain
from jattr.attribution.calibrate import OTHER, calibration_search, fair_searches, own_images
from jattr.decision.calibration import Calibrated, Calibration, Sample
from jattr.decision.conformal import conformal_p, denial_interval, least_own
from jattr.decision.false_attribution import upper_bound
from jattr.decision.judgement import judge, shortfalls
from jattr.decision.lr_measures import (
    calibration_error_interval,
    cllr,
    cllr_min,
    most_probable,
    reliability,
)
from jattr.generators.base import Generator
from jattr.inversion.config import InvertConfig
from jattr.runtime import enable_compilation_cache

ALPHAS = (0.01, 0.05, 0.1)
ALPHA = 0.05  # level of names
NOBODY = "nobody"
CONDITION = "this"


class Scores(NamedTuple):
    """Scores of images of one maker under every candidate."""

    maker: str
    values: np.ndarray  # [images, candidates], NaN where it was not searched


def searched(
    images: Mapping[str, np.ndarray],
    generators: Sequence[Generator],
    text: str,
    seed: int,
    work: Path,
    name: str,
    others: int | None,
) -> list[Scores]:
    """Return the scores of images by maker, from the work folder where they are there.

    `others`: how many of a maker's images the other candidates search; None: all.
    """
    config = calibration_search(InvertConfig(seed=seed).search)
    result = []
    for maker, pixels in images.items():
        columns = []
        for gen in generators:
            some = pixels if maker in (gen.name, NOBODY) else pixels[:others]
            file = (
                work
                / f"{name}_{maker}_{gen.name}_{text or 'clean'}_{len(some)}_{seed}.npy".replace(
                    ":", "-"
                )
            )
            if not file.exists():
                key = jax.random.fold_in(jax.random.key(seed), len(columns))
                np.save(
                    file, fair_searches(gen, some, parse_chain(text), config, key, kind=maker)[0]
                )
                print(f"{file.name} searched", file=sys.stderr, flush=True)
            columns.append(
                np.pad(np.load(file), (0, len(pixels) - len(some)), constant_values=np.nan)
            )
        result.append(Scores(maker, np.stack(columns, 1)))
    return result


def calibration_of(
    known: Sequence[Scores], generators: Sequence[Generator], without: str = ""
) -> Calibration:
    """Return the calibration from scores, one candidate left out.

    Its images are not known either.
    """
    candidates = {}
    for c, gen in enumerate(generators):
        if gen.name == without:
            continue
        columns = {s.maker: s.values[:, c] for s in known if s.maker != without}
        by = {maker: tuple(column[~np.isnan(column)].tolist()) for maker, column in columns.items()}
        own = by.pop(gen.name)
        negatives = {
            maker if maker == NOBODY else OTHER + maker: scores for maker, scores in by.items()
        }
        candidates[gen.name] = Calibrated(gen.digest, {CONDITION: Sample(own, negatives, 0)})
    return Calibration(candidates, "0" * 64, {})


def evidence(calibration: Calibration, values: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Return the log10 likelihood ratio [images, candidates], against all kinds of negatives in
    equal shares.
    """
    columns = []
    for name, candidate in calibration.candidates.items():
        sample = candidate.samples[CONDITION]
        columns.append(sample.even_likelihood(values[:, names.index(name)]))
    return np.stack(columns, 1)


def auroc(positive: np.ndarray, negative: np.ndarray) -> float:
    """Return the chance that a positive exceeds a negative, ties by halves."""
    both = np.sort(negative)
    below = np.searchsorted(both, positive, "left")
    ties = np.searchsorted(both, positive, "right") - below
    return float((below + ties / 2).mean() / len(negative))


def rounds(
    known: Sequence[Scores], generators: Sequence[Generator]
) -> Iterator[tuple[str, Calibration, dict[str, int]]]:
    """Yield each candidate left out, "" for none, with the calibration and the columns of the
    others.
    """
    names = [gen.name for gen in generators]
    for left in (*names, "") if len(names) > 1 else ("",):
        yield (
            left,
            calibration_of(known, generators, left),
            {n: c for c, n in enumerate(names) if n != left},
        )


def areas(
    known: Sequence[Scores], test: Sequence[Scores], generators: Sequence[Generator]
) -> dict[str, float]:
    """Return the least AUROC of the rounds.

    Are images of the candidate left out and nobody's told from the others'?

    By the least score over the candidates, which has no ties, and by the largest likelihood ratio.
    """
    names = [gen.name for gen in generators]
    by_score, by_lr = [], []
    for left, calibration, kept in rounds(known, generators):
        inside = np.concatenate([s.values for s in test if s.maker in kept])
        outside = np.concatenate([s.values for s in test if s.maker in (left, NOBODY)])
        columns = list(kept.values())
        by_score.append(auroc(-inside[:, columns].min(1), -outside[:, columns].min(1)))
        by_lr.append(
            auroc(*(evidence(calibration, part, names).max(1) for part in (inside, outside)))
        )
    return {"auroc_score_least": min(by_score), "auroc_lr_least": min(by_lr)}


class Naming:
    """How many of the distinct images of one sort are named falsely in any round."""

    def __init__(self) -> None:
        self.false: dict[tuple[str, int], bool] = {}  # by maker and number
        self.nameable: set[tuple[str, int]] = set()  # judged where the negatives suffice for a name

    def add(self, image: tuple[str, int], *, false: bool, possible: bool) -> None:
        """Add the judgement of one round."""
        self.false[image] = self.false.get(image, False) or false
        if possible:
            self.nameable.add(image)

    @property
    def share(self) -> float | None:
        """Of these images; None without any."""
        return sum(self.false.values()) / len(self.false) if self.false else None

    @property
    def at_most(self) -> float | None:
        """The 95 % bound, over images that could be named.

        None without any: no name is no finding then.
        """
        return upper_bound(sum(self.false.values()), len(self.nameable)) if self.nameable else None


def open_set(
    known: Sequence[Scores], test: Sequence[Scores], generators: Sequence[Generator]
) -> dict[str, Any]:
    """Leave each candidate out in turn, and none: who is named?

    An image is one trial however many rounds judge it, and false if it is named falsely in any.
    """
    foreign, present, own, judgements = Naming(), Naming(), [], 0
    for left, calibration, kept in rounds(known, generators):
        possible = len(shortfalls(calibration, list(kept), CONDITION, ALPHA)) < len(kept)
        for scores in test:
            for number, row in enumerate(scores.values):
                result = judge(
                    calibration, {name: float(row[c]) for name, c in kept.items()}, CONDITION, ALPHA
                )
                named = result.candidates if result.kind == "made-by" else ()
                image, maker = (scores.maker, number), scores.maker
                if maker in (left, NOBODY):
                    judgements += 1
                    foreign.add(image, false=bool(named), possible=possible)
                    continue
                # a candidate alone cannot be taken for another
                present.add(
                    image, false=named not in ((), (maker,)), possible=possible and len(kept) > 1
                )
                if not left:
                    own.append(named == (maker,))
    return {
        **areas(known, test, generators),
        "false_attribution": foreign.share,
        "foreign": len(foreign.false),
        "judgements": judgements,
        "could_be_named": len(foreign.nameable),
        "false_at_most": foreign.at_most,
        "wrong_names": {
            "share": present.share,
            "own": len(present.false),
            "could_be_named": len(present.nameable),
            "wrong_at_most": present.at_most,
        },
        "true_attribution": float(np.mean(own)),
        "own": len(own),
    }


def promises(
    known: Sequence[Scores], test: Sequence[Scores], generators: Sequence[Generator]
) -> dict[str, Any]:
    """Return closed-set accuracy, denial rates with their intervals, Cllr and the error of the
    posterior.
    """
    names = [gen.name for gen in generators]
    calibration = calibration_of(known, generators)
    own = [s for s in test if s.maker in names]
    closest = np.concatenate([s.values.argmin(1) == names.index(s.maker) for s in own])
    row: dict[str, Any] = {"closed_set": float(closest.mean())}
    for alpha in [alpha for alpha in ALPHAS if least_own(alpha) <= len(known[0].values)]:
        denied = []
        for s in own:
            known_own = calibration.candidates[s.maker].samples[CONDITION].own
            denied.append(
                float((conformal_p(known_own, s.values[:, names.index(s.maker)]) <= alpha).mean())
            )
        count, tests = len(known_own), len(own[0].values)
        low, high = denial_interval(count, tests, alpha, splits=len(own))
        row[f"denied_at_{alpha}"] = {
            "mean": float(np.mean(denied)),
            "interval": [low, high],
            "each": denied,
        }
    lr_own = np.concatenate(
        [evidence(calibration, s.values, names)[:, names.index(s.maker)] for s in own]
    )
    others = [
        evidence(calibration, s.values, names)[
            :, [c for c, name in enumerate(names) if name != s.maker]
        ].ravel()
        for s in test
    ]
    row["cllr"] = cllr(lr_own, np.concatenate(others))
    row["cllr_min"] = cllr_min(lr_own, np.concatenate(others))
    chances, truth = stated_answers(calibration, test, names)
    answers = {
        "posterior": (chances[:, :-1], np.eye(len(names) + 1)[truth][:, :-1]),
        "top": most_probable(chances, truth),
    }
    for name, (stated, right) in answers.items():
        row[f"{name}_error"] = reliability(stated.ravel(), right.ravel()).error
        row[f"{name}_error_interval"] = list(
            calibration_error_interval(stated, right, np.random.default_rng(0))
        )
    return row


def stated_answers(
    calibration: Calibration, test: Sequence[Scores], names: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the probabilities [images, candidates and "none"] of test images, and the true
    answer's number [n].
    """
    chances, truth = [], []
    for s in test:
        for values in s.values:
            result = judge(calibration, dict(zip(names, values.tolist(), strict=True)), CONDITION)
            chances.append(
                [*(finding.probability for finding in result.findings), result.none_probability]
            )
            truth.append(names.index(s.maker) if s.maker in names else len(names))
    return np.array(chances), np.array(truth)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pool", required=True, choices=("bundled", "faces"))
    parser.add_argument(
        "--reference", help="folder with weights/ and images/ (default: $JATTR_REFERENCE)"
    )
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help="these candidates instead of the pool's"
    )
    parser.add_argument(
        "--own", type=int, default=200, help="calibration images of each candidate (default 200)"
    )
    parser.add_argument(
        "--others", type=int, help="of each other candidate's calibration images (default: all)"
    )
    parser.add_argument(
        "--test", type=int, default=200, help="test images of each candidate (default 200)"
    )
    parser.add_argument(
        "--nobody", type=int, default=200, help="images of nobody, half for each (default 200)"
    )
    parser.add_argument("--alteration", nargs="+", default=[""], metavar="CHAIN")
    parser.add_argument("--work", required=True, type=Path, help="folder of scores")
    parser.add_argument("--seed", type=int, default=1)
    add_json_option(parser)
    args = parser.parse_args()
    enable_compilation_cache()
    args.work.mkdir(parents=True, exist_ok=True)
    reference = reference_folder(parser, args.reference) if args.pool == "faces" else None
    with tempfile.TemporaryDirectory() as folder:
        generators = load_pool(reference, args.only, Path(folder))
        nobody = nobodys(args.pool, args.nobody, generators[0].image_shape, reference)
        sets = []
        for name, count, part in (
            ("known", args.own, nobody[::2]),
            ("test", args.test, nobody[1::2]),
        ):
            seed = args.seed if name == "known" else args.seed + 1_000
            images = {gen.name: own_images(gen, count, seed) for gen in generators} | {NOBODY: part}
            sets.append((name, seed, images))
        rows = []
        for text in args.alteration:
            start = time.perf_counter()
            others = {"known": args.others}
            known, test = (
                searched(p, generators, text, seed, args.work, name, others.get(name))
                for name, seed, p in sets
            )
            row = {
                "pool": args.pool,
                "candidates": len(generators),
                "alteration": text or "none",
                "own": args.own,
            }
            row |= {"others": args.others, "test": args.test, "nobody": args.nobody}
            row |= promises(known, test, generators)
            row |= {
                "open_set": open_set(known, test, generators),
                "seconds": round(time.perf_counter() - start, 1),
            }
            show(row)
            print(json.dumps({**row, "seed": args.seed, **origin()}), flush=True)
            rows.append(row)
        write_json(args, rows, generators=generators)


if __name__ == "__main__":
    main()
