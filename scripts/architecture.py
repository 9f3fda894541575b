"""Which module of the tree may import which: the floors of the house, and a check of them.

Every import counts: at the top of a file, inside a function, under `TYPE_CHECKING`, and the text
that `import_module` is given. An import is an edge to the module that provides the name:
`from jattr.images import to_byte` to `jattr/images/__init__.py`, `from jattr.images import png` to
`jattr/images/png.py`. Python also runs the `__init__.py` of every folder on the way; that is no
edge, so a package may hand on names of its modules while these import each other.

    python scripts/architecture.py [--tree DIR]

prints every import that breaks a rule; `tests/test_architecture.py` holds the tree to the rules.
"""

import argparse
import ast
import itertools
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOTS = ("jattr", "converters", "scripts")

# The floor of each package, counted from the ground; imports run downwards only. A package is an
# entry of jattr/, a folder or one file, or another of the roots. "jattr" by itself is the file
# jattr/__init__.py: the public names, which stand above everything that they come from.
FLOORS = {
    "jattr._version": 0,
    "jattr.errors": 0,
    "jattr.bounded_json": 0,
    "jattr.folders": 0,
    "jattr.perceptual_hash": 0,
    "jattr.printable": 0,
    "jattr.runtime": 0,
    "jattr.source_files": 0,
    "jattr.sqlite": 0,
    "jattr.typing": 0,
    "jattr.images": 0,
    "jattr.generators": 1,
    "jattr.zoo": 1,
    "jattr.alterations": 2,
    "jattr.distances": 2,
    "jattr.solvers": 3,
    "jattr.inversion": 4,
    "jattr.converters": 4,
    "jattr.decision": 5,
    "jattr.attacks": 5,
    "jattr.attribution": 6,
    "jattr.baselines": 6,
    "jattr.ledger": 7,
    "jattr.verification": 7,
    "jattr.report": 8,
    "jattr.sweep": 9,
    "jattr": 10,
    "jattr.cli": 11,
    "jattr.__main__": 11,
    "scripts": 11,
}

# Two packages on one floor do not know each other, but for these: importer -> what it may import.
NEIGHBOURS = {
    "jattr.bounded_json": {"jattr.errors", "jattr.typing"},
    "jattr.folders": {"jattr.errors", "jattr.bounded_json", "jattr.typing"},
    "jattr.perceptual_hash": {"jattr.errors"},
    "jattr.runtime": {"jattr.errors", "jattr.folders"},
    "jattr.sqlite": {"jattr.errors"},
    "jattr.images": {"jattr.errors", "jattr.bounded_json"},
    "jattr.zoo": {"jattr.generators"},
    "jattr.baselines": {"jattr.attribution"},
    "jattr.__main__": {"jattr.cli"},
}

# Packages that may import less than their floor would allow.
ONLY = {
    "jattr.solvers": {"jattr.errors", "jattr.runtime", "jattr.typing"},
    "jattr.decision": {"jattr.errors", "jattr.bounded_json", "jattr.typing"},
}

FILE_MODULES = {
    "io",
    "mmap",
    "os",
    "pathlib",
    "shutil",
    "socket",
    "sqlite3",
    "subprocess",
    "tempfile",
    "urllib",
    "zipfile",
}
JAX_MODULES = {"flax", "jax", "jaxlib", "optax", "orbax"}


@dataclass(frozen=True)
class Import:
    """One import of one module by another."""

    importer: str  # module of the tree
    imported: str  # module of the tree; or the first name of one that is not
    line: int
    at_load: bool  # loading the importer runs it: not in a function, not for type checkers alone

    def __str__(self) -> str:
        """Return the import as the faults show it."""
        return f"{self.importer} -> {self.imported}"


@dataclass(frozen=True)
class House:
    """The modules of a tree and every import among them."""

    modules: Mapping[str, Path]
    imports: tuple[Import, ...]

    def inside(self) -> Iterator[Import]:
        """Yield the imports of one module of the tree by another."""
        for each in self.imports:
            if each.imported in self.modules and each.imported != each.importer:
                yield each


