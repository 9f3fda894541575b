"""Where the time of a run went."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

# compiling, or fetching from the persistent cache
COMPILE_EVENT = "/jax/core/compile/backend_compile_duration"


class Clock:
    """Adds up the seconds of named parts; `compile` lies within the others."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the block's time to a part."""
        start = time.monotonic()
        try:
            yield
        finally:
            self._add(name, time.monotonic() - start)

    def watch_compilation(self) -> None:
        """Count JAX's compilations from now on."""
        import jax

        self._add("compile", 0.0)
        jax.monitoring.register_event_duration_secs_listener(self._on_event)

    def rounded(self) -> dict[str, float]:
        """Return the parts in seconds, to the millisecond."""
        return {name: round(value, 3) for name, value in self.seconds.items()}

    def _on_event(self, event: str, duration_secs: float, **_: Any) -> None:
        if event == COMPILE_EVENT:
            self._add("compile", duration_secs)

    def _add(self, name: str, seconds: float) -> None:
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds
