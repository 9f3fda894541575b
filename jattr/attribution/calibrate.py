"""`calibrate`: searches of images whose makers are known, for the error rates of new images.

A score is log10 of the best residual of a candidate's first `FAIR` restarts, searched as
`attribute` does it, without regard to other candidates. Of own images it is recorded, too, which of
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
from jattr.attribution.near_copies import counted_once
from jattr.attribution.pilot import candidate_key
from jattr.decision.calibration import OTHER, Calibrated, Calibration, Sample, check_name
from jattr.decision.restart_power import Restarts
from jattr.decision.scores import FAIR, scores_of
from jattr.distances.registry import as_distance
from jattr.errors import ImageError, InputError
from jattr.generators.base import Generator
from jattr.generators.names import check_candidate_names
from jattr.images import shape_advice
from jattr.images.values import bytes_advice
from jattr.inversion.config import InvertConfig, as_search, search_facts
from jattr.inversion.multistart import rounds
from jattr.inversion.observation.make import make_observation
from jattr.inversion.scheduler import Scheduler
from jattr.inversion.settings import MultiStart
from jattr.inversion.two_stage import make_inverter
from jattr.perceptual_hash import HASH_BITS, NEAR_BITS
from jattr.runtime import jax_defaults

OWN = ""  # the kind of a candidate's own images, among those that are searched under it
CLEAN = "clean"  # the condition of images to which nothing was done
MAX_IMAGES = 100_000
SAME = "which would count as two where they are one"
Progress = Callable[[int], object]  # called with the number of searches that are done anew


def calibration_search(search: MultiStart) -> MultiStart:
    """Return the search of a run that a calibration judges, for any number of images alike."""
    pooling = search.pooling
    if pooling.size is not None:
        return search
    return dataclasses.replace(search, pooling=dataclasses.replace(pooling, size=pooling.large))


def settings_digest(search: MultiStart) -> str:
    """Return the SHA-256 of all settings on which scores depend: not of seed and lanes."""
    facts = search_facts(calibration_search(search)) | {"fair": FAIR}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def run_versions() -> dict[str, str]:
    """Return the versions on which scores depend."""
    return {"jattr": __version__, "jax": jax.__version__, "backend": jax.default_backend()}


def condition_of(chain: Chain | None) -> str:
    """Return the name of the condition of images to which a chain was done, and nothing else."""
    return CLEAN if chain is None or not chain.steps else chain.text


@jax_defaults()
def calibrate(
    candidates: Sequence[Generator],
    *,
    negatives: Mapping[str, np.ndarray] | None = None,
    chains: Sequence[Chain] = (),
    own: int = 100,
    others: int = 60,
    search: MultiStart | InvertConfig | None = None,
    seed: int = 0,
    near_bits: int | None = NEAR_BITS,
    progress: Progress | None = None,
    on_copies: Callable[[Mapping[str, int]], object] | None = None,
) -> Calibration:
    """Return the scores of candidates' own images and of others', clean and altered.

    Args:
      candidates: the models, all of one image shape.
      negatives: images that none of them made, uint8 [n, H, W, C] of that shape, by kind, no two of
        them equal.
      chains: alterations to calibrate for, besides none.
      own: images of each candidate.
      others: of them, how many are searched under each other candidate as images that it did not
        make.
      search: settings of the inversion.
      seed: of the own images; never use it again for images that are to be judged.
      near_bits: images whose perceptual hashes differ in at most so many of 256 bits are
        near-copies and count once; a negative that is a near-copy of an own image does not count.
        None: all count.
      progress: called with the number of searches done since the last call.
      on_copies: called before the searches with how many near-copies were left out, by kind.

    Raises:
      InputError: no candidates, shapes that differ, numbers or names of kinds that are not legal.
      ImageError: negatives of another shape or type, none of a kind, two that are equal, or a kind
        of nothing but near-copies.
    """
    search, negatives = calibration_search(as_search(search)), dict(negatives or {})
    candidates = [search.view(gen) for gen in candidates]
    _check(candidates, negatives, own, others)
    _check_chains(chains, search)
    _check_near_bits(near_bits)
    images = {gen.name: own_images(gen, own, seed) for gen in candidates}
    if near_bits is not None:
        images, negatives, copies = counted_once(images, negatives, near_bits)
        if on_copies is not None:
            on_copies(copies)
    calibrated, scheduler = {}, Scheduler()
    for gen in candidates:
        # What is searched under this candidate: its own images first, then every kind of negatives.
        kinds = {OWN: images[gen.name]}
        if others:
            kinds |= {OTHER + name: of[:others] for name, of in images.items() if name != gen.name}
        kinds |= negatives
        samples = {
            condition_of(chain): _sample(gen, kinds, chain, search, seed, progress, scheduler)
            for chain in (Chain(()), *chains)
        }
        calibrated[gen.name] = Calibrated(gen.digest, samples)
    return Calibration(calibrated, settings_digest(search), run_versions())


def _sample(
    gen: Generator,
    kinds: Mapping[str, np.ndarray],
    chain: Chain,
    search: MultiStart,
    seed: int,
    progress: Progress | None,
    scheduler: Scheduler,
) -> Sample:
    """Return the scores of all kinds of images under one candidate and one alteration."""
    key = jax.random.key(search.seed)
    scores: dict[str, tuple[float, ...]] = {}
    own_restarts = None
    for number, (kind, pixels) in enumerate(kinds.items()):
        values, restarts = fair_searches(
            gen,
            pixels,
            chain,
            search,
            jax.random.fold_in(key, number),
            progress,
            kind=OTHER + gen.name if kind == OWN else kind,
            scheduler=scheduler,
        )
        scores[kind] = tuple(values.tolist())
        if kind == OWN:
            own_restarts = restarts
    seeds = {kind: seed for kind in scores if kind.startswith(OTHER)}
    return Sample(scores.pop(OWN), scores, seed, seeds, own_restarts)


def _check_chains(chains: Sequence[Chain], search: MultiStart) -> None:
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
    if chains and search.distance is not None:
        raise InputError(
            f"distance {as_distance(search.distance).name!r} and alteration {chains[0].text!r};"
            " give one of them"
        )


def own_images(gen: Generator, count: int, seed: int) -> np.ndarray:
    """Return images uint8 [n, H, W, C] of a generator's latents from its prior, of all classes."""
    return gen.sample_images(candidate_key(jax.random.key(seed), gen), count).images