def package_of(module: str) -> str:
    """Return the package that a module belongs to: a key of `FLOORS`, if it has its place there.

    >>> package_of("jattr.images.png"), package_of("jattr.converters.dcgan"), package_of("jattr")
    ('jattr.images', 'jattr.converters', 'jattr')
    """
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "jattr" else parts[0]


def read_house(tree: Path) -> House:
    """Parse every Python file under the roots of a tree and collect the imports."""
    modules = {}
    for root in ROOTS:
        for path in sorted((tree / root).rglob("*.py")):
            parts = path.relative_to(tree).with_suffix("").parts
            if root == "converters":  # pyproject.toml installs it as jattr.converters
                parts = ("jattr", *parts)
            modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    imports: list[Import] = []
    for module, path in modules.items():
        source = path.read_text(encoding="utf-8")
        parsed = ast.parse(source, str(path))
        imports += _imports(module, parsed, modules)
        if "import_module" in source:
            imports += _named_modules(module, parsed, modules)
    return House(modules, tuple(imports))


def _imports(module: str, tree: ast.Module, modules: Mapping[str, Path]) -> Iterator[Import]:
    is_package = modules[module].name == "__init__.py"
    for statement, at_load in _statements(tree.body, True):
        for name in _imported_names(statement, module, is_package):
            imported = _provider(name, module, modules)
            yield Import(module, imported, statement.lineno, at_load)


def _statements(body: list[ast.stmt], at_load: bool) -> Iterator[tuple[ast.stmt, bool]]:
    """Yield every statement of a block, however deeply nested, and whether loading runs it."""
    for statement in body:
        yield statement, at_load
        is_function = isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef)
        for name, value in ast.iter_fields(statement):
            if not isinstance(value, list):
                continue
            # The `else` of `if TYPE_CHECKING` is what a program runs.
            hidden = name == "body" and (is_function or _is_type_checking(statement))
            for part in value:
                if isinstance(part, ast.stmt):
                    yield from _statements([part], at_load and not hidden)
                elif isinstance(part, ast.ExceptHandler | ast.match_case):
                    yield from _statements(part.body, at_load)


