"""Searches of a generator with styles between latent and image: first the styles, then the latent
behind them.

The kinks of a mapping network stop searches that go from the image straight to the latent. Styles
are found without it. The latent behind them costs little: hundreds of searches through the mapping
network alone, where each direction of the styles weighs what it does to the image. A few steps
through the whole generator end it.

The mapping network and its styles: Karras, Laine, Aila, arXiv 1812.04948, section 2.
"""

import dataclasses
from collections.abc import Container, Sequence

import jax
import numpy as np

from jattr.generators.base import Route
from jattr.inversion.config import DENSE_POLISH, LM, InvertConfig, polish_method
from jattr.inversion.linearization import linearise
from jattr.inversion.mapping_inverse import Behind, MappingSearch, Styles
from jattr.inversion.multistart import POLISH_AGAIN, Inversion, Inverter, Place
from jattr.inversion.observation.base import Observation
from jattr.inversion.scheduler import FAR, Status
from jattr.inversion.warm_start import Pool
from jattr.solvers import method_named

# times the noise: styles below this are the image's own; a sibling generator's come near it
HIT = 2
CLOSE = 0.04  # of the styles' residual: what the latent may add to it
# of the same where styles are the likeliest and deviations in standard ones: the true latent leaves
# 1
LIKELY = 1.5
BEYOND = 4.0  # times that aim: a latent that leaves more does not explain the image


def make_inverter(
    observation: Observation, config: InvertConfig, key: jax.Array, pool: Pool | None = None
) -> Inverter:
    """Return the inverter for a candidate: through its styles, where it has some and no method
    was named.
    """
    gen = observation.gen
    if gen.router is None or config.optimiser != "auto" or not observation.traits.uses_styles:
        return Inverter(observation, config, key, pool)
    route = gen.router(gen)
    if max(int(np.prod(gen.latent_shape)), *route.styles.latent_shape) > DENSE_POLISH:
        return Inverter(observation, config, key, pool)
    return StylesInverter(observation, route, config, key, pool)