def fair_searches(
    gen: Generator,
    pixels: np.ndarray,
    chain: Chain,
    search: MultiStart,
    key: jax.Array,
    progress: Progress | None = None,
    *,
    kind: str = "",
    scheduler: Scheduler | None = None,
    block_size: int = 64,
) -> tuple[np.ndarray, Restarts | None]:
    """Return the score [n] of each image under one candidate, and how the restarts went.

    Args:
      gen: the candidate.
      pixels: the images, uint8 [n, H, W, C]; without any there are no restarts.
      chain: what is done to them first.
      search: settings of the inversion.
      key: PRNG key of the searches.
      progress: called with the number of searches done since the last call.
      kind: whose images these are. What an alteration has of chance, as noise, is drawn for each
        image anew: by `search.seed`, the kind and the image's index, so it is the same under every
        candidate.
      scheduler: of the call that this is a part of; None: a new one.
      block_size: images searched together; their random choices depend on it.
    """
    draws, scheduler = _draws(search.seed, kind, len(pixels)), scheduler or Scheduler()
    residuals, used, arrived = list[float](), list[int](), list[bool]()
    for number, start in enumerate(range(0, len(pixels), block_size)):
        block = pixels[start : start + block_size]
        images = alter(block, chain, draws[start : start + block_size]) if chain.steps else block
        inverter = make_inverter(
            make_observation(gen, images, search),
            search,
            jax.random.fold_in(candidate_key(key, gen), number),
            scheduler=scheduler,
        )
        results = inverter.results
        # The rounds that make a fair trial, as `race` runs them for a candidate alone.
        for restarts in rounds(results.restarts):
            if restarts.start < FAIR:
                needed = [
                    i
                    for i in range(len(block))
                    if not (search.stopping.early and results.arrived(i))
                ]
                inverter.round(needed, restarts)
                inverter.polish(needed)
        residuals += [inverter.best_loss(i) for i in range(len(block))]
        block_used, block_arrived = results.arrivals()
        used += block_used.tolist()
        arrived += block_arrived.tolist()
        if progress:
            progress(len(block))
    restarts_of = Restarts(tuple(used), tuple(arrived)) if used else None
    return scores_of(np.array(residuals)), restarts_of


