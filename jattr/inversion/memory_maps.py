"""Long runs and the number of memory maps that Linux allows a process (`vm.max_map_count`, 65,530 as it comes).

Every compiled program takes about ten. Beyond the last one an allocation fails inside the compiler, which ends the
process without a word: seen in a test run of 2,700 tests.
"""

from pathlib import Path

import jax

MAPS, LIMIT = Path("/proc/self/maps"), Path("/proc/sys/vm/max_map_count")
SHARE = 0.5  # of the limit, from which on programs are dropped


def spare_memory_maps() -> bool:
    """Drop every compiled program if the process has used half of its memory maps; return whether it did.

    Programs that are needed again come from the compilation cache. Where the system does not say, nothing is done.
    """
    try:
        used, limit = MAPS.read_bytes().count(b"\n"), int(LIMIT.read_text())
    except (OSError, ValueError):
        return False
    if used <= SHARE * limit:
        return False
    jax.clear_caches()
    return True
