"""Searches of a generator with styles: first the styles, then the latent behind them.

The kinks of a mapping network stop searches that go from the image straight to the latent. Styles
are searched without it. The latent behind them costs little: hundreds of searches through the
mapping network alone, where each direction of the styles weighs what it does to the image. A few
steps through the whole generator end it.

The mapping network and its styles: Karras, Laine, Aila, arXiv 1812.04948, section 2.
"""

from collections.abc import Container, Sequence

import jax
import numpy as np

from jattr.generators.base import Route
from jattr.inversion.linearization import linearise
from jattr.inversion.mapping_inverse import Behind, MappingSearch, Styles
from jattr.inversion.multistart import (
    Index,
    Inversion,
    Inverter,
    OneStageSearch,
    Trace,
)
from jattr.inversion.observation.base import Observation
from jattr.inversion.scheduler import Scheduler, Status
from jattr.inversion.settings import LM, MultiStart
from jattr.inversion.warm_start import Encoder, Pool, Prior, PriorSamples, Ridge


def make_inverter(
    observation: Observation,
    settings: MultiStart,
    key: jax.Array,
    pool: PriorSamples | None = None,
    scheduler: Scheduler | None = None,
) -> Inverter:
    """Return the inverter for a candidate.

    It goes through the candidate's styles, where it has some and no method was named.

    Args:
      observation: the images and the candidate.
      settings: of the searches.
      key: of every random choice.
      pool: images of the candidate from its prior; None: make them.
      scheduler: of the call that this is a part of; None: a new one.
    """
    gen = observation.gen
    # starts of the caller's own are latents, not styles
    of_latents = not isinstance(settings.warm_start, (Ridge, Pool, Prior, Encoder))
    one_stage = settings.solver is not None or of_latents or not observation.traits.uses_styles
    if gen.router is None or one_stage:
        return OneStageSearch(observation, settings, key, pool, scheduler)
    route = gen.router(gen)
    if (
        max(int(np.prod(gen.latent_shape)), *route.styles.latent_shape)
        > settings.automatic.max_dense
    ):
        return OneStageSearch(observation, settings, key, pool, scheduler)
    return TwoStageSearch(observation, route, settings, key, pool, scheduler)