def _draws(seed: int, kind: str, count: int) -> list[tuple[int, int]]:
    """Return the numbers by which the alteration of each image of a kind is drawn."""
    of_kind = int(hashlib.sha256(json.dumps([seed, kind]).encode()).hexdigest(), 16)
    return [(of_kind, index) for index in range(count)]


def _check(
    candidates: Sequence[Generator], negatives: Mapping[str, np.ndarray], own: int, others: int
) -> None:
    if not candidates:
        raise InputError("there are 0 candidates to calibrate; give at least one generator")
    check_candidate_names([gen.name for gen in candidates])
    shapes = {gen.image_shape for gen in candidates}
    if len(shapes) > 1:
        raise InputError(
            f"the candidates make images of shapes {sorted(shapes)}; calibrate those of one shape"
            " together"
        )
    for name, value in (("own", own), ("others", others)):
        least = 1 if name == "own" else 0
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not (whole and least <= value <= MAX_IMAGES):
            raise InputError(f"{name} is {value!r}; give a whole number up to {MAX_IMAGES}")
    if others > own:
        raise InputError(
            f"{others} images of each other candidate were asked for, but {own} are made; give at"
            " most that"
        )
    _check_negatives(negatives, candidates[0].image_shape)


def _check_near_bits(near_bits: int | None) -> None:
    whole = isinstance(near_bits, int) and not isinstance(near_bits, bool)
    if near_bits is not None and not (whole and 0 <= near_bits < HASH_BITS // 2):
        raise InputError(
            f"near_bits is {near_bits!r}; give a whole number from 0 to {HASH_BITS // 2 - 1}, or"
            " None"
        )


def _check_negatives(negatives: Mapping[str, np.ndarray], shape: tuple[int, int, int]) -> None:
    names: dict[bytes, str] = {}
    for kind, pixels in negatives.items():
        if not isinstance(pixels, np.ndarray):
            raise ImageError(
                f"negatives {kind!r} are of type {type(pixels).__name__}; give one array, uint8"
                f" [n, {shape}]"
            )
        check_name(kind, "a kind of negatives")
        if kind.startswith(OTHER):
            raise InputError(
                f"a kind of negatives is {kind!r}; names from {OTHER!r} on are those of images"
                " that candidates made: give it another name"
            )
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1:] != shape:
            raise ImageError(
                f"negatives {kind!r} are {pixels.dtype} {pixels.shape}; give uint8 [n, {shape}]"
                f"{shape_advice(pixels.shape, shape)}{bytes_advice(pixels.dtype)}"
            )
        if not len(pixels):
            raise ImageError(
                f"there are 0 negatives {kind!r}; give at least one image, or leave that kind away"
            )
        for index, image in enumerate(pixels):
            name = f"{kind!r} {index}"
            other = names.setdefault(hashlib.sha256(image.tobytes()).digest(), name)
            if other != name:
                raise ImageError(
                    f"negatives {other} and {name} are equal images, {SAME}; leave one away"
                )


def check_calibration(
    calibration: Calibration, candidates: Sequence[Generator], search: MultiStart
) -> None:
    """Check that a calibration is of these candidates, settings and versions.

    Raises:
      InputError: it is not; the message lists every difference.
    """
    calibration.check_usable(
        {gen.name: gen.digest for gen in candidates}, settings_digest(search), run_versions()
    )
