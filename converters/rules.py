"""Conversion tables: which tensor of a file becomes which stored tensor, checked on both sides.

A `Format` is one layout of one family's weights as some program writes them. It reads the
architecture from the tensors themselves, never from a name, and lists every tensor's way as `Row`s.
Every tensor of the file must have a row or be ignored by name, every stored tensor must be filled
once, and all that is wrong is told in one message.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from jattr.errors import ConversionError, show
from jattr.generators.card_problems import listed

from .reading_limits import Tree

StateDict: TypeAlias = Mapping[str, np.ndarray]
Shape: TypeAlias = tuple[int, ...]


class UnfitError(Exception):
    """A file is not of a format; the text says what was looked for and not found."""


class Row(NamedTuple):
    """The way of one tensor."""

    source: str  # its name in the file
    # path of the stored tensor; None: a constant of the family, only compared with `expected`
    target: str | None
    layout: str = "same"  # a key of LAYOUTS
    expected: np.ndarray | None = None  # of a constant


class Description(NamedTuple):
    """What a format says of a file."""

    architecture: Any  # the family's Architecture
    settings: Mapping[str, Any] = {}  # card settings that the file states, such as {"psi": 1.0}
    # tensors from elsewhere in the file, by the names that rows use
    extra: Mapping[str, np.ndarray] = {}
    # makes tensors that the file lacks and that follow from others, by the names that rows use
    estimate: Callable[[], Mapping[str, np.ndarray]] | None = None
    notes: tuple[str, ...] = ()  # what is to be said about it, such as that a mean is an estimate


@dataclass(frozen=True)
class Format:
    """One layout of one family's weights."""

    name: str  # as --arch takes it
    kind: str  # of card
    title: str  # whose files these are, one line
    # where in a file the weights may lie, the preferred first; "": the file itself
    keys: tuple[str, ...]
    # (tensors, whole file's tree) -> Description; raises UnfitError
    describe: Callable[[StateDict, Tree], Description]
    rows: Callable[[Any], Iterable[Row]]  # the table of an architecture
    # patterns (fnmatch) of tensors that are no part of the function
    ignored: tuple[str, ...] = field(default=())


def need(tensors: StateDict, *names: str, near: Mapping[str, str] = {}) -> None:
    """Check that tensors are there; if not, say which, and what the file looks like.

    `near`: pattern (fnmatch) of tensors' names -> what a file with such tensors is.
    """
    missing = [name for name in names if name not in tensors]
    if missing:
        raise UnfitError(f"no {' and '.join(missing)}{looks_like(tensors, near)}")


def looks_like(tensors: StateDict, near: Mapping[str, str]) -> str:
    """Return the end of a message: what the file is by its tensors' names, "" if unknown."""
    for pattern, what in near.items():
        if any(fnmatchcase(name, pattern) for name in tensors):
            return f"; it looks like {what}"
    return ""


def side(tensors: StateDict, name: str, axis: int, *, axes: int | None = None) -> int:
    """Return the length of one axis of a tensor that is not empty and has `axes` axes, if given."""
    need(tensors, name)
    shape = tensors[name].shape
    if axes is not None and len(shape) != axes:
        raise UnfitError(f"{show(name)} has the shape {list(shape)}; it must have {axes} axes")
    if len(shape) <= axis or 0 in shape:
        raise UnfitError(
            f"{show(name)} has the shape {list(shape)}; it must have an axis {axis} and not be"
            " empty"
        )
    return int(shape[axis])


def attributes_of(tree: Tree) -> Mapping[str, Tree]:
    """Return the attributes that a pickle of a module states, none for a plain state dict."""
    attributes = tree.get("attributes") if isinstance(tree, Mapping) else None
    return attributes if isinstance(attributes, Mapping) else {}


def _axes(*order: int) -> Callable[[np.ndarray], np.ndarray]:
    def move(array: np.ndarray) -> np.ndarray:
        if array.ndim != len(order):
            raise ValueError(f"has {array.ndim} axes instead of {len(order)}")
        return array.transpose(order)

    return move


def _without_ones(axes: int) -> Callable[[np.ndarray], np.ndarray]:
    def drop(array: np.ndarray) -> np.ndarray:
        longer = [length for length in array.shape if length != 1]
        if array.ndim != axes or len(longer) > 1:
            raise ValueError(
                f"has the shape {list(array.shape)} instead of {axes} axes, all but one of them 1"
            )
        return array.reshape(-1)

    return drop


