"""Do calibrated verdicts hold what they promise? Scores of one half of known pictures judge the other half.

    python scripts/bench_calibration.py --pool faces --own 200 --test 200 --work DIR     # JATTR_REFERENCE: photographs
    python scripts/bench_calibration.py --pool bundled --own 200 --others 20 --test 50 --work DIR
    python scripts/bench_calibration.py --pool bundled --own 60 --test 40 --alteration jpeg:75:4:2:0 --work DIR

Calibration and test pictures come from different seeds, photographs and faces of the renderer from different halves.
Scores are kept in DIR and searched once. Prints, for each alteration, a row and a line of JSON: true and false
attribution, closed-set accuracy, AUROC with each candidate left out in turn, denial rates against their intervals,
Cllr, the error of the posterior.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import numpy as np
from bench_accuracy import load_pool, origin, reference_folder, show
from bench_altered import nobodys

from jattr.calibration_run import OTHER, calibration_config, fair_scores, own_pictures
from jattr.cli.cache import enable_compilation_cache
from jattr.decision.calibration import Calibrated, Calibration, Sample
from jattr.decision.conformal import conformal_p, denial_interval, least_own
from jattr.decision.false_attribution import upper_bound
from jattr.decision.judgement import judge
from jattr.decision.likelihood import fit_likelihood, joined
from jattr.decision.lr_measures import calibration_error_interval, cllr, cllr_min, reliability
from jattr.generators.base import Generator
from jattr.inversion.config import InvertConfig
from jattr.nuisances.registry import parse_chain

ALPHAS = (0.01, 0.05, 0.1)
NOBODY = "nobody"
CONDITION = "this"


class Scores(NamedTuple):
    """Scores of pictures of one maker under every candidate."""

    maker: str
    values: np.ndarray  # [pictures, candidates], NaN where it was not searched


def searched(
    pictures: Mapping[str, np.ndarray],
    generators: Sequence[Generator],
    text: str,
    seed: int,
    work: Path,
    name: str,
    others: int | None,
) -> list[Scores]:
    """Return the scores of pictures by maker, from the work folder where they are there.

    `others`: how many of a maker's pictures the other candidates search; None: all.
    """
    config = calibration_config(InvertConfig(seed=seed))
    found = []
    for maker, pixels in pictures.items():
        columns = []
        for gen in generators:
            some = pixels if maker in (gen.name, NOBODY) else pixels[:others]
            file = work / f"{name}_{maker}_{gen.name}_{text or 'clean'}_{len(some)}_{seed}.npy".replace(":", "-")
            if not file.exists():
                key = jax.random.fold_in(jax.random.key(seed), len(columns))
                np.save(file, fair_scores(gen, some, parse_chain(text), config, key, kind=maker))
                print(f"{file.name} searched", file=sys.stderr, flush=True)
            columns.append(np.pad(np.load(file), (0, len(pixels) - len(some)), constant_values=np.nan))
        found.append(Scores(maker, np.stack(columns, 1)))
    return found


def calibration_of(known: Sequence[Scores], generators: Sequence[Generator], without: str = "") -> Calibration:
    """Return the calibration from scores, one candidate left out: its pictures are not known either."""
    candidates = {}
    for c, gen in enumerate(generators):
        if gen.name == without:
            continue
        columns = {s.maker: s.values[:, c] for s in known if s.maker != without}
        by = {maker: tuple(column[~np.isnan(column)].tolist()) for maker, column in columns.items()}
        own = by.pop(gen.name)
        negatives = {maker if maker == NOBODY else OTHER + maker: scores for maker, scores in by.items()}
        candidates[gen.name] = Calibrated(gen.digest, {CONDITION: Sample(own, negatives, 0)})
    return Calibration(candidates, "0" * 64, {})


def evidence(calibration: Calibration, values: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Return the log10 likelihood ratio [pictures, candidates] of the calibration's candidates."""
    columns = []
    for name, candidate in calibration.candidates.items():
        sample = candidate.samples[CONDITION]
        columns.append(fit_likelihood(sample.own, joined(sample.negatives))(values[:, names.index(name)]))
    return np.stack(columns, 1)


def auroc(positive: np.ndarray, negative: np.ndarray) -> float:
    """Return the chance that a positive exceeds a negative, ties by halves."""
    both = np.sort(negative)
    below = np.searchsorted(both, positive, "left")
    ties = np.searchsorted(both, positive, "right") - below
    return float((below + ties / 2).mean() / len(negative))


