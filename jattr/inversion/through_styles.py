"""Searches of a generator with styles between latent and picture: first the styles, then the latent behind them.

The kinks of a mapping network stop searches that go from the picture straight to the latent. Styles are found without
it. The latent behind them costs little: hundreds of searches through the mapping network alone, where each direction of
the styles weighs what it does to the picture. A few steps through the whole generator end it.

The mapping network and its styles: Karras, Laine, Aila, arXiv 1812.04948, section 2.
"""

import dataclasses
import functools
from collections.abc import Container, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jattr.generators.base import ApplyFn, Route
from jattr.inversion.accused import Accused
from jattr.inversion.altered import Altered
from jattr.inversion.choice import DENSE_POLISH, LM, polish_method
from jattr.inversion.config import InvertConfig
from jattr.inversion.initial import Pool, regress
from jattr.inversion.inverter import Inverter
from jattr.inversion.lanes import FAR, Ending, Job, Status, run_jobs
from jattr.inversion.linear import linearise
from jattr.inversion.measure import cost_of
from jattr.inversion.optimisers import METHODS
from jattr.inversion.problem import Target, target_of
from jattr.inversion.protocol import Inversion
from jattr.inversion.records import Place

HIT = 2  # times the noise: styles below this are the picture's own; a sibling generator's come near it
CLOSE = 0.04  # of the styles' residual: what the latent may add to it
LIKELY = 1.5  # of the same where styles are the likeliest and deviations in standard ones: the true latent leaves 1
ROUNDS = 12  # of searches, where the styles are near the rounding floor
FAR_SEARCHES, FAR_STEPS = 16, 12  # one round of so many, where they are not; once a picture, at the end
LANES = 16  # searches in one program: one size for all rounds, compiled once
STUCK = 0.9  # times the loss of the round before: a round that ends above this is the last
SURVIVORS = 16  # latents that the searches of the next round start beside
MOVES = (0.05, 0.1, 0.2, 0.02)  # how far beside, in units of the latent's root mean square
START_SPREAD = 0.9  # of the first round's starts about the guess: the largest
POPULATION = (16, 128)  # bounds of the number of searches in a round
ROUND_WORK = 3e10  # floating-point operations of a step of all of them, on which that number depends
STEPS = 300  # most, of a search
STALL = 0.02  # a segment of steps must lower the loss by this fraction


class Styles(NamedTuple):
    """Styles that a picture was found to have."""

    w: np.ndarray  # [w_dim]
    weight: np.ndarray  # [w_dim, w_dim], what turns a deviation of them into one that counts in the picture
    aim: float  # mean square of such a deviation that a latent behind them may leave
    jacobians: int  # that this took


class Behind(NamedTuple):
    """The latent found behind some styles."""

    z: np.ndarray  # [d]
    label: int  # -1 if unconditional
    steps: int  # of all searches


def make_inverter(accused: Accused, config: InvertConfig, key: jax.Array, pool: Pool | None = None) -> Inverter:
    """Return the inverter for a candidate: through its styles, where it has some and no method was named."""
    gen = accused.gen
    if gen.router is None or config.optimiser != "auto":
        return Inverter(accused, config, key, pool)
    route = gen.router(gen)
    if max(int(np.prod(gen.latent_shape)), *route.styles.latent_shape) > DENSE_POLISH:
        return Inverter(accused, config, key, pool)
    return StylesInverter(accused, route, config, key, pool)


