"""Racing: candidates search the same images, and those that cannot win any more stop.

Every restart costs far more than a comparison, so after each round of restarts an image is given up
by the candidates whose further searches cannot change its verdict.
"""

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import jax

from jattr.attribution.evidence import bits_of
from jattr.attribution.pilot import PilotStudies, candidate_key, noise_digest
from jattr.decision.certificate import MIN_EXCESS
from jattr.decision.description_length import MIN_BITS
from jattr.decision.scores import FAIR
from jattr.decision.verdict import DecisionConfig
from jattr.inversion.multistart import Inverter, OnRound, excess, report_round, rounds
from jattr.inversion.observation.base import Observation
from jattr.inversion.scheduler import Scheduler
from jattr.inversion.settings import MultiStart, check_number
from jattr.inversion.two_stage import make_inverter
from jattr.inversion.warm_start import Given
from jattr.runtime import jax_defaults

CUT_SHORT = (
    "an image that one candidate brought to the floor, without a certificate, before the"
    " others' fair trial"
)
log = logging.getLogger("jattr")


@dataclass(frozen=True, kw_only=True)
class Racing:
    """When a candidate stops searching an image that it cannot win any more.

    What a leader is depends on how an image is observed: `search.observing`.
    """

    # restarts that every candidate has had before it may be given up; calibrations are made at
    # the default
    fair: int = FAIR
    # informative numbers of an image beyond those of a latent, from which an arrival ends the race
    min_excess: int = MIN_EXCESS
    pilot_images: int = 16  # own images of a pilot study
    compile_threads: int = 2

    def __post_init__(self) -> None:
        """Check every setting.

        Raises:
          InputError: one is not legal.
        """
        check_number("racing.fair", self.fair, 1, 100_000)
        check_number("racing.min_excess", self.min_excess, 0, 1 << 31)
        check_number("racing.pilot_images", self.pilot_images, 1, 10_000)
        check_number("racing.compile_threads", self.compile_threads, 1, 64)


def make_inverters(
    observations: Sequence[Observation],
    search: MultiStart,
    key: jax.Array,
    latents0: Mapping[str, Given] | None = None,
) -> list[Inverter]:
    """Return the inverter of each candidate.

    Candidates of one digest, rounding rule, prior, view and noise maps that see the same images
    share one, unless starts are given for one of them.

    Args:
      observations: the images, as each candidate's searches compare with them.
      search: settings of the inversion.
      key: of all random choices.
      latents0: where restarts begin, by the names of candidates; of others the warm start says.
    """
    latents0 = latents0 or {}
    scheduler, inverters = Scheduler(), dict[tuple[object, ...], Inverter]()
    of_candidates = []
    for observation in observations:
        gen = observation.gen
        given = latents0.get(observation.maker.name)
        view = (gen.space, gen.settings, noise_digest(observation.maker))
        name = (gen.digest, gen.rounding, gen.prior, *view, id(given))
        if name not in inverters or not inverters[name].observation.equals(observation):
            key_of = candidate_key(key, observation.maker)
            own = search if given is None else dataclasses.replace(search, warm_start=given)
            inverters[name] = make_inverter(observation, own, key_of, scheduler=scheduler)
        of_candidates.append(inverters[name])
    return of_candidates


class Wins:
    """Which images some candidate has brought to the floor, where that can be proof."""

    def __init__(self, inverters: Sequence[Inverter], racing: Racing):
        """Prepare; nothing is won yet.

        Args:
          inverters: of all candidates.
          racing: of the race.
        """
        self.inverters, self.racing = inverters, racing
        # (candidate, image) -> whether the first arrival has bits of evidence enough
        self._proves: dict[tuple[int, int], bool] = {}

    def won(self, image: int) -> bool:
        """Return whether some candidate's arrival at an image can be proof."""
        return any(
            inverter.results.arrived(image)
            and excess(inverter, image) >= self.racing.min_excess
            and self._is_proof(candidate, image)
            for candidate, inverter in enumerate(self.inverters)
        )

    def _is_proof(self, candidate: int, image: int) -> bool:
        """Return whether the candidate does not reproduce as well what it did not make."""
        index = candidate, image
        if index not in self._proves:
            inverter = self.inverters[candidate]
            bits = bits_of(inverter, image, inverter.observation.noise)
            self._proves[index] = bits is not None and bits >= MIN_BITS
        return self._proves[index]


