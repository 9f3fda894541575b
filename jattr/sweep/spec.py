"""`Spec`: what a sweep searches, as frozen dataclasses. `spec_file` reads it from TOML."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jattr.alterations.registry import parse_chain
from jattr.attacks.evade import EVASIONS
from jattr.errors import InputError, suggest
from jattr.inversion.config import InvertConfig
from jattr.typing import Json, JsonObject

KINDS = ("own", "others", "folder", "renderer")
AGAINST = ("all", "maker")
NONE = "none"
MAX_COUNT = 10_000_000
SETTINGS = tuple(  # what a sweep may vary; seed and lanes are its own affair
    field.name for field in dataclasses.fields(InvertConfig) if field.name not in ("seed", "lanes")
)


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """A source of images.

    `own`: of each candidate, from its prior. `others`: of generators that are no candidates.
    `folder`: files. `renderer`: faces that no model made.
    """

    kind: str  # one of KINDS
    count: int = 32  # of each generator; of a folder, at most
    seed: int = 1
    generators: tuple[str, ...] = ()  # `others`: folders or bundled names
    folder: str = ""  # `folder`
    resize: bool = False  # `folder`: bring them to the candidates' size by Lanczos

    def __post_init__(self) -> None:
        """Check.

        Raises:
          InputError: what does not go together.
        """
        if self.kind not in KINDS:
            raise InputError(
                f"pictures of the kind {self.kind!r}; {suggest(str(self.kind), list(KINDS))}"
            )
        check_number("count", self.count, 1, MAX_COUNT)
        check_number("seed", self.seed, 0, 2**63 - 1)
        if (self.kind == "others") != bool(self.generators):
            raise InputError(
                f"pictures of the kind {self.kind!r} with generators {list(self.generators)};"
                " 'others' alone has some"
            )
        if (self.kind == "folder") != bool(self.folder):
            raise InputError(
                f"pictures of the kind {self.kind!r} with folder {self.folder!r}; 'folder' alone"
                " has one"
            )


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One way to search, by name."""

    name: str
    config: InvertConfig
    # alterations are part of the model; False: altered images are taken as they are
    modelled: bool = True

    def __post_init__(self) -> None:
        """Check the name.

        Raises:
          InputError: it is no name.
        """
        check_name("a setting's name", self.name)


@dataclass(frozen=True, kw_only=True)
class Spec:
    """A sweep: every image, alteration and attack, under every candidate, setting and seed."""

    candidates: tuple[str, ...]  # folders or bundled names
    pictures: tuple[Pictures, ...]
    settings: tuple[Setting, ...]
    name: str = "sweep"
    against: str = "all"  # "maker": own images are searched under their maker alone
    alterations: tuple[str, ...] = (NONE,)
    attacks: tuple[str, ...] = (NONE,)  # METHOD:EPS of `jattr.attacks.evade`, on generated images
    seeds: tuple[int, ...] = (0,)  # of the searches: one repeat each
    block: int = 32  # images of one cell, at most

    def __post_init__(self) -> None:
        """Check everything that can be checked without files.

        Raises:
          InputError: something is not legal, given twice, or missing.
        """
        check_name("the sweep's name", self.name)
        for what in ("candidates", "pictures", "settings", "alterations", "attacks", "seeds"):
            values = getattr(self, what)
            names = [value.name for value in values] if what == "settings" else list(values)
            if not names:
                raise InputError(f"{what} is empty, so the sweep has no cells; give at least one")
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                raise InputError(f"{what} has {twice!r} twice; give each once")
        if self.against not in AGAINST:
            raise InputError(
                f"against is {self.against!r}; {suggest(str(self.against), list(AGAINST))}"
            )
        check_number("block", self.block, 1, 4_096)
        for seed in self.seeds:
            check_number("a seed", seed, 0, 2**63 - 1)
        for text in self.alterations:
            if text != NONE and parse_chain(text).free:
                raise InputError(
                    f"alteration {text!r} has an unknown factor; a sweep takes given ones, as"
                    " brightness:0.8"
                )
        for text in self.attacks:
            attack_of(text)