class StylesInverter(Inverter):
    """An inverter whose every restart searches the styles first."""

    def __init__(self, accused: Accused, route: Route, config: InvertConfig, key: jax.Array, pool: Pool | None = None):
        """Prepare; nothing is searched yet.

        Args:
          accused: the pictures and the candidate.
          route: the candidate's two steps.
          config: settings.
          key: of every random choice.
          pool: pictures of the candidate from its prior; None: make them.
        """
        keys = jax.random.split(key, 3)
        super().__init__(accused, config, keys[0], pool)
        gen, self.hit = accused.gen, HIT * accused.noise
        self.route = route
        self.behind = np.asarray(jax.jit(route.mapping)(gen.state, self._shaped(self.pool.z), label=self.pool.label))
        styled = Pool(self.behind, None, self.pool.features, self.pool.factor)
        same = dataclasses.replace(config, restarts=self.restarts)
        self.styles = Inverter(accused.of(route.styles), same, keys[1], styled)
        self.random = np.random.default_rng(np.asarray(jax.random.key_data(keys[2])))
        self.mapping_cost = cost_of(route.mapping, gen.state, gen.latent_shape, gen.num_classes)

    def prepare(self) -> None:
        """Compile the program of the first round: of the styles."""
        self.styles.prepare()

    def rehearse(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return how the searches of own pictures' styles went: the latent behind them adds next to nothing."""
        return self.styles.rehearse()

    def round(self, pictures: Sequence[int], restarts: range, settled: Sequence[int] = ()) -> None:
        """Search these pictures from these restarts: styles, latents behind them, the whole."""
        known = self.config.early_stop and not self.accused.doubtful  # styles at the floor may still be wrong ones
        sought = [i for i in pictures if not (known and self.styles.arrived(i))]
        self.styles.round(sought, restarts, settled)
        for restart in restarts[: max(0, self.restarts - restarts.start)]:
            places = [(i, restart) for i in (*pictures, *settled) if not (self.config.early_stop and self.arrived(i))]
            self._follow([place for place in places if self._is_worth(place)])

    def polish(self, pictures: Sequence[int]) -> None:
        """Polish styles, and follow those that this has brought to the floor."""
        self.styles.polish([i for i in pictures if not self.styles.arrived(i)])
        hits = [self.styles.best(i) for i in pictures if self.styles.best_loss(i) < self.hit and not self.arrived(i)]
        self._follow([place for place in hits if not np.isfinite(self.loss[place])])
        if self.accused.doubtful:
            near = [place for place in self._open(pictures) if self.loss[place] < self.accused.near]
            self._confirm(self._untested(near))

    def finish(self, settled: Container[int] = ()) -> None:
        """Follow the best styles of every picture that has no latent yet; then as every inverter."""
        lost = [self.styles.best(i) for i in range(self.count) if not np.isfinite(self.loss[i]).any()]
        self._follow([place for place in lost if np.isfinite(self.styles.loss[place])], settled)
        super().finish()

    def best_loss(self, picture: int) -> float:
        """Return the lowest loss of a picture: of its latents, or of styles that are not followed yet."""
        return min(super().best_loss(picture), self.styles.best_loss(picture))

    def result(self) -> Inversion:
        """Return everything, [images, restarts]; steps and evaluations with those of the styles."""
        found = super().result()
        return found._replace(
            steps=found.steps + self.styles.steps, evaluations=found.evaluations + self.styles.evaluations
        )

    def trace(self, place: Place) -> tuple[tuple[float, float], ...]:
        """Return (evaluations, lowest loss so far) of a restart: of its styles, then of the latent behind them."""
        before = self.styles.trace(place)
        spent = before[-1][0] if before else 0.0
        return before + tuple((spent + evaluations, loss) for evaluations, loss in super().trace(place))

    def _is_worth(self, place: Place) -> bool:
        """Return whether a restart's styles are near enough to follow them at once; note its end if they are not."""
        found = place if np.isfinite(self.styles.loss[place]) else self.styles.best(place[0])
        loss = float(self.styles.loss[found])
        if not np.isfinite(loss):
            self.status[place] = Status.FAILED
            return False
        if self.config.early_stop and not loss < self.hit:
            self.status[place] = self.styles.status[found]  # as good as run: its end is known
            return False
        return True

    def _follow(self, places: Sequence[Place], settled: Container[int] = ()) -> None:
        """Search the latents behind the styles of restarts, and polish those of near ones that are not settled."""
        for place in places:
            self.rounding[place[0]] = self.styles.rounding[place[0]]
        found = [place for place in places if self._go_behind(place)]
        likely = [place for place in found if self.accused.doubtful and self.styles.loss[place] < self.hit]
        rest = [place for place in found if place not in likely]
        near = [place for place in rest if self.styles.loss[place] < FAR and place[0] not in settled]
        self._search(near, polish_method(self.size), most=max(1, self.config.polish_steps))
        measured = [place for place in found if place not in near]
        for place, loss in zip(measured, self._measure(measured), strict=True):
            self.loss[place] = loss
        self._confirm(likely)

    def _go_behind(self, place: Place) -> bool:
        """Start a restart at the latent behind the styles that its picture's search found, if there is one."""
        picture = place[0]
        found = place if np.isfinite(self.styles.loss[place]) else self.styles.best(picture)
        w, loss = self.styles.z[found], float(self.styles.loss[found])
        likely = self.accused.doubtful and loss < self.hit
        here = self._likeliest(picture, w) if likely else self._nearest(picture, w, loss)
        if not np.isfinite(here.weight).all():
            self.status[place] = Status.FAILED
            return False
        behind = self._behind(here, near=loss < self.hit)
        self.z[place], self.label[place] = behind.z, behind.label
        unsure = self.styles.status[found] == Status.ARRIVED and self.accused.doubtful  # `polish` tells
        self.status[place] = Status.STALLED if unsure else self.styles.status[found]
        jacobians = METHODS[LM].evaluations(self.size)
        self.evaluations[place] += jacobians * (here.jacobians + behind.steps * self.mapping_cost / self.cost)
        return True

    def _nearest(self, picture: int, w: np.ndarray, loss: float) -> Styles:
        """Return styles as least squares have found them, and what a deviation of them does to the picture."""
        target = self.accused.target(picture, self.styles.rounding[picture])
        jacobian = linearise(self.styles.gen, target, -1, w)[2].astype(np.float64)
        square = jacobian.T @ jacobian / len(jacobian)
        return Styles(w, _root(square * len(w)) if np.isfinite(square).all() else square, CLOSE * loss, 1)

    def _likeliest(self, picture: int, w: np.ndarray) -> Styles:
        """Return the likeliest styles of an altered picture near some, and how likely others are beside them."""
        accused, rule = self.styles.accused, self.styles.rounding[picture]
        assert isinstance(accused, Altered)
        w, used, _ = accused.into_intervals(picture, rule, -1, w, self.config.interval_steps, self.styles.prior)
        return Styles(w, _root(accused.information(picture, w)), LIKELY, used + 1)

    def _behind(self, styles: Styles, *, near: bool) -> Behind:
        """Return a latent whose styles are about those given, as the picture weighs a deviation.

        Rounds of Levenberg-Marquardt from many starts: about a regressed guess at first, then beside the best.
        """
        w = styles.w
        mapping = dataclasses.replace(
            self.gen,
            apply=_weighted(self.route.mapping),
            state={"generator": self.gen.state, "w": jnp.asarray(w), "weight": jnp.asarray(styles.weight, jnp.float32)},
            image_shape=(1, len(w), 1),
        )
        work = self.size * self.mapping_cost
        count = int(np.clip(2 ** np.floor(np.log2(ROUND_WORK / max(work, 1.0))), *POPULATION)) if near else FAR_SEARCHES
        prior = self.prior._replace(scale=self.prior.scale * np.sqrt(np.prod(self.gen.image_shape) / len(w)))
        config = dataclasses.replace(self.config, lanes=LANES, stall=STALL, early_stop=True)
        aim = np.full(1, styles.aim)
        steps = STEPS if near else FAR_STEPS

        def nothing(pictures: Sequence[int]) -> Target:
            return target_of(np.zeros((len(pictures), 1, len(w), 1), np.float32))

        def search(jobs: Sequence[Job]) -> list[Ending]:
            return run_jobs(mapping, nothing, jobs, config, method=LM, steps=steps, floors=aim, prior=prior)

        jobs = self._first(w, count)
        kept: list[tuple[Ending, int]] = []
        taken, lowest = 0, np.inf
        for turn in range(ROUNDS if near else 1):
            waves = [jobs] if turn else [jobs[:LANES], jobs[LANES:]]  # mostly the first few find it
            for wave in filter(None, waves):
                endings = search(wave)
                taken += sum(ending.steps for ending in endings)
                kept += [(ending, job.label) for ending, job in zip(endings, wave, strict=True)]
                kept = sorted(kept, key=lambda found: found[0].loss)[:SURVIVORS]
                if not kept[0][0].loss > aim[0]:
                    return Behind(kept[0][0].z, kept[0][1], taken)
            if turn and kept[0][0].loss > STUCK * lowest:
                break
            lowest = kept[0][0].loss
            jobs = [self._beside(*kept[number % len(kept)], number // len(kept)) for number in range(count)]
        return Behind(kept[0][0].z, kept[0][1], taken)

    def _first(self, w: np.ndarray, count: int) -> list[Job]:
        """Return the first round's searches: about the guess, ever further; of every class in turn."""
        classes = self.gen.num_classes
        count = max(count, classes)
        guess = regress(self.behind, self.pool.z, w[None])[0]
        spread = START_SPREAD * np.arange(count)[:, None] / count * self.random.normal(size=(count, self.size))
        starts = (guess + spread * self.prior.scale).astype(np.float32)
        return [Job(0, z, number % classes if classes else -1) for number, z in enumerate(starts)]

    def _beside(self, ending: Ending, label: int, turn: int) -> Job:
        size = MOVES[turn % len(MOVES)] * np.sqrt(np.mean(np.square(ending.z)))
        return Job(0, (ending.z + size * self.random.normal(size=self.size)).astype(np.float32), label)

    def _shaped(self, z: np.ndarray) -> np.ndarray:
        return z.reshape(-1, *self.gen.latent_shape)


def _root(square: np.ndarray) -> np.ndarray:
    """Return the symmetric root of a positive semi-definite matrix."""
    values, vectors = np.linalg.eigh(square)
    root: np.ndarray = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    return root


@functools.lru_cache(maxsize=64)
def _weighted(mapping: ApplyFn) -> ApplyFn:
    """Return the mapping network as a generator whose pictures [n, 1, w_dim, 1] are weighted deviations from styles."""

    def apply(state: dict[str, jax.Array], z: jax.Array, *, label: jax.Array | None = None) -> jax.Array:
        away = (mapping(state["generator"], z, label=label) - state["w"]) @ state["weight"]
        return away[:, None, :, None]

    return apply
