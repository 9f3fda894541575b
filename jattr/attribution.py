"""`attribute`: which of the candidates made each picture, with certificates."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jattr.decision.certificate import Certificate, certify
from jattr.decision.verdict import DecisionConfig, Evidence, Verdict, decide
from jattr.errors import GeneratorError, ImageError
from jattr.generators.base import ApplyFn, Generator
from jattr.inversion.config import InvertConfig
from jattr.inversion.inverter import NEAR, Inverter, check_pixels, rounds
from jattr.inversion.lanes import Status
from jattr.inversion.problem import FLOOR, deviation, target_of

MISS_PICTURES = 16  # own pictures on which a candidate's usual miss is measured, when "none" is in question
RESIDUAL_BATCH = 8


@dataclass(frozen=True)
class Attribution:
    """What `attribute` found, for every picture and candidate."""

    candidates: tuple[Generator, ...] = field(repr=False)
    verdicts: tuple[Verdict, ...]  # one a picture
    residual: np.ndarray  # [images, candidates], mean squared, [-1, 1] units; inf where every restart failed
    latents: tuple[np.ndarray, ...] = field(repr=False)  # by candidate, [images, *latent_shape] float32, the best
    labels: np.ndarray = field(repr=False)  # [images, candidates] int32; -1 if unconditional
    evidence: tuple[tuple[Evidence, ...], ...] = field(repr=False)  # [images][candidates]
    support: np.ndarray = field(repr=False)  # [images, candidates], largest |z|; a uniform prior's support ends at 1

    def reproduction(self, picture: int, candidate: int) -> np.ndarray | None:
        """Return the candidate's best picture [H, W, C] float32, not clipped; None if every restart failed."""
        if not np.isfinite(self.residual[picture, candidate]):
            return None
        gen = self.candidates[candidate]
        label = None if not gen.num_classes else self.labels[picture, candidate][None]
        return np.asarray(gen.generate(self.latents[candidate][picture][None], label=label)[0])


def attribute(
    images: Any,
    generators: Sequence[Generator],
    *,
    config: InvertConfig | None = None,
    decision: DecisionConfig | None = None,
    key: Any = None,
    progress: Any = None,
) -> Attribution:
    """Return which of the generators made each picture.

    Args:
      images: uint8 [n, H, W, C] (or floats in [-1, 1], rounded to bytes); or one such array for each candidate, the
        same pictures in the candidates' shapes.
      generators: the candidates.
      config: of the inversion.
      decision: thresholds of verdicts without certificate.
      key: PRNG key; None: from `config.seed`.
      progress: called with (done, total) searches of picture and candidate.

    Raises:
      GeneratorError: no candidates, or two with one name.
      ImageError: pictures that do not have the candidates' shape.
    """
    config, decision = config or InvertConfig(), decision or DecisionConfig()
    generators = tuple(generators)
    _check_names(generators)
    per_candidate = _per_candidate(images, generators)
    key = jax.random.key(config.seed) if key is None else key
    keys = jax.random.split(key, 2 * len(generators)).reshape(2, len(generators))
    inverters = [
        Inverter(gen, pixels, config, k) for gen, pixels, k in zip(generators, per_candidate, keys[0], strict=True)
    ]
    _search(inverters, config, progress)
    certificates = [_certificates(inverter) for inverter in inverters]
    count = len(per_candidate[0])
    residual = np.stack([_residuals(inverter) for inverter in inverters], axis=1)
    evidence = [
        [_evidence(inverters[c], i, residual[i, c], certificates[c][i], None) for c in range(len(generators))]
        for i in range(count)
    ]
    verdicts = [decide(row, decision) for row in evidence]
    if any(verdict.kind == "undecided" for verdict in verdicts):  # could be "none": how far is a miss of each?
        misses = [usual_miss(gen, config, k) for gen, k in zip(generators, keys[1], strict=True)]
        evidence = [
            [_evidence(inverters[c], i, residual[i, c], certificates[c][i], misses[c]) for c in range(len(generators))]
            for i in range(count)
        ]
        verdicts = [decide(row, decision) for row in evidence]
    best = [[inverter.best(i) for i in range(count)] for inverter in inverters]
    return Attribution(
        candidates=generators,
        verdicts=tuple(verdicts),
        residual=residual,
        latents=tuple(
            np.stack([inv.z[p] for p in places]).reshape(-1, *inv.gen.latent_shape).astype(np.float32)
            for inv, places in zip(inverters, best, strict=True)
        ),
        labels=np.stack([[inv.label[p] for p in places] for inv, places in zip(inverters, best, strict=True)], axis=1),
        evidence=tuple(tuple(row) for row in evidence),
        support=np.stack(
            [[np.abs(inv.z[p]).max() for p in places] for inv, places in zip(inverters, best, strict=True)], axis=1
        ),
    )