def race(
    inverters: Sequence[Inverter],
    search: MultiStart,
    policy: DecisionConfig,
    pilot_studies: PilotStudies,
    progress: Callable[[int, int], object] | None,
    racing: Racing,
    on_round: OnRound | None = None,
) -> list[bool]:
    """Run rounds of restarts, cheap candidates first.

    An image that some candidate has brought to the floor is not searched on; where one is far ahead
    near the floor, only that one searches on, once the others have had a fair trial. An image that
    all leave far from it is searched until a candidate would have been recovered but for
    `policy.miss_chance`, unless the number of restarts was chosen; of one that it leaves below
    `search.stopping.far`, which may be a hard one of its own, it takes all its restarts.

    Returns:
      Of each image whether some candidate's search was ended before its fair trial.
    """
    # By cost; sorted() keeps the order of equals.
    inverters = sorted(inverters, key=lambda inverter: inverter.cost)
    count = inverters[0].results.count
    total, done = count * len(inverters), 0
    cut_short, wins = [False] * count, Wins(inverters, racing)
    with compiled_ahead(inverters, racing.compile_threads) as wait_for:
        for restarts in rounds(max(inverter.results.restarts for inverter in inverters)):
            # 1. One round of every candidate, of the images that it still needs to search.
            for inverter in inverters:
                if not restarts.start:
                    wait_for(inverter)
                _round(inverter, wins, restarts, search, policy, pilot_studies)
                if progress and not restarts.start:
                    done += count
                    progress(done, total)
            # 2. Polish what came near, so that the next round knows what has arrived.
            _polish(wins, search)
            # 3. Up to the fair trial every candidate's best residual counts as its score.
            if restarts.start < racing.fair:
                for inverter in inverters:
                    inverter.fair[:] = [inverter.best_loss(i) for i in range(count)]
                cut_short = [search.stopping.early and _is_cut_short(wins, i) for i in range(count)]
            if on_round is not None:
                for inverter in inverters:
                    on_round(report_round(inverter, restarts))
    for inverter in inverters:
        inverter.finish([i for i in range(count) if search.stopping.early and wins.won(i)])
    return cut_short


@contextlib.contextmanager
def compiled_ahead(
    inverters: Sequence[Inverter], threads: int
) -> Iterator[Callable[[Inverter], object]]:
    """Begin to compile the inverters' first programs, in order.

    Yields:
      A function that waits for an inverter's program.
    """
    firsts: dict[object, Inverter] = {}  # candidates of one architecture share a program
    for inverter in inverters:
        firsts.setdefault(inverter.gen.apply, inverter)
    with ThreadPoolExecutor(threads) as pool:
        ready = {
            apply: pool.submit(jax_defaults()(_prepare), inverter)
            for apply, inverter in firsts.items()
        }
        yield lambda inverter: ready[inverter.gen.apply].result()


def _prepare(inverter: Inverter) -> None:
    try:
        inverter.prepare()
    except Exception as error:  # the search itself meets it again, and can deal with it
        log.debug("compiling ahead for %r: %s", inverter.gen.name, error)


def _round(
    inverter: Inverter,
    wins: Wins,
    restarts: range,
    search: MultiStart,
    policy: DecisionConfig,
    pilot_studies: PilotStudies,
) -> None:
    """Run one round of one candidate, of the images that need it."""
    fair = restarts.start >= wins.racing.fair
    needed, won = [], []
    for i in range(inverter.results.count):
        if not search.stopping.early or needs_search(inverter, wins, i, fair=fair):
            needed.append(i)
        elif not restarts.start:
            won.append(i)
    # Of images that are far from every candidate, a pilot study says how many restarts are enough.
    far = []
    if fair and search.stopping.early and search.restarts is None and policy.thresholds:
        far = [
            i
            for i in needed
            if _lead(wins.inverters, i) > inverter.observation.traits.leader
            and inverter.best_loss(i) > search.stopping.far
        ]
    inverter.round([i for i in needed if i not in far], restarts, won)
    if far:
        enough = pilot_studies.of(inverter).restarts_needed(policy.miss_chance)
        inverter.round(far, range(restarts.start, min(restarts.stop, enough or restarts.stop)))


def _polish(wins: Wins, search: MultiStart) -> None:
    """Polish what a round has brought near: the leader's first, the others' if that is too little.

    Each image has its own leader.
    """
    inverters = wins.inverters
    if not search.stopping.early:
        for inverter in inverters:
            inverter.polish(range(inverter.results.count))
        return
    images = range(inverters[0].results.count)
    leaders = [min(inverters, key=lambda inverter: inverter.best_loss(i)) for i in images]
    for of_leader in (True, False):
        for inverter in inverters:
            own = [i for i in images if (leaders[i] is inverter) == of_leader]
            inverter.polish([i for i in own if needs_search(inverter, wins, i, fair=False)])


def needs_search(inverter: Inverter, wins: Wins, image: int, *, fair: bool) -> bool:
    """Return whether an image is to be searched on by this candidate.

    Args:
      inverter: the candidate.
      wins: of all candidates.
      image: its index.
      fair: whether every candidate has had its fair trial.
    """
    if inverter.results.arrived(image) or wins.won(image):
        return False
    if not fair:
        return True
    lead, traits = _lead(wins.inverters, image), inverter.observation.traits
    return lead > traits.leader or inverter.best_loss(image) < traits.lead_ratio * lead


def _is_cut_short(wins: Wins, image: int) -> bool:
    """Return whether a candidate's search was ended by another's arrival, and not by its own."""
    return wins.won(image) and not all(
        inverter.results.arrived(image) for inverter in wins.inverters
    )


def _lead(inverters: Sequence[Inverter], image: int) -> float:
    """Return the lowest loss of an image under any candidate."""
    return min(inverter.best_loss(image) for inverter in inverters)
