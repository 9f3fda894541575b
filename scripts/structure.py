"""Measure the structure of a source tree: what its parts are, and how hard they are to follow.

    python scripts/structure.py [--tree DIR] [--json FILE] [--follow FILE:FUNCTION:PARAMETER]

Nothing of the tree is run; everything is read from its syntax. "The package" is jattr/ and
converters/. Packages, modules and imports are those of `scripts/architecture.py`.

**Imports.** `circles`: strongly connected components, of two modules or more, of the graph of all
imports in the package and scripts/, those inside functions and under `TYPE_CHECKING` included.
`upward_imports`: put the packages in the order, one above the other, in which the fewest imports
run upwards; it is the number that still do. (A tree without circles of packages has none.) The
*level* of a package is the longest chain of downward imports below it.

**Following a parameter.** `stays`, `modules`, `climbs`, `functions` and `open` describe the trip of
one parameter through the calls that pass it on; by default `images` of `attribute`. The head of
`scripts/parameter_trip.py` says how they are counted.

**Constants.** `engine_constants`: names assigned a number, or a tuple or list of numbers, at the
top of a module of the engine, jattr/inversion and jattr/solvers; arithmetic of numbers, and of
such names, is a number. `engine_capitals`: names in capitals assigned there, whatever the value.
`ambiguous_constants`: names in capitals that two modules of the package give different literal
values; `ambiguous_numbers`: those of them whose values are all numbers.

**Text.** `function_imports`: import statements inside functions of the package.
`comments_per_1000_lines`: lines of the package that hold a comment and nothing else.
`any_annotations`: annotations that are `Any`; `any_inside_annotations`: every `Any` in annotations.
Lines are those of Python files that git tracks; "_tree" adds those of tests and scripts.
"""

import argparse
import ast
import io
import json
import subprocess
import tokenize
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from architecture import (
    circles,
    module_graph,
    read_house,
    upward_imports,
)
from parameter_trip import follow, last_name, targets_of

ENGINE = ("jattr/inversion", "jattr/solvers")


# Constants and text.


@dataclass(frozen=True)
class Source:
    """A Python file: its path within the tree, its text and its syntax."""

    path: str
    text: str
    tree: ast.Module

    @property
    def is_package(self) -> bool:
        """Whether it belongs to the package."""
        return self.path.startswith(("jattr/", "converters/"))


def read_sources(tree: Path) -> list[Source]:
    """Read the Python files of a tree that git tracks, or all, where it is no repository."""
    paths = _git(tree, "ls-files", "*.py").split()
    if not paths:
        paths = sorted(path.relative_to(tree).as_posix() for path in tree.rglob("*.py"))
    texts = {path: (tree / path).read_text(encoding="utf-8") for path in paths}
    return [Source(path, text, ast.parse(text, path)) for path, text in texts.items()]