class TwoStageSearch:
    """Two searches in a row: `styles` from the image to styles, `whole` on to the latent.

    Between them a `MappingSearch` goes from styles to the latent behind them. Results are those of
    `whole`; its restarts begin where the mapping search ended.
    """

    def __init__(
        self,
        observation: Observation,
        route: Route,
        settings: MultiStart,
        key: jax.Array,
        pool: PriorSamples | None = None,
        scheduler: Scheduler | None = None,
    ):
        """Prepare; nothing is searched yet.

        Args:
          observation: the images and the candidate.
          route: the candidate's two steps.
          settings: of the searches.
          key: of every random choice.
          pool: images of the candidate from its prior; None: make them.
          scheduler: of the call that this is a part of; None: a new one.
        """
        keys = jax.random.split(key, 3)
        whole = OneStageSearch(observation, settings, keys[0], pool, scheduler)
        self.whole, self.observation, self.gen, self.settings = (
            whole,
            observation,
            whole.gen,
            settings,
        )
        self.scheduler, self.pool, self.cost, self.size = (
            whole.scheduler,
            whole.pool,
            whole.cost,
            whole.size,
        )
        self.results, self.rounding, self.fair = whole.results, whole.rounding, whole.fair
        self.hit = settings.two_stage.hit * observation.noise
        random = np.random.default_rng(np.asarray(jax.random.key_data(keys[2])))
        self.mapping = MappingSearch(
            self.gen, route.mapping, self.pool, whole.prior, settings, random, self.scheduler
        )
        # the same pool, seen as styles and images
        styled = PriorSamples(self.mapping.styles, None, self.pool.features, self.pool.factor)
        same = settings.with_restarts(self.results.restarts)
        self.styles = OneStageSearch(
            observation.for_generator(route.styles), same, keys[1], styled, self.scheduler
        )
        # image -> the residual of styles that do not explain it
        self.denied: dict[int, float] = {}

    @property
    def first(self) -> OneStageSearch:
        """The search of the styles."""
        return self.styles

    def prepare(self) -> None:
        """Compile the program of the first round: of the styles."""
        self.styles.prepare()

    def run_pilot_study(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return how the searches of own images' styles went.

        The latent behind them adds next to nothing.
        """
        return self.styles.run_pilot_study()

    def round(self, images: Sequence[int], restarts: range, settled: Sequence[int] = ()) -> None:
        """Search these images from these restarts: styles, latents behind them, the whole."""
        early_stop, results = self.settings.stopping.early, self.results
        # styles at the floor may still be wrong ones
        proven = early_stop and not self.observation.traits.needs_test
        open_ = [i for i in images if not (proven and self.styles.results.arrived(i))]
        self.styles.round(open_, restarts, settled)
        for restart in restarts[: max(0, results.restarts - restarts.start)]:
            indices = [
                (i, restart) for i in (*images, *settled) if not (early_stop and results.arrived(i))
            ]
            self._follow([index for index in indices if self._is_worth(index)])

    def polish(self, images: Sequence[int]) -> None:
        """Polish styles, and follow those that this has brought to the floor."""
        styles, results = self.styles.results, self.results
        self.styles.polish([i for i in images if not styles.arrived(i)])
        hits = [
            styles.best(i)
            for i in images
            if self.styles.best_loss(i) < self.hit and not results.arrived(i)
        ]
        self._follow([index for index in hits if not np.isfinite(results.loss[index])])
        if self.observation.traits.needs_test:
            open_ = self.whole.open(images)
            near = [index for index in open_ if results.loss[index] < self.observation.traits.near]
            self.whole.confirm(self.whole.untested(near))

    def finish(self, settled: Container[int] = ()) -> None:
        """Follow the best styles of every image without a latent; then as with one stage."""
        styles, results = self.styles.results, self.results
        lost = [
            styles.best(i) for i in range(results.count) if not np.isfinite(results.loss[i]).any()
        ]
        self._follow(
            [index for index in lost if np.isfinite(styles.loss[index])],
            settled,
            last=self.observation.traits.needs_test,
        )
        self.whole.finish()

    def best_loss(self, image: int) -> float:
        """Return the lowest loss of an image, of latents or of styles not followed yet."""
        return min(self.whole.best_loss(image), self.styles.best_loss(image))

    def result(self) -> Inversion:
        """Return everything, [images, restarts]; steps and evaluations with those of the styles."""
        result, styles = self.whole.result(), self.styles.results
        return result._replace(
            steps=result.steps + styles.steps, evaluations=result.evaluations + styles.evaluations
        )

    def trace(self, index: Index) -> Trace:
        """Return the trace of a restart: of its styles, then of the latent behind them."""
        before = self.styles.trace(index)
        spent = before[-1][0] if before else 0.0
        after = self.whole.trace(index)
        return before + tuple((spent + evaluations, loss) for evaluations, loss in after)

    def _is_worth(self, index: Index) -> bool:
        """Return whether a restart's styles are near enough to follow them at once.

        If they are not, the end of the restart is noted.
        """
        styles, status = self.styles.results, self.results.status
        at = self._styles_index(index)
        loss = float(styles.loss[at])
        if not np.isfinite(loss):
            status[index] = Status.FAILED
            return False
        if self.settings.stopping.early and not loss < self.hit:
            status[index] = styles.status[at]  # as good as run: its end is known
            return False
        return True

    def _follow(
        self, indices: Sequence[Index], settled: Container[int] = (), *, last: bool = False
    ) -> None:
        """Search the latents behind the styles of restarts, and polish or test those of near ones.

        Args:
          indices: the restarts.
          settled: images that need nothing that costs much.
          last: whether a latent is wanted even if it can be none that explains its image.
        """
        for image, _ in indices:
            self.rounding[image] = self.styles.rounding[image]
        hits = []
        if self.observation.traits.needs_test and not last:
            hits = [index for index in indices if self._styles_of(index)[1] < self.hit]
        confirmable = [index for index in hits if self._go_behind_likeliest(index)]
        others = [index for index in indices if index not in hits and self._go_behind(index)]
        # a few steps through the whole generator end what began near
        near = [
            index
            for index in others
            if self.styles.results.loss[index] < self.settings.stopping.far
            and index[0] not in settled
            and not last
        ]
        self.whole.search(
            near,
            self.whole.polish_method,
            most=max(1, self.settings.polish.steps),
        )
        measured = [*confirmable, *(index for index in others if index not in near)]
        for index, loss in zip(measured, self.whole.measure(measured), strict=True):
            self.results.loss[index] = loss if np.isfinite(loss) else np.inf
        self.whole.confirm(confirmable)

    def _styles_index(self, index: Index) -> Index:
        """Return the restart itself, or its image's best one where it has no styles."""
        styles = self.styles.results
        return index if np.isfinite(styles.loss[index]) else styles.best(index[0])

    def _styles_of(self, index: Index) -> tuple[np.ndarray, float, Status]:
        """Return the styles of a restart, with residual and end."""
        styles, at = self.styles.results, self._styles_index(index)
        return styles.z[at], float(styles.loss[at]), Status(styles.status[at])

    def _go_behind(self, index: Index) -> bool:
        """Start a restart at the latent behind its styles, if there is one."""
        w, loss, status = self._styles_of(index)
        styles = self._nearest(index[0], w, loss)
        if not np.isfinite(styles.weight).all():
            self.results.status[index] = Status.FAILED
            return False
        # where the floor proves nothing, `confirm` decides on arrival
        uncertain = self.observation.traits.needs_test
        unsure = status == Status.ARRIVED and uncertain
        self.results.status[index] = Status.STALLED if unsure else status
        near = loss < self.hit and not uncertain
        self._start(index, styles, self.mapping.behind(styles, near=near))
        return True

    def _go_behind_likeliest(self, index: Index) -> bool:
        """Start a restart of an altered image at the latent behind its likeliest styles.

        Only if both may explain the image.
        """
        image, (w, loss, _) = index[0], self._styles_of(index)
        self.results.status[index] = Status.STALLED
        if not loss < self.settings.polish.again * self.denied.get(image, np.inf):
            return False
        styles = self._likeliest(image, w)
        behind = None
        if self.styles.observation.accepts(image, self.styles.rounding[image], -1, styles.w):
            behind = self.mapping.behind(styles, near=True)
            self._start(index, styles, behind)
        if behind is None or behind.loss > self.settings.two_stage.beyond * styles.aim:
            self.denied[image] = loss
            return False
        return True

    def _start(self, index: Index, styles: Styles, behind: Behind) -> None:
        """Note where a restart begins, and what that took."""
        results = self.results
        results.z[index], results.label[index] = behind.z, behind.label
        jacobians = LM.evaluations(self.size)
        results.evaluations[index] += jacobians * (
            styles.jacobians + behind.steps * self.mapping.cost / self.cost
        )

    def _nearest(self, image: int, w: np.ndarray, loss: float) -> Styles:
        """Return styles as least squares left them, with what a deviation does to the image."""
        target = self.observation.target(image, self.styles.rounding[image])
        jacobian = linearise(self.styles.gen, target, -1, w)[2].astype(np.float64)
        # a deviation s of the styles changes the mean square by s'(J'J / n)s = |W s|^2 / d
        square = jacobian.T @ jacobian / len(jacobian)
        weight = _root(square * len(w)) if np.isfinite(square).all() else square
        return Styles(w, weight, self.settings.two_stage.close * loss, 1)

    def _likeliest(self, image: int, w: np.ndarray) -> Styles:
        """Return the likeliest styles of an altered image near some, with their information."""
        observation, rule = self.styles.observation, self.styles.rounding[image]
        w, used, _ = observation.rounding_polish(
            image, rule, -1, w, self.settings.rounding_polish, self.styles.prior
        )
        return Styles(
            w,
            _root(observation.fisher_information(image, w)),
            self.settings.two_stage.likely,
            used + 1,
        )


def _root(square: np.ndarray) -> np.ndarray:
    """Return the symmetric root of a positive semi-definite matrix."""
    values, vectors = np.linalg.eigh(square)
    root: np.ndarray = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    return root
