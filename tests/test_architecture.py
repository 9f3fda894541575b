"""The floors of the house: imports run downwards only, in no circle. How structure is measured."""

from pathlib import Path

import pytest
from architecture import RULES, circles, faults_of, package_levels, package_of, read_house
from parameter_trip import follow
from structure import ambiguous_constants, measure, read_sources

TREE = Path(__file__).parents[1]

# What still breaks a rule. The list may only become shorter: an entry that is mended has to go.
KNOWN: dict[str, list[str]] = {}


@pytest.fixture(scope="module")
def house():
    return read_house(TREE)


@pytest.mark.parametrize("rule", RULES)
def test_rule_holds(house, rule):
    assert sorted(set(RULES[rule](house))) == sorted(KNOWN.get(rule, []))


def test_known_faults_name_rules():
    assert set(KNOWN) <= set(RULES)


def write(tree, files):
    for name, text in files.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return read_house(tree)


def edges(house):
    return {(each.importer, each.imported) for each in house.imports}


@pytest.mark.parametrize(
    "text",
    [
        "from jattr.report import words",
        "import jattr.report.words as w",
        "from jattr.report.words import plural",
        "def f():\n    from jattr.report import words",
        "class C:\n    def f(self):\n        if self:\n            import jattr.report.words",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import jattr.report.words",
        "try:\n    pass\nexcept OSError:\n    import jattr.report.words",
        "import importlib\nimportlib.import_module('jattr.report.words')",
        "from importlib import import_module\nW = ['jattr.report.words']\nimport_module(W[0])",
        "from ..report.words import plural",
    ],
)
def test_every_way_to_import_counts(tmp_path, text):
    house = write(tmp_path, {"jattr/images/png.py": text, "jattr/report/words.py": ""})
    assert RULES["upwards"](house) == ["jattr.images.png -> jattr.report.words"]


def test_edges_go_to_the_module_that_provides_the_name(tmp_path):
    files = {
        "jattr/__init__.py": "",
        "jattr/images/__init__.py": "from jattr.images.png import read\nfrom . import values",
        "jattr/images/png.py": "from jattr.images.values import to_byte\nimport numpy.linalg",
        "jattr/images/values.py": "",
        "jattr/zoo/faces.py": "from jattr.images import to_byte, values",
        "scripts/train.py": "import nets",
        "scripts/nets.py": "",
    }
    house = write(tmp_path, files)
    assert edges(house) == {
        ("jattr.images", "jattr.images.png"),
        ("jattr.images", "jattr.images.values"),
        ("jattr.images.png", "jattr.images.values"),
        ("jattr.images.png", "numpy"),
        ("jattr.zoo.faces", "jattr.images"),
        ("jattr.zoo.faces", "jattr.images.values"),
        ("scripts.train", "scripts.nets"),
    }
    faults = faults_of(house)
    del faults["without floor"]
    assert not any(faults.values())


def test_package_that_imports_itself_through_its_face_is_a_circle(tmp_path):
    files = {
        "jattr/images/__init__.py": "from jattr.images.png import read",
        "jattr/images/png.py": "def read():\n    from jattr.images import to_byte",
    }
    assert RULES["module circles"](write(tmp_path, files)) == ["jattr.images, jattr.images.png"]


def test_packages_may_not_form_a_circle_even_if_their_modules_do_not(tmp_path):
    files = {
        "jattr/ledger/a.py": "import jattr.verification.b",
        "jattr/ledger/c.py": "",
        "jattr/verification/b.py": "import jattr.ledger.c",
    }
    faults = faults_of(write(tmp_path, files))
    assert faults["module circles"] == []
    assert faults["package circles"] == ["jattr.ledger, jattr.verification"]
    assert len(faults["sideways"]) == 2


def test_what_has_no_floor_is_told(tmp_path):
    house = write(tmp_path, {"jattr/novelty.py": ""})
    assert "jattr.novelty has no floor" in RULES["without floor"](house)
    assert "jattr.images is not there" in RULES["without floor"](house)


@pytest.mark.parametrize(
    ("rule", "module", "text", "fault"),
    [
        ("restricted", "solvers", "import jattr.images.png", "jattr.solvers.m -> jattr.images.png"),
        (
            "restricted",
            "decision",
            "import jattr.images.png",
            "jattr.decision.m -> jattr.images.png",
        ),
        ("impure decision", "decision", "from pathlib import Path", "jattr.decision.m -> pathlib"),
        ("impure decision", "decision", "text = open('f').read()", "jattr.decision.m calls open"),
        ("jax in ledger", "ledger", "def f():\n    import jax.numpy", "jattr.ledger.m -> jax"),
        (
            "jax in ledger",
            "ledger",
            "import jattr.images.png",
            "jattr.ledger.m loads jattr.images.png, which loads jax",
        ),
        ("cli importers", "sweep", "import jattr.cli.main", "jattr.sweep.m -> jattr.cli.main"),
    ],
)
def test_special_rules(tmp_path, rule, module, text, fault):
    files = {
        f"jattr/{module}/m.py": text,
        "jattr/images/png.py": "import jax",
        "jattr/cli/main.py": "",
    }
    assert RULES[rule](write(tmp_path, files)) == [fault]


