"""`Spec`: what a sweep searches, as frozen dataclasses. `spec_file` reads it from TOML."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from jattr.alterations.registry import parse_chain
from jattr.attacks.evade import EVASIONS
from jattr.errors import InputError, suggest
from jattr.sweep.setting import Setting as Setting
from jattr.sweep.setting import check_name, config_from_json, config_json
from jattr.sweep.setting import grid as grid
from jattr.typing import Json, JsonObject

KINDS = ("own", "others", "folder", "renderer")
AGAINST = ("all", "maker")
NONE = "none"
MAX_COUNT = 10_000_000


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """A source of images.

    `own`: of each candidate, from its prior. `others`: of generators that are no candidates.
    `folder`: files, `maker` says whose. `renderer`: faces that no model made.
    """

    kind: str  # one of KINDS
    count: int = 32  # of each generator; of a folder, at most
    seed: int = 1
    generators: tuple[str, ...] = ()  # `others`: folders or bundled names
    folder: str = ""  # `folder`
    resize: bool = False  # `folder`: bring them to the candidates' size by Lanczos
    maker: str = ""  # `folder`: the candidate that made all of them, as `candidates` has it

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
        if self.maker and self.kind != "folder":
            raise InputError(
                f"pictures of the kind {self.kind!r} with maker {self.maker!r}; 'folder' alone has"
                " one"
            )


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
        for source in self.pictures:
            if source.maker and source.maker not in self.candidates:
                raise InputError(
                    f"pictures: maker is {source.maker!r}; "
                    + suggest(source.maker, list(self.candidates))
                )
        for text in self.alterations:
            if text != NONE and parse_chain(text).free:
                raise InputError(
                    f"alteration {text!r} has an unknown factor; a sweep takes given ones, as"
                    " brightness:0.8"
                )
        for text in self.attacks:
            attack_of(text)


def to_json(spec: Spec) -> JsonObject:
    """Return a spec as JSON values.

    Functions among its settings are their name and version there: `from_json` reads them as
    `Stored`, enough to look at results, but not to search.
    """
    fields = {
        field.name: getattr(spec, field.name)
        for field in dataclasses.fields(spec)
        if field.name not in ("pictures", "settings")
    }
    pictures = []
    for source in spec.pictures:
        table = dataclasses.asdict(source)
        if not source.maker:  # as stores have it that were begun before there were any
            del table["maker"]
        pictures.append(table)
    settings = [
        {
            "name": setting.name,
            "config": config_json(setting.config),
            "modelled": setting.modelled,
        }
        for setting in spec.settings
    ]
    return {**fields, "pictures": tuple(pictures), "settings": tuple(settings)}


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
            Setting(**{**table, "config": config_from_json(table["config"])})
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


def check_number(name: str, value: object, low: int, high: int) -> None:
    """Raise an InputError unless a value is a whole number from low to high."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InputError(f"{name} is {value!r}; it is a whole number from {low} to {high}")
