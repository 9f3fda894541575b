"""Reading from a socket with an end: so many bytes, until such a time, whatever the other side
does.
"""

import io
import socket
import time
from typing import Any


class BoundedReader(io.RawIOBase):
    """The stream of a socket that ends after `max_bytes` and raises `TimeoutError` after `seconds`
    in all.

    A timeout of the socket alone bounds each wait, so a peer that sends a byte now and then could
    hold a thread for ever.
    """

    def __init__(self, stream: Any, sock: socket.socket, *, max_bytes: int, seconds: float):
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
        count: int | None = self._raw.readinto(memoryview(buffer)[: self._left])
        self._left -= count or 0
        return count

    def close(self) -> None:
        """Close the stream, not the socket."""
        if not self.closed:
            self._raw.close()
        super().close()