def test_loading_jax_in_a_function_or_for_types_is_not_loading_it(tmp_path):
    files = {
        "jattr/ledger/m.py": "import jattr.images.png",
        "jattr/images/png.py": "if TYPE_CHECKING:\n    import jax\ndef f():\n    import jax",
        "jattr/ledger/evidence/make.py": "import jax",
    }
    assert RULES["jax in ledger"](write(tmp_path, files)) == []


def test_circles_of_a_graph():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"e"}, "e": {"d"}, "f": {"a"}}
    assert circles(graph) == [["a", "b", "c"], ["d", "e"]]


def test_packages():
    modules = (
        "jattr",
        "jattr.errors",
        "jattr.cli.main",
        "jattr.converters.dcgan",
        "scripts.bench_ops",
    )
    packages = ["jattr", "jattr.errors", "jattr.cli", "jattr.converters", "scripts"]
    assert [package_of(module) for module in modules] == packages


# A trip that can be counted by hand: see the head of scripts/parameter_trip.py.
ATTRIBUTE = """
from jattr.contest import Contest, search
from jattr.images import to_byte

def attribute(images, key):
    pixels = to_byte(images)
    contest = Contest(pixels, key)
    search(contest)
    contest.draw()
    return [_one(image) for image in pixels], unrelated(key)

def _one(image):
    return image

def unrelated(key):
    return to_byte(key)
"""
CONTEST = """
from dataclasses import dataclass
from jattr.images import to_byte, to_float

@dataclass
class Contest:
    pixels: list
    key: object

    def draw(self):
        to_byte(self.key)

def search(contest: Contest):
    to_float(contest.pixels)
    return prepare(contest.pixels + 1)

def prepare(pixels):
    return pixels
"""
TRIP = {
    "jattr/attribution.py": ATTRIBUTE,
    "jattr/contest.py": CONTEST,
    "jattr/images/__init__.py": "from jattr.images.values import to_byte, to_float",
    "jattr/images/values.py": "def to_byte(x):\n    return x\ndef to_float(x):\n    return x / 9",
}


def test_trip_of_a_parameter(tmp_path):
    house = write(tmp_path, TRIP)
    levels = {"jattr.images": 1, "jattr.contest": 2, "jattr.attribution": 3}
    assert package_levels(house) == levels
    # attribute; to_byte; search (up: the first climb); to_float; draw (the second, though it does
    # not use what it carries); _one (the third). Arithmetic ends the trip before `prepare`.
    assert follow(house, "jattr/attribution.py:attribute:images") == {
        "stays": 6,
        "modules": 3,
        "climbs": 3,
        "functions": 6,
        "open": 0,
    }


def test_parameter_that_is_not_there(tmp_path):
    with pytest.raises(SystemExit, match="there is no parameter pictures of attribute"):
        follow(write(tmp_path, TRIP), "jattr/attribution.py:attribute:pictures")


def test_figures_of_a_tree(tmp_path):
    files = {
        "jattr/__init__.py": '__version__ = "1.2.3"\n',
        "jattr/attribution.py": "def attribute(images: Any, key: dict[str, Any]) -> Any: ...\n",
        "jattr/inversion/__init__.py": "",
        "jattr/inversion/lanes.py": "LANES = 8\nMOST = 2 * LANES\nBOTH = (1, 2)\nNAME = 'x'\n",
        "jattr/solvers/solve.py": f"LANES = 4\n# {'a' * 100}\ndef f():\n    import jattr.errors\n",
        "README.md": "# x\n",
    }
    write(tmp_path, files)
    figures = measure(tmp_path)
    expected = {
        "title": "Structure of version 1.2.3",
        "stays": 1,
        "circles": 0,
        "engine_files": 3,
        "engine_constants": 4,
        "engine_capitals": 5,
        "ambiguous_constants": 1,
        "function_imports": 1,
        "comments_per_1000_lines": 100.0,
        "lines_over_100_package": 1,
        "any_annotations": 2,
        "any_inside_annotations": 3,
        "lines_jattr": 10,
        "readme_bytes": 4,
    }
    assert {name: figures[name] for name in expected} == expected
    assert ambiguous_constants(read_sources(tmp_path)) == {
        "LANES": {"jattr/inversion/lanes.py": 8, "jattr/solvers/solve.py": 4}
    }
