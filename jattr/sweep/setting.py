"""Settings of a sweep, one way to search each, and grids of them.

What varies goes by names: flat ones, as the command line has them (`restarts`, `polish_steps`), and
paths of fields of `MultiStart` of any depth (`solver.memory`, `two_stage.mapping.rounds`).
"""

import dataclasses
import functools
import itertools
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, TypeAlias, TypeVar, Union

from jattr.distances.base import Distance
from jattr.distances.registry import from_function
from jattr.errors import InputError, suggest
from jattr.inversion.config import WARM_START_NAMES, InvertConfig, as_search
from jattr.inversion.settings import MultiStart, describe
from jattr.inversion.warm_start import WARM_STARTS, Encoder, Pool, Prior, Ridge
from jattr.solvers import METHODS, as_solver, name_of
from jattr.solvers.first_order import FirstOrder
from jattr.typing import Json, JsonObject

MODELLED = "modelled"
OWN_AFFAIR = ("seed", "lanes")  # of the sweep itself: no axes
SETTINGS = tuple(  # flat names of what a sweep may vary
    field.name for field in dataclasses.fields(InvertConfig) if field.name not in OWN_AFFAIR
)
PATHS = {  # what flat names that are no fields of `MultiStart` stand for
    "optimiser": "solver",
    "start": "warm_start",
    "spread": "warm_start.spread",
    "pool": "pooling.size",
    "polish_steps": "polish.steps",
    "interval_steps": "rounding_polish.jacobians",
    "stall": "stopping.stall",
    "early_stop": "stopping.early",
}
STARTS: dict[str, Any] = {"ridge": Ridge(), "encoder": Encoder()} | {
    name: make(Ridge.spread) for name, make in WARM_STARTS.items()
}
SOLVERS = (*METHODS.values(), FirstOrder("adam", 0.1))
MAX_NAMES = 24  # that a message lists
T = TypeVar("T")


@dataclass(frozen=True)
class Stored:
    """Settings as a store has them, of which some part is of the program that wrote it alone."""

    facts: JsonObject

    @property
    def distance(self) -> Json:
        """What was searched by; None: pixels."""
        return self.facts["distance"]