def usual_miss(gen: Generator, config: InvertConfig, key: jax.Array) -> float:
    """Return the residual that a candidate reaches on its own pictures when a search misses.

    The largest best residual over `MISS_PICTURES` of its own pictures, each searched as an accused one, but not below
    the floor.
    """
    keys = jax.random.split(key, 3)
    z = gen.sample_latent(keys[0], MISS_PICTURES)
    label = None
    if gen.num_classes:
        label = np.asarray(jax.random.randint(keys[1], (MISS_PICTURES,), 0, gen.num_classes))
    made = np.clip(np.asarray(gen.generate(z, label=label)), -1, 1)
    inverter = Inverter(gen, check_pixels(gen, made), config, keys[2])
    everything = list(range(MISS_PICTURES))
    for restarts in rounds(config.restarts):
        inverter.round([i for i in everything if not inverter.arrived(i)], restarts)
    return float(max(FLOOR, np.max([inverter.loss[inverter.best(i)] for i in everything])))


def _search(inverters: list[Inverter], config: InvertConfig, progress: Any) -> None:
    """Run rounds of restarts: a picture that some candidate has brought to the floor is not searched on."""
    count = len(inverters[0].pixels)
    total, done = count * len(inverters), 0
    open_pictures = list(range(count))
    for number, restarts in enumerate(rounds(config.restarts) if config.early_stop else [range(config.restarts)]):
        for inverter in inverters:
            inverter.round(open_pictures, restarts)
            if number == 0:
                done += count
                if progress:
                    progress(done, total)
        open_pictures = [i for i in open_pictures if not any(inverter.arrived(i) for inverter in inverters)]
    for inverter in inverters:
        inverter.interval([i for i in range(count) if inverter.arrived(i)])


def _certificates(inverter: Inverter) -> list[Certificate | None]:
    found: list[Certificate | None] = []
    for i in range(len(inverter.pixels)):
        place = inverter.best(i)
        near = inverter.loss[place] < NEAR
        label = int(inverter.label[place])
        z = inverter.z[place].reshape(inverter.gen.latent_shape)
        found.append(
            certify(inverter.gen, z, inverter.pixels[i], label=label, rounding=inverter.rounding[i]) if near else None
        )
    return found


def _residuals(inverter: Inverter) -> np.ndarray:
    """Return the residual of the best latent of every picture [n], inf where every restart failed."""
    gen = inverter.gen
    places = [inverter.best(i) for i in range(len(inverter.pixels))]
    fn = _residual_fn(gen.apply)
    out = []
    for at in range(0, len(places), RESIDUAL_BATCH):
        some = [places[min(at + k, len(places) - 1)] for k in range(RESIDUAL_BATCH)]  # the last one fills the batch up
        z = np.stack([inverter.z[p] for p in some]).reshape(-1, *gen.latent_shape)
        label = np.stack([inverter.label[p] for p in some]) if gen.num_classes else None
        out.append(fn(gen.state, z, label, np.stack([inverter.pixels[p[0]] for p in some])))
    values = np.concatenate([np.asarray(part) for part in out])[: len(places)].astype(np.float64)
    lost = np.array([not np.isfinite(inverter.loss[p]) for p in places])
    return np.where(lost | ~np.isfinite(values), np.inf, values)


@functools.lru_cache(maxsize=64)
def _residual_fn(apply: ApplyFn) -> Any:
    def fn(state: Any, z: jax.Array, label: jax.Array | None, pixels: jax.Array) -> jax.Array:
        with jax.default_matmul_precision("highest"):  # as `verify` recomputes it
            made = apply(state, z, label=label)
            return jnp.mean(jnp.square(deviation(made, target_of(pixels))), axis=(1, 2, 3))

    return jax.jit(fn)


def _evidence(
    inverter: Inverter, picture: int, residual: float, certificate: Certificate | None, miss: float | None
) -> Evidence:
    status = inverter.status[picture]
    return Evidence(
        name=inverter.gen.name,
        digest=inverter.gen.digest,
        residual=float(residual) if np.isfinite(residual) else None,
        certificate=certificate,
        restarts=int((status != Status.SKIPPED).sum()),
        arrived=int((status == Status.ARRIVED).sum()),
        failed=int((status == Status.FAILED).sum()),
        usual_miss=miss,
    )


def _check_names(generators: tuple[Generator, ...]) -> None:
    if not generators:
        raise GeneratorError("there are 0 candidates; give at least one generator")
    names = [gen.name for gen in generators]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise GeneratorError(f"two candidates are called {twice[0]!r}; give each its own name")


def _per_candidate(images: Any, generators: tuple[Generator, ...]) -> list[np.ndarray]:
    arrays = list(images) if isinstance(images, (list, tuple)) else [images] * len(generators)
    if len(arrays) != len(generators):
        raise ImageError(
            f"there are {len(arrays)} arrays of pictures for {len(generators)} candidates; give one for each"
        )
    pixels = [check_pixels(gen, array) for gen, array in zip(generators, arrays, strict=True)]
    if len({len(p) for p in pixels}) > 1:
        raise ImageError("the arrays hold different numbers of pictures; give the same pictures for every candidate")
    return pixels
