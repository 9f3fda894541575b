"""Signals that end the program: nothing half-written is left, whatever it is doing."""

import os
import signal
import threading
import time
from types import FrameType

from jattr.folders.interruption import interrupt, is_interruptible, remove_unfinished

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")  # the last is not everywhere


class Stopped(KeyboardInterrupt):
    """A signal that ends the program."""

    def __init__(self, number: int):
        """Keep which one."""
        super().__init__(signal.Signals(number).name)
        self.number = number


def exit_code(stop: KeyboardInterrupt) -> int:
    """Return the exit code of a program that a signal ended, as shells give it: 128 and more."""
    return 128 + (stop.number if isinstance(stop, Stopped) else int(signal.SIGINT))


def handle_signals(grace: float = 5.0) -> None:
    """Turn signals into `Stopped` in the main thread, from which this is called.

    What the process was started to ignore (`nohup`, `&` in scripts) it goes on to ignore. A second
    signal, or `grace` seconds in which the main thread did not come to an end (it may be compiling,
    which no signal reaches), ends the process at once, all unfinished folders removed.
    """
    received: list[int] = []

    def handle(number: int, _: FrameType | None) -> None:
        received.append(number)
        if len(received) == 1:
            interrupt(Stopped(number))
        elif is_interruptible():
            _end(number)

    default = (signal.SIG_DFL, signal.default_int_handler)
    numbers = [getattr(signal, name) for name in SIGNALS if hasattr(signal, name)]
    handled = [number for number in numbers if signal.getsignal(number) in default]
    for number in handled:
        signal.signal(number, handle)
    if not handled or not hasattr(os, "set_blocking"):
        return
    # The interpreter writes each signal's number here at once, even if no Python code can run.
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)

    def watch() -> None:
        while (byte := os.read(reader, 1)) and byte[0] not in handled:
            pass  # another signal, of somebody else's handler
        if byte:
            time.sleep(grace)
            while not is_interruptible():
                time.sleep(0.05)
            _end(byte[0])

    threading.Thread(target=watch, name="signals", daemon=True).start()


def _end(number: int) -> None:
    """End the process now."""
    remove_unfinished()
    os._exit(128 + number)
