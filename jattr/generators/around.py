"""What stands around every making of images: a log that records it, if one was asked to."""

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, TypeAlias

# (generator, latents [n, *latent_shape], labels int32 [n] or None, make) -> images [n, H, W, C],
# which `make()` makes
Around: TypeAlias = Callable[[Any, Any, Any, Callable[[], Any]], Any]

AROUND: ContextVar[Around | None] = ContextVar("around", default=None)