def _is_type_checking(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.unparse(statement.test)


def _imported_names(statement: ast.stmt, module: str, is_package: bool) -> Iterator[str]:
    """Yield the full dotted name of everything that a statement imports."""
    if isinstance(statement, ast.Import):
        yield from (alias.name for alias in statement.names)
    elif isinstance(statement, ast.ImportFrom):
        parts = module.split(".")
        # One dot is the package itself: its __init__.py stands in it, as its modules do.
        above = len(parts) - statement.level + is_package if statement.level else 0
        base = [*parts[:above], *([statement.module] if statement.module else [])]
        yield from (".".join([*base, alias.name]) for alias in statement.names)


def _named_modules(module: str, tree: ast.Module, modules: Mapping[str, Path]) -> Iterator[Import]:
    """Yield an import for each module whose name a file that calls `import_module` spells out."""
    nodes = list(ast.walk(tree))
    if not any(_is_import_module(node) for node in nodes):
        return
    for node in nodes:
        # A name without a dot, such as "jattr", may be a word.
        value = node.value if isinstance(node, ast.Constant) else None
        if isinstance(value, str) and value in modules and "." in value:
            yield Import(module, value, getattr(node, "lineno", 0), at_load=False)


def _is_import_module(node: ast.AST) -> bool:
    name = node.id if isinstance(node, ast.Name) else getattr(node, "attr", None)
    return name == "import_module"


def _provider(name: str, module: str, modules: Mapping[str, Path]) -> str:
    """Return the module that an imported name comes from: the longest one that it begins with."""
    parts = name.split(".")
    if module.startswith("scripts.") and f"scripts.{parts[0]}" in modules:
        return f"scripts.{parts[0]}"  # scripts find each other in their own folder
    for length in range(len(parts), 0, -1):
        candidate = ".".join(parts[:length])
        if candidate in modules:
            return candidate
    return parts[0]


def circles(edges: Mapping[str, set[str]]) -> list[list[str]]:
    """Return the strongly connected components of a graph that have two members or more, sorted.

    Tarjan's algorithm: https://doi.org/10.1137/0201010

    >>> circles({"a": {"b"}, "b": {"a", "c"}, "c": set()})
    [['a', 'b']]
    """
    index: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    components = []

    def visit(node: str) -> None:
        index[node] = lowest[node] = len(index)
        stack.append(node)
        for successor in sorted(edges.get(node, ())):
            if successor not in index:
                visit(successor)
            if successor in stack:
                lowest[node] = min(lowest[node], lowest[successor])
        # The first node of a component that is entered closes it when the search leaves the node.
        if lowest[node] == index[node]:
            start = stack.index(node)
            components.append(sorted(stack[start:]))
            del stack[start:]

    for node in sorted(edges):
        if node not in index:
            visit(node)
    return sorted(component for component in components if len(component) > 1)


def module_graph(house: House) -> dict[str, set[str]]:
    """Return the modules that each module imports."""
    edges: dict[str, set[str]] = {module: set() for module in house.modules}
    for each in house.inside():
        edges[each.importer].add(each.imported)
    return edges


def package_graph(house: House) -> dict[str, set[str]]:
    """Return the packages that each package imports."""
    edges: dict[str, set[str]] = {package_of(module): set() for module in house.modules}
    for each in house.inside():
        importer, imported = package_of(each.importer), package_of(each.imported)
        if importer != imported:
            edges[importer].add(imported)
    return edges


# The rules: each returns what breaks it, one text a fault.


def without_floor(house: House) -> list[str]:
    """Every module belongs to a floor, and nothing has a floor that is not there."""
    packages = {package_of(module) for module in house.modules}
    missing = [f"{package} has no floor" for package in packages - set(FLOORS)]
    return missing + [f"{package} is not there" for package in set(FLOORS) - packages]


def upwards(house: House) -> list[str]:
    """No module imports one of a higher floor."""
    return [str(each) for each in house.inside() if _rise(each) > 0]


def sideways(house: House) -> list[str]:
    """Packages on one floor do not import each other, but for `NEIGHBOURS`."""
    faults = []
    for each in house.inside():
        importer, imported = package_of(each.importer), package_of(each.imported)
        allowed = {importer} | NEIGHBOURS.get(importer, set())
        is_level = _is_placed(each) and _rise(each) == 0
        if is_level and imported not in allowed and imported != "jattr.cli":  # see cli_importers
            faults.append(str(each))
    return faults


def _is_placed(each: Import) -> bool:
    return package_of(each.importer) in FLOORS and package_of(each.imported) in FLOORS


def _rise(each: Import) -> int:
    """Return by how many floors an import goes up; what has no floor is not judged."""
    if not _is_placed(each):
        return 0
    return FLOORS[package_of(each.imported)] - FLOORS[package_of(each.importer)]


def module_circles(house: House) -> list[str]:
    """No modules import each other in a circle."""
    return [", ".join(circle) for circle in circles(module_graph(house))]


def package_circles(house: House) -> list[str]:
    """No packages import each other in a circle."""
    return [", ".join(circle) for circle in circles(package_graph(house))]


def restricted(house: House) -> list[str]:
    """The packages of `ONLY` import of the tree what is named there."""
    faults = []
    for each in house.inside():
        importer, imported = package_of(each.importer), package_of(each.imported)
        if importer in ONLY and imported not in {importer} | ONLY[importer]:
            faults.append(str(each))
    return faults


def impure_decision(house: House) -> list[str]:
    """Nothing in jattr/decision reads or writes a file."""
    faults = []
    for each in house.imports:
        if package_of(each.importer) == "jattr.decision" and each.imported in FILE_MODULES:
            faults.append(str(each))
    for module, path in house.modules.items():
        if package_of(module) == "jattr.decision":
            tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
            faults += [f"{module} calls open" for node in ast.walk(tree) if _is_open(node)]
    return faults


def _is_open(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) == "open"


def jax_in_ledger(house: House) -> list[str]:
    """Outside evidence/, jattr/ledger imports no jax, itself or by what it loads."""
    faults = []
    importing_jax = [each for each in house.imports if each.imported in JAX_MODULES]
    loads: dict[str, set[str]] = {module: set() for module in house.modules}
    for each in house.inside():
        if each.at_load:
            loads[each.importer].add(each.imported)
    for module in house.modules:
        is_ledger = package_of(module) == "jattr.ledger"
        if not is_ledger or module.startswith("jattr.ledger.evidence"):
            continue
        faults += [str(each) for each in importing_jax if each.importer == module]
        for loaded in _loaded_with(module, loads) - {module}:
            if any(each.importer == loaded and each.at_load for each in importing_jax):
                faults.append(f"{module} loads {loaded}, which loads jax")
    return faults


def _loaded_with(module: str, loads: Mapping[str, set[str]]) -> set[str]:
    """Return every module of the tree that loading a module loads, itself included."""
    loaded: set[str] = set()
    waiting = [module]
    while waiting:
        current = waiting.pop()
        if current in loaded or current not in loads:
            continue
        loaded.add(current)
        # Python loads the folders on the way to a module before the module.
        waiting.append(current.rpartition(".")[0])
        waiting += loads[current]
    return loaded


def cli_importers(house: House) -> list[str]:
    """Nothing imports jattr/cli but itself and `python -m jattr`."""
    allowed = {"jattr.cli", "jattr.__main__"}
    faults = []
    for each in house.inside():
        if package_of(each.imported) == "jattr.cli" and package_of(each.importer) not in allowed:
            faults.append(str(each))
    return faults


RULES: dict[str, Callable[[House], list[str]]] = {
    "without floor": without_floor,
    "upwards": upwards,
    "sideways": sideways,
    "module circles": module_circles,
    "package circles": package_circles,
    "restricted": restricted,
    "impure decision": impure_decision,
    "jax in ledger": jax_in_ledger,
    "cli importers": cli_importers,
}


def faults_of(house: House) -> dict[str, list[str]]:
    """Return what breaks each rule, sorted, each fault once."""
    return {name: sorted(set(rule(house))) for name, rule in RULES.items()}


def package_levels(house: House) -> dict[str, int]:
    """Return the level of each package: the longest chain of downward imports below it."""
    edges = {importer: set(imported) for importer, imported in package_graph(house).items()}
    for importer, imported in upward_imports(house):
        edges[importer].discard(imported)
    levels: dict[str, int] = {}

    def level(package: str) -> int:
        if package not in levels:
            levels[package] = 1 + max(map(level, edges[package]), default=0)
        return levels[package]

    for package in edges:
        level(package)
    return levels


def upward_imports(house: House) -> dict[tuple[str, str], int]:
    """Return the imports that run upwards where the fewest do: (importer, imported) -> how many."""
    weights: dict[tuple[str, str], int] = {}
    for importer, imported in {(each.importer, each.imported) for each in house.inside()}:
        pair = (package_of(importer), package_of(imported))
        if pair[0] != pair[1]:
            weights[pair] = weights.get(pair, 0) + 1
    upward = {}
    for circle in circles(package_graph(house)):
        order = _order(circle, weights)
        for below, above in itertools.combinations(order, 2):
            if (below, above) in weights:
                upward[below, above] = weights[below, above]
    return upward


def _order(packages: list[str], weights: Mapping[tuple[str, str], int]) -> list[str]:
    """Return packages from the ground up so that the fewest imports run upwards.

    Exact, and exponential in their number: the best order of a set ends with one of its members,
    above the best order of the rest. Of orders that are as good, the public names ("jattr") stand
    highest.
    """
    # A set of packages is a number with a bit for each. Its best order comes with its upward
    # imports and with minus the place of the public names in it.
    best: dict[int, tuple[int, int, list[str]]] = {0: (0, 0, [])}
    for chosen in range(1, 1 << len(packages)):
        choices = []
        for i, top in enumerate(packages):
            if chosen >> i & 1:
                cost, index, order = best[chosen & ~(1 << i)]
                rising = sum(weights.get((below, top), 0) for below in order)
                index = -len(order) if top == "jattr" else index
                choices.append((cost + rising, index, [*order, top]))
        best[chosen] = min(choices)
    return best[(1 << len(packages)) - 1][2]


def main() -> int:
    """Print the faults of a tree; return 1 if it has any."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tree", type=Path, default=Path(__file__).parents[1])
    faults = faults_of(read_house(parser.parse_args().tree))
    for name, result in faults.items():
        print(f"{name}: {len(result)}")
        for fault in result:
            print(f"  {fault}")
    return 1 if any(faults.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
