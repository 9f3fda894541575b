"""The memory of this process, for checks on how much a reading takes."""

import contextlib
import resource
import sys
from pathlib import Path

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak() -> int:
    """Return the most memory that this process ever had resident, in bytes.

    On Linux from /proc: `ru_maxrss` is inherited from the parent process there, so a child of a
    large one, such as a test run, would seem to need nothing.
    """
    if STATUS.exists():
        lines = dict(line.split(":", 1) for line in STATUS.read_text().splitlines() if ":" in line)
        return int(lines["VmHWM"].split()[0]) << 10
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def idle() -> int:
    """Return the memory of this process as it is now, in bytes.

    Where that is possible, `peak` counts from here.
    """
    if CLEAR.exists():
        with contextlib.suppress(OSError):  # not permitted: the peak so far counts as idle
            CLEAR.write_text("5")  # resets the peak to the present; see proc_pid_clear_refs(5)
    return peak()
