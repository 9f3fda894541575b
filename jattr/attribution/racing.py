"""Several candidates over the same images: who searches on, and until when."""

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax

from jattr.attribution.pilot import PilotStudies, candidate_key
from jattr.decision.certificate import MIN_EXCESS
from jattr.decision.scores import FAIR
from jattr.decision.verdict import DecisionConfig
from jattr.inversion.config import InvertConfig
from jattr.inversion.multistart import Inverter, rounds
from jattr.inversion.observation.base import Observation
from jattr.inversion.scheduler import FAR
from jattr.inversion.two_stage import make_inverter

THREADS = 2
log = logging.getLogger("jattr")


@contextlib.contextmanager
def compiled_ahead(inverters: Sequence[Inverter]) -> Iterator[Callable[[Inverter], object]]:
    """Begin to compile the inverters' first programs, in order, and give a function that waits
    for an inverter's.
    """
    firsts: dict[object, Inverter] = {}
    for inverter in inverters:
        firsts.setdefault(inverter.gen.apply, inverter)
    with ThreadPoolExecutor(THREADS) as pool:
        ready = {apply: pool.submit(_prepare, inverter) for apply, inverter in firsts.items()}
        yield lambda inverter: ready[inverter.gen.apply].result()


def _prepare(inverter: Inverter) -> None:
    try:
        inverter.prepare()
    except Exception as error:  # the search itself meets it again, and can deal with it
        log.debug("compiling ahead for %r: %s", inverter.gen.name, error)


CUT_SHORT = (
    "an image that one candidate brought to the floor, without a certificate, before the"
    " others' fair trial"
)


def make_inverters(
    observation: Sequence[Observation], config: InvertConfig, key: jax.Array
) -> list[Inverter]:
    """Return the inverter of each candidate: one for all of one digest, rounding rule, prior and
    the same images.
    """
    made: dict[tuple[Any, ...], Inverter] = {}
    inverters = []
    for mine in observation:
        gen = mine.gen
        name = (gen.digest, gen.rounding, gen.prior, gen.space, gen.settings)
        twin = made.get(name)
        if twin is None or not twin.observation.equals(mine):
            twin = made[name] = make_inverter(mine, config, candidate_key(key, mine.maker))
        inverters.append(twin)
    return inverters


def search(
    inverters: list[Inverter],
    config: InvertConfig,
    decision: DecisionConfig,
    pilot_studies: PilotStudies,
    progress: Any,
) -> list[bool]:
    """Run rounds of restarts, cheap candidates first; return for which images some candidate had no
    fair trial.

    An image that some candidate has brought to the floor is not searched on; where one is far ahead
    near the floor, only that one searches on, once the others have had a fair trial. An image that
    all leave far from it is searched until a candidate would have been found but for
    `decision.miss_chance`, unless the number of restarts was chosen; of one that it leaves below
    `FAR`, which may be a hard one of its own, it takes all its restarts.
    """
    # sorted() keeps the order of equals
    inverters = sorted(inverters, key=lambda inverter: inverter.cost)
    count = inverters[0].count
    total, done = count * len(inverters), 0
    most = max(inverter.restarts for inverter in inverters)
    cut = [False] * count
    with compiled_ahead(inverters) as wait_for:
        for restarts in rounds(most):
            for inverter in inverters:
                if not restarts.start:
                    wait_for(inverter)
                _round(inverter, inverters, restarts, config, decision, pilot_studies)
                if progress and not restarts.start:
                    done += count
                    progress(done, total)
            _polish(inverters, config)
            if restarts.start < FAIR:
                for inverter in inverters:
                    inverter.fair[:] = [inverter.best_loss(i) for i in range(count)]
                cut = [config.early_stop and _cut_short(inverters, i) for i in range(count)]
    for inverter in inverters:
        inverter.finish([i for i in range(count) if config.early_stop and _settled(inverters, i)])
    return cut


def _round(
    inverter: Inverter,
    inverters: list[Inverter],
    restarts: range,
    config: InvertConfig,
    decision: DecisionConfig,
    pilot_studies: PilotStudies,
) -> None:
    """Run one round of one candidate, of the images that need it."""
    everything, fair = range(inverter.count), restarts.start >= FAIR
    wanted = [
        i for i in everything if not config.early_stop or _wanted(inverter, inverters, i, fair=fair)
    ]
    settled = [i for i in everything if i not in wanted and not restarts.start]
    studies = fair and config.early_stop and config.restarts is None and decision.thresholds
    far = [
        i
        for i in wanted
        if studies
        and _lead(inverters, i) > inverter.observation.traits.leader
        and inverter.best_loss(i) > FAR
    ]
    inverter.round([i for i in wanted if i not in far], restarts, settled)
    if far:
        needed = pilot_studies.of(inverter).restarts_needed(decision.miss_chance)
        inverter.round(far, range(restarts.start, min(restarts.stop, needed or restarts.stop)))


def _polish(inverters: list[Inverter], config: InvertConfig) -> None:
    """Polish what a round has brought near: of each image the leader's first, the others' if
    that is not enough.
    """
    if not config.early_stop:
        for inverter in inverters:
            inverter.polish(range(inverter.count))
        return
    everything = range(inverters[0].count)
    leaders = [min(inverters, key=lambda inverter: inverter.best_loss(i)) for i in everything]
    for first in (True, False):
        for inverter in inverters:
            mine = [i for i in everything if (leaders[i] is inverter) == first]
            inverter.polish([i for i in mine if _wanted(inverter, inverters, i, fair=False)])


def _wanted(inverter: Inverter, inverters: list[Inverter], image: int, *, fair: bool) -> bool:
    """Return whether an image is to be searched on by this candidate.

    Args:
      inverter: the candidate.
      inverters: all of them.
      image: its number.
      fair: whether every candidate has had its fair trial.
    """
    if inverter.arrived(image) or _settled(inverters, image):
        return False
    if not fair:
        return True
    lead, observation = _lead(inverters, image), inverter.observation
    return (
        lead > observation.traits.leader
        or inverter.best_loss(image) < observation.traits.lead_ratio * lead
    )


def _settled(inverters: list[Inverter], image: int) -> bool:
    """Return whether some candidate has brought an image to the floor, where that can be proof."""
    return any(
        inverter.arrived(image) and inverter.excess(image) >= MIN_EXCESS for inverter in inverters
    )


def _cut_short(inverters: list[Inverter], image: int) -> bool:
    """Return whether some candidate's search of an image was ended by another's arrival, and not
    by its own.
    """
    return _settled(inverters, image) and not all(inverter.arrived(image) for inverter in inverters)


def _lead(inverters: list[Inverter], image: int) -> float:
    """Return the lowest loss of an image under any candidate."""
    return min(inverter.best_loss(image) for inverter in inverters)