def _leading_one(then: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    def drop(array: np.ndarray) -> np.ndarray:
        if not array.ndim or array.shape[0] != 1:
            raise ValueError(f"has the shape {list(array.shape)}; its first axis must be 1")
        return then(array[0])

    return drop


def _of_maps(*order: int) -> Callable[[np.ndarray], np.ndarray]:
    def split(array: np.ndarray) -> np.ndarray:
        if not array.ndim or array.shape[0] % 16:
            raise ValueError(
                f"has the shape {list(array.shape)}; its first axis must be of maps of 4x4 pixels"
            )
        return _axes(*order)(array.reshape(array.shape[0] // 16, 4, 4, *array.shape[1:]))

    return split


LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "same": lambda array: array,
    "linear": _axes(1, 0),  # [out, in] -> [in, out]
    # also 1x1 conv
    "projection": lambda array: _axes(1, 0)(
        array[:, :, 0, 0] if array.shape[2:] == (1, 1) else array
    ),
    "conv": _axes(2, 3, 1, 0),  # [out, in, kh, kw] -> [kh, kw, in, out]
    # [in, out, kh, kw] -> [kh, kw, in, out], taps in PyTorch's order
    "conv_transpose": _axes(2, 3, 0, 1),
    "modulated": _leading_one(_axes(2, 3, 1, 0)),  # [1, out, in, kh, kw] -> [kh, kw, in, out]
    # as "conv", taps in the opposite order
    "flipped_conv": lambda array: _axes(2, 3, 1, 0)(array)[::-1, ::-1],
    # taps as of the "conv" it amounts to
    "flipped_conv_transpose": lambda array: _axes(2, 3, 0, 1)(array)[::-1, ::-1],
    # of one pixel, padded: -> [in, kh, kw, out]
    "pixel_to_map": lambda array: _axes(1, 2, 3, 0)(array)[:, ::-1, ::-1],
    "dense_to_map": _of_maps(3, 1, 2, 0),  # [C 4 4, in] -> [in, 4, 4, C]
    "flat_to_map": _of_maps(1, 2, 0),  # [C 4 4] -> [4, 4, C]
    "plus_one": lambda array: array + np.float32(1.0),  # a bias that the program adds 1 to
    "constant": _axes(1, 2, 0),  # [C, H, W] -> [H, W, C]
    "batched_constant": _leading_one(_axes(1, 2, 0)),  # [1, C, H, W] -> [H, W, C]
    "map": _leading_one(_leading_one(_axes(0, 1))),  # [1, 1, H, W] -> [H, W]
    "flat": _without_ones(4),  # [1, C, 1, 1] -> [C]
    "scalar": lambda array: array.reshape(()),  # [] or [1] -> []
}


def convert_by_rows(
    format: Format, description: Description, tensors: StateDict, shapes: Mapping[str, Shape]
) -> dict[str, Any]:
    """Return the stored tensors by path, float32.

    Args:
      format: the layout of the file.
      description: what it says of the file.
      tensors: of the file, by name.
      shapes: of the stored tensors that the architecture has, by path.

    Raises:
      ConversionError: tensors that are missing, left over, of a wrong shape, kind or value: all in
        one message.
    """
    tensors = {**tensors, **description.extra}
    if description.estimate is not None:
        tensors |= description.estimate()
    rows = list(format.rows(description.architecture))
    sources = {row.source for row in rows}
    problems = [
        f"left over in the file: {show(name)}"
        for name in tensors
        if name not in sources and not any(fnmatchcase(name, pattern) for pattern in format.ignored)
    ]
    stored: dict[str, Any] = {}
    for row in rows:
        if row.source not in tensors:
            problems.append(f"missing in the file: {show(row.source)}")
            continue
        array, problem = _laid_out(row, tensors[row.source], shapes)
        if problem:
            problems.append(f"{show(row.source)} {problem}")
        elif row.target is not None:
            if row.target in stored:
                problems.append(f"{show(row.source)} fills {row.target} a second time")
            stored[row.target] = array
    named = {row.target for row in rows}
    problems += [f"nothing in the table fills {path}" for path in shapes if path not in named]
    if problems:
        title = f"the weights are not all that a {format.title} has:"
        raise ConversionError("\n  ".join([title, *listed(problems)]))
    return stored


def _laid_out(row: Row, array: np.ndarray, shapes: Mapping[str, Shape]) -> tuple[np.ndarray, str]:
    """Return a tensor as it is stored, and what is wrong with it or ""."""
    if array.dtype.kind != "f" and array.dtype.name != "bfloat16":
        return array, f"is {array.dtype}; weights are floating-point numbers"
    with np.errstate(over="ignore", invalid="ignore"):
        array = array.astype(np.float32)
    if not np.isfinite(array).all():
        return (
            array,
            "has values that are not finite in float32; training diverged, or a damaged file",
        )
    if row.target is None:
        expected = np.asarray(row.expected, np.float32)
        same = array.shape == expected.shape and np.allclose(array, expected, rtol=1e-4, atol=1e-6)
        if same:
            return array, ""
        return array, f"is not the constant of shape {list(expected.shape)} that it should be"
    try:
        array = LAYOUTS[row.layout](array)
    except ValueError as error:
        return array, str(error)
    if row.target not in shapes:
        return array, f"goes to {row.target}, which this architecture does not have"
    if array.shape != shapes[row.target]:
        expected_shape = list(shapes[row.target])
        problem = f"gives {row.target} the shape {list(array.shape)}; it must be {expected_shape}"
        return array, problem
    return np.array(array, order="C"), ""
