"""`Followed`: a generator's function followed by another one, which keeps its two parts apart.

Programs of the first part, the dear ones to compile, then serve every second part.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax

from jattr.generators.base import ApplyFn

# (state, images [n, H, W, C]) -> [n, H', W', C']
AfterFn: TypeAlias = Callable[[Any, jax.Array], jax.Array]


@dataclass(frozen=True)
class Followed:
    """An `apply` whose state has `generator`, the first part's own, beside what the second part
    takes.
    """

    first: ApplyFn
    after: AfterFn
    shape: tuple[int, int, int]  # (H, W, C), of what the first part makes

    def __call__(
        self, state: dict[str, Any], z: jax.Array, *, label: jax.Array | None = None
    ) -> jax.Array:
        """Return both parts, one after the other."""
        return self.after(rest(state), self.first(state["generator"], z, label=label))


def rest(state: dict[str, Any]) -> dict[str, Any]:
    """Return the state of the second part."""
    return {name: value for name, value in state.items() if name != "generator"}
