"""`calibrate`: searches of known images, whose scores turn a new image's into error rates.

A score is log10 of the best residual of a candidate's first `FAIR` restarts, searched as
`attribute` does it, without regard to other candidates. Of own images it is kept, too, which of
these restarts arrived: their power. `decision/judgement.py` says what follows from scores,
docs/guarantee.md what is guaranteed.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np

from jattr._version import __version__
from jattr.alterations.chain import Chain
from jattr.alterations.files import alter
from jattr.attribution.pilot import candidate_key
from jattr.decision.calibration import OTHER, Calibrated, Calibration, Sample, check_name
from jattr.decision.judgement import Judgement, judge
from jattr.decision.restart_power import Restarts
from jattr.decision.scores import FAIR, scores_of
from jattr.decision.verdict import Evidence, Verdict
from jattr.errors import ImageError, InputError
from jattr.generators.base import Generator
from jattr.inversion.config import InvertConfig
from jattr.inversion.multistart import rounds
from jattr.inversion.observation.make import given_distance, make_observation
from jattr.inversion.two_stage import make_inverter
from jattr.inversion.warm_start import LARGE_POOL

CLEAN = "clean"  # the condition of images to which nothing was done
BLOCK = 64  # images searched together
MAX_IMAGES = 100_000
SAME = "which would count as two where they are one"
Progress = Callable[[int], object]  # called with the number of searches that are done anew


def calibration_config(config: InvertConfig) -> InvertConfig:
    """Return the settings of a run that a calibration judges: what depends on the number of
    images is fixed.
    """
    return config if config.pool is not None else dataclasses.replace(config, pool=LARGE_POOL)


def settings_digest(config: InvertConfig) -> str:
    """Return the SHA-256 of all settings on which scores depend: not of seed and lanes."""
    facts = dataclasses.asdict(calibration_config(config))
    if config.distance is not None:
        # of its weights, wherever the folder lies
        facts["distance"] = given_distance(config.distance).digest
    kept = {name: value for name, value in facts.items() if name not in ("seed", "lanes")} | {
        "fair": FAIR
    }
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def run_versions() -> dict[str, str]:
    """Return the versions on which scores depend."""
    return {"jattr": __version__, "jax": jax.__version__, "backend": jax.default_backend()}


def condition_of(chain: Chain | None) -> str:
    """Return the name of the condition that a chain makes of images which are as they were made
    before it.
    """
    return CLEAN if chain is None or not chain.steps else chain.text


def calibrate(
    generators: Sequence[Generator],
    *,
    negatives: Mapping[str, np.ndarray] | None = None,
    chains: Sequence[Chain] = (),
    own: int = 100,
    others: int = 60,
    config: InvertConfig | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Calibration:
    """Return the calibration of candidates: scores of their own images and of others', clean and
    altered.

    Args:
      generators: the candidates, all of one image shape.
      negatives: images that none of them made, uint8 [n, H, W, C] of that shape, by kind, no two of
        them equal.
      chains: alterations to calibrate for, besides none.
      own: images of each candidate.
      others: of them, how many are searched under each other candidate as images that it did not
        make.
      config: of the searches.
      seed: of the own images; never use it again for images that are to be judged.
      progress: called with the number of searches done since the last call.

    Raises:
      InputError: no candidates, shapes that differ, numbers or names of kinds that are not legal.
      ImageError: negatives of another shape or type, none of a kind, or two that are equal.
    """
    config = calibration_config(config or InvertConfig())
    generators = [config.view(gen) for gen in generators]
    _check(generators, negatives or {}, own, others)
    _check_chains(chains, config)
    images = {gen.name: own_images(gen, own, seed) for gen in generators}
    candidates = {}
    for gen in generators:
        foreign = {
            OTHER + name: made[:others]
            for name, made in images.items()
            if name != gen.name and others
        }
        foreign |= dict(negatives or {})
        samples = {}
        for chain in (Chain(()), *chains):
            key = jax.random.key(config.seed)
            found = {
                kind: fair_searches(
                    gen,
                    pixels,
                    chain,
                    config,
                    jax.random.fold_in(key, number),
                    progress,
                    kind=kind or OTHER + gen.name,
                )
                for number, (kind, pixels) in enumerate({"": images[gen.name], **foreign}.items())
            }
            scores = {kind: tuple(values.tolist()) for kind, (values, _) in found.items()}
            made = {kind: seed for kind in scores if kind.startswith(OTHER)}
            samples[condition_of(chain)] = Sample(scores.pop(""), scores, seed, made, found[""][1])
        candidates[gen.name] = Calibrated(gen.digest, samples)
    return Calibration(candidates, settings_digest(config), run_versions())


def _check_chains(chains: Sequence[Chain], config: InvertConfig) -> None:
    """Check that every alteration can be calibrated for, before any search.

    Raises:
      InputError: a factor is unknown, or the searches go by a distance.
    """
    unknown = [chain.text for chain in chains if chain.free]
    if unknown:
        raise InputError(
            f"alteration {unknown[0]!r} has an unknown factor; calibrate for given ones, as"
            " brightness:0.8"
        )
    if chains and config.distance is not None:
        raise InputError(
            f"distance {config.distance!r} and alteration {chains[0].text!r}; give one of them"
        )


def own_images(gen: Generator, count: int, seed: int) -> np.ndarray:
    """Return images [n, H, W, C] uint8 that a generator makes of latents from its prior, of all
    its classes.
    """
    return gen.sample_images(candidate_key(jax.random.key(seed), gen), count).images


def fair_scores(
    gen: Generator,
    pixels: np.ndarray,
    chain: Chain,
    config: InvertConfig,
    key: jax.Array,
    progress: Progress | None = None,
    *,
    kind: str = "",
) -> np.ndarray:
    """Return the score [n] of each image, altered by the chain first, under one candidate."""
    return fair_searches(gen, pixels, chain, config, key, progress, kind=kind)[0]


def fair_searches(
    gen: Generator,
    pixels: np.ndarray,
    chain: Chain,
    config: InvertConfig,
    key: jax.Array,
    progress: Progress | None = None,
    *,
    kind: str = "",
) -> tuple[np.ndarray, Restarts | None]:
    """Return what `fair_scores` does, and how the restarts went; None without images.

    `kind` says whose images these are. What an alteration has of chance, as noise, is drawn for
    each image anew: by `config.seed`, the kind and the image's number, so it is the same under
    every candidate.
    """
    draws = _draws(config.seed, kind, len(pixels))
    found, used, arrived = list[float](), list[int](), list[bool]()
    for number, at in enumerate(range(0, len(pixels), BLOCK)):
        some = pixels[at : at + BLOCK]
        observation = make_observation(
            gen, alter(some, chain, draws[at : at + BLOCK]) if chain.steps else some, config
        )
        inverter = make_inverter(
            observation, config, jax.random.fold_in(candidate_key(key, gen), number)
        )
        for restarts in rounds(inverter.restarts):
            if restarts.start < FAIR:
                open_ = [
                    i for i in range(len(some)) if not (config.early_stop and inverter.arrived(i))
                ]
                inverter.round(open_, restarts)
                inverter.polish(open_)
        found += [inverter.best_loss(i) for i in range(len(some))]
        for ends, values in zip((used, arrived), inverter.arrivals(), strict=True):
            ends += values.tolist()
        if progress:
            progress(len(some))
    return scores_of(np.array(found)), Restarts(tuple(used), tuple(arrived)) if used else None


def _draws(seed: int, kind: str, count: int) -> list[tuple[int, int]]:
    """Return the numbers by which the alteration of each image of a kind is drawn."""
    whose = int(hashlib.sha256(json.dumps([seed, kind]).encode()).hexdigest(), 16)
    return [(whose, number) for number in range(count)]


def _check(
    generators: Sequence[Generator], negatives: Mapping[str, np.ndarray], own: int, others: int
) -> None:
    if not generators:
        raise InputError("there are 0 candidates to calibrate; give at least one generator")
    shapes = {gen.image_shape for gen in generators}
    if len(shapes) > 1:
        raise InputError(
            f"the candidates make images of shapes {sorted(shapes)}; calibrate those of one shape"
            " together"
        )
    for name, value in (("own", own), ("others", others)):
        if (
            isinstance(value, bool)
            or not isinstance(value, int)
            or not (name == "own") <= value <= MAX_IMAGES
        ):
            raise InputError(f"{name} is {value!r}; give a whole number up to {MAX_IMAGES}")
    if others > own:
        raise InputError(
            f"{others} images of each other candidate were asked for, but {own} are made; give at"
            " most that"
        )
    _check_negatives(negatives, generators[0].image_shape)


def _check_negatives(negatives: Mapping[str, np.ndarray], shape: tuple[int, int, int]) -> None:
    known: dict[bytes, str] = {}
    for kind, pixels in negatives.items():
        check_name(kind, "a kind of negatives")
        if kind.startswith(OTHER):
            raise InputError(
                f"a kind of negatives is {kind!r}; names from {OTHER!r} on are those of images"
                " that candidates made:"
                " give it another name"
            )
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1:] != shape:
            raise ImageError(
                f"negatives {kind!r} are {pixels.dtype} {pixels.shape}; give uint8 [n, {shape}]"
            )
        if not len(pixels):
            raise ImageError(
                f"there are 0 negatives {kind!r}; give at least one image, or leave that kind away"
            )
        for number, image in enumerate(pixels):
            place = f"{kind!r} {number}"
            other = known.setdefault(hashlib.sha256(image.tobytes()).digest(), place)
            if other != place:
                raise ImageError(
                    f"negatives {other} and {place} are equal images, {SAME}; leave one away"
                )


def check_calibration(
    calibration: Calibration, generators: Sequence[Generator], config: InvertConfig
) -> None:
    """Check that a calibration is of these candidates, settings and versions.

    Raises:
      InputError: it is not; the message lists every difference.
    """
    calibration.check_usable(
        {gen.name: gen.digest for gen in generators}, settings_digest(config), run_versions()
    )


def judged(
    calibration: Calibration,
    generators: Sequence[Generator],
    scores: np.ndarray,
    verdicts: Sequence[Verdict],
    evidence: Sequence[Sequence[Evidence]],
    condition: str,
    alpha: float,
    apart: Sequence[str],
) -> list[Judgement | None]:
    """Return the judgement of every image without certificate that is like those of the
    calibration; else None.

    Args:
      calibration: of the candidates.
      generators: the candidates.
      scores: [images, candidates].
      verdicts: of the images, so far.
      evidence: [images][candidates], how many restarts were run.
      condition: what was done to the images.
      alpha: level of both errors.
      apart: of each image what sets it apart from those of the calibration; "": nothing does.
    """
    names = [gen.name for gen in generators]
    return [
        None
        if verdict.certificate is not None or why
        else judge(
            calibration,
            dict(zip(names, row, strict=True)),
            condition,
            alpha,
            restarts={e.name: e.restarts for e in es},
        )
        for verdict, row, es, why in zip(verdicts, scores.tolist(), evidence, apart, strict=True)
    ]