class StylesInverter(Inverter):
    """An inverter whose every restart searches the styles first."""

    def __init__(
        self,
        observation: Observation,
        route: Route,
        config: InvertConfig,
        key: jax.Array,
        pool: Pool | None = None,
    ):
        """Prepare; nothing is searched yet.

        Args:
          observation: the images and the candidate.
          route: the candidate's two steps.
          config: settings.
          key: of every random choice.
          pool: images of the candidate from its prior; None: make them.
        """
        keys = jax.random.split(key, 3)
        super().__init__(observation, config, keys[0], pool)
        gen, self.hit = observation.gen, HIT * observation.noise
        random = np.random.default_rng(np.asarray(jax.random.key_data(keys[2])))
        self.mapping = MappingSearch(gen, route.mapping, self.pool, self.prior, config, random)
        styled = Pool(self.mapping.styles, None, self.pool.features, self.pool.factor)
        same = dataclasses.replace(config, restarts=self.restarts)
        self.styles = Inverter(observation.for_generator(route.styles), same, keys[1], styled)
        # image -> the residual of styles that were found not to explain it
        self.denied: dict[int, float] = {}

    def prepare(self) -> None:
        """Compile the program of the first round: of the styles."""
        self.styles.prepare()

    def run_pilot_study(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return how the searches of own images' styles went: the latent behind them adds next
        to nothing.
        """
        return self.styles.run_pilot_study()

    def round(self, images: Sequence[int], restarts: range, settled: Sequence[int] = ()) -> None:
        """Search these images from these restarts: styles, latents behind them, the whole."""
        # styles at the floor may still be wrong ones
        known = self.config.early_stop and not self.observation.traits.needs_test
        sought = [i for i in images if not (known and self.styles.arrived(i))]
        self.styles.round(sought, restarts, settled)
        for restart in restarts[: max(0, self.restarts - restarts.start)]:
            places = [
                (i, restart)
                for i in (*images, *settled)
                if not (self.config.early_stop and self.arrived(i))
            ]
            self._follow([place for place in places if self._is_worth(place)])

    def polish(self, images: Sequence[int]) -> None:
        """Polish styles, and follow those that this has brought to the floor."""
        self.styles.polish([i for i in images if not self.styles.arrived(i)])
        hits = [
            self.styles.best(i)
            for i in images
            if self.styles.best_loss(i) < self.hit and not self.arrived(i)
        ]
        self._follow([place for place in hits if not np.isfinite(self.loss[place])])
        if self.observation.traits.needs_test:
            near = [
                place
                for place in self._open(images)
                if self.loss[place] < self.observation.traits.near
            ]
            self._confirm(self._untested(near))

    def finish(self, settled: Container[int] = ()) -> None:
        """Follow the best styles of every image that has no latent yet; then as every inverter."""
        lost = [
            self.styles.best(i) for i in range(self.count) if not np.isfinite(self.loss[i]).any()
        ]
        self._follow(
            [place for place in lost if np.isfinite(self.styles.loss[place])],
            settled,
            last=self.observation.traits.needs_test,
        )
        super().finish()

    def best_loss(self, image: int) -> float:
        """Return the lowest loss of an image: of its latents, or of styles that are not followed
        yet.
        """
        return min(super().best_loss(image), self.styles.best_loss(image))

    def result(self) -> Inversion:
        """Return everything, [images, restarts]; steps and evaluations with those of the styles."""
        found = super().result()
        return found._replace(
            steps=found.steps + self.styles.steps,
            evaluations=found.evaluations + self.styles.evaluations,
        )

    def trace(self, place: Place) -> tuple[tuple[float, float], ...]:
        """Return (evaluations, lowest loss so far) of a restart: of its styles, then of the
        latent behind them.
        """
        before = self.styles.trace(place)
        spent = before[-1][0] if before else 0.0
        return before + tuple(
            (spent + evaluations, loss) for evaluations, loss in super().trace(place)
        )

    def _is_worth(self, place: Place) -> bool:
        """Return whether a restart's styles are near enough to follow them at once; note its end
        if they are not.
        """
        found = place if np.isfinite(self.styles.loss[place]) else self.styles.best(place[0])
        loss = float(self.styles.loss[found])
        if not np.isfinite(loss):
            self.status[place] = Status.FAILED
            return False
        if self.config.early_stop and not loss < self.hit:
            self.status[place] = self.styles.status[found]  # as good as run: its end is known
            return False
        return True

    def _follow(
        self, places: Sequence[Place], settled: Container[int] = (), *, last: bool = False
    ) -> None:
        """Search the latents behind the styles of restarts, and polish or test those of near ones.

        Args:
          places: the restarts.
          settled: images that need nothing that costs much.
          last: whether a latent is wanted even if it can be none that explains its image.
        """
        for place in places:
            self.rounding[place[0]] = self.styles.rounding[place[0]]
        hits = [
            p
            for p in places
            if self.observation.traits.needs_test and not last and self._found(p)[1] < self.hit
        ]
        likely = [place for place in hits if self._go_behind_likely(place)]
        found = [place for place in places if place not in hits and self._go_behind(place)]
        near = [
            place
            for place in found
            if self.styles.loss[place] < FAR and place[0] not in settled and not last
        ]
        self._search(near, polish_method(self.size), most=max(1, self.config.polish_steps))
        measured = [*likely, *(place for place in found if place not in near)]
        for place, loss in zip(measured, self._measure(measured), strict=True):
            self.loss[place] = loss
        self._confirm(likely)

    def _found(self, place: Place) -> tuple[np.ndarray, float, Status]:
        """Return the styles of a restart, or of its image's best one where it has none: with
        residual and end.
        """
        at = place if np.isfinite(self.styles.loss[place]) else self.styles.best(place[0])
        return self.styles.z[at], float(self.styles.loss[at]), Status(self.styles.status[at])

    def _go_behind(self, place: Place) -> bool:
        """Start a restart at the latent behind the styles that its image's search found, if
        there is one.
        """
        w, loss, status = self._found(place)
        here = self._nearest(place[0], w, loss)
        if not np.isfinite(here.weight).all():
            self.status[place] = Status.FAILED
            return False
        unsure = status == Status.ARRIVED and self.observation.traits.needs_test  # `polish` tells
        self.status[place] = Status.STALLED if unsure else status
        self._start(
            place,
            here,
            self.mapping.behind(
                here, near=loss < self.hit and not self.observation.traits.needs_test
            ),
        )
        return True

    def _go_behind_likely(self, place: Place) -> bool:
        """Start a restart of an altered image at the latent behind its likeliest styles, if both
        may explain it.
        """
        image, (w, loss, _) = place[0], self._found(place)
        self.status[place] = Status.STALLED
        if not loss < POLISH_AGAIN * self.denied.get(image, np.inf):
            return False
        here = self._likeliest(image, w)
        behind = None
        if self.styles.observation.accepts(image, self.styles.rounding[image], -1, here.w):
            behind = self.mapping.behind(here, near=True)
            self._start(place, here, behind)
        if behind is None or behind.loss > BEYOND * here.aim:
            self.denied[image] = loss
            return False
        return True

    def _start(self, place: Place, styles: Styles, behind: Behind) -> None:
        """Note where a restart begins, and what that took."""
        self.z[place], self.label[place] = behind.z, behind.label
        jacobians = method_named(LM).evaluations(self.size)
        self.evaluations[place] += jacobians * (
            styles.jacobians + behind.steps * self.mapping.cost / self.cost
        )

    def _nearest(self, image: int, w: np.ndarray, loss: float) -> Styles:
        """Return styles as least squares have found them, and what a deviation of them does to
        the image.
        """
        target = self.observation.target(image, self.styles.rounding[image])
        jacobian = linearise(self.styles.gen, target, -1, w)[2].astype(np.float64)
        square = jacobian.T @ jacobian / len(jacobian)
        return Styles(
            w, _root(square * len(w)) if np.isfinite(square).all() else square, CLOSE * loss, 1
        )

    def _likeliest(self, image: int, w: np.ndarray) -> Styles:
        """Return the likeliest styles of an altered image near some, and how likely others are
        beside them.
        """
        observation, rule = self.styles.observation, self.styles.rounding[image]
        w, used, _ = observation.rounding_polish(
            image, rule, -1, w, self.config.interval_steps, self.styles.prior
        )
        return Styles(w, _root(observation.fisher_information(image, w)), LIKELY, used + 1)


def _root(square: np.ndarray) -> np.ndarray:
    """Return the symmetric root of a positive semi-definite matrix."""
    values, vectors = np.linalg.eigh(square)
    root: np.ndarray = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    return root
