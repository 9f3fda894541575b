"""Reading from a socket with an end: at most so many bytes for so long, whatever the peer does."""

import io
import socket
import time
from collections.abc import Callable
from http.client import HTTPResponse
from typing import Any


class BoundedReader(io.RawIOBase):
    """A socket's stream that ends after `max_bytes`; `TimeoutError` after `seconds` in all.

    A timeout of the socket alone bounds each wait, so a peer that sends a byte now and then could
    hold a thread for ever.
    """

    def __init__(
        self, stream: io.BufferedIOBase, sock: socket.socket, *, max_bytes: int, seconds: float
    ) -> None:
        """Take over the stream that `sock.makefile` gave."""
        self._raw, self._sock = stream.detach(), sock
        self.renew(max_bytes=max_bytes, seconds=seconds)

    def renew(self, *, max_bytes: int, seconds: float) -> None:
        """Begin to count anew."""
        self._left, self._deadline = max_bytes, time.monotonic() + seconds

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: memoryview) -> int | None:  # type: ignore[override]
        """Read what is there, or nothing once enough has been read."""
        if self._left <= 0:
            return 0
        seconds = self._deadline - time.monotonic()
        if seconds <= 0:
            raise TimeoutError("the other side took too long")
        self._sock.settimeout(seconds)
        count = self._raw.readinto(memoryview(buffer)[: self._left])
        self._left -= count or 0
        return count

    def close(self) -> None:
        """Close the stream, not the socket."""
        if not self.closed:
            self._raw.close()
        super().close()


def bounded_response(max_bytes: int, seconds_left: Callable[[], float]) -> type[HTTPResponse]:
    """Return the class of responses of which so many bytes are read, head included, for so long."""

    class BoundedResponse(HTTPResponse):
        def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
            super().__init__(sock, *args, **options)
            stream = BoundedReader(self.fp, sock, max_bytes=max_bytes, seconds=seconds_left())
            self.fp = io.BufferedReader(stream)

    return BoundedResponse