def _git(tree: Path, *words: str) -> str:
    command = ["git", "-C", str(tree), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def constants_of(tree: ast.Module) -> dict[str, object]:
    """Return the names that a module gives a literal value, or arithmetic of numbers, at its top.

    >>> constants_of(ast.parse("STEP = 2.0\\nHALF = STEP / 4\\nBOTH = (STEP, 1)\\nf = open"))
    {'STEP': 2.0, 'HALF': 0.5, 'BOTH': (2.0, 1)}
    """
    constants: dict[str, object] = {}
    for node in tree.body:
        value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
        if value is None:
            continue
        try:
            constant = _constant(value, constants)
        except (ValueError, TypeError, SyntaxError, ArithmeticError):
            continue
        for target in targets_of(node):
            if isinstance(target, ast.Name):
                constants[target.id] = constant
    return constants


def _constant(node: ast.expr, known: Mapping[str, object]) -> object:
    """Return the value of a literal, or of arithmetic of known names; ValueError: neither."""
    if isinstance(node, ast.Name) and node.id in known:
        return known[node.id]
    if isinstance(node, ast.Tuple | ast.List):
        return tuple(_constant(part, known) for part in node.elts)
    if isinstance(node, ast.BinOp):
        return _arithmetic(node.op, _constant(node.left, known), _constant(node.right, known))
    return ast.literal_eval(node)


def _arithmetic(operator: ast.operator, left: object, right: object) -> float:
    if not isinstance(left, int | float) or not isinstance(right, int | float):
        raise ValueError("arithmetic of what are not numbers")
    match operator:
        case ast.Add():
            return left + right
        case ast.Sub():
            return left - right
        case ast.Mult():
            return left * right
        case ast.Div():
            return left / right
        case ast.Pow() if abs(right) < 100:
            return left**right
        case ast.LShift() if right < 100:
            return int(left) << int(right)
    raise ValueError(f"{operator} of these numbers is not counted")


def is_number(value: object) -> bool:
    """Return whether a constant is a number, or a tuple or list of nothing else."""
    if isinstance(value, tuple | list):
        return bool(value) and all(map(is_number, value))
    return isinstance(value, int | float) and not isinstance(value, bool)


def ambiguous_constants(sources: Iterable[Source]) -> dict[str, dict[str, object]]:
    """Return the constants that two modules give different values: name -> path -> value."""
    indices: dict[str, dict[str, object]] = {}
    for source in sources:
        for name, value in constants_of(source.tree).items():
            if source.is_package and name.isupper():
                indices.setdefault(name, {})[source.path] = value
    different = [
        name for name in sorted(indices) if len(set(map(repr, indices[name].values()))) > 1
    ]
    return {name: indices[name] for name in different}


def capitals_of(tree: ast.Module) -> list[str]:
    """Return the names in capitals that a module assigns at its top."""
    targets = [target for node in tree.body for target in targets_of(node)]
    return [name for target in targets if (name := last_name(target)).isupper()]


def function_imports(tree: ast.Module) -> int:
    """Return how many import statements stand inside functions."""
    inside = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            for part in ast.walk(node):
                if isinstance(part, ast.Import | ast.ImportFrom):
                    inside.add((part.lineno, part.col_offset))
    return len(inside)


def comment_lines(text: str) -> int:
    """Return how many lines hold a comment and nothing else.

    >>> comment_lines("# one\\nx = 1  # not this\\n\\n    # two\\n")
    2
    """
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    comments = (token for token in tokens if token.type == tokenize.COMMENT)
    return sum(token.line.lstrip().startswith("#") for token in comments)


def annotations_of(tree: ast.Module) -> Iterator[ast.expr]:
    """Yield the annotations of parameters, results and variables."""
    for node in ast.walk(tree):
        for annotation in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            if isinstance(annotation, ast.expr):
                yield annotation


def _is_any(node: ast.AST) -> bool:
    return isinstance(node, ast.Name | ast.Attribute) and last_name(node) == "Any"


def measure(tree: Path, start: str | None = None) -> dict[str, object]:
    """Return every figure of a tree, in the order of the table."""
    if start is None:
        indices = ("jattr/attribution/attribute.py", "jattr/attribution.py")
        start = next(f"{index}:attribute:images" for index in indices if (tree / index).exists())
    house, sources = read_house(tree), read_sources(tree)
    upward = upward_imports(house)
    ambiguous = ambiguous_constants(sources)
    numbers = [name for name in ambiguous if all(map(is_number, ambiguous[name].values()))]
    return {
        "title": f"Structure of version {_version(tree)}",
        "command": "python scripts/structure.py --tree DIR --json FILE",
        "commit": _git(tree, "rev-parse", "HEAD").strip(),
        "followed": start,
        **follow(house, start),
        "circles": len(circles(module_graph(house))),
        "upward_imports": sum(upward.values()),
        **_engine_figures([source for source in sources if source.path.startswith(ENGINE)]),
        "ambiguous_constants": len(ambiguous),
        "ambiguous_numbers": len(numbers),
        **_text_figures(sources),
        "readme_bytes": _size(tree / "README.md"),
        "build_notes_bytes": _size(tree / "BUILD_NOTES.md"),
        "details": {
            "circles": circles(module_graph(house)),
            "upward_imports": [f"{a} -> {b}: {count}" for (a, b), count in upward.items()],
            "ambiguous_numbers": [f"{name}: {_listed(ambiguous[name])}" for name in numbers],
        },
    }


def _listed(values: Mapping[str, object]) -> str:
    return ", ".join(f"{path} = {value!r}" for path, value in values.items())


def _engine_figures(engine: list[Source]) -> dict[str, int]:
    values = [value for source in engine for value in constants_of(source.tree).values()]
    return {
        "engine_files": len(engine),
        "engine_constants": sum(map(is_number, values)),
        "engine_capitals": sum(len(capitals_of(source.tree)) for source in engine),
    }


def _text_figures(sources: list[Source]) -> dict[str, int | float]:
    package = [source for source in sources if source.is_package]
    library = [source for source in sources if source.path.startswith("jattr/")]
    lines = sum(_lines(source) for source in package)
    comments = sum(comment_lines(source.text) for source in package)
    annotations = [node for source in package for node in annotations_of(source.tree)]
    in_library = [node for source in library for node in annotations_of(source.tree)]
    return {
        "function_imports": sum(function_imports(source.tree) for source in package),
        "comments_per_1000_lines": round(1000 * comments / lines, 1),
        "lines_over_100_jattr": sum(map(_long_lines, library)),
        "lines_over_100_package": sum(map(_long_lines, package)),
        "lines_over_100_tree": sum(map(_long_lines, sources)),
        "any_annotations_jattr": sum(map(_is_any, in_library)),
        "any_annotations": sum(map(_is_any, annotations)),
        "any_inside_annotations": sum(_is_any(p) for node in annotations for p in ast.walk(node)),
        "lines_jattr": sum(map(_lines, library)),
        "lines_converters": lines - sum(map(_lines, library)),
    }


def _lines(source: Source) -> int:
    return len(source.text.splitlines())


def _long_lines(source: Source) -> int:
    return sum(len(line) > 100 for line in source.text.splitlines())


def _version(tree: Path) -> str:
    """Return the version that a tree says it has."""
    for file in ("_version.py", "__init__.py"):
        path = tree / "jattr" / file
        if path.exists():
            constants = constants_of(ast.parse(path.read_text(encoding="utf-8")))
            if "__version__" in constants:
                return str(constants["__version__"])
    return "unknown"


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def main() -> None:
    """Measure a tree, print the table, and write the JSON that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tree", type=Path, default=Path(__file__).parents[1])
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--follow", metavar="FILE:FUNCTION:PARAMETER", help="another parameter")
    options = parser.parse_args()
    figures = measure(options.tree, options.follow)
    for name, value in figures.items():
        if name != "details":
            print(f"{name:24} {value}")
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