def open_set(known: Sequence[Scores], test: Sequence[Scores], generators: Sequence[Generator]) -> dict[str, Any]:
    """Leave each candidate out in turn: are its pictures and nobody's told from those of the others?

    By the least score over the candidates, which has no ties, and by the largest likelihood ratio.
    """
    names = [gen.name for gen in generators]
    areas, areas_lr, false, foreign, true, own = [], [], 0, 0, 0, 0
    for left in (*names, ""):
        if len(names) == 1 and left:
            continue
        calibration = calibration_of(known, generators, left)
        kept = [c for c, name in enumerate(names) if name != left]
        inside = np.concatenate([s.values for s in test if s.maker in names and s.maker != left])
        outside = np.concatenate([s.values for s in test if s.maker in (left, NOBODY)])
        areas.append(auroc(-inside[:, kept].min(1), -outside[:, kept].min(1)))
        lr = [evidence(calibration, part, names).max(1) for part in (inside, outside)]
        areas_lr.append(auroc(*lr))
        for scores in test:
            for row in scores.values:
                found = judge(calibration, {names[c]: float(row[c]) for c in kept}, CONDITION)
                if scores.maker in (left, NOBODY):
                    foreign, false = foreign + 1, false + (found.kind == "made-by")
                elif not left:
                    own, true = own + 1, true + (found.candidates == (scores.maker,) and found.kind == "made-by")
    return {
        "auroc_score_least": min(areas), "auroc_lr_least": min(areas_lr), "false_attribution": false / foreign,
        "foreign": foreign, "false_at_most": upper_bound(false, foreign), "true_attribution": true / own, "own": own,
    }  # fmt: skip


def promises(known: Sequence[Scores], test: Sequence[Scores], generators: Sequence[Generator]) -> dict[str, Any]:
    """Return closed-set accuracy, denial rates with their intervals, Cllr and the error of the posterior."""
    names = [gen.name for gen in generators]
    calibration = calibration_of(known, generators)
    own = [s for s in test if s.maker in names]
    closest = np.concatenate([s.values.argmin(1) == names.index(s.maker) for s in own])
    row: dict[str, Any] = {"closed_set": float(closest.mean())}
    for alpha in [alpha for alpha in ALPHAS if least_own(alpha) <= len(known[0].values)]:
        denied = []
        for s in own:
            known_own = calibration.candidates[s.maker].samples[CONDITION].own
            denied.append(float((conformal_p(known_own, s.values[:, names.index(s.maker)]) <= alpha).mean()))
        count, tests = len(known_own), len(own[0].values)
        low, high = denial_interval(count, tests, alpha, splits=len(own))
        row[f"denied_at_{alpha}"] = {"mean": float(np.mean(denied)), "interval": [low, high], "each": denied}
    lr_own = np.concatenate([evidence(calibration, s.values, names)[:, names.index(s.maker)] for s in own])
    others = [
        evidence(calibration, s.values, names)[:, [c for c, name in enumerate(names) if name != s.maker]].ravel()
        for s in test
    ]
    row["cllr"] = cllr(lr_own, np.concatenate(others))
    row["cllr_min"] = cllr_min(lr_own, np.concatenate(others))
    chances, truth = [], []
    for s in test:
        for values in s.values:
            found = judge(calibration, dict(zip(names, values.tolist(), strict=True)), CONDITION)
            for finding in found.findings:
                chances.append(finding.probability)
                truth.append(finding.name == s.maker)
    row["posterior_error"] = reliability(np.array(chances), np.array(truth)).error
    row["posterior_error_interval"] = list(
        calibration_error_interval(np.array(chances), np.array(truth), rng=np.random.default_rng(0))
    )
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", required=True, choices=("bundled", "faces"))
    parser.add_argument("--reference", help="folder with weights/ and images/ (default: $JATTR_REFERENCE)")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these candidates instead of the pool's")
    parser.add_argument("--own", type=int, default=200, help="calibration pictures of each candidate (default 200)")
    parser.add_argument("--others", type=int, help="of each other candidate's calibration pictures (default: all)")
    parser.add_argument("--test", type=int, default=200, help="test pictures of each candidate (default 200)")
    parser.add_argument("--nobody", type=int, default=200, help="pictures of nobody, half for each (default 200)")
    parser.add_argument("--alteration", nargs="+", default=[""], metavar="CHAIN")
    parser.add_argument("--work", required=True, type=Path, help="folder of scores")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    enable_compilation_cache()
    args.work.mkdir(parents=True, exist_ok=True)
    reference = reference_folder(parser, args.reference) if args.pool == "faces" else None
    with tempfile.TemporaryDirectory() as folder:
        generators = load_pool(reference, args.only, Path(folder))
        nobody = nobodys(args.pool, args.nobody, generators[0].image_shape, reference)
        sets = []
        for name, count, part in (("known", args.own, nobody[::2]), ("test", args.test, nobody[1::2])):
            seed = args.seed if name == "known" else args.seed + 1_000
            pictures = {gen.name: own_pictures(gen, count, seed) for gen in generators} | {NOBODY: part}
            sets.append((name, seed, pictures))
        for text in args.alteration:
            start = time.perf_counter()
            others = {"known": args.others}
            known, test = (
                searched(p, generators, text, seed, args.work, name, others.get(name)) for name, seed, p in sets
            )
            row = {"pool": args.pool, "candidates": len(generators), "alteration": text or "none", "own": args.own}
            row |= {"others": args.others, "test": args.test, "nobody": args.nobody}
            row |= promises(known, test, generators)
            row |= {"open_set": open_set(known, test, generators), "seconds": round(time.perf_counter() - start, 1)}
            show(row)
            print(json.dumps({**row, "seed": args.seed, **origin()}), flush=True)


if __name__ == "__main__":
    main()
