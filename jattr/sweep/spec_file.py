"""Specs as TOML. docs/sweeps.md shows one.

Every key that there is not is an error that names the nearest legal one.
"""

import dataclasses
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path

from jattr.errors import InputError, suggest
from jattr.sweep.setting import MODELLED, check_axis, config_of
from jattr.sweep.spec import Pictures, Setting, Spec, grid
from jattr.typing import Json, JsonObject

MAX_SPEC_BYTES = 1 << 20
SPEC_FIELDS = (
    "name",
    "candidates",
    "against",
    "alterations",
    "attacks",
    "seeds",
    "block",
    "pictures",
    "grid",
    "setting",
)
LISTS = ("candidates", "alterations", "attacks", "seeds")
PICTURES = tuple(field.name for field in dataclasses.fields(Pictures))


def load_spec(path: str | os.PathLike[str]) -> tuple[Spec, str]:
    """Return the spec in a TOML file, and its text.

    Raises:
      InputError: it cannot be read, or is no spec.
    """
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_SPEC_BYTES + 1)
    except OSError as error:
        raise InputError(
            f"cannot read spec {os.fspath(path)!r}: {error.strerror or error}; give a TOML file"
        ) from error
    if len(data) > MAX_SPEC_BYTES:
        raise InputError(
            f"spec {os.fspath(path)!r} has more than {MAX_SPEC_BYTES} bytes; give a smaller one"
        )
    try:
        text = data.decode()
        return parse_spec(text), text
    except UnicodeDecodeError as error:
        raise InputError(f"spec {os.fspath(path)!r} is no UTF-8 text; give a TOML file") from error
    except InputError as error:
        raise InputError(f"spec {os.fspath(path)!r}: {error}") from error


def parse_spec(text: str) -> Spec:
    """Return the spec that a TOML text describes.

    Raises:
      InputError: it is no spec.

    >>> pictures = 'pictures = [{kind = "own"}]'
    >>> spec = parse_spec(f'candidates = ["dcgan_a"]\\n{pictures}\\ngrid = {{restarts = [1, 2]}}')
    >>> [setting.name for setting in spec.settings]
    ['restarts=1', 'restarts=2']
    """
    try:
        data = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InputError(f"it is no TOML: {error}") from error
    _known(data, SPEC_FIELDS, "")
    values: JsonObject = {name: data[name] for name in ("name", "against", "block") if name in data}
    for name in LISTS:
        if name in data:
            values[name] = tuple(_list(name, data[name]))
    for name in ("candidates", "pictures"):
        if name not in data:
            raise InputError(f"{name} is missing; give at least one")
    for name in ("candidates", "alterations", "attacks"):
        for value in values.get(name, ()):
            if not isinstance(value, str):
                raise InputError(f"{name} has {value!r}; it is a list of texts")
    pictures = tuple(_images(table) for table in _tables("pictures", data["pictures"]))
    return Spec(pictures=pictures, settings=_settings(data), **values)


def _images(table: Mapping[str, Json]) -> Pictures:
    _known(table, PICTURES, "pictures: ")
    if "kind" not in table:
        raise InputError("pictures: kind is missing; own, others, folder or renderer")
    values = dict(table)
    if "generators" in values:
        values["generators"] = tuple(_list("generators", values["generators"]))
    for name in ("kind", "folder", "maker"):
        if not isinstance(values.get(name, ""), str):
            raise InputError(f"pictures: {name} is {values[name]!r}; it is a text")
    if not isinstance(values.get("resize", False), bool):
        raise InputError(f"pictures: resize is {values['resize']!r}; it is true or false")
    if any(not isinstance(name, str) for name in values.get("generators", ())):
        raise InputError(
            f"pictures: generators is {list(values['generators'])}; it is a list of texts"
        )
    return Pictures(**values)


def _settings(data: Mapping[str, Json]) -> tuple[Setting, ...]:
    """Return the grid's settings, and those named one by one."""
    singles = _tables("setting", data.get("setting", []))
    result: list[Setting] = []
    if "grid" in data or not singles:
        axes = data.get("grid", {})
        if not isinstance(axes, dict):
            raise InputError(f"grid is {axes!r}; it is a table of lists")
        lists = _axes(axes, "")
        result += grid(lists, modelled=_booleans(lists.pop(MODELLED, [True])))
    for table in singles:
        values = dict(table)
        name = values.pop("name", None)
        if name is None:
            raise InputError("setting: name is missing; call it something")
        (modelled,) = _booleans([values.pop(MODELLED, True)])
        try:
            config = config_of(values)
        except InputError as error:
            raise InputError(f"setting: {error}") from error
        result.append(Setting(name=name, config=config, modelled=modelled))
    return tuple(result)


def _axes(table: Mapping[str, Json], where: str) -> dict[str, list[Json]]:
    """Return the axes of a grid: tables within it are fields of objects."""
    result: dict[str, list[Json]] = {}
    for name, values in table.items():
        if isinstance(values, dict):
            result |= _axes(values, f"{where}{name}.")
            continue
        if where + name != MODELLED:
            try:
                check_axis(where + name)
            except InputError as error:
                raise InputError(f"grid: {error}") from error
        result[where + name] = _list(f"grid: {where}{name}", values)
    return result


def _booleans(values: list[Json]) -> list[bool]:
    if any(not isinstance(value, bool) for value in values):
        raise InputError(f"{MODELLED} is {values}; it is true or false")
    return values


def _known(table: Mapping[str, Json], names: tuple[str, ...], where: str) -> None:
    for name in table:
        if name not in names:
            raise InputError(f"{where}there is no key {name!r}; {suggest(name, list(names))}")


def _list(name: str, value: object) -> list[Json]:
    if not isinstance(value, list):
        raise InputError(f"{name} is {value!r}; it is a list")
    return value


def _tables(name: str, value: object) -> list[JsonObject]:
    if not isinstance(value, list) or any(not isinstance(table, dict) for table in value):
        raise InputError(f"{name} is {value!r}; it is a list of tables, [[{name}]]")
    return value
