"""The hook that every call of `Generator.generate` runs through: how a log records images.

It is a module of its own, without jax, because the ledger imports it.
"""

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, TypeAlias

from jattr.typing import PyTree

# (generator, latents [n, *latent_shape], labels int32 [n] or None, make) -> images [n, H, W, C]:
# what `make()` returns
GenerateHook: TypeAlias = Callable[[PyTree, Any, Any, Callable[[], Any]], Any]

GENERATE_HOOK: ContextVar[GenerateHook | None] = ContextVar("generate_hook", default=None)
