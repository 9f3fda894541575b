"""Compiling ahead: programs of the first round, in threads, while cheaper candidates are searched."""

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from jattr.inversion.inverter import Inverter

THREADS = 2
log = logging.getLogger("jattr")


@contextlib.contextmanager
def compiled_ahead(inverters: Sequence[Inverter]) -> Iterator[Callable[[Inverter], object]]:
    """Begin to compile the inverters' first programs, in order, and give a function that waits for an inverter's."""
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