Config: TypeAlias = InvertConfig | MultiStart | Stored


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One way to search, by name."""

    name: str
    config: Config
    # alterations are part of the model; False: altered images are taken as they are
    modelled: bool = True

    def __post_init__(self) -> None:
        """Check the name, and that results can be kept by the settings.

        Raises:
          InputError: it is no name, or a function among the settings states no name and version.
        """
        check_name("a setting's name", self.name)
        if not isinstance(self.config, Stored):
            try:
                config_json(self.config)
            except InputError as error:
                raise InputError(f"setting {self.name!r}: {error}") from error

    @property
    def search(self) -> MultiStart:
        """The searches' settings.

        Raises:
          InputError: they were read from a store, and hold what only a program has.
        """
        if isinstance(self.config, Stored):
            raise InputError(
                f"setting {self.name!r} holds a function or object of the program that began this"
                " sweep, which no file can hold; go on from there, with the same spec:"
                " run_sweep(spec, folder)"
            )
        return as_search(self.config)


def grid(
    axes: Mapping[str, Sequence[Any]], *, modelled: Sequence[bool] = (True,)
) -> tuple[Setting, ...]:
    """Return the settings of a grid: every combination of values.

    A setting is called by what varies; the only one of a grid of one is "default".

    Args:
      axes: values by name. A name is one of `InvertConfig`, or a path of fields of `MultiStart`,
        as "stopping.stall"; an object of fields may be varied whole, as "polish", and its fields
        beside it. Functions and optax transformations state a name and a version.
      modelled: whether alterations are part of the model.

    Raises:
      InputError: a name that there is not, an axis without values, or a value that is not legal.

    >>> [setting.name for setting in grid({"optimiser": ["auto", "lbfgs"], "restarts": [4]})]
    ['optimiser=auto', 'optimiser=lbfgs']
    >>> [setting.search.solver.memory for setting in grid({"solver.memory": [5, 10]})]
    [5, 10]
    """
    for name, values in axes.items():
        check_axis(name)
        if isinstance(values, str) or not isinstance(values, Sequence):
            raise InputError(f"setting {name!r} is {values!r}; it is a list of values")
        if not values:
            raise InputError(
                f"setting {name!r} has no values, so the grid has no cells; give at least one"
            )
    all_axes = {**axes, MODELLED: list(modelled)}
    varied = [name for name, values in all_axes.items() if len(values) > 1]
    result = []
    for values in itertools.product(*all_axes.values()):
        chosen = dict(zip(all_axes, values, strict=True))
        name = ",".join(f"{name}={value_text(chosen[name])}" for name in varied) or "default"
        is_modelled = chosen.pop(MODELLED)
        result.append(Setting(name=name, config=config_of(chosen), modelled=is_modelled))
    return tuple(result)


def config_of(values: Mapping[str, Any]) -> InvertConfig | MultiStart:
    """Return the settings that values by name spell; names as `grid` has them.

    Flat names with plain values alone are an `InvertConfig`.

    Raises:
      InputError: a name that there is not, two that say the same, or a value that is not legal.

    >>> config_of({"restarts": 2, "stopping.far": 0.1}).stopping.far
    0.1
    """
    values = _flattened(values)
    for name in values:
        check_axis(name)
    if all(name in SETTINGS and _is_plain(value) for name, value in values.items()):
        return InvertConfig(**values)
    tree: dict[str, _Branch] = {}
    for name, value in values.items():
        _grow(tree, name, _path(name, values), value)
    return _with_fields(MultiStart(), tree, "")


def check_axis(name: str) -> None:
    """Check that a name of a setting may be varied.

    Raises:
      InputError: there is none of this name.
    """
    if name in legal_names():
        return
    root = name.partition(".")[0]
    if root == "racing":
        raise InputError(
            f"there is no setting {name!r}: a cell searches under one candidate, so none races"
            " another; attribute(racing=Racing(...)) takes it"
        )
    if root in OWN_AFFAIR:
        raise InputError(
            f"{name!r} is no setting of a grid: seeds are the sweep's own (`seeds`), and results do"
            " not depend on lanes"
        )
    below = [legal for legal in legal_names() if legal.startswith(f"{root}.")]
    if "." in name and below:
        leaves = [legal for legal in below if legal.rpartition(".")[2] == name.rpartition(".")[2]]
        text = suggest(name, leaves) if leaves else suggest(name, below[:MAX_NAMES])
        near = suggest(name, below)
        raise InputError(
            f"there is no setting {name!r}; {near if near.startswith('did') else text}"
        )
    text = suggest(name, [*legal_names(), MODELLED])
    if not text.startswith("did"):
        roots = [legal for legal in legal_names() if "." not in legal]
        text = f"legal: {', '.join([*roots, MODELLED])}, and their fields as polish.steps"
    raise InputError(f"there is no setting {name!r}; {text}")


@functools.cache
def legal_names() -> tuple[str, ...]:
    """Return every name that an axis may have: flat ones first, then paths of fields."""
    names = dict.fromkeys(SETTINGS)
    names |= dict.fromkeys(_paths(MultiStart(), ""))
    for solver in SOLVERS:
        names |= dict.fromkeys(_paths(solver, "solver."))
    for start in STARTS.values():
        names |= dict.fromkeys(_paths(start, "warm_start."))
    return tuple(name for name in names if name.partition(".")[0] not in OWN_AFFAIR)


def config_json(config: Config) -> JsonObject:
    """Return settings as JSON: flat ones by their names, others as `describe` has them.

    Raises:
      InputError: a function without a name and a version.
    """
    if isinstance(config, InvertConfig) and isinstance(config.optimiser, str):
        return dataclasses.asdict(config)
    if isinstance(config, Stored):
        return {"search": config.facts}
    search = as_search(config)
    if isinstance(search.distance, Distance):
        _check_version(search.distance)
    return {"search": describe(search)}


def config_from_json(data: Mapping[str, Json]) -> Config:
    """Return the settings that `config_json` wrote; `Stored` where a file does not suffice."""
    if set(data) != {"search"}:
        return InvertConfig(**data)
    try:
        return typing.cast(MultiStart, _decoded(data["search"]))
    except _NotInFiles:
        return Stored(data["search"])


def value_text(value: object) -> str:
    """Return a value as the names of settings have it.

    >>> value_text("lbfgs"), value_text(0.5), value_text(Prior())
    ('lbfgs', '0.5', 'prior')
    """
    if isinstance(value, (str, int, float, NoneType)):
        return str(value)
    name = getattr(value, "name", None)
    if isinstance(name, str):
        return name
    if isinstance(value, Mapping):
        return ";".join(f"{name}={value_text(part)}" for name, part in value.items())
    if isinstance(value, (list, tuple)):
        return f"({' '.join(value_text(part) for part in value)})"
    for named, object_ in STARTS.items():
        if value == object_:
            return named
    try:
        return name_of(value)  # type: ignore[arg-type]
    except InputError:
        pass
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        kind, parts = type(value), []
        for field in dataclasses.fields(value):
            part = getattr(value, field.name)
            if part != _default(field):
                parts.append(f"{field.name}={value_text(part)}")
        return f"{WARM_START_NAMES.get(kind, kind.__name__)}({';'.join(parts)})"
    return str(getattr(value, "__name__", type(value).__name__))


def check_name(what: str, value: object) -> None:
    """Raise an InputError unless a value is a text of 1 to 200 printable characters."""
    if not isinstance(value, str) or not value.isprintable() or not 0 < len(value) <= 200:
        raise InputError(f"{what} is {value!r}; it is a text of 1 to 200 printable characters")


@dataclass
class _Branch:
    """What is given of a field: a value, and values of fields of it."""

    name: str = ""  # by which the value was given
    value: Any = None
    is_given: bool = False
    fields: dict[str, "_Branch"] = dataclasses.field(default_factory=dict)


def _flattened(values: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """Return tables of fields as paths; a table that names its `kind` is an object."""
    result: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and "kind" not in value:
            result |= _flattened(value, f"{where}{name}.")
        else:
            result[where + name] = value
    return result


class _NotInFiles(Exception):
    """JSON of what only the program has that wrote it."""


def _grow(tree: dict[str, _Branch], name: str, path: str, value: Any) -> None:
    """Enter a value at its path."""
    branch, fields = _Branch(), tree
    for part in path.split("."):
        branch = fields.setdefault(part, _Branch())
        fields = branch.fields
    if branch.is_given:
        raise InputError(f"{branch.name!r} and {name!r} are one setting; give one of them")
    branch.name, branch.value, branch.is_given = name, value, True


def _path(name: str, values: Mapping[str, Any]) -> str:
    start = values.get("start", values.get("warm_start"))
    if name == "spread" and (start in ("pool", "prior") or isinstance(start, (Pool, Prior))):
        return "warm_start.guess.spread"
    return PATHS.get(name, name)


def _with_fields(value: T, tree: Mapping[str, _Branch], where: str) -> T:
    """Return an object with other values of its fields, all put in at once."""
    own = {field.name for field in dataclasses.fields(value)}  # type: ignore[arg-type]
    changes = {}
    for name, branch in tree.items():
        if name not in own:
            names = [f"{where}{legal}" for legal in sorted(own)]
            raise InputError(
                f"{where}{name}: {type(value).__name__} has no such field;"
                f" {suggest(where + name, names)}"
            )
        now = getattr(value, name)
        part = _read(type(value), where + name, now, branch.value) if branch.is_given else now
        if branch.fields:
            if where + name == "solver" and part is None:
                part = _solver_with(branch.fields)
            if not dataclasses.is_dataclass(part):
                raise InputError(
                    f"{where}{name} is {value_text(part)}, which has no field"
                    f" {next(iter(branch.fields))!r}"
                )
            part = _with_fields(part, branch.fields, f"{where}{name}.")
        changes[name] = part
    try:
        return dataclasses.replace(value, **changes)  # type: ignore[type-var]
    except TypeError as error:
        raise InputError(f"{where or 'setting '}{', '.join(changes)}: {error}") from error


def _solver_with(fields: Mapping[str, _Branch]) -> Any:
    """Return the one solver that has some fields, for those who name a field and no solver."""
    kinds = list(
        dict.fromkeys(
            type(solver) for solver in SOLVERS if all(hasattr(solver, name) for name in fields)
        )
    )
    if len(kinds) != 1 or kinds == [FirstOrder]:  # which has no default optimiser and rate
        which = ", ".join(kind.__name__ for kind in kinds) or "none"
        names = ", ".join(f"solver.{name}" for name in fields)
        raise InputError(
            f"{names}: the solver is not named (with these fields: {which}); give 'solver' beside,"
            " as 'lbfgs' or 'adam:0.05'"
        )
    return kinds[0]()


def _read(kind: type, path: str, now: Any, value: Any) -> Any:
    """Return a value as a field takes it: from texts, tables and lists of files.

    Raises:
      InputError: it is of another type.
    """
    if isinstance(value, Mapping):
        return _of_table(path, now, value)
    if path == "solver" and value in (None, "auto"):
        return None
    if path.endswith("solver"):
        return as_solver(value, path)
    if path == "warm_start":
        if isinstance(value, str) and value not in STARTS:
            raise InputError(f"warm_start is {value!r}; {suggest(value, list(STARTS))}")
        return STARTS[value] if isinstance(value, str) else value
    if dataclasses.is_dataclass(now) and not isinstance(value, type(now)):
        raise InputError(
            f"{path} is {value!r}; it is a {type(now).__name__}, or a table of its fields"
        )
    value = _as_tuple(value)
    legal = typing.get_type_hints(kind)[path.rpartition(".")[2]]
    if not _is_of(legal, value):
        raise InputError(f"{path} is {value!r}; it is {_words(legal)}")
    return value


def _of_table(path: str, now: Any, table: Mapping[str, Any]) -> Any:
    """Return the object that a table of fields spells; `kind` names its class."""
    fields = dict(table)
    kind = fields.pop("kind", None)
    if kind is not None:
        legal = [name for name, cls in _kinds().items() if cls is type(now)]
        if path == "warm_start" or path.endswith("solver"):
            options = tuple(STARTS.values()) if path == "warm_start" else SOLVERS
            legal = list(dict.fromkeys(type(option).__name__ for option in options))
        if kind not in legal:
            raise InputError(f"{path}: there is no kind {kind!r}; {suggest(str(kind), legal)}")
        required = {
            field.name: fields.pop(field.name)
            for field in dataclasses.fields(_kinds()[kind])
            if field.name in fields and _default(field) is dataclasses.MISSING
        }
        try:
            now = _kinds()[kind](**required)
        except TypeError as error:
            raise InputError(f"{path}: {error}") from error
    if not dataclasses.is_dataclass(now):
        raise InputError(f"{path} is {dict(table)!r}; a table says its kind, as kind = 'LBFGS'")
    tree = {name: _Branch(name, value, is_given=True) for name, value in fields.items()}
    return _with_fields(now, tree, f"{path}.")


def _is_plain(value: object) -> bool:
    return isinstance(value, (bool, int, float, str, NoneType))


def _is_of(legal: Any, value: object) -> bool:
    """Return whether a value is of an annotated type, as far as it is a plain one."""
    if typing.get_origin(legal) in (Union, UnionType):
        return any(_is_of(part, value) for part in typing.get_args(legal))
    if typing.get_origin(legal) is tuple:
        part = typing.get_args(legal)[0]
        return isinstance(value, tuple) and all(_is_of(part, each) for each in value)
    if legal is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if legal is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return legal not in (bool, str, NoneType) or isinstance(value, legal)


def _words(legal: Any) -> str:
    if typing.get_origin(legal) in (Union, UnionType):
        return " or ".join(_words(part) for part in typing.get_args(legal))
    if typing.get_origin(legal) is tuple:
        return f"a list, each {_words(typing.get_args(legal)[0])}"
    words = {
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "a text",
        NoneType: "None",
    }
    return words.get(legal, getattr(legal, "__name__", str(legal)))


def _as_tuple(value: Any) -> Any:
    return tuple(_as_tuple(part) for part in value) if isinstance(value, (list, tuple)) else value


def _paths(value: Any, prefix: str) -> Iterator[str]:
    """Yield the paths of all fields of an object."""
    for field in dataclasses.fields(value):
        yield prefix + field.name
        part = getattr(value, field.name)
        if dataclasses.is_dataclass(part):
            yield from _paths(part, f"{prefix}{field.name}.")


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


@functools.cache
def _kinds() -> dict[str, type]:
    """Return the classes of settings by name."""
    result: dict[str, type] = {}

    def walk(value: Any) -> None:
        result[type(value).__name__] = type(value)
        for field in dataclasses.fields(value):
            part = getattr(value, field.name)
            if dataclasses.is_dataclass(part):
                walk(part)

    for value in (MultiStart(), *SOLVERS, *STARTS.values()):
        walk(value)
    return result


def _decoded(data: Json) -> Any:
    """Return what `describe` wrote.

    Raises:
      _NotInFiles: that was a function, an array or an object of the program's own.
    """
    if isinstance(data, list):
        return tuple(_decoded(part) for part in data)
    if not isinstance(data, dict):
        return data
    kind = _kinds().get(data.get("kind", ""))
    fields = {field.name for field in dataclasses.fields(kind)} if kind else set()
    if kind is None or set(data) - {"kind"} != fields:
        raise _NotInFiles
    return kind(**{name: _decoded(data[name]) for name in fields})


def _check_version(distance: Distance) -> None:
    """Raise an InputError if a distance is that of a function without a version."""
    unversioned = from_function(lambda a, b: a.sum(), name=distance.name)
    if distance.digest == unversioned.digest:
        raise InputError(
            f"the distance {distance.name!r} states no version, under which results of it can be"
            " kept; give from_function(fn, name=..., version=...)"
        )