def to_json(spec: Spec) -> JsonObject:
    """Return a spec as JSON values."""
    return dataclasses.asdict(spec)


def from_json(data: Mapping[str, Json]) -> Spec:
    """Return the spec that `to_json` wrote.

    Raises:
      InputError: it is none.

    >>> settings = grid({"restarts": [1, 2]})
    >>> spec = Spec(candidates=("a",), pictures=(Pictures(kind="own"),), settings=settings)
    >>> from_json(to_json(spec)) == spec
    True
    """
    try:
        values: JsonObject = {
            n: tuple(value) if isinstance(value, list) else value for n, value in data.items()
        }
        pictures = [
            Pictures(**{**table, "generators": tuple(table["generators"])})
            for table in data["pictures"]
        ]
        settings = [
            Setting(**{**table, "config": InvertConfig(**table["config"])})
            for table in data["settings"]
        ]
        return Spec(**{**values, "pictures": tuple(pictures), "settings": tuple(settings)})
    except (TypeError, KeyError, AttributeError) as error:
        raise InputError(f"it is no spec of a sweep: {error}") from error


def attack_of(text: str) -> tuple[str, int] | None:
    """Return method and eps of an attack as `noise:4`; None for "none".

    Raises:
      InputError: it is no attack.

    >>> attack_of("orthogonal:4"), attack_of("none")
    (('orthogonal', 4), None)
    """
    if text == NONE:
        return None
    method, _, eps = text.partition(":")
    if method not in EVASIONS:
        raise InputError(f"attack {text!r}; {suggest(method, [NONE, *EVASIONS])}, followed by :EPS")
    if not eps.isascii() or not eps.isdigit() or not 1 <= int(eps) <= 255:
        raise InputError(
            f"attack {text!r} has eps {eps!r}; write {method}:EPS, a whole number of bytes from 1"
            " to 255"
        )
    return method, int(eps)


def grid(
    axes: Mapping[str, Sequence[Any]], *, modelled: Sequence[bool] = (True,)
) -> tuple[Setting, ...]:
    """Return the settings of a grid: every combination of values of `InvertConfig`'s fields.

    A setting is called by what varies; the only one of a grid of one is "default".

    Raises:
      InputError: a field that there is not, an axis without values, or a value that is not legal.

    >>> [setting.name for setting in grid({"optimiser": ["auto", "lbfgs"], "restarts": [4]})]
    ['optimiser=auto', 'optimiser=lbfgs']
    """
    for name, values in axes.items():
        if name not in SETTINGS:
            raise InputError(
                f"there is no setting {name!r}; {suggest(name, [*SETTINGS, 'modelled'])}"
            )
        if not values:
            raise InputError(
                f"setting {name!r} has no values, so the grid has no cells; give at least one"
            )
    all_axes = {**axes, "modelled": list(modelled)}
    varied = [name for name, values in all_axes.items() if len(values) > 1]
    result = []
    for values in itertools.product(*all_axes.values()):
        chosen = dict(zip(all_axes, values, strict=True))
        name = ",".join(f"{name}={chosen[name]}" for name in varied) or "default"
        is_modelled = chosen.pop("modelled")
        result.append(Setting(name=name, config=InvertConfig(**chosen), modelled=is_modelled))
    return tuple(result)


def check_number(name: str, value: object, low: int, high: int) -> None:
    """Raise an InputError unless a value is a whole number from low to high."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InputError(f"{name} is {value!r}; it is a whole number from {low} to {high}")


def check_name(what: str, value: object) -> None:
    """Raise an InputError unless a value is a text of 1 to 200 printable characters."""
    if not isinstance(value, str) or not value.isprintable() or not 0 < len(value) <= 200:
        raise InputError(f"{what} is {value!r}; it is a text of 1 to 200 printable characters")
