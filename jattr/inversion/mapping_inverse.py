"""The latent behind given styles: hundreds of searches through the mapping network alone.

Inverting the network layer by layer magnifies errors of the styles; searching z does not, and costs
little: each direction of the styles weighs what it does to the image.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from jattr.generators.base import ApplyFn, Generator
from jattr.inversion.evaluate import cost_of
from jattr.inversion.problem import Target, target_of
from jattr.inversion.scheduler import Ending, Execution, Job, Scheduler
from jattr.inversion.settings import Lanes, MultiStart, Stopping
from jattr.inversion.warm_start import PriorSamples, regress
from jattr.solvers.base import Prior, Solver


class Styles(NamedTuple):
    """Styles of an image, and how much a deviation of each counts."""

    w: np.ndarray  # [w_dim]
    # [w_dim, w_dim], what turns a deviation of them into one that counts in the image
    weight: np.ndarray
    aim: float  # mean square of such a deviation that a latent behind them may leave
    jacobians: int  # that this took


class Behind(NamedTuple):
    """The latent behind some styles."""

    z: np.ndarray  # [d]
    label: int  # -1 if unconditional
    loss: float  # mean square of its styles' deviation from those given, weighed
    steps: int  # of all searches


class MappingSearch:
    """Searches through the mapping network of one candidate."""

    def __init__(
        self,
        gen: Generator,
        mapping: ApplyFn,
        pool: PriorSamples,
        prior: Prior,
        settings: MultiStart,
        random: np.random.Generator,
        scheduler: Scheduler,
    ):
        """Prepare.

        Args:
          gen: the candidate.
          mapping: its mapping network, from z to styles.
          pool: images of its prior.
          prior: of z.
          settings: of the searches.
          random: every random choice.
          scheduler: runs the searches.
        """
        self.gen, self.mapping, self.pool, self.prior = gen, mapping, pool, prior
        self.random, self.scheduler, self.settings = random, scheduler, settings.two_stage.mapping
        self.search = dataclasses.replace(
            settings,
            lanes=Lanes(count=self.settings.lanes, few_jobs=settings.lanes.few_jobs),
            stopping=dataclasses.replace(
                settings.stopping,
                stall=self.settings.stall,
                far_stall=Stopping.far_stall,
                early=True,
            ),
        )
        self.size = int(np.prod(gen.latent_shape))
        z = pool.z.reshape(-1, *gen.latent_shape)
        # [n, w_dim], of the pool
        self.styles = np.asarray(jax.jit(mapping)(gen.state, z, label=pool.label))
        self.cost = cost_of(mapping, gen.state, gen.latent_shape, gen.num_classes)

    def behind(self, styles: Styles, *, near: bool) -> Behind:
        """Return a latent whose styles are about those given, as the image weighs a deviation.

        Rounds of Levenberg-Marquardt from many starts: about a regressed guess at first, then
        beside the best.

        Args:
          styles: what is sought.
          near: whether they are so near that their latent is worth more than one round.
        """
        w, settings = styles.w, self.settings
        mapping = dataclasses.replace(
            self.gen,
            apply=_weighted(self.mapping),
            state={
                "generator": self.gen.state,
                "w": jnp.asarray(w),
                "weight": jnp.asarray(styles.weight, jnp.float32),
            },
            image_shape=(1, len(w), 1),
        )
        work = self.size * self.cost
        count = (
            int(
                np.clip(
                    2 ** np.floor(np.log2(settings.round_work / max(work, 1.0))),
                    *settings.population,
                )
            )
            if near
            else settings.far_searches
        )
        prior = self.prior._replace(
            scale=self.prior.scale * np.sqrt(np.prod(self.gen.image_shape) / len(w))
        )

        def no_deviation(images: Sequence[int]) -> Target:
            return target_of(np.zeros((len(images), 1, len(w), 1), np.float32))

        execution = Execution(
            gen=mapping,
            targets=no_deviation,
            floors=np.full(1, styles.aim),
            prior=prior,
            method=cast(Solver, settings.solver),  # `__post_init__` has made one of it
            steps=settings.steps if near else settings.far_steps,
            settings=self.search,
        )
        jobs = self._first(w, count)
        best: list[tuple[Ending, int]] = []  # with their classes
        taken, lowest = 0, np.inf
        for turn in range(settings.rounds if near else 1):
            # mostly the first few of the first round find it
            waves = [jobs] if turn else [jobs[: settings.lanes], jobs[settings.lanes :]]
            for wave in filter(None, waves):
                endings = self.scheduler.run(execution, wave)
                taken += sum(ending.steps for ending in endings)
                best += [(ending, job.label) for ending, job in zip(endings, wave, strict=True)]
                best = sorted(best, key=lambda pair: pair[0].loss)[: settings.survivors]
                if not best[0][0].loss > styles.aim:
                    return Behind(best[0][0].z, best[0][1], best[0][0].loss, taken)
            if turn and best[0][0].loss > settings.stuck * lowest:
                break
            lowest = best[0][0].loss
            # the next round begins beside the survivors, further away with every pass over them
            jobs = [self._beside(*best[n % len(best)], n // len(best)) for n in range(count)]
        return Behind(best[0][0].z, best[0][1], best[0][0].loss, taken)

    def _first(self, w: np.ndarray, count: int) -> list[Job]:
        """Return the first round's searches: about the guess, ever further; every class in turn."""
        classes = self.gen.num_classes
        count = max(count, classes)
        guess = regress(self.styles, self.pool.z, w[None])[0]
        spread = (
            self.settings.start_spread
            * np.arange(count)[:, None]
            / count
            * self.random.normal(size=(count, self.size))
        )
        starts = (guess + spread * self.prior.scale).astype(np.float32)
        return [Job(0, z, number % classes if classes else -1) for number, z in enumerate(starts)]

    def _beside(self, ending: Ending, label: int, turn: int) -> Job:
        moves = self.settings.moves
        size = moves[turn % len(moves)] * np.sqrt(np.mean(np.square(ending.z)))
        return Job(
            0, (ending.z + size * self.random.normal(size=self.size)).astype(np.float32), label
        )


@functools.lru_cache(maxsize=64)
def _weighted(mapping: ApplyFn) -> ApplyFn:
    """Return the mapping network as a generator of weighted deviations [n, 1, w_dim, 1]."""

    def apply(
        state: dict[str, jax.Array], z: jax.Array, *, label: jax.Array | None = None
    ) -> jax.Array:
        deviation = (mapping(state["generator"], z, label=label) - state["w"]) @ state["weight"]
        return deviation[:, None, :, None]

    return apply
