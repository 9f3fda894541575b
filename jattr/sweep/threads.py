"""How many threads sums are split over: their last digits depend on it.

Measured on two cores: searches are the same with one and two threads of XLA's (NPROC), not with one
and two of OpenBLAS's, which NumPy and SciPy make the starts with.
"""

import os
from collections.abc import Mapping

# what OpenBLAS reads, the first that states a number
VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")


def num_threads(environment: Mapping[str, str] | None = None) -> int:
    """Return the threads of linear algebra on the host.

    As the environment says, at most a core each.

    >>> num_threads({"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": ""})
    1
    """
    environment = os.environ if environment is None else environment
    stated = [
        int(text)
        for name in VARIABLES
        if (text := environment.get(name, "").strip()).isdecimal() and int(text)
    ]
    return min([*stated[:1], _cores()])


def thread_variables() -> dict[str, str]:
    """Return the environment of a process that is to have as many threads as this one."""
    return dict.fromkeys(VARIABLES, str(num_threads()))


def _cores() -> int:
    """Return the cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
