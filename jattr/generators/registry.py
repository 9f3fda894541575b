"""The kinds of generators: card kind -> how its stored tensors are checked and built into a pure function."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from jattr.generators import layered, stored
from jattr.generators.card import Card


class Kind(NamedTuple):
    """What loading needs to know about one kind of generator."""

    check_params: Callable[[Card, Mapping[str, tuple[int, ...]]], None]  # (card, shapes by path); GeneratorError
    build: Callable[[Card, Mapping[str, Any]], tuple[Callable[..., Any], Any]]  # (card, params) -> (apply, state)


GENERATORS: dict[str, Kind] = {"layered": Kind(stored.check_params, layered.build)}
